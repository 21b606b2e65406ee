"""An inventory as bytes: what a Defender sends and the Console reads.

JSON with the field names of `packages.package`; unknown fields are ignored, so that either side
may be newer.
"""

from __future__ import annotations

import re

import msgspec

from garrison.errors import GarrisonError
from garrison.packages.package import Inventory

MAX_BYTES = 64 << 20
"""Of one encoded inventory: about 150,000 packages."""
MAX_PACKAGES = 500_000
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


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
    if not _DIGEST.fullmatch(inventory.digest):
        raise InventoryUnreadableError("an inventory without the digest of its image")
    return inventory
