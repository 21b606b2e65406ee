"""Registries that need a user, a CA of their own, or plain HTTP."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from garrison.console.problems import ConflictError, InvalidFieldsError, NotFoundError
from garrison.console.proxy import KEEP, Keep
from garrison.console.state import AppState
from garrison.database import registries as rows
from garrison.database.keys import SEAL_REGISTRY
from garrison.database.page import MAX_LIMIT
from garrison.database.registries import RegistryRow
from garrison.egress import BadCertificateError, TrustBundle
from garrison.errors import InvalidSettingError
from garrison.images import BadReferenceError, ImageReference
from garrison.secret import Secret

_HOST = re.compile(r"[A-Za-z0-9.-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class RegistryForm:
    """What a person typed. password: a new one, None to remove it, KEEP to leave it."""

    host: str
    user: str = ""
    password: Secret | Keep | None = KEEP
    plain_http: bool = False
    ca: str = ""


def registries(state: AppState) -> list[RegistryRow]:
    """All, by host; passwords never."""
    with state.db.read() as c:
        return list(rows.page(c, MAX_LIMIT).items)


def registry(state: AppState, host: str) -> RegistryRow:
    """One of them. Raises NotFoundError."""
    with state.db.read() as c:
        row = rows.by_host(c, canonical_host(host))
    if row is None:
        raise NotFoundError(f"there is no registry {host}")
    return row


def add_registry(state: AppState, form: RegistryForm, actor: str) -> RegistryRow:
    """As `put_registry`, but never over one that is there. Raises ConflictError too."""
    return _put(state, form, actor, replace=False)


def put_registry(state: AppState, form: RegistryForm, actor: str) -> RegistryRow:
    """Add or change. Raises InvalidFieldsError (fields `host`, `user`, `password`, `ca`)."""
    return _put(state, form, actor, replace=True)


def delete_registry(state: AppState, host: str, actor: str) -> None:
    """Remove. Raises NotFoundError."""
    with state.db.write() as c:
        removed = rows.remove(c, canonical_host(host), actor=actor, now=datetime.now(UTC))
    if not removed:
        raise NotFoundError(f"there is no registry {host}")


def canonical_host(text: str) -> str:
    """The host as image references have it: Docker Hub's other names become `docker.io`."""
    host = text.strip().lower()
    try:
        return ImageReference.parse(f"{host}/library/any").domain
    except BadReferenceError:
        return host


def _put(state: AppState, form: RegistryForm, actor: str, *, replace: bool) -> RegistryRow:
    host = canonical_host(form.host)
    _check(form, host)
    with state.db.write() as c:
        before = rows.by_host(c, host)
        if before is not None and not replace:
            raise ConflictError(f"the registry {host} is there already", "Change it instead.")
        if form.password is KEEP:
            sealed = before.password if before else None
        else:
            given = form.password
            sealed = state.db.key.seal(SEAL_REGISTRY, given) if given else None
        return rows.put(
            c,
            host=host,
            user=form.user.strip(),
            password=sealed if form.user.strip() else None,
            plain_http=form.plain_http,
            ca=form.ca.strip(),
            actor=actor,
            now=datetime.now(UTC),
        )


def _check(form: RegistryForm, host: str) -> None:
    problems = []
    if not _HOST.fullmatch(host) or len(host) > 300:
        problems.append(
            InvalidSettingError(
                "host", "this is not a host", "Write it like registry.corp.test:5000."
            )
        )
    if ":" in form.user or not (form.user.isprintable() or not form.user):
        problems.append(InvalidSettingError("user", "a user name cannot have a colon"))
    if form.password is not KEEP and form.password and not form.user.strip():
        problems.append(InvalidSettingError("user", "a password needs a user"))
    if form.ca.strip():
        try:
            TrustBundle.parse(form.ca)
        except BadCertificateError as error:
            problems.append(
                InvalidSettingError("ca", f"CA certificates: {error}", "Paste whole PEM blocks.")
            )
        if form.plain_http:
            problems.append(
                InvalidSettingError("ca", "plain HTTP has no certificates", "Choose one of them.")
            )
    if problems:
        raise InvalidFieldsError(problems)
