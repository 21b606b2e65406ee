"""Proxies in order: which failure moves on, how long a bad one rests, and who shares the time."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from garrison.egress import EgressError, ProxySettings, Target, choose_route
from garrison.egress.errors import (
    ProxyAuthRequiredError,
    ProxyCannotConnectError,
    ProxyCannotResolveError,
    ProxyConnectionRefusedError,
    ProxyDeniedError,
    ProxyPortalError,
    ProxyRateLimitError,
    ProxySilentError,
    ProxyUnknownError,
    TlsClosedError,
    UnknownCaError,
)
from garrison.egress.failover import (
    MAX_PAUSE,
    PAUSE,
    ProxyHealth,
    first_that_works,
    moves_on,
)
from garrison.egress.plan import (
    Address,
    Call,
    Connect,
    Left,
    Limit,
    Plan,
    Receive,
    Resolve,
    Send,
    Share,
    calls_for,
    open_call,
)
from garrison.egress.trace import Answer, Trace

TARGET = Target.parse("https://x.test/")


def calls(names: str = "abc", url: str = "https://x.test/") -> tuple[Call, ...]:
    first, others = names[0], list(names[1:])
    settings = ProxySettings.build(
        http_proxy=f"http://{first}.test:1",
        more={
            "proxies": [{"name": one, "address": f"http://{one}.test:1"} for one in others],
            "failover": others,
        },
    )
    target = Target.parse(url)
    return calls_for(target, choose_route(target, settings, "intel"), settings)


def name(call: Call) -> str:
    return str(call.route)[0]


PROXY, DEST = calls()[0].route, TARGET.endpoint
P = PROXY.proxy.endpoint  # type: ignore[union-attr]


def answered(kind: Any, status: int, **headers: str) -> EgressError:
    fields = {key.replace("_", "-"): value for key, value in headers.items()}
    error: EgressError = kind(P, DEST, Answer(status, headers=fields))
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ProxyUnknownError(P), True),
        (ProxyConnectionRefusedError(P), True),
        (ProxySilentError(P, 1.0, 0), True),
        (answered(ProxyCannotConnectError, 503), True),
        (answered(ProxyCannotConnectError, 502), True),
        # Squid says that the destination is what failed.
        (answered(ProxyCannotConnectError, 503, x_squid_error="ERR_CONNECT_FAIL 111"), False),
        (answered(ProxyCannotConnectError, 502, proxy_status="p; error=connection_refused"), False),
        (answered(ProxyCannotResolveError, 503, x_squid_error="ERR_DNS_FAIL 0"), False),
        (answered(ProxyDeniedError, 403), False),
        (ProxyAuthRequiredError(P, DEST, Answer(407), ("Basic",)), False),
        (answered(ProxyRateLimitError, 429), False),
        (ProxyPortalError(P, DEST, Answer(302), "redirects"), False),
        (TlsClosedError(DEST, True), False),
        (UnknownCaError(DEST, (), True), False),
    ],
)
def test_only_the_proxys_own_failures_move_on(error: EgressError, expected: bool) -> None:
    assert moves_on(error) is expected


class Driver:
    """Runs a plan without sockets. perform: the result of an operation, or an exception."""

    def __init__(self, perform: Callable[[Any], Any], seconds: float = 30.0) -> None:
        self.perform, self.end, self.now = perform, seconds, 0.0
        self.shares: list[float | None] = []

    def run(self, plan: Plan[Any]) -> Any:
        operation = next(plan)
        try:
            while True:
                try:
                    result = self._result(operation)
                except OSError as error:
                    operation = plan.throw(error)
                else:
                    operation = plan.send(result)
        except StopIteration as stop:
            return stop.value

    def _result(self, operation: Any) -> Any:
        if isinstance(operation, Left):
            return self.end - self.now
        if isinstance(operation, Share):
            self.shares.append(operation.seconds)
            return None
        return self.perform(operation)


def attempt(
    bad: str, told: list[str], health: ProxyHealth, *, names: str = "abc", now: float = 0.0
) -> str:
    """Open by the first of `names` that is not in `bad`; those refuse."""
    current = [""]

    def perform(operation: Any) -> Any:
        if isinstance(operation, Resolve):
            current[0] = operation.endpoint.host[0]
            return (Address(socket.AF_INET, ("127.0.0.1", 1)),)
        if isinstance(operation, Connect):
            if current[0] in bad:
                raise ConnectionRefusedError(errno.ECONNREFUSED, "")
            return operation.addresses[0]
        if isinstance(operation, Receive):
            return b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
        assert isinstance(operation, Send | Limit)
        return None

    driver = Driver(perform)
    trace = Trace(lambda: now)

    def tell(call: Call, error: EgressError | None, own: Trace) -> None:
        told.append(f"{name(call)} {error.code if error else 'ok'}")
        assert {step.via for step in own.steps} == {str(call.route)}

    plan = first_that_works(calls(names), trace, lambda call: open_call(call, trace), tell, health)
    with pytest.raises(EgressError) as error:
        driver.run(plan)
    attempted = list(dict.fromkeys(step.via[0] for step in trace.steps))
    assert attempted == [entry[0] for entry in told[-len(attempted) :]]
    return error.value.code


def test_the_next_is_tried_and_the_trace_has_all() -> None:
    told: list[str] = []
    assert attempt("ab", told, ProxyHealth()) == "egress.proxy_denied"
    assert told == [
        "a egress.proxy_connection_refused",
        "b egress.proxy_connection_refused",
        "c egress.proxy_denied",
    ]


def test_a_no_of_the_first_is_the_answer() -> None:
    told: list[str] = []
    assert attempt("", told, ProxyHealth()) == "egress.proxy_denied"
    assert told == ["a egress.proxy_denied"]


def test_the_last_failure_is_told_when_all_fail() -> None:
    told: list[str] = []
    assert attempt("abc", told, ProxyHealth()) == "egress.proxy_connection_refused"
    assert len(told) == 3


def test_each_candidate_gets_its_share() -> None:
    def perform(operation: Any) -> Any:
        if isinstance(operation, Resolve):
            return (Address(socket.AF_INET, ("127.0.0.1", 1)),)
        assert isinstance(operation, Connect)
        assert driver.shares
        driver.now += driver.shares[-1] or 0.0
        raise TimeoutError

    driver = Driver(perform, seconds=30.0)
    trace = Trace(lambda: driver.now)
    plan = first_that_works(
        calls(), trace, lambda call: open_call(call, trace), lambda *_: None, ProxyHealth()
    )
    with pytest.raises(EgressError):
        driver.run(plan)
    # A third of all, half of the rest, all that is left then.
    assert driver.shares == [10.0, 10.0, None]


def test_a_bad_proxy_rests_and_is_tried_again_by_one() -> None:
    health, told = ProxyHealth(), list[str]()
    attempt("a", told, health)
    told.clear()
    attempt("a", told, health, now=1.0)
    assert told == ["b egress.proxy_denied"]
    told.clear()
    # Over: the first who asks tries it; another, meanwhile, does not.
    order = health.order(calls(), PAUSE)
    assert "".join(map(name, order)) == "abc"
    assert "".join(map(name, health.order(calls(), PAUSE))) == "bca"
    health.failed(order[0], PAUSE + 1)
    assert "".join(map(name, health.order(calls(), PAUSE + 31))) == "bca"
    assert "".join(map(name, health.order(calls(), PAUSE + 1 + 2 * PAUSE))) == "abc"
    health.served(order[0])
    assert "".join(map(name, health.order(calls(), PAUSE + 2))) == "abc"


def test_failures_together_are_one() -> None:
    health = ProxyHealth()
    first = calls()[0]
    for _ in range(20):
        health.failed(first, 0.0)
    (rest,) = health.resting(0.0).values()
    assert (rest.failures, rest.until) == (1, PAUSE)


def test_the_pause_grows_to_a_limit() -> None:
    health, now = ProxyHealth(), 0.0
    first = calls()[0]
    pauses = []
    for _ in range(6):
        health.failed(first, now)
        (rest,) = health.resting(now).values()
        pauses.append(rest.until - now)
        now = rest.until
        health.order(calls(), now)
    assert pauses == [30.0, 60.0, 120.0, 240.0, MAX_PAUSE, MAX_PAUSE]


def test_an_only_proxy_is_never_left_out() -> None:
    health = ProxyHealth()
    (only,) = calls("a")
    health.failed(only, 0.0)
    assert health.order((only,), 1.0) == [only]


def test_a_destination_that_fails_does_not_blame_the_proxy() -> None:
    health = ProxyHealth()
    attempt("", [], health)
    assert health.resting(0.0) == {}
