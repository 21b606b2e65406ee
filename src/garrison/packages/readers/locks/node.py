"""npm, Yarn, pnpm and Bun.

Source: docs.npmjs.com, package-lock.json; yarnpkg.com, "Lockfile"; github.com/pnpm/spec,
lockfile/; bun.com/docs/install/lockfile.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from garrison.images import FileError
from garrison.packages.readers.facts import Contents
from garrison.packages.readers.locks.building import (
    MAX_DEPTH,
    Building,
    json_of,
    mapping,
    names,
    reachable,
    text_of,
    yaml_of,
)
from garrison.packages.readers.npm import split_scope

_VERSION = re.compile(r"v?[0-9]+\.[0-9]+\.[0-9]+(?:[-+][0-9A-Za-z.+-]+)?")
_ELSEWHERE = "it comes from elsewhere than a registry"


def read_package_lock(data: bytes, supersedes: tuple[str, ...] = ()) -> Contents:
    """`package-lock.json` and `npm-shrinkwrap.json`, lockfileVersion 1 to 3."""
    document = json_of(data)
    found = Building("npm")
    if "packages" in document:
        for path, entry in mapping(document["packages"]).items():
            _installed(found, path, mapping(entry))
    else:
        _tree(found, document.get("dependencies"), 0)
    return found.contents(supersedes)


def _installed(found: Building, path: str, entry: dict[str, Any]) -> None:
    if not path or entry.get("link") or "node_modules/" not in f"{path}/":
        return  # the project itself, and its workspaces
    name = entry.get("name") or path.rpartition("node_modules/")[2]
    _add(found, name, entry.get("version"), _is_development(entry))


def _tree(found: Building, dependencies: object, depth: int) -> None:
    if dependencies is None:
        return
    if depth > MAX_DEPTH:
        raise FileError(f"dependencies more than {MAX_DEPTH} deep")
    for name, value in mapping(dependencies).items():
        entry = mapping(value)
        version = entry.get("version")
        if isinstance(version, str) and version.startswith("npm:"):
            name, _, version = version[4:].rpartition("@")
        if isinstance(version, str) and version.startswith("file:"):
            pass  # the project's own
        else:
            _add(found, name, version, _is_development(entry))
        _tree(found, entry.get("dependencies"), depth + 1)


def _is_development(entry: dict[str, Any]) -> bool:
    return entry.get("dev") is True or entry.get("devOptional") is True


def _add(found: Building, name: object, version: object, development: bool) -> None:
    if isinstance(version, str) and not _VERSION.fullmatch(version):
        found.skip(str(name), _ELSEWHERE)
    elif isinstance(name, str):
        scope, rest = split_scope(name)
        found.add(scope, rest, version, development)
    else:
        found.skip("", "an entry without a name")


def read_yarn_lock(data: bytes) -> Contents:
    """`yarn.lock` of Yarn 1 and of Yarn 2 on; it does not tell what is for development."""
    if b"__metadata:" in data:
        return _berry(yaml_of(data))
    found = Building("npm")
    specs: list[str] = []
    version = resolved = ""
    for line in [*text_of(data).splitlines(), "end:"]:
        if line and line[0] not in " #\t":
            if specs:
                _yarn_entry(found, specs[0], version, resolved)
            specs = [spec.strip().strip('"') for spec in line.rstrip(":").split(",")]
            version = resolved = ""
        elif line.startswith("  version "):
            version = line[10:].strip().strip('"')
        elif line.startswith("  resolved "):
            resolved = line[11:].strip().strip('"')
    return found.contents()


def _yarn_entry(found: Building, spec: str, version: str, resolved: str) -> None:
    name, wanted = _split(spec)
    if wanted.startswith("npm:"):
        name, _ = _split(wanted[4:])
    if wanted.startswith(("file:", "link:", "portal:")) and not resolved:
        return
    _add(found, name, version or None, False)


def _berry(document: dict[str, Any]) -> Contents:
    found = Building("npm")
    for key, value in document.items():
        if key == "__metadata":
            continue
        entry = mapping(value)
        resolution = entry.get("resolution")
        if not isinstance(resolution, str):
            found.skip(key, "it has no resolution")
            continue
        name, where = _split(resolution)
        if where.startswith(("workspace:", "link:", "portal:")):
            continue
        if where.startswith(("npm:", "patch:")):
            _add(found, name, str(entry.get("version", "")) or None, False)
        else:
            found.skip(resolution, _ELSEWHERE)
    return found.contents()


def _split(spec: str) -> tuple[str, str]:
    """Name and what follows: `@a/b@npm:1` is `@a/b` and `npm:1`."""
    at = spec.find("@", 1)
    return (spec, "") if at < 0 else (spec[:at], spec[at + 1 :])


_PEERS = re.compile(r"[(_].*")
_PNPM_KEY = re.compile(r"/?((?:@[^/@]+/)?[^/@()]+)[/@](.+)")


def read_pnpm_lock(data: bytes) -> Contents:
    """`pnpm-lock.yaml`, lockfileVersion 5 to 9."""
    document = yaml_of(data)
    found = Building("npm")
    packages = mapping(document.get("packages") or {})
    graph = document.get("snapshots")
    runtime = _needed_to_run(document, mapping(graph)) if graph is not None else None
    for key, value in packages.items():
        entry = mapping(value)
        name, version = _pnpm_name(key, entry)
        development = entry.get("dev") is True if runtime is None else key not in runtime
        if isinstance(version, str) and version.startswith(("file:", "link:")):
            continue
        _add(found, name, version, development)
    return found.contents()


def _pnpm_name(key: str, entry: dict[str, Any]) -> tuple[str, object]:
    """`/a/1.0.0_peer` (5), `/a@1.0.0(peer@1)` (6) or `a@1.0.0` (9)."""
    if isinstance(entry.get("name"), str):
        return entry["name"], entry.get("version")
    match = _PNPM_KEY.fullmatch(key)
    if match is None:
        return key, ""
    return match[1], entry.get("version") or _PEERS.sub("", match[2])


def _needed_to_run(document: dict[str, Any], snapshots: dict[str, Any]) -> set[str]:
    """Keys of `packages` that some importer needs to run; a snapshot's key has peers as well."""

    def needed(entry: object) -> list[str]:
        return [
            version if _is_key(name, version, snapshots) else f"{name}@{version}"
            for name, version in _depends(mapping(entry or {}))
        ]

    importers = mapping(document.get("importers") or {}).values()
    roots = [key for importer in importers for key in needed(importer)]
    edges = {key: needed(value) for key, value in snapshots.items()}
    return {key.partition("(")[0] for key in reachable(roots, edges)}


