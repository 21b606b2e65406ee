"""What is installed: package types, version schemes, and readers of package databases.

Pure: readers take bytes and give packages; where the bytes came from is not their business.
"""

from garrison.packages.package import (
    Inventory,
    Layer,
    OperatingSystem,
    Package,
    Position,
    Skipped,
)

__all__ = ["Inventory", "Layer", "OperatingSystem", "Package", "Position", "Skipped"]
