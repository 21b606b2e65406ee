"""Gradle and Maven.

Source: docs.gradle.org, "Locking Versions"; maven.apache.org/pom.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

from garrison.images import FileError
from garrison.packages.readers.facts import Contents
from garrison.packages.readers.locks.building import Building, text_of

_REFERENCE = re.compile(r"\$\{([^${}]+)\}")
_HOPS = 20
"""Properties that name properties."""


def read_gradle_lock(data: bytes, development: bool = False) -> Contents:
    """`gradle.lockfile` and the older one file per configuration."""
    found = Building("maven")
    for raw in text_of(data).splitlines():
        line = raw.strip()
        if not line or line.startswith(("#", "empty=")):
            continue
        coordinates, equals, configurations = line.partition("=")
        parts = coordinates.split(":")
        if len(parts) != 3:
            found.skip(coordinates, "it is not GROUP:NAME:VERSION")
            continue
        used = configurations.split(",") if equals else []
        tests = bool(used) and all(name.lower().startswith("test") for name in used)
        found.add(parts[0], parts[1], parts[2], development or tests)
    return found.contents()


def read_pom(data: bytes) -> Contents | None:
    """`pom.xml`: direct dependencies whose version stands in this file."""
    text = text_of(data)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise FileError("a pom.xml with a document type")
    try:
        root = ElementTree.fromstring(text.encode())
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise FileError(f"it cannot be read: {error}") from None
    if _local(root) != "project":
        return None
    values = _values(root)
    managed = {
        (group, name): version
        for group, name, version, _, _ in _dependencies(root, ("dependencyManagement",), values)
    }
    found = Building("maven")
    for group, name, version, scope, _ in _dependencies(root, (), values):
        version = version or managed.get((group, name), "")
        if not version:
            found.skip(f"{group}:{name}", "its version comes from a parent or a BOM")
        elif "${" in group + name + version:
            found.skip(f"{group}:{name}", f"nothing here says what {version} is")
        elif version[0] in "[(" or "," in version:
            found.skip(f"{group}:{name}", f"its version is the range {version}")
        elif scope != "system":
            found.add(group, name, version, scope == "test")
    return found.contents()


def _values(root: ElementTree.Element) -> dict[str, str]:
    """What `${…}` can mean."""
    values: dict[str, str] = {}
    parent = _child(root, "parent")
    for place, prefix in ((parent, "project.parent."), (parent, "project."), (root, "project.")):
        for key in ("groupId", "artifactId", "version") if place is not None else ():
            if text := _text(place, key):
                values[f"{prefix}{key}"] = text
                values[f"{prefix.replace('project', 'pom')}{key}"] = text
    properties = _child(root, "properties")
    for item in properties if properties is not None else ():
        values[_local(item)] = (item.text or "").strip()
    return values


def _dependencies(
    root: ElementTree.Element, within: tuple[str, ...], values: dict[str, str]
) -> Iterator[tuple[str, str, str, str, str]]:
    place: ElementTree.Element | None = root
    for name in (*within, "dependencies"):
        place = _child(place, name) if place is not None else None
    for item in place if place is not None else ():
        if _local(item) == "dependency":
            fields = ("groupId", "artifactId", "version", "scope", "type")
            group, name, version, scope, kind = (
                _filled(_text(item, field), values) for field in fields
            )
            if scope != "import":
                yield group, name, version, scope, kind


def _filled(text: str, values: dict[str, str]) -> str:
    for _ in range(_HOPS):
        filled = _REFERENCE.sub(lambda match: values.get(match[1], match[0]), text)
        if filled == text or len(filled) > 1000:
            break
        text = filled
    return text[:1000]


def _child(place: ElementTree.Element, name: str) -> ElementTree.Element | None:
    return next((item for item in place if _local(item) == name), None)


def _text(place: ElementTree.Element | None, name: str) -> str:
    found = _child(place, name) if place is not None else None
    return (found.text or "").strip() if found is not None else ""


def _local(item: ElementTree.Element) -> str:
    """The name without its namespace; comments have none."""
    return item.tag.rpartition("}")[2] if isinstance(item.tag, str) else ""
