"""From files in layers to packages: owners, positions, layers, and what cannot be read."""

from __future__ import annotations

import importlib
import io
import tarfile

import pytest

from garrison.images import FileView, LayerInfo, limits, merge
from garrison.images.tar import walk
from garrison.packages import Package
from garrison.packages.readers import Assembled, PackageFiles, assemble
from tests.unit.images.samples import reader, tar_of

OS = b'ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n'
SITE = "usr/lib/python3/dist-packages"


def stanza(name: str, version: str, **fields: str) -> str:
    more = "".join(f"{key.capitalize()}: {value}\n" for key, value in fields.items())
    return (
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\n"
        f"Version: {version}\n{more}\n"
    )


def view_of(*tars: bytes) -> tuple[FileView, list[LayerInfo]]:
    view = merge(walk(reader(tar), PackageFiles()) for tar in tars)
    return view, [LayerInfo(f"sha256:{n}", f"diff:{n}", 1) for n in range(len(tars))]


def assembled(*layers: dict[str, bytes | str]) -> Assembled:
    tars = [
        tar_of([(n, d.encode() if isinstance(d, str) else d) for n, d in layer.items()])
        for layer in layers
    ]
    return assemble(*view_of(*tars))


def by_name(found: Assembled) -> dict[str, Package]:
    return {package.name: package for package in found.packages}


STATUS = "var/lib/dpkg/status"


def test_debian_package_in_full() -> None:
    found = assembled(
        {"etc/os-release": OS, STATUS: stanza("libexpat1", "2.5.0-1+b1", source="expat (2.5.0-1)")}
    )
    assert found.packages == (
        Package(
            type="deb",
            namespace="debian",
            name="libexpat1",
            version="2.5.0-1+b1",
            purl="pkg:deb/debian/libexpat1@2.5.0-1%2Bb1?arch=amd64&distro=debian-12",
            path=STATUS,
            arch="amd64",
            distro="Debian:12",
            source="expat",
            source_version="2.5.0-1",
            layer="sha256:0",
            diff_id="diff:0",
        ),
    )
    assert found.os is not None
    assert found.os.pretty_name == "Debian 12"


def test_a_package_belongs_to_the_layer_that_brought_its_version() -> None:
    """Every `apt-get install` writes the whole database again."""
    old = stanza("a", "1") + stanza("b", "1") + stanza("c", "1")
    found = assembled(
        {"etc/os-release": OS, STATUS: old},
        {STATUS: old + stanza("d", "1")},
        {STATUS: stanza("a", "1") + stanza("b", "2") + stanza("d", "1")},
        {STATUS: stanza("a", "1") + stanza("b", "2") + stanza("d", "1") + stanza("c", "1")},
    )
    layers = {name: package.layer for name, package in by_name(found).items()}
    assert layers == {"a": "sha256:0", "b": "sha256:2", "c": "sha256:3", "d": "sha256:1"}


def test_a_file_written_again_with_the_same_version_keeps_its_layer() -> None:
    """`RUN chown -R` copies every file up."""
    path = "app/node_modules/a/package.json"
    found = assembled(
        {path: '{"name":"a","version":"1"}'},
        {path: '{"name":"a","version":"2"}'},
        {path: '{"name":"a","version":"2","license":"MIT"}'},
    )
    assert [(p.version, p.layer) for p in found.packages] == [("2", "sha256:1")]


def test_files_of_distribution_packages_are_owned() -> None:
    found = assembled(
        {
            STATUS: stanza("python3-requests", "2.28") + stanza("node-semver", "7"),
            "var/lib/dpkg/info/python3-requests.list": f"/.\n/{SITE}/requests.egg-info/PKG-INFO\n",
            "var/lib/dpkg/info/node-semver:amd64.list": "/usr/share/nodejs/semver/package.json\n",
            f"{SITE}/requests.egg-info/PKG-INFO": "Name: requests\nVersion: 2.28.1\n",
            f"{SITE}/flask.dist-info/METADATA": "Name: Flask\nVersion: 1.0\n",
            "usr/share/nodejs/semver/package.json": '{"name":"semver","version":"7.3.5"}',
        }
    )
    packages = by_name(found)
    assert (packages["requests"].position, packages["requests"].owner) == (
        "owned",
        "python3-requests",
    )
    assert (packages["semver"].position, packages["semver"].owner) == ("owned", "node-semver")
    assert (packages["Flask"].position, packages["Flask"].owner) == ("installed", "")
    assert packages["Flask"].purl == "pkg:pypi/flask@1.0"