def _is_key(name: str, version: str, snapshots: dict[str, Any]) -> bool:
    """An alias gives the whole key of what it stands for."""
    return f"{name}@{version}" not in snapshots and version in snapshots


def _depends(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for field in ("dependencies", "optionalDependencies"):
        for name, value in mapping(entry.get(field) or {}).items():
            version = value.get("version") if isinstance(value, dict) else value
            if isinstance(version, str):
                yield name, version


_TRAILING = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])')


def read_bun_lock(data: bytes) -> Contents:
    """`bun.lock`: JSON with commas at the end of lists."""
    text = _TRAILING.sub(lambda match: match[1] or "", text_of(data))
    document = json_of(text.encode())
    packages = mapping(document.get("packages") or {})
    found = Building("npm")
    runtime = _bun_runtime(mapping(document.get("workspaces") or {}), packages)
    for key, value in packages.items():
        if not isinstance(value, list) or not value or not isinstance(value[0], str):
            raise FileError("it has not the form of such a lock file")
        name, version = _split(value[0])
        if version.startswith(("workspace:", "link:", "file:", "root:")):
            continue
        _add(found, name, version, key not in runtime)
    return found.contents()


def _bun_runtime(workspaces: dict[str, Any], packages: dict[str, Any]) -> set[str]:
    """Keys needed to run. `a/b` is the b that a has for itself; else b is found further out."""

    def place(key: str, name: str) -> str:
        while key:
            if f"{key}/{name}" in packages:
                return f"{key}/{name}"
            key = key.rpartition("/")[0]
        return name

    edges = {}
    for key, value in packages.items():
        about = (
            next((part for part in value if isinstance(part, dict)), {})
            if isinstance(value, list)
            else {}
        )
        wanted = [
            name
            for field in ("dependencies", "optionalDependencies", "peerDependencies")
            for name in names(about.get(field))
        ]
        edges[key] = [place(key, name) for name in wanted]
    roots = [
        place(str(workspace.get("name", "")), name)
        for workspace in workspaces.values()
        if isinstance(workspace, dict)
        for field in ("dependencies", "optionalDependencies", "peerDependencies")
        for name in names(workspace.get(field))
    ]
    return reachable(roots, edges)


def read_bun_lockb(data: bytes) -> Contents:
    """`bun.lockb`: a memory image that each version of Bun may change."""
    raise FileError(
        "Bun's binary lock file is not read: bun install --save-text-lockfile writes text"
    )
