"""What a connection test found, as it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from garrison.egress.endpoint import Endpoint
from garrison.egress.errors import (
    EgressError,
    InterceptedError,
    ProxyUnknownCaError,
    UnknownCaError,
)
from garrison.egress.interception import Interception
from garrison.egress.plan import Checked, redirected_to
from garrison.egress.route import Explanation
from garrison.egress.trace import Answer, Note, TestResult, Trace

INSPECTED = "egress.inspected"
REDIRECTED = "egress.redirected_elsewhere"


def passed(
    explanation: Explanation, destination: Endpoint, trace: Trace, checked: Checked, origin: str
) -> TestResult:
    found = checked.opened.interception(destination.host)
    return TestResult(
        ok=True,
        url=explanation.url,
        route=explanation.as_dict(),
        steps=tuple(trace.steps),
        intercepted_by=checked.opened.intercepted_by,
        answer=checked.answer,
        origin=origin,
        interception=None if found is None else found.as_dict(),
        notes=notes(destination, checked.answer, found),
    )


def failed(explanation: Explanation, trace: Trace, error: EgressError, origin: str) -> TestResult:
    found = error.interception
    return TestResult(
        ok=False,
        url=explanation.url,
        route=explanation.as_dict(),
        steps=tuple(trace.steps),
        intercepted_by=error.intercepted_by,
        error=error.as_failure(),
        answer=error.answer,
        origin=origin,
        interception=None if found is None else found.as_dict(),
        trust=offer(error),
    )


def offer(error: EgressError) -> Mapping[str, Any] | None:
    """The CA that would have to be trusted, if that is the remedy and it was presented."""
    if not isinstance(error, InterceptedError | UnknownCaError | ProxyUnknownCaError):
        return None
    issuer = error.issuer
    if issuer is None:
        return None
    return {**issuer.as_dict(), "fingerprint": issuer.fingerprint, "pem": issuer.pem}


def notes(destination: Endpoint, answer: Answer, found: Interception | None) -> tuple[Note, ...]:
    """What a person should know of a connection that works."""
    told = []
    if host := redirected_to(answer, destination):
        told.append(
            Note(
                REDIRECTED,
                f"{destination.host} redirects to {host}",
                f"If {host} is a sign-in page of this network, a filter answers in the"
                " destination's place: ask the proxy's owner.",
            )
        )
    if found is not None and found.certainty != "possible":
        told.append(
            Note(
                INSPECTED,
                f'TLS to {destination.host} is opened on the way by "{found.by}"'
                f" ({found.evidence})",
                "What opens it can read what is sent, tokens too. Have the destination exempted"
                " from inspection if that is not wanted.",
            )
        )
    return tuple(told)
