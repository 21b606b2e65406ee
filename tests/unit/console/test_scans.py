"""Scans asked for and taken in: images, matches, counters and alerts in one transaction."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from garrison.console import accounts, alerting, images, matcher, scans
from garrison.console.problems import InvalidFieldsError, NotFoundError
from garrison.console.state import AppState
from garrison.database.alerts import DeliveryRow
from garrison.database.images import ImageQuery
from garrison.database.matches import FindingQuery
from garrison.findings.finding import Severity
from garrison.packages import Inventory, Layer, OperatingSystem, Package
from garrison.secret import Secret
from tests.unit.advisories.records import cvss, entry, load, record, until
from tests.unit.console.harness import Client, later

WEBHOOK = "https://hooks.slack.test/services/T0/B0/c4n4ry"
HIGH = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:N/A:N"
FEED = [
    record("GHSA-1", entry("PyPI", "django", until("4.0")), severity=cvss(HIGH)),
    record("GHSA-2", entry("PyPI", "jinja2", until("3.0"))),
]
LAYER = Layer("sha256:" + "1" * 64, "sha256:" + "2" * 64, 1000, "RUN pip install")


def python(name: str, version: str) -> Package:
    return Package(
        "pypi",
        "",
        name,
        version,
        f"pkg:pypi/{name}@{version}",
        f"usr/lib/{name}",
        layer=LAYER.digest,
        diff_id=LAYER.diff_id,
    )


def inventory(*packages: Package, digest: str = "a", **more: Any) -> Inventory:
    return Inventory(
        reference="registry.test/app:1",
        digest="sha256:" + digest * 64,
        platform="linux/amd64",
        os=OperatingSystem("debian", "12", "Debian GNU/Linux 12"),
        layers=(LAYER,),
        packages=packages,
        **more,
    )


def profile(state: AppState, threshold: Severity = Severity.HIGH) -> str:
    form = alerting.ProfileForm("security", threshold, Secret(WEBHOOK))
    return alerting.create_profile(state, form, "ada").id


def take_in(state: AppState, found: Inventory) -> str:
    row = scans.request_scan(state, "registry.test/app:1", actor="ada")
    scans.ingest(state, "defender", row.id, found)
    return row.id


def messages(state: AppState) -> tuple[DeliveryRow, ...]:
    return alerting.deliveries(state).items


def match_all(state: AppState) -> int:
    store = state.intel.store()
    assert store is not None
    return matcher.match_known(
        state.db, store, "http://console.test", lambda: datetime.now(UTC), lambda _: None
    )


def test_a_scan_is_matched_counted_and_told(state: AppState) -> None:
    load(state.data, PyPI=FEED)
    profile(state)

    scan_id = take_in(state, inventory(python("Django", "3.2"), python("flask", "2.0")))

    done = scans.scan(state, scan_id)
    assert (done.state, done.image_digest) == ("done", "sha256:" + "a" * 64)
    view = images.detail(state, "sha256:" + "a" * 64)
    assert view.complete
    assert view.image.image.counts.high == 1
    (message,) = messages(state)
    assert (message.state, message.findings) == ("queued", 1)
    assert "1 high finding in registry.test/app:1" in message.payload["text"]
    assert WEBHOOK not in str(message.payload)


def test_a_finding_is_told_once(state: AppState) -> None:
    """A repeated result, another scan of the same image, and one that finds more."""
    load(state.data, PyPI=FEED)
    profile(state, Severity.LOW)

    scan_id = take_in(state, inventory(python("django", "3.2")))
    scans.ingest(state, "defender", scan_id, inventory(python("django", "3.2")))
    take_in(state, inventory(python("django", "3.2")))

    assert len(messages(state)) == 1


def test_unknown_severities_are_counted_aloud(state: AppState) -> None:
    load(state.data, PyPI=FEED)
    profile(state)

    take_in(state, inventory(python("django", "3.2"), python("jinja2", "2.0")))

    assert "1 unknown" in str(messages(state)[0].payload)


def test_below_the_threshold_nobody_is_told(state: AppState) -> None:
    load(state.data, PyPI=FEED)
    profile(state, Severity.CRITICAL)

    take_in(state, inventory(python("django", "3.2")))

    assert messages(state) == ()


def test_an_image_scanned_before_any_advisory_is_told_when_they_come(state: AppState) -> None:
    """On a fresh machine the first scan may end before the first update."""
    profile(state)
    take_in(state, inventory(python("django", "3.2")))
    before = images.detail(state, "sha256:" + "a" * 64)
    assert not before.complete
    assert any("PyPI" in warning for warning in before.warnings)
    assert messages(state) == ()

    load(state.data, PyPI=FEED)

    assert match_all(state) == 1
    after = images.detail(state, "sha256:" + "a" * 64)
    assert after.complete
    assert after.image.image.counts.high == 1
    assert len(messages(state)) == 1
    assert match_all(state) == 0


def test_a_new_advisory_is_found_in_known_images(state: AppState) -> None:
    """Without scanning again; alerts are for new scans, so nobody is told of it here."""
    load(state.data, PyPI=[record("GHSA-0", entry("PyPI", "other", until("1")))])
    profile(state)
    take_in(state, inventory(python("django", "3.2")))
    assert images.detail(state, "sha256:" + "a" * 64).image.image.counts.total == 0

    load(state.data, PyPI=FEED)
    match_all(state)

    assert images.detail(state, "sha256:" + "a" * 64).image.image.counts.high == 1
    found = images.findings(state, FindingQuery(advisory="GHSA-1")).items
    assert [row.reference for row in found] == ["registry.test/app:1"]
    assert messages(state) == ()

    take_in(state, inventory(python("django", "3.2")))
    assert len(messages(state)) == 1


def test_without_advisories_nothing_looks_clean(state: AppState) -> None:
    load(state.data, PyPI=FEED)
    npm = Package("npm", "", "left-pad", "1.0.0", "pkg:npm/left-pad@1.0.0", "node_modules")

    take_in(state, inventory(npm, unreadable=("var/lib/dpkg/status",)))

    view = images.detail(state, "sha256:" + "a" * 64)
    assert view.missing_ecosystems == ("npm",)
    assert len(view.warnings) == 2
    assert not view.complete


def test_a_failed_transaction_leaves_nothing(
    state: AppState, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The alert is written with its cause: either both are there, or neither."""
    load(state.data, PyPI=FEED)
    profile(state)
    row = scans.request_scan(state, "registry.test/app:1", actor="ada")

    from garrison.database import scans as rows

    def crash(*_: object) -> None:
        raise RuntimeError("crash")

    monkeypatch.setattr(rows, "done", crash)
    with pytest.raises(RuntimeError):
        scans.ingest(state, "defender", row.id, inventory(python("django", "3.2")))
    monkeypatch.undo()

    assert messages(state) == ()
    assert images.page(state, ImageQuery()).items == ()
    scans.ingest(state, "defender", row.id, inventory(python("django", "3.2")))
    assert len(messages(state)) == 1


