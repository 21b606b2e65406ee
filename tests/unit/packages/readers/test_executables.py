"""Programs of Go and Rust say the same to us as to `go version -m` and `rust-audit-info`."""

from __future__ import annotations

import io
import json
import lzma
import struct
import zlib
from pathlib import Path

import pytest

from garrison.egress import ProxySettings
from garrison.images import Again, Digest, FileError, LayerContent, LayerInfo, merge, open_image
from garrison.images.read import LayerJob, read_layers
from garrison.images.stream import Guard
from garrison.images.tar import walk
from garrison.packages.readers import PackageFiles, assemble, golang, remembered, rust
from garrison.packages.readers.executable import ExecutableSieve, SectionSieve
from garrison.packages.readers.facts import Component, Contents
from tests.unit.images.samples import reader, tar_of

DATA = Path(__file__).parents[3] / "data" / "executables"
GO = sorted(path.stem for path in DATA.glob("go*.xz"))
RUST = sorted(path.stem for path in DATA.glob("rust*.xz"))


def sample(name: str) -> bytes:
    return lzma.decompress((DATA / f"{name}.xz").read_bytes())


def sifted(data: bytes, chunk: int = 1 << 20) -> object:
    """What comes out when `data` flows in pieces of `chunk` bytes, the way a layer does."""
    sieve = ExecutableSieve(len(data))
    buffer = bytearray(chunk)
    for start in range(0, len(data), chunk):
        piece = data[start : start + chunk]
        buffer[: len(piece)] = piece
        sieve.feed(buffer, 0, len(piece))
    facts = sieve.facts()
    if not isinstance(facts, Again):
        return facts
    second = facts.sieve()
    for start in range(0, len(data), chunk):
        piece = data[start : start + chunk]
        buffer[: len(piece)] = piece
        second.feed(buffer, 0, len(piece))
    return second.facts()


def modules(facts: object) -> set[tuple[str, str]]:
    assert isinstance(facts, Contents), facts
    return {(f"{c.namespace}/{c.name}".lstrip("/"), c.version) for c in facts.packages}


def listed(name: str) -> set[tuple[str, str]]:
    """What `go version -m` printed: replaced modules as what replaces them."""
    first, *lines = (DATA / f"{name}.txt").read_text().splitlines()
    found = [("stdlib", first.rpartition(" ")[2].removeprefix("go"))]
    for line in lines:
        fields = line.strip().split("\t")
        if fields[0] in ("mod", "dep"):
            found.append((fields[1], fields[2]))
        elif fields[0] == "=>":
            before = found.pop()
            found.append((before[0], "") if fields[1].startswith(".") else (fields[1], fields[2]))
        elif fields[0] == "build" and "main.version=v2.3.4" in line:
            main = found[1]
            found[1] = (main[0], "v2.3.4")
    return {(path, "" if version == "(devel)" else version) for path, version in found}


@pytest.mark.parametrize("name", GO)
def test_go_programs_as_go_shows_them(name: str) -> None:
    expected = listed(name)
    assert len(expected) >= 3
    assert modules(sifted(sample(name))) == expected


@pytest.mark.parametrize("name", [*GO, *RUST])
@pytest.mark.parametrize("chunk", [4096, 65536 + 1, 100_003])
def test_pieces_make_no_difference(name: str, chunk: int) -> None:
    data = sample(name)
    assert sifted(data, chunk) == sifted(data)


@pytest.mark.parametrize("name", RUST)
def test_rust_programs_as_rust_shows_them(name: str) -> None:
    expected = {
        Component("cargo", "", p["name"], p["version"], development=p.get("kind") == "build")
        for p in json.loads((DATA / f"{name}.json").read_text())["packages"]
    }
    facts = sifted(sample(name))
    assert isinstance(facts, Contents)
    assert len(expected) == 4
    assert set(facts.packages) == expected


CRATES = {"packages": [{"name": "a", "version": "1.0.0"}, {"name": "b", "version": "2.0.0"}]}
PACKED = zlib.compress(json.dumps(CRATES).encode())
EXPECTED = (Component("cargo", "", "a", "1.0.0"), Component("cargo", "", "b", "2.0.0"))


