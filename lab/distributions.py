"""Images of other distributions, as far as they can be made on a Debian machine.

Each is kept in the project's `.cache/lab/`, with `truth.json`: what its package manager, or the
list it was made from, says is in it.
"""

import base64
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.errors import LabError
from lab.image import Image, cached
from lab.oci import Built, Store, write_oci
from lab.process import run
from lab.rpm import LIBRARY, SPECS, build, install, query, to_berkeley

DISTROLESS = (
    "base-files",
    "ca-certificates",
    "libc6",
    "libexpat1",
    "libpython3-stdlib",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libssl3",
    "libyaml-0-2",
    "netbase",
    "python3-minimal",
    "python3-yaml",
    "python3.11-minimal",
    "tzdata",
    "zlib1g",
)
WITHOUT_SUMS = "netbase"
"""A package of whose files older distroless images say nothing."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A package as its manager lists it. source: of which it was built, or empty."""

    type: str
    name: str
    version: str
    source: str = ""


def truth(image: Image) -> tuple[Listed, ...]:
    """What is in an image of this module."""
    rows = json.loads((image.directory / "truth.json").read_text())
    return tuple(Listed(**row) for row in rows)


def distroless() -> Image:
    """Debian packages unpacked without dpkg: `status.d` alone says what they are.

    Raises:
        LabError: apt could not fetch them.
    """
    return cached(f"distroless-{_digest([*DISTROLESS, '1'])}", _distroless)


def alpine() -> Image:
    """A root file system with apk's database, written by its documented form from `ALPINE`."""
    return cached(f"alpine-{_digest([repr(ALPINE), '1'])}", _alpine)


def rocky(backend: str) -> Image:
    """A root file system that rpm filled. backend: `sqlite` or `bdb`."""
    return cached(f"rocky-{backend}-{_digest([repr(SPECS), '3'])}", lambda d: _rocky(d, backend))


def _distroless(directory: Path) -> None:
    work, root = directory / "work", directory / "root"
    work.mkdir(parents=True)
    (root / "var/lib/dpkg/status.d").mkdir(parents=True)
    run(["apt-get", "download", "-q", *DISTROLESS], cwd=work, timeout=300)
    listed = []
    for file in sorted(work.glob("*.deb")):
        run(["dpkg-deb", "-x", file, root])
        control = work / "control"
        run(["dpkg-deb", "-e", file, control])
        pattern = r"${Package}\t${Version}\t${source:Package}\n"
        fields = run(["dpkg-deb", "-W", f"--showformat={pattern}", file]).stdout.strip()
        name, version, source = fields.split("\t")
        listed.append(Listed("deb", name, version, source))
        place = root / "var/lib/dpkg/status.d" / name
        shutil.copy(control / "control", place)
        if name != WITHOUT_SUMS and (control / "md5sums").exists():
            shutil.copy(control / "md5sums", place.with_name(f"{name}.md5sums"))
        shutil.rmtree(control)
    if len(listed) != len(DISTROLESS):
        raise LabError("apt fetched other packages than asked for")
    shutil.rmtree(work)
    _write(directory, root, "distroless", listed)


def _rocky(directory: Path, backend: str) -> None:
    work, root = directory / "work", directory / "root"
    work.mkdir(parents=True)
    database = install(root, build(SPECS, work))
    packages = query(database)
    if backend == "bdb":
        old = root / "var/lib/rpm"
        old.mkdir(parents=True)
        to_berkeley(database / "rpmdb.sqlite", old / "Packages")
        shutil.rmtree(root / LIBRARY)
    (root / "etc").mkdir()
    (root / "etc/os-release").write_text(
        'NAME="Rocky Linux"\nID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.3"\n'
        'PRETTY_NAME="Rocky Linux 9.3 (Blue Onyx)"\n'
    )
    for name in ("rocky-release", "redhat-release"):
        (root / "etc" / name).write_text("Rocky Linux release 9.3 (Blue Onyx)\n")
    shutil.rmtree(work)
    listed = []
    for each in packages:
        epoch = "" if each.epoch == "0" else f"{each.epoch}:"
        source = each.source.removesuffix(".src.rpm").rsplit("-", 2)[0]
        listed.append(Listed("rpm", each.name, epoch + each.version, source))
    _write(directory, root, "rpm", listed)


@dataclass(frozen=True, slots=True)
class _Apk:
    name: str
    version: str
    origin: str
    files: Mapping[str, str]


