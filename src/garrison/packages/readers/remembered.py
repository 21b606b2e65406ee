"""What readers found in a layer, as bytes: to be remembered instead of read again."""

from __future__ import annotations

from array import array
from typing import Any

import msgspec

from garrison.images import Broken, FileError, LayerContent
from garrison.packages.package import OperatingSystem
from garrison.packages.readers import facts

_KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (Broken, OperatingSystem, *vars(facts).values())
    if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__")
}


class _Layer(msgspec.Struct, array_like=True):
    """`LayerContent`, each fact with the name of its type; hashes as their bytes."""

    files: dict[str, tuple[str, msgspec.Raw]]
    whiteouts: list[str]
    opaque: list[str]
    symlinks: dict[str, str]
    hard_links: dict[str, str]
    folders: bytes
    others: bytes
    entries: int


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(_Layer)
_FACTS: dict[str, msgspec.msgpack.Decoder[Any]] = {}


def encode(content: LayerContent) -> bytes:
    """The layer as bytes, for this version of the readers and this kind of machine."""
    return _ENCODER.encode(
        _Layer(
            {path: _fact(each) for path, each in content.files.items()},
            content.whiteouts,
            content.opaque,
            content.symlinks,
            content.hard_links,
            content.folders.tobytes(),
            content.others.tobytes(),
            content.entries,
        )
    )


def decode(data: bytes) -> LayerContent:
    """The layer in `data`. Raises FileError: no such thing, or of other readers."""
    try:
        layer = _DECODER.decode(data)
        return LayerContent(
            {path: _known(*each) for path, each in layer.files.items()},
            layer.whiteouts,
            layer.opaque,
            layer.symlinks,
            layer.hard_links,
            array("Q", layer.folders),
            array("Q", layer.others),
            layer.entries,
        )
    except (msgspec.MsgspecError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise FileError(f"not a remembered layer: {error}") from None


def _fact(each: object) -> tuple[str, msgspec.Raw]:
    kind = "" if each is None else type(each).__name__
    if kind and _KINDS.get(kind) is not type(each):
        raise TypeError(f"{type(each)} cannot be remembered")
    return kind, msgspec.Raw(_ENCODER.encode(each))


def _known(kind: str, data: msgspec.Raw) -> object | None:
    if not kind:
        return None
    decoder = _FACTS.get(kind)
    if decoder is None:
        decoder = _FACTS[kind] = msgspec.msgpack.Decoder(_KINDS[kind])
    fact: object = decoder.decode(data)
    return fact
