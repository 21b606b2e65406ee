"""From the facts in an image's files to its packages: where, whose, and from which layer."""

from __future__ import annotations

import os.path
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from garrison.images import Broken, Entry, FileView, LayerInfo
from garrison.packages.package import OperatingSystem, Package, Position, Skipped
from garrison.packages.purl import purl
from garrison.packages.readers import npm, python
from garrison.packages.readers.facts import (
    Component,
    Contents,
    Database,
    DistributionPackage,
    EggLink,
    FileList,
    Named,
)
from garrison.packages.readers.files import RPM_FOLDERS, is_database, is_database_folder
from garrison.packages.readers.rpm import FILES as RPM_FILES
from garrison.packages.releases import distro

OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
DPKG_STATUS = "var/lib/dpkg/status"
DPKG_STATUS_D = "var/lib/dpkg/status.d"
DPKG_INFO = "var/lib/dpkg/info"
MAX_SKIPPED = 1000
"""Skipped files named one by one."""
APK_INSTALLED = ("lib/apk/db/installed", "usr/lib/apk/db/installed")


@dataclass(frozen=True, slots=True)
class Assembled:
    """What the files of an image say. unreadable: paths of package databases among `skipped`."""

    os: OperatingSystem | None
    packages: tuple[Package, ...]
    skipped: tuple[Skipped, ...]
    unreadable: tuple[str, ...]
    databases: int
    """Package databases of the distribution that were found, readable or not."""


def assemble(view: FileView, layers: Sequence[LayerInfo]) -> Assembled:
    """The packages in `view`; `layers` as the entries of the view number them."""
    return _Assembly(view, layers).run()


class _Assembly:
    def __init__(self, view: FileView, layers: Sequence[LayerInfo]) -> None:
        self.view = view
        self.layers = layers
        self.os = _operating_system(view)
        self.distro = distro(self.os)
        self.packages: list[Package] = []
        self.owners: dict[str, str] = {}
        self.databases = 0
        self.linked = {
            view.resolve(entry.facts.folder)
            for entry in view.files.values()
            if isinstance(entry.facts, EggLink)
        }

    def run(self) -> Assembled:
        self._dpkg()
        self._apk()
        self._rpm()
        superseded = self._superseded()
        for path, entry in self.view.files.items():
            if path in superseded:
                continue
            if isinstance(entry.facts, Named):
                self.packages.append(self._named(path, entry, entry.facts))
            elif isinstance(entry.facts, Contents):
                self._contents(path, entry, entry.facts)
        self._drop_locked()
        self.packages.sort(key=lambda p: (p.type, p.namespace, p.name, p.version, p.path))
        skipped = list(self._skipped())
        unreadable = [s.path for s in skipped if is_database(s.path) or is_database_folder(s.path)]
        return Assembled(
            self.os,
            tuple(self.packages),
            _bounded(skipped),
            tuple(unreadable[:MAX_SKIPPED]),
            self.databases,
        )

    def _dpkg(self) -> None:
        self._database("deb", self.view.resolve(DPKG_STATUS))
        info = self.view.resolve(DPKG_INFO) + "/"
        status_d = self.view.resolve(DPKG_STATUS_D) + "/"
        for path in list(self.view.files):
            if path.startswith(status_d):
                if not path.endswith(".md5sums"):
                    self._database("deb", path)
                else:
                    self._file_list(path, path.removeprefix(status_d).removesuffix(".md5sums"))
            elif path.startswith(info):
                name = path.removeprefix(info).removesuffix(".list")
                self._file_list(path, name.partition(":")[0])

    def _apk(self) -> None:
        for path in dict.fromkeys(map(self.view.resolve, APK_INSTALLED)):
            self._database("apk", path)

    def _rpm(self) -> None:
        for folder in dict.fromkeys(map(self.view.resolve, RPM_FOLDERS)):
            places = (self.view.resolve(f"{folder}/{name}") for name in RPM_FILES)
            if path := next((path for path in places if path in self.view.files), None):
                self._database("rpm", path)

    def _database(self, type: str, path: str) -> None:
        """Add the packages of the database at `path`, each with the layer that brought it."""
        entry = self.view.files.get(path)
        if entry is None:
            return
        self.databases += 1
        if not isinstance(entry.facts, Database):
            return
        layer_of = _layers_of(entry)
        for package in entry.facts.packages:
            self.packages.append(self._distribution(type, path, package, layer_of[package]))
        for owned, owner in entry.facts.owned.items():
            self.owners[self.view.resolve(owned)] = owner

    def _file_list(self, path: str, owner: str) -> None:
        facts = self.view.files[path].facts
        if isinstance(facts, FileList):
            for owned in facts.paths:
                self.owners[self.view.resolve(owned)] = owner

    def _distribution(
        self, type: str, path: str, package: DistributionPackage, layer: int
    ) -> Package:
        namespace = _namespace(type, self.os)
        return Package(
            type=type,
            namespace=namespace,
            name=package.name,
            version=package.version,
            purl=_purl(type, namespace, package, self.os),
            path=path,
            arch=package.arch,
            distro=self.distro,
            source=package.source,
            source_version=package.source_version,
            layer=self.layers[layer].digest,
            diff_id=self.layers[layer].diff_id,
        )

    def _named(self, path: str, entry: Entry, facts: Named) -> Package:
        if path.endswith("package.json"):
            return self._package("npm", *npm.split_scope(facts.name), path, entry, npm.position)
        return self._package("pypi", "", facts.name, path, entry, self._python_position)

    def _python_position(self, path: str) -> Position:
        found = python.position(path)
        return "installed" if found == "loose" and python.home(path) in self.linked else found

    def _package(
        self,
        type: str,
        namespace: str,
        name: str,
        path: str,
        entry: Entry,
        position: Callable[[str], Position],
    ) -> Package:
        facts = entry.facts
        assert isinstance(facts, Named)
        owner = self._owner(path)
        layer = self.layers[_first_layer(entry)]
        return Package(
            type=type,
            namespace=namespace,
            name=name,
            version=facts.version,
            purl=purl(type, namespace, name, facts.version),
            path=path,
            position="owned" if owner else position(path),
            owner=owner,
            layer=layer.digest,
            diff_id=layer.diff_id,
        )

    def _superseded(self) -> set[str]:
        """Files that say nothing more than another one beside them."""
        return {
            os.path.join(os.path.dirname(path), name)
            for path, entry in self.view.files.items()
            if isinstance(entry.facts, Contents)
            for name in entry.facts.supersedes
        }

    def _drop_locked(self) -> None:
        """A package that is installed below the lock file that names it is listed there alone."""
        locked = {
            (os.path.dirname(p.path), p.purl) for p in self.packages if p.position == "locked"
        }
        if locked:
            self.packages = [
                p
                for p in self.packages
                if p.position in ("locked", "owned")
                or not any((folder, p.purl) in locked for folder in _folders(p.path))
            ]

    def _contents(self, path: str, entry: Entry, facts: Contents) -> None:
        owner = self._owner(path)
        since = _since(entry)
        for one in facts.packages:
            layer = self.layers[since[one]]
            self.packages.append(
                Package(
                    type=one.type,
                    namespace=one.namespace,
                    name=one.name,
                    version=one.version,
                    purl=purl(one.type, one.namespace, one.name, one.version),
                    path=f"{path}!/{one.inside}" if one.inside else path,
                    position="owned" if owner else one.position,
                    owner=owner,
                    layer=layer.digest,
                    diff_id=layer.diff_id,
                    development=one.development,
                )
            )

    def _owner(self, path: str) -> str:
        """The distribution package that brought `path`, or the egg-info folder it is in."""
        return self.owners.get(path, "")

    def _skipped(self) -> Iterator[Skipped]:
        for path, entry in sorted(self.view.files.items()):
            layer = self.layers[entry.layer]
            digest = layer.digest or layer.diff_id
            if isinstance(entry.facts, Broken):
                yield Skipped(path, digest, entry.facts.code, entry.facts.reason)
            elif isinstance(entry.facts, Contents):
                for part in entry.facts.unread:
                    inside = f"{path}!/{part.inside}" if part.inside else path
                    yield Skipped(inside, digest, part.code, part.reason)


