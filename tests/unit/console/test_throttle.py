"""Guessing is slowed down, and the memory of it is bounded."""

from __future__ import annotations

from garrison.console.throttle import Throttle
from tests.unit.console.harness import NOW, later


def test_first_failures_are_free_then_waits_double() -> None:
    throttle = Throttle(free=3, first=2.0, longest=10.0)
    waits = []
    for _ in range(8):
        throttle.failed("k", NOW)
        waits.append(throttle.wait("k", NOW))

    assert waits == [0, 0, 2, 4, 8, 10, 10, 10]


def test_waiting_and_success_end_it() -> None:
    throttle = Throttle(free=1, first=2.0)
    throttle.failed("k", NOW)

    assert throttle.wait("k", later(1)) == 1
    assert throttle.wait("k", later(2)) == 0

    throttle.succeeded("k")
    assert throttle.wait("k", NOW) == 0


def test_other_keys_do_not_wait() -> None:
    throttle = Throttle(free=1)
    throttle.failed("k", NOW)

    assert throttle.wait("other", NOW) == 0


def test_a_long_quiet_starts_anew() -> None:
    throttle = Throttle(free=2, longest=10.0)
    for _ in range(5):
        throttle.failed("k", NOW)
    throttle.failed("k", later(21))

    assert throttle.wait("k", later(21)) == 0


def test_memory_is_bounded() -> None:
    throttle = Throttle(capacity=100)
    for number in range(1000):
        throttle.failed(str(number), NOW)

    assert len(throttle._failures) == 100
