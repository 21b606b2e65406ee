"""The proxy settings: one row per save, the newest in force."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select
from sqlalchemy.exc import IntegrityError

from garrison.database import audit
from garrison.database.errors import StaleRevisionError
from garrison.database.page import Keyset, Page
from garrison.database.tables import proxy_settings


@dataclass(frozen=True, slots=True)
class ProxyRow:
    """One saved version. password: sealed for keys.SEAL_PROXY; None when there is none.

    more: the plain form of what goes beyond five; each proxy's `password` is sealed, in Base64.
    """

    revision: int
    http_proxy: str
    no_proxy: tuple[str, ...]
    ca: str
    user: str
    password: bytes | None
    saved_at: datetime
    saved_by: str
    more: Mapping[str, Any] = field(default_factory=dict)


def current(c: Connection) -> ProxyRow | None:
    """The settings in force; None before the first save."""
    newest = select(proxy_settings).order_by(proxy_settings.c.revision.desc()).limit(1)
    row = c.execute(newest).one_or_none()
    return None if row is None else _row(row)


def save(
    c: Connection,
    *,
    http_proxy: str,
    no_proxy: Sequence[str],
    ca: str,
    user: str,
    password: bytes | None,
    more: Mapping[str, Any],
    expected_revision: int | None,
    actor: str,
    now: datetime,
) -> int:
    """Put these settings in force; the new revision, starting at 1. Writes its audit row.

    password: sealed; the caller passes `current().password` to keep it.
    expected_revision: what the person saw (0 before the first save); None: does not matter.

    Raises:
        StaleRevisionError: the settings in force are no longer `expected_revision`.
    """
    before = current(c)
    revision = 0 if before is None else before.revision
    if expected_revision is not None and expected_revision != revision:
        raise StaleRevisionError(expected_revision, revision)
    after = ProxyRow(
        revision + 1, http_proxy, tuple(no_proxy), ca, user, password, now, actor, more
    )
    try:
        c.execute(insert(proxy_settings), _values(after))
    except IntegrityError:
        # PostgreSQL: another writer took this revision after we looked.
        raise StaleRevisionError(revision, revision + 1) from None
    detail = {"revision": after.revision, "changed": _changes(before, after)}
    audit.record(
        c, actor=actor, action="proxy.save", target="settings/proxy", detail=detail, now=now
    )
    return after.revision


def history(c: Connection, limit: int = 50, cursor: str | None = None) -> Page[ProxyRow]:
    """Every save, the newest first."""
    order = Keyset("proxy", [proxy_settings.c.revision], [int], descending=True)
    return order.fetch(c, select(proxy_settings), limit=limit, cursor=cursor, make=_row)


def _row(row: Row[Any]) -> ProxyRow:
    return ProxyRow(
        row.revision,
        row.http_proxy,
        tuple(row.no_proxy),
        row.ca,
        row.user,
        row.password,
        row.saved_at,
        row.saved_by,
        row.more,
    )


def _values(row: ProxyRow) -> dict[str, Any]:
    return {
        "revision": row.revision,
        "http_proxy": row.http_proxy,
        "no_proxy": list(row.no_proxy),
        "ca": row.ca,
        "user": row.user,
        "password": row.password,
        "more": dict(row.more),
        "saved_at": row.saved_at,
        "saved_by": row.saved_by,
    }


def _changes(before: ProxyRow | None, after: ProxyRow) -> dict[str, Any]:
    """What the audit row says: old and new values, but neither certificates nor passwords."""
    changed: dict[str, Any] = {}
    for name in ("http_proxy", "no_proxy", "user"):
        old = getattr(before, name) if before else ("" if name != "no_proxy" else ())
        new = getattr(after, name)
        if old != new:
            changed[name] = [old, new]
    if (before.ca if before else "") != after.ca:
        changed["ca"] = "set" if after.ca else "removed"
    if (before.password if before else None) != after.password:
        changed["password"] = "set" if after.password else "removed"
    return changed | more_changes(before.more if before else {}, after.more)


def more_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """By field the value before and after: no secret, of a CA the start of its SHA-256."""
    old, new = _shown(before), _shown(after)
    changed: dict[str, Any] = {
        name: [old.get(name), new.get(name)]
        for name in (*old, *(name for name in new if name not in old))
        if old.get(name) != new.get(name)
    }
    sealed = {one["name"]: one.get("password") for one in before.get("proxies", ())}
    for one in after.get("proxies", ()):
        if one.get("password") != sealed.get(one["name"]):
            changed[f"password of {one['name']}"] = "set" if one.get("password") else "removed"
    return changed


def _shown(more: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in more.items() if value}
    # What is on or empty unless somebody chose otherwise is no change when it first is written.
    if more.get("direct_in_cluster", True):
        shown.pop("direct_in_cluster", None)
    else:
        shown["direct_in_cluster"] = False
    if shown.get("auth") == "auto":
        del shown["auth"]
    if "proxies" in shown:
        shown["proxies"] = [
            {name: value for name, value in one.items() if name != "password"}
            for one in shown["proxies"]
        ]
    if "destination_ca" in shown:
        shown["destination_ca"] = [
            {
                "destinations": one["destinations"],
                "sha256": hashlib.sha256(one["ca"].encode()).hexdigest()[:16],
            }
            for one in shown["destination_ca"]
        ]
    return shown
