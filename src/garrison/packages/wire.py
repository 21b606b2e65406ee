"""An inventory as bytes: what a Defender sends and the Console reads.

JSON with the field names of `packages.package`; unknown fields are ignored, so that either side
may be newer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from garrison.errors import GarrisonError
from garrison.packages.package import Inventory

MAX_BYTES = 64 << 20
"""Of one encoded inventory: about 150,000 packages."""
MAX_PACKAGES = 500_000
MAX_LAYERS = 1024
MAX_TEXT = 8 << 10
"""Characters of any one text: paths have at most 4096 bytes."""
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


class InventoryUnreadableError(GarrisonError):
    """Bytes that are no inventory."""

    code = "packages.bad_inventory"


def encode(inventory: Inventory) -> bytes:
    """The inventory as JSON."""
    return msgspec.json.encode(inventory)


def decode(data: bytes) -> Inventory:
    """The inventory in `data`.

    Raises:
        InventoryUnreadableError: too large, not of this form, or a digest that is none.
    """
    if len(data) > MAX_BYTES:
        raise InventoryUnreadableError(f"an inventory of {len(data)} bytes: {MAX_BYTES} at most")
    try:
        inventory = msgspec.json.decode(data, type=Inventory)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InventoryUnreadableError(f"not an inventory: {error}") from error
    if len(inventory.packages) > MAX_PACKAGES:
        raise InventoryUnreadableError(f"an inventory of {len(inventory.packages)} packages")
    if len(inventory.layers) > MAX_LAYERS:
        raise InventoryUnreadableError(f"an inventory of {len(inventory.layers)} layers")
    if any(len(text) > MAX_TEXT for text in _texts(inventory)):
        raise InventoryUnreadableError(
            f"an inventory with texts of more than {MAX_TEXT} characters"
        )
    if not _DIGEST.fullmatch(inventory.digest):
        raise InventoryUnreadableError("an inventory without the digest of its image")
    return inventory


def _texts(inventory: Inventory) -> Iterator[str]:
    """Every text that reaches a column or a page by itself."""
    yield from (inventory.reference, inventory.platform, *inventory.unreadable)
    for package in inventory.packages:
        yield from (package.namespace, package.name, package.version, package.purl, package.path)
        yield from (package.arch, package.distro, package.source, package.source_version)
        yield from (package.type, package.owner, package.layer, package.diff_id)
    for skipped in inventory.skipped:
        yield from (skipped.path, skipped.layer, skipped.code, skipped.reason)
    for layer in inventory.layers:
        yield from (layer.digest, layer.diff_id)
