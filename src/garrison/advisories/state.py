"""What an update leaves beside the snapshot: when feeds were confirmed, what failed last.

A feed that did not change needs no new snapshot, only this. Losing the file loses dates, nothing
else.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class FeedFailure:
    """Why an ecosystem kept its old advisories: an error as people read it.

    evidence: as `EgressError.evidence`; empty where no connection failed.
    """

    ecosystem: str
    code: str
    message: str
    hint: str = ""
    who: str = ""
    hop: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UpdateState:
    """confirmed: per feed, when its content was last known to be current (RFC 3339)."""

    attempted_at: str = ""
    confirmed: dict[str, str] = field(default_factory=dict)
    failures: tuple[FeedFailure, ...] = ()


def read_state(folder: Path) -> UpdateState:
    """The state in `folder`; an empty one where there is none or it cannot be read."""
    try:
        with (folder / "state.json").open("rb") as file:
            return msgspec.json.decode(file.read(_LIMIT), type=UpdateState)
    except (OSError, msgspec.MsgspecError):
        return UpdateState()


def write_state(folder: Path, state: UpdateState) -> None:
    """Replace the state in one step."""
    replace_file(folder / "state.json", msgspec.json.encode(state))


def replace_file(path: Path, content: bytes) -> None:
    """Write `content` beside `path` and move it there: never half a file."""
    beside = path.with_name(path.name + ".new")
    with beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    publish(beside, path)


def publish(beside: Path, path: Path) -> None:
    """Move a finished file into place; after a power cut it is the old or the new one."""
    os.replace(beside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
