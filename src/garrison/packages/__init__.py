"""What is installed: package types, version schemes, and readers of package databases.

Pure: readers take bytes and give packages; where the bytes came from is not their business.
"""

from garrison.packages.lifecycle import Support, support_of
from garrison.packages.lifecycle import sentence as support_sentence
from garrison.packages.package import (
    Inventory,
    Layer,
    OperatingSystem,
    Package,
    Position,
    Skipped,
)

__all__ = [
    "Inventory",
    "Layer",
    "OperatingSystem",
    "Package",
    "Position",
    "Skipped",
    "Support",
    "support_of",
    "support_sentence",
]
