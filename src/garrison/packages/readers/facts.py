"""What readers find out, before anybody knows where in an image it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from garrison.images import FileError
from garrison.packages.package import Position

MAX_FIELD = 512
"""Characters of a name or version; npm allows 214, Debian's longest have 80."""


@dataclass(frozen=True, slots=True)
class Named:
    """A package that a file of its own describes."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class EggLink:
    """Python packages in development at a folder, absolute, that are installed by its name."""

    folder: str


@dataclass(frozen=True, slots=True)
class Component:
    """One of several packages that a file holds or names.

    inside: path of the archive in the file that it was found in, `lib/a.jar!/b.jar` for one in
        another. development: needed to build or to test, not to run.
    """

    type: str
    namespace: str
    name: str
    version: str
    inside: str = ""
    position: Position = "installed"
    development: bool = False


class Unread(NamedTuple):
    """A part of a file that could not be read."""

    inside: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Contents:
    """The packages that a file holds or names, and parts of it that could not be read.

    supersedes: names of files beside it that say nothing more than it does.
    """

    packages: tuple[Component, ...]
    unread: tuple[Unread, ...] = ()
    supersedes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DistributionPackage:
    """An entry of a distribution's package database.

    version: of rpm `[EPOCH:]VERSION-RELEASE`, the epoch left out where it is 0. modularity: the
    module an rpm was built for, `NAME:STREAM:VERSION:CONTEXT`.
    """

    name: str
    version: str
    arch: str
    source: str
    source_version: str
    modularity: str = ""


@dataclass(frozen=True, slots=True)
class Database:
    """A package database. owned: path without leading slash to the package that owns it, for
    the files that other readers would take for packages of their own."""

    packages: tuple[DistributionPackage, ...]
    owned: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileList:
    """Files of interest that one distribution package owns, without leading slash."""

    paths: tuple[str, ...]


def checked(text: str, what: str) -> str:
    """`text` stripped. Raises FileError: nothing that could be a name or version.

    Control characters would reach terminals and reports.
    """
    text = text.strip()
    if not text:
        raise FileError(f"no {what}")
    if len(text) > MAX_FIELD:
        raise FileError(f"a {what} of {len(text)} characters")
    if not text.isprintable():
        raise FileError(f"a {what} with control characters")
    return text
