"""What was read once is not read again, and only what was verified is believed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from garrison.egress import ProxySettings
from garrison.findings import cache as cache_module
from garrison.findings.cache import ScanCache
from garrison.findings.scan import read_image
from garrison.images import DigestMismatchError, ImageError, NotFoundError, open_image
from garrison.packages import Inventory
from lab.image import real, tiny
from lab.oci import Built, Store, write_oci


def scan(layout: Path, cache: ScanCache | None, platform: str = "") -> Inventory:
    source = open_image(f"oci:{layout}", ProxySettings(), platform=platform)
    return replace(read_image(source, cache=cache), duration=0.0, reference="")


def blobs(layout: Path, kind: str) -> list[Path]:
    """The blobs of the first image's layers, or of its config."""
    folder = layout / "blobs" / "sha256"
    document = json.loads((layout / "index.json").read_text())
    while "manifests" in document:
        digest = document["manifests"][0]["digest"].partition(":")[2]
        document = json.loads((folder / digest).read_text())
    found = document["layers"] if kind == "layers" else [document["config"]]
    return [folder / each["digest"].partition(":")[2] for each in found]


def test_an_unchanged_image_costs_its_manifest_alone(tmp_path: Path) -> None:
    """Config and layers are gone: only a scan that does not want them can pass."""
    layout = tiny(tmp_path / "image").oci
    cache = ScanCache(tmp_path / "cache")
    first = scan(layout, cache)
    assert first.packages
    for blob in blobs(layout, "layers") + blobs(layout, "config"):
        blob.unlink()

    assert scan(layout, ScanCache(tmp_path / "cache")) == first
    with pytest.raises(NotFoundError):
        scan(layout, None)


def test_a_known_layer_is_not_read_for_another_image(tmp_path: Path) -> None:
    """The base layer's blob is gone when an image on top of it is scanned."""
    store = Store(tmp_path / "oci")
    base = store.files({"etc/os-release": b"ID=debian\nVERSION_ID=12\n", **_npm("left", "1.0.0")})
    top = store.files({**_npm("right", "2.0.0"), "app/.wh.left": b""})
    write_oci(store, [Built([base])])
    cache = ScanCache(tmp_path / "cache")
    scan(store.directory, cache)
    write_oci(store, [Built([base, top])])
    fresh = scan(store.directory, None)
    base.blob.file.unlink()

    assert scan(store.directory, cache) == fresh
    assert [package.name for package in fresh.packages] == ["right"]


def test_every_fact_of_a_real_image_is_remembered(tmp_path: Path) -> None:
    """The whole of the image comes from remembered layers: whiteouts, links and ownership too."""
    layout = real().oci
    cache = ScanCache(tmp_path / "cache")
    fresh = scan(layout, cache)
    for file in (tmp_path / "cache").rglob("image-*"):
        file.unlink()

    class Strict(ScanCache):
        def get(self, digest: str) -> object:  # type: ignore[override]
            content = super().get(digest)
            assert content is not None, digest
            return content

    assert scan(layout, Strict(tmp_path / "cache")) == fresh == scan(layout, None)


def test_a_wrong_layer_is_never_remembered(tmp_path: Path) -> None:
    layout = tiny(tmp_path / "image").oci
    blob = blobs(layout, "layers")[0]
    data = bytearray(blob.read_bytes())
    data[-5] ^= 1
    blob.write_bytes(bytes(data))
    cache = ScanCache(tmp_path / "cache")
    with pytest.raises(ImageError):
        scan(layout, cache)
    assert cache.get(f"sha256:{blob.name}") is None
    with pytest.raises(DigestMismatchError):
        scan(layout, cache)


def test_a_damaged_cache_is_as_good_as_none(tmp_path: Path) -> None:
    layout = tiny(tmp_path / "image").oci
    cache = ScanCache(tmp_path / "cache")
    first = scan(layout, cache)
    files = [file for file in (tmp_path / "cache").rglob("*-sha256-*") if file.is_file()]
    assert len(files) == 3
    for cut in (0, 3, 20):
        for file in files:
            file.write_bytes(file.read_bytes()[:cut] + b"noise")
        assert scan(layout, cache) == first


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    layout = tiny(tmp_path / "image").oci
    assert scan(layout, ScanCache(tmp_path / "cache")) == scan(layout, None)


def test_what_other_readers_found_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layout = tiny(tmp_path / "image").oci
    scan(layout, ScanCache(tmp_path / "cache"))
    monkeypatch.setattr(cache_module, "readers_version", lambda: "other")
    newer = ScanCache(tmp_path / "cache")
    blob = blobs(layout, "layers")[0]
    assert newer.get(f"sha256:{blob.name}") is None

    scan(layout, newer)
    left = {file.parent.name for file in (tmp_path / "cache").rglob("*-sha256-*")}
    assert left == {"readers-other"}, "what nobody asks for any more is removed"


def test_the_cache_stays_within_its_limit(tmp_path: Path) -> None:
    cache = ScanCache(tmp_path / "cache", limit=1)
    scan(tiny(tmp_path / "image").oci, cache)
    assert [file for file in (tmp_path / "cache").rglob("*") if file.is_file()] == []


def test_another_platform_is_another_image(tmp_path: Path) -> None:
    layout = tiny(tmp_path / "image").oci
    cache = ScanCache(tmp_path / "cache")
    assert scan(layout, cache).platform == "linux/amd64"
    assert scan(layout, cache, "linux/arm64").platform == "linux/arm64"
    assert scan(layout, cache).platform == "linux/amd64"


def _npm(name: str, version: str) -> dict[str, bytes]:
    document = json.dumps({"name": name, "version": version}).encode()
    return {f"app/{name}/package.json": document}
