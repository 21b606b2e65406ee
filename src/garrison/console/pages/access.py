"""/manage/access: API tokens, people, and who changed what."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import accounts as operations
from garrison.console.accounts import ADMINS, ALL_ROLES
from garrison.console.pages.view import Choice, Crumb, Mark, choices, crumbs, link
from garrison.console.pages.visit import Visit, field_errors, go, page
from garrison.console.problems import InvalidFieldsError

if TYPE_CHECKING:
    from garrison.database.accounts import ApiTokenRow
    from garrison.database.audit import AuditRow

PATH = "/manage/access"
LIMIT = 100
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
ROLES = (
    ("ci", "Scan in CI"),
    ("auditor", "Look at everything"),
    ("operator", "Scan and change alerts, registries, Defenders"),
    ("admin", "Everything"),
)
LIFETIMES = (("30", "30 days"), ("90", "90 days"), ("365", "1 year"), ("", "Until revoked"))


@dataclass(frozen=True, slots=True)
class TokenLine:
    id: str
    name: str
    role: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    state: Mark
    live: bool


@dataclass(frozen=True, slots=True)
class PersonLine:
    name: str
    role: str
    created_at: datetime
    disabled: bool


@dataclass(frozen=True, slots=True)
class NewToken:
    """secret: shown this once."""

    name: str
    secret: str
    url: str


@dataclass(frozen=True, slots=True)
class AccessPage:
    crumbs: tuple[Crumb, ...]
    tabs: tuple[Choice, ...]
    tokens: tuple[TokenLine, ...]
    people: tuple[PersonLine, ...]
    roles: tuple[Choice, ...]
    lifetimes: tuple[Choice, ...]
    may_change: bool
    name: str = ""
    new: NewToken | None = None
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditLine:
    at: datetime
    actor: str
    action: str
    target: str
    short_target: str
    detail: str


@dataclass(frozen=True, slots=True)
class AuditPage:
    crumbs: tuple[Crumb, ...]
    tabs: tuple[Choice, ...]
    rows: tuple[AuditLine, ...]
    first_page: str
    next_page: str


def routes() -> list[Route]:
    return [
        page(PATH, show),
        page(PATH, create, methods=("POST",), roles=ADMINS),
        page(f"{PATH}/audit", show_audit),
        page(f"{PATH}/tokens/{{id}}/revoke", revoke, methods=("POST",), roles=ADMINS),
    ]


def show(visit: Visit) -> Response:
    """Tokens and people."""
    return _answer(visit, _context(visit))


def create(visit: Visit) -> Response:
    """Make an API token; it is shown in this answer and never again."""
    form = visit.form
    days, role = form.text("lifetime"), form.text("role")
    if role not in ALL_ROLES:
        return _answer(visit, _context(visit, errors={"role": "Choose a role."}), status=422)
    try:
        made = operations.create_token(
            visit.state,
            form.text("name"),
            role,
            expires_at=visit.now + timedelta(days=int(days))
            if days in dict(LIFETIMES[:-1])
            else None,
            actor=visit.actor,
            now=visit.now,
        )
    except InvalidFieldsError as error:
        return _answer(visit, _context(visit, errors=field_errors(error.problems)), status=422)
    new = NewToken(made.row.name, made.secret.reveal(), visit.state.settings.console_url)
    return _answer(visit, _context(visit, new=new))


def revoke(visit: Visit) -> Response:
    operations.revoke_token(visit.state, visit.path("id"), actor=visit.actor, now=visit.now)
    return go(PATH, say="Revoked the token. Requests with it are refused from now on.")


def show_audit(visit: Visit) -> Response:
    """Who changed what."""
    cursor = visit.query.get("cursor") or None
    found = operations.audit(visit.state, LIMIT, cursor)
    here = f"{PATH}/audit"
    context = AuditPage(
        crumbs=crumbs("Manage", ("Access", PATH), "Audit log"),
        tabs=_tabs("audit"),
        rows=tuple(audit_line(row) for row in found.items),
        first_page=here if cursor else "",
        next_page=link(here, cursor=found.next_cursor) if found.next_cursor else "",
    )
    return visit.page("audit.html", context, title="Audit log", here="access")


def audit_line(row: AuditRow) -> AuditLine:
    short = _UUID.sub(lambda found: f"{found[0][-12:]}", row.target)
    return AuditLine(row.at, row.actor, row.action, row.target, short, describe(row.detail))


def describe(detail: Mapping[str, Any]) -> str:
    """An audit row's detail in one line: `revision: 42; user: svc-a, now svc-b`."""
    parts = []
    for name, value in detail.items():
        if name == "changed" and isinstance(value, Mapping):
            parts += [_change(field_name, change) for field_name, change in value.items()]
        elif value not in (None, "", [], {}):
            parts.append(f"{name.replace('_', ' ')}: {_value(value)}")
    return "; ".join(parts)


def _change(name: str, change: object) -> str:
    label = name.replace("_", " ")
    if isinstance(change, list) and len(change) == 2:
        old, new = (_value(value) or "nothing" for value in change)
        return f"{label}: {old}, now {new}"
    return f"{label}: {_value(change)}"


def _value(value: object) -> str:
    if isinstance(value, str):
        return re.sub(r"^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)[\d:.]*\+00:00$", r"\1 \2 UTC", value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_value(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_value(item)}" for name, item in value.items())
    return json.dumps(value, ensure_ascii=False)


def token_line(row: ApiTokenRow, now: datetime) -> TokenLine:
    """One API token, and whether it still works."""
    if row.revoked_at is not None:
        state = Mark("idle", "Revoked")
    elif row.expires_at is not None and row.expires_at <= now:
        state = Mark("idle", "Expired")
    else:
        state = Mark("ok", "Works")
    return TokenLine(
        id=row.id,
        name=row.name,
        role=row.role,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        last_used_at=row.last_used_at,
        state=state,
        live=state.shape == "ok",
    )


def _tabs(chosen: str) -> tuple[Choice, ...]:
    return (
        Choice("tokens", "Tokens and people", chosen == "tokens", href=PATH),
        Choice("audit", "Audit log", chosen == "audit", href=f"{PATH}/audit"),
    )


def _context(
    visit: Visit, *, new: NewToken | None = None, errors: Mapping[str, str] | None = None
) -> AccessPage:
    form = visit.form
    return AccessPage(
        crumbs=crumbs("Manage", "Access"),
        tabs=_tabs("tokens"),
        tokens=tuple(token_line(row, visit.now) for row in operations.tokens(visit.state)),
        people=tuple(
            PersonLine(row.name, row.role, row.created_at, row.disabled_at is not None)
            for row in operations.users(visit.state)
        ),
        roles=choices(ROLES, form.text("role") or "ci"),
        lifetimes=choices(LIFETIMES, form.text("lifetime") or "90"),
        may_change=visit.may(*ADMINS),
        name=form.text("name") if errors else "",
        new=new,
        errors=errors or {},
    )


def _answer(visit: Visit, context: AccessPage, *, status: int = 200) -> Response:
    return visit.page("access.html", context, title="Access", here="access", status=status)