def test_distroless() -> None:
    found = assembled(
        {
            "usr/lib/os-release": OS,
            "var/lib/dpkg/status.d/tzdata": "Package: tzdata\nVersion: 2024a\nArchitecture: all\n",
            "var/lib/dpkg/status.d/python3": "Package: python3-x\nVersion: 1\n",
            "var/lib/dpkg/status.d/python3.md5sums": f"{'0' * 32}  {SITE}/x.dist-info/METADATA\n",
            f"{SITE}/x.dist-info/METADATA": "Name: x\nVersion: 1\n",
        }
    )
    packages = by_name(found)
    assert packages["tzdata"].path == "var/lib/dpkg/status.d/tzdata"
    assert packages["tzdata"].distro == "Debian:12"
    assert packages["x"].position == "owned"
    assert found.unreadable == ()


def test_alpine() -> None:
    found = assembled(
        {
            "etc/os-release": "ID=alpine\nVERSION_ID=3.20.1\n",
            "lib/apk/db/installed": "P:libssl3\nV:3.3.2-r0\nA:x86_64\no:openssl\nF:usr/x\n"
            "R:y.egg-info\n\n",
            "usr/x/y.egg-info": "Name: y\nVersion: 2\n",
        }
    )
    packages = by_name(found)
    ssl = packages["libssl3"]
    assert ssl.purl == "pkg:apk/alpine/libssl3@3.3.2-r0?arch=x86_64&distro=alpine-3.20.1"
    assert (ssl.distro, ssl.source, ssl.source_version) == ("Alpine:v3.20", "openssl", "3.3.2-r0")
    assert packages["y"].owner == "libssl3"


@pytest.mark.parametrize(
    ("id", "version", "distro", "purl"),
    [
        ("wolfi", "1", "Wolfi", "wolfi/busybox@1.37.0-r1?arch=x86_64&distro=wolfi-1"),
        ("chainguard", "", "Chainguard", "chainguard/busybox@1.37.0-r1?arch=x86_64"),
    ],
)
@pytest.mark.parametrize("folder", ["lib/apk/db", "usr/lib/apk/db"])
def test_relatives_of_alpine(id: str, version: str, distro: str, purl: str, folder: str) -> None:
    """apk 3 keeps its database in usr/lib where lib is there too."""
    found = assembled(
        {
            "etc/os-release": f"ID={id}\nVERSION_ID={version}\n",
            f"{folder}/installed": "P:busybox\nV:1.37.0-r1\nA:x86_64\no:busybox\n\n",
        }
    )
    [busybox] = found.packages
    assert (busybox.distro, busybox.purl) == (distro, f"pkg:apk/{purl}")


@pytest.mark.parametrize("link", ["usr/lib", "/usr/lib", "./usr/../usr/lib"])
def test_a_merged_usr(link: str) -> None:
    """The list says `/lib/…`, the file is in `usr/lib`."""
    tar = tar_of(
        [
            ("usr/lib/apk/db/installed", b"P:a\nV:1\n\n"),
            ("usr/lib/python3/site-packages/x.dist-info/METADATA", b"Name: x\nVersion: 1\n"),
            ("var/lib/dpkg/info/x.list", b"/lib/python3/site-packages/x.dist-info/METADATA\n"),
        ],
        links=[("lib", link, tarfile.SYMTYPE)],
    )
    found = assemble(*view_of(tar))
    assert by_name(found)["x"].owner == "x"
    assert [p.path for p in found.packages if p.name == "a"] == ["usr/lib/apk/db/installed"]


def test_a_database_behind_a_link() -> None:
    """ostree keeps it in usr/share and links to it."""
    tar = tar_of(
        [
            ("usr/share/dpkg/status", stanza("a", "1").encode()),
            ("usr/share/dpkg/status.d/b", b"Package: b\nVersion: 1\n"),
            ("usr/share/dpkg/info/a.list", b"/x/site-packages/x.dist-info/METADATA\n"),
            ("x/site-packages/x.dist-info/METADATA", b"Name: x\nVersion: 1\n"),
        ],
        links=[("var/lib/dpkg", "../../usr/share/dpkg", tarfile.SYMTYPE)],
    )
    found = assemble(*view_of(tar))
    assert sorted(by_name(found)) == ["a", "b", "x"]
    assert by_name(found)["x"].owner == "a"


