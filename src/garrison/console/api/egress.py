"""`/egress`: which way a connection takes, and trying one."""

from __future__ import annotations

from fastapi import APIRouter

from garrison.console import proxy, trust
from garrison.console.api.common import Operator, Reader, State
from garrison.console.api.models import (
    CertificateOut,
    ExplainIn,
    RouteOut,
    TestIn,
    TestOut,
    TrustIn,
    TrustOut,
)

router = APIRouter(tags=["Egress"], prefix="/egress")


@router.post("/explain")
async def explain_route(state: State, caller: Reader, body: ExplainIn) -> RouteOut:
    """The route a URL takes, and why; opens nothing."""
    return RouteOut(**await proxy.explain(state, body.url, body.purpose, body.from_, body.group))


@router.post("/test")
async def test_connection(state: State, caller: Operator, body: TestIn) -> TestOut:
    """Connect, and say what each hop did."""
    return TestOut(**await proxy.test(state, body.url, body.purpose, body.from_, body.timeout))


@router.post("/trust")
async def trust_authority(state: State, caller: Operator, body: TrustIn) -> TrustOut:
    """Test again; if the chain leads to the CA with this fingerprint, trust it from now on."""
    done = await trust.trust_ca(
        state, body.url, body.purpose, body.from_, body.fingerprint, caller.actor, body.timeout
    )
    return TrustOut(
        certificate=CertificateOut(**done.certificate),
        revision=done.revision,
        test=TestOut(**done.test),
    )
