"""Images to scan: a real Debian one with old packages, and small ones for the edges.

`real()` takes minutes the first time and is kept in the project's `.cache/lab/`, under a
digest of the recipe. `python -m lab.image` builds it.
"""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import json
import os
import random
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.errors import LabError
from lab.oci import ARM64, Built, Layer, Store, link_blobs, write_docker, write_oci
from lab.process import program, run
from lab.rootfs import Tree, bootstrap, chroot, discard, forget_downloads, with_network
from lab.truth import APP, DebianPackage, NpmPackage, PackedLayer, PythonDistribution, Truth, look

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "lab"
BIG_REVISION = 1
DIST_PACKAGES = "usr/local/lib/python3.11/dist-packages"


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what is in the real image; a change of it builds the image anew."""

    revision: int
    suite: str
    base: tuple[str, ...]
    debian: tuple[str, ...]
    purged: str
    removed: str
    python: tuple[str, ...]
    python_removed: str
    python_replaced: str
    npm: tuple[str, ...]
    npm_removed: str
    npm_replaced: str

    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


RECIPE = Recipe(
    revision=2,
    suite="bookworm",
    base=("ca-certificates",),
    # Distribution-owned Python packages, and sources with advisories that main alone has not
    # fixed: expat, openssl, python3.11, rsync, libssh2, nghttp2 and what they bring along.
    debian=(
        "curl",
        "openssl",
        "python3",
        "python3-httplib2",
        "python3-pip",
        "python3-requests",
        "python3-yaml",
        "rsync",
        "sqlite3",
        "wget",
        "zip",
    ),
    purged="zip",
    # Keeps its settings in /etc/wgetrc, so dpkg keeps a "config-files" entry of it.
    removed="wget",
    # Wheels only, for CPython 3.11 or pure.
    python=(
        "aiohttp==3.8.3",
        "bleach==3.1.0",
        "certifi==2022.9.24",
        "cryptography==38.0.1",
        "Django==4.2",
        "Flask==1.0",
        "GitPython==3.1.24",
        "httplib2==0.18.0",
        "idna==3.3",
        "Jinja2==2.11.2",
        "MarkupSafe==2.1.2",
        "mistune==0.8.4",
        "paramiko==2.4.0",
        "Pillow==9.3.0",
        "Pygments==2.4.0",
        "PyJWT==2.3.0",
        "PyYAML==6.0",
        "requests==2.28.0",
        "setuptools==65.5.0",
        "sqlparse==0.3.1",
        "tornado==6.2",
        "urllib3==1.26.4",
        "Werkzeug==2.2.2",
    ),
    python_removed="mistune",
    python_replaced="Django==4.2.1",
    # mkdirp nests an old minimist; bcrypt bundles its dependencies.
    npm=(
        "@hapi/hoek@8.0.0",
        "axios@0.21.0",
        "bcrypt@3.0.0",
        "dompurify@2.0.0",
        "express@4.16.0",
        "handlebars@4.1.2",
        "jquery@3.4.0",
        "js-yaml@3.12.0",
        "lodash@4.17.15",
        "marked@0.3.6",
        "minimist@1.2.0",
        "mkdirp@0.5.1",
        "moment@2.24.0",
        "underscore@1.9.0",
        "url-parse@1.4.0",
        "ws@7.0.0",
    ),
    npm_removed="marked",
    npm_replaced="lodash@4.17.20",
)


@dataclass(frozen=True, slots=True)
class Image:
    """A built image: `oci` and `docker` are layouts of the same content."""

    directory: Path

    @property
    def oci(self) -> Path:
        """An OCI layout; its index names linux/amd64 and linux/arm64."""
        return self.directory / "oci"

    @property
    def docker(self) -> Path:
        """The same with Docker's schema 2 media types, layers all gzip."""
        return self.directory / "docker"

    @property
    def truth(self) -> Truth:
        """What is installed in linux/amd64."""
        return Truth.load(self.directory / "truth.json")


