"""The three databases of rpm list what `rpm -qa` lists; damaged ones are refused."""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from garrison.images import FileError, limits
from garrison.packages import Package
from garrison.packages.readers import assemble, rpm
from garrison.packages.readers.facts import Database
from garrison.packages.readers.rpm import FILES, read_bdb, read_ndb, read_sqlite, read_wal, sqlite
from garrison.packages.readers.rpm.header import read_header
from tests.unit.images.samples import tar_of
from tests.unit.packages.readers import rpm_samples
from tests.unit.packages.readers.rpm_samples import database, expected, header
from tests.unit.packages.readers.test_assemble import assembled, by_name, view_of

ROCKY = b'ID="rocky"\nVERSION_ID="9.3"\nPRETTY_NAME="Rocky Linux 9.3"\n'
SAMPLE: dict[int, Any] = {1000: "bash", 1001: "5.1.8", 1002: "6.el9", 1022: "x86_64"}


@pytest.mark.parametrize("file", rpm_samples.FILES)
def test_each_database_lists_what_rpm_lists(file: str) -> None:
    read = FILES[file]
    found = read(database(file))
    assert found is not None
    assert sorted(found.packages, key=lambda p: (p.name, p.version)) == sorted(
        expected().packages, key=lambda p: (p.name, p.version)
    )
    assert found.owned == expected().owned


def test_the_samples_are_hard_enough() -> None:
    """Values in several pages, trees with inner pages, epochs, modules and files left out."""
    packages = expected().packages
    assert max(len(blob) for blob in sqlite.blobs(database("rpmdb.sqlite"), "Packages")) > 65536
    assert {p.version.partition(":")[0] for p in packages if ":" in p.version} == {"1", "2"}
    assert [p.modularity for p in packages if p.modularity] == ["nodejs:18:9020020230825:rhel9"]
    assert len([p for p in packages if p.name == "kernel-core"]) == 2
    assert "left-out" not in str(expected().owned)
    assert len(expected().owned) == 2


def test_sqlite_rows_are_those_that_sqlite_gives(tmp_path: Path) -> None:
    """Row sizes around every threshold of local and overflowing payloads, in all page sizes."""
    for page in (512, 1024, 4096, 65536):
        file = tmp_path / f"{page}.sqlite"
        connection = sqlite3.connect(file)
        connection.execute(f"PRAGMA page_size={page}")
        connection.execute("CREATE TABLE other(x)")
        connection.execute(
            "CREATE TABLE Packages(hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"
        )
        sizes = [*range(20), *range(page - 60, page + 10), page * 3, 100_000]
        rows = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
        connection.executemany("INSERT INTO Packages(blob) VALUES (?)", [(r,) for r in rows])
        connection.execute("DELETE FROM Packages WHERE hnum % 7 = 0")
        connection.commit()
        listed = [b for (b,) in connection.execute("SELECT blob FROM Packages ORDER BY hnum")]
        connection.close()
        assert list(sqlite.blobs(file.read_bytes(), "Packages")) == listed


def test_a_view_is_never_run(tmp_path: Path) -> None:
    """SQLite itself would run this one for ever."""
    file = tmp_path / "x.sqlite"
    connection = sqlite3.connect(file)
    connection.execute(
        "CREATE VIEW Packages AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n)"
        " SELECT i, x'00' FROM n"
    )
    connection.commit()
    connection.close()
    with pytest.raises(FileError, match="no table"):
        read_sqlite(file.read_bytes())


