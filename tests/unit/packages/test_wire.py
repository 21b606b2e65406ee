"""Inventories on their way from a Defender to the Console."""

from __future__ import annotations

import pytest

from garrison.packages import Inventory, Layer, OperatingSystem, Package, Skipped
from garrison.packages.wire import InventoryUnreadableError, decode, encode

DIGEST = "sha256:" + "a" * 64
INVENTORY = Inventory(
    reference="registry.test/team/shop:1.0",
    digest=DIGEST,
    platform="linux/amd64",
    os=OperatingSystem("debian", "12", "Debian GNU/Linux 12"),
    layers=(Layer(DIGEST, DIGEST, 12, "RUN é"),),
    packages=(Package("deb", "debian", "tar", "1.34", "pkg:deb/debian/tar@1.34", "var/x"),),
    skipped=(Skipped("a/b", DIGEST, "code", "reason"),),
    unreadable=("var/lib/dpkg/status",),
    labels={"a": "b"},
)


def test_what_is_sent_is_read() -> None:
    assert decode(encode(INVENTORY)) == INVENTORY


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        encode(INVENTORY).replace(DIGEST.encode(), b"sha256:zz", 1),
        encode(INVENTORY)[:-1],
    ],
)
def test_anything_else_is_an_error_with_a_code(data: bytes) -> None:
    """A Defender may be hostile: nothing of it ends in a traceback."""
    with pytest.raises(InventoryUnreadableError):
        decode(data)
