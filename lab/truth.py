"""What is really installed in an image, as the packages' own programs tell it.

`dpkg-query`, `importlib.metadata` and `npm ls` run over the mounted tree when the image is
built; their answers are kept beside it. No code of the product takes part.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

from lab.oci import Compression
from lab.process import program, run
from lab.rootfs import chroot

APP = "srv/app"
"""Where the image's npm project is."""

_DPKG_FIELDS = (
    "Package",
    "Version",
    "source:Package",
    "source:Version",
    "Architecture",
    "db:Status-Abbrev",
)
_LIST_PYTHON = """
import importlib.metadata, json
print(json.dumps([[d.metadata["Name"], d.version, str(d._path)]
                  for d in importlib.metadata.distributions()]))
"""


@dataclass(frozen=True, slots=True)
class DebianPackage:
    """A line of `dpkg-query -W`. `layer` counts from 0: where this version first appeared."""

    name: str
    version: str
    source: str
    source_version: str
    architecture: str
    layer: int = 0


@dataclass(frozen=True, slots=True)
class PythonDistribution:
    """One of `importlib.metadata.distributions()`, shadowed ones included."""

    name: str
    version: str
    path: str
    layer: int = 0


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """A line of `npm ls --all --parseable --long`; the first is the project itself."""

    name: str
    version: str
    path: str
    layer: int = 0


@dataclass(frozen=True, slots=True)
class PackedLayer:
    digest: str
    diff_id: str
    compression: Compression
    comment: str


@dataclass(frozen=True, slots=True)
class Truth:
    """Everything installed in an image; `removed` are packages dpkg only keeps settings of."""

    debian: tuple[DebianPackage, ...] = ()
    removed: tuple[DebianPackage, ...] = ()
    python: tuple[PythonDistribution, ...] = ()
    npm: tuple[NpmPackage, ...] = ()
    layers: tuple[PackedLayer, ...] = ()

    @classmethod
    def load(cls, file: Path) -> Self:
        raw = json.loads(file.read_text())
        return cls(
            debian=tuple(DebianPackage(**each) for each in raw["debian"]),
            removed=tuple(DebianPackage(**each) for each in raw["removed"]),
            python=tuple(PythonDistribution(**each) for each in raw["python"]),
            npm=tuple(NpmPackage(**each) for each in raw["npm"]),
            layers=tuple(PackedLayer(**each) for each in raw["layers"]),
        )

    def save(self, file: Path) -> None:
        file.write_text(json.dumps(asdict(self), indent=1))

    def since(self, earlier: "Truth", layer: int) -> "Truth":
        """This truth with `layer` on everything that `earlier` does not have."""
        debian = {replace(each, layer=0): each for each in earlier.debian}
        python = {replace(each, layer=0): each for each in earlier.python}
        npm = {replace(each, layer=0): each for each in earlier.npm}
        return replace(
            self,
            debian=tuple(debian.get(each, replace(each, layer=layer)) for each in self.debian),
            python=tuple(python.get(each, replace(each, layer=layer)) for each in self.python),
            npm=tuple(npm.get(each, replace(each, layer=layer)) for each in self.npm),
        )


def look(root: Path) -> Truth:
    """Ask the programs what is in `root`, a mounted tree; layers are not known here."""
    installed: list[DebianPackage] = []
    removed: list[DebianPackage] = []
    for package, status in _debian(root):
        (installed if status.startswith("ii") else removed).append(package)
    return Truth(tuple(installed), tuple(removed), tuple(_python(root)), tuple(_npm(root)))


def _debian(root: Path) -> Iterator[tuple[DebianPackage, str]]:
    pattern = "\\t".join(f"${{{field}}}" for field in _DPKG_FIELDS) + "\\n"
    for line in chroot(root, "dpkg-query", "-W", "-f", pattern).splitlines():
        name, version, source, source_version, architecture, status = line.split("\t")
        yield DebianPackage(name, version, source, source_version, architecture), status


def _python(root: Path) -> Iterator[PythonDistribution]:
    if not (root / "usr/bin/python3").exists():
        return
    for name, version, path in json.loads(chroot(root, "python3", "-I", "-c", _LIST_PYTHON)):
        yield PythonDistribution(name, version, path.lstrip("/"))


def _npm(root: Path) -> Iterator[NpmPackage]:
    if not (root / APP / "package.json").exists():
        return
    # npm is not in the image; the one of this machine reads the tree as it stands there.
    argv = [program("npm"), "ls", "--all", "--parseable", "--long"]
    for line in run(argv, cwd=root / APP, check=False).stdout.splitlines():
        path, _, rest = line.partition(":")
        name, _, version = rest.partition(":")[0].rpartition("@")
        yield NpmPackage(name, version, Path(path).relative_to(root).as_posix())
