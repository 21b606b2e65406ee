"""EPSS, the catalogue of exploited vulnerabilities, and ratings of CVEs, as published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garrison.advisories import BadFeedError, Rating
from garrison.advisories.facts import CveRecord, Scores, read_catalogue, read_cves

DATA = Path(__file__).resolve().parents[2] / "data" / "facts"
V31 = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
V4 = "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N"
V2 = "AV:N/AC:L/Au:N/C:P/I:P/A:P"


def test_scores_of_a_real_file() -> None:
    with (DATA / "epss.csv").open() as lines:
        scores = Scores(lines)
        rows = list(scores)
    assert scores.version == "v2026.06.15, 2026-08-15"
    assert scores.skipped == []
    assert len(rows) == 4
    assert all(cve.startswith("CVE-2024-") and 0 <= s <= 1 and 0 <= p <= 1 for cve, s, p in rows)


def test_lines_that_are_no_score_are_counted() -> None:
    scores = Scores(
        ["cve,epss,percentile\n", "CVE-2024-1000,0.5,0.9\n", "CVE-2024-1001,2,0.9\n", "x\n",
         "CVE-2024-1002,nan,1\n", "\n", "NOT-1,0.1,0.1\n"]
    )  # fmt: skip
    assert list(scores) == [("CVE-2024-1000", 0.5, 0.9)]
    assert [place for place, _ in scores.skipped] == ["line 3", "line 4", "line 5", "line 7"]
    assert scores.version == ""


@pytest.mark.parametrize("text", ["", "<html>\n", "cve,epss,percentile\n", "a,b\nCVE-1,1,1\n"])
def test_a_portals_page_is_no_scores(text: str) -> None:
    with pytest.raises(BadFeedError):
        list(Scores(text.splitlines(keepends=True)))


def test_catalogue_of_a_real_file() -> None:
    found = read_catalogue((DATA / "kev.json").read_bytes())
    assert found.version == "2026.08.21"
    assert set(found.entries) == {"CVE-2024-4577", "CVE-2024-1086", "CVE-2023-44487"}
    entry = found.entries["CVE-2024-4577"]
    assert (entry.added, entry.due, entry.ransomware) == ("2024-06-12", "2024-07-03", True)
    assert "PHP" in entry.name


def test_entries_that_are_none_are_counted() -> None:
    data = json.dumps(
        {"vulnerabilities": [{"cveID": "CVE-2024-1000"}, {"cveID": 7}, {"cveID": "x"}, 1]}
    )
    found = read_catalogue(data.encode())
    assert set(found.entries) == {"CVE-2024-1000"}
    assert [place for place, _ in found.skipped] == ["entry 2", "entry 3", "entry 4"]


@pytest.mark.parametrize("data", [b"", b"<html>", b"{}", b'{"vulnerabilities": []}', b"[" * 10**5])
def test_a_portals_page_is_no_catalogue(data: bytes) -> None:
    with pytest.raises(BadFeedError):
        read_catalogue(data)


def record(name: str) -> CveRecord:
    [found] = read_cves((DATA / f"{name}.json").read_bytes())
    assert isinstance(found, CveRecord)
    return found


def test_the_assigners_rating_comes_before_what_others_add() -> None:
    both = record("CVE-2024-11168")
    assert [rating.type for rating in both.ratings] == ["CVSS_V4"]
    assert both.source == "CVE List"
    added = record("CVE-2024-45490")
    assert [rating.type for rating in added.ratings] == ["CVSS_V3"]


def test_a_rejected_cve_is_not_rated() -> None:
    assert record("CVE-2024-49967").ratings == ()


def nvd(**metrics: Any) -> dict[str, Any]:
    return {"cve": {"id": "CVE-2024-1000", "lastModified": "2026-01-01T00:00:00.000",
                    "vulnStatus": "Analyzed", "metrics": metrics}}  # fmt: skip


def metric(vector: str, type: str = "Primary") -> dict[str, Any]:
    return {"source": "nvd@nist.gov", "type": type, "cvssData": {"vectorString": vector}}


def test_records_of_nvd() -> None:
    """Its own analysis counts; where there is none, what the assigner said."""
    rejected = nvd(cvssMetricV31=[metric(V31)])
    rejected["cve"] |= {"id": "CVE-2024-1001", "vulnStatus": "Rejected"}
    bare = {"cve": {"id": "CVE-2024-1002"}}
    file = {
        "format": "NVD_CVE",
        "vulnerabilities": [
            nvd(cvssMetricV31=[metric("CVSS:3.1/AV:L", "Secondary"), metric(V31)],
                cvssMetricV40=[metric(V4, "Secondary")], cvssMetricV2=[metric(V2)]),
            rejected, bare, {"cve": {"id": 5}}, {"cve": {"id": "CVE"}},
        ],
    }  # fmt: skip
    found = list(read_cves(json.dumps(file).encode()))
    assert found[0] == CveRecord(
        "CVE-2024-1000", "2026-01-01T00:00:00.000", "NVD",
        (Rating("CVSS_V4", V4), Rating("CVSS_V3", V31), Rating("CVSS_V2", V2)),
    )  # fmt: skip
    assert [r.ratings for r in found[1:3] if isinstance(r, CveRecord)] == [(), ()]
    assert [item[0] for item in found[3:]] == ["entry 4", "CVE"]


@pytest.mark.parametrize("data", [b"", b"<html>", b"{}", b'{"vulnerabilities": 3}'])
def test_a_portals_page_is_no_cve(data: bytes) -> None:
    with pytest.raises(BadFeedError):
        list(read_cves(data))


@given(st.binary(max_size=200))
def test_hostile_bytes_are_refused_and_crash_nothing(data: bytes) -> None:
    for read in (read_catalogue, lambda raw: list(read_cves(raw))):
        with pytest.raises(BadFeedError):
            read(data)
    with pytest.raises(BadFeedError):
        list(Scores(data.decode("latin-1").splitlines(keepends=True)))
