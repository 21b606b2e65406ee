"""A root file system that rpm itself filled lists what `rpm -qa` lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from garrison.egress import ProxySettings
from garrison.findings.scan import read_image
from garrison.images import open_image
from garrison.packages import Inventory
from lab.errors import MissingProgramError
from lab.rpm import LIBRARY, SPECS, RpmPackage, build, import_key, install, query, to_berkeley

KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DIRECT = ProxySettings.build()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rocky Linux by its name, with a key among its packages."""
    place = tmp_path_factory.mktemp("rpm")
    top = place / "root"
    try:
        install(top, build(SPECS[:-1], place))
        import_key(top, KEYS)
    except MissingProgramError as error:
        pytest.skip(str(error))
    (top / "etc").mkdir()
    (top / "etc/os-release").write_text('ID="rocky"\nVERSION_ID="9.3"\n')
    return top


def listed(folder: Path) -> set[tuple[str, str, str, str, str]]:
    def row(package: RpmPackage) -> tuple[str, str, str, str, str]:
        epoch = "" if package.epoch == "0" else f"{package.epoch}:"
        source = package.source.removesuffix(".src.rpm").rsplit("-", 2)[0]
        return package.name, epoch + package.version, package.arch, source, package.module

    return set(map(row, query(folder)))


def found(inventory: Inventory) -> set[tuple[str, str, str, str, str]]:
    return {
        (p.name, p.version, p.arch, p.source, p.purl.partition("&rpmmod=")[2])
        for p in inventory.packages
        if p.type == "rpm"
    }


def scan(root: Path) -> Inventory:
    return read_image(open_image(f"rootfs:{root}", DIRECT))


def test_sqlite(root: Path) -> None:
    assert b"gpg-pubkey" in (root / LIBRARY / "rpmdb.sqlite").read_bytes()
    inventory = scan(root)
    assert found(inventory) == listed(root / LIBRARY)
    assert len(found(inventory)) == 13
    assert inventory.skipped == ()
    others = {p.name: (p.position, p.owner) for p in inventory.packages if p.type != "rpm"}
    assert others == {
        "requests": ("owned", "python3-requests"),
        "semver": ("owned", "nodejs-semver"),
    }


def test_berkeley_db(root: Path, tmp_path: Path) -> None:
    target = tmp_path / "var/lib/rpm/Packages"
    target.parent.mkdir(parents=True)
    try:
        to_berkeley(root / LIBRARY / "rpmdb.sqlite", target)
    except MissingProgramError as error:
        pytest.skip(str(error))
    assert found(scan(tmp_path)) == listed(root / LIBRARY)
