"""The real image holds what it claims, in the layers it claims."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from lab.image import RECIPE, Image, big, broken_db, empty, real, tiny, unknown_os
from lab.oci import DOCKER_INDEX, OCI_INDEX, Built, Store, decompress, write_docker_archive
from lab.process import run
from lab.rootfs import discard
from lab.truth import APP, PackedLayer, Truth


@pytest.fixture(scope="module")
def image() -> Image:
    return real()


@pytest.fixture(scope="module")
def truth(image: Image) -> Truth:
    return image.truth


def names(image: Image, layer: PackedLayer) -> set[str]:
    file = image.oci / "blobs" / layer.digest.replace(":", "/")
    with file.open("rb") as blob:
        data = decompress(blob, layer.compression).read()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name for member in tar}


def read(layout: Path, digest: str) -> Any:
    return json.loads((layout / "blobs" / digest.replace(":", "/")).read_text())


def test_packages_came_in_the_layers_they_were_installed_in(truth: Truth) -> None:
    debian = {package.name: package for package in truth.debian}
    assert debian["libc6"].layer == 0
    assert debian["rsync"].layer == 1
    assert debian["libssl3"].source == "openssl"
    assert len(debian) > 120
    python = {(each.name, each.version): each.layer for each in truth.python}
    assert python["Jinja2", "2.11.2"] == 2
    assert python["Django", "4.2.1"] == 4
    npm = {(each.name, each.version): each.layer for each in truth.npm}
    assert npm["express", "4.16.0"] == 3
    assert npm["lodash", "4.17.20"] == 4


def test_removed_packages_are_gone(truth: Truth) -> None:
    assert RECIPE.purged not in {package.name for package in truth.debian}
    assert [package.name for package in truth.removed] == [RECIPE.removed]
    assert RECIPE.python_removed not in {each.name for each in truth.python}
    assert RECIPE.npm_removed not in {each.name for each in truth.npm}
    assert ("lodash", "4.17.15") not in {(each.name, each.version) for each in truth.npm}


def test_a_shadowed_python_package_is_listed_twice(truth: Truth) -> None:
    """The one of Debian is still there, behind the one of pip."""
    assert {each.version for each in truth.python if each.name == "requests"} == {
        "2.28.0",
        "2.28.1",
    }


def test_npm_packages_are_nested_and_bundled(truth: Truth) -> None:
    assert any(each.path.count("node_modules") > 1 for each in truth.npm)
    assert truth.npm[0].path == APP


def test_deletions_are_whiteouts(image: Image, truth: Truth) -> None:
    last = names(image, truth.layers[-1])
    assert f"{APP}/node_modules/.wh.{RECIPE.npm_removed}" in last
    assert "opt/tool/.wh..wh..opq" in last
    assert any("/.wh.mistune" in name for name in last)
    first = names(image, truth.layers[0])
    assert "usr/bin/perl" in first
    assert not any("/.wh." in name for name in first)


def test_digests_and_media_types_are_right(image: Image, truth: Truth) -> None:
    for layout, index_type in ((image.oci, OCI_INDEX), (image.docker, DOCKER_INDEX)):
        top = json.loads((layout / "index.json").read_text())["manifests"][0]
        assert top["mediaType"] == index_type
        index = read(layout, top["digest"])
        manifest = read(layout, index["manifests"][0]["digest"])
        kinds = {layer["mediaType"].rpartition(".")[2] for layer in manifest["layers"]}
        assert kinds == ({"tar+gzip", "tar+zstd"} if layout == image.oci else {"gzip"})
        config = read(layout, manifest["config"]["digest"])
        assert config["rootfs"]["diff_ids"] == [layer.diff_id for layer in truth.layers]
        for blob in [manifest["config"], *manifest["layers"]]:
            data = (layout / "blobs" / blob["digest"].replace(":", "/")).read_bytes()
            assert f"sha256:{hashlib.sha256(data).hexdigest()}" == blob["digest"]
            assert len(data) == blob["size"]
            if blob["mediaType"].endswith("gzip"):
                tar = gzip.decompress(data)
                assert f"sha256:{hashlib.sha256(tar).hexdigest()}" in config["rootfs"]["diff_ids"]


def test_tiny_images_are_the_same_every_time(tmp_path: Path) -> None:
    first, second = tiny(tmp_path / "a"), tiny(tmp_path / "b")
    assert (first.oci / "index.json").read_text() == (second.oci / "index.json").read_text()
    assert first.truth == second.truth
    assert [each.name for each in first.truth.npm] == ["lodash"]


def test_edge_images_are_what_they_are_called(tmp_path: Path) -> None:
    def first_layer(image: Image) -> dict[str, bytes]:
        digest = image.truth.layers[0].digest.replace(":", "/")
        found = {}
        with tarfile.open(image.oci / "blobs" / digest) as tar:
            for member in tar:
                if content := tar.extractfile(member):
                    found[member.name] = content.read()
        return found

    assert b"ID=nimbus" in first_layer(unknown_os(tmp_path / "os"))["etc/os-release"]
    status = first_layer(broken_db(tmp_path / "db"))["var/lib/dpkg/status"]
    assert b"Package:" not in status
    assert set(first_layer(empty(tmp_path / "empty"))) == {"hello"}


def test_a_big_image_is_as_big_as_asked() -> None:
    image = big(64)
    data = image.truth.layers[1].digest.replace(":", "/")
    assert (image.oci / "blobs" / data).stat().st_size > 60 << 20


def test_a_killed_build_is_unmounted_before_it_is_removed(tmp_path: Path) -> None:
    """Else the removal would go on into what is mounted there."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    build = tmp_path / "build-x"
    (build / "merged/proc").mkdir(parents=True)
    run(["mount", "--bind", precious, build / "merged"])
    discard(build)
    assert not build.exists()
    assert (precious / "file").read_text() == "kept"


def test_docker_archive_is_what_docker_save_writes(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    layer = store.files({"etc/hello": b"hello\n"}, "zstd")
    write_docker_archive(Built([layer]), tmp_path / "image.tar", "team/hello:1")
    with tarfile.open(tmp_path / "image.tar") as tar:
        (manifest,) = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert manifest["RepoTags"] == ["team/hello:1"]
        config = json.load(tar.extractfile(manifest["Config"]))  # type: ignore[arg-type]
        inner = tar.extractfile(manifest["Layers"][0])
        assert inner is not None
        data = inner.read()
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(data).hexdigest()}"]
    listed = run(["tar", "-t"], stdin=data).stdout.split()
    assert listed == ["etc/", "etc/hello"]
