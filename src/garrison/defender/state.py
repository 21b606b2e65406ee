"""What a Defender says about itself to people and probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from garrison.errors import GarrisonError
from garrison.fleet.messages import Failure


@dataclass(frozen=True, slots=True)
class LinkState:
    """Whether there is a session with the Console, and if not, why.

    route: how the session left: `direct` or the proxy's address; empty without a session.
    failure: of the last attempt; None while connected and before the first attempt has ended.
    attempts: since the last session.
    """

    connected: bool = False
    defender_id: str = ""
    route: str = ""
    failure: Failure | None = None
    attempts: int = 0

    def describe(self) -> str:
        """One line, and a hint where there is one."""
        if self.connected:
            return f"connected as {self.defender_id} ({self.route})"
        if self.failure is None:
            return "connecting"
        where = f" at hop {self.failure.hop}" if self.failure.hop else ""
        text = f"not connected{where}: {self.failure.message} [{self.failure.code}]"
        return f"{text}\n{self.failure.hint}" if self.failure.hint else text


def as_failure(error: BaseException, *, evidence: bool = False) -> Failure:
    """An error as it is shown and sent; an unexpected one shows its type only.

    evidence: with the steps of the connection that failed.

    The text of an unexpected error could hold anything, a password too.
    """
    if not isinstance(error, GarrisonError):
        return Failure(
            code="internal",
            message=f"unexpected {type(error).__name__}",
            hint="The Defender's log has the details.",
        )
    return Failure(
        code=error.code,
        message=error.message,
        hint=error.hint,
        who=str(getattr(error, "who", "") or ""),
        hop=str(getattr(error, "hop", "") or ""),
        evidence=_evidence(error) if evidence else None,
    )


def _evidence(error: GarrisonError) -> dict[str, Any] | None:
    from garrison.egress import EgressError

    return error.evidence() if isinstance(error, EgressError) else None
