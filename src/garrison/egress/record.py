"""One record per connection, for the list of outside hosts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

from garrison.egress.endpoint import Purpose
from garrison.egress.errors import EgressError
from garrison.egress.plan import Call
from garrison.egress.trace import ConnectionRecord

Observer: TypeAlias = Callable[[ConnectionRecord], None]


def observe(
    observer: Observer | None, call: Call, purpose: Purpose, error: EgressError | None
) -> None:
    """Tell `observer` of a connection that was opened, or of one that failed."""
    if observer is None:
        return
    observer(
        ConnectionRecord(
            host=call.destination.host,
            port=call.destination.port,
            purpose=purpose,
            route=str(call.route),
            ok=error is None,
            at=datetime.now(UTC),
            code=error.code if error else "",
            who=error.who if error else "",
            hop=error.hop if error else "",
        )
    )
