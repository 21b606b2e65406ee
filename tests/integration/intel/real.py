"""The real advisories beside the repository, raw and loaded."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from garrison.advisories import AdvisoryStore
from garrison.advisories.archive import records
from garrison.advisories.snapshot import next_snapshot

FOLDER = Path(__file__).resolve().parents[4] / "shared" / "data" / "advisories"
ECOSYSTEMS = ("Alpine", "Debian", "Go", "Maven", "PyPI", "RubyGems", "crates.io", "npm")
NOW = "2026-11-24T12:00:00Z"


def load(data: Path) -> AdvisoryStore:
    """All of them in a snapshot."""
    with next_snapshot(data) as writer:
        for ecosystem in ECOSYSTEMS:
            writer.replace_feed(ecosystem, records(FOLDER / ecosystem / "all.zip"), now=NOW)
        writer.commit(NOW)
    store = AdvisoryStore.open(data)
    assert store is not None
    return store


def raw(*ecosystems: str) -> Iterator[dict[str, Any]]:
    """The records as they are in the archives, by no code of ours."""
    for ecosystem in ecosystems:
        with zipfile.ZipFile(FOLDER / ecosystem / "all.zip") as archive:
            for name in archive.namelist():
                yield json.loads(archive.read(name))
