"""CycloneDX 1.2 to 1.6, JSON or XML → components.

Source: cyclonedx.org, schemas; property names of Trivy and Syft as these write them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from garrison.packages.package import Layer, OperatingSystem
from garrison.packages.sbom.component import Component, operating_system

MAX_DEPTH = 50
"""Components inside components."""

# Where others keep what we call by the second name.
_PROPERTIES = {
    "aquasecurity:trivy:FilePath": "path",
    "aquasecurity:trivy:LayerDigest": "layer",
    "aquasecurity:trivy:LayerDiffID": "diffId",
    "aquasecurity:trivy:SrcName": "source",
    "syft:location:0:path": "path",
    "syft:location:0:layerID": "diffId",
    "syft:metadata:source": "source",
    "syft:metadata:sourceVersion": "sourceVersion",
    "syft:metadata:originPackage": "source",
}
# What holds packages or describes something else; never missed when it has no purl.
_NO_PACKAGES = frozenset(
    {"container", "operating-system", "file", "device", "device-driver", "firmware", "platform",
     "data", "machine-learning-model", "cryptographic-asset"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Bom:
    """What of a document the rest is about. name, digest: of the image, where it is about one."""

    components: tuple[Component, ...]
    os: OperatingSystem | None
    name: str = ""
    digest: str = ""
    platform: str = ""
    layers: tuple[Layer, ...] = ()


def read(document: Mapping[str, Any]) -> Bom:
    """The parsed JSON as a `Bom`. What has a wrong type is as good as absent."""
    root = _table(_table(document.get("metadata")).get("component"))
    components: list[Component] = []
    os: OperatingSystem | None = None
    for entry in _all(document.get("components")):
        if entry.get("type") == "operating-system":
            os = os or _os(entry)
        elif entry.get("purl") or not _holds_packages(entry):
            components.append(_component(entry))
    for entry in _all(root.get("components")):
        if entry.get("purl"):
            components.append(_component(entry))
    known = _properties(root)
    return Bom(
        components=tuple(components),
        os=os,
        name=_text(root.get("name")),
        digest=_digest(root),
        platform=known.get("platform", ""),
        layers=tuple(_layers(root)),
    )


def _all(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every component, nested ones too, in the document's order."""
    waiting = [(value, 0)]
    while waiting:
        entries, depth = waiting.pop()
        if not isinstance(entries, list) or depth > MAX_DEPTH:
            continue
        for entry in entries:
            if isinstance(entry, dict):
                yield entry
                if entry.get("components"):
                    waiting.append((entry["components"], depth + 1))


def _holds_packages(entry: Mapping[str, Any]) -> bool:
    """A lock file, as Trivy lists it, or anything else that is no package itself."""
    if _text(entry.get("type")) in _NO_PACKAGES:
        return True
    names = {_text(each.get("name")) for each in _tables(entry.get("properties"))}
    return "aquasecurity:trivy:Class" in names


def _component(entry: Mapping[str, Any]) -> Component:
    group, name = _text(entry.get("group")), _text(entry.get("name"))
    known = _properties(entry)
    if "path" not in known:
        evidence = _table(entry.get("evidence"))
        for place in _tables(evidence.get("occurrences")):
            known["path"] = _text(place.get("location"))
            break
    return Component(
        f"{group}/{name}" if group else name,
        _text(entry.get("version")),
        _text(entry.get("purl")),
        known,
    )


def _properties(entry: Mapping[str, Any]) -> dict[str, str]:
    ours: dict[str, str] = {}
    others: dict[str, str] = {}
    trivy: dict[str, str] = {}
    for each in _tables(entry.get("properties")):
        name, value = _text(each.get("name")), _text(each.get("value"))
        if name.startswith("garrison:"):
            ours[name.removeprefix("garrison:")] = value
        elif name in _PROPERTIES:
            others.setdefault(_PROPERTIES[name], value)
        elif name.startswith("aquasecurity:trivy:Src"):
            trivy[name.removeprefix("aquasecurity:trivy:Src")] = value
    if "Version" in trivy:
        epoch = f"{trivy['Epoch']}:" if trivy.get("Epoch", "0") != "0" else ""
        release = f"-{trivy['Release']}" if trivy.get("Release") else ""
        others["sourceVersion"] = f"{epoch}{trivy['Version']}{release}"
    return others | ours


def _os(entry: Mapping[str, Any]) -> OperatingSystem:
    said = {
        _text(each.get("name")): _text(each.get("value"))
        for each in _tables(entry.get("properties"))
    }
    return operating_system(
        said.get("syft:distro:id") or _text(entry.get("name")),
        said.get("garrison:os:versionId")
        or said.get("syft:distro:versionID")
        or _text(entry.get("version")),
        _text(entry.get("description")),
        said.get("garrison:os:codename") or said.get("syft:distro:versionCodename") or "",
    )


def _digest(root: Mapping[str, Any]) -> str:
    version = _text(root.get("version"))
    if version.startswith(("sha256:", "sha512:")):
        return version
    for each in _tables(root.get("properties")):
        for value in _text(each.get("value")).split():
            if _text(each.get("name")) == "aquasecurity:trivy:RepoDigest" and "@" in value:
                return value.rpartition("@")[2]
    return ""


def _layers(root: Mapping[str, Any]) -> Iterable[Layer]:
    for each in _tables(root.get("properties")):
        name, value = _text(each.get("name")), _text(each.get("value"))
        if name == "garrison:layer":
            digest, _, diff_id = value.rpartition(" ")
            yield Layer(digest, diff_id, 0)
        elif name == "aquasecurity:trivy:DiffID":
            yield Layer("", value, 0)


def from_xml(data: bytes) -> dict[str, Any]:
    """The parts of a CycloneDX XML document that `read` looks at, shaped as its JSON.

    Raises ValueError: no such document; or one with a DTD, which none of them has.
    """
    from xml.etree import ElementTree

    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ValueError("XML with a document type")
    try:
        # Without a DTD there are no entities to expand.
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        raise ValueError(f"not XML: {error}") from None
    if not root.tag.startswith("{http://cyclonedx.org/schema/bom/") or _local(root.tag) != "bom":
        raise ValueError("XML, but not a CycloneDX document")
    found: dict[str, Any] = {"components": []}
    for child in root:
        if _local(child.tag) == "components":
            found["components"] = [_xml_component(each, 0) for each in child]
        elif _local(child.tag) == "metadata":
            for part in child:
                if _local(part.tag) == "component":
                    found["metadata"] = {"component": _xml_component(part, 0)}
    return found


def _xml_component(element: Any, depth: int) -> dict[str, Any]:
    entry: dict[str, Any] = {"type": element.get("type", "")}
    for child in element:
        tag = _local(child.tag)
        if tag in ("name", "version", "group", "purl", "description"):
            entry[tag] = (child.text or "").strip()
        elif tag == "properties":
            entry["properties"] = [
                {"name": each.get("name", ""), "value": (each.text or "").strip()} for each in child
            ]
        elif tag == "components" and depth < MAX_DEPTH:
            entry["components"] = [_xml_component(each, depth + 1) for each in child]
        elif tag == "evidence":
            entry["evidence"] = {"occurrences": list(_xml_occurrences(child))}
    return entry


def _xml_occurrences(evidence: Any) -> Iterator[dict[str, str]]:
    for part in evidence:
        if _local(part.tag) == "occurrences":
            for place in part:
                for each in place:
                    if _local(each.tag) == "location":
                        yield {"location": (each.text or "").strip()}


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _tables(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, list):
        yield from (each for each in value if isinstance(each, dict))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
