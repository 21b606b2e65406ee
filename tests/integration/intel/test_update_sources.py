"""EPSS, KEV, ratings of CVEs and lists of changes: fetched conditionally, kept whole."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from garrison.advisories import AdvisoryStore, EcosystemState, snapshot_path
from garrison.advisories import feeds as feeds_module
from garrison.advisories.feeds import UpdateResult
from garrison.advisories.sources import NOTHING_ELSE, Sources
from garrison.egress.http import EgressClient
from tests.integration.intel.server import Feed
from tests.integration.intel.test_update import B, N, many
from tests.unit.advisories.records import Json, entry, raw, record, until
from tests.unit.advisories.test_facts import DATA, V2, V31, metric, nvd

A = record("PYSEC-a", entry("PyPI", "a", until("2.0")), aliases=["CVE-2024-4577"])
YEARS = range(2002, 2027)


def put_sources(feed: Feed) -> Sources:
    feed.files["/epss.csv.gz"] = gzip.compress((DATA / "epss.csv").read_bytes())
    feed.files["/kev.json"] = (DATA / "kev.json").read_bytes()
    put_cves(feed, 2024, V2)
    return Sources(f"{feed.url}/epss.csv.gz", f"{feed.url}/kev.json", (f"{feed.url}/nvd",))


def put_cves(feed: Feed, year: int, vector: str, file: str = "") -> None:
    """Every year of NVD, empty but for one."""
    empty = gzip.compress(b'{"vulnerabilities": []}')
    for number in YEARS:
        feed.files.setdefault(f"/nvd/nvdcve-2.0-{number}.json.gz", empty)
    feed.files.setdefault("/nvd/nvdcve-2.0-modified.json.gz", empty)
    item = nvd(cvssMetricV31=[metric(vector)])
    item["cve"] |= {"id": "CVE-2024-4577", "lastModified": f"2026-11-0{1 + bool(file)}T00:00:00"}
    packed = gzip.compress(json.dumps({"vulnerabilities": [item]}).encode())
    feed.files[f"/nvd/nvdcve-2.0-{file or year}.json.gz"] = packed


async def update(
    client: EgressClient, data: Path, feed: Feed, sources: Sources = NOTHING_ELSE
) -> UpdateResult:
    return await feeds_module.update(
        client, data, url=feed.url, ecosystems=("PyPI",), sources=sources
    )


def opened(data: Path) -> AdvisoryStore:
    return AdvisoryStore(snapshot_path(data))


async def test_all_sources(client: EgressClient, feed: Feed, tmp_path: Path) -> None:
    feed.put("PyPI", A, B)
    sources = put_sources(feed)
    result = await update(client, tmp_path, feed, sources)
    assert result.failures == ()
    assert [(s.kind, s.records, s.version) for s in result.sources] == [
        ("CVE", 1, ""),
        ("EPSS", 4, "v2026.06.15, 2026-08-15"),
        ("KEV", 3, "2026.08.21"),
    ]
    facts = opened(tmp_path).facts(["CVE-2024-4577", "CVE-2023-44487", "CVE-1999-1"])
    known = facts["CVE-2024-4577"]
    assert known.epss is not None
    assert known.epss.score > 0.9
    assert known.kev is not None
    assert (known.source, known.ratings[0].value) == ("NVD", V2)
    assert facts["CVE-2023-44487"].kev is not None
    assert "CVE-1999-1" not in facts
    assert opened(tmp_path).knows_exploited


async def test_nothing_is_downloaded_again(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    """And of NVD's years, which its file of changes covers, none is even asked for."""
    feed.put("PyPI", A)
    sources = put_sources(feed)
    await update(client, tmp_path, feed, sources)
    content = snapshot_path(tmp_path).read_bytes()
    feed.log()
    result = await update(client, tmp_path, feed, sources)
    assert not result.changed
    assert snapshot_path(tmp_path).read_bytes() == content
    assert feed.log() == [
        ("/PyPI/all.zip", 304, 0),
        ("/epss.csv.gz", 304, 0),
        ("/kev.json", 304, 0),
        ("/nvd/nvdcve-2.0-modified.json.gz", 304, 0),
    ]


