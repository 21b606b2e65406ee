"""Inventories survive the wire, and nothing else is taken for one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from garrison.packages import Inventory, Layer, OperatingSystem, Package, Position, Skipped, wire
from garrison.packages.wire import InventoryUnreadableError, decode, encode

WORDS = st.text(st.characters(codec="utf-8"), max_size=12)
DIGESTS = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)
POSITIONS: st.SearchStrategy[Position] = st.sampled_from(
    ["installed", "owned", "vendored", "loose"]
)
PACKAGES = st.builds(
    Package,
    type=st.sampled_from(["deb", "pypi", "npm"]),
    namespace=WORDS,
    name=WORDS,
    version=WORDS,
    purl=WORDS,
    path=WORDS,
    position=POSITIONS,
    arch=WORDS,
    distro=WORDS,
    source=WORDS,
    source_version=WORDS,
    owner=WORDS,
    layer=st.one_of(st.just(""), DIGESTS),
    diff_id=st.one_of(st.just(""), DIGESTS),
)
INVENTORIES = st.builds(
    Inventory,
    reference=WORDS,
    digest=DIGESTS,
    platform=WORDS,
    os=st.one_of(st.none(), st.builds(OperatingSystem, WORDS, WORDS, WORDS, WORDS)),
    layers=st.lists(
        st.builds(Layer, DIGESTS, DIGESTS, st.integers(0, 1 << 50), WORDS), max_size=3
    ).map(tuple),
    packages=st.lists(PACKAGES, max_size=4).map(tuple),
    skipped=st.lists(st.builds(Skipped, WORDS, WORDS, WORDS, WORDS), max_size=3).map(tuple),
    unreadable=st.lists(WORDS, max_size=2).map(tuple),
    duration=st.floats(0, 1e6),
    labels=st.dictionaries(WORDS, WORDS, max_size=2),
)


@given(INVENTORIES)
@settings(max_examples=60)
def test_round_trip(inventory: Inventory) -> None:
    assert decode(encode(inventory)) == inventory


@given(st.binary(max_size=300))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(InventoryUnreadableError):
        decode(data)


@given(INVENTORIES, st.data())
@settings(max_examples=60)
def test_cut_bytes_are_refused(inventory: Inventory, draw: st.DataObject) -> None:
    data = encode(inventory)
    with pytest.raises(InventoryUnreadableError):
        decode(data[: draw.draw(st.integers(0, len(data) - 1))])


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    package = Package("npm", "", "a", "1", "pkg:npm/a@1", "x")
    layer = Layer("", "", 1)
    digest = "sha256:" + "0" * 64
    for limit, value, inventory in (
        ("MAX_PACKAGES", 1, Inventory("r", digest, "p", None, (), (package,) * 2)),
        ("MAX_LAYERS", 1, Inventory("r", digest, "p", None, (layer,) * 2, ())),
        ("MAX_TEXT", 10, Inventory("r" * 11, digest, "p", None, (), ())),
        ("MAX_BYTES", 10, Inventory("r", digest, "p", None, (), ())),
    ):
        data = encode(inventory)
        assert decode(data) == inventory
        with monkeypatch.context() as patch:
            patch.setattr(wire, limit, value)
            with pytest.raises(InventoryUnreadableError):
                decode(data)