def test_a_failure_is_kept(state: AppState) -> None:
    row = scans.request_scan(state, "registry.test/app:1", actor="ada")

    scans.fail(state, "", row.id, {"code": "x"})
    with state.db.write() as c:
        from garrison.database import scans as rows

        rows.fail(c, row.id, {"code": "images.not_found", "message": "m"}, datetime.now(UTC))

    failed = scans.scan(state, row.id)
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error["code"] == "images.not_found"


@pytest.mark.parametrize(
    ("reference", "platform", "fields"),
    [
        ("", "", ["reference"]),
        ("debian:no tag", "", ["reference"]),
        ("debian:12", "linux", ["platform"]),
        ("rootfs:/", "", ["reference"]),
        ("oci:/etc", "", ["reference"]),
        ("docker-archive:/x", "linux amd64", ["reference", "platform"]),
    ],
)
def test_what_cannot_be_scanned(
    state: AppState, reference: str, platform: str, fields: list[str]
) -> None:
    """Files of a node are not for the Console to read."""
    with pytest.raises(InvalidFieldsError) as error:
        scans.request_scan(state, reference, platform=platform, actor="ada")

    assert [p.field for p in error.value.problems] == fields


def test_a_scan_for_an_unknown_defender(state: AppState) -> None:
    with pytest.raises(NotFoundError):
        scans.request_scan(state, "debian:12", defender_id="nobody", actor="ada")


