"""/manage/registries: registries that need a user, a CA of their own, or plain HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import registries as operations
from garrison.console.accounts import OPERATORS
from garrison.console.pages.view import Crumb, crumbs, segment
from garrison.console.pages.visit import Visit, field_errors, go, page
from garrison.console.problems import InvalidFieldsError, NotFoundError
from garrison.console.proxy import KEEP, Keep
from garrison.console.registries import RegistryForm
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.database.registries import RegistryRow

PATH = "/manage/registries"


@dataclass(frozen=True, slots=True)
class RegistryLine:
    host: str
    user: str
    password_set: bool
    plain_http: bool
    certificates: int
    updated_at: datetime
    href: str


@dataclass(frozen=True, slots=True)
class RegistriesPage:
    crumbs: tuple[Crumb, ...]
    registries: tuple[RegistryLine, ...]
    may_change: bool


@dataclass(frozen=True, slots=True)
class RegistryPage:
    """known: it is stored already, so its host stays and an empty password keeps the stored one."""

    crumbs: tuple[Crumb, ...]
    heading: str
    known: bool
    host: str = ""
    user: str = ""
    password_set: bool = False
    plain_http: bool = False
    ca: str = ""
    errors: Mapping[str, str] = field(default_factory=dict)


def routes() -> list[Route]:
    return [
        page(PATH, show),
        page(f"{PATH}/new", show_new, roles=OPERATORS),
        page(PATH, put, methods=("POST",), roles=OPERATORS),
        page(f"{PATH}/{{host}}", show_one, roles=OPERATORS),
        page(f"{PATH}/{{host}}/remove", remove, methods=("POST",), roles=OPERATORS),
    ]


def show(visit: Visit) -> Response:
    """All of them."""
    context = RegistriesPage(
        crumbs=crumbs("Manage", "Registries"),
        registries=tuple(registry_line(row) for row in operations.registries(visit.state)),
        may_change=visit.may(*OPERATORS),
    )
    return visit.page("registries.html", context, title="Registries", here="registries")


def show_new(visit: Visit) -> Response:
    return _form(visit, RegistryPage(_crumbs("Add a registry"), "Add a registry", known=False))


def show_one(visit: Visit) -> Response:
    row = operations.registry(visit.state, visit.path("host"))
    context = RegistryPage(
        _crumbs(row.host),
        row.host,
        known=True,
        host=row.host,
        user=row.user,
        password_set=row.password is not None,
        plain_http=row.plain_http,
        ca=row.ca,
    )
    return _form(visit, context)


def put(visit: Visit) -> Response:
    """Add a registry, or change one."""
    form = visit.form
    host = form.text("host")
    password: Secret | Keep | None = KEEP
    if typed := form.raw("password"):
        password = Secret(typed)
    elif form.checked("password_remove"):
        password = None
    try:
        row = operations.put_registry(
            visit.state,
            RegistryForm(
                host=host,
                user=form.text("user"),
                password=password,
                plain_http=form.checked("plain_http"),
                ca=form.raw("ca").replace("\r\n", "\n").strip(),
            ),
            visit.actor,
        )
    except InvalidFieldsError as error:
        return _refused(visit, host, error)
    return go(PATH, say=f"Saved {row.host}. The next scan uses it.")


def remove(visit: Visit) -> Response:
    host = visit.path("host")
    operations.delete_registry(visit.state, host, visit.actor)
    return go(PATH, say=f"Removed {host}. It is asked without credentials from now on.")


def registry_line(row: RegistryRow) -> RegistryLine:
    return RegistryLine(
        host=row.host,
        user=row.user,
        password_set=row.password is not None,
        plain_http=row.plain_http,
        certificates=row.ca.count("-----BEGIN CERTIFICATE-----"),
        updated_at=row.updated_at,
        href=f"{PATH}/{segment(row.host)}",
    )


def _refused(visit: Visit, host: str, error: InvalidFieldsError) -> Response:
    form = visit.form
    try:
        stored = operations.registry(visit.state, host)
    except NotFoundError:
        stored = None
    heading = stored.host if stored and form.checked("known") else "Add a registry"
    context = RegistryPage(
        _crumbs(heading),
        heading,
        known=form.checked("known"),
        host=host,
        user=form.text("user"),
        password_set=stored is not None and stored.password is not None,
        plain_http=form.checked("plain_http"),
        ca=form.raw("ca"),
        errors=field_errors(error.problems),
    )
    return _form(visit, context, status=422)


def _form(visit: Visit, context: RegistryPage, *, status: int = 200) -> Response:
    return visit.page(
        "registry.html", context, title=context.heading, here="registries", status=status
    )


def _crumbs(name: str) -> tuple[Crumb, ...]:
    return crumbs("Manage", ("Registries", PATH), name)
