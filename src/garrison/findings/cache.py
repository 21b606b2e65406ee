"""What was read once: layers by their verified digest, images by that of their manifest.

Everything is kept below one folder, in files that appear whole or not at all, so that any number
of scans share it. A damaged or unreadable file is as good as none. Kept under the version of the
readers: what other readers found is not believed.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import zstandard

from garrison.errors import GarrisonError
from garrison.packages import Inventory
from garrison.packages.readers import readers_version

if TYPE_CHECKING:
    from garrison.images import LayerContent

_log = logging.getLogger("garrison.findings")

DEFAULT_BYTES = 512 << 20
"""Of the whole cache; what was used longest ago goes first."""
MAX_FILE = 64 << 20
"""Of one layer or image, compressed and not."""

_NAME = re.compile(r"[a-z0-9]+:[0-9a-f]{64,128}")


class ScanCache:
    """A cache in `folder`, which is made on the first write.

    limit: bytes. Nothing raises: a cache that cannot be written only makes scans slow.
    """

    def __init__(self, folder: Path, limit: int = DEFAULT_BYTES) -> None:
        self._root = folder
        self._folder = folder / f"readers-{readers_version()}"
        self._limit = limit
        self._wrote = False

    # images.LayerCache

    def get(self, digest: str) -> LayerContent | None:
        data = self._load("layer", digest)
        if data is None:
            return None
        from garrison.packages.readers import remembered

        try:
            return remembered.decode(data)
        except GarrisonError as error:
            _log.debug("a remembered layer is damaged: %s", error)
            return None

    def put(self, digest: str, content: LayerContent) -> None:
        from garrison.packages.readers import remembered

        try:
            self._store("layer", digest, remembered.encode(content))
        except TypeError:
            _log.exception("a layer cannot be remembered")

    # whole images

    def image(self, identity: str) -> Inventory | None:
        """What was found in the image that `ImageSource.identify` calls so."""
        data = self._load("image", identity) if identity else None
        if data is None:
            return None
        try:
            return msgspec.msgpack.decode(data, type=Inventory)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return None

    def remember(self, identity: str, inventory: Inventory) -> None:
        """Keep `inventory` under `identity`, unless that is empty."""
        if identity:
            self._store("image", identity, msgspec.msgpack.encode(inventory))

    def tidy(self) -> None:
        """After a scan that wrote: remove what is too much, and what other readers found."""
        if not self._wrote:
            return
        self._wrote = False
        with suppress(OSError):
            files = [
                (entry.stat().st_mtime, entry.stat().st_size, entry.path)
                for folder in os.scandir(self._root)
                if folder.is_dir(follow_symlinks=False)
                for entry in os.scandir(folder)
            ]
            left = sum(size for _, size, _ in files)
            for _, size, path in sorted(files):
                if left <= self._limit and path.startswith(f"{self._folder}{os.sep}"):
                    continue
                with suppress(OSError):
                    os.unlink(path)
                left -= size

    def _path(self, kind: str, name: str) -> Path | None:
        """The file of a digest, with what else an identity says; None: of no digest."""
        found = _NAME.search(name)
        if found is None:
            return None
        rest = re.sub(r"[^a-z0-9]+", "-", name.replace(found[0], "").lower()).strip("-")
        return self._folder / f"{kind}-{found[0].replace(':', '-')}{'-' if rest else ''}{rest}"

    def _load(self, kind: str, name: str) -> bytes | None:
        path = self._path(kind, name)
        if path is None:
            return None
        try:
            data = path.read_bytes()
            if zstandard.frame_content_size(data) > MAX_FILE:
                return None
            content = zstandard.ZstdDecompressor().decompress(data)
        except OSError:
            return None
        except (zstandard.ZstdError, MemoryError):
            _log.debug("a damaged file in the cache: %s", path)
            return None
        with suppress(OSError):
            os.utime(path)
        return content

    def _store(self, kind: str, name: str, content: bytes) -> None:
        path = self._path(kind, name)
        if path is None or len(content) > MAX_FILE:
            return
        compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, part = tempfile.mkstemp(prefix=".part-", dir=path.parent)
            try:
                with open(descriptor, "wb") as file:
                    file.write(compressor.compress(content))
                os.replace(part, path)
            except BaseException:
                with suppress(OSError):
                    os.unlink(part)
                raise
            self._wrote = True
        except OSError as error:
            _log.debug("the cache cannot be written: %s", error)
