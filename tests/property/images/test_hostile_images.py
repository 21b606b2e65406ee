"""Whatever bytes an image has, the outcome is a result or an error with a code."""

from __future__ import annotations

import contextlib
import gzip
import io
import tarfile
from collections.abc import Callable
from typing import Any

import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from garrison.egress import ProxySettings
from garrison.errors import GarrisonError
from garrison.images import (
    BadReferenceError,
    Digest,
    FileError,
    ImageError,
    ImageReference,
    LayerInfo,
    merge,
    open_image,
)
from garrison.images.challenge import parse_challenges, parse_token
from garrison.images.content import LayerContent
from garrison.images.manifest import parse_config, parse_manifest
from garrison.images.stream import Guard, VerifiedBlob, read_layer
from garrison.images.tar import clean_path, pax_records, walk, walk_members
from garrison.packages.readers import PackageFiles, assemble
from garrison.packages.readers.apk import read_installed
from garrison.packages.readers.dpkg import read_list, read_md5sums, read_status
from garrison.packages.readers.npm import read_package_json
from garrison.packages.readers.osrelease import read_os_release
from garrison.packages.readers.python import read_egg, read_egg_link, read_metadata
from tests.unit.images.samples import Text, header, octal, padded, reader
from tests.unit.images.test_stream import Source

NAMES = st.sampled_from(
    [
        "keep",
        "a/keep",
        "a",
        "a/b/keep",
        "b/package.json",
        "a/.wh.keep",
        ".wh.a",
        "a/.wh..wh..opq",
        "x" * 120 + "/keep",
        "é/keep",
        "../keep",
        "./b/package.json",
        "lib/keep",
        "usr/lib/keep",
        "lib",
    ]
)
TYPES = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)
FORMATS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
ENTRIES = st.lists(st.tuples(NAMES, TYPES, NAMES, st.binary(max_size=700)), max_size=12)


def tar_of(entries: list[tuple[str, bytes, str, bytes]], format: int) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as tar:
        for name, kind, target, data in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            info.size = len(data) if kind == tarfile.REGTYPE else 0
            try:
                tar.addfile(info, io.BytesIO(data))
            except (ValueError, UnicodeEncodeError):
                continue  # what the format cannot hold
    return out.getvalue()


def result(action: Callable[[], Any]) -> object:
    """What comes out, in a form to compare: errors by their code."""
    try:
        found = action()
    except GarrisonError as error:
        return error.code
    if isinstance(found, LayerContent):
        return (found.files, found.whiteouts, found.opaque, found.symlinks, found.hard_links)
    return found


@given(ENTRIES, FORMATS, st.integers(1, 2000))
def test_the_chunking_makes_no_difference(
    entries: list[tuple[str, bytes, str, bytes]], format: int, chunk: int
) -> None:
    data = tar_of(entries, format)
    whole = result(lambda: walk(reader(data), Text()))
    assert not isinstance(whole, str), "a tar by tarfile is a tar"
    assert result(lambda: walk(reader(data, chunk), Text())) == whole


@given(ENTRIES, FORMATS)
def test_files_are_those_tarfile_finds(
    entries: list[tuple[str, bytes, str, bytes]], format: int
) -> None:
    data = tar_of(entries, format)
    expected: dict[str, object] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for info in tar:
            path = clean_path(info.name.encode()).decode()
            base = path.rpartition("/")[2]
            if base not in ("keep", "package.json"):
                continue
            if info.isreg():
                file = tar.extractfile(info)
                assert file is not None
                text = file.read()
                expected[path] = len(text)
    found = walk(reader(data), Quiet()).files
    linked = {clean_path(n.encode()).decode() for n, k, *_ in entries if k == tarfile.LNKTYPE}
    assert {path: size for path, size in found.items() if path not in linked} == {
        path: size for path, size in expected.items() if path not in linked
    }


