"""One entry of a bill of materials, whatever its format, and the package that it names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import cast, get_args

from garrison.packages.package import OperatingSystem, Package, Position, Skipped
from garrison.packages.releases import distro

DISTRIBUTIONS = frozenset({"deb", "apk", "rpm"})
KNOWN = DISTRIBUTIONS | {
    "cargo", "composer", "gem", "golang", "hex", "maven", "npm", "nuget", "pub", "pypi",
}  # fmt: skip
"""Types of purl for whose packages advisories exist. Others are listed nowhere."""

# The words of other tools for what os-release calls ID.
_OS_IDS = {
    "alma": "almalinux",
    "amazon": "amzn",
    "cbl-mariner": "mariner",
    "opensuse leap": "opensuse-leap",
    "opensuse.leap": "opensuse-leap",
    "opensuse tumbleweed": "opensuse-tumbleweed",
    "opensuse.tumbleweed": "opensuse-tumbleweed",
    "oracle": "ol",
    "redhat": "rhel",
    "suse linux enterprise server": "sles",
    "suse.linux.enterprise.server": "sles",
}
_BINARY_REBUILD = re.compile(r"\+b\d+$")
# Debian's own modules for Python; pip installs below /usr/local.
_DEBIAN_PYTHON = "usr/lib/python3/dist-packages/"
_POSITIONS = frozenset(get_args(Position))
_SOURCE_RPM = re.compile(r"(?P<name>.+)-(?P<version>[^-]+-[^-]+)\.(?:no)?src\.rpm")


@dataclass(frozen=True, slots=True)
class Component:
    """known: what properties and annotations say, by our names (`path`, `layer`, `source`, …)."""

    name: str
    version: str
    purl: str
    known: Mapping[str, str] = field(default_factory=dict)


def operating_system(
    name: str, version: str, pretty: str = "", codename: str = ""
) -> OperatingSystem:
    """By the words of any tool, as os-release has it."""
    id = name.strip().lower()
    version = "" if version == "rolling" else version
    return OperatingSystem(_OS_IDS.get(id, id), version, pretty, codename)


def packages_of(
    components: Iterable[Component], os: OperatingSystem | None
) -> tuple[tuple[Package, ...], tuple[Skipped, ...], OperatingSystem | None]:
    """Packages, what is none, and the system: where the document names none, that of the purls."""
    packages: list[Package] = []
    skipped: list[Skipped] = []
    for component in components:
        found = _package(component, os)
        if isinstance(found, Skipped):
            skipped.append(found)
            continue
        package, own = found
        os = os or own
        packages.append(package)
    debian = any(package.type == "deb" for package in packages)
    placed = [_placed(package, debian) for package in packages]
    placed.sort(key=lambda p: (p.type, p.namespace, p.name, p.version, p.path))
    return tuple(dict.fromkeys(placed)), tuple(skipped), os


def _package(
    component: Component, os: OperatingSystem | None
) -> tuple[Package, OperatingSystem | None] | Skipped:
    from packageurl import PackageURL

    label = component.name or component.purl or "a component without a name"
    if not component.purl:
        return _skip(label, "packages.no_purl", "no package URL, so nobody knows what it is")
    try:
        parsed = PackageURL.from_string(component.purl)
    except ValueError as error:
        return _skip(label, "packages.bad_purl", f"not a package URL: {component.purl} ({error})")
    if parsed.type not in KNOWN:
        reason = f"no advisories are published about packages of type {parsed.type}"
        return _skip(label, "packages.unknown_type", reason)
    qualifiers: Mapping[str, str] = parsed.qualifiers
    version = parsed.version or component.version
    if not version:
        return _skip(label, "packages.no_version", "no version")
    if parsed.type in ("rpm", "deb") and qualifiers.get("epoch", "0") != "0":
        version = f"{qualifiers['epoch']}:{version}"
    own: OperatingSystem | None = None
    source = source_version = ""
    if parsed.type in DISTRIBUTIONS:
        own = _named_os(parsed.namespace or "", qualifiers.get("distro", "")) or os
        source, source_version = _source(
            parsed.type, parsed.name, version, component.known, qualifiers
        )
    known = component.known
    position = known.get("position", "installed")
    path = known.get("path", "").lstrip("/")
    if parsed.type in DISTRIBUTIONS and "position" not in known:
        # Others name any file of it, and not the database that says it is installed.
        path = ""
    namespace, name = _spelled(component.name, parsed.type, parsed.namespace or "", parsed.name)
    package = Package(
        type=parsed.type,
        namespace=namespace,
        name=name,
        version=version,
        purl=component.purl,
        path=path,
        position=cast(Position, position) if position in _POSITIONS else "installed",
        arch=qualifiers.get("arch", "") if parsed.type in DISTRIBUTIONS else "",
        distro=_release(own, os) if parsed.type in DISTRIBUTIONS else "",
        source=source,
        source_version=source_version,
        owner=known.get("owner", ""),
        layer=known.get("layer", ""),
        diff_id=known.get("diffId", ""),
        development=known.get("development") == "true",
    )
    return package, own


def _spelled(given: str, type: str, namespace: str, name: str) -> tuple[str, str]:
    """Namespace and name with their capitals, which purls of some types lose: advisories of Go
    are about `github.com/Masterminds/semver`."""
    full = f"{namespace}/{name}" if namespace else name
    if type in ("composer", "golang", "npm") and given.lower() == full.lower():
        namespace, _, name = given.rpartition("/")
    return namespace, name


def _release(own: OperatingSystem | None, os: OperatingSystem | None) -> str:
    """Of the document's system where it is the purl's, for it knows more of it."""
    if os is not None and (own is None or own.id == os.id):
        return distro(os) or distro(own)
    return distro(own)


def _placed(package: Package, debian: bool) -> Package:
    """Other tools do not say what a Debian package owns; its folder does."""
    if (
        debian
        and package.type == "pypi"
        and package.position == "installed"
        and package.path.startswith(_DEBIAN_PYTHON)
    ):
        from dataclasses import replace

        return replace(package, position="owned")
    return package


def _named_os(namespace: str, text: str) -> OperatingSystem | None:
    """The system that a purl's `distro` names: `debian-12`, `alpine-3.20.1`, or a codename."""
    if not text:
        return None
    name, dash, version = text.rpartition("-")
    if dash and version[:1].isdigit():
        return operating_system(name, version)
    if text[:1].isdigit():
        return operating_system(namespace, text)
    return operating_system(namespace or text, "", codename=text)


def _source(
    type: str, name: str, version: str, known: Mapping[str, str], qualifiers: Mapping[str, str]
) -> tuple[str, str]:
    """Source package and its version; by the document, else as the distribution derives it."""
    source, source_version = known.get("source", ""), known.get("sourceVersion", "")
    if not source and (upstream := qualifiers.get("upstream", "")):
        if found := _SOURCE_RPM.fullmatch(upstream):
            source, source_version = found["name"], found["version"]
            epoch, colon, _ = version.partition(":")
            source_version = f"{epoch}:{source_version}" if colon else source_version
        else:
            source, _, source_version = upstream.partition("@")
    source = source or name
    if not source_version:
        # A rebuild of the same source: 2.5.0-1+b1 comes from 2.5.0-1.
        source_version = _BINARY_REBUILD.sub("", version) if type == "deb" else version
    return source, source_version


def _skip(label: str, code: str, reason: str) -> Skipped:
    return Skipped(label, "", code, reason)
