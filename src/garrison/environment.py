"""What several programs read of their environment in the same way.

`environ` is an argument: only composition roots know the real one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from garrison.errors import InvalidSettingError

MAX_FILE = 64 << 10
"""Bytes of a file that holds one secret."""


def data_directory(environ: Mapping[str, str]) -> Path:
    """`GARRISON_DATA`, else `$XDG_DATA_HOME/garrison`, else the user's own."""
    if given := environ.get("GARRISON_DATA"):
        return Path(given)
    base = environ.get("XDG_DATA_HOME")
    home = environ.get("HOME")
    share = Path(base) if base else (Path(home) if home else Path.home()) / ".local" / "share"
    return share / "garrison"


def text_or_file(environ: Mapping[str, str], name: str, field: str = "") -> str:
    """The variable `name`, or what is in the file that `NAME_FILE` names; empty for neither.

    Raises: InvalidSettingError.
    """
    return environ.get(name, "").strip() or text_of_file(environ, f"{name}_FILE", field)


def text_of_file(environ: Mapping[str, str], name: str, field: str = "") -> str:
    """What is in the file that the variable `name` names; empty when it is not set.

    Raises: InvalidSettingError.
    """
    path = environ.get(name, "")
    return read_secret(Path(path), name, field) if path else ""


def read_secret(path: Path, setting: str, field: str = "") -> str:
    """The text in a file, without the line break at its end.

    setting: what named the file. field: of the error; `setting` where empty.

    Raises:
        InvalidSettingError: unreadable, empty, or longer than MAX_FILE.
    """
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InvalidSettingError(
            field or setting, f"{setting}: cannot read {path}: {reason}"
        ) from error
    text = text.rstrip("\r\n")
    if not text or len(text) > MAX_FILE:
        raise InvalidSettingError(field or setting, f"{setting}: {path} is empty or too large")
    return text
