"""Images in archives of `docker save`, `podman save`, `skopeo` and `crane`.

Source: Docker image specification v1.2, "Combined Image JSON + Filesystem Changeset Format";
since Docker 25 an OCI layout with `manifest.json` beside it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

import msgspec

from garrison.images import limits
from garrison.images.archive import FileBlob, split_place
from garrison.images.blobs import verified
from garrison.images.content import LayerContent, Wanted
from garrison.images.errors import (
    BadLayerError,
    BadManifestError,
    ImageError,
    NotFoundError,
    TooLargeError,
)
from garrison.images.manifest import ImageConfig, Index, Manifest, parse_config, parse_manifest
from garrison.images.read import (
    ImageContent,
    LayerCache,
    LayerInfo,
    LayerJob,
    Meter,
    Progress,
    check_diff_id,
    read_layers,
)
from garrison.images.reference import Digest
from garrison.images.stream import Guard, VerifiedBlob, decoded, read_layer
from garrison.images.tar import ReadInto, clean_path, walk_members

MAX_DOCUMENTS = 64 << 20
"""Bytes of all JSON files of an archive."""

_JSON = (b"{", b"[")
_T = TypeVar("_T")


class _EntryJson(msgspec.Struct, rename="pascal"):
    config: str
    layers: list[str]
    repo_tags: list[str] | None = None


@dataclass(frozen=True, slots=True)
class SavedImage:
    """One image of an archive. id: digest of its config. layers: their names in the archive."""

    id: Digest
    tags: tuple[str, ...]
    config: ImageConfig
    layers: tuple[str, ...]


@dataclass(slots=True)
class Documents:
    """The JSON files of an archive, by name."""

    files: dict[str, bytes] = field(default_factory=dict)
    size: int = 0

    def offer(self, path: str, size: int, data: ReadInto) -> ReadInto | None:
        """Keep `path` if it is JSON; else give its data back, whole."""
        head = _exactly(data, min(size, 1))
        if head not in _JSON:
            return _joined(head, data)
        self.size += size
        if size > limits.MAX_CONFIG or self.size > MAX_DOCUMENTS:
            raise TooLargeError("an image archive has too much metadata")
        self.files[path] = head + _exactly(data, size - 1)
        return None

    def images(self) -> list[SavedImage]:
        """What `manifest.json` lists. Raises BadManifestError."""
        if "manifest.json" not in self.files:
            raise BadManifestError(
                "the archive has no manifest.json",
                "Save the image with docker save, or unpack an OCI layout and use oci:DIR.",
            )
        try:
            entries = msgspec.json.decode(self.files["manifest.json"], type=list[_EntryJson])
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise BadManifestError(f"the archive's manifest.json cannot be read: {error}") from None
        return [self._image(entry) for entry in entries[:1000]]

    def manifest_digest(self, image: SavedImage) -> Digest:
        """Of the image's manifest where the archive is an OCI layout too, else its id."""
        index = self._manifest("index.json")
        for descriptor in index.manifests if isinstance(index, Index) else ():
            path = f"blobs/{descriptor.digest.algorithm}/{descriptor.digest.hex}"
            manifest = self._manifest(path)
            if isinstance(manifest, Manifest) and manifest.config.digest == image.id:
                verified(self.files[path], descriptor.digest)
                return descriptor.digest
        return image.id

    def _manifest(self, path: str) -> Manifest | Index | None:
        try:
            return parse_manifest(self.files[path]) if path in self.files else None
        except ImageError:
            return None

    def _image(self, entry: _EntryJson) -> SavedImage:
        path = _member(entry.config)
        if path not in self.files:
            raise BadManifestError(f"the archive lacks the config {path[:200]}")
        data = self.files[path]
        digest = Digest.of(data)
        stem = PurePosixPath(path).stem
        if len(stem) == len(digest.hex):
            verified(data, Digest(digest.algorithm, stem))
        config = parse_config(data, len(entry.layers))
        return SavedImage(
            digest, tuple(entry.repo_tags or ()), config, tuple(map(_member, entry.layers))
        )


def choose_image(images: list[SavedImage], name: str) -> SavedImage:
    """The image called `name`, or the only one. Raises NotFoundError."""
    wanted = {name, f"{name}:latest", f"docker.io/{name}", f"docker.io/library/{name}"}
    found = [
        image
        for image in images
        if not name or wanted & {*image.tags, str(image.id), image.id.hex[:12]}
    ]
    tags = sorted(tag for image in images for tag in image.tags)
    if len(found) == 1:
        return found[0]
    raise NotFoundError(
        f"the archive has {len(images)} images" + (f", none called {name!r}" if name else ""),
        f"Choose one with docker-archive:FILE:TAG. It has: {', '.join(tags[:20])}." if tags else "",
    )


def content_of(
    reference: str, image: SavedImage, digest: Digest, contents: tuple[LayerContent, ...]
) -> ImageContent:
    """The result of reading `image`; its layers have no blobs, so no digests."""
    return ImageContent(
        reference,
        str(digest),
        str(image.config.platform),
        tuple(
            LayerInfo("", diff_id, 0, created_by)
            for diff_id, created_by in zip(
                image.config.diff_ids, image.config.created_by, strict=True
            )
        ),
        contents,
        image.config.labels,
    )


