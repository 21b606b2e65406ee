"""`/egress`: what was contacted, what has to be allowed, and how the routes do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response

from garrison.console import allow_list, contacts
from garrison.console.api.common import Reader, State, Wanted, failure, item_list
from garrison.console.api.models import (
    AllowListEntryOut,
    AllowListOut,
    ConnectionOut,
    HealthOut,
    ItemList,
    ProxyHealthOut,
    PurposeHealthOut,
    RouteHealthOut,
)
from garrison.console.health import Health, PurposeHealth, RouteHealth
from garrison.console.state import AppState
from garrison.database.contacts import ContactRow
from garrison.database.contacts import Wanted as Filter

router = APIRouter(tags=["Egress"], prefix="/egress")

Since = Annotated[
    datetime | None, Query(description="First contacted then or later (RFC 3339 with zone)")
]
Search = Annotated[str, Query(max_length=300, description="Part of the host's name")]
PurposeWanted = Annotated[str, Query(max_length=20, description="Only this purpose")]
Failing = Annotated[bool, Query(description="Only where the last connection failed")]


@router.get("/connections")
def list_connections(
    state: State,
    caller: Reader,
    page: Wanted,
    search: Search = "",
    purpose: PurposeWanted = "",
    since: Since = None,
    failing: Failing = False,
) -> ItemList[ConnectionOut]:
    """Outside hosts that were contacted: by whom, why, by which route, last result."""
    wanted = wanted_of(search, purpose, since, failing)
    return item_list(contacts.page(state, page.limit, page.cursor, wanted), contact_view)


@router.get(
    "/allow-list",
    responses={200: {"content": {"text/csv": {}, "text/plain": {}}, "description": "The list"}},
)
def export_allow_list(
    state: State,
    caller: Reader,
    format: Annotated[allow_list.Format, Query(description="Squid: `dstdomain` rules")] = "json",
    via: Annotated[allow_list.Via, Query(description="Only what goes by a proxy, or not")] = "any",
    search: Search = "",
    purpose: PurposeWanted = "",
    since: Since = None,
    failing: Failing = False,
) -> AllowListOut:
    """What a proxy or a firewall has to allow: each host and port once.

    Without this machine itself, and without hosts that only connection tests have contacted.
    """
    listed = allow_list_items(state, wanted_of(search, purpose, since, failing), via)
    if format != "json":
        media = allow_list.MEDIA[format][0]
        return Response(allow_list.render(listed, format), media_type=media)  # type: ignore[return-value]
    return AllowListOut(items=[AllowListEntryOut(**each) for each in listed])


@router.get("/health")
def show_health(state: State, caller: Reader) -> HealthOut:
    """How every purpose, proxy and route does; what is over does not alarm."""
    return health_view(state, contacts.health(state, datetime.now(UTC)))


def wanted_of(search: str, purpose: str, since: datetime | None, failing: bool) -> Filter:
    """The filter of both lists; a moment without a zone is UTC."""
    if since is not None and since.tzinfo is None:
        since = since.replace(tzinfo=UTC)
    return Filter(search, (purpose,) if purpose else (), since, failing)


def allow_list_items(state: AppState, wanted: Filter, via: allow_list.Via) -> list[dict[str, Any]]:
    """The entries as `allow_list.render` takes them."""
    return [each.as_dict() for each in allow_list.entries(contacts.every(state, wanted), via)]


def health_view(state: AppState, health: Health) -> HealthOut:
    """Health as the API shows it."""
    return HealthOut(
        at=health.at,
        purposes=[_purpose(state, each) for each in health.purposes],
        proxies=[ProxyHealthOut.model_validate(each) for each in health.proxies],
        routes=[_route(each) for each in health.routes],
    )


def _purpose(state: AppState, each: PurposeHealth) -> PurposeHealthOut:
    row = contacts.contact(state, each.row) if each.row else None
    said = None
    if row is not None:
        told = {"code": row.fail_code, "who": row.fail_who, "hop": row.fail_hop}
        said = failure({"message": "", **(row.failure or {}), **told})
    return PurposeHealthOut(
        purpose=each.purpose,  # type: ignore[arg-type]
        state=each.state,
        routes=each.routes,
        failing=each.failing,
        last_ok_at=each.last_ok_at,
        last_failed_at=each.last_failed_at,
        last_failure=said,
    )


def _route(each: RouteHealth) -> RouteHealthOut:
    flow = each.flow
    return RouteHealthOut(
        source=contacts.node_name(flow),
        sources=flow.sources,
        failing=flow.failing,
        purpose=flow.purpose,
        host=flow.host,
        port=flow.port,
        route=flow.route,
        state=each.state,
        stopped=each.stopped,
        code=flow.code,
        hop=flow.hop,
        first_at=flow.first_seen,
        last_at=flow.last_seen,
        last_ok_at=flow.last_ok_at,
        last_failed_at=flow.last_failed_at,
        connections=flow.connections,
        bytes=flow.bytes,
    )


def contact_view(row: ContactRow) -> ConnectionOut:
    """A contact as the API shows it."""
    return ConnectionOut(
        host=row.host,
        port=row.port,
        purpose=row.purpose,
        route=row.route,
        source=row.source,
        source_name=row.source_name,
        first_at=row.first_seen,
        last_at=row.last_seen,
        succeeded=row.succeeded,
        failed=row.failed,
        last_ok=row.last_ok,
        last_code=row.last_code,
        last_ok_at=row.last_ok_at,
        last_failed_at=row.last_failed_at,
        sent=row.sent,
        received=row.received,
    )
