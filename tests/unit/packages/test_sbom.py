"""Bills of materials read: ours without loss, those of Trivy and Syft to the same packages."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garrison.findings import match_inventory
from garrison.packages import Inventory, OperatingSystem, Package, Skipped
from garrison.packages.purl import purl
from garrison.packages.sbom import SbomUnreadableError, document, read_sbom
from garrison.reports import PackageFormat, render_packages
from tests.unit.reports.samples import ALL, NOW, RECORDS, report

DATA = Path(__file__).resolve().parents[2] / "data" / "sbom"
COMMON = {
    ("deb", "bsdutils", "1:2.38.1-5+deb12u3", "Debian:12", "util-linux", "2.38.1-5+deb12u3"),
    ("deb", "libexpat1", "2.5.0-1+deb12u2", "Debian:12", "expat", "2.5.0-1+deb12u2"),
    ("npm", "hoek", "8.0.0", "", "", ""),
    ("npm", "yallist", "3.0.2", "", "", ""),
    ("pypi", "aiohttp", "3.8.3", "", "", ""),
}


def read(name: str) -> Inventory:
    return read_sbom((DATA / name).read_bytes(), f"sbom:{name}")


def of(document: object) -> Inventory:
    return read_sbom(json.dumps(document).encode(), "sbom:x")


def bom(*components: object, **more: object) -> dict[str, Any]:
    return {"bomFormat": "CycloneDX", "specVersion": "1.5", "components": components, **more}


def library(purl: str = "", **more: object) -> dict[str, Any]:
    return {"type": "library", "name": "x", **({"purl": purl} if purl else {}), **more}


@pytest.mark.parametrize("format", ["cyclonedx", "spdx"])
def test_capitals_that_purls_lose_come_back(format: PackageFormat) -> None:
    """Advisories of Go are about `github.com/Masterminds/semver`; its purl has no capitals."""
    packages = tuple(
        Package(type, namespace, name, version, purl(type, namespace, name, version), "app/x",
                position="locked", development=type == "npm")
        for type, namespace, name, version in (
            ("golang", "github.com/Masterminds", "semver", "v3.0.0"),
            ("golang", "", "stdlib", "1.22.1"),
            ("maven", "org.apache.logging.log4j", "log4j-core", "2.14.1"),
            ("npm", "", "JSONStream", "1.3.5"),
            ("npm", "@types", "node", "20.0.0"),
        )
    )  # fmt: skip
    inventory = replace(report(*ALL).inventory, packages=packages)
    found = read_sbom(render_packages(inventory, format, now=NOW).encode(), "sbom:x")
    assert {*found.packages} == {*packages}


@pytest.mark.parametrize("format", ["cyclonedx", "spdx"])
def test_our_own_come_back_whole(format: PackageFormat) -> None:
    inventory = report(*ALL).inventory
    text = render_packages(inventory, format, now=NOW)
    found = read_sbom(text.encode(), "sbom:x")
    assert {*found.packages} == {
        replace(p, source=p.source, name="jinja2") if p.type == "pypi" else p
        for p in inventory.packages
    }
    assert (found.reference, found.digest, found.platform) == (
        inventory.reference,
        inventory.digest,
        inventory.platform,
    )
    assert [(each.digest, each.diff_id) for each in found.layers] == [
        (each.digest, each.diff_id) for each in inventory.layers
    ]
    assert found.skipped == ()
    before = match_inventory(inventory, RECORDS)
    after = match_inventory(found, RECORDS)
    assert [(f.match.id, f.package.path) for f in after.findings] == [
        (f.match.id, f.package.path) for f in before.findings
    ]


@pytest.mark.parametrize(
    "name",
    [
        "syft.cdx.json",
        "syft.cdx.xml",
        "syft.spdx",
        "syft.spdx.json",
        "trivy.cdx.json",
        "trivy.spdx.json",
    ],
)
def test_those_of_other_tools(name: str) -> None:
    found = read(name)
    packages = {
        (p.type, p.name, p.version, p.distro, p.source, p.source_version) for p in found.packages
    }
    assert packages - {("pypi", "pyyaml", "6.0", "", "", "")} == COMMON
    assert found.skipped == ()
    assert found.os is not None
    assert found.os.id == "debian"
    hoek = next(package for package in found.packages if package.name == "hoek")
    assert (hoek.namespace, hoek.purl) == ("@hapi", "pkg:npm/%40hapi/hoek@8.0.0")


def test_paths_and_layers_of_other_tools() -> None:
    for name in ("trivy.cdx.json", "syft.cdx.json", "syft.cdx.xml"):
        aiohttp = next(p for p in read(name).packages if p.name == "aiohttp")
        assert aiohttp.path == (
            "usr/local/lib/python3.11/dist-packages/aiohttp-3.8.3.dist-info/METADATA"
        )
        assert aiohttp.diff_id.startswith("sha256:24fa0e71")


@pytest.mark.parametrize("version", ["1.2", "1.3", "1.4", "1.5", "1.6"])
def test_every_version_since_1_2(version: str) -> None:
    found = of(bom(library("pkg:npm/a@1"), specVersion=version))
    assert [package.name for package in found.packages] == ["a"]


@pytest.mark.parametrize(
    ("component", "code"),
    [
        (library(), "packages.no_purl"),
        ({"type": "application", "name": "x"}, "packages.no_purl"),
        (library("nonsense"), "packages.bad_purl"),
        (library("pkg:generic/openssl@1"), "packages.unknown_type"),
        (library("pkg:npm/a"), "packages.no_version"),
    ],
)
def test_what_is_no_package_is_counted(component: object, code: str) -> None:
    found = of(bom(component, library("pkg:npm/a@1")))
    assert [item.code for item in found.skipped] == [code]
    assert len(found.packages) == 1


@pytest.mark.parametrize("type", ["container", "operating-system", "file", "data", "firmware"])
def test_what_never_is_a_package_is_not_missed(type: str) -> None:
    assert of(bom({"type": type, "name": "x", "version": "1"})).skipped == ()


def test_components_inside_components() -> None:
    inner = library("pkg:npm/inner@1", components=[library("pkg:npm/innermost@1")])
    found = of(bom(library("pkg:npm/outer@1", components=[inner])))
    assert {package.name for package in found.packages} == {"outer", "inner", "innermost"}


@pytest.mark.parametrize(
    ("purl", "properties", "expected"),
    [
        ("pkg:deb/debian/libssl3@3.0.1-1%2Bb2?distro=debian-12&upstream=openssl", {},
         ("openssl", "3.0.1-1", "Debian:12")),
        ("pkg:deb/debian/libssl3@3.0.1-1?distro=debian-12.4&upstream=openssl%403.0.0-9", {},
         ("openssl", "3.0.0-9", "Debian:12")),
        ("pkg:deb/debian/a@2?distro=bookworm", {}, ("a", "2", "Debian:12")),
        ("pkg:deb/ubuntu/a@2?distro=ubuntu-22.04", {}, ("a", "2", "Ubuntu:22.04:LTS")),
        ("pkg:deb/debian/a@2?epoch=1&distro=debian-12", {}, ("a", "1:2", "Debian:12")),
        ("pkg:apk/alpine/libcrypto3@3.1?distro=alpine-3.20.1",
         {"syft:metadata:originPackage": "openssl"},
         ("openssl", "3.1", "Alpine:v3.20")),
        ("pkg:rpm/rocky/a-libs@1-2.el9?epoch=1&distro=rocky-9.3&upstream=a-1-2.el9.src.rpm", {},
         ("a", "1:1-2.el9", "Rocky Linux:9")),
        ("pkg:deb/debian/a@2", {}, ("a", "2", "")),
        ("pkg:deb/debian/a@2?distro=debian-12", {"aquasecurity:trivy:SrcName": "b",
         "aquasecurity:trivy:SrcVersion": "3", "aquasecurity:trivy:SrcRelease": "4",
         "aquasecurity:trivy:SrcEpoch": "5"}, ("b", "5:3-4", "Debian:12")),
    ],
)  # fmt: skip
def test_sources_and_releases(
    purl: str, properties: dict[str, str], expected: tuple[str, str, str]
) -> None:
    given = [{"name": name, "value": value} for name, value in properties.items()]
    [package] = of(bom(library(purl, properties=given))).packages
    assert (package.source, package.source_version, package.distro) == expected


def test_the_documents_system_decides_over_the_purl() -> None:
    """A purl may say `debian-12` where the system is known exactly; another system stays."""
    system = {"type": "operating-system", "name": "redhat", "version": "9.4"}
    found = of(
        bom(
            system,
            library("pkg:rpm/redhat/a@1-1?distro=redhat-9.4"),
            library("pkg:deb/debian/b@1?distro=debian-12"),
        )
    )
    assert found.os == OperatingSystem("rhel", "9.4")
    assert {package.name: package.distro for package in found.packages} == {
        "a": "Red Hat:enterprise_linux:9",
        "b": "Debian:12",
    }


def test_python_in_debians_own_folder_belongs_to_debian() -> None:
    """Upstream's advisories would accuse it of what Debian has repaired."""
    place = "/usr/lib/python3/dist-packages/requests-2.28.1.egg-info/PKG-INFO"
    python = library(
        "pkg:pypi/requests@2.28.1",
        properties=[{"name": "syft:location:0:path", "value": place}],
    )
    debian = library("pkg:deb/debian/a@1?distro=debian-12")
    [_, owned] = of(bom(debian, python)).packages
    assert owned.position == "owned"
    [free] = of(bom(python)).packages
    assert free.position == "installed"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "neither JSON"),
        (b"root:x:0:0", "neither JSON"),
        (b"{", "not JSON"),
        (b"{}", "neither CycloneDX nor SPDX"),
        (b'{"bomFormat": "CycloneDX", "specVersion": "1.1"}', "CycloneDX 1.1"),
        (b'{"spdxVersion": "SPDX-3.0"}', "another version"),
        (b"<bom>", "not XML"),
        (b"<bom/>", "not a CycloneDX document"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><bom/>', "document type"),
        (b'{"a":' + b"[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_bill_of_materials(data: bytes, reason: str) -> None:
    with pytest.raises(SbomUnreadableError, match=reason):
        read_sbom(data, "sbom:x")


def test_size_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document, "MAX_BYTES", 10)
    with pytest.raises(SbomUnreadableError, match="more than 10 bytes"):
        read_sbom(b'{"bomFormat": "CycloneDX"}', "x")


def test_many_skipped_are_summed_up() -> None:
    found = of(bom(*[library() for _ in range(1500)]))
    assert len(found.skipped) == 1001
    assert found.skipped[-1] == Skipped("", "", "packages.more_skipped", "and 500 more components")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["bomFormat", "specVersion", "components", "type", "name", "version", "purl",
                 "properties", "value", "metadata", "component", "spdxVersion", "packages",
                 "externalRefs", "referenceType", "referenceLocator", "relationships",
                 "annotations", "comment", "evidence", "occurrences", "location", "SPDXID"]
            ),
            inner, max_size=6,
        )
    ),
    max_leaves=25,
)  # fmt: skip


@given(json_values, st.sampled_from([{"bomFormat": "CycloneDX", "specVersion": "1.6"},
                                     {"spdxVersion": "SPDX-2.3"}, {}]))  # fmt: skip
def test_any_json_is_read_or_refused(value: Any, head: dict[str, str]) -> None:
    document = {**value, **head} if isinstance(value, dict) else {"components": value, **head}
    with suppress(SbomUnreadableError):
        of(document)


@given(st.text(max_size=60))
def test_any_purl_is_read_or_skipped(text: str) -> None:
    found = of(bom(library(text or "x"), library(f"pkg:deb/{text}")))
    assert len(found.packages) + len(found.skipped) >= 1


@given(st.text(max_size=300), st.binary(max_size=100))
def test_any_bytes_are_read_or_refused(text: str, data: bytes) -> None:
    for each in (data, f"SPDXVersion: SPDX-2.3\n{text}".encode(), b"<" + data):
        with suppress(SbomUnreadableError):
            read_sbom(each, "x")
