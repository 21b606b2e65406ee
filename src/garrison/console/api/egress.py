"""`/egress`: which way a connection takes, trying one, and what was contacted."""

from __future__ import annotations

from fastapi import APIRouter

from garrison.console import contacts, proxy, trust
from garrison.console.api.common import Operator, Reader, State, Wanted, item_list
from garrison.console.api.models import (
    CertificateOut,
    ConnectionOut,
    EgressIn,
    ItemList,
    RouteOut,
    TestOut,
    TrustIn,
    TrustOut,
)
from garrison.database.contacts import ContactRow

router = APIRouter(tags=["Egress"], prefix="/egress")


@router.post("/explain")
async def explain_route(state: State, caller: Reader, body: EgressIn) -> RouteOut:
    """The route a URL takes, and why; opens nothing."""
    return RouteOut(**await proxy.explain(state, body.url, body.purpose, body.from_))


@router.post("/test")
async def test_connection(state: State, caller: Operator, body: EgressIn) -> TestOut:
    """Connect, and say what each hop did."""
    return TestOut(**await proxy.test(state, body.url, body.purpose, body.from_))


@router.post("/trust")
async def trust_authority(state: State, caller: Operator, body: TrustIn) -> TrustOut:
    """Test again; if the chain leads to the CA with this fingerprint, trust it from now on."""
    done = await trust.trust_ca(
        state, body.url, body.purpose, body.from_, body.fingerprint, caller.actor
    )
    return TrustOut(
        certificate=CertificateOut(**done.certificate),
        revision=done.revision,
        test=TestOut(**done.test),
    )


@router.get("/connections")
def list_connections(state: State, caller: Reader, page: Wanted) -> ItemList[ConnectionOut]:
    """Outside hosts that were contacted: by whom, why, by which route, last result."""
    return item_list(contacts.page(state, page.limit, page.cursor), contact_view)


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
    )