def elf(
    *segments: tuple[int, int, bytes],
    sections: list[tuple[int, int]] | None = None,
    wide: bool = True,
    big: bool = False,
    name: bytes = b".dep-v0\0",
    note: bytes = b"",
    gap: int = 0,
) -> bytes:
    """An ELF file of segments (flags, address, data) and a table of sections at its end."""
    mark = ">" if big else "<"
    head = bytearray(4096)
    ident = b"\x7fELF" + bytes([2 if wide else 1, 2 if big else 1, 1]) + bytes(9)
    body = b""
    entries = b""
    for flags, address, data in segments:
        where = 4096 + len(body)
        if wide:
            entries += struct.pack(
                mark + "IIQQQQQQ", 1, flags, where, address, 0, len(data), len(data), 16
            )
        else:
            entries += struct.pack(
                mark + "8I", 1, where, address, 0, len(data), len(data), flags, 16
            )
        body += data + bytes(-len(data) % 64)
    body += bytes(gap) + name
    table = b""
    for where, size in sections or []:
        if wide:
            table += struct.pack(mark + "IIQQQQIIQQ", 1, 1, 2, 0, where, size, 0, 0, 1, 0)
        else:
            table += struct.pack(mark + "10I", 1, 1, 2, 0, where, size, 0, 0, 1, 0)
    shoff = 4096 + len(body) if table else 0
    count = len(sections or [])
    if wide:
        fields = struct.pack(
            mark + "HHIQQQIHHHHHH",
            2, 62, 1, 0, 64, shoff, 0, 64, 56, len(segments), 64, count, 0,
        )  # fmt: skip
    else:
        fields = struct.pack(
            mark + "HHIIIIIHHHHHH",
            2, 3, 1, 0, 52, shoff, 0, 52, 32, len(segments), 40, count, 0,
        )  # fmt: skip
    start = len(ident) + len(fields)
    head[: start + len(entries)] = ident + fields + entries
    head[2048 : 2048 + len(note)] = note
    return bytes(head) + body + table


R, RX, RW = 4, 5, 6


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("big", [True, False])
def test_pointers_of_old_go_in_every_byte_order(wide: bool, big: bool) -> None:
    """Go before 1.18: two pointers to strings; the texts come earlier in the file."""
    order: str = "big" if big else "little"
    size = 8 if wide else 4

    def number(value: int) -> bytes:
        return value.to_bytes(size, order)  # type: ignore[arg-type]

    version = b"go1.17.5"
    text = (
        b"path\texample.test/a\nmod\texample.test/a\tv1.0.0\th1:x=\n"
        b"dep\texample.test/b\tv2.0.0\th1:y=\n"
    )
    wrapped = golang._MODULES_BEGIN + text + golang._MODULES_END
    constants = b"go1.99go1." + version + b"more" + bytes(70_000) + wrapped
    at = 0x10000
    data_at = 0x200000
    info = golang.MARKER + bytes([size, int(big)])
    info += number(data_at + 64) + number(data_at + 64 + 2 * size)
    headers = number(at + 10) + number(len(version))
    headers += number(at + 10 + len(version) + 4 + 70_000) + number(len(wrapped))
    data = info.ljust(64, b"\0") + headers + bytes(200)
    program = elf(
        (RX, 0x1000, bytes(100)), (R, at, constants), (RW, data_at, data),
        wide=wide, big=big, note=b"\0\0\0\x04Go\0\0" if big else b"\x04\0\0\0Go\0\0",
    )  # fmt: skip
    expected = {("stdlib", "1.17.5"), ("example.test/a", "v1.0.0"), ("example.test/b", "v2.0.0")}
    for chunk in (1 << 20, 4096, 700):
        assert modules(sifted(program, chunk)) == expected


@pytest.mark.parametrize("wide", [True, False])
@pytest.mark.parametrize("big", [True, False])
@pytest.mark.parametrize("flags", [R, RX, RW])
def test_crates_in_any_segment(wide: bool, big: bool, flags: int) -> None:
    """In data that was not kept, the list is found in a second pass."""
    data = b"x" * 100 + PACKED + b"y" * 100
    program = elf(
        (flags, 0x1000, data), sections=[(4096, 100), (4196, len(PACKED))], wide=wide, big=big
    )
    facts = sifted(program)
    assert isinstance(facts, Contents)
    assert facts.packages == EXPECTED
    assert isinstance(first_pass(program), Contents if flags == R else Again)


def test_crates_behind_everything_loaded() -> None:
    body = (R, 0, b"z" * 64)
    where = 4096 + 64
    program = elf(body, name=PACKED + b"\0.dep-v0\0", sections=[(where, len(PACKED))])
    assert isinstance(first_pass(program), Contents)
    far = elf(body, name=b".dep-v0\0" + bytes(5 << 20) + PACKED,
              sections=[(where + 8 + (5 << 20), len(PACKED))])  # fmt: skip
    assert isinstance(first_pass(far), Again)
    facts = sifted(far)
    assert isinstance(facts, Contents)
    assert facts.packages == EXPECTED


