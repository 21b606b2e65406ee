"""RPM packages and databases, made by rpm itself; a Berkeley DB by Berkeley DB's own `db_load`.

`python -m lab.rpm DIRECTORY --ndb-rpm RPM` writes the fixtures of tests/data/rpm: RPM is a
program that was built with the ndb and bdb_ro backends, which Debian's is not.
"""

import argparse
import base64
import gzip
import json
import sqlite3
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.process import program, run

LIBRARY = "usr/lib/sysimage/rpm"
SITE = "/usr/lib/python3.9/site-packages"
_QUERY = r"%{NAME}\t%{EPOCHNUM}\t%{VERSION}-%{RELEASE}\t%{ARCH}\t%{SOURCERPM}\t%{MODULARITYLABEL}\n"
_FILES = r"[%{=NAME}\t%{FILESTATES}\t%{FILENAMES}\n]"


@dataclass(frozen=True, slots=True)
class Spec:
    """A package to make. files: path to content. docs: paths that are documentation.

    sub: names of further binary packages of the same source, without files.
    """

    name: str
    version: str
    release: str
    arch: str = "x86_64"
    epoch: str = ""
    module: str = ""
    sub: tuple[str, ...] = ()
    files: Mapping[str, str] | None = None
    docs: tuple[str, ...] = ()


def _metadata(name: str, version: str) -> str:
    return f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\n"


SPECS = (
    Spec("basesystem", "11", "13.el9", "noarch"),
    Spec("openssl", "3.0.7", "24.el9", epoch="1", sub=("openssl-libs",)),
    Spec("tzdata", "2023c", "1.el9", "noarch", epoch="0"),
    Spec("vim", "8.2.2637", "20.el9_1", epoch="2", sub=("vim-minimal", "vim-filesystem")),
    Spec("kernel-core", "5.14.0", "362.8.1.el9_3"),
    Spec("kernel-core", "5.14.0", "362.13.1.el9_3"),
    Spec("rolling", "1.0~rc1^git2.abc", "0.1.el9"),
    Spec("nodejs", "18.17.1", "1.module+el9.2.0+1", module="nodejs:18:9020020230825:rhel9"),
    Spec(
        "python3-requests",
        "2.25.1",
        "6.el9",
        "noarch",
        files={f"{SITE}/requests-2.25.1.dist-info/METADATA": _metadata("requests", "2.25.1")},
    ),
    Spec(
        "nodejs-semver",
        "7.3.5",
        "1.el9",
        "noarch",
        files={
            "/usr/lib/node_modules/semver/package.json": '{"name": "semver", "version": "7.3.5"}\n',
            "/usr/share/doc/nodejs-semver/package.json": '{"name": "left-out", "version": "1"}\n',
        },
        docs=("/usr/share/doc/nodejs-semver/package.json",),
    ),
    # A header of several hundred kilobytes: overflow pages in every kind of database.
    Spec(
        "glibc-langpacks",
        "2.34",
        "60.el9",
        files={f"/usr/lib/locale/l{n // 50:03}/LC_{n:05}": "" for n in range(4000)},
    ),
)


@dataclass(frozen=True, slots=True)
class RpmPackage:
    """A line of `rpm -qa`. owned: its files on the disk, by absolute path."""

    name: str
    epoch: str
    version: str
    arch: str
    source: str
    module: str
    owned: tuple[str, ...] = ()


def build(specs: Sequence[Spec], directory: Path) -> list[Path]:
    """Make the packages of `specs` and return their files."""
    top = directory / "rpmbuild"
    for number, spec in enumerate(specs):
        file = directory / f"{number}.spec"
        file.write_text(_spec(spec))
        argv = [program("rpmbuild"), "-bb", "--quiet", "--target", f"{spec.arch}-linux"]
        for macro in (
            f"_topdir {top}",
            "_build_id_links none",
            "debug_package %{nil}",
            "__find_provides %{nil}",
            "__find_requires %{nil}",
            "__os_install_post %{nil}",
            "_use_internal_dependency_generator 0",
        ):
            argv += ["--define", macro]
        run([*argv, file])
    return sorted(top.glob("RPMS/*/*.rpm"))


def install(root: Path, packages: Sequence[Path], *, rpm: str = "", backend: str = "") -> Path:
    """Install `packages` below `root`, without scripts and documentation; returns the database.

    rpm: the program. backend: as its macro `_db_backend`.
    """
    folder = root / LIBRARY
    folder.mkdir(parents=True, exist_ok=True)
    (root / "var/tmp").mkdir(parents=True, exist_ok=True)
    argv = [rpm or program("rpm"), *_settings(rpm, f"/{LIBRARY}", backend), "--root", str(root)]
    # Two kernels side by side are what `--oldpackage` and `-i` give.
    argv += ["-i", "--nodeps", "--noscripts", "--excludedocs", "--ignorearch", "--force"]
    run([*argv, *packages])
    return folder


