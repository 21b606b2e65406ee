"""A bill of materials as bytes → an inventory."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from garrison.errors import GarrisonError
from garrison.packages.package import Inventory, Skipped
from garrison.packages.sbom import cyclonedx, spdx
from garrison.packages.sbom.component import packages_of

MAX_BYTES = 128 << 20
"""Of one document."""
MAX_COMPONENTS = 500_000
MAX_SKIPPED = 1000
"""Skipped components named one by one."""
_CYCLONEDX = re.compile(r"1\.[2-9]")
_SPDX = re.compile(r"SPDX-2\.[23]")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")


class SbomUnreadableError(GarrisonError):
    """A file that is no bill of materials."""

    code = "packages.bad_sbom"

    @property
    def hint(self) -> str:
        return (
            "Use CycloneDX (JSON, XML) or SPDX 2 (JSON, tag-value), for example of garrison sbom."
        )


def read_sbom(data: bytes, reference: str) -> Inventory:
    """The packages in a document, with the system they are of.

    reference: what the document is called where it names no image.

    Raises:
        SbomUnreadableError: not CycloneDX 1.2 or later, nor SPDX 2.2 or 2.3; or too large.
    """
    if len(data) > MAX_BYTES:
        raise SbomUnreadableError(f"{reference} has more than {MAX_BYTES} bytes")
    try:
        bom = _read(data)
    except ValueError as error:
        raise SbomUnreadableError(f"{reference}: {error}") from None
    if len(bom.components) > MAX_COMPONENTS:
        raise SbomUnreadableError(f"{reference} has {len(bom.components)} components")
    packages, skipped, os = packages_of(bom.components, bom.os)
    return Inventory(
        reference=bom.name or reference,
        digest=bom.digest if _DIGEST.fullmatch(bom.digest) else "",
        platform=bom.platform,
        os=os,
        layers=bom.layers,
        packages=packages,
        skipped=_bounded(skipped),
    )


def _read(data: bytes) -> cyclonedx.Bom:
    """Raises ValueError."""
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"<"):
        return cyclonedx.read(cyclonedx.from_xml(data))
    if not head.startswith(b"{"):
        return spdx.read(spdx.from_tag_value(data.decode("utf-8", "replace")))
    try:
        document: Any = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if document.get("bomFormat") == "CycloneDX":
        if not _CYCLONEDX.match(str(document.get("specVersion"))):
            raise ValueError(f"CycloneDX {document.get('specVersion')} is not read")
        return cyclonedx.read(document)
    version = document.get("spdxVersion")
    if isinstance(version, str) and _SPDX.fullmatch(version):
        return spdx.read(document)
    if version or "@graph" in document:
        raise ValueError("SPDX of another version than 2.2 or 2.3 is not read")
    raise ValueError("JSON, but neither CycloneDX nor SPDX")


def _bounded(skipped: tuple[Skipped, ...]) -> tuple[Skipped, ...]:
    if len(skipped) <= MAX_SKIPPED:
        return skipped
    more = Skipped(
        "", "", "packages.more_skipped", f"and {len(skipped) - MAX_SKIPPED} more components"
    )
    return (*skipped[:MAX_SKIPPED], more)