def first_pass(program: bytes) -> object:
    sieve = ExecutableSieve(len(program))
    sieve.feed(bytearray(program), 0, len(program))
    return sieve.facts()


def test_without_the_name_nothing_is_unpacked() -> None:
    """Only `.dep-v0` is such a list: other data may be compressed JSON as well."""
    program = elf((R, 0, PACKED), sections=[(4096, len(PACKED))], name=b".rodata\0")
    assert sifted(program) is None


def pe(*sections: tuple[bytes, int, bytes]) -> bytes:
    """A PE file of sections (name, flags, data)."""
    head = bytearray(1024)
    head[:2] = b"MZ"
    struct.pack_into("<I", head, 0x3C, 128)
    head[128:132] = b"PE\0\0"
    struct.pack_into("<HHIIIHH", head, 132, 0x8664, len(sections), 0, 0, 0, 112, 0)
    struct.pack_into("<H", head, 152, 0x20B)
    struct.pack_into("<Q", head, 176, 0x400000)
    body = b""
    at = 152 + 112
    for name, flags, data in sections:
        raw = data + bytes(-len(data) % 512)
        head[at : at + 8] = name.ljust(8, b"\0")
        struct.pack_into("<4I", head, at + 8, len(data), 4096, len(raw), 1024 + len(body))
        struct.pack_into("<I", head, at + 36, flags)
        at += 40
        body += raw
    return bytes(head) + body


def mach_o(data: bytes) -> bytes:
    """A 64-bit Mach-O file with one section `.dep-v0`."""
    head = struct.pack("<IIIIIIII", 0xFEEDFACF, 0x01000007, 3, 2, 1, 152, 0, 0)
    segment = struct.pack("<II16s4Q4I", 0x19, 152, b"__DATA", 0, 4096, 4096, len(data), 3, 3, 1, 0)
    section = struct.pack("<16s16sQQI7I", b".dep-v0", b"__DATA", 0, len(data), 4096, *[0] * 7)
    return (head + segment + section).ljust(4096, b"\0") + data


def test_crates_in_pe_and_mach_o() -> None:
    windows = pe((b".text", 0x60000020, b"c" * 900), (b".dep-v0", 0x40000040, PACKED))
    for program in (windows, mach_o(PACKED)):
        for chunk in (1 << 20, 700):
            facts = sifted(program, chunk)
            assert isinstance(facts, Contents)
            assert facts.packages == EXPECTED


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go1.22.1", "1.22.1"),
        ("go1.21rc2", "1.21rc2"),
        ("go1.22.1 X:boringcrypto", "1.22.1"),
        ("go1.21.5 (Red Hat 1.21.5-1.el9)", "1.21.5"),
        ("devel go1.23-4f0408a3a2 Tue Jan 2", "devel go1.23-4f0408a3a2 Tue Jan 2"),
        ("", ""),
    ],
)
def test_versions_of_the_toolchain(text: str, version: str) -> None:
    assert golang.toolchain_version(text) == version


@pytest.mark.parametrize(
    ("flags", "version"),
    [
        ('-ldflags="-s -w -X main.version=1.2.3"', "v1.2.3"),
        ("-ldflags=-X main.Version=v1.2.3-rc.1 -X main.commit=abc", "v1.2.3-rc.1"),
        ("-ldflags=-X github.com/a/b/internal/version.Version=0.9.0", "v0.9.0"),
        ("-ldflags=-X main.version=1.2.3 -X b.apiVersion=2.0.0", ""),
        ("-ldflags=-X main.version=dev", ""),
        ("-ldflags=-X main.revision=1.2.3", ""),
        ("", ""),
    ],
)
def test_version_given_to_the_linker(flags: str, version: str) -> None:
    assert golang.linked_version(flags) == version


def test_replacements_and_main_module() -> None:
    found = golang.components(
        "go1.20",
        b"path\tx\nmod\tgithub.com/A/b\tv1.0.0\th1:\n"
        b"dep\tc.test/d\tv1.0.0\n=>\te.test/f/v2\tv2.1.0\th1:\n"
        b"dep\tg.test/h\tv1.0.0\n=>\t/src/h\t\t\n",
    )
    assert [(c.namespace, c.name, c.version) for c in found] == [
        ("", "stdlib", "1.20"),
        ("e.test/f", "v2", "v2.1.0"),
        ("g.test", "h", ""),
        ("github.com/A", "b", "v1.0.0"),
    ]