def real(recipe: Recipe = RECIPE) -> Image:
    """The Debian 12 image with Python and npm packages in old versions, in five layers.

    Built on first use: needs root, debootstrap, npm, and apt, pip and npm as this machine has
    them set up.

    Raises:
        LabError: it could not be built; the text says which step and what it printed.
    """
    return cached(f"image-{recipe.key()}", lambda directory: _build_real(directory, recipe))


def big(size_mb: int = 1024) -> Image:
    """An image with one layer of `size_mb` MB that hardly compresses, over a small one.

    Only `oci` is there. For tests that measure memory.
    """

    def build(directory: Path) -> None:
        store = Store(directory / "oci")
        base = store.files(_debian_files(TINY_DEBIAN), comment="packages")
        done: list[Layer] = []
        # Longer than the 32 KB that deflate looks back, so repeating it stays incompressible.
        block = random.Random(3).randbytes(1 << 20)
        with (
            store.layer("gzip", "data", done, level=1) as file,
            tarfile.open(fileobj=file, mode="w|") as tar,
        ):
            for number in range(max(1, size_mb // 64)):
                info = tarfile.TarInfo(f"data/{number:04}.bin")
                info.size = min(64, size_mb) << 20
                tar.addfile(info, _Repeated(block))
        write_oci(store, [Built([base, *done])])
        Truth(debian=TINY_DEBIAN, layers=_packed([base, *done])).save(directory / "truth.json")

    return cached(f"big-{BIG_REVISION}-{size_mb}", build)


TINY_DEBIAN = (
    DebianPackage("libexpat1", "2.5.0-1+deb12u1", "expat", "2.5.0-1+deb12u1", "amd64"),
    DebianPackage("openssl", "3.0.9-1", "openssl", "3.0.9-1", "amd64"),
    DebianPackage("libssl3", "3.0.9-1+b1", "openssl", "3.0.9-1", "amd64"),
)
TINY_PYTHON = (
    PythonDistribution("Jinja2", "2.11.2", f"{DIST_PACKAGES}/Jinja2-2.11.2.dist-info", 1),
)
TINY_NPM = (NpmPackage("lodash", "4.17.15", f"{APP}/node_modules/lodash", 1),)


def tiny(directory: Path) -> Image:
    """A few kilobytes: three Debian packages, one Python package, one npm package."""
    second = {**_python_files(TINY_PYTHON), **_npm_files(TINY_NPM)}
    truth = Truth(debian=TINY_DEBIAN, python=TINY_PYTHON, npm=TINY_NPM)
    return _small(directory, [_debian_files(TINY_DEBIAN), second], truth)


def unknown_os(directory: Path) -> Image:
    """A distribution without advisories: its packages are listed, nothing can be said."""
    files = _debian_files(TINY_DEBIAN)
    files["etc/os-release"] = b'PRETTY_NAME="Nimbus 7"\nID=nimbus\nVERSION_ID="7"\n'
    return _small(directory, [files], Truth(debian=TINY_DEBIAN))


def broken_db(directory: Path) -> Image:
    """Debian whose package database is noise."""
    files = _debian_files(TINY_DEBIAN)
    files["var/lib/dpkg/status"] = random.Random(5).randbytes(4096)
    return _small(directory, [files], Truth())


def empty(directory: Path) -> Image:
    """One file and no package database at all."""
    return _small(directory, [{"hello": b"hello\n"}], Truth())


def _small(directory: Path, contents: list[dict[str, bytes]], truth: Truth) -> Image:
    image = Image(directory)
    store = Store(image.oci)
    layers = [store.files(files, comment=f"layer {n}") for n, files in enumerate(contents)]
    _write_both(image, store, Built(layers))
    Truth(truth.debian, truth.removed, truth.python, truth.npm, _packed(layers)).save(
        directory / "truth.json"
    )
    return image


def _write_both(image: Image, store: Store, amd64: Built) -> None:
    """Write both layouts, with a small arm64 image beside `amd64`."""
    other = store.files(_debian_files(TINY_DEBIAN), comment="arm64")
    built = [amd64, Built([other], ARM64)]
    write_oci(store, built)
    docker = Store(image.docker)
    link_blobs(store, docker)
    write_docker(docker, built)


def _debian_files(packages: tuple[DebianPackage, ...]) -> dict[str, bytes]:
    stanzas = []
    for package in packages:
        source = f"Source: {package.source}"
        if package.source_version != package.version:
            source += f" ({package.source_version})"
        stanzas.append(
            f"Package: {package.name}\nStatus: install ok installed\n"
            f"Architecture: {package.architecture}\n{source}\nVersion: {package.version}\n"
            f"Maintainer: Nobody <nobody@example.test>\nDescription: sample\n"
        )
    return {
        "etc/os-release": b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'
        b'VERSION_ID="12"\nVERSION_CODENAME=bookworm\n',
        "etc/debian_version": b"12.15\n",
        "var/lib/dpkg/status": "\n".join(stanzas).encode(),
    }


def _python_files(packages: tuple[PythonDistribution, ...]) -> dict[str, bytes]:
    files = {}
    for each in packages:
        metadata = f"Metadata-Version: 2.1\nName: {each.name}\nVersion: {each.version}\n\n"
        files[f"{each.path}/METADATA"] = metadata.encode()
        files[f"{each.path}/INSTALLER"] = b"pip\n"
    return files


def _npm_files(packages: tuple[NpmPackage, ...]) -> dict[str, bytes]:
    return {
        f"{each.path}/package.json": json.dumps(
            {"name": each.name, "version": each.version, "license": "MIT"}
        ).encode()
        for each in packages
    }


def _packed(layers: list[Layer]) -> tuple[PackedLayer, ...]:
    return tuple(
        PackedLayer(each.blob.digest, each.diff_id, each.compression, each.comment)
        for each in layers
    )


class _Repeated:
    """A file without end: one block over and over."""

    def __init__(self, block: bytes) -> None:
        self.block, self.at = block, 0

    def read(self, size: int = -1) -> bytes:
        data = self.block[self.at : self.at + size]
        self.at = (self.at + len(data)) % len(self.block)
        return data


def cached(name: str, build: Callable[[Path], None]) -> Image:
    """The image kept under `name`; `build` makes it in an empty folder when there is none."""
    target = CACHE / name
    if (target / "truth.json").exists():
        return Image(target)
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Whoever holds the lock is the only builder: these are of builds that were killed.
        for left in CACHE.glob("build-*"):
            discard(left)
        if not (target / "truth.json").exists():
            with _scratch() as directory:
                build(directory / "result")
                shutil.rmtree(target, ignore_errors=True)
                (directory / "result").rename(target)
    return Image(target)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder beside the cache: overlayfs needs a real file system, /tmp may be none."""
    directory = Path(tempfile.mkdtemp(prefix="build-", dir=CACHE))
    directory.chmod(0o755)
    try:
        (directory / "result").mkdir()
        yield directory
    finally:
        discard(directory)


def _build_real(directory: Path, recipe: Recipe) -> None:
    if os.geteuid() != 0:
        raise LabError("building the test image needs root: it mounts file systems")
    started = time.monotonic()

    def say(what: str) -> None:
        print(f"test image: {time.monotonic() - started:5.1f} s  {what}", file=sys.stderr)

    tree = Tree(directory.parent / "tree")
    tree.directory.mkdir()
    image = Image(directory)
    store = Store(image.oci)
    layers: list[Layer] = []
    known = Truth()
    for number, (name, step) in enumerate(_STEPS.items()):
        say(name)
        with tree.step() as root:
            step(root, recipe)
        # One zstd layer, so that every reader of layers has to know both.
        layers.append(store.pack(tree.uppers[-1], "zstd" if step is _npm else "gzip", name))
        with tree.merged() as root:
            known = look(root).since(known, number)
    say("manifests")
    _write_both(image, store, Built(layers))
    Truth(known.debian, known.removed, known.python, known.npm, _packed(layers)).save(
        directory / "truth.json"
    )
    say("done")


def _base(root: Path, recipe: Recipe) -> None:
    bootstrap(root, suite=recipe.suite, include=recipe.base)


def _debian(root: Path, recipe: Recipe) -> None:
    with with_network(root):
        chroot(root, "apt-get", "update", "-q")
        chroot(root, "apt-get", "install", "-yq", "--no-install-recommends", *recipe.debian)
    forget_downloads(root)


def _python(root: Path, recipe: Recipe) -> None:
    _pip(root / DIST_PACKAGES, *recipe.python)


def _npm(root: Path, recipe: Recipe) -> None:
    app = root / APP
    app.mkdir(parents=True)
    project = {"name": "shop", "version": "1.0.0", "private": True}
    (app / "package.json").write_text(json.dumps(project))
    _npm_run(app, "install", *recipe.npm)
    (app / "static").mkdir()
    (app / "static/app.js").write_text("console.log('shop')\n")
    # Not installed by anyone: a test's fixture, and a tool that the next layer hides whole.
    _write_npm(app / "test/fixtures/left-pad", "left-pad", "1.0.0")
    _write_npm(root / "opt/tool/node_modules/event-stream", "event-stream", "3.3.6")


def _changes(root: Path, recipe: Recipe) -> None:
    chroot(root, "dpkg", "--purge", recipe.purged)
    chroot(root, "dpkg", "--remove", recipe.removed)
    _uninstall(root / DIST_PACKAGES, recipe.python_removed)
    _uninstall(root / DIST_PACKAGES, recipe.python_replaced.partition("==")[0])
    _pip(root / DIST_PACKAGES, recipe.python_replaced)
    _npm_run(root / APP, "uninstall", recipe.npm_removed)
    _npm_run(root / APP, "install", recipe.npm_replaced)
    # Made again after removal: overlayfs marks both folders opaque.
    shutil.rmtree(root / APP / "static")
    (root / APP / "static").mkdir()
    (root / APP / "static/index.html").write_text("<!doctype html>\n")
    shutil.rmtree(root / "opt/tool")
    _write_npm(root / "opt/tool/node_modules/flatmap-stream", "flatmap-stream", "0.1.1")


_STEPS: dict[str, Callable[[Path, Recipe], None]] = {
    "debootstrap": _base,
    "apt-get install": _debian,
    "pip install": _python,
    "npm install": _npm,
    "changes": _changes,
}


def _pip(target: Path, *requirements: str) -> None:
    """Install wheels for the image's Python, whatever runs here."""
    argv = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(target)]
    argv += ["--no-deps", "--no-compile", "--only-binary=:all:"]
    argv += ["--implementation=cp", "--python-version=3.11", "--abi=cp311", "--abi=abi3"]
    argv += ["--abi=none", "--platform=manylinux2014_x86_64", "--platform=manylinux_2_28_x86_64"]
    run([*argv, *requirements], timeout=600)
    shutil.rmtree(target / "bin", ignore_errors=True)


def _uninstall(folder: Path, name: str) -> None:
    """Remove a distribution's files as pip would, by its RECORD."""
    for distribution in importlib.metadata.distributions(path=[str(folder)]):
        if distribution.metadata["Name"] != name:
            continue
        parents = set()
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file)))
            path.unlink(missing_ok=True)
            parents.add(path.parent)
        for parent in sorted(parents, key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):
                parent.rmdir()
        return
    raise LabError(f"{name} is not in {folder}")


def _npm_run(app: Path, command: str, *words: str) -> None:
    argv = [program("npm"), command, "--ignore-scripts", "--no-audit", "--no-fund"]
    argv += ["--loglevel=error", "--save-exact"]
    run([*argv, *words], cwd=app, timeout=300)


def _write_npm(folder: Path, name: str, version: str) -> None:
    folder.mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": name, "version": version}))


if __name__ == "__main__":
    try:
        print(real().directory)
    except LabError as error:
        sys.exit(str(error))
