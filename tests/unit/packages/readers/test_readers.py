"""Each reader on small real samples and on broken ones."""

from __future__ import annotations

import pytest

from garrison.images import FileError
from garrison.packages import OperatingSystem
from garrison.packages.readers import distro
from garrison.packages.readers.apk import read_installed
from garrison.packages.readers.dpkg import read_list, read_md5sums, read_status
from garrison.packages.readers.facts import DistributionPackage, Named
from garrison.packages.readers.npm import position as npm_position
from garrison.packages.readers.npm import read_package_json, split_scope
from garrison.packages.readers.osrelease import read_os_release
from garrison.packages.readers.python import position as python_position
from garrison.packages.readers.python import read_metadata

STATUS = b"""Package: libexpat1
Status: install ok installed
Priority: optional
Section: libs
Installed-Size: 380
Maintainer: Laszlo Boszormenyi (GCS) <gcs@debian.org>
Architecture: amd64
Multi-Arch: same
Source: expat
Version: 2.5.0-1
Depends: libc6 (>= 2.25)
Description: XML parsing C library - runtime library
 This package contains the runtime, shared library of expat, the C
 library for parsing XML.
 .
 Version: 9.9 in a description is no version
Homepage: https://libexpat.github.io/

Package: libpam-modules
Status: install ok installed
Architecture: amd64
Source: pam (1.5.2-6+deb12u1)
Version: 1.5.2-6+deb12u1+b1
Conffiles:
 /etc/security/limits.conf 0b1967ff9042a716ce6b01cb999aa1f5

Package: wget
Status: deinstall ok config-files
Architecture: amd64
Version: 1.21.3-1

Package: half
Status: install reinstreq half-installed
Architecture: all
Version: 1:2~rc1-3

"""


def test_dpkg_status() -> None:
    assert read_status(STATUS).packages == (
        DistributionPackage("libexpat1", "2.5.0-1", "amd64", "expat", "2.5.0-1"),
        DistributionPackage(
            "libpam-modules", "1.5.2-6+deb12u1+b1", "amd64", "pam", "1.5.2-6+deb12u1"
        ),
        DistributionPackage("half", "1:2~rc1-3", "all", "half", "1:2~rc1-3"),
    )


def test_dpkg_status_of_distroless() -> None:
    """A file for each package, no Status."""
    data = b"Package: tzdata\nVersion: 2024a-0+deb12u1\nArchitecture: all"
    assert read_status(data).packages == (
        DistributionPackage("tzdata", "2024a-0+deb12u1", "all", "tzdata", "2024a-0+deb12u1"),
    )


def test_an_empty_database_has_no_packages() -> None:
    assert read_status(b"").packages == ()
    assert read_status(b"\n\n").packages == ()


@pytest.mark.parametrize(
    "data",
    [
        b"\0\0\0\0",
        b"\x7fELF\x02\x01\x01\0",
        b"noise without fields",
        STATUS + b"Package: cut\nStatus: install ok inst",
        STATUS + b"Package: cut\nStatus: install ok installed\n",
        STATUS + b"Status: install ok installed\nVersion: 1\n",
        b"Package: a\nStatus: install ok installed\nVersion: \n",
        b"Package: a\nStatus: install ok installed\nVersion: 1\x1b[31m\n",
        b"Package: a\nStatus: install ok installed\nVersion: 1\nSource: (\n",
        b"Package: " + b"a" * 600 + b"\nVersion: 1\n",
    ],
)
def test_a_damaged_database_is_not_half_a_database(data: bytes) -> None:
    with pytest.raises(FileError):
        read_status(data)


def test_dpkg_file_lists() -> None:
    data = b"""/.
/usr
/usr/lib/python3/dist-packages/requests
/usr/lib/python3/dist-packages/requests-2.28.1.egg-info
/usr/lib/python3/dist-packages/requests-2.28.1.egg-info/PKG-INFO
/usr/share/nodejs/semver/package.json
/usr/share/doc/METADATA-not
/usr/share/java/a.jar
/usr/bin/go
/usr/lib/libc.so.6
/usr/lib/docker/cli-plugins/docker-buildx
/usr/share/doc/go
"""
    assert read_list(data).paths == (
        "usr/lib/python3/dist-packages/requests-2.28.1.egg-info",
        "usr/lib/python3/dist-packages/requests-2.28.1.egg-info/PKG-INFO",
        "usr/share/nodejs/semver/package.json",
        "usr/share/java/a.jar",
        "usr/bin/go",
        "usr/lib/libc.so.6",
        "usr/lib/docker/cli-plugins/docker-buildx",
    )
    sums = (
        b"0123456789abcdef0123456789abcdef  usr/lib/python3/dist-packages/x.dist-info/METADATA\n"
        b"0123456789abcdef0123456789abcdef  ./usr/share/nodejs/a/package.json\n"
        b"0123456789abcdef0123456789abcdef  usr/bin/x\n"
    )
    assert read_md5sums(sums).paths == (
        "usr/lib/python3/dist-packages/x.dist-info/METADATA",
        "usr/share/nodejs/a/package.json",
        "usr/bin/x",
    )


