"""The images that scans are measured on: a, b and c of `docs/reference/performance.md`.

`python -m bench.images` builds what is missing below the project's `.cache/lab/`, in about ten
minutes: a is Debian's minimal system; b adds Python, 250 packages of PyPI and 600 of npm, and
changes some of it; c adds 50 and 2,400 more, jars, a Go program and removals. Needs root, and
`uv` and `npm` on PATH.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lab.image import CACHE, Image
from lab.oci import Built, Layer, Store, write_oci
from lab.process import program, run
from lab.rootfs import Tree, bootstrap, chroot, discard, forget_downloads, with_network

REVISION = 1
SITE = "usr/local/lib/python3.11/dist-packages"
BEFORE = "2023-06-01"
"""PyPI packages are the newest of that day: old, and consistent with each other."""

PYTHON_B = (
    "django jupyterlab ansible-core scrapy celery flask fastapi uvicorn sqlalchemy alembic "
    "requests aiohttp black mypy pylint pytest sphinx mkdocs-material streamlit dash poetry tox "
    "notebook wagtail"
)
PYTHON_C = (
    "scipy pandas botocore boto3 spacy scikit-learn numpy matplotlib pyarrow dask distributed "
    "nltk gensim opencv-python-headless statsmodels seaborn bokeh"
)
NPM_B = (
    "express@4.16.0 webpack@4.29.0 lodash@4.17.15 axios@0.21.0 react@16.8.0 react-dom@16.8.0 "
    "vue@2.6.0 mocha@6.0.0 eslint@5.16.0 moment@2.24.0 socket.io@2.2.0"
)
NPM_C = "next@12.0.0 react-scripts@4.0.0 @angular/cli@12.0.0 aws-sdk@2.1000.0 gatsby-cli@3.14.0"
JARS = (
    "libcommons-collections3-java libcommons-io-java libcommons-lang3-java libcommons-codec-java "
    "libcommons-logging-java libguava-java libjackson2-core-java libjackson2-databind-java "
    "libjackson2-annotations-java liblog4j2-java libslf4j-java libhttpclient-java "
    "libhttpcore-java libxerces2-java libxalan2-java"
)


def image(name: str) -> Image:
    """Image `a`, `b` or `c`; built on first use. Raises LabError."""
    place = CACHE / f"bench-{REVISION}-{name}"
    if not (place / "oci" / "index.json").exists():
        _build()
    return Image(place)


def _build() -> None:
    """Build all three: each is the one before it and more layers."""
    started = time.monotonic()
    directory = CACHE / f"bench-{REVISION}-build"
    if directory.exists():
        discard(directory)
    directory.mkdir(parents=True)
    try:
        tree = Tree(directory)
        store = Store(directory / "oci")
        layers: list[Layer] = []
        for name, steps in _IMAGES.items():
            for what, step in steps.items():
                print(f"{name}: {time.monotonic() - started:5.0f} s  {what}", file=sys.stderr)
                with tree.step() as root:
                    step(root)
                layers.append(store.pack(tree.uppers[-1], "gzip", what))
            _write(store, layers, CACHE / f"bench-{REVISION}-{name}")
    finally:
        discard(directory)


def _write(store: Store, layers: list[Layer], target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    own = Store(target / "oci")
    for layer in layers:
        own_file = own.folder / layer.blob.file.name
        if not own_file.exists():
            own_file.hardlink_to(layer.blob.file)
    write_oci(own, [Built(layers)], index=False)


def _base(root: Path) -> None:
    bootstrap(root, suite="bookworm", include=["ca-certificates"])


def _apt(*packages: str) -> Callable[[Path], None]:
    def step(root: Path) -> None:
        with with_network(root):
            chroot(root, "apt-get", "update", "-q")
            chroot(root, "apt-get", "install", "-yq", "--no-install-recommends", *packages)
        forget_downloads(root)

    return step


def _pip(*packages: str) -> Callable[[Path], None]:
    def step(root: Path) -> None:
        argv = [program("uv"), "pip", "install", "--quiet", "--target", str(root / SITE)]
        argv += ["--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_28"]
        argv += ["--exclude-newer", BEFORE, "--only-binary", ":all:", "--link-mode", "copy"]
        run([*argv, *packages], timeout=1200)

    return step


def _npm(folder: str, packages: list[str]) -> Callable[[Path], None]:
    def step(root: Path) -> None:
        app = root / folder
        app.mkdir(parents=True, exist_ok=True)
        (app / "package.json").write_text(json.dumps({"name": "app", "version": "1.0.0"}))
        argv = [program("npm"), "install", "--ignore-scripts", "--no-audit", "--no-fund"]
        run([*argv, "--legacy-peer-deps", "--loglevel=error", *packages], cwd=app, timeout=1200)

    return step


def _changes(root: Path) -> None:
    chroot(root, "dpkg", "--purge", "--force-depends", "git")
    _pip("django==4.2", "--upgrade")(root)
    shutil.rmtree(root / "srv/app/node_modules/moment")
    shutil.rmtree(root / "srv/app/node_modules/vue")
    vue = root / "srv/app/node_modules/vue"
    vue.mkdir()
    (vue / "package.json").write_text('{"name": "vue", "version": "2.7.0"}')


def _jars(root: Path) -> None:
    """Jars out of Debian's packages, where a Java program would keep them, and a Go program."""
    folder = root.parent / "jars"
    folder.mkdir(exist_ok=True)
    (root / "opt/java").mkdir(parents=True)
    for package in (*JARS.split(), "docker-registry"):
        run(["apt-get", "download", package], cwd=folder, timeout=120)
    for file in folder.glob("*.deb"):
        run(["dpkg-deb", "-x", str(file), str(folder / "out")])
    for jar in sorted((folder / "out").rglob("*.jar")):
        if not jar.is_symlink():
            shutil.copy2(jar, root / "opt/java")
    (root / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    shutil.copy2(folder / "out/usr/bin/docker-registry", root / "usr/local/bin")
    shutil.rmtree(folder)


def _removals(root: Path) -> None:
    chroot(root, "dpkg", "--purge", "--force-depends", "curl")
    shutil.rmtree(root / "srv/web/node_modules/aws-sdk")
    status = root / "var/lib/dpkg/status.d"
    status.mkdir(parents=True)
    (status / "tool").write_text(
        "Package: tool\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0-1\n"
        "Maintainer: Nobody <nobody@example.test>\nDescription: as in distroless images\n"
    )


_IMAGES: dict[str, dict[str, Callable[[Path], None]]] = {
    "a": {"debootstrap": _base},
    "b": {
        "apt": _apt(
            *("python3", "python3-pip", "python3-yaml", "python3-requests"),
            *("python3-cryptography", "git", "curl"),
        ),
        "PyPI": _pip(*PYTHON_B.split()),
        "npm": _npm("srv/app", NPM_B.split()),
        "changes": _changes,
    },
    "c": {
        "more PyPI": _pip(*PYTHON_B.split(), *PYTHON_C.split()),
        "more npm": _npm("srv/web", NPM_C.split()),
        "jars and Go": _jars,
        "removals": _removals,
    },
}


if __name__ == "__main__":
    for each in "abc":
        print(image(each).directory)
