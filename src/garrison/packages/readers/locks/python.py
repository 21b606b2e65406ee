"""pip, Poetry, uv, PDM, Pipenv, and the standard lock file.

Source: pip.pypa.io, "Requirements File Format"; packaging.python.org, "pylock.toml Specification";
the lock files' own headers and writers.
"""

from __future__ import annotations

import re
from typing import Any

from garrison.packages.purl import pypi_name
from garrison.packages.readers.facts import Contents
from garrison.packages.readers.locks.building import (
    Building,
    json_of,
    mapping,
    mappings,
    reachable,
    text_of,
    toml_of,
)

_PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)\s*(?:\[[^\]]*\])?\s*"
    r"\(?\s*={2,3}\s*(?P<version>[\w.!+*-]+)\s*\)?\s*(?:;.*)?",
    re.ASCII,
)
_NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?", re.ASCII)
_OPTION = re.compile(r"\s--?[a-z].*$")
_OWN = ("virtual", "editable", "directory", "path")


def read_requirements(data: bytes, development: bool = False) -> Contents:
    """The pinned lines of a requirements file; it names no others itself."""
    found = Building("pypi")
    text = re.sub(r"\\\r?\n", " ", text_of(data))
    for raw in text.splitlines():
        line = re.sub(r"(?:^|\s)#.*$", "", raw).strip()
        if not line or line.startswith("-"):
            continue
        line = _OPTION.sub("", line).strip()
        match = _PINNED.fullmatch(line)
        if match is not None and "*" not in match["version"]:
            found.add("", match["name"], match["version"], development)
            continue
        name = _NAME.match(line)
        where = "@" in line or "://" in line or line.startswith((".", "/"))
        reason = "it comes from elsewhere than an index" if where else "its version is not pinned"
        found.skip(name[0] if name else line, reason)
    return found.contents()


def read_poetry_lock(data: bytes) -> Contents:
    """`poetry.lock`; from 1.5 to 1.8 it does not tell what is for development."""
    found = Building("pypi")
    for package in mappings(toml_of(data).get("package")):
        source = package.get("source")
        if isinstance(source, dict) and source.get("type") == "directory":
            continue
        groups = package.get("groups")
        development = package.get("category") == "dev" or (
            isinstance(groups, list) and bool(groups) and "main" not in groups
        )
        found.add("", package.get("name"), package.get("version"), development)
    return found.contents()


def read_uv_lock(data: bytes) -> Contents:
    """`uv.lock`: for development is what no member of the project needs to run."""
    packages = mappings(toml_of(data).get("package"))
    edges: dict[str, list[str]] = {}
    roots: list[str] = []
    own = [package for package in packages if _is_own(package)]
    for package in packages:
        wanted = _uv_names(package.get("dependencies"))
        for extra in mapping(package.get("optional-dependencies") or {}).values():
            wanted += _uv_names(extra)
        edges.setdefault(str(package.get("name")), []).extend(wanted)
        if package in own:
            roots.append(str(package.get("name")))
    runtime = reachable(roots, edges)
    found = Building("pypi")
    for package in packages:
        if not _is_own(package):
            development = bool(own) and str(package.get("name")) not in runtime
            found.add("", package.get("name"), package.get("version"), development)
    return found.contents()


def _is_own(package: dict[str, Any]) -> bool:
    source = package.get("source")
    return isinstance(source, dict) and any(kind in source for kind in _OWN)


def _uv_names(value: object) -> list[str]:
    return [str(item.get("name")) for item in mappings(value)]


def read_pdm_lock(data: bytes) -> Contents:
    """`pdm.lock`; groups other than `default` are taken for development."""
    found = Building("pypi")
    for package in mappings(toml_of(data).get("package")):
        if package.get("path") is not None:
            continue
        groups = package.get("groups")
        development = isinstance(groups, list) and bool(groups) and "default" not in groups
        found.add("", package.get("name"), package.get("version"), development)
    return found.contents()


def read_pipfile_lock(data: bytes) -> Contents:
    """`Pipfile.lock`."""
    document = json_of(data)
    found = Building("pypi")
    for section, value in document.items():
        if section == "_meta":
            continue
        for name, given in mapping(value).items():
            entry = mapping(given)
            version = entry.get("version")
            if isinstance(version, str) and version.startswith("=="):
                found.add("", pypi_name(name), version.lstrip("="), section == "develop")
            elif not entry.get("path") and not entry.get("editable"):
                found.skip(name, "it comes from elsewhere than an index")
    return found.contents()


def read_pylock(data: bytes) -> Contents:
    """`pylock.toml` and `pylock.NAME.toml`, PEP 751."""
    found = Building("pypi")
    for package in mappings(toml_of(data).get("packages")):
        if package.get("version") is None:
            if package.get("directory") is None:
                found.skip(str(package.get("name")), "it comes from elsewhere than an index")
            continue
        marker = package.get("marker")
        development = isinstance(marker, str) and "in dependency_groups" in marker
        found.add("", package.get("name"), package.get("version"), development)
    return found.contents()
