"""What a Defender decides without a network: what is next, and when to enrol again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from garrison.defender.contacts import ContactLog
from garrison.defender.link import enrol_again
from garrison.defender.queue import ScanQueue
from garrison.defender.state import LinkState, as_failure
from garrison.egress import ConnectionRecord
from garrison.errors import GarrisonError
from garrison.fleet.authority import Authority
from garrison.fleet.errors import (
    ChannelClosedError,
    FleetError,
    IdentityRefusedError,
    NotOurConsoleError,
    PinMismatchError,
    RefusedError,
)
from garrison.fleet.identity import DefenderIdentity, DefenderKey
from garrison.fleet.join_token import JoinToken
from garrison.fleet.messages import Failure, ScanRequest
from tests.unit.fleet.certificates import NOW

AUTHORITY, OTHER = Authority.create(NOW), Authority.create(NOW)
USED, FRESH, FOREIGN = (
    JoinToken.create(AUTHORITY),
    JoinToken.create(AUTHORITY),
    JoinToken.create(OTHER),
)
_KEY = DefenderKey.create()
IDENTITY = DefenderIdentity.enrolled(
    _KEY,
    "d-1",
    AUTHORITY.issue_defender(_KEY.csr, "d-1", NOW),
    AUTHORITY.certificate_pem,
    USED,
)
UNKNOWN = RefusedError("fleet.defender_unknown", "unknown")
REMOVED = RefusedError("fleet.defender_removed", "removed")
EXPIRED = IdentityRefusedError("certificate expired")
STRANGER = NotOurConsoleError("self-signed certificate in certificate chain")


@pytest.mark.parametrize(
    ("error", "token", "expected"),
    [
        (UNKNOWN, USED, True),
        (UNKNOWN, None, False),
        (REMOVED, USED, False),
        (REMOVED, FRESH, True),
        (EXPIRED, USED, True),
        (EXPIRED, None, False),
        # Another authority: only a token of that authority says that it is meant.
        (STRANGER, USED, False),
        (STRANGER, FRESH, False),
        (STRANGER, FOREIGN, True),
        (PinMismatchError("no"), FOREIGN, False),
        (RefusedError("fleet.session_replaced", "x"), FRESH, False),
        (RefusedError("database.busy", "x"), FRESH, False),
        (ChannelClosedError("cut"), FRESH, False),
    ],
)
def test_when_to_enrol_again(error: FleetError, token: JoinToken | None, expected: bool) -> None:
    assert enrol_again(error, IDENTITY, token, accepted=True) is expected


@pytest.mark.parametrize("error", [UNKNOWN, REMOVED, EXPIRED, STRANGER])
def test_a_fresh_identity_that_is_refused_is_not_replaced(error: FleetError) -> None:
    """Else a fault of the Console would make a new Defender with every attempt."""
    for token in (USED, FRESH, FOREIGN):
        assert not enrol_again(error, IDENTITY, token, accepted=False)


def request(scan_id: str) -> ScanRequest:
    return ScanRequest(id=scan_id, reference="debian:12")


def test_scans_begin_in_order_and_at_most_so_many() -> None:
    queue = ScanQueue(2)
    assert [queue.offer(request(f"s-{n}")) for n in range(4)] == [True] * 4

    assert [started.id if (started := queue.start()) else None for _ in range(3)] == [
        "s-0",
        "s-1",
        None,
    ]
    queue.finished("s-0")
    assert (queue.running, queue.waiting) == (1, 2)
    assert queue.start() == request("s-2")
    assert queue.ids() == ["s-1", "s-2", "s-3"]


def test_a_scan_that_is_known_is_not_taken_twice() -> None:
    queue = ScanQueue(1)
    queue.offer(request("s-1"))
    queue.offer(request("s-2"))
    queue.start()

    assert not queue.offer(request("s-1"))
    assert not queue.offer(request("s-2"))
    queue.finished("s-1")
    assert queue.offer(request("s-1"))


def test_at_least_one_scan() -> None:
    with pytest.raises(ValueError):
        ScanQueue(0)


def record(port: int) -> ConnectionRecord:
    return ConnectionRecord("registry.test", port, "registry", "direct", True, NOW)


def test_contacts_are_kept_until_they_are_sent() -> None:
    log = ContactLog(max_waiting=250)
    for port in range(300):
        log.observe(record(port))

    batch = log.take()
    assert [each.port for each in batch] == list(range(50, 250))
    log.give_back(batch)
    assert log.take() == batch
    assert [each.port for each in log.take()] == list(range(250, 300))
    assert log.take() == []


def test_what_connections_carried_is_added_up() -> None:
    """A download reports once, a session often: neither may push out who was contacted."""
    log = ContactLog(max_waiting=10)
    log.observe(record(1))
    for _ in range(100):
        log.observe(replace(record(1), opened=False, received=5))

    first, carried = log.take()
    assert (first.opened, carried.opened, carried.received) == (True, False, 500)
    assert (log.opened, log.failed) == (1, 0)


def test_what_people_read_when_there_is_no_session() -> None:
    failure = Failure("egress.proxy_auth", "the proxy wants a password", "Set it.", "you", "tunnel")

    assert LinkState().describe() == "connecting"
    assert LinkState(connected=True, defender_id="d", route="direct").describe() == (
        "connected as d (direct)"
    )
    assert LinkState(failure=failure).describe() == (
        "not connected at hop tunnel: the proxy wants a password [egress.proxy_auth]\nSet it."
    )


def test_an_unexpected_error_keeps_its_text() -> None:
    """To itself: it could hold a password."""
    assert "p@ss" not in repr(as_failure(RuntimeError("p@ss")))
    assert as_failure(GarrisonError("said")).message == "said"
