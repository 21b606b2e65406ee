"""Reports of builds: judged by the Console, shown there, and never over a Defender's own look."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from garrison.cli import ci, console_report
from garrison.cli.target import ConsoleAnswerError, Remote
from garrison.console import images, scans
from garrison.console.state import AppState
from garrison.database import waivers
from garrison.database.images import ImageQuery
from garrison.egress import ProxySettings
from garrison.errors import InvalidSettingError
from garrison.findings.scan import judge
from garrison.packages import Inventory
from garrison.packages.wire import encode
from garrison.reports import as_document, findings_of, render_packages
from garrison.secret import Secret
from tests.unit.advisories.records import load
from tests.unit.console.harness import Answer, Client, token_for
from tests.unit.console.test_scans import FEED, WEBHOOK, inventory, messages, profile, python
from tests.unit.reports import samples

FOUND = inventory(python("django", "3.0"), python("jinja2", "2.0"), python("free", "1"))
LABELS = {"branch": "main", "build": "17"}


async def post(client: Client, found: Inventory = FOUND, **more: Any) -> Answer:
    body = {"inventory": json.loads(encode(found)), "labels": LABELS} | more
    return await client.call("POST", "/api/v1/reports", body)


@pytest.fixture
def feed(state: AppState) -> AppState:
    load(state.data, PyPI=FEED)
    return state


@pytest.fixture
def build(feed: AppState) -> Client:
    return Client(feed, token_for(feed, "ci"))


async def test_a_build_is_told_what_the_console_knows(build: Client, feed: AppState) -> None:
    answer = await post(build)
    assert answer.status == 201
    store = feed.intel.store()
    assert store is not None
    expected = as_document(judge(FOUND, store), now=datetime.now(UTC))
    for key in ("findings", "summary", "complete", "suppressed"):
        assert answer.json[key] == json.loads(json.dumps(expected[key]))
    assert answer.json["page"].endswith(f"/images/{FOUND.digest}")
    assert findings_of(answer.json["findings"], FOUND) == judge(FOUND, store).findings


async def test_the_image_appears_with_its_build(build: Client, feed: AppState) -> None:
    answer = await post(build)
    [image] = images.page(feed, ImageQuery()).items
    assert (image.digest, image.counts.total) == (FOUND.digest, 2)
    report = (await build.call("GET", f"/api/v1/images/{FOUND.digest}")).json["report"]
    assert (report["labels"], report["scan"]) == (LABELS, answer.json["id"])
    scan = (await build.call("GET", answer.headers["location"])).json
    assert (scan["state"], scan["origin"], scan["labels"]) == ("done", "ci", LABELS)
    assert scan["requested_by"] == report["by"]
    assert scan["digest"] == FOUND.digest


async def test_people_are_told_as_of_any_scan(build: Client, feed: AppState) -> None:
    profile(feed)
    await post(build)
    assert len(messages(feed)) == 1
    assert WEBHOOK


async def test_a_build_cannot_hide_what_a_defender_found(build: Client, feed: AppState) -> None:
    """The digest is only claimed; the Defender read the image itself."""
    row = scans.request_scan(feed, "registry.test/app:1", actor="ada")
    scans.ingest(feed, "defender", row.id, FOUND)
    answer = await post(build, inventory(python("free", "1")))
    assert answer.json["findings"] == []
    [image] = images.page(feed, ImageQuery()).items
    assert image.counts.total == 2
    detail = images.detail(feed, FOUND.digest)
    assert detail.report is not None
    assert detail.report.labels == LABELS


async def test_waivers_of_the_console_hold_for_builds(build: Client, feed: AppState) -> None:
    now = datetime.now(UTC)
    with feed.db.write() as c:
        waivers.create(
            c,
            advisory="GHSA-1",
            package="",
            image="",
            reason="Never reached",
            expires_at=now + timedelta(days=1),
            actor="ada",
            now=now,
        )
    answer = await post(build)
    assert [each["id"] for each in answer.json["findings"]] == ["GHSA-2"]
    [waived] = answer.json["suppressed"]
    assert (waived["id"], waived["decision"]["reason"]) == ("GHSA-1", "Never reached")
    [image] = images.page(feed, ImageQuery()).items
    assert image.counts.total == 1


async def test_a_newer_report_of_a_build_replaces_an_older_one(
    build: Client, feed: AppState
) -> None:
    await post(build)
    await post(build, inventory(python("free", "1")), labels={"branch": "next"})
    [image] = images.page(feed, ImageQuery()).items
    assert image.counts.total == 0
    report = images.detail(feed, FOUND.digest).report
    assert report is not None
    assert report.labels == {"branch": "next"}


async def test_a_bill_of_materials_is_a_report_too(build: Client, feed: AppState) -> None:
    for format in ("cyclonedx", "spdx"):
        sbom = json.loads(render_packages(FOUND, format, now=samples.NOW))
        answer = await build.call("POST", "/api/v1/reports", {"sbom": sbom})
        assert answer.status == 201
        assert {each["id"] for each in answer.json["findings"]} == {"GHSA-1", "GHSA-2"}


async def test_without_advisories_a_report_is_never_clean(state: AppState) -> None:
    answer = await post(Client(state, token_for(state, "ci")))
    assert (answer.status, answer.json["complete"]) == (201, False)
    assert answer.json["intel"]["missing_ecosystems"] == ["PyPI"]


async def test_reports_may_be_large(build: Client) -> None:
    large = inventory(*(python(f"p{n}", "1" * 300) for n in range(4000)))
    assert len(encode(large)) > 3 << 20
    assert (await post(build, large)).status == 201


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "inventory"),
        ({"inventory": {}, "sbom": {}}, "inventory"),
        ({"inventory": {}}, "inventory"),
        ({"sbom": {}}, "sbom"),
        ({"sbom": {"bomFormat": "CycloneDX", "specVersion": "1.6"}}, "inventory"),
        ({"inventory": 1, "labels": {}, "more": 1}, "body"),
        ({"inventory": json.loads(encode(FOUND)), "labels": {"x": "y" * 501}}, "labels"),
        (b"{", "body"),
    ],
)
async def test_what_is_no_report_is_refused(build: Client, body: Any, field: str) -> None:
    answer = await build.call("POST", "/api/v1/reports", body)
    assert answer.status == 422
    assert [each["field"] for each in answer.json["errors"]] == [field]


async def test_auditors_report_nothing(feed: AppState) -> None:
    assert (await post(Client(feed, token_for(feed, "auditor")))).status == 403


def test_findings_come_back_as_they_were() -> None:
    for decided in (None, samples.NOT_AFFECTED, samples.ACCEPTED):
        report = samples.report(*samples.ALL, decided=decided)
        document = json.loads(json.dumps(as_document(report)))
        assert findings_of(document["findings"], report.inventory) == report.findings
        assert findings_of(document["suppressed"], report.inventory) == report.suppressed


def test_findings_of_another_image_are_refused() -> None:
    report = samples.report(samples.NPM)
    document = as_document(report)
    with pytest.raises(KeyError):
        findings_of(document["findings"], samples.report(samples.ZLIB).inventory)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, {}),
        (
            {"GITHUB_ACTIONS": "true", "GITHUB_REPOSITORY": "o/r", "GITHUB_REF_NAME": "main",
             "GITHUB_SHA": "abc", "GITHUB_RUN_ID": "7", "GITHUB_HEAD_REF": ""},
            {"ci": "github", "repository": "o/r", "branch": "main", "commit": "abc", "build": "7",
             "url": "https://github.com/o/r/actions/runs/7"},
        ),
        (
            {"GITLAB_CI": "true", "CI_PROJECT_PATH": "g/p", "CI_COMMIT_REF_NAME": "x",
             "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "feature", "CI_PIPELINE_ID": "9"},
            {"ci": "gitlab", "repository": "g/p", "branch": "feature", "build": "9"},
        ),
        (
            {"JENKINS_URL": "https://j.test/", "GIT_URL": "https://me:s3cret@git.test/r.git",
             "BUILD_TAG": "jenkins-a-1"},
            {"ci": "jenkins", "repository": "https://git.test/r.git", "build": "jenkins-a-1"},
        ),
    ],
)  # fmt: skip
def test_labels_of_builds(environ: dict[str, str], expected: dict[str, str]) -> None:
    assert ci.labels([], environ) == expected
    assert ci.labels(["branch=mine", "a=b=c"], environ) == {
        **expected,
        "branch": "mine",
        "a": "b=c",
    }


def test_a_label_without_a_value_is_refused() -> None:
    with pytest.raises(InvalidSettingError):
        ci.labels(["branch"], {})


@pytest.mark.parametrize(
    ("option", "environ", "expected"),
    [
        (None, {}, None),
        (None, {"GARRISON_CONSOLE": "https://c.test"}, None),
        (None, {"GARRISON_CONSOLE": "https://c.test", "GARRISON_TOKEN": "t"}, "https://c.test"),
        ("https://d.test", {"GARRISON_CONSOLE": "https://c.test", "GARRISON_TOKEN": "t",
                            "GARRISON_DATA": "/x"}, "https://d.test"),
    ],
)  # fmt: skip
def test_which_console(
    monkeypatch: pytest.MonkeyPatch,
    option: str | None,
    environ: dict[str, str],
    expected: str | None,
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    found = console_report.console_for(option, environ)
    assert (found.url if found else None) == expected


def test_an_answer_of_something_else_is_no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Remote, "call", lambda *_: {"hello": 1})
    remote = Remote("https://x.test", Secret("t"), ProxySettings())
    with pytest.raises(ConsoleAnswerError):
        console_report.report(remote, FOUND, {}, samples.NOW.date())