INSTALLED = b"""C:Q1p9IVkqGDlxWpJyIQpvlqNxFJ3uE=
P:musl
V:1.2.5-r1
A:x86_64
S:407278
I:667648
T:the musl c library (libc) implementation
U:https://musl.libc.org/
L:MIT
o:musl
m:Natanael Copa <ncopa@alpinelinux.org>
t:1721305519
c:5d5b5b4b7d5f0d0c6d0c3f7f3ba4e1c8f6b2f1a2
F:lib
R:ld-musl-x86_64.so.1
a:0:0:755
Z:Q1LtQdkCy4gGBhBEQBBJ0S4BdNLzA=

P:py3-setuptools
V:70.3.0-r0
A:noarch
o:py3-setuptools
F:usr/lib/python3.12/site-packages/setuptools-70.3.0-py3.12.egg-info
R:PKG-INFO
R:top_level.txt

P:libssl3
V:3.3.2-r0
A:x86_64
o:openssl
D:so:libcrypto.so.3

"""


def test_apk_installed() -> None:
    database = read_installed(INSTALLED)
    assert database.packages == (
        DistributionPackage("musl", "1.2.5-r1", "x86_64", "musl", "1.2.5-r1"),
        DistributionPackage("py3-setuptools", "70.3.0-r0", "noarch", "py3-setuptools", "70.3.0-r0"),
        DistributionPackage("libssl3", "3.3.2-r0", "x86_64", "openssl", "3.3.2-r0"),
    )
    path = "usr/lib/python3.12/site-packages/setuptools-70.3.0-py3.12.egg-info/PKG-INFO"
    assert database.owned == {"lib/ld-musl-x86_64.so.1": "musl", path: "py3-setuptools"}


@pytest.mark.parametrize(
    "data", [b"\0", b"noise", b"P:musl\n", b"V:1\n", INSTALLED + b"P:cut\nV", b"P:a\nV:\x07\n"]
)
def test_a_damaged_apk_database(data: bytes) -> None:
    with pytest.raises(FileError):
        read_installed(data)


METADATA = b"""Metadata-Version: 2.1
Name: ruamel.yaml
Version: 0.18.6
Summary: a YAML parser
Classifier: Name: nothing

Name: wrong
Version: 9
"""


@pytest.mark.parametrize(
    ("data", "name", "version"),
    [
        (METADATA, "ruamel.yaml", "0.18.6"),
        (METADATA.replace(b"\n", b"\r\n"), "ruamel.yaml", "0.18.6"),
        (b"name: X\nVERSION : 1!2.0+local\n", "X", "1!2.0+local"),
        (b"Version: 1\nName: caf\xc3\xa9", "café", "1"),
        (b"Metadata-Version: 1.0\nName: a\nVersion: 0.0.0\nVersion: 1", "a", "0.0.0"),
    ],
)
def test_python_metadata(data: bytes, name: str, version: str) -> None:
    assert read_metadata(data) == Named(name, version)


@pytest.mark.parametrize(
    "data",
    [b"", b"\0\xff" * 50, b"Name: x\n", b"Version: 1\n", b"Name: \nVersion: 1", b"\nName: x"],
)
def test_broken_python_metadata(data: bytes) -> None:
    with pytest.raises(FileError):
        read_metadata(data)


