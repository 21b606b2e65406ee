"""Wait for something to become true, and say what it was when it does not."""

import time
from collections.abc import Callable
from typing import TypeVar

from lab.errors import LabError

T = TypeVar("T")

STEP = 0.01
"""Seconds between two looks: short, so that waiting costs nothing worth measuring."""


def until(
    look: Callable[[], T | None],
    *,
    timeout: float,
    what: str,
    alive: Callable[[], None] = lambda: None,
    detail: Callable[[], str] = lambda: "",
) -> T:
    """Return the first value of `look` that is neither None nor False.

    timeout: seconds.
    alive: called on every round; raises when waiting has become pointless.
    detail: appended to the error, such as the tail of a log.

    Raises:
        LabError: `timeout` passed.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        alive()
        if time.monotonic() >= deadline:
            raise LabError(f"waited {timeout:g} s for {what}\n{detail()}".rstrip())
        time.sleep(STEP)
