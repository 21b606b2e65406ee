"""SPDX 2.2 and 2.3, JSON or tag-value → components.

Source: spdx.github.io/spdx-spec/v2.3; what Trivy and Syft write into free text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from garrison.packages.package import Layer, OperatingSystem
from garrison.packages.sbom.component import Component, operating_system
from garrison.packages.sbom.cyclonedx import Bom

_BUILT_FROM = re.compile(r"built package from: (?P<name>\S+)(?: (?P<version>\S+))?")
_ACQUIRED = re.compile(r"acquired package info from [^:]*: (?P<path>[^,]+)")
# In annotations, as Trivy writes them.
_ANNOTATIONS = {"LayerDigest": "layer", "LayerDiffID": "diffId"}
_NO_PACKAGES = frozenset({"CONTAINER", "OPERATING-SYSTEM", "OPERATING_SYSTEM", "FILE", "DEVICE"})


def read(document: Mapping[str, Any]) -> Bom:
    """The parsed JSON as a `Bom`. What has a wrong type is as good as absent."""
    described = set(_described(document))
    packages = list(_tables(document.get("packages")))
    components: list[Component] = []
    os: OperatingSystem | None = None
    root: Mapping[str, Any] = {}
    for entry in packages:
        purpose = _text(entry.get("primaryPackagePurpose"))
        purl = _purl(entry)
        if _text(entry.get("SPDXID")) in described and not _is_package(purl):
            root = root or entry
        elif purpose in ("OPERATING-SYSTEM", "OPERATING_SYSTEM"):
            os = os or operating_system(
                _text(entry.get("name")),
                _text(entry.get("versionInfo")),
                _text(entry.get("summary")),
            )
        elif purl or not (purpose in _NO_PACKAGES or _class_of(entry)):
            components.append(_component(entry, purl))
    known = dict(_said(root))
    return Bom(
        components=tuple(components),
        os=os,
        name=_text(root.get("name")) or _text(document.get("name")),
        digest=_digest(root),
        platform=known.get("platform", ""),
        layers=tuple(
            Layer(value.rpartition(" ")[0], value.rpartition(" ")[2], 0)
            for name, value in _said(root)
            if name == "layer"
        ),
    )


def _is_package(purl: str) -> bool:
    """A document may describe a single package, and then that is one; an image is none."""
    return bool(purl) and not purl.startswith(("pkg:oci/", "pkg:docker/"))


def _described(document: Mapping[str, Any]) -> Iterator[str]:
    named = document.get("documentDescribes")
    if isinstance(named, list):
        yield from (each for each in named if isinstance(each, str))
    for each in _tables(document.get("relationships")):
        if each.get("relationshipType") == "DESCRIBES":
            yield _text(each.get("relatedSpdxElement"))


def _component(entry: Mapping[str, Any], purl: str) -> Component:
    known: dict[str, str] = {}
    info = _text(entry.get("sourceInfo"))
    if found := _BUILT_FROM.search(info):
        known["source"] = found["name"]
        known["sourceVersion"] = found["version"] or ""
    elif found := _ACQUIRED.search(info):
        known["path"] = found["path"].strip()
    known |= dict(_said(entry))
    version = _text(entry.get("versionInfo"))
    return Component(_text(entry.get("name")), version, purl, known)


def _said(entry: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What annotations tell: our `garrison:NAME=VALUE` lines, and Trivy's `NAME: VALUE`."""
    for annotation in _tables(entry.get("annotations")):
        for line in _text(annotation.get("comment")).splitlines():
            name, equals, value = line.partition("=")
            if equals and name.startswith("garrison:"):
                yield name.removeprefix("garrison:"), value
                continue
            name, colon, value = line.partition(": ")
            if colon and name in _ANNOTATIONS:
                yield _ANNOTATIONS[name], value


def _class_of(entry: Mapping[str, Any]) -> bool:
    """Trivy's entry for a lock file: it holds packages and is none."""
    return any(
        _text(each.get("comment")).startswith("Class: ")
        for each in _tables(entry.get("annotations"))
    )


def _purl(entry: Mapping[str, Any]) -> str:
    for each in _tables(entry.get("externalRefs")):
        if each.get("referenceType") == "purl":
            return _text(each.get("referenceLocator"))
    return ""


def _digest(root: Mapping[str, Any]) -> str:
    version = _text(root.get("versionInfo"))
    if version.startswith(("sha256:", "sha512:")):
        return version
    _, at, digest = _purl(root).partition("@")
    digest = digest.partition("?")[0].replace("%3A", ":")
    return digest if at and digest.startswith(("sha256:", "sha512:")) else ""


def from_tag_value(text: str) -> dict[str, Any]:
    """The parts of a tag-value document that `read` looks at, shaped as its JSON.

    Raises ValueError: it is none.
    """
    if not re.search(r"^SPDXVersion:\s*SPDX-2\.", text, re.MULTILINE):
        raise ValueError("neither JSON, XML nor SPDX tag-value")
    document: dict[str, Any] = {"packages": [], "relationships": []}
    current: dict[str, Any] = document
    for tag, value in _tags(text):
        match tag:
            case "PackageName":
                current = {"name": value, "externalRefs": [], "annotations": []}
                document["packages"].append(current)
            case "FileName" | "SnippetSPDXID" | "LicenseID":
                current = {}
            case "DocumentName":
                document["name"] = value
            case "SPDXID":
                current["SPDXID"] = value
            case "PackageVersion":
                current["versionInfo"] = value
            case "PackageSummary":
                current["summary"] = value
            case "PrimaryPackagePurpose":
                current["primaryPackagePurpose"] = value
            case "PackageSourceInfo":
                current["sourceInfo"] = value
            case "ExternalRef":
                category, type, locator = (*value.split(None, 2), "", "", "")[:3]
                if category and "externalRefs" in current:
                    current["externalRefs"].append(
                        {"referenceType": type, "referenceLocator": locator}
                    )
            case "AnnotationComment":
                if "annotations" in current:
                    current["annotations"].append({"comment": value})
            case "Relationship":
                words = value.split()
                if len(words) == 3 and words[1] == "DESCRIBES":
                    document["relationships"].append(
                        {"relationshipType": words[1], "relatedSpdxElement": words[2]}
                    )
    return document


def _tags(text: str) -> Iterator[tuple[str, str]]:
    """Tags with their values; `<text>…</text>` may hold lines."""
    lines = iter(text.splitlines())
    for line in lines:
        tag, colon, value = line.partition(":")
        if not colon or line.startswith("#"):
            continue
        value = value.strip()
        if value.startswith("<text>"):
            parts = [value.removeprefix("<text>")]
            while "</text>" not in parts[-1] and (more := next(lines, None)) is not None:
                parts.append(more)
            value = "\n".join(parts).partition("</text>")[0]
        yield tag.strip(), value


def _tables(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (each for each in value if isinstance(each, dict))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