@pytest.mark.parametrize(
    ("path", "position"),
    [
        ("usr/lib/python3/dist-packages/a-1.dist-info/METADATA", "installed"),
        ("opt/venv/lib/python3.11/site-packages/a-1.egg-info/PKG-INFO", "installed"),
        ("usr/lib/python3/dist-packages/a-1.egg-info", "installed"),
        ("x/site-packages/a-1-py3.11.egg/EGG-INFO/PKG-INFO", "installed"),
        ("x/site-packages/a/_vendor/b-1.dist-info/METADATA", "vendored"),
        ("x/site-packages/a/tests/site-packages/b-1.dist-info/METADATA", "vendored"),
        ("src/app.egg-info/PKG-INFO", "loose"),
        ("var/task/a-1.dist-info/METADATA", "loose"),
        ("a.egg-info", "loose"),
    ],
)
def test_python_positions(path: str, position: str) -> None:
    assert python_position(path) == position


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b'{"name": "@types/node", "version": "20.1.0"}', Named("@types/node", "20.1.0")),
        (b'\xef\xbb\xbf{"version": "1", "name": "a", "x": [{"y": null}]}', Named("a", "1")),
        (b'{"type": "module"}', None),
        (b'{"name": "a"}', None),
        (b'{"name": "a", "version": 1}', None),
        (b'{"name": "", "version": "1"}', None),
        (b"[]", None),
        (b'"text"', None),
    ],
)
def test_package_json(data: bytes, found: Named | None) -> None:
    assert read_package_json(data) == found


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe{}",
        b"// a comment\n{}",
        b'{"name": "a\\u001b[31m", "version": "1"}',
        b'{"name": "' + b"a" * 600 + b'", "version": "1"}',
        b'{"a":' * 100_000,
    ],
)
def test_broken_package_json(data: bytes) -> None:
    with pytest.raises(FileError):
        read_package_json(data)


@pytest.mark.parametrize(
    ("path", "position"),
    [
        ("app/node_modules/a/package.json", "installed"),
        ("app/node_modules/@s/a/package.json", "installed"),
        ("app/node_modules/a/node_modules/b/package.json", "installed"),
        ("app/node_modules/@s/a/node_modules/@t/b/package.json", "installed"),
        ("app/node_modules/.pnpm/a@1.0.0/node_modules/a/package.json", "installed"),
        ("app/node_modules/a/test/node_modules/b/package.json", "vendored"),
        ("app/node_modules/a/lib/package.json", "loose"),
        ("app/node_modules/@s/package.json", "installed"),
        ("app/node_modules/package.json", "loose"),
        ("app/package.json", "loose"),
        ("package.json", "loose"),
    ],
)
def test_npm_positions(path: str, position: str) -> None:
    assert npm_position(path) == position


def test_scopes() -> None:
    assert split_scope("@types/node") == ("@types", "node")
    assert split_scope("lodash") == ("", "lodash")
    assert split_scope("@odd") == ("", "@odd")


@pytest.mark.parametrize(
    ("data", "release"),
    [
        (b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"', "Debian:12"),
        (b"ID=debian\nVERSION_CODENAME=trixie\n", "Debian:13"),
        (b"ID=debian\nPRETTY_NAME='Debian GNU/Linux sid'\n", ""),
        (b"ID=ubuntu\nVERSION_ID=22.04", "Ubuntu:22.04:LTS"),
        (b"ID=ubuntu\nVERSION_ID='24.10'", "Ubuntu:24.10"),
        (b"ID=ubuntu\nVERSION_ID='23.04'", "Ubuntu:23.04"),
        (b"ID=alpine\nVERSION_ID=3.20.3\n", "Alpine:v3.20"),
        (b"ID=alpine\nVERSION_ID=3.23_alpha20250612\n", "Alpine:edge"),
        (b"# comment\nID=wolfi\nVERSION_ID=20230201\n", "Wolfi"),
        (b"ID=nimbus\nVERSION_ID=7\nID_LIKE=debian\n", ""),
        (b"ID=linuxmint\nVERSION_ID=22\nUBUNTU_CODENAME=noble\n", ""),
    ],
)
def test_releases(data: bytes, release: str) -> None:
    """A release of no known distribution is none: its advisories would be guesses."""
    assert distro(read_os_release(data)) == release


def test_os_release() -> None:
    data = (
        b'ID=Debian\nVERSION_ID="12"\nPRETTY_NAME="A \\"B\\" \x1b[0m"\n'
        b'BAD="unclosed\nVERSION_CODENAME=x\n'
    )
    assert read_os_release(data) == OperatingSystem("debian", "12", 'A "B" [0m', "x")


@pytest.mark.parametrize("data", [b"", b"\0ID=debian", b"VERSION_ID=1", b"ID=\n", b"x" * 70_000])
def test_broken_os_release(data: bytes) -> None:
    with pytest.raises(FileError):
        read_os_release(data)
