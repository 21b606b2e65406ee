"""Files in /etc that one program alone sees, such as its own names and users."""

from collections.abc import Mapping, Sequence
from pathlib import Path

_SCRIPT = (
    'while [ "$1" != -- ]; do mount --bind "$1" "$2" || exit 1; shift 2; done; shift; exec "$@"'
)


def with_files(argv: Sequence[str], files: Mapping[str, Path]) -> list[str]:
    """The command line that runs `argv` where each path of `files` shows another file; for root."""
    pairs = [word for path, file in files.items() for word in (str(file), path)]
    return ["unshare", "--mount", "/bin/sh", "-c", _SCRIPT, "sh", *pairs, "--", *argv]
