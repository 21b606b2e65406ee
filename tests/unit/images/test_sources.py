"""Layouts, archives, folders and engines: the same image from each."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import socketserver
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from garrison.egress import ProxySettings
from garrison.images import (
    BadLayerError,
    BadManifestError,
    BadReferenceError,
    Broken,
    DigestMismatchError,
    EngineError,
    ImageContent,
    ImageError,
    NotFoundError,
    PlatformMissingError,
    merge,
    open_image,
)
from tests.unit.images.fake_registry import Content, sha
from tests.unit.images.samples import Text, tar_of

DIRECT = ProxySettings.build()
TARS = [
    tar_of([("etc/keep", b"old"), ("a/keep", b"a")]),
    tar_of([("etc/keep", b"new"), ("a/.wh.keep", b""), ("b/package.json", b"b")]),
]
FILES = {"etc/keep": "new", "b/package.json": "b"}
IMAGE = Content([gzip.compress(tar, mtime=0) for tar in TARS], [sha(tar) for tar in TARS])


def read(text: str, **given: Any) -> ImageContent:
    return open_image(text, DIRECT, **given).read(Text(), threads=2)


def files(content: ImageContent) -> dict[str, object]:
    return {path: entry.facts for path, entry in merge(content.contents).files.items()}


# oci:DIR


def layout(folder: Path, manifests: list[dict[str, Any]], blobs: dict[str, bytes]) -> Path:
    place = folder / "blobs" / "sha256"
    place.mkdir(parents=True)
    for digest, data in blobs.items():
        (place / digest.removeprefix("sha256:")).write_bytes(data)
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    return folder


def described(content: Content, tag: str = "", platform: str = "") -> dict[str, Any]:
    entry: dict[str, Any] = {"digest": content.digest, "size": len(content.manifest)}
    if tag:
        entry["annotations"] = {"org.opencontainers.image.ref.name": tag}
    if platform:
        entry["platform"] = dict(zip(("os", "architecture"), platform.split("/"), strict=True))
    return entry


def blobs(*contents: Content) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for content in contents:
        found.update({**content.blobs, content.digest: content.manifest})
    return found


def test_layout(tmp_path: Path) -> None:
    content = read(f"oci:{layout(tmp_path / 'x', [described(IMAGE)], blobs(IMAGE))}")
    assert files(content) == FILES
    assert content.digest == IMAGE.digest
    assert [layer.digest for layer in content.layers] == [sha(data) for data in IMAGE.layers]
    assert [layer.diff_id for layer in content.layers] == [sha(tar) for tar in TARS]


def test_layout_with_several_images(tmp_path: Path) -> None:
    other = Content([gzip.compress(tar_of([("other/keep", b"o")]), mtime=0)])
    folder = layout(
        tmp_path / "a:b",
        [described(IMAGE, "1.0"), described(other, "registry.test:5000/shop:2")],
        blobs(IMAGE, other),
    )
    assert files(read(f"oci:{folder}:1.0")) == FILES
    assert files(read(f"oci:{folder}:registry.test:5000/shop:2")) == {"other/keep": "o"}
    assert files(read(f"oci:{folder}@{IMAGE.digest}")) == FILES
    with pytest.raises(NotFoundError, match="2 images") as caught:
        read(f"oci:{folder}")
    assert "1.0" in caught.value.hint
    with pytest.raises(NotFoundError):
        read(f"oci:{folder}:3")


def test_layout_by_platform(tmp_path: Path) -> None:
    arm = Content([gzip.compress(tar_of([("arm/keep", b"o")]), mtime=0)])
    folder = layout(
        tmp_path / "x",
        [described(arm, platform="linux/arm64"), described(IMAGE, platform="linux/amd64")],
        blobs(IMAGE, arm),
    )
    assert files(read(f"oci:{folder}", platform="linux/amd64")) == FILES
    with pytest.raises(PlatformMissingError):
        read(f"oci:{folder}", platform="linux/s390x")


@pytest.mark.parametrize("victim", ["manifest", "layer", "config"])
def test_layout_with_wrong_bytes(tmp_path: Path, victim: str) -> None:
    digest = {
        "manifest": IMAGE.digest,
        "layer": sha(IMAGE.layers[1]),
        "config": json.loads(IMAGE.manifest)["config"]["digest"],
    }[victim]
    changed = blobs(IMAGE)
    changed[digest] = changed[digest][:-1] + b"?"
    folder = layout(tmp_path / "x", [described(IMAGE)], changed)
    with pytest.raises(DigestMismatchError):
        read(f"oci:{folder}")


def test_layout_with_a_missing_blob(tmp_path: Path) -> None:
    there = blobs(IMAGE)
    del there[sha(IMAGE.layers[0])]
    with pytest.raises(NotFoundError):
        read(f"oci:{layout(tmp_path / 'x', [described(IMAGE)], there)}")


@pytest.mark.parametrize("index", ["", "[]", "{}", '{"manifests": []}', "\0"])
def test_layout_with_a_broken_index(tmp_path: Path, index: str) -> None:
    (tmp_path / "index.json").write_text(index)
    with pytest.raises(BadManifestError):
        read(f"oci:{tmp_path}")


def test_a_folder_that_is_no_layout(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read(f"oci:{tmp_path}")
    with pytest.raises(NotFoundError):
        read(f"oci:{tmp_path}/missing:tag")


# docker-archive:FILE


def member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def saved(style: str, *, wrong: bool = False) -> bytes:
    """What `docker save` wrote before (`old`) and since (`new`) version 25, and what `crane`
    writes."""
    out = io.BytesIO()
    config = IMAGE.blobs[json.loads(IMAGE.manifest)["config"]["digest"]]
    hexes = [sha(tar).removeprefix("sha256:") for tar in TARS]
    data = [TARS[0], TARS[1].replace(b"new", b"bad") if wrong else TARS[1]]
    name = {
        "old": f"{sha(config).removeprefix('sha256:')}.json",
        "new": f"blobs/sha256/{sha(config).removeprefix('sha256:')}",
        "crane": sha(config),
    }[style]
    layers = {
        "old": [f"{each}/layer.tar" for each in hexes],
        "new": [f"blobs/sha256/{each}" for each in hexes],
        "crane": [f"{sha(each).removeprefix('sha256:')}.tar.gz" for each in IMAGE.layers],
    }[style]
    manifest = [{"Config": name, "RepoTags": ["shop:1.0"], "Layers": layers}]
    with tarfile.open(fileobj=out, mode="w") as tar:
        if style == "old":
            member(tar, "repositories", b"{}")
        for layer, content in zip(layers, data, strict=True):
            member(tar, layer, gzip.compress(content) if style == "crane" else content)
        member(tar, name, config)
        if style == "new":
            member(tar, f"blobs/sha256/{IMAGE.digest.removeprefix('sha256:')}", IMAGE.manifest)
            index = {"schemaVersion": 2, "manifests": [described(IMAGE)]}
            member(tar, "index.json", json.dumps(index).encode())
        member(tar, "manifest.json", json.dumps(manifest).encode())
    return out.getvalue()


def packed(data: bytes, how: str) -> bytes:
    if how == "gzip":
        return gzip.compress(data)
    return zstandard.ZstdCompressor().compress(data) if how == "zstd" else data


@pytest.mark.parametrize("how", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("style", ["old", "new", "crane"])
def test_archive(tmp_path: Path, style: str, how: str) -> None:
    file = tmp_path / "shop.tar"
    file.write_bytes(packed(saved(style), how))
    content = read(f"docker-archive:{file}")
    assert files(content) == FILES
    config = json.loads(IMAGE.manifest)["config"]["digest"]
    assert content.digest == (IMAGE.digest if style == "new" else config)
    assert [layer.diff_id for layer in content.layers] == [sha(tar) for tar in TARS]
    assert {layer.digest for layer in content.layers} == {""}
    assert files(read(f"docker-archive:{file}:shop:1.0")) == FILES
    with pytest.raises(NotFoundError):
        read(f"docker-archive:{file}:shop:2.0")


@pytest.mark.parametrize("how", ["plain", "gzip"])
@pytest.mark.parametrize("style", ["old", "new", "crane"])
def test_archive_with_a_wrong_layer(tmp_path: Path, style: str, how: str) -> None:
    """A saved layer has no digest but the image's claim of its tar."""
    file = tmp_path / "shop.tar"
    file.write_bytes(packed(saved(style, wrong=True), how))
    with pytest.raises(DigestMismatchError):
        read(f"docker-archive:{file}")


