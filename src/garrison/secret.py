"""A value that must not be printed."""

from __future__ import annotations

import hmac


class Secret:
    """Text that prints as `***`; only `reveal()` gives it.

    Not hashable by value and not serialisable by accident: pickling raises TypeError.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself: call it where it leaves the process, nowhere else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(
            self._value.encode(), other._value.encode()
        )

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not serialised")
