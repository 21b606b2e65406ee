"""Reports for other programs: valid by the official schemas, and saying what consumers read."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import timedelta
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from garrison.advisories.facts import Epss, Kev
from garrison.findings import Decision, Finding, ScanReport
from garrison.packages import Inventory
from garrison.reports import (
    FORMATS,
    PACKAGE_FORMATS,
    Format,
    findings_of,
    render,
    render_packages,
)
from tests.unit.reports.samples import (
    ACCEPTED,
    ALL,
    BROKEN,
    DIGEST,
    LAYER,
    NOT_AFFECTED,
    NOW,
    NPM,
    ZLIB,
    report,
)

DATA = Path(__file__).resolve().parents[2] / "data"
REPORTS = {
    "full": report(*ALL),
    "clean": report(replace(ZLIB, source_version="2:1")),
    "empty": report(),
    "not affected": report(*ALL, decided=NOT_AFFECTED),
    "accepted": report(*ALL, decided=ACCEPTED),
    "investigated": report(*ALL, decided=replace(NOT_AFFECTED, status="under_investigation")),
    "incomplete": report(*ALL, unreadable=("var/lib/rpm/Packages",), skipped=(BROKEN,)),
    "local": report(*ALL, reference="oci:/srv/ü x/layout", digest=""),
    "project": replace(
        report(NPM),
        inventory=replace(
            report(NPM).inventory, reference="dir:.", os=None, layers=(), digest="", platform=""
        ),
    ),
    "rootfs without a system": replace(
        report(NPM), inventory=replace(report(NPM).inventory, os=None, layers=(), digest="")
    ),
}
each_report = pytest.mark.parametrize("subject", REPORTS.values(), ids=list(REPORTS))


def document(subject: ScanReport, format: Format) -> Any:
    return json.loads(render(subject, format, now=NOW))


@cache
def sarif_schema() -> Any:
    schema = json.loads((DATA / "sarif" / "sarif-schema-2.1.0.json").read_text())
    return jsonschema.Draft7Validator(schema, format_checker=jsonschema.FormatChecker())


@cache
def cyclonedx_schema() -> JsonStrictValidator:
    return JsonStrictValidator(SchemaVersion.V1_6)


def spdx_problems(text: str) -> list[str]:
    parsed = JsonLikeDictParser().parse(json.loads(text))  # type: ignore[no-untyped-call]
    return [str(problem) for problem in validate_full_spdx_document(parsed)]


@each_report
def test_sarif_is_valid(subject: ScanReport) -> None:
    assert list(sarif_schema().iter_errors(document(subject, "sarif"))) == []


@each_report
def test_cyclonedx_is_valid(subject: ScanReport) -> None:
    assert cyclonedx_schema().validate_str(render(subject, "cyclonedx", now=NOW)) is None
    text = render_packages(subject.inventory, "cyclonedx", now=NOW)
    assert cyclonedx_schema().validate_str(text) is None
    assert "vulnerabilities" not in json.loads(text)


@each_report
def test_spdx_is_valid(subject: ScanReport) -> None:
    assert spdx_problems(render(subject, "spdx", now=NOW)) == []
    assert spdx_problems(render_packages(subject.inventory, "spdx", now=NOW)) == []


def test_the_schemas_refuse_what_is_wrong() -> None:
    """Validation that accepts everything would prove nothing."""
    sarif = document(REPORTS["full"], "sarif")
    del sarif["runs"][0]["results"][0]["message"]
    assert list(sarif_schema().iter_errors(sarif))
    bom = document(REPORTS["full"], "cyclonedx")
    bom["vulnerabilities"][0]["ratings"][0]["severity"] = "terrible"
    assert cyclonedx_schema().validate_str(json.dumps(bom)) is not None
    spdx = document(REPORTS["full"], "spdx")
    spdx["relationships"][1]["relatedSpdxElement"] = "SPDXRef-Nobody"
    assert spdx_problems(json.dumps(spdx))


@pytest.mark.parametrize("format", FORMATS)
def test_the_same_scan_at_the_same_time_gives_the_same_text(format: Format) -> None:
    first, second = (render(report(*ALL), format, now=NOW) for _ in range(2))
    assert first == second
    assert first.endswith("\n")


def test_ids_of_documents_follow_their_content() -> None:
    def id(subject: ScanReport, later: int = 0) -> tuple[str, str]:
        now = NOW + timedelta(seconds=later)
        bom = json.loads(render(subject, "cyclonedx", now=now))
        spdx = json.loads(render(subject, "spdx", now=now))
        return bom["serialNumber"], spdx["documentNamespace"]

    ids = [id(report(*ALL)), id(report(NPM)), id(report(*ALL), later=1)]
    assert len({cyclonedx for cyclonedx, _ in ids}) == 3
    assert len({spdx for _, spdx in ids}) == 3


def results(subject: ScanReport) -> list[Any]:
    return list(document(subject, "sarif")["runs"][0]["results"])


def rules(subject: ScanReport) -> dict[str, Any]:
    [run] = document(subject, "sarif")["runs"]
    return {rule["id"]: rule for rule in run["tool"]["driver"]["rules"]}


def test_sarif_rules_carry_the_severity_that_code_scanning_shows() -> None:
    found = {
        id: (
            rule["defaultConfiguration"]["level"],
            rule["properties"].get("security-severity"),
        )
        for id, rule in rules(REPORTS["full"]).items()
    }
    assert found == {
        "CVE-2024-1": ("error", "9.8"),
        "CVE-2024-2": ("warning", None),  # Unknown: no number is made up.
        "CVE-2024-3": ("error", "8.7"),
        "PYSEC-4": ("error", "8.0"),  # 10.0 of CVSS 2 is high; 10.0 would be shown as critical.
    }


def test_sarif_results_point_to_their_rule_and_into_the_image() -> None:
    [run] = document(REPORTS["full"], "sarif")["runs"]
    for result in run["results"]:
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uriBaseId"] in run["originalUriBaseIds"]
        assert place["region"]["startLine"] == 1
    uris = {
        r["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for r in run["results"]
    }
    assert "srv/%C3%BC%20ber/node_modules/%40a/b/package.json" in uris
    assert run["automationDetails"]["id"] == "garrison/r.test/team/a:1/"


def test_sarif_fingerprints_outlive_versions_and_layers_and_tell_places_apart() -> None:
    def prints(subject: ScanReport) -> list[str]:
        return [r["partialFingerprints"]["primaryLocationLineHash"] for r in results(subject)]

    newer = replace(NPM, version="1.0.1", purl="pkg:npm/%40a/b@1.0.1", layer="sha256:" + "f" * 64)
    assert prints(report(NPM)) == prints(report(newer))
    everything = prints(REPORTS["full"])
    assert len(set(everything)) == len(everything) == 5


def test_sarif_says_of_each_result_whether_it_is_suppressed() -> None:
    """One that says so obliges the others to (SARIF 3.27.23)."""
    found = results(REPORTS["not affected"])
    assert [result["suppressions"] != [] for result in found] == [False, False, False, True, True]
    assert found[-1]["suppressions"] == [
        {
            "kind": "external",
            "status": "accepted",
            "justification": "not affected: vulnerable code not in execute path; Never called"
            " (team.vex.json)",
        }
    ]
    assert all("suppressions" not in result for result in results(REPORTS["full"]))


def test_sarif_of_an_incomplete_report_is_no_success() -> None:
    def invocation(name: str) -> Any:
        return document(REPORTS[name], "sarif")["runs"][0]["invocations"][0]

    assert invocation("full")["executionSuccessful"] is True
    broken = invocation("incomplete")
    assert broken["executionSuccessful"] is False
    texts = [note["message"]["text"] for note in broken["toolExecutionNotifications"]]
    assert any("var/lib/rpm/Packages" in text for text in texts)
    assert any("a/b.json" in text for text in texts)


def vulnerabilities(subject: ScanReport) -> dict[str, Any]:
    return {each["id"]: each for each in document(subject, "cyclonedx")["vulnerabilities"]}


def test_cyclonedx_vulnerabilities() -> None:
    bom = document(REPORTS["full"], "cyclonedx")
    components = {component["bom-ref"]: component for component in bom["components"]}
    found = vulnerabilities(REPORTS["full"])
    npm = found["CVE-2024-1"]
    assert [components[each["ref"]]["purl"] for each in npm["affects"]] == [NPM.purl, NPM.purl]
    assert npm["ratings"] == [
        {
            "score": 9.8,
            "severity": "critical",
            "method": "CVSSv31",
            "vector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",
        }
    ]
    assert npm["recommendation"] == "Upgrade to 2.0.0 or later."
    assert npm["references"][0]["id"] == "GHSA-1"
    assert [each["method"] for each in found["CVE-2024-3"]["ratings"]] == ["CVSSv4"]
    assert [each["method"] for each in found["PYSEC-4"]["ratings"]] == ["CVSSv2"]
    assert found["CVE-2024-2"]["ratings"] == [
        {"source": {"name": "no record rates it"}, "severity": "unknown", "method": "other"}
    ]
    assert all("analysis" not in each for each in found.values())


@pytest.mark.parametrize(
    ("decided", "expected"),
    [
        (
            NOT_AFFECTED,
            {
                "state": "not_affected",
                "justification": "code_not_reachable",
                "detail": "Never called. Source: team.vex.json",
            },
        ),
        (
            ACCEPTED,
            {
                "state": "exploitable",
                "response": ["will_not_fix"],
                "detail": "Internal only. Source: waivers.yaml. Until 2027-01-01",
            },
        ),
        (Decision("vex", "fixed"), {"state": "resolved"}),
        (Decision("vex", "under_investigation"), {"state": "in_triage"}),
        (Decision("vex", "affected"), {"state": "exploitable"}),
    ],
)
def test_cyclonedx_analysis_of_decided_findings(decided: Decision, expected: object) -> None:
    found = vulnerabilities(report(*ALL, decided=decided))
    assert found["CVE-2024-3"]["analysis"] == expected
    assert "analysis" not in found["CVE-2024-1"]


def test_cyclonedx_components_name_layers_paths_and_the_system() -> None:
    bom = document(REPORTS["full"], "cyclonedx")
    root = bom["metadata"]["component"]
    assert (root["type"], root["version"]) == ("container", DIGEST)
    purl = PackageURL.from_string(root["purl"])
    assert (purl.type, purl.name, purl.version) == ("oci", "a", DIGEST)
    assert purl.qualifiers == {
        "arch": "amd64",
        "repository_url": "r.test/team/a",
        "tag": "1",
    }
    system, zlib, npm, *_ = bom["components"]
    assert (system["type"], system["name"], system["version"]) == (
        "operating-system",
        "debian",
        "12",
    )
    properties = {each["name"]: each["value"] for each in zlib["properties"]}
    assert properties["garrison:layer"] == LAYER
    assert properties["garrison:source"] == "zlib"
    assert properties["garrison:sourceVersion"] == "1:1.2-1"
    assert properties["aquasecurity:trivy:SrcEpoch"] == "1"
    assert (npm["group"], npm["name"]) == ("@a", "b")
    assert npm["evidence"]["occurrences"] == [{"location": NPM.path}]
    depends = {each["ref"]: each["dependsOn"] for each in bom["dependencies"]}
    assert depends[system["bom-ref"]] == [zlib["bom-ref"]]
    assert system["bom-ref"] in depends[root["bom-ref"]]
    assert npm["bom-ref"] in depends[root["bom-ref"]]
    every = {root["bom-ref"], *(component["bom-ref"] for component in bom["components"])}
    assert every == set(depends) | {ref for refs in depends.values() for ref in refs}


def test_spdx_packages_carry_purls_sources_and_advisories() -> None:
    spdx = document(REPORTS["full"], "spdx")
    packages = {package["name"]: package for package in spdx["packages"]}
    assert all(package["filesAnalyzed"] is False for package in spdx["packages"])
    assert all("packageVerificationCode" not in package for package in spdx["packages"])
    assert packages["zlib1g"]["sourceInfo"] == "built package from: zlib 1:1.2-1"
    assert packages["r.test/team/a:1"]["primaryPackagePurpose"] == "CONTAINER"
    references = packages["@a/b"]["externalRefs"]
    assert references[0]["referenceLocator"] == NPM.purl
    assert references[1]["referenceCategory"] == "SECURITY"
    assert references[1]["comment"] == "CVE-2024-1: critical, fixed in 2.0.0"
    relations = {
        (each["spdxElementId"], each["relationshipType"], each["relatedSpdxElement"])
        for each in spdx["relationships"]
    }
    assert ("SPDXRef-DOCUMENT", "DESCRIBES", packages["r.test/team/a:1"]["SPDXID"]) in relations
    owned = [package for package in spdx["packages"] if "owned/METADATA" in str(package)]
    assert (packages["zlib1g"]["SPDXID"], "CONTAINS", owned[0]["SPDXID"]) in relations


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text)))


def test_csv_has_a_line_for_each_finding() -> None:
    found = rows(render(REPORTS["not affected"], "csv", now=NOW))
    assert [row["id"] for row in found] == [
        "CVE-2024-1", "CVE-2024-1", "CVE-2024-2", "CVE-2024-3", "PYSEC-4",
    ]  # fmt: skip
    assert found[0]["package"] == "@a/b"
    assert (found[0]["score"], found[0]["fixed_in"]) == ("9.8", "2.0.0")
    assert [row["decision"] for row in found] == ["", "", "", "not_affected", "not_affected"]


def test_csv_runs_nothing_in_a_spreadsheet() -> None:
    names = ["=1+1", "+1", "-1", "@SUM(1)*cmd|' /C calc'!A0", "\tx"]
    inventory = replace(
        report().inventory, packages=tuple(replace(ZLIB, name=name) for name in names)
    )
    assert [row["package"] for row in rows(render_packages(inventory, "csv", now=NOW))] == [
        f"'{name}" for name in names
    ]


@pytest.mark.parametrize("format", PACKAGE_FORMATS)
def test_packages_of_an_image_that_has_none(format: Any) -> None:
    empty = Inventory("r.test/a:1", DIGEST, "linux/amd64", None, (), ())
    assert render_packages(empty, format, now=NOW)


def test_names_that_are_no_text_do_no_harm() -> None:
    """A path in a layer is any bytes; control characters reach no terminal raw."""
    odd = replace(NPM, path="srv/\x1b[2J\x00/package.json", name="\x1b]0;x\x07")
    found = report(odd)
    for format in FORMATS:
        text = render(found, format, now=NOW)
        if format in ("table",):
            assert "\x1b" not in text
    assert cyclonedx_schema().validate_str(render(found, "cyclonedx", now=NOW)) is None


def test_exploitation_is_said_in_each_format() -> None:
    def attacked(finding: Finding) -> Finding:
        kev = Kev("2024-02-01", "2024-03-01", False, "", "")
        match = replace(finding.match, epss=Epss(0.97, 0.999), kev=kev, exploited=True)
        return replace(finding, match=match)

    plain = report(NPM)
    subject = replace(plain, findings=tuple(map(attacked, plain.findings)))
    [rule] = rules(subject).values()
    assert "exploited" in rule["properties"]["tags"]
    assert results(subject)[0]["properties"]["epss"] == 0.97
    [row] = rows(render(subject, "csv", now=NOW))
    assert (row["epss"], row["exploited"]) == ("0.97000", "yes")
    properties = vulnerabilities(subject)["CVE-2024-1"]["properties"]
    assert {"name": "garrison:exploitedSince", "value": "2024-02-01"} in properties
    table = render(subject, "table", now=NOW, width=160)
    assert "Known to be exploited: CVE-2024-1." in table
    assert "0.970" in table
    known = json.loads(render(subject, "json", now=NOW))["findings"]
    assert findings_of(known, subject.inventory) == subject.findings
    assert list(sarif_schema().iter_errors(document(subject, "sarif"))) == []
    assert cyclonedx_schema().validate_str(render(subject, "cyclonedx", now=NOW)) is None


def test_a_project_is_no_image() -> None:
    """Its paths are those of the repository, and code scanning shows them there."""
    subject = REPORTS["project"]
    [run] = document(subject, "sarif")["runs"]
    place = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place["uriBaseId"] == "%SRCROOT%"
    assert document(subject, "cyclonedx")["metadata"]["component"]["type"] == "application"
    assert document(subject, "spdx")["packages"][0]["primaryPackagePurpose"] == "APPLICATION"
    table = render(subject, "table", now=NOW)
    assert "lock files of a project" in table
    assert "unknown system" not in table
