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

    code = "not_found"
    status = 404


class ConflictError(RequestError):
    """The thing exists already, or its state does not allow this."""

    code = "request.conflict"
    status = 409


class InvalidFieldsError(InvalidSettingError):
    """Fields that cannot work, all of them at once; `problems` has at least one."""

    code = "request.fields"

    def __init__(self, problems: Sequence[InvalidSettingError]) -> None:
        first = problems[0]
        super().__init__(first.field, "; ".join(p.message for p in problems), first.hint)
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


_TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}

# Errors of other packages, by their stable codes; a code ending in a dot stands for all under it.
_STATUS = {
    "not_found": 404,
    "name.taken": 409,
    "settings.stale": 409,
    "settings.invalid": 422,
    "request.bad_cursor": 400,
    "egress.bad_url": 422,
    "fleet.defender_not_connected": 409,
    "fleet.defender_silent": 504,
    "database.busy": 503,
    "database.disk": 503,
    "database.unavailable": 503,
    "egress.": 502,
}


def problem(
    status: int,
    code: str,
    detail: str,
    hint: str = "",
    errors: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
) -> Problem:
    """A problem with the title that belongs to its status."""
    title = _TITLES.get(status, "Error")
    return Problem(status, code, title, detail, hint, tuple(errors), headers or {})


def problem_of(error: GarrisonError) -> Problem:
    """How `error` is answered."""
    if isinstance(error, RequestError):
        return problem(error.status, error.code, error.message, error.hint, headers=error.headers)
    if isinstance(error, InvalidSettingError):
        each: Sequence[InvalidSettingError] = getattr(error, "problems", None) or [error]
        return problem(422, error.code, error.message, error.hint, _fields(each))
    family = error.code.partition(".")[0] + "."
    status = _STATUS.get(error.code) or _STATUS.get(family, 500)
    if error.code == "egress.bad_url":
        fields = [FieldProblem("url", error.code, error.message, error.hint)]
        return problem(status, error.code, error.message, error.hint, fields)
    return problem(status, error.code, error.message, error.hint)


def _fields(problems: Sequence[InvalidSettingError]) -> list[FieldProblem]:
    return [FieldProblem(p.field, p.code, p.message, p.hint) for p in problems]
