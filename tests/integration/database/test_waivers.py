"""Waivers: what they cover leaves the counters, the lists and the alerts, and comes back."""

from __future__ import annotations

import itertools
from datetime import datetime

import pytest
from sqlalchemy import Connection

from garrison.advisories.facts import Epss, Kev
from garrison.database import Database, alerts, audit, images, matches, waivers
from garrison.database.errors import NotFoundError
from garrison.database.images import Counts, ImageQuery
from garrison.database.matches import FindingQuery
from garrison.database.waivers import WaiverRow
from garrison.findings.finding import Match, Severity
from tests.integration.database import samples
from tests.integration.database.samples import NOW, deb, later, match, pypi

HOUR = later(3600)
MOMENTS = itertools.count(-100_000)  # ids are in the order of time
BASE, APP = samples.layer(1), samples.layer(2)


def exploited(name: str, severity: Severity, score: float) -> Match:
    from dataclasses import replace

    kev = Kev("2024-06-12", "2024-07-03", False, "", "")
    return replace(match(name, severity), epss=Epss(score, 0.9), kev=kev, exploited=True)


KNOWN = {
    "openssl": [
        exploited("CVE-1", Severity.CRITICAL, 0.9),
        match("CVE-2", Severity.HIGH, fixed_in="2", aliases=["GHSA-2"]),
    ],
    "requests": [match("CVE-2", Severity.HIGH), match("CVE-3", Severity.LOW)],
}


def take_in(db: Database, number: int, reference: str = "") -> int:
    packages = [deb("openssl", at=BASE), pypi("requests", at=APP), pypi("requests", at=APP,
                                                                       folder="opt")]  # fmt: skip
    with db.write() as c:
        one = samples.inventory(number, packages, [BASE, APP], reference=reference)
        return samples.ingest(c, one, KNOWN).image_id


def waive(
    db: Database,
    advisory: str = "",
    package: str = "",
    image: str = "",
    *,
    expires: datetime = HOUR,
) -> WaiverRow:
    with db.write() as c:
        made = waivers.create(
            c,
            advisory=advisory,
            package=package,
            image=image,
            reason="not reachable",
            expires_at=expires,
            actor="ada",
            now=later(next(MOMENTS)),
        )
        matches.recount(c, waivers.concerns(c, made.id))
        found = waivers.get(c, made.id)
    assert found is not None
    return found


def counts(db: Database, image_id: int) -> Counts:
    with db.read() as c:
        detail = images.by_id(c, image_id)
    assert detail is not None
    return detail.image.counts


def listed(db: Database, image_id: int | None = None, **query: object) -> list[str]:
    with db.read() as c:
        found = matches.findings(c, FindingQuery(image_id=image_id, **query))  # type: ignore[arg-type]
    return sorted(row.finding.match.id for row in found.items)


FULL = Counts(critical=1, high=3, low=2, fixable=1, exploited=1)


def test_without_waivers_everything_counts(db: Database) -> None:
    image_id = take_in(db, 1)
    assert counts(db, image_id) == FULL
    assert listed(db, image_id) == ["CVE-1", "CVE-2", "CVE-2", "CVE-2", "CVE-3", "CVE-3"]


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        (("CVE-1", "", ""), 1),
        (("CVE-2", "", ""), 3),
        (("GHSA-2", "", ""), 1),  # an alias of that match alone
        (("TEST-CVE-3", "", ""), 2),
        (("CVE-2", "requests", ""), 2),
        (("", "openssl", ""), 2),
        (("", "PKG:pypi/*", ""), 4),
        (("", "pkg:deb/debian/openssl@1.0", ""), 2),
        (("CVE-1", "", "registry.test/app1*"), 1),
        (("CVE-1", "", "sha256:*"), 1),
        (("CVE-1", "", "registry.test/app2*"), 0),
        (("CVE-1", "requests", ""), 0),
        (("CVE", "", ""), 0),
        (("", "open_sl", ""), 0),  # patterns have stars and question marks, not LIKE's marks
        (("", "open?sl", ""), 2),
        (("", "%", ""), 0),
    ],
)
def test_a_waiver_covers_what_it_names(
    db: Database, scope: tuple[str, str, str], covered: int
) -> None:
    image_id = take_in(db, 1)
    waive(db, *scope)
    assert counts(db, image_id).waived == covered
    assert counts(db, image_id).total == 6 - covered
    assert len(listed(db, image_id)) == 6 - covered
    assert len(listed(db, image_id, waived=True)) == covered
    assert len(listed(db, waived=None)) == 6