def _folders(path: str) -> Iterator[str]:
    """The folders that `path` is in, the root too."""
    while path:
        path = os.path.dirname(path)
        yield path


def _bounded(skipped: list[Skipped]) -> tuple[Skipped, ...]:
    """An image can hold a million broken files; nobody reads of all of them."""
    if len(skipped) <= MAX_SKIPPED:
        return tuple(skipped)
    more = Skipped("", "", "packages.more_skipped", f"and {len(skipped) - MAX_SKIPPED} more files")
    return (*skipped[:MAX_SKIPPED], more)


def _namespace(type: str, os: OperatingSystem | None) -> str:
    if os is None:
        return {"deb": "debian", "apk": "alpine"}.get(type, "")
    # The vendor's own package URLs say so.
    return "redhat" if type == "rpm" and os.id == "rhel" else os.id


def _purl(
    type: str, namespace: str, package: DistributionPackage, os: OperatingSystem | None
) -> str:
    version, qualifiers = package.version, {"arch": package.arch}
    if os is not None and os.version_id:
        qualifiers["distro"] = f"{os.id}-{os.version_id}"
    if type == "rpm":
        epoch, colon, rest = version.partition(":")
        if colon:
            version, qualifiers["epoch"] = rest, epoch
        qualifiers["rpmmod"] = package.modularity
    return purl(type, namespace, package.name, version, qualifiers)


def _operating_system(view: FileView) -> OperatingSystem | None:
    for path in OS_RELEASE:
        entry = view.get(path)
        if entry is not None and isinstance(entry.facts, OperatingSystem):
            return entry.facts
    return None


def _layers_of(entry: Entry) -> dict[DistributionPackage, int]:
    """For each package, the layer since which it has been in the database in this version.

    Every `apt-get install` writes the whole file again, so the newest file says nothing.
    """
    since: dict[DistributionPackage, int] = {}
    for older in reversed(list(entry.history())):
        if isinstance(older.facts, Database):
            since = {p: since.get(p, older.layer) for p in older.facts.packages}
    return since


def _since(entry: Entry) -> dict[Component, int]:
    """For each package of a file, the layer since which the file has held it."""
    since: dict[Component, int] = {}
    for older in reversed(list(entry.history())):
        if isinstance(older.facts, Contents):
            since = {one: since.get(one, older.layer) for one in older.facts.packages}
        else:
            since = {}
    return since


def _first_layer(entry: Entry) -> int:
    """The layer since which the file has named the same package and version."""
    layer = entry.layer
    for older in entry.history():
        if older.facts != entry.facts:
            break
        layer = older.layer
    return layer
