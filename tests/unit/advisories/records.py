"""OSV records for tests, and a store made of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from garrison.advisories import AdvisoryStore
from garrison.advisories.snapshot import next_snapshot

NOW = "2026-11-24T12:00:00Z"

Json = dict[str, Any]


def span(*events: Mapping[str, str], type: str = "ECOSYSTEM") -> Json:
    return {"type": type, "events": list(events)}


def entry(ecosystem: str, name: str, *ranges: Json, **more: Any) -> Json:
    return {"package": {"ecosystem": ecosystem, "name": name}, "ranges": list(ranges), **more}


def until(fixed: str) -> Json:
    """Everything below `fixed`."""
    return span({"introduced": "0"}, {"fixed": fixed})


def record(id: str, *affected: Json, **more: Any) -> Json:
    return {"id": id, "modified": "2026-01-01T00:00:00Z", "affected": list(affected), **more}


def cvss(vector: str) -> list[Json]:
    return [{"type": f"CVSS_V{vector[5]}", "score": vector}]


def raw(record: Json) -> bytes:
    return msgspec.json.encode(record)


def members(records: Iterable[Json]) -> list[tuple[str, bytes]]:
    return [(f"{item['id']}.json", raw(item)) for item in records]


def load(data: Path, **feeds: Iterable[Json]) -> AdvisoryStore:
    """Replace these feeds (underscores in names are dots) and open the snapshot."""
    with next_snapshot(data) as writer:
        for feed, records in feeds.items():
            writer.replace_feed(feed.replace("_", "."), members(records), now=NOW)
        writer.commit(NOW)
    store = AdvisoryStore.open(data)
    assert store is not None
    return store
