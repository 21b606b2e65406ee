"""VEX: which statement is about which finding, which of several holds, and what that changes."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garrison.findings import ScanReport
from garrison.findings.vex import VexUnreadableError, apply_vex, parse_vex
from garrison.reports import render
from garrison.reports.subject import image_purl
from tests.unit.reports.samples import ACCEPTED, ALL, DIGEST, NOT_AFFECTED, NOW, NPM, ZLIB, report

REPORT = report(*ALL)
IMAGE = image_purl(REPORT.inventory)


def openvex(*statements: object, **more: object) -> dict[str, Any]:
    return {
        "@context": "https://openvex.dev/ns/v0.2.0",
        "@id": "https://vex.test/1",
        "author": "Team",
        "timestamp": "2026-01-01T00:00:00Z",
        "version": 1,
        "statements": statements,
    } | more


def statement(
    product: object = "pkg:npm/%40a/b@1.0.0", id: object = "CVE-2024-1", **more: object
) -> dict[str, Any]:
    products = [product if isinstance(product, dict) else {"@id": product}]
    return {
        "vulnerability": {"name": id} if isinstance(id, str) else id,
        "products": products,
        "status": "not_affected",
        "justification": "vulnerable_code_not_present",
    } | more


def applied(*documents: object, to: ScanReport = REPORT) -> ScanReport:
    statements = [
        each
        for number, document in enumerate(documents)
        for each in parse_vex(json.dumps(document).encode(), f"{number}.json")
    ]
    return apply_vex(to, statements, image_purl(to.inventory))


def suppressed(found: ScanReport) -> list[tuple[str, str]]:
    return [(finding.match.id, finding.package.name) for finding in found.suppressed]


def test_a_statement_takes_a_finding_out_of_the_count_and_keeps_it() -> None:
    found = applied(openvex(statement()))
    assert suppressed(found) == [("CVE-2024-1", "b"), ("CVE-2024-1", "b")]
    assert len(found.findings) == len(REPORT.findings) - 2
    decision = found.suppressed[0].decision
    assert decision is not None
    assert (decision.kind, decision.status, decision.justification, decision.source) == (
        "vex",
        "not_affected",
        "vulnerable_code_not_present",
        "0.json, Team",
    )


@pytest.mark.parametrize(
    ("product", "about"),
    [
        ("pkg:npm/%40a/b@1.0.0", True),
        ("pkg:npm/%40a/b", True),
        ("pkg:npm/%40a/b@1.0.1", False),
        ("pkg:npm/b@1.0.0", False),
        ("pkg:pypi/b@1.0.0", False),
        ("pkg:npm/%40a/b@1.0.0?arch=amd64", False),
        ({"identifiers": {"purl": "pkg:npm/%40a/b"}}, True),
        ({"@id": "https://x.test/b", "identifiers": {"purl": "pkg:npm/%40a/b"}}, True),
        (IMAGE, True),
        ("pkg:oci/a", True),
        (f"pkg:oci/a@{DIGEST}", True),
        ("pkg:oci/a?repository_url=r.test/team/a", True),
        ("pkg:oci/a?repository_url=r.test/other/a", False),
        ("pkg:oci/other", False),
        ("r.test/team/a:1", True),
        ({"hashes": {"sha-256": "0" * 64}}, True),
        ({"hashes": {"sha-256": "1" * 64}}, False),
        ({"@id": IMAGE, "subcomponents": [{"@id": "pkg:npm/%40a/b@1.0.0"}]}, True),
        ({"@id": IMAGE, "subcomponents": [{"identifiers": {"purl": "pkg:npm/%40a/b"}}]}, True),
        ({"@id": IMAGE, "subcomponents": [{"@id": "pkg:npm/other"}]}, False),
        ({"@id": "pkg:oci/other", "subcomponents": [{"@id": "pkg:npm/%40a/b"}]}, False),
    ],
)
def test_products(product: object, about: bool) -> None:
    assert (("CVE-2024-1", "b") in suppressed(applied(openvex(statement(product))))) is about


def test_repository_urls_of_docker_hub_are_one() -> None:
    hub = report(NPM, reference="docker.io/library/debian:12")
    for url in ("index.docker.io/library/debian", "docker.io/library/debian", "docker.io/debian"):
        assert suppressed(
            applied(openvex(statement(f"pkg:oci/debian?repository_url={url}")), to=hub)
        )


@pytest.mark.parametrize(
    ("purl", "about"),
    [
        (ZLIB.purl, True),
        ("pkg:deb/debian/zlib1g", True),
        ("pkg:deb/debian/zlib1g?arch=arm64", False),
        ("pkg:deb/debian/zlib?arch=source", True),
        ("pkg:deb/debian/zlib@1:1.2-1", True),
        ("pkg:deb/debian/zlib@1:1.2-2", False),
        ("pkg:deb/ubuntu/zlib", False),
    ],
)
def test_distributions_name_source_packages(purl: str, about: bool) -> None:
    found = applied(openvex(statement(purl, "CVE-2024-2")))
    assert (suppressed(found) == [("CVE-2024-2", "zlib1g")]) is about


@pytest.mark.parametrize(
    "id", ["CVE-2024-1", "cve-2024-1", "GHSA-1", {"name": "X-1", "aliases": ["GHSA-1"]},
           {"@id": "https://nvd.test/CVE-2024-1"}]
)  # fmt: skip
def test_vulnerabilities_are_known_by_every_name(id: object) -> None:
    assert suppressed(applied(openvex(statement(id=id))))


def test_plain_names_of_older_documents() -> None:
    old = openvex(
        statement() | {"vulnerability": "CVE-2024-1", "products": [IMAGE],
                       "subcomponents": ["pkg:npm/%40a/b"]},
        **{"@context": "https://openvex.dev/ns"},
    )  # fmt: skip
    assert suppressed(applied(old)) == [("CVE-2024-1", "b")] * 2


@pytest.mark.parametrize(
    ("status", "counts"),
    [("not_affected", False), ("fixed", False), ("affected", True), ("under_investigation", True)],
)
def test_only_two_statuses_take_out_of_the_count(status: str, counts: bool) -> None:
    found = applied(openvex(statement(status=status, action_statement="Wait")))
    about = [f for f in (*found.findings, *found.suppressed) if f.match.id == "CVE-2024-1"]
    assert {f.decision and f.decision.status for f in about} == {status}
    assert all((finding in found.findings) is counts for finding in about)


def test_the_later_statement_holds_whatever_the_order() -> None:
    early = statement(status="not_affected", timestamp="2025-01-01T00:00:00.123456789Z")
    late = statement(
        status="affected", action_statement="Upgrade", timestamp="2025-06-01T00:00:00Z"
    )
    for order in ((early, late), (late, early)):
        assert suppressed(applied(openvex(*order))) == []
    # Without a time of its own a statement has that of its document.
    assert suppressed(applied(openvex(late), openvex(statement()))) != []
    # At the same time the one that comes later.
    same = statement(status="affected", action_statement="x")
    assert suppressed(applied(openvex(statement(), same))) == []
    assert suppressed(applied(openvex(same, statement()))) != []


def cyclonedx(state: str, ref: str = "b", **more: object) -> dict[str, Any]:
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "metadata": {"component": {"bom-ref": "root", "name": "r.test/team/a:1"}},
        "components": [{"bom-ref": "b", "type": "library", "name": "b", "purl": NPM.purl}],
        "vulnerabilities": [
            {
                "id": "CVE-2024-1",
                "analysis": {"state": state, "detail": "Why"},
                "affects": [{"ref": ref}],
            }
        ],
        **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("state", "status"),
    [("not_affected", "not_affected"), ("false_positive", "not_affected"), ("resolved", "fixed"),
     ("resolved_with_pedigree", "fixed"), ("exploitable", "affected"),
     ("in_triage", "under_investigation")],
)  # fmt: skip
def test_states_of_cyclonedx(state: str, status: str) -> None:
    found = applied(cyclonedx(state))
    about = [f for f in (*found.findings, *found.suppressed) if f.match.id == "CVE-2024-1"]
    decisions = {finding.decision for finding in about}
    [decision] = decisions
    assert decision is not None
    assert (decision.status, decision.reason) == (status, "Why")


@pytest.mark.parametrize(
    ("ref", "about"),
    [
        ("b", True),
        ("root", True),
        ("pkg:npm/%40a/b@1.0.0", True),
        ("urn:cdx:3e671687-395b-41f5-a30f-a58921a69b79/1#pkg%3Anpm%2F%2540a%2Fb%401.0.0", True),
        ("urn:cdx:3e671687-395b-41f5-a30f-a58921a69b79/1#other", False),
        ("elsewhere", False),
    ],
)
def test_references_of_cyclonedx(ref: str, about: bool) -> None:
    assert bool(suppressed(applied(cyclonedx("not_affected", ref)))) is about


def test_vulnerabilities_without_analysis_say_nothing() -> None:
    """A report of findings is no VEX document: nobody decided anything."""
    document = json.loads(render(REPORT, "cyclonedx", now=NOW))
    assert applied(document).findings == REPORT.findings


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "not a VEX document"),
        ({}, "neither OpenVEX nor CycloneDX"),
        (openvex() | {"statements": None}, "without statements"),
        (openvex("x"), "statement 1 is none"),
        (openvex(statement(id="")), "names no vulnerability"),
        (openvex(statement(status="ok")), "no status of VEX"),
        (openvex(statement() | {"justification": ""}), "without a justification"),
        (openvex(statement(justification="because")), "no justification of VEX"),
        (openvex(statement() | {"products": []}), "names no product"),
        (cyclonedx("fine"), "no state of CycloneDX"),
    ],
)
def test_what_vex_does_not_allow_is_refused(document: object, reason: str) -> None:
    with pytest.raises(VexUnreadableError, match=reason) as caught:
        applied(document)
    assert caught.value.field == "vex"


def statements(found: ScanReport) -> list[dict[str, Any]]:
    document = json.loads(render(found, "openvex", now=NOW))
    assert document["@context"] == "https://openvex.dev/ns/v0.2.0"
    assert {"@id", "author", "timestamp", "version", "statements"} <= set(document)
    return list(document["statements"])


def test_openvex_written_says_what_was_decided() -> None:
    found = {
        each["vulnerability"]["name"]: each
        for each in statements(report(*ALL, decided=NOT_AFFECTED))
    }
    assert found["CVE-2024-3"]["status"] == "not_affected"
    assert found["CVE-2024-3"]["justification"] == "vulnerable_code_not_in_execute_path"
    assert "impact_statement" not in found["CVE-2024-3"]  # Exactly one of both.
    assert found["CVE-2024-1"]["status"] == "under_investigation"
    assert found["CVE-2024-1"]["products"] == [
        {
            "@id": IMAGE,
            "identifiers": {"purl": IMAGE},
            "subcomponents": [{"@id": NPM.purl, "identifiers": {"purl": NPM.purl}}],
        }
    ]
    accepted = {
        each["vulnerability"]["name"]: each for each in statements(report(*ALL, decided=ACCEPTED))
    }
    assert accepted["CVE-2024-3"]["status"] == "affected"
    assert accepted["CVE-2024-3"]["action_statement"] == "Accepted until 2027-01-01: Internal only"


@pytest.mark.parametrize("format", ["openvex", "cyclonedx"])
def test_what_was_written_is_read_back(format: Any) -> None:
    decided = report(*ALL, decided=NOT_AFFECTED)
    document = json.loads(render(decided, format, now=NOW))
    found = applied(document)
    assert sorted(suppressed(found)) == [("CVE-2024-3", "Jinja2"), ("PYSEC-4", "Jinja2")]


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["statements", "vulnerability", "vulnerabilities", "name", "aliases", "products",
             "@id", "identifiers", "hashes", "subcomponents", "status", "justification",
             "analysis", "state", "affects", "ref", "components", "metadata", "id", "references"]
        ),
        inner, max_size=5,
    ),
    max_leaves=20,
)  # fmt: skip


@given(VALUES, st.sampled_from([openvex(), cyclonedx("resolved")]))
def test_any_json_is_read_or_refused(value: Any, document: dict[str, Any]) -> None:
    made = document | value if isinstance(value, dict) else document | {"statements": value}
    with suppress(VexUnreadableError):
        applied(made)
