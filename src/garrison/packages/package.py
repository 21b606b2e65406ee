"""What is installed in an image: packages, the operating system, and what could not be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Position: TypeAlias = Literal["installed", "owned", "vendored", "loose", "locked"]


@dataclass(frozen=True, slots=True)
class OperatingSystem:
    """The distribution an image is made of, from its `os-release`.

    id, version_id: as in os-release(5), for example `debian` and `12`.
    """

    id: str
    version_id: str
    pretty_name: str = ""
    codename: str = ""


@dataclass(frozen=True, slots=True)
class Package:
    """One installed package at one path.

    type: the purl type: `deb`, `apk`, `rpm`, `pypi`, `npm`, …
    namespace: purl namespace (`debian`, an npm scope `@types`), or empty.
    name: the package's own name; for distributions the binary package.
    version: as its package manager compares it; of rpm `[EPOCH:]VERSION-RELEASE`.
    distro: release whose advisories apply, in OSV's spelling (`Debian:12`), or empty.
    source, source_version: the source package of a distribution package, else empty.
    purl: with what has no field here: an rpm's module as `rpmmod`, its epoch as `epoch`.
    path: where it was found, without a leading slash.
    position: `installed` where its package manager puts it; `owned` by a distribution package;
        `vendored` inside another package; `locked`: named by a lock file, and not there itself;
        `loose` anywhere else.
    development: needed to build or to test, not to run.
    owner: the distribution package that owns it, or empty.
    layer: verified digest of the compressed blob that brought it (`sha256:…`); empty where the
        source of the image has no blobs. diff_id: what the image claims for the tar in it.
    """

    type: str
    namespace: str
    name: str
    version: str
    purl: str
    path: str
    position: Position = "installed"
    arch: str = ""
    distro: str = ""
    source: str = ""
    source_version: str = ""
    owner: str = ""
    layer: str = ""
    diff_id: str = ""
    development: bool = False


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that could not be read; the scan went on without it."""

    path: str
    layer: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of the scanned image, oldest first in `Inventory.layers`.

    digest: verified digest of the compressed blob, empty where there is none.
    size: bytes of the compressed blob. created_by: the build step, from the image's history.
    """

    digest: str
    diff_id: str
    size: int
    created_by: str = ""


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything a scan learned about an image before advisories are asked.

    digest: of the image's manifest (for an index: of the chosen platform's manifest).
    unreadable: paths of package databases that exist but could not be read: such an image never
        has a clean report.
    duration: seconds that reading took.
    """

    reference: str
    digest: str
    platform: str
    os: OperatingSystem | None
    layers: tuple[Layer, ...]
    packages: tuple[Package, ...]
    skipped: tuple[Skipped, ...] = ()
    unreadable: tuple[str, ...] = ()
    duration: float = 0.0
    labels: dict[str, str] = field(default_factory=dict)