def test_every_counter_is_without_what_is_waived(db: Database) -> None:
    image_id = take_in(db, 1)
    waive(db, "CVE-1")
    assert counts(db, image_id) == Counts(high=3, low=2, fixable=1, waived=1)
    waive(db, package="openssl")
    # CVE-1 is covered twice and counts once.
    assert counts(db, image_id) == Counts(high=2, low=2, waived=2)


def test_hub_references_may_be_written_short(db: Database) -> None:
    one = take_in(db, 1, "docker.io/library/debian:12")
    two = take_in(db, 2, "docker.io/acme/shop:1")
    waive(db, "CVE-1", image="debian:*")
    waive(db, "CVE-1", image="acme/shop:?")
    assert counts(db, one).waived == counts(db, two).waived == 1


def test_a_finding_says_by_whom_it_is_waived(db: Database) -> None:
    image_id = take_in(db, 1)
    made = waive(db, "CVE-1")
    assert (made.state, made.findings, made.created_by) == ("active", 1, "ada")
    with db.read() as c:
        [row] = matches.findings(c, FindingQuery(image_id=image_id, waived=True)).items
    decision = row.finding.decision
    assert decision is not None
    assert (decision.kind, decision.reason, decision.source) == (
        "waiver",
        "not reachable",
        made.id,
    )
    assert decision.expires == "2026-11-24T09:00:00Z"


def test_what_is_taken_in_later_is_waived_too(db: Database) -> None:
    waive(db, "CVE-2")
    assert counts(db, take_in(db, 1)).waived == 3


def test_a_reference_that_moves_takes_its_waiver_with_it(db: Database) -> None:
    old = take_in(db, 1, "registry.test/shop:prod")
    waive(db, "CVE-1", image="registry.test/shop:prod")
    assert counts(db, old).waived == 1
    with db.write() as c:
        moved = samples.inventory(2, [deb("openssl", at=BASE)], [BASE],
                                  reference="registry.test/shop:prod")  # fmt: skip
        stored = samples.ingest(c, moved, KNOWN)
        assert stored.renamed == (old,)
        matches.recount(c, stored.renamed)
    assert counts(db, stored.image_id).waived == 1
    assert counts(db, old) == FULL


def test_a_waiver_that_ends_lets_everything_count_again(db: Database) -> None:
    image_id = take_in(db, 1)
    made = waive(db, "CVE-2")
    with db.write() as c:
        concerned = waivers.end(c, made.id, actor="bob", now=later(10))
        matches.recount(c, concerned)
    assert concerned == {image_id}
    assert counts(db, image_id) == FULL
    with db.read() as c:
        ended = waivers.get(c, made.id)
    assert ended is not None
    assert (ended.state, ended.ended_by, ended.findings) == ("ended", "bob", 0)
    with pytest.raises(NotFoundError), db.write() as c:
        waivers.end(c, made.id, actor="bob", now=later(11))


def test_those_whose_day_is_over_are_due(db: Database) -> None:
    early, late = waive(db, "CVE-1", expires=later(60)), waive(db, "CVE-2", expires=later(120))
    with db.read() as c:
        assert waivers.due(c, later(59)) == []
        assert waivers.due(c, later(60)) == [early.id]
    with db.write() as c:
        waivers.end(c, early.id, actor=waivers.ACTOR, now=later(60))
        changed = waivers.change(
            c, late.id, reason="still", expires_at=later(999), actor="ada", now=later(61)
        )
    assert (changed.reason, changed.expires_at) == ("still", later(999))
    with db.read() as c:
        assert [w.id for w in waivers.page(c, state="expired").items] == [early.id]
        assert [w.id for w in waivers.page(c, state="active").items] == [late.id]
        assert [w.id for w in waivers.page(c).items] == [late.id, early.id]
        assert waivers.due(c, later(200)) == []
        assert waivers.count(c) == 1