class ArchiveSource:
    """`docker-archive:FILE` or `docker-archive:FILE:TAG`; the file may be compressed."""

    def __init__(self, text: str) -> None:
        found = split_place(text, Path.is_file)
        if found is None:
            raise NotFoundError(f"{text} is not a file")
        self._file, self._name = found

    @property
    def reference(self) -> str:
        name = f":{self._name}" if self._name else ""
        return f"docker-archive:{self._file}{name}"

    def identify(self) -> str:
        return ""

    def read(
        self,
        wanted: Wanted,
        *,
        threads: int = 2,
        progress: Progress | None = None,
        seconds: float = limits.MAX_SECONDS,
        cache: LayerCache | None = None,
    ) -> ImageContent:
        guard = Guard(seconds)
        if not _is_compressed(self._file):
            return self._read_in_place(wanted, threads, progress, guard)
        meter = Meter(progress, self._file.stat().st_size)
        file = FileBlob(self._file)
        try:
            blob = VerifiedBlob(file, None, None, meter.add)
            return read_stream(self.reference, self._name, decoded(blob), wanted, guard)
        finally:
            file.close()

    def _read_in_place(
        self, wanted: Wanted, threads: int, progress: Progress | None, guard: Guard
    ) -> ImageContent:
        """Find the layers without touching them, then read them side by side."""
        documents = Documents()
        places: dict[str, tuple[int, int]] = {}

        def visit(path: str, position: int, size: int, data: ReadInto) -> None:
            guard.check()
            if documents.offer(path, size, data) is not None:
                places[path] = (position, size)

        file = FileBlob(self._file)
        try:
            links = walk_members(file.readinto, visit, file.seek)
        finally:
            file.close()
        image = choose_image(documents.images(), self._name)
        jobs = []
        for name, diff_id in zip(image.layers, image.config.diff_ids, strict=True):
            position, size = _find(name, places, links)
            open_slice = partial(FileBlob, self._file, position, size)
            jobs.append(LayerJob(open_slice, None, size, Digest.parse(diff_id)))
        contents = read_layers(jobs, wanted, threads=threads, progress=progress, guard=guard)
        return content_of(self.reference, image, documents.manifest_digest(image), contents)


def read_stream(
    reference: str,
    name: str,
    readinto: ReadInto,
    wanted: Wanted,
    guard: Guard,
    *,
    trusted: bool = False,
) -> ImageContent:
    """Read an archive that comes only once: layers are walked before it is known which count.

    trusted: it comes from the engine that made it, so that layers are not hashed.
    """
    reader = _StreamReader(wanted, guard, trusted)
    links = walk_members(readinto, reader.visit)
    image = choose_image(reader.documents.images(), name)
    contents = []
    for layer, diff_id in zip(image.layers, image.config.diff_ids, strict=True):
        content, found = _find(layer, reader.layers, links)
        if isinstance(content, BadLayerError):
            raise content
        if not trusted:
            check_diff_id(Digest.parse(diff_id), found)
        contents.append(content)
    return content_of(reference, image, reader.documents.manifest_digest(image), tuple(contents))


class _StreamReader:
    """Takes every file of an archive that is no JSON for a layer."""

    def __init__(self, wanted: Wanted, guard: Guard, trusted: bool) -> None:
        self.documents = Documents()
        self.layers: dict[str, tuple[LayerContent | BadLayerError, str]] = {}
        self._wanted = wanted
        self._guard = guard
        self._trusted = trusted

    def visit(self, path: str, position: int, size: int, data: ReadInto) -> None:
        self._guard.check()
        whole = self.documents.offer(path, size, data)
        if whole is None:
            return
        if len(self.layers) >= limits.MAX_LAYERS:
            raise TooLargeError(f"an archive has more than {limits.MAX_LAYERS} layers")
        # The diff_id is not known yet; every image there is uses SHA-256.
        diff_hash = None if self._trusted else Digest("sha256", "").hasher()
        blob = VerifiedBlob(_Flow(whole), None, None)
        try:
            content = read_layer(blob, self._wanted, self._guard, diff_hash)
        except BadLayerError as error:
            self.layers[path] = (error, "")
        else:
            self.layers[path] = (content, diff_hash.hexdigest() if diff_hash else "")


class _Flow:
    """A function as a `Readable`."""

    def __init__(self, readinto: ReadInto) -> None:
        self._readinto = readinto

    def readinto(self, buffer: memoryview, /) -> int:
        return self._readinto(buffer)


def _find(name: str, found: dict[str, _T], links: dict[str, str]) -> _T:
    """The member called `name`; old archives link equal layers to the first of them."""
    for _ in range(limits.MAX_LINK_HOPS):
        if name in found:
            return found[name]
        target = links.get(name)
        if target is None:
            break
        beside = _member(os.path.join(os.path.dirname(name), target))
        name = beside if beside in found or beside in links else _member(target)
    raise BadManifestError(f"the archive lacks the layer {name[:200]}")


def _member(name: str) -> str:
    return clean_path(name.encode()).decode()


def _exactly(data: ReadInto, size: int) -> bytes:
    buffer = bytearray(size)
    done = 0
    while done < size and (count := data(memoryview(buffer)[done:])):
        done += count
    return bytes(buffer[:done])


def _joined(head: bytes, data: ReadInto) -> ReadInto:
    rest = head

    def read(buffer: memoryview) -> int:
        nonlocal rest
        if not rest:
            return data(buffer)
        count = min(len(rest), len(buffer))
        buffer[:count] = rest[:count]
        rest = rest[count:]
        return count

    return read


def _is_compressed(file: Path) -> bool:
    with file.open("rb") as opened:
        head = opened.read(4)
    return head[:2] == b"\x1f\x8b" or head == b"\x28\xb5\x2f\xfd"
