"""What a bill of materials is about: the image, by the names that other tools know."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from typing import Any

from garrison.images.errors import BadReferenceError
from garrison.images.reference import ImageReference
from garrison.packages import Inventory, OperatingSystem, Package
from garrison.packages.purl import purl

# Ids of documents are derived from what is in them, so that the same scan at the same time gives
# the same document.
_NAMESPACE = uuid.UUID("6f5c5c1e-8f0e-4c3b-9a43-5a0f6b1d2e77")


def document_id(document: dict[str, Any]) -> uuid.UUID:
    """An id for exactly this content."""
    return uuid.uuid5(_NAMESPACE, json.dumps(document, sort_keys=True))


def timestamp(now: datetime) -> str:
    """To the second, as both formats want it."""
    return now.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def is_project(inventory: Inventory) -> bool:
    """A folder of a project with its lock files, and no image."""
    return inventory.reference.startswith("dir:")


def image_purl(inventory: Inventory) -> str:
    """`pkg:oci/…` of an image with a digest that came from a registry, else empty."""
    if not inventory.digest:
        return ""
    reference = registry_reference(inventory)
    if reference is None:
        return ""
    name = reference.repository.rpartition("/")[2]
    qualifiers = {
        "arch": inventory.platform.partition("/")[2].replace("/", ""),
        "repository_url": f"{reference.domain}/{reference.repository}",
        "tag": reference.tag,
    }
    return purl("oci", "", name.lower(), inventory.digest, qualifiers)


def registry_reference(inventory: Inventory) -> ImageReference | None:
    """Where the image was pulled from; None where it was not."""
    if inventory.reference.partition(":")[0] in _LOCAL:
        return None
    try:
        return ImageReference.parse(inventory.reference)
    except BadReferenceError:
        return None


_LOCAL = ("oci", "docker-archive", "rootfs", "dir", "docker", "sbom")


def references(packages: tuple[Package, ...]) -> list[str]:
    """One unique name for each package: its purl, with the path where it is installed twice."""
    seen: dict[str, int] = {}
    for package in packages:
        seen[package.purl] = seen.get(package.purl, 0) + 1
    taken: set[str] = set()
    names = []
    for package in packages:
        name = package.purl if seen[package.purl] == 1 else f"{package.purl}#{package.path}"
        while name in taken:
            name += "+"
        taken.add(name)
        names.append(name)
    return names


def os_version(os: OperatingSystem) -> str:
    """As a version; `rolling` for those without one."""
    return os.version_id or os.codename or "rolling"


def facts(package: Package) -> list[tuple[str, str]]:
    """What formats have no field for, by our own names; what is not known is left out."""
    known = [
        ("path", package.path),
        ("position", package.position),
        ("development", "true" if package.development else ""),
        ("owner", package.owner),
        ("layer", package.layer),
        ("diffId", package.diff_id),
        ("distro", package.distro),
        ("source", package.source),
        ("sourceVersion", package.source_version),
    ]
    return [(name, value) for name, value in known if value]
