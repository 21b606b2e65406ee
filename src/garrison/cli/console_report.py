"""A scan judged by a Console's advisories, and shown there: `garrison scan --console`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import msgspec

from garrison.cli.output import note
from garrison.cli.remote import ConsoleAnswerError, Remote, remote

if TYPE_CHECKING:
    from garrison.findings import ScanReport
    from garrison.packages import Inventory


def console_for(console: str | None, environ: Mapping[str, str]) -> Remote | None:
    """The Console to report to: `--console`, or `GARRISON_CONSOLE` where a token is set too.

    Raises: InvalidSettingError.
    """
    token = environ.get("GARRISON_TOKEN") or environ.get("GARRISON_TOKEN_FILE")
    named = console or (environ.get("GARRISON_CONSOLE") if token else "")
    return remote(named, environ) if named else None


def report(
    console: Remote, inventory: Inventory, labels: Mapping[str, str], today: date
) -> ScanReport:
    """Send what was found; what the Console says of it.

    Raises: EgressError; InvalidSettingError and ConsoleAnswerError for the Console's errors.
    """
    from garrison.packages.wire import encode

    body = {"inventory": msgspec.Raw(encode(inventory)), "labels": dict(labels)}
    answer = console.call("POST", "/reports", body)
    try:
        found = _report(answer, inventory, today)
        page = str(answer["page"])
    except (KeyError, TypeError, ValueError):
        raise ConsoleAnswerError(
            201,
            {
                "detail": "what answered is not a Console that takes reports",
                "hint": "Console and command line should be of the same version.",
            },
        ) from None
    note(f"reported to {page}")
    return found


def _report(answer: Any, inventory: Inventory, today: date) -> ScanReport:
    from garrison.findings import ScanReport
    from garrison.packages import support_of
    from garrison.reports import findings_of

    intel = answer["intel"]
    return ScanReport(
        inventory=inventory,
        findings=findings_of(answer["findings"], inventory),
        suppressed=findings_of(answer["suppressed"], inventory),
        intel_revision=str(intel["revision"] or ""),
        intel_updated_at=str(intel["updated_at"] or ""),
        missing_ecosystems=tuple(map(str, intel["missing_ecosystems"])),
        warnings=tuple(map(str, answer["warnings"])),
        support=support_of(inventory.os, today) if inventory.os else None,
    )
