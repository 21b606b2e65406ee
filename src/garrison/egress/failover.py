"""Several proxies in order: which failure moves on to the next, and how a bad one is left alone.

Only failures of a proxy itself move on; an answer of it (407, 403, a sign-in page) and whatever
the destination does stay what they are, since another proxy would hide them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from garrison.egress.endpoint import ProxyAddress
from garrison.egress.errors import (
    ConnectFailedError,
    ConnectionRefusedDirectError,
    ConnectTimeoutError,
    DestinationUnknownError,
    EgressError,
    NameServerError,
    ProxyAnswerError,
    ProxyBadAnswerError,
    ProxyCannotConnectError,
    ProxyClosedError,
    ProxyConnectionRefusedError,
    ProxyConnectTimeoutError,
    ProxyHeadTooLargeError,
    ProxyNotHttpError,
    ProxyRefusedError,
    ProxySilentError,
    ProxySpeaksTlsError,
    ProxyUnknownError,
    ProxyUnreachableError,
    ProxyUpstreamTimeoutError,
    UnreachableError,
)
from garrison.egress.handshake import proxy_status_error, squid_error
from garrison.egress.plan import Call, Left, Plan, Share
from garrison.egress.route import ViaProxy
from garrison.egress.trace import Trace

T = TypeVar("T")
Tell: TypeAlias = Callable[[Call, EgressError | None, Trace], None]
"""Told of every candidate that failed, and of the one that served, with its own steps."""

PAUSE = 30.0
MAX_PAUSE = 300.0
"""Seconds for which a bad proxy is asked last: doubled with each failure in a row."""
_TOO_LATE = 0.05

_PROXY_FAILURES = (
    ProxyUnknownError,
    ProxyConnectionRefusedError,
    ProxyConnectTimeoutError,
    ProxyUnreachableError,
    ProxyNotHttpError,
    ProxySpeaksTlsError,
    ProxyClosedError,
    ProxySilentError,
    ProxyHeadTooLargeError,
    ProxyBadAnswerError,
)
_WAY_FAILURES = (
    NameServerError,
    DestinationUnknownError,
    ConnectionRefusedDirectError,
    ConnectTimeoutError,
    UnreachableError,
    ConnectFailedError,
)
_OWN_ANSWERS = (ProxyCannotConnectError, ProxyUpstreamTimeoutError, ProxyRefusedError)


def moves_on(error: EgressError) -> bool:
    """Whether the next candidate may do better, because this one itself failed."""
    if isinstance(error, ProxyAnswerError):
        answer = error.answer
        return (
            isinstance(error, _OWN_ANSWERS)
            and answer is not None
            and answer.status >= 500
            # A cause that the proxy names is the destination's.
            and not squid_error(answer)
            and not proxy_status_error(answer)
        )
    return error.hop == "proxy-tls" or isinstance(error, (*_PROXY_FAILURES, *_WAY_FAILURES))


@dataclass(frozen=True, slots=True)
class Rest:
    """A proxy that failed. until: of the clock; failures: in a row; probed: somebody tries it."""

    until: float
    failures: int
    probed: bool = False


class ProxyHealth:
    """Which proxies failed lately. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._resting: dict[ProxyAddress, Rest] = {}

    def order(self, calls: Sequence[Call], now: float) -> list[Call]:
        """Those that rest go last. When a rest ends, the first who asks tries that proxy again;
        others go on without it until it is known how that went."""
        with self._lock:
            first, last = list[Call](), list[Call]()
            for call in calls:
                rest = self._rest_of(call)
                if rest is None or len(calls) == 1:
                    first.append(call)
                elif rest.until <= now:
                    self._resting[_proxy(call)] = Rest(now + PAUSE, rest.failures, probed=True)
                    first.append(call)
                else:
                    last.append(call)
            return first + last

    def failed(self, call: Call, now: float) -> None:
        if isinstance(call.route, ViaProxy):
            with self._lock:
                rest = self._rest_of(call)
                if rest is not None and rest.until > now and not rest.probed:
                    # Connections that began together fail together: that is one failure.
                    return
                failures = rest.failures + 1 if rest else 1
                pause = min(MAX_PAUSE, PAUSE * 2 ** min(failures - 1, 10))
                self._resting[_proxy(call)] = Rest(now + pause, failures)

    def served(self, call: Call) -> None:
        if isinstance(call.route, ViaProxy):
            with self._lock:
                self._resting.pop(_proxy(call), None)

    def resting(self, now: float) -> dict[ProxyAddress, Rest]:
        """Proxies that are left alone now."""
        with self._lock:
            return {proxy: rest for proxy, rest in self._resting.items() if rest.until > now}

    def forget(self) -> None:
        """Other settings: every proxy is worth a try again."""
        with self._lock:
            self._resting.clear()

    def _rest_of(self, call: Call) -> Rest | None:
        return self._resting.get(_proxy(call)) if isinstance(call.route, ViaProxy) else None


def _proxy(call: Call) -> ProxyAddress:
    assert isinstance(call.route, ViaProxy)
    return call.route.proxy


HEALTH = ProxyHealth()
"""Of this process."""


def first_that_works(
    calls: Sequence[Call],
    trace: Trace,
    attempt: Callable[[Call], Plan[T]],
    tell: Tell,
    health: ProxyHealth = HEALTH,
) -> Plan[T]:
    """Try the candidates in order, each within its share of the time.

    Raises EgressError: of the last that was tried; the trace has the steps of all.
    """
    order = health.order(calls, trace.clock())
    for index, call in enumerate(order):
        trace.via = str(call.route)
        others, mark = len(order) - index - 1, len(trace.steps)
        left: float = yield Left()
        yield Share(left / (others + 1) if others else None)
        try:
            result = yield from attempt(call)
        except EgressError as error:
            tell(call, error, Trace(trace.clock, trace.steps[mark:]))
            if not moves_on(error):
                health.served(call)
                raise
            if not isinstance(error, ProxyAnswerError):
                # One that answers may only have met a bad destination.
                health.failed(call, trace.clock())
            left = yield Left()
            if not others or left < _TOO_LATE:
                raise
        else:
            health.served(call)
            tell(call, None, Trace(trace.clock, trace.steps[mark:]))
            return result
    raise ValueError("no candidate")