_SITE = "usr/lib/python3.12/site-packages"
ALPINE = (
    _Apk("alpine-baselayout", "3.6.5-r0", "alpine-baselayout", {"etc/hostname": "localhost\n"}),
    _Apk("alpine-baselayout-data", "3.6.5-r0", "alpine-baselayout", {"etc/shells": "/bin/sh\n"}),
    _Apk("alpine-keys", "2.4-r1", "alpine-keys", {"etc/apk/keys/a.rsa.pub": "key\n"}),
    _Apk(
        "alpine-release",
        "3.20.3-r0",
        "alpine-base",
        {
            "etc/alpine-release": "3.20.3\n",
            "etc/os-release": 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.20.3\n'
            'PRETTY_NAME="Alpine Linux v3.20"\n',
        },
    ),
    _Apk("apk-tools", "2.14.4-r1", "apk-tools", {"sbin/apk": "#!/bin/sh\n"}),
    _Apk("busybox", "1.36.1-r29", "busybox", {"bin/busybox": "#!/bin/sh\n"}),
    _Apk("busybox-binsh", "1.36.1-r29", "busybox", {"bin/sh": "#!/bin/sh\n"}),
    _Apk("ca-certificates-bundle", "20240705-r0", "ca-certificates", {"etc/ssl/cert.pem": "-\n"}),
    _Apk("libcrypto3", "3.3.2-r0", "openssl", {"usr/lib/libcrypto.so.3": "elf\n"}),
    _Apk("libssl3", "3.3.2-r0", "openssl", {"usr/lib/libssl.so.3": "elf\n"}),
    _Apk("musl", "1.2.5-r0", "musl", {"lib/ld-musl-x86_64.so.1": "elf\n"}),
    _Apk("musl-utils", "1.2.5-r0", "musl", {"usr/bin/ldd": "#!/bin/sh\n"}),
    _Apk("nodejs", "20.15.1-r0", "nodejs", {"usr/bin/node": "#!/bin/sh\n"}),
    _Apk(
        "npm",
        "10.9.1-r0",
        "npm",
        {
            "usr/lib/node_modules/npm/package.json": '{"name": "npm", "version": "10.9.1"}\n',
            "usr/lib/node_modules/npm/node_modules/semver/package.json": '{"name": "semver", '
            '"version": "7.6.3"}\n',
        },
    ),
    _Apk("python3", "3.12.7-r0", "python3", {"usr/bin/python3.12": "#!/bin/sh\n"}),
    _Apk(
        "py3-setuptools",
        "70.3.0-r0",
        "py3-setuptools",
        {
            f"{_SITE}/setuptools-70.3.0-py3.12.egg-info/PKG-INFO": "Metadata-Version: 2.1\n"
            "Name: setuptools\nVersion: 70.3.0\n"
        },
    ),
    _Apk("scanelf", "1.3.7-r2", "pax-utils", {"usr/bin/scanelf": "elf\n"}),
    _Apk("zlib", "1.3.1-r1", "zlib", {"lib/libz.so.1": "elf\n"}),
)
_PIP = {
    f"{_SITE}/flask-2.0.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: Flask\n"
    "Version: 2.0.0\n",
    "srv/app/node_modules/lodash/package.json": '{"name": "lodash", "version": "4.17.15"}\n',
}
"""What nobody's package owns."""


def _alpine(directory: Path) -> None:
    root = directory / "root"
    stanzas = []
    for each in ALPINE:
        lines = [
            f"C:Q1{base64.b64encode(hashlib.sha1(each.name.encode()).digest()).decode()}",
            f"P:{each.name}",
            f"V:{each.version}",
            "A:x86_64",
            "S:1000",
            "I:4096",
            f"T:{each.name} of the lab",
            "U:https://alpinelinux.test/",
            "L:MIT",
            f"o:{each.origin}",
            "m:Nobody <nobody@example.test>",
            "t:1721305519",
            "c:5d5b5b4b7d5f0d0c6d0c3f7f3ba4e1c8f6b2f1a2",
        ]
        for path, text in sorted(each.files.items()):
            folder, _, base = path.rpartition("/")
            digest = base64.b64encode(hashlib.sha1(text.encode()).digest()).decode()
            lines += [f"F:{folder}", f"R:{base}", "a:0:0:755", f"Z:Q1{digest}"]
            _put(root, path, text)
        stanzas.append("\n".join(lines))
    _put(root, "lib/apk/db/installed", "\n\n".join(stanzas) + "\n\n")
    for path, text in _PIP.items():
        _put(root, path, text)
    listed = [Listed("apk", each.name, each.version, each.origin) for each in ALPINE]
    listed += [Listed("pypi", "flask", "2.0.0"), Listed("npm", "lodash", "4.17.15")]
    _write(directory, root, "alpine", listed)


def _put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def _write(directory: Path, root: Path, comment: str, listed: Sequence[Listed]) -> None:
    image = Image(directory)
    store = Store(image.oci)
    write_oci(store, [Built([store.pack(root, "gzip", comment)])], index=False)
    shutil.rmtree(root)
    (directory / "truth.json").write_text(json.dumps([asdict(each) for each in listed], indent=1))


def _digest(parts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]
