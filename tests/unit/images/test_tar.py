"""The walk over tar headers, against tars of tarfile and of nobody's making."""

from __future__ import annotations

import tarfile

import pytest

from garrison.images import BadLayerError, Broken, TooLargeError, limits
from garrison.images.content import path_hash
from garrison.images.tar import clean_path, pax_records, walk, walk_members
from tests.unit.images.samples import Text, header, octal, padded, reader, tar_of, walked

END = bytes(1024)
CHUNKS = [1 << 20, 4096, 512, 511, 7]


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_files_of_interest_are_read_and_others_stepped_over(format: int, chunk: int) -> None:
    data = tar_of(
        [
            ("a/keep", b"one"),
            ("a/other", b"x" * 3000),
            ("./b/package.json", b"two" * 700),
            ("/c/keep", b"three"),
            ("d/kept.d/any", b"four"),
            ("d/xkeep", b"not this one"),
            ("last", b"y"),
        ],
        format=format,
    )
    content = walked(data, chunk)
    assert content.files == {
        "a/keep": "one",
        "b/package.json": "two" * 700,
        "c/keep": "three",
        "d/kept.d/any": "four",
    }
    assert content.entries == 7


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(format: int) -> None:
    long = "f" * 90 + "/" + "g" * 90 + "/" + "h" * 90 + "/keep"
    content = walked(tar_of([(long, b"x"), ("keep", b"y")], format=format))
    assert content.files == {long: "x", "keep": "y"}


def test_ustar_prefix() -> None:
    long = "f" * 60 + "/" + "g" * 60 + "/keep"
    assert walked(tar_of([(long, b"x")], format=tarfile.USTAR_FORMAT)).files == {long: "x"}


def test_the_gnu_format_has_no_prefix() -> None:
    """There stand times in its place."""
    block = header(b"keep", octal(1), magic=b"ustar  \0", prefix=b"14531412345")
    assert walked(block + padded(b"x") + END).files == {"keep": "x"}


def test_old_tars_without_magic() -> None:
    block = header(b"keep", octal(1), magic=b"")
    assert walked(block + padded(b"x") + END).files == {"keep": "x"}


@pytest.mark.parametrize(
    "size",
    [b"00000000003\0", b"        3   ", b"3\0\0\0\0\0\0\0\0\0\0\0", b"\x80" + b"\0" * 10 + b"\x03"],
)
def test_sizes(size: bytes) -> None:
    data = header(b"keep", size) + padded(b"abc") + header(b"b/keep", octal(1)) + padded(b"z") + END
    assert walked(data).files == {"keep": "abc", "b/keep": "z"}


def test_pax_size_overrides() -> None:
    pax = b"10 size=3\n"
    data = (
        header(b"x", octal(len(pax)), b"x")
        + padded(pax)
        + header(b"keep", octal(0))
        + padded(b"abc")
        + header(b"b/keep", octal(1))
        + padded(b"z")
        + END
    )
    assert walked(data).files == {"keep": "abc", "b/keep": "z"}


def test_pax_path_and_linkpath_apply_to_the_next_entry_alone() -> None:
    path = b"20 path=some/folder\n"
    link = b"27 linkpath=target/of/link\n"
    data = (
        header(b"g", octal(20), b"g")
        + padded(path)
        + header(b"x", octal(len(path + link)), b"x")
        + padded(path + link)
        + header(b"short", octal(0), b"2", b"wrong")
        + header(b"keep", octal(1))
        + padded(b"z")
        + END
    )
    content = walked(data)
    assert content.symlinks == {"some/folder": "target/of/link"}
    assert content.files == {"keep": "z"}


def test_old_gnu_sparse_files_are_stepped_over_with_their_maps() -> None:
    first = bytearray(header(b"keep", octal(512), b"S", magic=b"ustar  \0"))
    first[482] = 1
    more, last = bytearray(512), bytearray(512)
    more[504] = 1
    data = bytes(first) + bytes(more) + bytes(last) + b"D" * 512
    content = walked(data + header(b"b/keep", octal(1)) + padded(b"z") + END)
    assert content.files["b/keep"] == "z"
    assert content.files["keep"] == Broken("images.sparse_file", "stored as a sparse file")


