"""The root of every error that a user can meet."""

from __future__ import annotations

from typing import ClassVar


class GarrisonError(Exception):
    """Something a person must know: a stable code, what happened, what to do.

    `code` never changes once released; the message and the hint may, and hold no secret.
    """

    code: ClassVar[str] = "internal"

    @property
    def message(self) -> str:
        """What happened, in one sentence."""
        return str(self)

    @property
    def hint(self) -> str:
        """What to do about it; empty when nothing can be said."""
        return ""


class InvalidSettingError(GarrisonError):
    """A value that cannot work.

    `field` is the setting's name in the API (`http_proxy`, `no_proxy`, `ca`, …), so that a form
    can show the error beside it.
    """

    code = "settings.invalid"

    def __init__(self, field: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.field = field
        self._hint = hint

    @property
    def hint(self) -> str:
        return self._hint
