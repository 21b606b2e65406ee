"""Errors as the API and the pages show them: RFC 9457 problems with our code and hint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from garrison.errors import GarrisonError, InvalidSettingError


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field of a request."""

    field: str
    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """One answer that is not the one asked for.

    headers: sent with it (`Retry-After`, `WWW-Authenticate`, `Allow`).
    """

    status: int
    code: str
    title: str
    detail: str
    hint: str = ""
    errors: tuple[FieldProblem, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The members of `application/problem+json`."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "hint": self.hint,
        }
        if self.errors:
            document["errors"] = [
                {"field": e.field, "code": e.code, "message": e.message, "hint": e.hint}
                for e in self.errors
            ]
        return document


class RequestError(GarrisonError):
    """A request that cannot be answered as asked; the base of the Console's own errors."""

    code = "request.invalid"
    status: ClassVar[int] = 400
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self._hint = hint

    @property
    def hint(self) -> str:
        return self._hint or self.default_hint

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that belong to the answer."""
        return {}


class NotFoundError(RequestError):
    """The thing asked for does not exist."""

    code = "request.not_found"
    status = 404


class ConflictError(RequestError):
    """The thing exists already, or its state does not allow this."""

    code = "request.conflict"
    status = 409


class InvalidFieldsError(RequestError):
    """Fields that cannot work, all of them at once."""

    code = "request.fields"
    status = 422

    def __init__(self, problems: Sequence[InvalidSettingError]) -> None:
        super().__init__("; ".join(p.message for p in problems))
        self.problems = list(problems)


class NotSignedInError(RequestError):
    """No session, or one that ended. Pages answer with the sign-in page."""

    code = "access.not_signed_in"
    status = 401

    def __init__(self) -> None:
        super().__init__("you are not signed in", "Sign in.")


class TokenError(RequestError):
    """No API token, or one that is not valid."""

    code = "access.token"
    status = 401

    def __init__(self, message: str = "this needs a valid API token") -> None:
        super().__init__(
            message,
            "Send `Authorization: Bearer TOKEN`; `garrison tokens create` makes a token.",
        )

    @property
    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="garrison"'}


class ForbiddenError(RequestError):
    """The caller is known and may not do this."""

    code = "access.forbidden"
    status = 403


class CsrfError(RequestError):
    """A form that did not come from our own page."""

    code = "access.csrf"
    status = 403

    def __init__(self) -> None:
        super().__init__("the form did not come from this Console", "Load the page again.")


class TooManyAttemptsError(RequestError):
    """Too many failed sign-ins. `retry_after`: seconds."""

    code = "access.too_many_attempts"
    status = 429

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            f"too many failed attempts; try again in {retry_after} s",
            "`garrison users reset NAME` sets a new password.",
        )
        self.retry_after = retry_after

    @property
    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self.retry_after)}
