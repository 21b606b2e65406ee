"""Write container images: layers from folders or files, OCI layouts, Docker's manifests.

The digest of everything depends on its content alone: entries are sorted, times are clamped.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal, cast

import zstandard

Compression = Literal["gzip", "zstd", "none"]

CLAMP = 1_700_000_000
"""Newest modification time written (2023-11-14): files made during a build get this one."""

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

_OCI_LAYER: Mapping[Compression, str] = {
    "none": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
# Docker's schema 2 knows no other compression.
_DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass(frozen=True, slots=True)
class Blob:
    """A file of an image under its digest."""

    digest: str
    size: int
    file: Path


@dataclass(frozen=True, slots=True)
class Layer:
    """A packed layer: the blob, and the digest of the tar in it."""

    blob: Blob
    diff_id: str
    compression: Compression
    comment: str


@dataclass(frozen=True, slots=True)
class Platform:
    os: str = "linux"
    architecture: str = "amd64"


AMD64 = Platform()
ARM64 = Platform(architecture="arm64")


class _Tee(io.RawIOBase):
    """Counts and digests what goes through to `file`."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.sha, self.size = file, hashlib.sha256(), 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.sha.update(data)
        self.size += len(data)
        self.file.write(data)
        return len(data)

    @property
    def digest(self) -> str:
        return f"sha256:{self.sha.hexdigest()}"


class Store:
    """A folder of blobs, named by digest as in an OCI layout."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.folder.mkdir(parents=True, exist_ok=True)

    @property
    def folder(self) -> Path:
        return self.directory / "blobs" / "sha256"

    def add(self, data: bytes) -> Blob:
        """Keep `data`."""
        digest = hashlib.sha256(data).hexdigest()
        file = self.folder / digest
        file.write_bytes(data)
        return Blob(f"sha256:{digest}", len(data), file)

    def add_json(self, value: object) -> Blob:
        return self.add(json.dumps(value, indent=1, sort_keys=True).encode())

    @contextmanager
    def layer(
        self, compression: Compression, comment: str, done: list[Layer], level: int = 6
    ) -> Iterator[IO[bytes]]:
        """Give a file to write a tar to, and append the finished layer to `done`."""
        part = self.folder / "part"
        with part.open("wb") as file:
            outer = _Tee(file)
            with _compressor(compression, outer, level) as compressed:
                inner = _Tee(compressed)
                yield cast(IO[bytes], inner)
        final = self.folder / outer.digest.removeprefix("sha256:")
        part.rename(final)
        blob = Blob(outer.digest, outer.size, final)
        done.append(Layer(blob, inner.digest, compression, comment))

    def pack(self, upper: Path, compression: Compression, comment: str) -> Layer:
        """Pack an overlayfs upper folder as a layer, deletions included."""
        done: list[Layer] = []
        with (
            self.layer(compression, comment, done) as file,
            tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for info, path in _entries(upper, tar):
                if path is None:
                    tar.addfile(info)
                else:
                    with path.open("rb") as content:
                        tar.addfile(info, content)
        return done[0]

    def files(
        self,
        content: Mapping[str, bytes],
        compression: Compression = "gzip",
        comment: str = "files",
    ) -> Layer:
        """Pack a layer of the named files; `.wh.NAME` deletes, as in any layer."""
        done: list[Layer] = []
        with (
            self.layer(compression, comment, done) as file,
            tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            seen: set[str] = set()
            for name, data in sorted(content.items()):
                for folder in _parents(name):
                    if folder not in seen:
                        seen.add(folder)
                        tar.addfile(_info(folder, tarfile.DIRTYPE, 0o755))
                info = _info(name, tarfile.REGTYPE, 0o644)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return done[0]

    def as_gzip(self, layer: Layer) -> Layer:
        """The same tar with the compression that Docker's schema 2 allows."""
        if layer.compression == "gzip":
            return layer
        done: list[Layer] = []
        with layer.blob.file.open("rb") as file, self.layer("gzip", layer.comment, done) as out:
            shutil.copyfileobj(decompress(file, layer.compression), out, 1 << 20)
        return done[0]


def decompress(file: IO[bytes], compression: Compression) -> IO[bytes]:
    """The tar inside a layer's blob, as a stream."""
    if compression == "gzip":
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if compression == "zstd":
        return cast(IO[bytes], zstandard.ZstdDecompressor().stream_reader(file))
    return file


@dataclass(frozen=True, slots=True)
class Built:
    """One platform's image: its layers, lowest first."""

    layers: Sequence[Layer]
    platform: Platform = AMD64
    config: Mapping[str, object] | None = None


def write_oci(store: Store, images: Iterable[Built], *, index: bool = True) -> str:
    """Make `store`'s folder an OCI layout of `images` and return the digest of the top.

    index: an index by platform on top; else the one image's manifest.
    """
    descriptors = [_manifest(store, image, docker=False) for image in images]
    top = descriptors[0]
    if index:
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": descriptors}
        top = _descriptor(store.add_json(body), OCI_INDEX)
    return _write_layout(store, top)