def test_an_empty_database_has_no_packages(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE Packages(hnum INTEGER PRIMARY KEY, blob BLOB)")
    connection.commit()
    connection.close()
    assert read_sqlite(file.read_bytes()) == Database(())


READERS = [(read_sqlite, "rpmdb.sqlite"), (read_ndb, "Packages.db"), (read_bdb, "Packages")]


@pytest.mark.parametrize(("read", "file"), READERS)
@pytest.mark.parametrize("part", [0, 1, 16, 511, 4095, 4096, 0.5, 0.9, 0.98])
def test_a_cut_database_is_refused(
    read: Callable[[bytes], Database], file: str, part: float
) -> None:
    data = database(file)
    keep = int(part * len(data)) if isinstance(part, float) else part
    try:
        found = read(data[:keep])
    except FileError:
        return
    # SQLite's last pages are of indexes: what is left may hold every package.
    assert file == "rpmdb.sqlite"
    assert len(found.packages) == len(expected().packages)


@pytest.mark.parametrize(("read", "file"), READERS)
def test_noise_is_refused(read: Callable[[bytes], Database], file: str) -> None:
    noise = zlib.compress(bytes(range(256)) * 64) * 100
    for data in (b"", b"\0" * 8192, noise, database(file)[:64] + noise):
        with pytest.raises(FileError):
            read(data)


def test_a_tree_that_goes_round_in_circles(tmp_path: Path) -> None:
    file = tmp_path / "x.sqlite"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA page_size=512")
    connection.execute("CREATE TABLE Packages(hnum INTEGER PRIMARY KEY, blob BLOB)")
    connection.executemany("INSERT INTO Packages(blob) VALUES (?)", [(b"x" * 300,)] * 20)
    connection.commit()
    root = connection.execute("SELECT rootpage FROM sqlite_master").fetchone()[0]
    connection.close()
    data = bytearray(file.read_bytes())
    data[(root - 1) * 512 + 8 : (root - 1) * 512 + 12] = struct.pack(">I", root)
    with pytest.raises(FileError, match="used twice"):
        list(sqlite.blobs(bytes(data), "Packages"))


def test_a_chain_of_berkeley_db_that_goes_round_in_circles() -> None:
    data = bytearray(database("Packages"))
    overflow = [n for n in range(len(data) // 4096) if data[n * 4096 + 25] == 7]
    for number in overflow:
        data[number * 4096 + 16 : number * 4096 + 20] = struct.pack("<I", overflow[0])
    with pytest.raises(FileError, match="circles"):
        read_bdb(bytes(data))


@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (12, struct.pack("<I", 0x053162), "a B-tree"),
        (16, struct.pack("<I", 99), "version 99"),
        (20, struct.pack("<I", 3), "pages of 3"),
        (24, b"\1", "encrypted"),
        (32, struct.pack("<I", 1 << 30), "cut off"),
    ],
)
def test_other_kinds_of_berkeley_db(offset: int, value: bytes, reason: str) -> None:
    data = bytearray(database("Packages"))
    data[offset : offset + len(value)] = value
    with pytest.raises(FileError, match=reason):
        read_bdb(bytes(data))


def test_berkeley_db_of_the_other_byte_order() -> None:
    """Written on a big-endian machine; made here by hand, one page and one short value."""
    blob = header(SAMPLE)
    page = bytearray(4096)
    values = [b"\1\0\0\0\1", b"\1" + blob]
    end, offsets = 4096, []
    for value in values:
        end -= len(value)
        page[end : end + len(value)] = value
        offsets.append(end)
    page[20:22], page[25] = struct.pack(">H", 2), 13
    page[26:30] = struct.pack(">HH", *offsets)
    meta = bytearray(4096)
    meta[12:24], meta[25] = struct.pack(">III", 0x061561, 9, 4096), 8
    meta[32:36] = struct.pack(">I", 1)
    assert [p.name for p in read_bdb(bytes(meta + page)).packages] == ["bash"]


def test_a_bucket_of_berkeley_db_may_be_empty() -> None:
    data = rpm_samples.bdb_of([header(SAMPLE)])
    page = bytearray(512)
    page[25] = 13
    grown = bytearray(data + page)
    grown[32:36] = struct.pack("<I", len(grown) // 512 - 1)
    assert [p.name for p in read_bdb(bytes(grown)).packages] == ["bash"]


def test_ndb_checks_its_sums() -> None:
    data = bytearray(database("Packages.db"))
    at = data.index(b"basesystem")
    data[at] ^= 1
    with pytest.raises(FileError, match="checksum"):
        read_ndb(bytes(data))


def test_ndb_slots_may_not_share_blocks() -> None:
    """A few kilobytes could otherwise say they are gigabytes."""
    data = bytearray(database("Packages.db"))
    slots = [n for n in range(32, 4096, 16) if data[n + 8 : n + 12] != bytes(4)]
    data[slots[1] + 8 : slots[1] + 16] = data[slots[0] + 8 : slots[0] + 16]
    with pytest.raises(FileError, match="overlap"):
        read_ndb(bytes(data))


def test_changes_left_in_the_log_are_said() -> None:
    head = struct.pack(">IIIIII", 0x377F0682, 3007000, 4096, 0, 7, 8) + bytes(8)
    frame = struct.pack(">IIIIII", 2, 3, 7, 8, 0, 0)
    read_wal(b"")
    read_wal(head)
    read_wal(head + struct.pack(">IIIIII", 2, 3, 1, 2, 0, 0))
    with pytest.raises(FileError, match="interrupted"):
        read_wal(head + frame + bytes(4096))


# Headers


def test_a_header_in_full() -> None:
    found = read_header(
        header(
            {
                **SAMPLE,
                1003: [4],
                1044: "bash-src-5.1.8-6.el9.src.rpm",
                5096: "shells:5:1:abc",
                1116: [0, 1, 1],
                1117: ["bash", "package.json", "METADATA"],
                1118: ["/usr/bin/", "/usr/lib/node_modules/a/"],
            }
        )
    )
    assert found is not None
    assert found.package.version == "4:5.1.8-6.el9"
    assert (found.package.source, found.package.source_version) == ("bash-src", "4:5.1.8-6.el9")
    assert found.package.modularity == "shells:5:1:abc"
    assert found.owned == (
        "usr/bin/bash",
        "usr/lib/node_modules/a/package.json",
        "usr/lib/node_modules/a/METADATA",
    )


def test_a_header_of_rpm_3_has_whole_paths() -> None:
    found = read_header(header({**SAMPLE, 1027: ["/usr/bin/x", "/usr/lib/a.egg-info"]}))
    assert found is not None
    assert found.owned == ("usr/bin/x", "usr/lib/a.egg-info")


def test_files_that_were_left_out_are_not_owned() -> None:
    tags = {**SAMPLE, 1116: [0, 0], 1117: ["a.egg-info", "b.egg-info"], 1118: ["/x/"]}
    found = read_header(header({**tags, 1029: b"\2\0"}))
    assert found is not None
    assert found.owned == ("x/b.egg-info",)


@pytest.mark.parametrize("source", ["", "(none)", "odd.src.rpm", "a-b.src.rpm", "--.src.rpm"])
def test_without_a_source_a_package_is_its_own(source: str) -> None:
    found = read_header(header({**SAMPLE, 1044: source}))
    assert found is not None
    assert (found.package.source, found.package.source_version) == ("bash", "5.1.8-6.el9")


def test_keys_are_no_packages() -> None:
    assert read_header(header({**SAMPLE, 1000: "gpg-pubkey"})) is None


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\0" * 8,
        header(SAMPLE)[:-1],
        header(SAMPLE)[:40],
        struct.pack(">II", 1 << 31, 0),
        header({**SAMPLE, 1000: ""}),
        header({**SAMPLE, 1000: "a\x1b[2J"}),
        header({**SAMPLE, 1001: "1\n2"}),
        header({**SAMPLE, 1000: ["bash"]}),
        header({**SAMPLE, 1003: "4"}),
        header({**SAMPLE, 1116: [9], 1117: ["x.egg-info"], 1118: ["/"]}),
        header({**SAMPLE, 1116: [0, 0], 1117: ["x.egg-info"], 1118: ["/"]}),
        header({key: value for key, value in SAMPLE.items() if key != 1002}),
        # A count that the data cannot hold, and an offset outside of it.
        struct.pack(">IIIIII", 1, 8, 1117, 8, 0, 1 << 30) + b"a\0b\0c\0d\0",
        struct.pack(">IIIIII", 1, 4, 1000, 6, 1 << 30, 1) + b"abc\0",
        struct.pack(">IIIIII", 1, 4, 1000, 6, 0, 1) + b"abcd",
        struct.pack(">IIIIII", 1, 4, 1003, 4, 0, 1 << 30) + b"abcd",
    ],
)
def test_a_damaged_header_is_refused(blob: bytes) -> None:
    with pytest.raises(FileError):
        read_header(blob)


