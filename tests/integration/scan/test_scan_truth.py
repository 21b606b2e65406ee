"""The packages of a real image are those that its own programs list, layer by layer."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from garrison.egress import ProxySettings
from garrison.findings.scan import read_image
from garrison.images import open_image
from garrison.packages import Inventory, Package
from lab.image import Image
from lab.truth import APP, Truth

pytestmark = pytest.mark.network

DIRECT = ProxySettings.build()


def inventory(text: str) -> Inventory:
    return read_image(open_image(text, DIRECT, platform="linux/amd64"))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def found(scanned: Inventory, type: str) -> dict[tuple[object, ...], Package]:
    """Packages by what the truth knows of them, the layer's number included."""
    layers = {layer.diff_id: number for number, layer in enumerate(scanned.layers)}
    packages: dict[tuple[object, ...], Package] = {}
    for package in scanned.packages:
        layer = layers[package.diff_id]
        if package.type != type:
            continue
        if type == "deb":
            key: tuple[object, ...] = (
                package.name,
                package.version,
                package.source,
                package.source_version,
                package.arch,
                layer,
            )
        else:
            name = f"{package.namespace}/{package.name}" if package.namespace else package.name
            path = re.sub(r"/(METADATA|PKG-INFO|package\.json)$", "", package.path)
            key = (normal(name) if type == "pypi" else name, package.version, path, layer)
        packages[key] = package
    return packages


def check(scanned: Inventory, truth: Truth) -> None:
    debian = found(scanned, "deb")
    assert set(debian) == {
        (p.name, p.version, p.source, p.source_version, p.architecture, p.layer)
        for p in truth.debian
    }
    assert {p.position for p in debian.values()} == {"installed"}
    assert {p.distro for p in debian.values()} == {"Debian:12"}

    python = found(scanned, "pypi")
    listed: set[tuple[object, ...]] = {
        (normal(p.name), p.version, p.path, p.layer) for p in truth.python
    }
    assert listed <= set(python)
    assert {python[key].position for key in listed} == {"installed", "owned"}
    assert {package.position for key, package in python.items() if key not in listed} <= {
        "vendored",
        "loose",
    }
    owned = {p.path for p in python.values() if p.position == "owned"}
    assert owned == {p for p in owned if p.startswith("usr/lib/python3/dist-packages/")}

    npm = found(scanned, "npm")
    installed: set[tuple[object, ...]] = {(p.name, p.version, p.path, p.layer) for p in truth.npm}
    assert installed <= set(npm)
    project = (truth.npm[0].name, truth.npm[0].version, APP, truth.npm[0].layer)
    assert npm[project].position == "loose"
    assert {npm[key].position for key in installed - {project}} == {"installed"}
    for key, package in npm.items():
        # `npm ls` was asked in the project alone; elsewhere others install.
        if key not in installed and package.path.startswith(f"{APP}/"):
            assert package.position in ("vendored", "loose"), package


@pytest.mark.parametrize("form", ["oci", "docker"])
def test_layouts(real_image: Image, form: str) -> None:
    scanned = inventory(f"oci:{real_image.oci if form == 'oci' else real_image.docker}")
    check(scanned, real_image.truth)
    assert scanned.unreadable == ()
    assert scanned.skipped == ()
    assert [layer.created_by for layer in scanned.layers] == [
        layer.comment for layer in real_image.truth.layers
    ]
    if form == "oci":
        assert [(layer.digest, layer.diff_id) for layer in scanned.layers] == [
            (layer.digest, layer.diff_id) for layer in real_image.truth.layers
        ]


def test_removed_packages_are_not_there(real_image: Image) -> None:
    names = {package.name for package in inventory(f"oci:{real_image.oci}").packages}
    gone = {package.name for package in real_image.truth.removed}
    assert gone
    assert not gone & names


@pytest.fixture(scope="module")
def archive(real_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `docker save` writes it: uncompressed."""
    import json

    from lab.oci import Blob, Built, Layer, write_docker_archive

    index = json.loads((real_image.oci / "index.json").read_text())["manifests"][0]

    def read(digest: str) -> dict[str, object]:
        path = real_image.oci / "blobs" / digest.replace(":", "/")
        document: dict[str, object] = json.loads(path.read_text())
        return document

    manifests = read(index["digest"])["manifests"]
    assert isinstance(manifests, list)
    sizes = read(manifests[0]["digest"])["layers"]
    assert isinstance(sizes, list)
    layers = [
        Layer(
            Blob(layer.digest, blob["size"], real_image.oci / "blobs/sha256" / layer.digest[7:]),
            layer.diff_id,
            layer.compression,
            layer.comment,
        )
        for layer, blob in zip(real_image.truth.layers, sizes, strict=True)
    ]
    file = tmp_path_factory.mktemp("archive") / "shop.tar"
    write_docker_archive(Built(layers), file, "shop:1.0")
    return file


def test_docker_archive(real_image: Image, archive: Path) -> None:
    check(inventory(f"docker-archive:{archive}"), real_image.truth)


def test_docker_archive_compressed(real_image: Image, archive: Path, tmp_path: Path) -> None:
    packed = tmp_path / "shop.tar.gz"
    with packed.open("wb") as file:
        subprocess.run(["gzip", "-1c", archive], stdout=file, check=True)
    check(inventory(f"docker-archive:{packed}"), real_image.truth)


def test_root_file_system(real_image: Image, archive: Path, tmp_path: Path) -> None:
    """The layers unpacked on top of each other: all but which layer brought what."""
    import json
    import tarfile

    root = tmp_path / "root"
    root.mkdir()
    with tarfile.open(archive) as outer:
        manifest = outer.extractfile("manifest.json")
        assert manifest is not None
        for name in json.load(manifest)[0]["Layers"]:
            outer.extract(name, tmp_path, filter="data")
            _unpack(tmp_path / name, root)
    scanned = inventory(f"rootfs:{root}")
    whole = inventory(f"oci:{real_image.oci}")

    def without_layers(given: Inventory) -> set[tuple[str, ...]]:
        return {(p.purl, p.path, p.position, p.owner) for p in given.packages}

    assert without_layers(scanned) == without_layers(whole)
    assert scanned.os == whole.os


def _unpack(layer: Path, root: Path) -> None:
    """GNU tar knows no whiteouts: apply them first."""
    import shutil

    names = subprocess.run(
        ["tar", "-tf", layer], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    marks = [Path(name) for name in names if Path(name).name.startswith(".wh.")]
    for mark in marks:
        folder = root / mark.parent
        if mark.name == ".wh..wh..opq":
            victims = list(folder.iterdir()) if folder.is_dir() else []
        else:
            victims = [folder / mark.name.removeprefix(".wh.")]
        for victim in victims:
            if victim.is_dir() and not victim.is_symlink():
                shutil.rmtree(victim)
            else:
                victim.unlink(missing_ok=True)
    subprocess.run(
        ["tar", "-xf", layer, "-C", root, "--exclude=.wh.*", "--keep-directory-symlink"],
        check=True,
    )
