"""The schedule of the Intelligence Stream, and what it shows."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from garrison.advisories import FeedFailure, feeds, snapshot_path
from garrison.advisories.feeds import Progress, UpdateResult
from garrison.console import accounts, images
from garrison.console.intel import IntelService
from garrison.console.state import AppState
from garrison.egress import EgressError
from tests.unit.advisories.records import load
from tests.unit.console.harness import NOW, Client
from tests.unit.console.test_deliveries import until
from tests.unit.console.test_scans import FEED, inventory, python, take_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Feed:
    """In place of `feeds.update`: does what `behave` says and counts."""

    def __init__(self, behave: Callable[[int], Any]) -> None:
        self.calls, self.behave = 0, behave
        self.progress: Callable[[Progress], None] = lambda _: None

    async def update(self, client: Any, data: Any, **given: Any) -> UpdateResult:
        self.calls += 1
        self.progress = given["progress"]
        result = self.behave(self.calls)
        if asyncio.isfuture(result):
            result = await result
        if isinstance(result, Exception):
            raise result
        if isinstance(result, UpdateResult):
            return result
        return UpdateResult("r", True, (), (), (), None)


class Clock:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, by: timedelta) -> None:
        self.now += by


@asynccontextmanager
async def running(
    state: AppState, monkeypatch: pytest.MonkeyPatch, feed: Feed, clock: Callable[[], datetime]
) -> AsyncIterator[IntelService]:
    monkeypatch.setattr(feeds, "update", feed.update)
    service = IntelService(
        state.db,
        state.egress,
        state.data,
        url="https://feed.test",
        ecosystems=("PyPI",),
        clock=clock,
        public_url="http://console.test",
        alerted=state.deliveries.wake,
    )
    state.intel = service
    task = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_nothing_loaded_updates_at_once_and_then_every_six_hours(
    state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, feed = Clock(), Feed(lambda n: None)
    async with running(state, monkeypatch, feed, clock) as service:
        await until(lambda: service.status().last_success_at is not None)
        status = service.status()
        assert status.next_update_at is not None
        wait = status.next_update_at - NOW
        assert timedelta(hours=5.4) <= wait <= timedelta(hours=6.6)

        clock.advance(wait - timedelta(seconds=1))
        service.wake()
        await asyncio.sleep(0.05)
        assert feed.calls == 1
        clock.advance(timedelta(seconds=2))
        service.wake()
        await until(lambda: feed.calls == 2)


async def test_a_failure_is_shown_and_tried_again_later_and_later(
    state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    feed = Feed(lambda n: EgressError("no way out") if n < 4 else None)
    async with running(state, monkeypatch, feed, clock) as service:
        waits = []

        def failed(number: int) -> bool:
            status = service.status()
            return feed.calls == number and status.next_update_at not in (None, clock.now)

        for number in (1, 2, 3):
            await until(functools.partial(failed, number))
            status = service.status()
            assert status.last_error is not None
            assert status.last_error.code == "egress.failed"
            assert status.last_error.who == "network"
            assert status.next_update_at is not None
            waits.append((status.next_update_at - clock.now).total_seconds())
            clock.now = status.next_update_at
            service.wake()
        await until(lambda: service.status().last_error is None)

    for wait, base in zip(waits, (60, 120, 240), strict=True):
        assert base * 0.9 <= wait <= base * 1.1


async def test_new_proxy_settings_retry_a_failed_update_at_once(
    state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed(lambda n: EgressError("no way out") if n == 1 else None)
    async with running(state, monkeypatch, feed, Clock()) as service:
        await until(lambda: service.status().last_error is not None)
        service.retry_soon()
        await until(lambda: service.status().last_success_at is not None)
        service.retry_soon()
        await asyncio.sleep(0.05)

    assert feed.calls == 2


async def test_one_update_at_a_time_with_progress(
    state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.get_running_loop().create_future()
    feed = Feed(lambda n: gate)
    async with running(state, monkeypatch, feed, Clock()) as service:
        await until(lambda: feed.calls == 1)
        feed.progress(Progress("downloading", "PyPI", 1, 2, done=5, total=10))
        status = service.status()
        assert status.running
        assert status.progress is not None
        assert (status.progress.done, status.progress.total) == (5, 10)
        assert status.progress.step == "downloading PyPI (1 of 2)"
        assert not await asyncio.to_thread(service.request_update, "ada")
        gate.set_result(None)
        await until(lambda: not service.status().running)

        assert await asyncio.to_thread(service.request_update, "ada")
        await until(lambda: feed.calls == 2)
    assert "intel.update" in [row.action for row in accounts.audit(state, 5, None).items]


async def test_an_ecosystem_that_failed_is_named(
    state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    partly = UpdateResult(
        "r", True, (), (), (FeedFailure("Debian", "egress.timeout", "no answer", "h"),), None
    )
    async with running(state, monkeypatch, Feed(lambda n: partly), Clock()) as service:
        await until(lambda: service.status().last_error is not None)
        error = service.status().last_error

    assert error is not None
    assert error.message == "Debian: no answer"


async def test_a_bug_does_not_leave_an_update_running_for_ever(
    state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed(lambda n: RuntimeError("bug"))
    async with running(state, monkeypatch, feed, Clock()) as service:
        await until(lambda: service.status().last_error is not None)
        assert not service.status().running


async def test_stopping_during_an_update_lets_the_next_start_begin_at_once(
    state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without giving the lease back it would wait for a minute."""
    gate = asyncio.get_running_loop().create_future()
    feed = Feed(lambda n: gate if n == 1 else None)
    async with running(state, monkeypatch, feed, Clock()):
        await until(lambda: feed.calls == 1)
    async with running(state, monkeypatch, feed, Clock()) as service:
        await until(lambda: feed.calls == 2)
        await until(lambda: service.status().last_error is None)


async def test_a_damaged_snapshot_is_replaced_and_breaks_no_page(
    state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So after an upgrade that reads another schema."""
    path = snapshot_path(state.data)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"nonsense" * 1000)
    feed = Feed(lambda n: None)
    async with running(state, monkeypatch, feed, Clock()) as service:
        assert service.status().revision == ""
        await until(lambda: feed.calls == 1)
        path.unlink()
        await asyncio.to_thread(load, state.data, PyPI=FEED)
        assert service.status().revision


async def test_a_snapshot_replaced_by_another_process_is_matched(
    state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`garrison intel update` beside a running Console."""
    await asyncio.to_thread(take_in, state, inventory(python("django", "3.2")))
    feed = Feed(lambda n: None)
    async with running(state, monkeypatch, feed, lambda: datetime.now(UTC)) as service:
        await until(lambda: feed.calls == 1)
        assert service.store() is None
        await asyncio.to_thread(load, state.data, PyPI=FEED)
        service.wake()
        await until(lambda: images.detail(state, "sha256:" + "a" * 64).image.image.counts.high == 1)
        status = service.status()

    assert [one.name for one in status.ecosystems] == ["PyPI"]
    assert status.revision
    assert status.matching == 0


async def test_over_the_api(client: Client) -> None:
    load(client.state.data, PyPI=FEED)

    answer = await client.call("GET", "/api/v1/intel")

    assert answer.status == 200
    assert answer.json["ecosystems"][0]["records"] == 2
    assert not answer.json["running"]
    started = await client.call("POST", "/api/v1/intel/update")
    assert (started.status, started.json) == (202, {"started": True})