# In an image


def test_an_rpm_package_in_full() -> None:
    found = assembled(
        {"etc/os-release": ROCKY, "usr/lib/sysimage/rpm/rpmdb.sqlite": database("rpmdb.sqlite")}
    )
    packages = by_name(found)
    openssl = packages["openssl-libs"]
    assert openssl == Package(
        type="rpm",
        namespace="rocky",
        name="openssl-libs",
        version="1:3.0.7-24.el9",
        purl="pkg:rpm/rocky/openssl-libs@3.0.7-24.el9?arch=x86_64&distro=rocky-9.3&epoch=1",
        path="usr/lib/sysimage/rpm/rpmdb.sqlite",
        arch="x86_64",
        distro=openssl.distro,
        source="openssl",
        source_version="1:3.0.7-24.el9",
        layer="sha256:0",
        diff_id="diff:0",
    )
    assert packages["nodejs"].purl.endswith("&rpmmod=nodejs:18:9020020230825:rhel9")
    assert "rpmmod" not in packages["openssl"].purl
    assert found.unreadable == ()
    assert found.databases == 1


def test_python_and_npm_files_of_rpms_are_owned() -> None:
    found = assembled(
        {
            "var/lib/rpm/Packages": database("Packages"),
            "usr/lib/python3.9/site-packages/requests-2.25.1.dist-info/METADATA": "Name: requests\n"
            "Version: 2.25.1\n",
            "usr/lib/node_modules/semver/package.json": '{"name":"semver","version":"7.3.5"}',
            "usr/lib/python3.9/site-packages/flask.dist-info/METADATA": "Name: flask\nVersion: 1\n",
        }
    )
    packages = by_name(found)
    assert packages["requests"].owner == "python3-requests"
    assert packages["semver"].owner == "nodejs-semver"
    assert packages["flask"].position == "installed"


