"""Match what is known of every image with new advisories, without scanning anything again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from garrison.console import alerting
from garrison.database import images, intel, matches
from garrison.database.matches import Exploitation
from garrison.findings import match_packages
from garrison.packages import Package

if TYPE_CHECKING:
    from collections.abc import Iterable

    from garrison.advisories import AdvisoryStore, CveFacts
    from garrison.database import Database

_PACKAGES = 500
_ADVISORIES = 2000
_IMAGES = 500
_log = structlog.get_logger(__name__)


def behind(db: Database, revision: str) -> int:
    """How many packages were not matched with this revision."""
    with db.read() as c:
        return matches.behind(c, revision)


def match_known(
    db: Database,
    store: AdvisoryStore,
    public_url: str,
    clock: Callable[[], datetime],
    left: Callable[[int], None],
) -> int:
    """Match every package that was not matched with `store`, then count all images anew.

    left: told after each batch how many packages are left; what it raises ends the work.
    Images that were scanned before any advisory could be asked get their alerts here; a crash in
    between loses nothing, since the revision is noted last. How many alerts were queued.
    """
    with db.read() as c:
        noted = intel.state(c).matched_revision
        waiting = matches.behind(c, store.revision)
    changed: set[int] = set()
    after = 0
    while batch := _unmatched(db, store, after):
        after = batch[-1][0]
        # The slow part, before the write lock.
        matching = match_packages([package for _, package in batch], store)
        found = {number: matching.of(package) for number, package in batch}
        with db.write() as c:
            changed |= matches.put(c, store.revision, found)
        waiting = max(0, waiting - len(batch))
        left(waiting)
    with db.read() as c:
        # Counting everything is cheap, and right also after a crash between matching and here.
        same = noted == store.revision
        affected = images.with_packages(c, changed) if same else images.ids(c)
    alerts = _recount(db, store, affected, public_url, clock)
    with db.write() as c:
        intel.matched(c, store.revision)
    if changed:
        _log.info("packages matched", revision=store.revision, changed=len(changed), alerts=alerts)
    return alerts


def refresh_exploitation(db: Database, store: AdvisoryStore) -> None:
    """Show known findings with the scores and the catalogue in `store`; nothing is matched."""
    with db.read() as c:
        if intel.state(c).exploitation == store.exploitation:
            return
        known = matches.exploitable(c)
    knows = store.knows_exploited
    changed: dict[str, Exploitation] = {}
    names = sorted(known)
    for start in range(0, len(names), _ADVISORIES):
        part = names[start : start + _ADVISORIES]
        facts = store.facts({cve for name in part for cve in known[name][0]})
        for name in part:
            cves, before = known[name]
            now = _exploitation([facts[cve] for cve in cves if cve in facts], knows)
            if (now.epss, now.exploited) != (before.epss, before.exploited):
                changed[name] = now
    listed = {n for n in changed if changed[n].exploited != known[n][1].exploited}
    with db.write() as c:
        matches.write_exploitation(c, changed)
        matches.recount(c, images.with_packages(c, matches.with_advisories(c, listed)))
        intel.exploitation_known(c, store.exploitation)
    _log.info("exploitation refreshed", changed=len(changed), listed=len(listed))


def _exploitation(facts: list[CveFacts], knows: bool) -> Exploitation:
    kevs = sorted(item.kev for item in facts if item.kev)
    epss = max((item.epss for item in facts if item.epss), default=None)
    return Exploitation(epss, kevs[0] if kevs else None, bool(kevs) if knows else None)


def _unmatched(db: Database, store: AdvisoryStore, after: int) -> list[tuple[int, Package]]:
    with db.read() as c:
        return matches.unmatched(c, store.revision, _PACKAGES, after=after)


def _recount(
    db: Database,
    store: AdvisoryStore,
    affected: Iterable[int],
    public_url: str,
    clock: Callable[[], datetime],
) -> int:
    alerts = 0
    ids = sorted(affected)
    for start in range(0, len(ids), _IMAGES):
        part = ids[start : start + _IMAGES]
        with db.write() as c:
            pending = images.pending(c, part)
            matches.recount(c, part)
            for image_id in sorted(pending - images.pending(c, pending)):
                alerts += alerting.raise_alerts(c, public_url, image_id, clock(), store)
    return alerts