class Quiet(Text):
    """Keeps that a file is there, whatever is in it."""

    def read(self, path: str, data: bytes) -> object | None:
        return len(data)


@given(st.binary(max_size=3000))
def test_any_bytes_as_a_tar(data: bytes) -> None:
    result(lambda: walk(reader(data), Quiet()))


@given(
    st.lists(
        st.tuples(
            st.binary(max_size=100),
            st.one_of(st.integers(0, 5000).map(octal), st.binary(min_size=12, max_size=12)),
            st.sampled_from([bytes([n]) for n in b"0\x00123457xgLKSDMNVX"]),
            st.binary(max_size=100),
            st.sampled_from([b"ustar\x0000", b"ustar  \0", b""]),
            st.binary(max_size=1200),
        ),
        max_size=8,
    ),
    st.integers(1, 3000),
)
def test_any_headers(
    entries: list[tuple[bytes, bytes, bytes, bytes, bytes, bytes]], chunk: int
) -> None:
    data = b"".join(
        header(name, size, kind, link, magic) + padded(body)
        for name, size, kind, link, magic, body in entries
    )
    whole = result(lambda: walk(reader(data), Quiet()))
    assert result(lambda: walk(reader(data, chunk), Quiet())) == whole

    def visit(path: str, position: int, size: int, data: Any) -> None:
        assert ".." not in path.split("/")
        data(memoryview(bytearray(10)))

    result(lambda: walk_members(reader(data, chunk), visit))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "plain": bytes,
}


@given(ENTRIES, st.sampled_from(sorted(PACKERS)), st.data())
def test_a_changed_blob_is_never_taken_for_the_right_one(
    entries: list[tuple[str, bytes, str, bytes]], packing: str, draw: st.DataObject
) -> None:
    tar = tar_of(entries, tarfile.PAX_FORMAT)
    good = PACKERS[packing](tar)
    position = draw.draw(st.integers(0, len(good) - 1))
    mask = draw.draw(st.integers(1, 255))
    bad = bytearray(good)
    bad[position] ^= mask
    blob = VerifiedBlob(Source(bytes(bad)), Digest.of(good), len(good))
    assert isinstance(result(lambda: read_layer(blob, Quiet(), Guard())), str)


@given(st.binary(max_size=2000), st.sampled_from([b"", b"\x1f\x8b\x08\0", b"\x28\xb5\x2f\xfd"]))
def test_any_bytes_as_a_layer(data: bytes, magic: bytes) -> None:
    blob = VerifiedBlob(Source(magic + data), None, None)
    result(lambda: read_layer(blob, Quiet(), Guard()))


PATHS = st.lists(st.sampled_from(["a", "b", "lib", "usr", "..", ".", "", "keep"]), max_size=6).map(
    "/".join
)


@given(
    st.lists(
        st.builds(
            lambda files, links, gone, opaque, hard: LayerContent(
                files=files, symlinks=links, whiteouts=gone, opaque=opaque, hard_links=hard
            ),
            st.dictionaries(PATHS, st.integers(), max_size=5),
            st.dictionaries(PATHS, PATHS, max_size=5),
            st.lists(PATHS, max_size=3),
            st.lists(PATHS, max_size=2),
            st.dictionaries(PATHS, PATHS, max_size=2),
        ),
        max_size=4,
    ),
    PATHS,
)
def test_any_layers_have_a_view(layers: list[LayerContent], path: str) -> None:
    view = merge(layers)
    view.get(path)
    for entry in view.files.values():
        numbers = [each.layer for each in entry.history()]
        assert numbers == sorted(numbers, reverse=True)


