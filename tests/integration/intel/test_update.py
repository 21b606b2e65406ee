"""Updating from a feed: only what changed, on after a cut, all or nothing, never silent."""

from __future__ import annotations

import asyncio
import io
import random
import zipfile
from pathlib import Path

import pytest

from garrison.advisories import (
    AdvisoryStore,
    BadFeedError,
    FeedNotFoundError,
    IntelError,
    snapshot_path,
)
from garrison.advisories import feeds as feeds_module
from garrison.advisories.feeds import Progress, UpdateResult
from garrison.advisories.state import read_state
from garrison.egress import EgressError, ProxySettings
from garrison.egress.http import EgressClient
from tests.integration.intel.server import Feed
from tests.unit.advisories.records import Json, entry, record, until

A = record("PYSEC-a", entry("PyPI", "a", until("2.0")), aliases=["CVE-2024-1"])
B = record("PYSEC-b", entry("PyPI", "b", until("2.0")))
N = record("GHSA-n", entry("npm", "n", until("2.0.0")))


def many(count: int, ecosystem: str = "PyPI") -> list[Json]:
    """Records that do not compress away: an archive of some size."""
    rng = random.Random(count)
    return [
        record(
            f"R-{at}", entry(ecosystem, f"p{at}", until("1.0.0")), details=rng.randbytes(300).hex()
        )
        for at in range(count)
    ]


async def update(
    client: EgressClient,
    data: Path,
    feed: Feed,
    *ecosystems: str,
    seen: list[Progress] | None = None,
) -> UpdateResult:
    return await feeds_module.update(
        client,
        data,
        url=feed.url,
        ecosystems=ecosystems or ("PyPI", "npm"),
        progress=(seen if seen is not None else []).append,
    )


def store(data: Path) -> AdvisoryStore:
    return AdvisoryStore(snapshot_path(data))


