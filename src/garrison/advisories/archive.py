"""The records in a feed's zip archive, with bounds on everything.

The archive comes from outside: sizes are what its directory claims, so a member is never read
beyond its claimed size, and claims that are out of proportion are refused before anything is read.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from garrison.advisories.errors import BadFeedError
from garrison.advisories.osv import MAX_RECORD

MAX_ARCHIVE = 4 << 30
"""Bytes of one archive; the largest public one is about 0.2 GiB."""
_MAX_MEMBERS = 4_000_000
_MAX_TOTAL = 32 << 30
_MAX_RATIO = 200
"""Text of advisories deflates about 8 times; a bomb 1,000 times."""
_SLACK = 1 << 20
_HINT = "Try again; if it stays, tell whoever runs the mirror."


def records(path: Path) -> Iterator[tuple[str, bytes]]:
    """File name and content of every `.json` member, in the archive's order.

    A member that is too large to be a record is given with its first bytes only, so that the
    reader rejects and names it.

    Raises:
        BadFeedError: no zip archive, a wrong checksum, or out of all proportion.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_proportions(path, members)
            for member in members:
                if member.is_dir() or not member.filename.endswith(".json"):
                    continue
                with archive.open(member) as file:
                    yield member.filename, file.read(MAX_RECORD + 1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise BadFeedError(f"the archive is damaged: {error}", _HINT) from error
    except RuntimeError as error:  # how zipfile refuses an encrypted member
        raise BadFeedError(f"the archive cannot be read: {error}", _HINT) from error


def _check_proportions(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > _MAX_MEMBERS:
        raise BadFeedError(f"the archive has {len(members)} members", _HINT)
    total = sum(member.file_size for member in members)
    if total > min(_MAX_TOTAL, path.stat().st_size * _MAX_RATIO + _SLACK):
        raise BadFeedError(f"the archive would unpack to {total} bytes", _HINT)