DATABASES = {
    "var/lib/dpkg/status": read_status,
    "var/lib/dpkg/info/a.list": read_list,
    "var/lib/dpkg/status.d/a.md5sums": read_md5sums,
    "lib/apk/db/installed": read_installed,
    "x/site-packages/a.dist-info/METADATA": read_metadata,
    "x/node_modules/a/package.json": read_package_json,
    "x/site-packages/a.egg": read_egg,
    "x/site-packages/a.egg-link": read_egg_link,
    "etc/os-release": read_os_release,
}
LINES = [
    *(b"Package: a\n", b"Version: 1\n", b"Status: install ok installed\n", b"\n", b" x\n"),
    *(b"Source: b (2)\n", b"P:a\n", b"V:1\n", b"F:usr\n", b"R:package.json\n", b"Name: x\n"),
    *(b"ID=debian\n", b'VERSION_ID="12\n', b"/usr/package.json\n", b"\xff", b"\r\n", b"\0"),
    *(b"PK\3\4", b"PK\1\2" + bytes(42), b"PK\5\6" + bytes(18)),
    *(b'{"name":', b'"a",', b'"version":', b"1}"),
]
CONTENT = st.one_of(
    st.binary(max_size=400),
    st.text(max_size=200).map(str.encode),
    st.lists(st.sampled_from(LINES), max_size=12).map(b"".join),
)


@given(st.sampled_from(sorted(DATABASES)), CONTENT)
def test_readers_never_crash(path: str, data: bytes) -> None:
    with contextlib.suppress(FileError):
        PackageFiles().read(path, data)


@given(st.dictionaries(st.sampled_from(sorted(DATABASES)), CONTENT, max_size=5))
def test_any_files_make_an_inventory(files: dict[str, bytes]) -> None:
    """What is broken is named; names and versions are printable."""
    tar = tar_of([(n, tarfile.REGTYPE, "", d) for n, d in files.items()], tarfile.PAX_FORMAT)
    content = walk(reader(tar), PackageFiles())
    found = assemble(merge([content]), [LayerInfo("d", "i", 1)])
    for package in found.packages:
        assert package.name.isprintable()
        assert package.version.isprintable()
        assert package.name
        assert package.version
        assert package.purl.isascii()
    assert set(found.unreadable) <= {skipped.path for skipped in found.skipped}


@given(st.one_of(st.binary(max_size=300), st.text().map(str.encode)))
def test_documents_never_crash(data: bytes) -> None:
    parsers: list[Callable[[bytes], object]] = [
        parse_manifest,
        parse_config,
        lambda data: parse_token(data, 0.0),
        pax_records,
    ]
    for parse in parsers:
        with contextlib.suppress(ImageError):
            parse(data)


@given(st.text(max_size=200))
def test_challenges_never_crash(text: str) -> None:
    for challenge in parse_challenges([text, f'Bearer realm="{text}"']):
        assert challenge.scheme


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    try:
        found = ImageReference.parse(text)
    except BadReferenceError:
        return
    assert ImageReference.parse(str(found)) == found


PART = st.from_regex(r"[a-z0-9]+(?:[._-][a-z0-9]+)*", fullmatch=True)


@given(
    st.sampled_from(["", "docker.io/", "ghcr.io/", "localhost:5000/", "[::1]:1/", "a.b.c/"]),
    st.lists(PART.filter(lambda part: len(part) < 30), min_size=1, max_size=3),
    st.one_of(st.just(""), st.from_regex(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True)),
    st.sampled_from(["", "@sha256:" + "a" * 64, "@sha512:" + "0" * 128]),
)
def test_references_come_back(domain: str, parts: list[str], tag: str, digest: str) -> None:
    # Without a registry, a first part with a dot would be taken for one.
    assume(domain or "." not in parts[0])
    found = ImageReference.parse(f"{domain}{'/'.join(parts)}{tag}{digest}")
    assert ImageReference.parse(str(found)) == found
    assert str(found.digest or "") == digest.removeprefix("@")


@given(st.text(max_size=40))
@settings(max_examples=50)
def test_any_text_opens_or_is_refused(text: str) -> None:
    with contextlib.suppress(ImageError):
        open_image(text, ProxySettings.build())