async def test_the_first_update_loads_everything(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    feed.put("PyPI", A, B)
    feed.put("npm", N)
    seen: list[Progress] = []
    result = await update(client, tmp_path, feed, seen=seen)
    assert result.changed
    assert result.changed_names is None
    assert [(item.name, item.records) for item in result.ecosystems] == [("PyPI", 2), ("npm", 1)]
    assert result.failures == ()
    assert set(store(tmp_path).lookup("PyPI", ["a", "b"])) == {"a", "b"}
    assert next(step.step for step in seen if step.ecosystem == "npm") == "checking"
    assert {step.step for step in seen} == {"checking", "downloading", "reading", "finishing"}
    last = [step for step in seen if step.step == "downloading" and step.ecosystem == "PyPI"][-1]
    assert last.done == last.total == len(feed.files["/PyPI/all.zip"])
    assert list((tmp_path / "intel" / "download").iterdir()) == []


async def test_nothing_is_downloaded_when_nothing_changed(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    feed.put("PyPI", A)
    feed.put("npm", N)
    first = await update(client, tmp_path, feed)
    content, before = snapshot_path(tmp_path).read_bytes(), store(tmp_path)
    feed.log()
    second = await update(client, tmp_path, feed)
    assert feed.log() == [("/PyPI/all.zip", 304, 0), ("/npm/all.zip", 304, 0)]
    assert not second.changed
    assert second.changed_names == frozenset()
    assert second.revision == first.revision
    assert snapshot_path(tmp_path).read_bytes() == content
    assert before.updated_at >= first.ecosystems[0].updated_at


async def test_only_the_changed_ecosystem_is_downloaded(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    feed.put("PyPI", A)
    feed.put("npm", N)
    await update(client, tmp_path, feed)
    feed.log()
    feed.put("PyPI", A, B)
    result = await update(client, tmp_path, feed)
    assert [(path, status) for path, status, _ in feed.log()] == [
        ("/PyPI/all.zip", 200),
        ("/npm/all.zip", 304),
    ]
    assert set(result.changed_names or ()) == {("PyPI", "b")}


async def test_a_server_without_validators_still_brings_no_change(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    feed.validators = False
    feed.put("PyPI", A)
    first = await update(client, tmp_path, feed, "PyPI")
    second = await update(client, tmp_path, feed, "PyPI")
    assert second.revision == first.revision
    assert not second.changed


async def test_cut_transfers_go_on_where_they_broke(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    """Within one update, as a proxy with a short patience makes necessary."""
    size = len(feed.put("PyPI", *many(300)))
    feed.cuts = [size // 3, size // 3]
    result = await update(client, tmp_path, feed, "PyPI")
    log = feed.log()
    assert [status for _, status, _ in log] == [200, 206, 206]
    assert sum(sent for _, _, sent in log) == size
    assert result.ecosystems[0].records == 300


@pytest.mark.parametrize("cut", [0, 1, 2, 1000, -1000, -1])
async def test_a_cut_at_any_byte_is_resumed_by_the_next_update(
    client: EgressClient, feed: Feed, tmp_path: Path, cut: int
) -> None:
    """The old snapshot stays in force until the new one is whole; no byte comes twice."""
    feed.put("PyPI", A)
    before = (await update(client, tmp_path, feed, "PyPI")).revision
    size = len(feed.put("PyPI", *many(40)))
    # The second answer brings nothing, which ends the update.
    feed.cuts = [cut % size, 0]
    with pytest.raises(EgressError):
        await update(client, tmp_path, feed, "PyPI")
    assert store(tmp_path).revision == before
    feed.cuts = []
    feed.log()
    result = await update(client, tmp_path, feed, "PyPI")
    [(_, status, sent)] = feed.log()
    assert (status, sent) == ((206, size - cut % size) if cut else (200, size))
    assert result.ecosystems[0].records == 40


async def test_a_changed_file_is_not_glued_to_an_old_half(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    size = len(feed.put("PyPI", *many(40)))
    feed.cuts = [size // 2, 0]
    with pytest.raises(EgressError):
        await update(client, tmp_path, feed, "PyPI")
    feed.put("PyPI", *many(41))
    result = await update(client, tmp_path, feed, "PyPI")
    assert result.ecosystems[0].records == 41


async def test_a_server_that_ignores_ranges_sends_all_of_it(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    size = len(feed.put("PyPI", *many(40)))
    feed.ranges = False
    feed.cuts = [size // 2]
    result = await update(client, tmp_path, feed, "PyPI")
    assert result.ecosystems[0].records == 40


async def test_an_ecosystem_that_fails_keeps_its_advisories(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    """And is named, in the result and in what `intel status` reads later."""
    feed.put("PyPI", A)
    feed.put("npm", N)
    await update(client, tmp_path, feed)
    feed.put("PyPI", A, B)
    feed.statuses["/npm/all.zip"] = 503
    result = await update(client, tmp_path, feed)
    [failure] = result.failures
    assert (failure.ecosystem, failure.code) == ("npm", "intel.status")
    assert "503" in failure.message
    fresh = store(tmp_path)
    assert set(fresh.lookup("PyPI", ["b"])) == {"b"}
    assert set(fresh.lookup("npm", ["n"])) == {"n"}
    assert [item.ecosystem for item in fresh.state.failures] == ["npm"]
    del feed.statuses["/npm/all.zip"]
    await update(client, tmp_path, feed)
    assert fresh.state.failures == ()


async def test_all_failing_raises_the_first_error(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    with pytest.raises(FeedNotFoundError) as caught:
        await update(client, tmp_path, feed)
    assert "PyPI" in caught.value.message
    assert "ecosystems.txt" in caught.value.hint
    assert AdvisoryStore.open(tmp_path) is None


async def test_an_unreachable_feed_is_an_egress_error(feed: Feed, tmp_path: Path) -> None:
    """With its trace; and not one wait per ecosystem."""
    proxied = EgressClient(ProxySettings.build(http_proxy="http://127.0.0.1:9"))
    try:
        with pytest.raises(EgressError) as caught:
            await feeds_module.update(
                proxied, tmp_path, url="http://feed.test", ecosystems=["A", "B", "C", "D"]
            )
    finally:
        await proxied.aclose()
    assert caught.value.trace is not None
    failures = read_state(tmp_path / "intel").failures
    assert [item.ecosystem for item in failures] == ["A", "B", "C", "D"]
    assert failures[0].code == caught.value.code
    assert failures[0].hop


def bomb() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("bomb.json", b"0" * (20 << 20))
    return out.getvalue()


def damaged() -> bytes:
    """The checksum of a member is wrong, its compressed bytes are fine."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as file:
        file.writestr("A.json", b'{"id": "A"}')
    return out.getvalue().replace(b'{"id": "A"}', b'{"id": "B"}')


@pytest.mark.parametrize("content", [b"<html>login</html>", b"", bomb(), damaged()])
async def test_what_is_no_archive_is_refused(
    client: EgressClient, feed: Feed, tmp_path: Path, content: bytes
) -> None:
    """A portal's page with status 200, a bomb, bits that changed on the way."""
    feed.put("PyPI", A)
    before = await update(client, tmp_path, feed, "PyPI")
    feed.files["/PyPI/all.zip"] = content
    with pytest.raises(BadFeedError):
        await update(client, tmp_path, feed, "PyPI")
    assert store(tmp_path).revision == before.revision
    feed.put("PyPI", A, B)
    assert (await update(client, tmp_path, feed, "PyPI")).ecosystems[0].records == 2


async def test_unreadable_records_are_listed(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("A.json", b'{"id": "A", "affected": 1}')
        file.writestr("README.md", b"no record")
        file.writestr("big.json", b" " * ((16 << 20) + 10))
    feed.files["/PyPI/all.zip"] = out.getvalue()
    result = await update(client, tmp_path, feed, "PyPI")
    assert [(item.ecosystem, item.id) for item in result.skipped] == [
        ("PyPI", "A"),
        ("PyPI", "big"),
    ]
    assert result.ecosystems[0].skipped == 2
    assert result.ecosystems[0].records == 0


async def test_names_are_quoted_and_releases_are_not_folders(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    feed.put("GitHub Actions", record("G-1", entry("GitHub Actions", "a", until("1.0.0"))))
    feed.put("Debian", record("D-1", entry("Debian:12", "a", until("1"))))
    result = await update(client, tmp_path, feed, "GitHub Actions", "Debian:12", "Debian:13")
    assert [path for path, _, _ in feed.log()] == ["/GitHub%20Actions/all.zip", "/Debian/all.zip"]
    assert [item.name for item in result.ecosystems] == ["Debian", "GitHub Actions"]


async def test_no_ecosystem_is_an_error(client: EgressClient, feed: Feed, tmp_path: Path) -> None:
    with pytest.raises(IntelError):
        await feeds_module.update(client, tmp_path, url=feed.url, ecosystems=[" "])


async def test_a_cancelled_update_leaves_nothing_running(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    """The thread that reads is waited for, the lock is free, the old snapshot in force."""
    feed.put("PyPI", A)
    before = (await update(client, tmp_path, feed, "PyPI")).revision
    feed.put("PyPI", *many(4000))
    reading = asyncio.Event()

    def watch(progress: Progress) -> None:
        if progress.step == "reading":
            reading.set()

    task = asyncio.ensure_future(
        feeds_module.update(client, tmp_path, url=feed.url, ecosystems=["PyPI"], progress=watch)
    )
    await reading.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert store(tmp_path).revision == before
    result = await update(client, tmp_path, feed, "PyPI")
    assert result.ecosystems[0].records == 4000
