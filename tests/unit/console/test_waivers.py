"""Waivers as operators and programs meet them, and what the clock does with them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from garrison.advisories import AdvisoryStore, Rating
from garrison.advisories.facts import Catalogue, CveRecord, Kev, Scores
from garrison.advisories.snapshot import Validators, next_snapshot
from garrison.console import images, matcher, waivers
from garrison.console.state import AppState
from garrison.console.waivers import WaiverForm
from garrison.database.matches import FindingQuery
from garrison.findings.finding import Severity
from tests.unit.advisories.records import NOW as STAMP
from tests.unit.advisories.records import cvss, entry, load, record, until
from tests.unit.console.harness import Client, token_for
from tests.unit.console.test_scans import HIGH, inventory, messages, profile, python, take_in

FEED = [
    record("GHSA-1", entry("PyPI", "django", until("4.0")), aliases=["CVE-2024-1000"],
           severity=cvss(HIGH)),
    record("GHSA-2", entry("PyPI", "jinja2", until("3.0")), aliases=["CVE-2024-1001"]),
]  # fmt: skip
DIGEST = "sha256:" + "a" * 64
DAY = "2999-12-31"


@pytest.fixture
def image(state: AppState) -> str:
    """An image with a high and an unrated finding, told to a profile that takes all."""
    load(state.data, PyPI=FEED)
    profile(state, Severity.LOW)
    take_in(state, inventory(python("django", "3.2"), python("jinja2", "2.0")))
    return DIGEST


def waive(state: AppState, **form: str) -> str:
    return waivers.create(state, WaiverForm(**{"reason": "r", "expires": DAY, **form}), "ada").id


def counted(state: AppState) -> tuple[int, int]:
    counts = images.detail(state, DIGEST).image.image.counts
    return counts.total, counts.waived


async def test_a_waiver_over_the_api(state: AppState, image: str) -> None:
    client = Client(state, token_for(state, "operator"))
    body = {"advisory": "CVE-2024-1000", "reason": "not reachable", "expires_at": "2999-12-31"}
    made = await client.call("POST", "/api/v1/waivers", body)
    assert made.status == 201
    assert made.json["state"] == "active"
    assert made.json["findings"] == 1
    assert made.json["expires_at"] == "3000-01-01T00:00:00Z"
    assert counted(state) == (1, 1)

    found = (await client.call("GET", f"/api/v1/images/{image}/findings")).json["items"]
    assert [item["id"] for item in found] == ["CVE-2024-1001"]
    waived = await client.call("GET", f"/api/v1/images/{image}/findings?waived=true")
    assert waived.json["items"][0]["waiver"]["reason"] == "not reachable"
    listed = (await client.call("GET", "/api/v1/images")).json["items"][0]
    assert (listed["waived"], listed["findings"]["high"]) == (1, 0)

    # What was read may be changed and sent back.
    here = f"/api/v1/waivers/{made.json['id']}"
    changed = await client.call("PUT", here, {**made.json, "reason": "still"})
    assert (changed.status, changed.json["reason"]) == (200, "still")
    assert (await client.call("DELETE", here)).status == 204
    assert counted(state) == (2, 0)
    assert (await client.call("GET", here)).json["state"] == "ended"
    assert (await client.call("DELETE", here)).status == 404
    assert (await client.call("PUT", here, body | {"advisory": ""})).status == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"advisory": ""}, "advisory"),
        ({"reason": " "}, "reason"),
        ({"expires_at": "2020-01-01"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"package": "a\nb"}, "package"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    state: AppState, change: dict[str, str], field: str
) -> None:
    client = Client(state, token_for(state, "operator"))
    body = {"advisory": "CVE-1", "reason": "r", "expires_at": DAY, **change}
    answer = await client.call("POST", "/api/v1/waivers", body)
    assert answer.status == 422
    assert [error["field"] for error in answer.json["errors"]] == [field]


async def test_who_may_only_read_cannot_waive(state: AppState) -> None:
    client = Client(state, token_for(state, "auditor"))
    body = {"advisory": "CVE-1", "reason": "r", "expires_at": DAY}
    assert (await client.call("POST", "/api/v1/waivers", body)).status == 403
    assert (await client.call("GET", "/api/v1/waivers")).status == 200


def test_the_clock_brings_findings_and_their_alerts_back(state: AppState, image: str) -> None:
    assert len(messages(state)) == 1
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    waive(state, advisory="CVE-2024-1000", expires=soon)
    assert waivers.expire(state, datetime.now(UTC)) == 0
    assert counted(state) == (1, 1)
    take_in(state, inventory(python("django", "3.2"), python("jinja2", "2.0")))
    assert len(messages(state)) == 1

    later = datetime.now(UTC) + timedelta(hours=2)
    assert waivers.expire(state, later) == 1
    assert counted(state) == (2, 0)
    assert len(messages(state)) == 2
    assert "CVE-2024-1000" in json.dumps(messages(state)[0].payload)
    assert waivers.expire(state, later) == 0
    [row] = waivers.page(state, only="expired").items
    assert (row.state, row.ended_by) == ("expired", "console")


def facts(data: Path, *, kev: bool = True, score: str = "0.5") -> AdvisoryStore:
    """The same advisories with what is known of exploitation."""
    with next_snapshot(data) as writer:
        rows = ["cve,epss,percentile", f"CVE-2024-1000,{score},0.9"]
        writer.replace_scores(Scores(rows), validators=Validators(), now=STAMP)
        entries = {"CVE-2024-1000": Kev("2024-06-12", "2024-07-03", True, "", "")} if kev else {}
        other = {"CVE-1999-1000": Kev("", "", False, "", "")}
        writer.replace_catalogue(
            Catalogue("1", entries or other, []), validators=Validators(), now=STAMP
        )
        vector = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
        record = CveRecord("CVE-2024-1001", "", "NVD", (Rating("CVSS_V3", vector),))
        writer.replace_cves("all", [record], validators=Validators(), now=STAMP)
        writer.commit(STAMP)
    store = AdvisoryStore.open(data)
    assert store is not None
    return store


async def test_new_scores_are_shown_without_matching_anything(state: AppState, image: str) -> None:
    """And the counter of exploited findings follows the catalogue."""
    store = facts(state.data)
    matcher.refresh_exploitation(state.db, store)
    client = Client(state, token_for(state, "ci"))
    [found] = (await client.call("GET", "/api/v1/findings?kev=true")).json["items"]
    assert (found["id"], found["epss"], found["kev"]) == ("CVE-2024-1000", 0.5, True)
    assert (found["kev_added"], found["kev_due"]) == ("2024-06-12", "2024-07-03")
    assert found["rank"][1] == "known to be exploited since 2024-06-12"
    assert (await client.call("GET", "/api/v1/images?exploited=true")).json["items"]
    high = await client.call("GET", "/api/v1/findings?min_epss=0.6")
    assert high.json["items"] == []

    matcher.refresh_exploitation(state.db, facts(state.data, kev=False, score="0.7"))
    [found] = (await client.call("GET", "/api/v1/findings?min_epss=0.6")).json["items"]
    assert (found["epss"], found["kev"]) == (0.7, False)
    assert (await client.call("GET", "/api/v1/images?exploited=true")).json["items"] == []


def test_ratings_of_cves_rate_findings_anew(state: AppState, image: str) -> None:
    store = facts(state.data)
    matcher.match_known(state.db, store, "http://c.test", lambda: datetime.now(UTC), lambda _: None)
    found = images.findings(state, FindingQuery()).items
    by_id = {row.finding.match.id: row.finding.match for row in found}
    rated = by_id["CVE-2024-1001"]
    assert (rated.severity, rated.severity_source) == (
        Severity.CRITICAL,
        "NVD CVE-2024-1001 CVSS:3.1",
    )
    assert by_id["CVE-2024-1000"].exploited is True


async def test_modules_of_one_version_are_matched_apart(state: AppState) -> None:
    """Two streams in one image: what decides is in the package URL alone."""
    feed = record(
        "RHSA-1",
        entry("Red Hat:enterprise_linux:8::appstream", "nodejs",
              until("1:18.19.1-1.module+el8.9.0+1+1")),
        summary="Red Hat Security Advisory: nodejs:18 security update",
    )  # fmt: skip
    load(state.data, **{"Red Hat": [feed]})
    version = "1:18.1.0-1.module+el8.9.0+0+0"
    packages = [
        replace(
            python("nodejs", version), type="rpm", namespace="redhat", path=f"p{stream}",
            distro="Red Hat:enterprise_linux:8", source="nodejs", source_version=version,
            purl=f"pkg:rpm/redhat/nodejs@18.1.0?epoch=1&rpmmod=nodejs:{stream}:1",
        )
        for stream in (18, 20)
    ]  # fmt: skip
    take_in(state, inventory(*packages))
    found = images.findings(state, FindingQuery()).items
    assert [row.finding.package.path for row in found] == ["p18"]