@pytest.mark.parametrize(
    "data",
    [
        zlib.compress(b"{}"),
        zlib.compress(b'{"packages": [{"name": 1, "version": "2"}]}'),
        zlib.compress(b'{"packages": [{"name": "a\x1b", "version": "2"}]}'),
        zlib.compress(b"[" * 100_000),
        PACKED[:-10],
        zlib.compress(b'{"packages": [' + b" " * (rust.MAX_JSON + 1)),
        b"no zlib at all",
    ],
)
def test_a_broken_list_of_crates_is_said_aloud(data: bytes) -> None:
    with pytest.raises(FileError):
        rust.read_list(data)


INLINE = golang.MARKER + bytes([8, 2]) + bytes(16)


@pytest.mark.parametrize(
    "info",
    [
        INLINE + b"\xff\xff\xff\xff\xff\xff\x01",
        INLINE + b"\x08go1.20.1\xff\xff\x03",
        golang.MARKER + bytes([7, 0]) + bytes(16),
        golang.MARKER + bytes([8, 0]) + (99 << 40).to_bytes(8, "little") * 2,
    ],
)
def test_broken_build_information_is_said_aloud(info: bytes) -> None:
    with pytest.raises(FileError):
        sifted(elf((R, 0, bytes(10)), (RW, 0x10000, info)))


def test_what_only_begins_like_a_program_is_none() -> None:
    for head in (b"\x7fELF", b"\x7fELF\x02\x01", b"MZ\x90\0", b"\xcf\xfa\xed\xfe"):
        for filler in (b"\0", b"\xff", b"A"):
            assert sifted(head.ljust(30_000, filler)) is None


def test_the_second_look_takes_the_list_and_nothing_else() -> None:
    decoy = zlib.compress(b"not json, and long enough to look at")
    data = b"a" * 50 + decoy + PACKED
    sieve = SectionSieve(((0, 50), (50, len(decoy)), (50 + len(decoy), len(PACKED))))
    for byte in range(len(data)):
        sieve.feed(bytearray(data[byte : byte + 1]), 0, 1)
    facts = sieve.facts()
    assert isinstance(facts, Contents)
    assert facts.packages == EXPECTED


def test_programs_are_found_by_what_they_are_in_layers_and_folders(tmp_path: Path) -> None:
    """Whatever they are called; one that a distribution package owns is shown as its."""
    program = sample("go1.26-linux-amd64")
    crates = elf((RX, 0x1000, bytes(20_000) + PACKED), sections=[(24096, len(PACKED))])
    files = {
        "app/server.bin": program,
        "usr/bin/tool": crates,
        "usr/bin/owned": program,
        "app/server.txt": b"\x7fELF" + bytes(20_000),
        "var/lib/dpkg/status": b"Package: o\nStatus: install ok installed\nVersion: 1\n",
        "var/lib/dpkg/info/o.list": b"/usr/bin/owned\n",
    }
    content = walked_twice(tar_of(files.items()))
    assert remembered.decode(remembered.encode(content)) == content
    found = assemble(merge([content]), [LayerInfo("sha256:0", "", 1)])
    expected = {
        ("app/server.bin", "installed", ""),
        ("usr/bin/tool", "installed", ""),
        ("usr/bin/owned", "owned", "o"),
        ("var/lib/dpkg/status", "installed", ""),
    }
    assert {(p.path, p.position, p.owner) for p in found.packages} == expected
    assert found.skipped == ()
    assert "pkg:golang/golang.org/x/text@v0.14.0" in {p.purl for p in found.packages}

    for path, data in files.items():
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    source = open_image(f"rootfs:{tmp_path}", ProxySettings.build())
    image = source.read(PackageFiles())
    again = assemble(merge(image.contents), image.layers)
    assert {(p.purl, p.path, p.owner) for p in again.packages} == {
        (p.purl, p.path, p.owner) for p in found.packages
    }


def test_a_source_that_flows_once_says_what_it_could_not_read() -> None:
    crates = elf((RX, 0x1000, bytes(20_000) + PACKED), sections=[(24096, len(PACKED))])
    tar = tar_of([("usr/bin/tool", crates)])
    found = assemble(merge([walk(reader(tar), PackageFiles())]), [LayerInfo("", "", 1)])
    assert [(s.path, s.code) for s in found.skipped] == [("usr/bin/tool", "packages.read_once")]


def walked_twice(tar: bytes) -> LayerContent:
    """A layer read as from a registry: again where need be."""
    job = LayerJob(lambda: Blob(tar), Digest.of(tar), len(tar))
    (content,) = read_layers([job], PackageFiles(), threads=1, progress=None, guard=Guard(60))
    return content


class Blob(io.BytesIO):
    """Bytes as an `OpenBlob`."""

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        return super().readinto(buffer)