def test_pax_sparse_files_are_known_by_their_real_name() -> None:
    records = b"22 GNU.sparse.major=1\n" + b"26 GNU.sparse.name=a/keep\n"
    data = (
        header(b"x", octal(len(records)), b"x")
        + padded(records)
        + header(b"GNUSparseFile.0/keep", octal(5))
        + padded(b"1\n0\n5")
        + header(b"b/keep", octal(1))
        + padded(b"z")
        + END
    )
    content = walked(data)
    assert isinstance(content.files["a/keep"], Broken)
    assert content.files["b/keep"] == "z"


def test_links_have_no_data_whatever_they_say() -> None:
    data = (
        header(b"l", octal(700), b"2", b"t")
        + header(b"d/", octal(700), b"5")
        + header(b"keep", octal(1))
        + padded(b"z")
        + END
    )
    content = walked(data)
    assert content.files == {"keep": "z"}
    assert content.symlinks == {"l": "t"}
    assert list(content.folders) == [path_hash("d")]


def test_hard_links_share_what_they_name() -> None:
    """Bun links `package.json` from its cache; a link carries no data."""
    data = tar_of(
        [("cache/package.json", b"{}")],
        links=[
            ("app/package.json", "cache/package.json", tarfile.LNKTYPE),
            ("two/package.json", "./app/package.json", tarfile.LNKTYPE),
        ],
    )
    content = walked(data)
    assert content.files == dict.fromkeys(
        ["cache/package.json", "app/package.json", "two/package.json"], "{}"
    )
    assert not content.hard_links


def test_a_hard_link_to_an_unread_file_is_told() -> None:
    data = tar_of(
        [("store/0f", b"{}")],
        links=[
            ("app/package.json", "store/0f", tarfile.LNKTYPE),
            ("b/package.json", "app/package.json", tarfile.LNKTYPE),
        ],
    )
    assert walked(data).hard_links == {
        "app/package.json": "store/0f",
        "b/package.json": "store/0f",
    }


def test_hard_links_in_a_circle() -> None:
    data = tar_of(
        [],
        links=[("a/keep", "b/keep", tarfile.LNKTYPE), ("b/keep", "a/keep", tarfile.LNKTYPE)],
    )
    assert set(walked(data).hard_links) == {"a/keep", "b/keep"}


def test_whiteouts() -> None:
    data = tar_of(
        [
            ("a/.wh.gone", b""),
            (".wh.top", b""),
            ("b/.wh..wh..opq", b""),
            (".wh..wh..opq", b""),
            ("a/.wh..wh.plnk", b""),
            ("a/.wh..", b""),
            ("a/.wh.", b""),
            ("c/.wh.keep", b"data"),
        ]
    )
    content = walked(data)
    assert content.whiteouts == ["a/gone", "top", "c/keep"]
    assert content.opaque == ["b", ""]
    assert content.files == {}


def test_the_last_of_equal_names_counts() -> None:
    data = tar_of([("a/keep", b"old"), ("a/keep", b"new")])
    assert walked(data).files == {"a/keep": "new"}


def test_a_broken_file_does_not_end_the_walk() -> None:
    content = walked(tar_of([("a/keep", b"broken"), ("b/keep", b"fine")]))
    assert content.files == {
        "a/keep": Broken("packages.unreadable", "it is broken"),
        "b/keep": "fine",
    }


def test_a_reader_that_fails_does_not_end_the_walk() -> None:
    class Mistaken(Text):
        def read(self, path: str, data: bytes) -> object | None:
            raise ZeroDivisionError

    content = walk(reader(tar_of([("a/keep", b"x"), ("b/keep", b"x")])), Mistaken())
    assert set(content.files) == {"a/keep", "b/keep"}
    broken = content.files["a/keep"]
    assert isinstance(broken, Broken)
    assert broken.code == "packages.reader_failed"


def test_a_file_without_facts_is_remembered_as_there() -> None:
    assert walked(tar_of([("a/keep", b"")])).files == {"a/keep": None}


