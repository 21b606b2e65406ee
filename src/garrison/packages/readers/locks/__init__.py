"""Lock files of projects: what an installation would put where they are.

Each reader takes the bytes of one file and gives `Contents` of packages whose position is
`locked`; entries that name no published version are `unread`, each with the reason.

Source: each module names the formats' own descriptions.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from garrison.packages.readers.facts import Contents
from garrison.packages.readers.locks import dotnet, go, java, node, php, python, ruby, rust

Reader = Callable[[bytes], "Contents | None"]

_READERS: dict[str, Reader] = {
    "package-lock.json": node.read_package_lock,
    "npm-shrinkwrap.json": partial(node.read_package_lock, supersedes=("package-lock.json",)),
    "yarn.lock": node.read_yarn_lock,
    "pnpm-lock.yaml": node.read_pnpm_lock,
    "bun.lock": node.read_bun_lock,
    "bun.lockb": node.read_bun_lockb,
    "poetry.lock": python.read_poetry_lock,
    "uv.lock": python.read_uv_lock,
    "pdm.lock": python.read_pdm_lock,
    "Pipfile.lock": python.read_pipfile_lock,
    "pylock.toml": python.read_pylock,
    "Gemfile.lock": ruby.read_gemfile_lock,
    "gems.locked": ruby.read_gemfile_lock,
    "go.mod": go.read_go_mod,
    "go.sum": go.read_go_sum,
    "Cargo.lock": rust.read_cargo_lock,
    "gradle.lockfile": java.read_gradle_lock,
    "buildscript-gradle.lockfile": partial(java.read_gradle_lock, development=True),
    "pom.xml": java.read_pom,
    "composer.lock": php.read_composer_lock,
    "packages.lock.json": dotnet.read_packages_lock,
}
SUFFIXES = (*(name.encode() for name in _READERS), b".lockfile", b".txt", b".toml")
"""What the names of all lock files end in."""

_REQUIREMENTS = re.compile(r"(?:.*[-_.])?requirements(?:[-_.].*)?\.txt")
_DEVELOPMENT = re.compile(
    r"(?:^|[-_.])(?:dev|develop|development|tests?|testing|lint|docs?|ci)(?:[-_.]|$)"
)
_PYLOCK = re.compile(r"pylock\.[^.]+\.toml")
_OF_OTHERS = frozenset({"node_modules", "site-packages", "dist-packages", "vendor", ".git"})
"""Folders of other people's projects, whose lock files say nothing about this one."""


def reader_for(path: str) -> Reader | None:
    """The reader of the lock file at `path`; None: it is none."""
    *folders, base = path.split("/")
    if not _OF_OTHERS.isdisjoint(folders):
        return None
    if (reader := _READERS.get(base)) is not None:
        return reader
    if base.endswith(".txt"):
        in_folder = bool(folders) and folders[-1] == "requirements"
        if _REQUIREMENTS.fullmatch(base) or in_folder:
            development = _DEVELOPMENT.search(base[: -len(".txt")]) is not None
            return partial(python.read_requirements, development=development)
    if base.endswith(".lockfile") and folders[-2:] == ["gradle", "dependency-locks"]:
        return partial(java.read_gradle_lock, development=base.startswith("test"))
    if _PYLOCK.fullmatch(base):
        return python.read_pylock
    return None
