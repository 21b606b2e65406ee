"""Records of connections, for the list of outside hosts, their health and the metrics."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TypeAlias

from garrison.egress.endpoint import Purpose
from garrison.egress.errors import EgressError
from garrison.egress.plan import Call
from garrison.egress.trace import ConnectionRecord, Trace

Observer: TypeAlias = Callable[[ConnectionRecord], None]


def observe(
    observer: Observer | None,
    call: Call,
    purpose: Purpose,
    error: EgressError | None,
    trace: Trace | None = None,
    *,
    test: bool = False,
) -> None:
    """Tell `observer` of a connection that was opened, or of one that failed."""
    if observer is None:
        return
    record = replace(
        _record(call, purpose), test=test, steps=tuple(trace.steps) if trace is not None else ()
    )
    if error is not None:
        record = replace(
            record,
            ok=False,
            code=error.code,
            who=error.who,
            hop=error.hop,
            message=error.message,
            hint=error.hint,
        )
    observer(record)


def moved(
    observer: Observer | None, call: Call, purpose: Purpose, *, sent: int = 0, received: int = 0
) -> None:
    """Tell `observer` how many bytes of bodies an open connection carried since last told."""
    if observer is not None and (sent or received):
        observer(replace(_record(call, purpose), opened=False, sent=sent, received=received))


def _record(call: Call, purpose: Purpose) -> ConnectionRecord:
    return ConnectionRecord(
        host=call.destination.host,
        port=call.destination.port,
        purpose=purpose,
        route=str(call.route),
        ok=True,
        at=datetime.now(UTC),
    )


def teller(
    observer: Observer | None, purpose: Purpose, *, test: bool = False
) -> Callable[[Call, EgressError | None, Trace], None]:
    """Tells `observer` of each candidate that was tried."""
    return lambda call, error, trace: observe(observer, call, purpose, error, trace, test=test)