async def test_new_scores_change_no_advisory(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    """The revision, after which everything is matched anew, stays; what is shown is new."""
    feed.put("PyPI", A)
    sources = put_sources(feed)
    first = await update(client, tmp_path, feed, sources)
    before = opened(tmp_path).exploitation
    text = (DATA / "epss.csv").read_text().replace("0.0067", "0.77")
    feed.files["/epss.csv.gz"] = gzip.compress(text.encode())
    second = await update(client, tmp_path, feed, sources)
    assert second.changed
    assert second.revision == first.revision
    assert second.changed_names == frozenset()
    assert opened(tmp_path).exploitation != before
    found = opened(tmp_path).facts(["CVE-2024-11168"])["CVE-2024-11168"].epss
    assert found is not None
    assert found.score == 0.77


async def test_the_file_of_changes_outweighs_the_year_and_names_who_is_concerned(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    feed.put("PyPI", A, B)
    sources = put_sources(feed)
    first = await update(client, tmp_path, feed, sources)
    put_cves(feed, 2024, V31, file="modified")
    second = await update(client, tmp_path, feed, sources)
    assert second.revision != first.revision
    assert set(second.changed_names or ()) == {("PyPI", "a")}
    assert opened(tmp_path).facts(["CVE-2024-4577"])["CVE-2024-4577"].ratings[0].value == V31


async def test_a_source_that_fails_keeps_what_it_had_and_stops_no_other(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    feed.put("PyPI", A)
    sources = put_sources(feed)
    await update(client, tmp_path, feed, sources)
    feed.put("PyPI", A, B)
    feed.files["/epss.csv.gz"] = b"<html>portal</html>"
    feed.statuses["/kev.json"] = 500
    feed.files["/nvd/nvdcve-2.0-modified.json.gz"] = gzip.compress(b"{}")[:-3]
    result = await update(client, tmp_path, feed, sources)
    assert [(f.ecosystem, f.code) for f in result.failures] == [
        ("EPSS", "intel.bad_feed"),
        ("KEV", "intel.status"),
        ("CVE", "intel.bad_feed"),
    ]
    assert result.ecosystems[0].records == 2
    assert {s.kind: s.records for s in result.sources} == {"CVE": 1, "EPSS": 4, "KEV": 3}


async def test_a_source_that_is_no_longer_wanted_is_taken_out(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    feed.put("PyPI", A)
    sources = put_sources(feed)
    await update(client, tmp_path, feed, sources)
    result = await update(client, tmp_path, feed, Sources(epss=sources.epss))
    assert [s.kind for s in result.sources] == ["EPSS"]
    assert set(result.changed_names or ()) == {("PyPI", "a")}
    known = opened(tmp_path).facts(["CVE-2024-4577"])["CVE-2024-4577"]
    assert (known.kev, known.ratings) == (None, ())


async def test_the_file_of_a_new_year_may_be_missing(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    feed.put("PyPI", A)
    sources = put_sources(feed)
    del feed.files["/nvd/nvdcve-2.0-2026.json.gz"]
    assert (await update(client, tmp_path, feed, sources)).failures == ()
    (tmp_path / "other").mkdir()
    del feed.files["/nvd/nvdcve-2.0-2011.json.gz"]
    [failure] = (await update(client, tmp_path / "other", feed, sources)).failures
    assert (failure.ecosystem, failure.code) == ("CVE", "intel.not_found")


# --- lists of changes ---------------------------------------------------------------------------


def put_listed(feed: Feed, *records: Json) -> None:
    """A feed with its list of changes and single records, as the public export has them."""
    feed.put("PyPI", *records)
    for path in [path for path in feed.files if path.startswith("/PyPI/R")]:
        del feed.files[path]
    for item in records:
        feed.files[f"/PyPI/{item['id']}.json"] = raw(item)
    lines = sorted((f"{item['modified']},{item['id']}" for item in records), reverse=True)
    feed.files["/PyPI/modified_id.csv"] = ("\n".join(lines) + "\n").encode()


def at(item: Json, modified: str, **more: object) -> Json:
    return {**item, "modified": modified, **more}


def only(result: UpdateResult) -> EcosystemState:
    [state] = result.ecosystems
    return state


async def test_few_changes_are_fetched_one_by_one(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    records = many(60)
    put_listed(feed, *records)
    await update(client, tmp_path, feed)
    changed = at(records[3], "2026-02-01T00:00:00Z", summary="new")
    added = record("R-new", entry("PyPI", "fresh", until("1.0")))
    put_listed(feed, *[changed if r["id"] == "R-3" else r for r in records[:-1]], added)
    feed.log()
    result = await update(client, tmp_path, feed)
    assert sorted((path, status) for path, status, _ in feed.log()) == [
        ("/PyPI/R-3.json", 200),
        ("/PyPI/R-new.json", 200),
        ("/PyPI/modified_id.csv", 200),
    ]
    assert only(result).records == 60
    assert set(result.changed_names or ()) == {("PyPI", "p3"), ("PyPI", "fresh"), ("PyPI", "p59")}
    again = await update(client, tmp_path, feed)
    assert not again.changed
    assert feed.log() == [("/PyPI/modified_id.csv", 304, 0)]
    # The same content, whatever the way it came.
    whole = await update(client, tmp_path / "other", feed)
    assert whole.revision == result.revision


async def test_many_changes_are_fetched_as_the_archive(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    put_listed(feed, *many(60))
    await update(client, tmp_path, feed)
    put_listed(feed, *[at(r, "2026-02-01T00:00:00Z") for r in many(60)])
    feed.log()
    await update(client, tmp_path, feed)
    assert [path for path, _, _ in feed.log()] == ["/PyPI/modified_id.csv", "/PyPI/all.zip"]


async def test_a_record_dated_in_the_future_hides_no_other(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    """PYSEC-2024-115 is of 2027: the greatest time says nothing about what was seen."""
    records = [at(r, "2027-07-09T00:00:00Z") if r["id"] == "R-0" else r for r in many(60)]
    put_listed(feed, *records)
    await update(client, tmp_path, feed)
    put_listed(feed, *records, at(N, "2026-03-01T00:00:00Z", id="R-n"))
    feed.log()
    await update(client, tmp_path, feed)
    assert ("/PyPI/R-n.json", 200) in [(path, status) for path, status, _ in feed.log()]


@pytest.mark.parametrize("status", [404, 500])
async def test_a_record_that_cannot_be_had_is_taken_from_the_archive(
    client: EgressClient, feed: Feed, tmp_path: Path, status: int
) -> None:
    records = many(60)
    put_listed(feed, *records)
    await update(client, tmp_path, feed)
    put_listed(feed, *records, B)
    feed.statuses["/PyPI/PYSEC-b.json"] = status
    result = await update(client, tmp_path, feed)
    assert result.failures == ()
    assert only(result).records == 61


async def test_a_record_that_cannot_be_read_is_asked_for_once(
    client: EgressClient, feed: Feed, tmp_path: Path
) -> None:
    records = many(60)
    put_listed(feed, *records)
    await update(client, tmp_path, feed)
    put_listed(feed, *records, B)
    feed.files["/PyPI/PYSEC-b.json"] = b"{broken"
    result = await update(client, tmp_path, feed)
    assert (only(result).records, only(result).skipped) == (60, 1)
    feed.files["/PyPI/modified_id.csv"] += b"\n"
    feed.log()
    await update(client, tmp_path, feed)
    assert [path for path, _, _ in feed.log()] == ["/PyPI/modified_id.csv"]
    put_listed(feed, *records, at(B, "2026-05-01T00:00:00Z"))
    result = await update(client, tmp_path, feed)
    assert (only(result).records, only(result).skipped) == (61, 0)
