"""Databases of strangers: every outcome is a list or a refusal, in bounds."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from garrison.images import FileError
from garrison.packages.readers.apk import read_installed
from garrison.packages.readers.facts import Database
from garrison.packages.readers.rpm import bdb, ndb, read_bdb, read_ndb, read_sqlite, sqlite
from garrison.packages.readers.rpm.header import read_header
from tests.unit.packages.readers.rpm_samples import bdb_of, header, ndb_of, sqlite_of

Blobs = Callable[[bytes], Iterator[bytes]]
Make = Callable[[Sequence[bytes]], bytes]


def _table(data: bytes) -> Iterator[bytes]:
    return sqlite.blobs(data, "Packages")


FORMS: dict[str, tuple[Make, Blobs, Callable[[bytes], Database]]] = {
    "sqlite": (sqlite_of, _table, read_sqlite),
    "ndb": (ndb_of, ndb.blobs, read_ndb),
    "bdb": (bdb_of, bdb.blobs, read_bdb),
    "bdb, big endian": (lambda b: bdb_of(b, order=">"), bdb.blobs, read_bdb),
}
HEADERS = [
    header(
        {
            1000: f"package-{n}",
            1001: f"{n}.1",
            1002: "1.el9",
            1003: [n],
            1022: "x86_64",
            1044: f"source-{n}-{n}.1-1.el9.src.rpm",
            1116: [0] * (n * 10 + 1),
            1117: [f"file{i}.egg-info" for i in range(n * 10)] + ["METADATA"],
            1118: ["/usr/lib/python3/x.dist-info/"],
        }
    )
    for n in range(6)
]
SAMPLES = {name: make(HEADERS) for name, (make, _, _) in FORMS.items()}


@pytest.mark.parametrize("form", sorted(FORMS))
@given(blobs=st.lists(st.binary(min_size=1, max_size=3000), max_size=12))
@settings(max_examples=30, deadline=None)
def test_what_was_put_in_comes_out(form: str, blobs: list[bytes]) -> None:
    make, read, _ = FORMS[form]
    assert list(read(make(blobs))) == blobs


@pytest.mark.parametrize("form", sorted(FORMS))
@given(
    changes=st.lists(
        st.tuples(
            st.integers(0, 1 << 30),
            st.one_of(st.binary(min_size=1, max_size=4), st.sampled_from([b"\0" * 4, b"\xff" * 4])),
        ),
        max_size=6,
    ),
    cut=st.one_of(st.none(), st.integers(0, 20_000)),
)
@settings(max_examples=150, deadline=None)
def test_a_damaged_database_is_a_list_or_a_refusal(
    form: str, changes: list[tuple[int, bytes]], cut: int | None
) -> None:
    """And never more bytes than the file has: what is pointed at twice is refused."""
    data = bytearray(SAMPLES[form])
    for place, value in changes:
        at = place % len(data)
        data[at : at + len(value)] = value
    damaged = bytes(data[:cut])
    _, read, whole = FORMS[form]
    try:
        total = sum(map(len, read(damaged)))
    except FileError:
        total = 0
    assert total <= len(damaged)
    try:
        assert len(whole(damaged).packages) <= len(damaged) // 16
    except FileError:
        return


@given(
    st.one_of(
        st.binary(max_size=300),
        st.builds(
            lambda entries, data: (
                pack(">II", len(entries), len(data))
                + b"".join(pack(">IIII", *entry) for entry in entries)
                + data
            ),
            st.lists(
                st.tuples(
                    st.sampled_from([1000, 1001, 1002, 1003, 1022, 1027, 1029, 1044, 1116, 1117]),
                    st.integers(0, 9),
                    st.integers(0, 200),
                    st.one_of(st.integers(0, 40), st.integers(0, 2**32 - 1)),
                ),
                max_size=8,
            ),
            st.binary(max_size=200),
        ),
    )
)
@settings(max_examples=400, deadline=None)
def test_any_bytes_as_a_header(blob: bytes) -> None:
    try:
        found = read_header(blob)
    except FileError:
        return
    assert found is None or found.package.name.isprintable()


@given(st.sampled_from(HEADERS), st.integers(0, 1 << 20), st.binary(min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_a_damaged_header(blob: bytes, place: int, value: bytes) -> None:
    at = place % len(blob)
    try:
        read_header(blob[:at] + value + blob[at + len(value) :])
    except FileError:
        return


def _many_names_in_a_long_folder() -> bytes:
    """Two megabytes that would become two terabytes of paths."""
    names = ["METADATA"] * 100_000
    return header(
        {
            1000: "a",
            1001: "1",
            1002: "1",
            1116: [0] * len(names),
            1117: list(names),
            1118: ["/" + "x" * 1_000_000 + ".dist-info/"],
        }
    )


def _cells_that_share_bytes() -> bytes:
    """A leaf whose 2,000 cells are all the same row."""
    data = bytearray(sqlite_of([b"x" * 3000], page=4096))
    leaf = 4096
    cell = bytes(data[leaf + 8 : leaf + 10])
    data[leaf + 3 : leaf + 5] = pack(">H", 500)
    data[leaf + 8 : leaf + 8 + 1000] = cell * 500
    return bytes(data)


def _apk_with_a_long_folder() -> bytes:
    return b"P:a\nV:1\nF:" + b"x" * 1_000_000 + b"\n" + b"R:package.json\n" * 50_000


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (_many_names_in_a_long_folder, read_header),
        (_cells_that_share_bytes, read_sqlite),
        (_apk_with_a_long_folder, read_installed),
    ],
)
def test_little_that_says_it_is_much(
    make: Callable[[], bytes], read: Callable[[bytes], object]
) -> None:
    data = make()
    tracemalloc.start()
    try:
        with pytest.raises(FileError):
            read(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 40 * len(data) + (1 << 20)


def test_the_samples_read() -> None:
    """Damage is only a test of something that is whole before it."""
    for form, (_, _, whole) in FORMS.items():
        assert [p.name for p in whole(SAMPLES[form]).packages] == [
            f"package-{n}" for n in range(len(HEADERS))
        ]