def test_a_file_too_large_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_KEPT_FILE", 10)
    content = walked(tar_of([("a/keep", b"x" * 11), ("b/keep", b"fine")]))
    assert content.files["b/keep"] == "fine"
    assert isinstance(content.files["a/keep"], Broken)
    assert content.files["a/keep"].code == "images.too_large"


@pytest.mark.parametrize(
    ("limit", "value"),
    [
        ("MAX_ENTRIES", 2),
        ("MAX_KEPT_FILES", 2),
        ("MAX_KEPT_BYTES", 5),
    ],
)
def test_limits(monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(limits, limit, value)
    with pytest.raises(TooLargeError):
        walked(tar_of([(f"{n}/keep", b"xxx") for n in range(3)]))


def test_limit_of_links(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_LINKS", 2)
    with pytest.raises(TooLargeError):
        walked(tar_of([], links=[(f"l{n}", "t", tarfile.SYMTYPE) for n in range(3)]))


def test_a_header_of_a_gigabyte_is_refused() -> None:
    with pytest.raises(TooLargeError):
        walked(header(b"x", octal(1 << 30), b"x"))


@pytest.mark.parametrize(
    "data",
    [
        b"not a tar at all" * 64,
        header(b"keep", octal(100)),
        header(b"keep", octal(100)) + b"x" * 50,
        header(b"other", octal(5000)) + b"x" * 600,
        header(b"keep") + b"x" * 100,
        header(b"keep", b"9999"),
        header(b"keep", b"\xff" * 12),
        header(b"keep", b"-0000000001\0"),
        header(b"keep", b"\x80" + b"\xff" * 11),
        header(b"x", octal(5), b"x") + padded(b"junk!"),
        header(b"x", octal(10), b"x") + padded(b"99 path=a\n"),
        header(b"x", octal(10), b"x") + padded(b"10 size=a\n"),
    ],
)
def test_broken_tars(data: bytes) -> None:
    with pytest.raises(BadLayerError):
        walked(data)


def test_without_an_end_marker() -> None:
    """Some builders leave it out; engines accept that."""
    assert walked(header(b"keep", octal(1)) + padded(b"z")).files == {"keep": "z"}
    assert walked(b"").files == {}


def test_everything_after_the_end_is_read() -> None:
    """The digest is over all bytes of the stream."""
    source = reader(END + b"trailing" * 1000, 100)
    left = []

    def readinto(buffer: memoryview) -> int:
        count = source(buffer)
        left.append(count)
        return count

    walk(readinto, Text())
    assert sum(left) == 1024 + 8000


@pytest.mark.parametrize(
    ("name", "path"),
    [
        (b"a/b", b"a/b"),
        (b"./a/./b/", b"a/b"),
        (b"/a//b", b"a/b"),
        (b"../../etc/passwd", b"etc/passwd"),
        (b"a/../../b", b"b"),
        (b".", b""),
        (b"/", b""),
    ],
)
def test_paths_stay_below_the_root(name: bytes, path: bytes) -> None:
    assert clean_path(name) == path


def test_pax_records_with_any_bytes() -> None:
    value = b"line\nbreak=\x00\xff"
    record = b"SCHILY.xattr.user.x=" + value + b"\n"
    length = len(record) + 3
    data = str(length).encode() + b" " + record
    assert pax_records(data) == [(b"SCHILY.xattr.user.x", value)]


@pytest.mark.parametrize("chunk", CHUNKS)
def test_members_flow_in_pieces(chunk: int) -> None:
    files = [("one", b"1" * 5000), ("two", b""), ("three", b"3" * 513)]
    found = {}

    def visit(path: str, position: int, size: int, data: object) -> None:
        assert callable(data)
        buffer, whole = bytearray(100), b""
        while count := data(memoryview(buffer)):
            whole += bytes(buffer[:count])
        found[path] = (size, whole)

    links = [("link", "one", tarfile.SYMTYPE), ("hard", "one", tarfile.LNKTYPE)]
    data = tar_of(files, links=links)
    assert walk_members(reader(data, chunk), visit) == {"link": "one", "hard": "one"}
    assert found == {name: (len(text), text) for name, text in files}