@pytest.mark.parametrize("link", ["../../usr/lib/sysimage/rpm", "/usr/lib/sysimage/rpm"])
def test_a_database_is_read_once_through_a_link(link: str) -> None:
    tar = tar_of(
        [("usr/lib/sysimage/rpm/Packages.db", database("Packages.db"))],
        links=[("var/lib/rpm", link, b"2")],
    )
    found = assemble(*view_of(tar))
    assert found.databases == 1
    assert len(found.packages) == len(expected().packages)


def test_of_two_databases_in_a_folder_the_newer_kind_counts() -> None:
    """rpm converts and leaves the old one behind."""
    found = assembled(
        {
            "var/lib/rpm/Packages": database("Packages"),
            "var/lib/rpm/rpmdb.sqlite": database("rpmdb.sqlite"),
        }
    )
    assert {p.path for p in found.packages} == {"var/lib/rpm/rpmdb.sqlite"}


def test_a_large_database_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what is read of other files; beyond its own limit it is unreadable, not empty."""
    path = "var/lib/rpm/rpmdb.sqlite"
    monkeypatch.setattr(limits, "MAX_KEPT_FILE", 1000)
    found = assembled({path: database("rpmdb.sqlite")})
    assert len(found.packages) == len(expected().packages)
    monkeypatch.setattr(rpm, "MAX_DATABASE", 1000)
    found = assembled({path: database("rpmdb.sqlite")})
    assert found.packages == ()
    assert found.unreadable == (path,)


def test_red_hat_names_itself_in_package_urls() -> None:
    found = assembled(
        {
            "etc/os-release": 'ID="rhel"\nVERSION_ID="9.3"\n',
            "var/lib/rpm/rpmdb.sqlite": database("rpmdb.sqlite"),
        }
    )
    assert by_name(found)["basesystem"].purl == (
        "pkg:rpm/redhat/basesystem@11-13.el9?arch=noarch&distro=rhel-9.3"
    )


def test_an_interrupted_rpm_makes_the_list_incomplete() -> None:
    head = struct.pack(">IIIIII", 0x377F0682, 3007000, 4096, 0, 7, 8) + bytes(8)
    wal = head + struct.pack(">IIIIII", 2, 3, 7, 8, 0, 0) + bytes(4096)
    found = assembled(
        {
            "var/lib/rpm/rpmdb.sqlite": database("rpmdb.sqlite"),
            "var/lib/rpm/rpmdb.sqlite-wal": wal,
        }
    )
    assert found.unreadable == ("var/lib/rpm/rpmdb.sqlite-wal",)
    assert len(found.packages) == len(expected().packages)
