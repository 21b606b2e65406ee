"""Every finding of the real test image, judged by other programs over the raw JSON."""

from __future__ import annotations

import shutil
import subprocess
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache

import pytest
from packaging.utils import canonicalize_name
from packaging.version import Version

from garrison.advisories import AdvisoryStore
from garrison.egress import ProxySettings
from garrison.findings import ScanReport
from garrison.findings.scan import scan_image
from garrison.images import open_image
from garrison.packages import Package
from lab import image
from tests.integration.intel import real
from tests.integration.intel.test_oracle import (
    Json,
    by_package,
    npm_range,
    pypi_affected,
    semver,
)

__all__ = ["semver"]
Found = dict[tuple[str, str], set[str]]


@pytest.fixture(scope="module")
def report(real_store: AdvisoryStore) -> ScanReport:
    source = open_image(f"oci:{image.real().oci}", ProxySettings.build())
    return scan_image(source, real_store)


def found(report: ScanReport, kind: str) -> Found:
    """Record ids by name and version; a package in several places has the same in each."""
    ids: Found = defaultdict(set)
    for each in report.findings:
        if each.package.type == kind:
            ids[name_of(each.package), each.package.version] |= set(each.match.records)
    return dict(ids)


def name_of(package: Package) -> str:
    if package.type == "pypi":
        return canonicalize_name(package.name)
    return (
        f"{package.namespace}/{package.name}"
        if package.type == "npm" and package.namespace
        else package.name
    )


def installed(report: ScanReport, kind: str) -> set[tuple[str, str]]:
    """Without what a Debian package owns: Debian's advisories speak for it."""
    return {
        (name_of(package), package.version)
        for package in report.inventory.packages
        if package.type == kind and package.position != "owned"
    }


def expected(
    records: Iterable[Json],
    ecosystem: str,
    packages: set[tuple[str, str]],
    affected: Callable[[Json, str], bool],
) -> Found:
    everything = by_package(records, ecosystem)
    ids = {
        key: {
            record["id"]
            for record, part in everything.get(key[0], [])
            if "withdrawn" not in record and affected(part, key[1])
        }
        for key in packages
    }
    return {key: some for key, some in ids.items() if some}


def test_python(report: ScanReport) -> None:
    packages = installed(report, "pypi")
    judged = expected(
        real.raw("PyPI", "Maven"),
        "PyPI",
        packages,
        lambda part, version: pypi_affected(part, Version(version)),
    )
    assert len(judged) > 15
    assert found(report, "pypi") == judged


def test_npm(report: ScanReport, semver: Callable[..., list[str]]) -> None:
    def affected(part: Json, version: str) -> bool:
        span = npm_range(part, lambda items: semver(*sorted(set(items))))
        within = bool(span) and bool(semver("--range", span, version))
        return within or version in part.get("versions", [])

    judged = expected(real.raw("npm"), "npm", installed(report, "npm"), affected)
    assert len(judged) > 10
    assert found(report, "npm") == judged


def test_debian(report: ScanReport) -> None:
    dpkg = shutil.which("dpkg")
    if dpkg is None:
        pytest.skip("dpkg is not installed")

    @cache
    def below(a: str, b: str) -> bool:
        return subprocess.run([dpkg, "--compare-versions", a, "lt", b], check=False).returncode == 0

    def affected(part: Json, version: str) -> bool:
        [span] = part["ranges"]
        fixed = [event["fixed"] for event in span["events"] if "fixed" in event]
        return not fixed or below(version, fixed[0])

    packages = [each for each in report.inventory.packages if each.type == "deb"]
    sources = {(each.source, each.source_version) for each in packages}
    by_source = expected(real.raw("Debian"), "Debian:12", sources, affected)
    judged = {
        (each.name, each.version): by_source[each.source, each.source_version]
        for each in packages
        if (each.source, each.source_version) in by_source
    }
    assert len(judged) > 30
    assert found(report, "deb") == judged
