"""What changed in a feed, by its list of changes. Pure.

An OSV bulk export has `ECOSYSTEM/modified_id.csv`: every record's id and when it was modified,
newest first. The greatest time says nothing: some records are dated in the future.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from garrison.advisories.errors import BadFeedError

MAX_SINGLE = 300
"""Records that are fetched one by one; the archive is quicker beyond that."""
MAX_SHARE = 0.1
"""Share of the feed that is fetched one by one."""
MAX_LISTED = 4_000_000


@dataclass(frozen=True, slots=True)
class Changes:
    """changed: when the list says these records were modified. removed: they are in no list."""

    changed: Mapping[str, str]
    removed: tuple[str, ...]

    def few(self, records: int) -> bool:
        """Whether to fetch them one by one from a feed that has so many."""
        return len(self.changed) <= min(MAX_SINGLE, max(20, int(records * MAX_SHARE)))


def read_listing(lines: Iterable[str]) -> dict[str, str]:
    """Stamp by id, as `stamp_of` writes stamps. Raises BadFeedError: not such a list."""
    listed: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        stamp, comma, id = line.strip().partition(",")
        if not comma or not id or len(id) > 200 or not stamp[:4].isdigit():
            raise BadFeedError(f"line {number} is not a time and an id: {line[:60]!r}")
        listed[id.rpartition("/")[2]] = stamp_of(stamp)
        if len(listed) > MAX_LISTED:
            raise BadFeedError(f"more than {MAX_LISTED} records are listed")
    if not listed:
        raise BadFeedError("no record is listed")
    return listed


def stamp_of(modified: str) -> str:
    """A record's time of change as it is kept."""
    return modified.removesuffix("Z")


def changes(held: Mapping[str, str], listed: Mapping[str, str]) -> Changes:
    """What to fetch and what to take out, for records held with these stamps."""
    changed = {id: stamp for id, stamp in listed.items() if held.get(id) != stamp}
    return Changes(changed, tuple(id for id in held if id not in listed))