@pytest.mark.parametrize("how", ["plain", "gzip", "zstd"])
@pytest.mark.parametrize("cut", [600, 3000, 6000])
def test_archive_cut_short(tmp_path: Path, cut: int, how: str) -> None:
    data = packed(saved("old"), how)
    file = tmp_path / "shop.tar"
    file.write_bytes(data[: min(cut, len(data) // 2)])
    with pytest.raises(ImageError):
        read(f"docker-archive:{file}")


def test_old_archives_link_equal_layers(tmp_path: Path) -> None:
    tar, out = TARS[0], io.BytesIO()
    config = json.dumps(
        {"os": "linux", "architecture": "amd64", "rootfs": {"diff_ids": [sha(tar), sha(tar)]}}
    ).encode()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member(archive, "one/layer.tar", tar)
        info = tarfile.TarInfo("two/layer.tar")
        info.type, info.linkname = tarfile.SYMTYPE, "../one/layer.tar"
        archive.addfile(info)
        member(archive, "c.json", config)
        layers = ["one/layer.tar", "two/layer.tar"]
        manifest = [{"Config": "c.json", "RepoTags": None, "Layers": layers}]
        member(archive, "manifest.json", json.dumps(manifest).encode())
    file = tmp_path / "shop.tar"
    for how in ("plain", "gzip"):
        file.write_bytes(packed(out.getvalue(), how))
        assert files(read(f"docker-archive:{file}")) == {"etc/keep": "old", "a/keep": "a"}


@pytest.mark.parametrize(
    "manifest",
    [
        b"{}",
        b"[1]",
        b"[]",
        b'[{"Config":"missing","Layers":[]}]',
        b'[{"Config":"manifest.json","Layers":[]}]',
        b'[{"Config":"../../etc/passwd","Layers":["x"]}]',
    ],
)
def test_archive_with_a_broken_manifest(tmp_path: Path, manifest: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        member(archive, "manifest.json", manifest)
    file = tmp_path / "shop.tar"
    file.write_bytes(out.getvalue())
    with pytest.raises(ImageError):
        read(f"docker-archive:{file}")


def test_files_that_are_no_archive(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for data in (b"", b"hello" * 300, gzip.compress(b"hello" * 300), tar_of([("a", b"x")])):
        file.write_bytes(data)
        with pytest.raises((BadManifestError, BadLayerError)):
            read(f"docker-archive:{file}")
    with pytest.raises(NotFoundError):
        read(f"docker-archive:{tmp_path}/missing.tar")


# rootfs:DIR


def test_root_file_system(tmp_path: Path) -> None:
    root = tmp_path / "root"
    for path, text in {
        "etc/keep": "e",
        "usr/lib/keep": "l",
        "a/kept.d/x": "d",
        "proc/keep": "no",
        "bad/keep": "broken",
        "other": "x",
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (root / "lib").symlink_to("/usr/lib")
    (root / "out").symlink_to("/etc")
    os.mkfifo(root / "a" / "keep")
    (root / "loop").symlink_to(root)
    content = read(f"rootfs:{root}")
    view = merge(content.contents)
    assert {p: e.facts for p, e in view.files.items()} == {
        "etc/keep": "e",
        "usr/lib/keep": "l",
        "a/kept.d/x": "d",
        "bad/keep": Broken("packages.unreadable", "it is broken"),
    }
    entry = view.get("lib/keep")
    assert entry is not None
    assert entry.facts == "l"
    entry = view.get("out/keep")
    assert entry is not None
    assert entry.facts == "e", "links stay inside the root"


def test_a_root_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read(f"rootfs:{tmp_path}/missing")


# docker:NAME


class Engine(socketserver.ThreadingUnixStreamServer):
    """Answers as a local engine does: HTTP/1.0, no length, the connection's end is the body's."""

    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.archive = saved("new")
        self.inspect: bytes = json.dumps(
            {"Id": json.loads(IMAGE.manifest)["config"]["digest"], "Size": 4711}
        ).encode()
        self.asked: list[str] = []
        self.failure: bytes | None = None
        super().__init__(str(path), _EngineHandler)


class _EngineHandler(socketserver.StreamRequestHandler):
    server: Engine

    def handle(self) -> None:
        path = self.rfile.readline().decode().split()[1]
        while self.rfile.readline().strip():
            pass
        self.server.asked.append(path)
        if path == "/images/team%2Fshop%3A1.0/json":
            self._send(200, self.server.inspect)
        elif path == "/images/team%2Fshop%3A1.0/get" and self.server.failure is not None:
            self._send(500, self.server.failure)
        elif path == "/images/team%2Fshop%3A1.0/get":
            self._send(200, self.server.archive)
        else:
            self._send(404, b'{"message":"no such image"}')

    def _send(self, status: int, body: bytes) -> None:
        self.wfile.write(f"HTTP/1.0 {status} X\r\nContent-Type: x\r\n\r\n".encode())
        for start in range(0, len(body), 1000):
            self.wfile.write(body[start : start + 1000])


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    with Engine(tmp_path / "engine.sock") as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_engine(engine: Engine, tmp_path: Path) -> None:
    content = read("docker:team/shop:1.0", engine=tmp_path / "engine.sock")
    assert files(content) == FILES
    assert [layer.diff_id for layer in content.layers] == [sha(tar) for tar in TARS]
    assert content.reference == "docker:team/shop:1.0"


def test_engine_without_the_image(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        read("docker:other", engine=tmp_path / "engine.sock")


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (b'{"message": "zstd is not supported"}', "for image team/shop:1.0: zstd is not supported"),
        (b"no\x1b[2J \n good", "no \\[2J good"),
        (b"", "without a word"),
        (b"x" * 9000, "x{300}$"),
    ],
)
def test_what_an_engine_says_is_repeated_in_bounds(
    engine: Engine, tmp_path: Path, failure: bytes, said: str
) -> None:
    engine.failure = failure
    with pytest.raises(EngineError, match=said):
        read("docker:team/shop:1.0", engine=tmp_path / "engine.sock")


def test_engine_that_stops_in_the_middle(engine: Engine, tmp_path: Path) -> None:
    engine.archive = engine.archive[:3000]
    with pytest.raises(EngineError, match="broken"):
        read("docker:team/shop:1.0", engine=tmp_path / "engine.sock")


@pytest.mark.parametrize("answer", [b"", b"<html>", b"[]"])
def test_engine_that_is_something_else(engine: Engine, tmp_path: Path, answer: bytes) -> None:
    engine.inspect = answer
    with pytest.raises(EngineError):
        read("docker:team/shop:1.0", engine=tmp_path / "engine.sock")


def test_no_engine(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no container engine"):
        read("docker:shop", engine=tmp_path / "missing.sock")


def test_an_engine_that_is_silent(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        with pytest.raises(EngineError):
            read("docker:shop", engine=tmp_path / "s", timeout=0.2)


@pytest.mark.parametrize("text", ["docker:", "oci:", "rootfs:", "docker-archive:", "docker:a b"])
def test_names_of_nothing(text: str) -> None:
    with pytest.raises(BadReferenceError):
        open_image(text, DIRECT)


@pytest.mark.parametrize("text", ["Debian", "a@b", "http://x/y"])
def test_bad_references(text: str) -> None:
    with pytest.raises(BadReferenceError):
        open_image(text, DIRECT)
