"""What a connection test found, as it is shown."""

from __future__ import annotations

from garrison.egress.endpoint import Purpose
from garrison.egress.errors import EgressError
from garrison.egress.plan import Call, Checked
from garrison.egress.route import Explanation
from garrison.egress.trace import TestResult, Trace


def passed(
    url: str, call: Call, purpose: Purpose, trace: Trace, checked: Checked, origin: str
) -> TestResult:
    return TestResult(
        ok=True,
        url=url,
        route=Explanation(url, call.route, purpose).as_dict(),
        steps=tuple(trace.steps),
        intercepted_by=checked.opened.intercepted_by,
        answer=checked.answer,
        origin=origin,
    )


def failed(
    url: str, call: Call, purpose: Purpose, trace: Trace, error: EgressError, origin: str
) -> TestResult:
    return TestResult(
        ok=False,
        url=url,
        route=Explanation(url, call.route, purpose).as_dict(),
        steps=tuple(trace.steps),
        intercepted_by=error.intercepted_by,
        error=error.as_failure(),
        answer=error.answer,
        origin=origin,
    )
