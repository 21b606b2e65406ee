"""Layers on top of each other: the files that a container of the image would see.

Source: OCI image spec, layer.md, "Applying Changesets"; containerd's `archive.applyNaive` where
that is silent: parents are resolved through symbolic links, a file replaces a folder, a folder
replaces a symbolic link.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from garrison.images import limits
from garrison.images.content import Broken, LayerContent, path_hash


@dataclass(frozen=True, slots=True)
class Entry:
    """A file as one layer has it. layer: its number, 0 the oldest.

    previous: what lower layers had at the same path, unless it was deleted in between.
    """

    layer: int
    facts: object
    previous: Entry | None = None

    def history(self) -> Iterator[Entry]:
        """This entry and those below it, newest first."""
        entry: Entry | None = self
        while entry is not None:
            yield entry
            entry = entry.previous


class FileView:
    """The files of interest of an image, all layers applied."""

    def __init__(self) -> None:
        self.files: dict[str, Entry] = {}
        self._symlinks: dict[str, str] = {}
        self._hashes: dict[str, int] = {}
        self._folders: dict[str, str] = {}

    def get(self, path: str) -> Entry | None:
        """The file at `path`, symbolic links followed."""
        return self.files.get(self.resolve(path))

    def resolve(self, path: str) -> str:
        """`path` with every symbolic link in it followed, inside the image's root.

        A path that leads round in circles is given back as it is.
        """
        parts = path.split("/")
        done: list[str] = []
        hops = 0
        while parts:
            part = parts.pop(0)
            if part in ("", "."):
                continue
            if part == "..":
                if done:
                    done.pop()
                continue
            done.append(part)
            target = self._symlinks.get("/".join(done))
            if target is None:
                continue
            hops += 1
            if hops > limits.MAX_LINK_HOPS or len(parts) > limits.MAX_PATH:
                return path
            done = [] if target.startswith("/") else done[:-1]
            parts = target.split("/") + parts
        return "/".join(done)

    def apply(self, number: int, layer: LayerContent) -> None:
        """Put `layer` on top."""
        self._folders.clear()
        for folder in layer.opaque:
            self._remove_below(self.resolve(folder))
        self._remove(self._resolve_parent(path) for path in layer.whiteouts)
        self._replace(layer)
        for path, target in layer.symlinks.items():
            self._symlinks[self._resolve_parent(path)] = target
        self._folders.clear()
        for path, facts in layer.files.items():
            self._add(number, path, facts)
        for path, target in layer.hard_links.items():
            entry = self.get(target)
            self._add(number, path, entry.facts if entry else _UNLINKED)

    def _add(self, number: int, path: str, facts: object) -> None:
        path = self._resolve_parent(path)
        self.files[path] = Entry(number, facts, self.files.get(path))

    def _resolve_parent(self, path: str) -> str:
        folder, slash, base = path.rpartition("/")
        if not slash:
            return path
        resolved = self._folders.get(folder)
        if resolved is None:
            resolved = self._folders[folder] = self.resolve(folder)
        return f"{resolved}/{base}" if resolved else base

    def _remove_below(self, folder: str) -> None:
        prefix = f"{folder}/" if folder else ""
        for table in (self.files, self._symlinks):
            for path in [path for path in table if path.startswith(prefix)]:
                del table[path]

    def _remove(self, paths: Iterable[str]) -> None:
        gone = set(paths)
        if not gone:
            return
        for table in (self.files, self._symlinks):
            for path in [p for p in table if p in gone or not gone.isdisjoint(_parents(p))]:
                del table[path]

    def _replace(self, layer: LayerContent) -> None:
        """Drop what is hidden because the layer has something of another kind in its place."""
        known: set[int] = set()
        for table in (self.files, self._symlinks):
            for path in table:
                known.add(self._hash(path))
                known.update(map(self._hash, _parents(path)))
        others = known.intersection(layer.others)
        folders = known.intersection(layer.folders)
        if not others and not folders:
            return
        for table, again in ((self.files, layer.files), (self._symlinks, layer.symlinks)):
            for path in list(table):
                own = self._hash(path)
                replaced = own in folders or (own in others and path not in again)
                if replaced or not others.isdisjoint(map(self._hash, _parents(path))):
                    del table[path]

    def _hash(self, path: str) -> int:
        value = self._hashes.get(path)
        if value is None:
            value = self._hashes[path] = path_hash(path)
        return value


_UNLINKED = Broken("images.hard_link", "a hard link to a file that this layer does not have")


def merge(layers: Iterable[LayerContent]) -> FileView:
    """The view over `layers`, oldest first."""
    view = FileView()
    for number, layer in enumerate(layers):
        view.apply(number, layer)
    return view


def _parents(path: str) -> list[str]:
    """The folders above `path`, without the root."""
    found = []
    end = path.rfind("/")
    while end > 0:
        path = path[:end]
        found.append(path)
        end = path.rfind("/")
    return found
