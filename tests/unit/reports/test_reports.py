"""Reports for people and for programs; an incomplete one never looks clean."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from garrison.findings import ScanReport, match_inventory
from garrison.packages import Inventory, Layer, OperatingSystem, Package, Skipped, support_of
from garrison.reports import as_document, render, summarize, summary_line
from tests.unit.advisories.records import cvss, entry, record, until
from tests.unit.findings.lookup import Records, deb, package
from tests.unit.reports import samples

NOW = datetime(2026, 11, 24, 13, tzinfo=UTC)
LAYER = "sha256:" + "ab12" * 16
RECORDS = Records(
    record("GHSA-1", entry("npm", "@a/b", until("2.0.0")), aliases=["CVE-2024-1"],
           severity=cvss("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"),
           published="2024-01-01T00:00:00Z", summary="It is bad"),
    record("DEBIAN-CVE-2024-2", entry("Debian:12", "zlib", until("1:1.3-1")),
           upstream=["CVE-2024-2"]),
)  # fmt: skip
NPM = package("npm", "b", "1.0.0", namespace="@a", layer=LAYER, diff_id="sha256:d")
ZLIB = deb("zlib", "1:1.2-1", binary="zlib1g")


def report(*packages: Package, records: Records | None = RECORDS, **more: object) -> ScanReport:
    inventory = Inventory(
        "r.test/a:1", "sha256:" + "0" * 64, "linux/amd64",
        OperatingSystem("debian", "12", "Debian GNU/Linux 12 (bookworm)"),
        (Layer(LAYER, "sha256:d", 10),), packages, **more,  # type: ignore[arg-type]
    )  # fmt: skip
    return match_inventory(inventory, records)


def test_document_of_a_finding() -> None:
    document = as_document(report(NPM), now=NOW)
    assert document["schema"] == 1
    assert document["complete"] is True
    assert document["intel"] == {
        "revision": "r1",
        "updated_at": "2026-11-24T12:00:00Z",
        "age": 3600,
        "missing_ecosystems": [],
    }
    [finding] = document["findings"]
    assert finding == {
        "id": "CVE-2024-1",
        "aliases": ["GHSA-1"],
        "package": {"type": "npm", "name": "@a/b", "version": "1.0.0", "purl": NPM.purl,
                    "path": "lib/b"},
        "severity": "critical",
        "severity_source": "GHSA-1 CVSS:3.1",
        "cvss": [{"vector": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", "score": 9.8}],
        "fixed_in": "2.0.0",
        "layer": LAYER,
        "diff_id": "sha256:d",
        "evidence": "GHSA-1: npm @a/b 1.0.0 (introduced 0, fixed 2.0.0)",
        "records": ["GHSA-1"],
        "summary": "It is bad",
        "published": "2024-01-01T00:00:00Z",
        "epss": None,
        "epss_percentile": None,
        "kev": None,
        "kev_added": None,
        "kev_due": None,
        "url": "https://osv.dev/vulnerability/GHSA-1",
        "decision": None,
    }  # fmt: skip
    assert document["summary"] == {"critical": 1, "high": 0, "medium": 0, "low": 0, "unknown": 0}


def test_the_end_of_a_release_is_told() -> None:
    """Debian 12 on that day: past regular support, in LTS, and no warning yet."""
    os = OperatingSystem("debian", "12", "Debian GNU/Linux 12 (bookworm)")
    supported = replace(report(NPM), support=support_of(os, NOW.date()))
    assert as_document(supported)["image"]["os"]["support"] == {
        "state": "extended",
        "phase": "LTS",
        "until": "2028-06-30",
        "ended": None,
        "as_of": "2026-11-24",
    }
    assert "is past regular support: LTS runs until 2028-06-30" in " ".join(
        render(supported, "table", now=NOW).split()
    )
    assert as_document(report(NPM))["image"]["os"]["support"] is None


def test_document_of_a_distribution_package() -> None:
    document = as_document(report(ZLIB))
    assert document["findings"][0]["package"] == {
        "type": "deb",
        "name": "zlib1g",
        "version": "1:1.2-1",
        "purl": ZLIB.purl,
        "path": "lib/zlib1g",
        "source": "zlib",
        "source_version": "1:1.2-1",
    }
    assert document["findings"][0]["severity_source"] is None
    assert document["intel"]["age"] is None
    assert document["packages"][0]["position"] == "installed"


def test_json_is_the_document() -> None:
    text = render(report(NPM, ZLIB), "json", now=NOW)
    assert json.loads(text) == json.loads(json.dumps(as_document(report(NPM, ZLIB), now=NOW)))
    assert text.endswith("}\n")


def test_unknown_is_counted_aloud() -> None:
    line = summary_line(report(NPM, ZLIB))
    assert line == (
        "2 findings in 2 packages: 1 critical, 1 of UNKNOWN severity (no loaded record rates them)."
    )
    assert summarize(report(ZLIB).findings)["unknown"] == 1


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_table_fits(width: int) -> None:
    name = "a-very-long-package-name-" * 3
    long = package("npm", name, "1.0.0-" + "pre" * 20, namespace="@scope")
    records = Records(record("GHSA-aaaa-bbbb-cccc", entry("npm", f"@scope/{name}", until("2.0.0"))))
    text = render(report(long, records=records), "table", now=NOW, width=width)
    table = text[text.index("Severity") :].splitlines()[2:]
    assert max(len(line) for line in text.splitlines()) <= width
    column = "".join(line[10:].split("  ")[0].strip() for line in table if line.strip())
    assert column.startswith(f"@scope/{name}")
    assert "GHSA-aaaa-bbbb-cccc" in text


def test_the_summary_stands_above_the_table() -> None:
    lines = render(report(NPM, ZLIB), "table", now=NOW).splitlines()
    assert lines[2].startswith("2 findings in 2 packages: 1 critical")
    assert lines[3] == "critical 1  high 0  medium 0  low 0  unknown 1  fixable 2"


def test_packages_of_one_source_share_a_line() -> None:
    binaries = [deb("zlib", "1:1.2-1", binary=name) for name in ("zlib1g", "zlib1g-dev")]
    text = render(report(*binaries), "table", now=NOW)
    assert "zlib (2 packages)" in text
    assert text.count("CVE-2024-2") == 1
    assert "2 findings in 2 packages" in text


def test_suppressed_findings_are_shown_with_their_reason() -> None:
    subject = samples.report(*samples.ALL, decided=samples.NOT_AFFECTED)
    text = render(subject, "table", now=NOW, width=160)
    assert "Not counted, by decision: 2 findings" in text
    assert "not affected: vulnerable code not in execute path; Never called (team.vex.json)" in text
    document = as_document(subject)
    assert document["summary"]["high"] == 0
    assert [each["decision"]["status"] for each in document["suppressed"]] == ["not_affected"] * 2


def test_a_report_of_suppressed_findings_alone_says_so() -> None:
    subject = samples.report(samples.JINJA, decided=samples.ACCEPTED)
    text = render(subject, "table", now=NOW)
    assert "Nothing that counts in 1 package: 2 findings not counted by decision." in text
    assert "No known vulnerabilities" not in text
    assert "\x1b" not in text


def test_the_table_shows_what_one_acts_on() -> None:
    text = render(report(NPM, ZLIB), "table", now=NOW, width=80)
    [_, critical] = [line for line in text.splitlines() if line.startswith("critical ")]
    assert critical.split() == ["critical", "@a/b", "1.0.0", "2.0.0", "CVE-2024-1"]
    [unknown] = [line for line in text.splitlines() if line.startswith("unknown ")]
    assert unknown.split() == ["unknown", "zlib1g", "(zlib)", "1:1.2-1", "1:1.3-1", "CVE-2024-2"]
    assert "Advisories: revision r1, updated 2026-11-24T12:00:00Z." in text


def test_color_is_asked_for() -> None:
    assert "\x1b[" in render(report(NPM), "table", now=NOW, color=True)


def test_a_clean_report_says_so() -> None:
    text = render(report(package("npm", "c", "1.0.0")), "table", now=NOW)
    assert "No known vulnerabilities in 1 package." in text


@pytest.mark.parametrize(
    "incomplete",
    [
        report(package("npm", "c", "1.0.0"), records=None),
        report(deb("a", "1", "Debian:11")),
        report(package("npm", "c", "1.0.0"), unreadable=("var/lib/dpkg/status",)),
    ],
)
def test_an_incomplete_report_is_never_shown_as_clean(incomplete: ScanReport) -> None:
    text = render(incomplete, "table", now=NOW)
    assert "\nwarning: " in text
    assert "INCOMPLETE" in text
    assert "No known vulnerabilities" not in text
    assert as_document(incomplete)["complete"] is False
    assert as_document(incomplete)["warnings"]


def test_skipped_files_are_listed() -> None:
    odd = report(NPM, skipped=(Skipped("a/b.json", LAYER, "scan.bad_json", "no JSON"),))
    assert "1 entry could not be read" in render(odd, "table", now=NOW)
    assert as_document(odd)["skipped"] == [
        {"path": "a/b.json", "layer": LAYER, "code": "scan.bad_json", "reason": "no JSON"}
    ]


def test_names_from_images_do_nothing_to_the_terminal() -> None:
    """Neither markup of our own nor escape sequences."""
    for name, shown in (("[bold]x[/]", "[bold]x[/]"), ("a\x1b]0;evil\x07", "a�]0;evil�")):
        records = Records(record("X-1", entry("npm", name, until("2.0.0"))))
        text = render(report(package("npm", name, "1.0.0"), records=records), "table", now=NOW)
        assert shown in text
        assert "\x1b" not in text
    odd = report(NPM, unreadable=("var/\x1b[2Jlib",))
    assert "\x1b" not in render(odd, "table", now=NOW)
