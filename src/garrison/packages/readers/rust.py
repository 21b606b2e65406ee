"""Crates of a Rust program that was built by `cargo auditable`.

Source: github.com/rust-secure-code/cargo-auditable, PARSING.md and its JSON schema.
"""

from __future__ import annotations

import zlib
from typing import Any

import msgspec

from garrison.images import FileError
from garrison.packages.readers.facts import Component, checked

MAX_COMPRESSED = 8 << 20
MAX_JSON = 8 << 20
"""As upstream's own readers: a crate takes about 100 bytes."""
MAX_CRATES = 50_000


class _Crate(msgspec.Struct):
    name: Any = None
    version: Any = None
    kind: Any = "runtime"


class _List(msgspec.Struct):
    packages: list[_Crate]


_decoder = msgspec.json.Decoder(_List)


def is_zlib(data: bytes | bytearray) -> bool:
    """Whether `data` begins as a zlib stream does."""
    return data[0] & 0x8F == 8 and (data[0] << 8 | data[1]) % 31 == 0


def is_list(data: bytes) -> bool:
    """Whether `data` is a compressed JSON object, by its beginning."""
    if not is_zlib(data):
        return False
    try:
        return zlib.decompressobj().decompress(data[:64], 1) == b"{"
    except zlib.error:
        return False


def read_list(data: bytes) -> list[Component]:
    """The crates of a `.dep-v0` section. Raises FileError."""
    inflate = zlib.decompressobj()
    try:
        text = inflate.decompress(data, MAX_JSON)
    except zlib.error as error:
        raise FileError(f"its list of crates cannot be decompressed: {error}") from None
    if inflate.unconsumed_tail:
        raise FileError(f"its list of crates has more than {MAX_JSON} bytes")
    if not inflate.eof:
        raise FileError("its list of crates is cut short")
    try:
        found = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise FileError(f"its list of crates is broken: {error}") from None
    if len(found.packages) > MAX_CRATES:
        raise FileError(f"its list of crates has {len(found.packages)} entries")
    return [_component(crate) for crate in found.packages]


def _component(crate: _Crate) -> Component:
    if not isinstance(crate.name, str) or not isinstance(crate.version, str):
        raise FileError("its list of crates has one without name or version")
    name = checked(crate.name, "crate's name")
    version = checked(crate.version, f"version of {name}")
    return Component("cargo", "", name, version, development=crate.kind == "build")
