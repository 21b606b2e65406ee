"""Images on disk: OCI layouts, archives of `docker save`, root file systems."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from garrison.images import limits
from garrison.images.blobs import BlobImage, verified
from garrison.images.content import Again, Broken, LayerContent, Sieve, Wanted, facts_of, guarded
from garrison.images.errors import BadManifestError, ImageError, NotFoundError, TooLargeError
from garrison.images.manifest import Descriptor, Index, Platform, choose, parse_manifest
from garrison.images.read import ImageContent, LayerCache, LayerInfo, Progress
from garrison.images.reference import Digest
from garrison.images.stream import Guard

REF_NAME = "org.opencontainers.image.ref.name"
CONTAINERD_NAME = "io.containerd.image.name"
_CHUNK = 1 << 20


class FileBlob:
    """A file, or a piece of one, as a blob. Each has its own descriptor and position."""

    def __init__(self, path: Path, start: int = 0, size: int | None = None) -> None:
        self._file = io.FileIO(path)
        self._left = size
        if start:
            self._file.seek(start)

    def readinto(self, buffer: memoryview) -> int:
        if self._left is None:
            return self._file.readinto(buffer) or 0
        count = self._file.readinto(buffer[: min(self._left, len(buffer))]) or 0
        self._left -= count
        return count

    def seek(self, position: int) -> int:
        return self._file.seek(position)

    def close(self) -> None:
        self._file.close()


class _LayoutStore:
    """The blobs of an OCI layout."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def manifest(self, descriptor: Descriptor) -> bytes:
        path = self._path(descriptor.digest)
        return _small_file(path, limits.MAX_MANIFEST)

    def open(self, digest: Digest, size: int) -> FileBlob:
        try:
            return FileBlob(self._path(digest))
        except OSError as error:
            raise _cannot_read(self._path(digest), error) from None

    def _path(self, digest: Digest) -> Path:
        return self._folder / "blobs" / digest.algorithm / digest.hex


class LayoutSource:
    """`oci:DIR`, `oci:DIR:TAG` or `oci:DIR@DIGEST`: an OCI image layout.

    Source: OCI image spec, image-layout.md.
    """

    def __init__(self, text: str, platform: Platform | None) -> None:
        found = split_place(text, Path.is_dir)
        if found is None:
            raise NotFoundError(f"{text} is not a folder")
        self._folder, self._name = found
        self._platform = platform
        self._found: BlobImage | None = None

    @property
    def reference(self) -> str:
        if self._name.startswith("sha"):
            return f"oci:{self._folder}@{self._name}"
        return f"oci:{self._folder}:{self._name}" if self._name else f"oci:{self._folder}"

    def identify(self) -> str:
        store = _LayoutStore(self._folder)
        descriptor = self._select()
        data = verified(store.manifest(descriptor), descriptor.digest)
        self._found = BlobImage(
            self.reference, store, data, descriptor.media_type, descriptor.digest, self._platform
        )
        return self._found.identity

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
        if self._found is None:
            self.identify()
        image, self._found = self._found, None
        assert image is not None
        return image.read(wanted, threads=threads, progress=progress, guard=guard, cache=cache)

    def _select(self) -> Descriptor:
        """The entry of `index.json` that is meant: by name, else the only one, else by platform."""
        path = self._folder / "index.json"
        index = parse_manifest(_small_file(path, limits.MAX_MANIFEST))
        if not isinstance(index, Index) or not index.manifests:
            raise BadManifestError(f"{path} names no images")
        found = [d for d in index.manifests if not self._name or self._name in _names(d)]
        names = sorted({name for d in index.manifests for name in _names(d)} - {""})
        if not found:
            raise NotFoundError(
                f"{self._folder} has no image {self._name!r}",
                f"It has: {', '.join(names[:20])}." if names else "",
            )
        if len(found) == 1:
            return found[0]
        if len({name for d in found for name in _names(d) if not name.startswith("sha")}) > 1:
            raise NotFoundError(
                f"{self._folder} has {len(found)} images",
                f"Choose one with oci:DIR:TAG. It has: {', '.join(names[:20])}.",
            )
        return choose(Index(tuple(found)), self._platform or Platform.of_this_node())


def _names(descriptor: Descriptor) -> set[str]:
    given = descriptor.annotations
    return {str(descriptor.digest), given.get(REF_NAME, ""), given.get(CONTAINERD_NAME, "")} - {""}


def split_place(text: str, exists: Callable[[Path], bool]) -> tuple[Path, str] | None:
    """Path and what follows it: `PATH`, `PATH:NAME` or `PATH@DIGEST`; None: nothing is there.

    Both may hold colons: what exists decides.
    """
    if exists(Path(text)):
        return Path(text), ""
    for position in range(len(text) - 1, 0, -1):
        if text[position] in ":@" and exists(Path(text[:position])):
            return Path(text[:position]), text[position + 1 :]
    return None