def test_os_release_is_a_link() -> None:
    tar = tar_of(
        [("usr/lib/os-release", OS)],
        links=[("etc/os-release", "../usr/lib/os-release", tarfile.SYMTYPE)],
    )
    os = assemble(*view_of(tar)).os
    assert os is not None
    assert os.id == "debian"


def test_no_system() -> None:
    found = assembled({"app/node_modules/a/package.json": '{"name":"a","version":"1"}'})
    assert found.os is None
    assert by_name(found)["a"].distro == ""


def test_scoped_packages() -> None:
    path = "a/node_modules/@types/node/package.json"
    found = assembled({path: '{"name":"@types/node","version":"20.1.0"}'})
    assert found.packages[0].namespace == "@types"
    assert found.packages[0].name == "node"
    assert found.packages[0].purl == "pkg:npm/%40types/node@20.1.0"


def test_a_broken_file_is_skipped_and_the_rest_is_read() -> None:
    found = assembled(
        {"a/package.json": "{broken", "b/package.json": '{"name":"b","version":"1"}'},
        {"c/x.dist-info/METADATA": b"\xff\xfe"},
    )
    assert [(s.path, s.layer, s.code) for s in found.skipped] == [
        ("a/package.json", "sha256:0", "packages.unreadable"),
        ("c/x.dist-info/METADATA", "sha256:1", "packages.unreadable"),
    ]
    assert all(s.reason for s in found.skipped)
    assert found.unreadable == ()
    assert sorted(by_name(found)) == ["b"]


def test_a_broken_file_that_is_gone_is_no_concern() -> None:
    found = assembled({"a/package.json": "{broken"}, {"a/.wh.package.json": b""})
    assert found.skipped == ()


@pytest.mark.parametrize(
    "path",
    [
        STATUS,
        "var/lib/dpkg/status.d/x",
        "lib/apk/db/installed",
        "usr/lib/apk/db/installed",
        "var/lib/rpm/rpmdb.sqlite",
        "var/lib/rpm/Packages",
        "usr/lib/sysimage/rpm/Packages.db",
        "var/lib/pacman/local/ALPM_DB_VERSION",
    ],
)
def test_a_database_that_cannot_be_read(path: str) -> None:
    """Also one of a kind that has no reader: such an image must not look clean."""
    found = assembled({path: b"\0\1\2noise"})
    assert found.unreadable == (path,)
    assert [s.path for s in found.skipped] == [path]


def test_a_database_repaired_by_a_higher_layer() -> None:
    found = assembled({STATUS: b"\0"}, {STATUS: stanza("a", "1")})
    assert found.unreadable == ()
    assert [(p.name, p.layer) for p in found.packages] == [("a", "sha256:1")]


def test_a_database_too_large_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KEPT_FILE", 100)
    found = assembled({STATUS: stanza("a", "1") * 3})
    assert found.unreadable == (STATUS,)


def test_many_broken_files_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    # The package exports a function of the module's name.
    module = importlib.import_module("garrison.packages.readers.assemble")
    monkeypatch.setattr(module, "MAX_SKIPPED", 3)
    found = assembled({f"{n}/package.json": "{" for n in range(10)} | {STATUS: b"\0"})
    assert len(found.skipped) == 4
    assert "8 more" in found.skipped[-1].reason
    assert found.unreadable == (STATUS,)


def test_packages_are_sorted() -> None:
    found = assembled({STATUS: stanza("b", "1") + stanza("a", "2") + stanza("a", "1")})
    assert [(p.name, p.version) for p in found.packages] == [("a", "1"), ("a", "2"), ("b", "1")]


def test_files_that_only_look_like_databases() -> None:
    found = assembled(
        {
            "srv/list/x.list": "/METADATA\n",
            "doc/METADATA": b"\xff",
            "doc/PKG-INFO": b"\xff",
            "x/mypackage.json": b"\xff",
            "srv/Packages": b"\0",
            "srv/os-release": b"\xff",
        }
    )
    assert found.skipped == ()
    assert found.packages == ()


def test_hard_links_to_metadata() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        data = b'{"name":"a","version":"1"}'
        info = tarfile.TarInfo("cache/a/package.json")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("app/node_modules/a/package.json")
        link.type, link.linkname = tarfile.LNKTYPE, "cache/a/package.json"
        tar.addfile(link)
    found = assemble(*view_of(out.getvalue()))
    assert [(p.path, p.position) for p in found.packages] == [
        ("app/node_modules/a/package.json", "installed"),
        ("cache/a/package.json", "loose"),
    ]
