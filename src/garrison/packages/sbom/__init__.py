"""Bills of materials as a source of packages: CycloneDX and SPDX, ours and those of others.

`read_sbom` takes bytes and gives an inventory. What it cannot take for a package is `skipped`,
with the reason; nothing is guessed.
"""

from garrison.packages.sbom.document import MAX_BYTES, SbomUnreadableError, read_sbom

__all__ = ["MAX_BYTES", "SbomUnreadableError", "read_sbom"]