async def test_over_the_api(client: Client) -> None:
    state = client.state
    load(state.data, PyPI=FEED)

    asked = await client.call("POST", "/api/v1/scans", {"reference": "registry.test/app:1"})
    assert asked.status == 202
    assert asked.json["state"] == "queued"
    assert asked.headers["location"] == f"/api/v1/scans/{asked.json['id']}"

    scans.ingest(state, "d", asked.json["id"], inventory(python("django", "3.2")))
    done = (await client.call("GET", asked.headers["location"])).json
    assert done["state"] == "done"

    image = (await client.call("GET", f"/api/v1/images/{done['digest']}")).json
    assert image["complete"]
    assert image["layers"][0]["packages"] == 1
    listed = (await client.call("GET", "/api/v1/images?min_severity=high")).json["items"]
    assert [item["digest"] for item in listed] == [done["digest"]]
    packages = (await client.call("GET", image["links"]["packages"])).json["items"]
    assert [p["purl"] for p in packages] == ["pkg:pypi/django@3.2"]
    (finding,) = (await client.call("GET", image["links"]["findings"])).json["items"]
    assert finding["id"] == "GHSA-1"
    assert finding["severity"] == "high"
    assert finding["fixed_in"] == "4.0"
    assert finding["layer"] == LAYER.digest
    assert finding["records"] == ["GHSA-1"]
    advisory = (await client.call("GET", "/api/v1/advisories/GHSA-1")).json
    assert advisory["images"] == 1
    assert advisory["packages"][0]["name"] == "django"
    other = (await client.call("GET", "/api/v1/advisories/GHSA-2")).json
    assert other["images"] == 0
    assert (await client.call("GET", "/api/v1/advisories/CVE-1")).status == 404
    assert (await client.call("GET", "/api/v1/images/sha256:0")).status == 404


async def test_lists_are_paged(client: Client) -> None:
    for number in range(7):
        scans.request_scan(client.state, f"debian:{number}", actor="ada", now=later(number))

    seen: list[str] = []
    path = "/api/v1/scans?limit=3"
    while path:
        page = (await client.call("GET", path)).json
        seen += [item["reference"] for item in page["items"]]
        assert len(page["items"]) <= 3
        cursor = page["next_cursor"]
        path = f"/api/v1/scans?limit=3&cursor={cursor}" if cursor else ""

    assert seen == [f"debian:{number}" for number in reversed(range(7))]
    assert (await client.call("GET", "/api/v1/scans?limit=0")).status == 422


def test_scans_are_in_no_audit_but_settings_are(state: AppState) -> None:
    profile(state)

    actions = [row.action for row in accounts.audit(state, 10, None).items]

    assert len(actions) == 1
    assert "profile" in actions[0]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("debian:12", True),
        ("docker:team/shop", True),
        ("oci:/srv/layout", False),
        ("dir:.", False),
        ("rootfs:/srv", False),
        ("docker-archive:x.tar", False),
        ("", False),
        ("a file name.json", False),
    ],
)
def test_what_a_build_called_its_image_may_be_out_of_reach(reference: str, expected: bool) -> None:
    """Then nobody is offered to scan it again."""
    assert scans.can_be_asked_for(reference) is expected