def import_key(root: Path, keyring: Path) -> None:
    """Let rpm keep the keys of a binary `keyring` among the packages of `root`."""
    data = keyring.read_bytes()
    text = base64.encodebytes(data).decode()
    checksum = base64.b64encode(_crc24(data).to_bytes(3, "big")).decode()
    begin, end = (f"-----{word} PGP PUBLIC KEY BLOCK-----" for word in ("BEGIN", "END"))
    with tempfile.NamedTemporaryFile("w", suffix=".asc") as file:
        file.write(f"{begin}\n\n{text}={checksum}\n{end}\n")
        file.flush()
        argv = [program("rpm"), *_settings("", f"/{LIBRARY}", ""), "--root", str(root)]
        run([*argv, "--import", file.name])


def _crc24(data: bytes) -> int:
    """Source: RFC 4880, section 6.1."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc


def query(folder: Path, *, rpm: str = "", backend: str = "") -> list[RpmPackage]:
    """What `rpm -qa` says of a database, keys left out."""
    argv = [rpm or program("rpm"), *_settings(rpm, str(folder), backend), "-qa", "--qf"]
    owned: dict[str, list[str]] = {}
    for line in run([*argv, _FILES]).stdout.splitlines():
        name, state, path = line.split("\t")
        if state == "0":
            owned.setdefault(name, []).append(path)
    found = []
    for line in run([*argv, _QUERY]).stdout.splitlines():
        name, epoch, version, arch, source, module = line.split("\t")
        if name != "gpg-pubkey":
            files = tuple(sorted(owned.get(name, ())))
            module = "" if module == "(none)" else module
            found.append(RpmPackage(name, epoch, version, arch, source, module, files))
    return sorted(found, key=lambda package: (package.name, package.version))


def to_berkeley(database: Path, target: Path) -> None:
    """Write the headers of an `rpmdb.sqlite` into a Berkeley DB hash at `target`.

    Source: the dump format of db_load(1); rpm's key is the package's number, and key 0 has the
    greatest one.
    """
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        rows = connection.execute("SELECT hnum, blob FROM Packages ORDER BY hnum").fetchall()
    connection.close()
    lines = ["VERSION=3", "format=bytevalue", "type=hash", "db_pagesize=4096", "HEADER=END"]
    greatest = struct.pack("<I", rows[-1][0])
    for key, value in [(0, greatest), *rows]:
        lines += [f" {struct.pack('<I', key).hex()}", f" {bytes(value).hex()}"]
    run([program("db5.3_load"), target], stdin="\n".join([*lines, "DATA=END", ""]))


def vercmp(a: str, b: str) -> int:
    """How rpm itself orders two versions, without epoch and release."""
    return int(run([program("rpm"), "--eval", f'%{{lua: print(rpm.vercmp("{a}", "{b}"))}}']).stdout)


def _settings(rpm: str, folder: str, backend: str) -> list[str]:
    settings = ["--rcfile", str(Path(rpm).with_name("rpmrc"))] if rpm else []
    macros = [f"_dbpath {folder}", f"_rpmlock_path {folder}/.rpm.lock", "_pkgverify_level none"]
    if backend:
        macros.append(f"_db_backend {backend}")
    for macro in macros:
        settings += ["--define", macro]
    return settings


def _spec(spec: Spec) -> str:
    files = spec.files or {}
    lines = [
        f"Name: {spec.name}",
        f"Version: {spec.version}",
        f"Release: {spec.release}",
        *([f"Epoch: {spec.epoch}"] if spec.epoch else []),
        *([f"ModularityLabel: {spec.module}"] if spec.module else []),
        "Vendor: Rocky Enterprise Software Foundation",
        "Summary: A sample",
        "License: MIT",
        "%description",
        "A sample.",
    ]
    for name in spec.sub:
        lines += [f"%package -n {name}", "Summary: A sample", f"%description -n {name}", "One."]
    lines.append("%install")
    for path, text in files.items():
        place = f"%{{buildroot}}{path}"
        lines += [f"mkdir -p $(dirname {place})", f"printf '%s' '{text}' > {place}"]
    lines.append("%files")
    lines += [f"%doc {path}" if path in spec.docs else path for path in files]
    lines += [f"%files -n {name}" for name in spec.sub]
    return "\n".join([*lines, ""])


def _fixtures(directory: Path, ndb_rpm: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        packages = build(SPECS, place)
        plain = install(place / "sqlite", packages)
        ndb = install(place / "ndb", packages, rpm=ndb_rpm, backend="ndb")
        to_berkeley(plain / "rpmdb.sqlite", place / "Packages")
        expected = query(plain)
        for file, found in (
            (ndb / "Packages.db", query(ndb, rpm=ndb_rpm, backend="ndb")),
            (place / "Packages", query(place, rpm=ndb_rpm, backend="bdb_ro")),
            (plain / "rpmdb.sqlite", expected),
        ):
            if found != expected:
                raise SystemExit(f"rpm lists other packages in {file.name}")
            with gzip.GzipFile(directory / f"{file.name}.gz", "wb", mtime=0) as out:
                out.write(file.read_bytes())
    listed = [{**asdict(each), "owned": _interesting(each.owned)} for each in expected]
    (directory / "expected.json").write_text(json.dumps(listed, indent=1) + "\n")


def _interesting(paths: Sequence[str]) -> list[str]:
    return [path for path in paths if path.endswith(("/METADATA", "/package.json"))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--ndb-rpm", required=True)
    given = parser.parse_args()
    _fixtures(given.directory, given.ndb_rpm)