def profile(c: Connection) -> alerts.AlertProfileRow:
    return alerts.create_profile(
        c, name="team", kind="slack", config={}, webhook=b"x", threshold=Severity.LOW,
        enabled=True, actor="ada", now=NOW,
    )  # fmt: skip


def test_what_is_waived_is_not_told_and_is_told_again_after_it(db: Database) -> None:
    image_id = take_in(db, 1)
    with db.write() as c:
        team = profile(c)
        told = alerts.fresh(c, team, image_id)
        assert len(told) == 6
        alerts.record_alert(
            c, profile_id=team.id, image_id=image_id, findings=told, payload={}, now=NOW
        )
        assert alerts.fresh(c, team, image_id) == ()
    made = waive(db, "CVE-1")
    with db.write() as c:
        assert alerts.fresh(c, team, image_id) == ()
        matches.recount(c, waivers.end(c, made.id, actor=waivers.ACTOR, now=later(10)))
        assert [row.finding.match.id for row in alerts.fresh(c, team, image_id)] == ["CVE-1"]


def test_a_waiver_before_the_first_alert(db: Database) -> None:
    waive(db, "CVE-2")
    image_id = take_in(db, 1)
    with db.write() as c:
        names = {row.finding.match.id for row in alerts.fresh(c, profile(c), image_id)}
    assert names == {"CVE-1", "CVE-3"}


def test_every_change_is_audited(db: Database) -> None:
    made = waive(db, "CVE-1")
    with db.write() as c:
        waivers.change(c, made.id, reason="r", expires_at=later(9), actor="ada", now=NOW)
        waivers.end(c, made.id, actor="bob", now=NOW)
    with db.read() as c:
        rows = audit.page(c, action="waiver").items
    assert [(row.actor, row.action) for row in rows] == [
        ("bob", "waiver.end"),
        ("ada", "waiver.update"),
        ("ada", "waiver.create"),
    ]
    assert rows[-1].detail["reason"] == "not reachable"


def test_exploitation_is_shown_and_asked_for(db: Database) -> None:
    image_id = take_in(db, 1)
    assert listed(db, image_id, kev=True) == ["CVE-1"]
    assert listed(db, image_id, min_epss=0.9) == ["CVE-1"]
    assert listed(db, image_id, min_epss=0.91) == []
    with db.read() as c:
        [row] = matches.findings(c, FindingQuery(kev=True)).items
        [found] = images.page(c, ImageQuery(exploited=True)).items
    assert found.id == image_id
    known = row.finding.match
    assert known.epss == Epss(0.9, 0.9)
    assert known.kev is not None
    assert (known.kev.added, known.exploited) == ("2024-06-12", True)


def test_the_order_of_one_images_findings(db: Database) -> None:
    """Severity, then exploited, then EPSS, then a fix; whatever the size of the pages."""
    known = {
        "openssl": [
            match("CVE-1", Severity.HIGH),
            match("CVE-2", Severity.HIGH, fixed_in="2"),
            exploited("CVE-3", Severity.HIGH, 0.1),
            exploited("CVE-4", Severity.HIGH, 0.2),
            match("CVE-5", Severity.CRITICAL),
            exploited("CVE-6", Severity.MEDIUM, 0.99),
        ]
    }
    with db.write() as c:
        image_id = samples.ingest(c, samples.inventory(1, [deb("openssl")]), known).image_id
    found: list[str] = []
    cursor = None
    while True:
        with db.read() as c:
            query = FindingQuery(image_id=image_id, ranked=True, limit=2, cursor=cursor)
            page = matches.findings(c, query)
        found += [row.finding.match.id for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == ["CVE-5", "CVE-4", "CVE-3", "CVE-2", "CVE-1", "CVE-6"]
