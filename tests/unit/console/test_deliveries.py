"""Messages are sent, tried again, given up; and no destination holds up another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from garrison.alerts.deliver import Backoff
from garrison.console import alerting, proxy
from garrison.console.alerting import DeliveryService, ProfileForm
from garrison.console.problems import ConflictError, InvalidFieldsError, NotFoundError
from garrison.console.state import AppState
from garrison.database.errors import NameTakenError
from garrison.egress import EgressError, Fetched, Headers
from garrison.findings.finding import Severity
from garrison.secret import Secret
from tests.unit.advisories.records import load
from tests.unit.console.harness import Client
from tests.unit.console.test_scans import FEED, inventory, python, take_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OK = Fetched(200, Headers([]), b"ok")


def fine(_: int) -> Any:
    return OK


@dataclass
class Slacks:
    """Egress to several webhooks; each path has its own behaviour."""

    behave: dict[str, Callable[[int], Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)

    async def request(self, method: str, url: str, **given: Any) -> Fetched:
        name = url.rpartition("/")[2]
        self.calls.append(name)
        answer = self.behave.get(name, fine)(self.calls.count(name))
        if asyncio.isfuture(answer) or asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return cast(Fetched, answer)


@asynccontextmanager
async def sending(state: AppState, slacks: Slacks) -> AsyncIterator[DeliveryService]:
    """The service with waits of milliseconds."""
    quick = Backoff(first=0.02, longest=0.1, give_up=2.0, rng=random.Random(1))
    service = DeliveryService(
        state.db, cast(Any, slacks), clock=lambda: datetime.now(UTC), backoff=quick
    )
    state.deliveries = service
    task = asyncio.create_task(service.run())
    try:
        yield service
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is a row in the database
            await asyncio.sleep(0.01)


def add_profile(state: AppState, name: str) -> str:
    webhook = Secret(f"https://hooks.slack.test/services/T/B/{name}")
    return alerting.create_profile(state, ProfileForm(name, Severity.LOW, webhook), "ada").id


def scan(state: AppState, digest: str = "a") -> None:
    load(state.data, PyPI=FEED)
    take_in(state, inventory(python("django", "3.2"), digest=digest))


def states(state: AppState) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in alerting.deliveries(state, 500).items:
        found.setdefault(row.profile_name, []).append(row.state)
    return found


async def test_a_message_is_sent_once(state: AppState) -> None:
    add_profile(state, "a")
    slacks = Slacks()
    async with sending(state, slacks):
        await asyncio.to_thread(scan, state)
        await until(lambda: states(state) == {"a": ["sent"]})

    assert slacks.calls == ["a"]


async def test_what_failed_is_tried_again_with_its_trace(state: AppState) -> None:
    add_profile(state, "a")
    slacks = Slacks({"a": lambda n: EgressError("no way out") if n < 3 else OK})
    async with sending(state, slacks):
        await asyncio.to_thread(scan, state)
        await until(lambda: states(state) == {"a": ["sent"]})

    (row,) = alerting.deliveries(state).items
    tries = alerting.attempts(state, row.id)
    assert [each.ok for each in tries] == [False, False, True]
    assert tries[0].error is not None
    assert tries[0].error["code"] == "egress.failed"


async def test_a_refusal_is_final_and_can_be_tried_by_hand(state: AppState) -> None:
    add_profile(state, "a")
    slacks = Slacks({"a": lambda n: Fetched(404, Headers([]), b"no_service") if n == 1 else OK})
    async with sending(state, slacks):
        await asyncio.to_thread(scan, state)
        await until(lambda: states(state) == {"a": ["failed"]})
        (row,) = alerting.deliveries(state).items
        assert row.error is not None
        assert row.error["code"] == "alerts.rejected"

        await asyncio.to_thread(alerting.retry_delivery, state, row.id, "ada")
        await until(lambda: states(state) == {"a": ["sent"]})
        with pytest.raises(ConflictError):
            await asyncio.to_thread(alerting.retry_delivery, state, row.id, "ada")
    with pytest.raises(NotFoundError):
        alerting.retry_delivery(state, "nothing", "ada")


async def test_it_gives_up_after_a_while(state: AppState) -> None:
    add_profile(state, "a")
    slacks = Slacks({"a": lambda n: Fetched(503, Headers([]), b"")})
    async with sending(state, slacks):
        await asyncio.to_thread(scan, state)
        await until(lambda: states(state) == {"a": ["failed"]})

    assert len(slacks.calls) > 3


async def test_a_slow_destination_delays_only_its_own(state: AppState) -> None:
    """Ten messages hang at one service; the other service gets all of its own."""
    never = asyncio.get_running_loop().create_future()

    async def hang() -> Fetched:
        return cast(Fetched, await asyncio.shield(never))

    add_profile(state, "slow")
    add_profile(state, "fast")
    slacks = Slacks({"slow": lambda n: hang()})
    async with sending(state, slacks):
        for digest in "0123456789":
            await asyncio.to_thread(scan, state, digest)
        await until(lambda: states(state)["fast"] == ["sent"] * 10)

        assert slacks.calls.count("slow") == 2
    never.cancel()


async def test_after_a_failure_the_rest_waits_instead_of_queueing_up(state: AppState) -> None:
    add_profile(state, "a")
    slacks = Slacks({"a": lambda n: Fetched(429, Headers([("Retry-After", "60")]), b"")})
    async with sending(state, slacks) as service:
        service._backoff = Backoff(first=60, rng=random.Random(1))
        for digest in "0123456789":
            await asyncio.to_thread(scan, state, digest)
        await until(lambda: all(row.attempts for row in alerting.deliveries(state).items))

    assert len(slacks.calls) <= 2


async def test_saved_proxy_settings_try_waiting_messages_at_once(state: AppState) -> None:
    """The operator repaired the way out; nobody should wait an hour to see that it works."""
    add_profile(state, "a")
    broken = [True]
    slacks = Slacks(
        {"a": lambda n: Fetched(503, Headers([("Retry-After", "1")]), b"") if broken[0] else OK}
    )
    quick = Backoff(first=3600, longest=3600, rng=random.Random(1))
    async with sending(state, slacks) as service:
        service._backoff = quick
        state.on_proxy[:] = [service.retry_soon]
        await asyncio.to_thread(scan, state)
        await until(lambda: alerting.deliveries(state).items[0].attempts == 1)
        broken[0] = False

        form = proxy.ProxyForm("http://proxy.test:1", (), "", "")
        await asyncio.to_thread(proxy.save, state, form, "ada")

        await until(lambda: states(state) == {"a": ["sent"]})


async def test_what_waits_survives_a_restart(state: AppState) -> None:
    add_profile(state, "a")
    await asyncio.to_thread(scan, state)

    async with sending(state, Slacks()):
        await until(lambda: states(state) == {"a": ["sent"]})


async def test_a_removed_profile_sends_nothing(state: AppState) -> None:
    profile_id = add_profile(state, "a")
    await asyncio.to_thread(scan, state)
    alerting.delete_profile(state, profile_id, "ada")
    slacks = Slacks()
    async with sending(state, slacks):
        await until(lambda: states(state) == {"a": ["failed"]})

    assert slacks.calls == []


def test_profiles_are_checked(state: AppState) -> None:
    with pytest.raises(InvalidFieldsError) as error:
        alerting.create_profile(state, ProfileForm("", Severity.UNKNOWN, Secret("nonsense")), "ada")
    assert {p.field for p in error.value.problems} == {"name", "threshold", "webhook"}

    first = add_profile(state, "a")
    add_profile(state, "b")
    with pytest.raises(NameTakenError):
        alerting.update_profile(state, first, ProfileForm("b", Severity.LOW), "ada")
    kept = alerting.update_profile(state, first, ProfileForm("c", Severity.LOW), "ada")
    assert alerting.shown_host(kept) == "hooks.slack.test"


async def test_profiles_over_the_api_show_no_webhook(client: Client) -> None:
    webhook = "https://hooks.slack.test/services/T0/B0/c4n4ry"
    created = await client.call(
        "POST", "/api/v1/alert-profiles", {"name": "s", "webhook": webhook, "threshold": "low"}
    )
    assert created.status == 201, created.text
    path = f"/api/v1/alert-profiles/{created.json['id']}"
    changed = await client.call("PUT", path, {**created.json, "threshold": "critical"})
    assert changed.json["threshold"] == "critical"
    listed = await client.call("GET", "/api/v1/alert-profiles")
    audit = await client.call("GET", "/api/v1/audit")
    bad = await client.call("POST", "/api/v1/alert-profiles", {"name": "t", "webhook": "c4n4ry"})
    assert bad.status == 422
    assert bad.json["errors"][0]["field"] == "webhook"
    for answer in (created, changed, listed, audit, bad):
        assert "c4n4ry" not in answer.text
    assert (await client.call("DELETE", path)).status == 204
    assert (await client.call("GET", path)).status == 404