def write_docker(store: Store, images: Iterable[Built], *, index: bool = True) -> str:
    """As `write_oci`, with Docker's schema 2 manifests and a manifest list.

    It stands in a layout too, so that one program pushes both; the media types are Docker's.
    """
    descriptors = []
    for image in images:
        layers = [store.as_gzip(layer) for layer in image.layers]
        descriptors.append(
            _manifest(store, Built(layers, image.platform, image.config), docker=True)
        )
    top = descriptors[0]
    if index:
        body = {"schemaVersion": 2, "mediaType": DOCKER_INDEX, "manifests": descriptors}
        top = _descriptor(store.add_json(body), DOCKER_INDEX)
    return _write_layout(store, top)


def write_docker_archive(image: Built, file: Path, name: str) -> None:
    """Write what `docker save NAME` writes: uncompressed layers and a manifest.json."""
    config = json.dumps(_config(image), sort_keys=True).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    layers = [f"{layer.diff_id.removeprefix('sha256:')}/layer.tar" for layer in image.layers]
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": layers}]
    with tarfile.open(file, "w") as tar:
        for layer, member in zip(image.layers, layers, strict=True):
            with layer.blob.file.open("rb") as blob, tempfile.TemporaryFile() as plain:
                shutil.copyfileobj(decompress(blob, layer.compression), plain, 1 << 20)
                info = _info(member, tarfile.REGTYPE, 0o644)
                info.size = plain.tell()
                plain.seek(0)
                tar.addfile(info, plain)
        for member, data in (
            (config_name, config),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            info = _info(member, tarfile.REGTYPE, 0o644)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def link_blobs(source: Store, target: Store) -> None:
    """Give `target` the blobs of `source` without copying them."""
    for file in source.folder.iterdir():
        other = target.folder / file.name
        if not other.exists():
            os.link(file, other)


def _spool() -> IO[bytes]:

    return tempfile.TemporaryFile()


def _config(image: Built) -> dict[str, object]:
    return {
        "architecture": image.platform.architecture,
        "os": image.platform.os,
        "created": "2023-11-14T22:13:20Z",
        "config": dict(image.config or {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]}),
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in image.layers]},
        "history": [
            {"created": "2023-11-14T22:13:20Z", "created_by": layer.comment}
            for layer in image.layers
        ],
    }


def _manifest(store: Store, image: Built, *, docker: bool) -> dict[str, object]:
    config_type, manifest_type = (
        (DOCKER_CONFIG, DOCKER_MANIFEST) if docker else (OCI_CONFIG, OCI_MANIFEST)
    )
    body = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": _descriptor(store.add_json(_config(image)), config_type),
        "layers": [
            _descriptor(layer.blob, _DOCKER_LAYER if docker else _OCI_LAYER[layer.compression])
            for layer in image.layers
        ],
    }
    platform = {"os": image.platform.os, "architecture": image.platform.architecture}
    return {**_descriptor(store.add_json(body), manifest_type), "platform": platform}


def _descriptor(blob: Blob, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": blob.digest, "size": blob.size}


def _write_layout(store: Store, top: Mapping[str, object]) -> str:
    (store.directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [top]}
    (store.directory / "index.json").write_text(json.dumps(index, indent=1))
    return str(top["digest"])


@contextmanager
def _compressor(kind: Compression, file: _Tee, level: int) -> Iterator[IO[bytes]]:
    target = cast(IO[bytes], file)
    if kind == "gzip":
        with gzip.GzipFile(
            filename="", mode="wb", compresslevel=level, fileobj=target, mtime=0
        ) as gz:
            yield cast(IO[bytes], gz)
    elif kind == "zstd":
        with zstandard.ZstdCompressor(level=3).stream_writer(target, closefd=False) as zs:
            yield cast(IO[bytes], zs)
    else:
        yield target


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _info(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.mtime = kind, mode, CLAMP
    return info


def _entries(upper: Path, tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, Path | None]]:
    """Each entry below `upper` in sorted order, and the file it takes its content from.

    Deletions become the whiteouts of a layer.

    In an upper folder a character device 0/0 deletes a name and `trusted.overlay.opaque` hides
    what lower layers have in a folder: Documentation/filesystems/overlayfs.rst; the form in a
    layer: OCI image specification, layer.md, "Whiteouts".
    """
    for path in _walk(upper):
        name = path.relative_to(upper).as_posix()
        state = path.lstat()
        if stat.S_ISSOCK(state.st_mode):
            continue
        if stat.S_ISCHR(state.st_mode) and state.st_rdev == 0:
            marker = (path.relative_to(upper).parent / f".wh.{path.name}").as_posix()
            yield _info(marker.removeprefix("./"), tarfile.REGTYPE, 0o644), None
            continue
        info = tar.gettarinfo(path, name)
        info.uname = info.gname = ""
        info.mtime = min(int(state.st_mtime), CLAMP)
        yield info, path if info.isreg() else None
        if stat.S_ISDIR(state.st_mode) and _opaque(path):
            yield _info(f"{name}/.wh..wh..opq", tarfile.REGTYPE, 0o644), None


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        yield Path(entry.path)
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))


def _opaque(folder: Path) -> bool:
    try:
        return os.getxattr(folder, "trusted.overlay.opaque", follow_symlinks=False) == b"y"
    except OSError:
        return False