class RootfsSource:
    """`rootfs:DIR`: a folder that is the root of a system; links in it stay inside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not folder.is_dir():
            raise NotFoundError(f"{folder} is not a folder")

    kind = "rootfs"
    _left_out = frozenset({"proc", "sys", "dev"})
    """Folders at the top of a running system that hold no files of it."""

    @property
    def reference(self) -> str:
        return f"{self.kind}:{self._folder}"

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
        content = _walk_folder(self._folder, wanted, Guard(seconds), self._left_out)
        return ImageContent(
            self.reference, "", str(Platform.of_this_node()), (LayerInfo("", "", 0),), (content,)
        )


class DirectorySource(RootfsSource):
    """`dir:DIR`: a folder with somebody's project in it."""

    kind = "dir"
    _left_out = frozenset({".git"})


def _walk_folder(
    root: Path, wanted: Wanted, guard: Guard, left_out: frozenset[str]
) -> LayerContent:
    content = LayerContent()
    for folder, path, entry in _scan(root, guard, content, left_out):
        name = path.encode("utf-8", "surrogateescape")
        content.entries += 1
        if content.entries > limits.MAX_ENTRIES:
            raise TooLargeError(f"{root} has more than {limits.MAX_ENTRIES} entries")
        if entry.is_symlink():
            content.symlinks[_printable(path)] = _printable(
                os.readlink(os.path.join(folder, entry.name))
            )
        elif (
            (name.endswith(wanted.suffixes) or wanted.infix in name)
            and wanted.accepts(path)
            and entry.is_file(follow_symlinks=False)
        ):
            content.files[_printable(path)] = _file_facts(entry.path, path, wanted)
        elif wanted.magics and entry.is_file(follow_symlinks=False):
            facts = _look_inside(entry, path, wanted)
            if facts is not None:
                content.files[_printable(path)] = facts
    return content


def _scan(
    root: Path, guard: Guard, content: LayerContent, left_out: frozenset[str]
) -> Iterator[tuple[str, str, os.DirEntry[str]]]:
    """Every entry below `root` that is not a folder: its folder, its path in the image, itself."""
    waiting = [(os.fspath(root), "")]
    while waiting:
        guard.check()
        folder, prefix = waiting.pop()
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            content.files[_printable(prefix)] = Broken("images.unreadable_folder", _why(error))
            continue
        for entry in entries:
            path = f"{prefix}/{entry.name}" if prefix else entry.name
            if not entry.is_dir(follow_symlinks=False):
                yield folder, path, entry
            elif path not in left_out:
                waiting.append((entry.path, path))


def _look_inside(entry: os.DirEntry[str], path: str, wanted: Wanted) -> object | None:
    """Facts of a file whose first bytes make it interesting, else None."""
    try:
        if entry.stat(follow_symlinks=False).st_size < wanted.smallest:
            return None
        descriptor = _open_file(entry.path)
        if descriptor is None:
            return None
        with open(descriptor, "rb", buffering=0) as file:
            if file.read(4) not in wanted.magics:
                return None
            size = os.fstat(descriptor).st_size
            sieve = wanted.sieve(path, size)
            return None if sieve is None else _sifted(file, path, sieve)
    except OSError as error:
        return Broken("images.unreadable_file", _why(error))


def _sifted(file: io.FileIO, path: str, sieve: Sieve) -> object | None:
    file.seek(0)
    buffer = bytearray(_CHUNK)
    while count := file.readinto(buffer):
        # A file may grow for ever while it is read; its sieve keeps little of it all the same.
        failed = guarded(path, lambda: sieve.feed(buffer, 0, count))
        if failed is not None:
            return failed
    facts = guarded(path, sieve.facts)
    return _sifted(file, path, facts.sieve()) if isinstance(facts, Again) else facts


def _open_file(place: str) -> int | None:
    """A descriptor of the regular file at `place`; None if it is none any more.

    Between the look and the opening it may have become a link or a pipe.
    """
    descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None


def _file_facts(place: str, path: str, wanted: Wanted) -> object | None:
    try:
        descriptor = _open_file(place)
        if descriptor is None:
            return None
        with open(descriptor, "rb", buffering=0) as file:
            sieve = wanted.sieve(path, os.fstat(descriptor).st_size)
            if sieve is not None:
                return _sifted(file, path, sieve)
            data = file.read(limits.MAX_KEPT_FILE + 1) or b""
    except OSError as error:
        return Broken("images.unreadable_file", _why(error))
    if len(data) > limits.MAX_KEPT_FILE:
        return Broken(TooLargeError.code, f"more than {limits.MAX_KEPT_FILE} bytes")
    return facts_of(wanted, path, data)


def _small_file(path: Path, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise _cannot_read(path, error) from None
    if len(data) > limit:
        raise TooLargeError(f"{path} has more than {limit} bytes")
    return data


def _cannot_read(path: Path, error: OSError) -> ImageError:
    if isinstance(error, FileNotFoundError):
        return NotFoundError(f"{path} does not exist")
    return ImageError(f"{path} cannot be read: {_why(error)}")


def _why(error: OSError) -> str:
    return error.strerror or str(error)


def _printable(path: str) -> str:
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
