"""Images of other distributions list what their own package managers list."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from garrison.egress import ProxySettings
from garrison.findings.scan import read_image
from garrison.images import open_image
from garrison.packages import Inventory
from lab.distributions import WITHOUT_SUMS, Listed, alpine, distroless, rocky, truth
from lab.errors import LabError, MissingProgramError
from lab.image import Image

pytestmark = pytest.mark.network


def built(build: Callable[[], Image]) -> tuple[Inventory, tuple[Listed, ...]]:
    try:
        image = build()
    except (MissingProgramError, LabError) as error:
        if os.geteuid() == 0 and not isinstance(error, MissingProgramError):
            raise
        pytest.skip(str(error))
    inventory = read_image(open_image(f"oci:{image.oci}", ProxySettings.build()))
    assert inventory.skipped == ()
    return inventory, truth(image)


def listed(inventory: Inventory, *positions: str) -> set[Listed]:
    return {
        Listed(p.type, p.name.lower() if p.type == "pypi" else p.name, p.version, p.source)
        for p in inventory.packages
        if p.position in positions
    }


def owned(inventory: Inventory) -> dict[str, str]:
    return {p.name: p.owner for p in inventory.packages if p.position == "owned"}


def test_distroless() -> None:
    """Its packages are a folder of control files, one of them without a list of its files."""
    inventory, expected = built(distroless)
    assert listed(inventory, "installed") == set(expected)
    assert {p.distro for p in inventory.packages if p.type == "deb"} == {"Debian:12"}
    assert WITHOUT_SUMS in {p.name for p in inventory.packages}
    assert owned(inventory) == {"PyYAML": "python3-yaml"}


def test_alpine() -> None:
    inventory, expected = built(alpine)
    assert listed(inventory, "installed") == set(expected)
    assert {p.distro for p in inventory.packages if p.type == "apk"} == {"Alpine:v3.20"}
    assert owned(inventory) == {"setuptools": "py3-setuptools", "npm": "npm", "semver": "npm"}


@pytest.mark.long
@pytest.mark.parametrize("backend", ["sqlite", "bdb"])
def test_rocky(backend: str) -> None:
    inventory, expected = built(lambda: rocky(backend))
    assert listed(inventory, "installed") == set(expected)
    assert {p.distro for p in inventory.packages if p.type == "rpm"} == {"Rocky Linux:9"}
    assert owned(inventory) == {"requests": "python3-requests", "semver": "nodejs-semver"}
