"""Scans: asked for here, done by a Defender, and taken in again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from garrison.console import alerting, fleet
from garrison.console.problems import InvalidFieldsError, NotFoundError
from garrison.console.state import AppState
from garrison.database import images, matches, waivers
from garrison.database import scans as rows
from garrison.database.page import Page
from garrison.database.scans import ScanRow, ScanState
from garrison.errors import InvalidSettingError
from garrison.findings import Match, ScanReport, match_packages, subject_of
from garrison.findings.match import ecosystem_of, module_of
from garrison.findings.policy import Waiver, apply_waivers
from garrison.findings.scan import judge
from garrison.images import BadReferenceError, ImageReference
from garrison.packages import Inventory, Package

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from garrison.advisories import AdvisoryStore

_PLATFORM = re.compile(r"[a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?")
MAX_LABELS = 50
MAX_LABEL_NAME = 100
MAX_LABEL = 500
_LOCAL = ("oci:", "docker-archive:", "rootfs:", "dir:")
_log = structlog.get_logger(__name__)


def request_scan(
    state: AppState,
    reference: str,
    *,
    platform: str = "",
    defender_id: str | None = None,
    actor: str,
    now: datetime | None = None,
) -> ScanRow:
    """Queue a scan; a connected Defender takes it within a second.

    defender_id: id or name of the only Defender that may do it.

    Raises: InvalidFieldsError (`reference`, `platform`); NotFoundError (no such Defender).
    """
    reference = reference.strip()
    _check(reference, platform)
    chosen = fleet.defender(state, defender_id).row.id if defender_id else None
    with state.db.write() as c:
        row = rows.enqueue(
            c,
            reference=reference,
            platform=platform,
            defender_id=chosen,
            requested_by=actor,
            now=now or datetime.now(UTC),
        )
    if state.gateway is not None:
        state.gateway.scans_wake()
    return row


def scan(state: AppState, scan_id: str) -> ScanRow:
    """One scan. Raises NotFoundError."""
    with state.db.read() as c:
        row = rows.get(c, scan_id)
    if row is None:
        raise NotFoundError(f"there is no scan {scan_id}")
    return row


def scans(
    state: AppState,
    limit: int = 50,
    cursor: str | None = None,
    *,
    only: ScanState | None = None,
    image_id: int | None = None,
) -> Page[ScanRow]:
    """All scans, newest first. only: in this state."""
    with state.db.read() as c:
        return rows.page(c, limit, cursor, state=only, image_id=image_id)


def ingest(state: AppState, defender_id: str, scan_id: str, inventory: Inventory) -> None:
    """Take in what a Defender found: image, matches, counters and alerts in one transaction.

    Safe to repeat: a scan that is done already changes nothing. Call it in a worker thread.
    """
    row = scan(state, scan_id)
    if row.state == "done":
        return
    store = state.intel.store()
    # The slow part comes before the write lock: reading and comparing versions.
    known = _matches(inventory.packages, store)
    alerted = 0
    now = datetime.now(UTC)
    with state.db.write() as c:
        stored = images.store(c, inventory, now, ecosystems=ecosystems(inventory))
        affected = _put(c, store, stored, known)
        matches.recount(c, affected | {stored.image_id, *stored.renamed})
        alerted = alerting.raise_alerts(c, state.settings.console_url, stored.image_id, now, store)
        rows.done(c, scan_id, stored.image_id, now)
    _log.info(
        "scan taken in",
        scan=scan_id,
        defender=defender_id,
        image=inventory.digest,
        packages=len(inventory.packages),
        alerts=alerted,
    )
    if alerted:
        state.deliveries.wake()
    if store is None or stored.new_packages or state.intel.behind(store.revision):
        state.intel.wake()


@dataclass(frozen=True, slots=True)
class Reported:
    """A build's scan as taken in. report: what the Console's advisories say of it."""

    scan: ScanRow
    report: ScanReport


def take_report(
    state: AppState,
    inventory: Inventory,
    labels: Mapping[str, str],
    *,
    actor: str,
    now: datetime | None = None,
) -> Reported:
    """Take in what a build found in an image, and judge it. Call it in a worker thread.

    What a Defender found in the same image stays: it reads the image itself, while a build may
    claim anything. The report is about what the build found in any case.

    Raises: InvalidFieldsError (`inventory`, `labels`).
    """
    _check_report(inventory, labels)
    moment = now or datetime.now(UTC)
    store = state.intel.store()
    report = apply_waivers(judge(inventory, store, moment.date()), _waivers_in_force(state), moment)
    known = _matches(inventory.packages, store)
    alerted = 0
    new: Sequence[object] = ()
    with state.db.write() as c:
        image_id = rows.by_defender(c, inventory.digest)
        if image_id is None:
            stored = images.store(c, inventory, moment, ecosystems=ecosystems(inventory))
            affected = _put(c, store, stored, known)
            matches.recount(c, affected | {stored.image_id, *stored.renamed})
            image_id, new = stored.image_id, stored.new_packages
            alerted = alerting.raise_alerts(c, state.settings.console_url, image_id, moment, store)
        row = rows.reported(
            c,
            reference=inventory.reference,
            platform=inventory.platform,
            labels=labels,
            image_id=image_id,
            requested_by=actor,
            now=moment,
        )
    _log.info(
        "report taken in",
        scan=row.id,
        image=inventory.digest,
        packages=len(inventory.packages),
        by=actor,
        alerts=alerted,
    )
    if alerted:
        state.deliveries.wake()
    if store is None or new or state.intel.behind(store.revision):
        state.intel.wake()
    return Reported(row, report)


def last_report(state: AppState, image_id: int) -> ScanRow | None:
    """The newest scan of an image that a build reported."""
    with state.db.read() as c:
        return rows.last_report(c, image_id)


def _waivers_in_force(state: AppState) -> list[Waiver]:
    found: list[Waiver] = []
    cursor: str | None = None
    with state.db.read() as c:
        while True:
            page = waivers.page(c, 500, cursor, state="active")
            found += [
                Waiver(
                    row.advisory,
                    row.package,
                    row.image,
                    row.reason,
                    row.expires_at,
                    f"{row.created_by} at the Console",
                )
                for row in page.items
            ]
            cursor = page.next_cursor
            if cursor is None:
                return found


def _check_report(inventory: Inventory, labels: Mapping[str, str]) -> None:
    problems = []
    if not inventory.digest:
        problems.append(
            InvalidSettingError(
                "inventory",
                "the image has no digest, and images are known by it",
                "Report images of a registry, a layout, an archive or an engine.",
            )
        )
    too_long = any(
        len(name) > MAX_LABEL_NAME or len(value) > MAX_LABEL for name, value in labels.items()
    )
    if len(labels) > MAX_LABELS or too_long:
        problems.append(
            InvalidSettingError(
                "labels",
                f"at most {MAX_LABELS} labels, of {MAX_LABEL_NAME} and {MAX_LABEL} characters",
            )
        )
    if problems:
        raise InvalidFieldsError(problems)


def fail(state: AppState, defender_id: str, scan_id: str, error: dict[str, Any]) -> None:
    """A Defender could not do the scan; `error` has code, message, hint, who and hop."""
    with state.db.write() as c:
        rows.fail(c, scan_id, error, datetime.now(UTC), defender_id=defender_id)
    _log.warning("scan failed", scan=scan_id, defender=defender_id, code=error.get("code"))


def can_be_asked_for(reference: str) -> bool:
    """Whether a Defender could scan what a build, or somebody at a terminal, called that."""
    try:
        _check(reference, "")
    except InvalidFieldsError:
        return False
    return True


def ecosystems(inventory: Inventory) -> list[str]:
    """Whose advisories the image needs: without them its report means nothing."""
    asked = (package for package in inventory.packages if subject_of(package) is not None)
    return sorted({ecosystem_of(package) for package in asked})


def as_asked(package: Package) -> Package:
    """`package` as it is matched for the whole fleet: where it lies belongs to one image."""
    return replace(package, position="installed") if package.position == "owned" else package


def _matches(
    packages: Sequence[Package], store: AdvisoryStore | None
) -> Mapping[tuple[str, ...], tuple[Match, ...]]:
    if store is None:
        return {}
    asked = [as_asked(package) for package in packages]
    matching = match_packages(asked, store)
    return {identity(package): matching.of(package) for package in asked}


def identity(package: Package) -> tuple[str, ...]:
    """What decides which advisories apply."""
    return (
        package.type,
        package.namespace,
        package.name,
        package.version,
        package.distro,
        package.source,
        package.source_version,
        module_of(package),
    )


def _put(
    c: Connection,
    store: AdvisoryStore | None,
    stored: images.StoredImage,
    known: Mapping[tuple[str, ...], tuple[Match, ...]],
) -> frozenset[int]:
    """Store the matches of packages nobody had before; ids of images to recount."""
    if store is None or not stored.new_packages:
        return frozenset()
    found = {number: known.get(identity(p), ()) for number, p in stored.new_packages}
    changed = matches.put(c, store.revision, found)
    return images.with_packages(c, changed) if changed else frozenset()


def _check(reference: str, platform: str) -> None:
    problems = []
    if reference.startswith("docker:"):
        if len(reference) > 1024 or not reference.isprintable():
            problems.append(InvalidSettingError("reference", "this is not an image"))
    elif reference.startswith(_LOCAL):
        problems.append(
            InvalidSettingError(
                "reference",
                "a Defender scans images of registries and of its own engine only",
                "`garrison scan` reads local files, on the machine where they are.",
            )
        )
    else:
        try:
            ImageReference.parse(reference)
        except BadReferenceError as error:
            problems.append(InvalidSettingError("reference", error.message, error.hint))
    if platform and not _PLATFORM.fullmatch(platform):
        problems.append(
            InvalidSettingError("platform", "this is not a platform", "Write it like linux/amd64.")
        )
    if problems:
        raise InvalidFieldsError(problems)
