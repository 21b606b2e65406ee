"""SOCKS5 as RFC 1928 and 1929 have it, byte by byte."""

from __future__ import annotations

import pytest

from garrison.egress import Credentials, Endpoint
from garrison.egress.refusal import socks_refusal
from garrison.egress.socks import (
    BadPassword,
    NoMethod,
    NotSocks,
    SocksClosed,
    SocksHandshake,
    SocksRefusal,
    encoded,
)
from garrison.secret import Secret

NAME = Endpoint("a.test", 443)
USER = Credentials("bob", Secret("pü"))
OPENED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"


def test_name_without_credentials() -> None:
    socks = SocksHandshake(NAME, None)
    assert socks.outgoing() == b"\x05\x01\x00"
    socks.feed(b"\x05\x00")
    assert socks.outgoing() == b"\x05\x01\x00\x03\x06a.test\x01\xbb"
    socks.feed(OPENED + b"early")
    assert socks.bound is not None
    assert not socks.bound.signed_in
    assert socks.trailing == b"early"


def test_user_and_password() -> None:
    socks = SocksHandshake(NAME, USER)
    assert socks.outgoing() == b"\x05\x02\x00\x02"
    socks.feed(b"\x05\x02")
    assert socks.outgoing() == b"\x01\x03bob\x03p\xc3\xbc"
    socks.feed(b"\x01\x00")
    assert socks.outgoing().startswith(b"\x05\x01")
    socks.feed(OPENED)
    assert socks.bound is not None
    assert socks.bound.signed_in


@pytest.mark.parametrize(
    ("host", "sent"),
    [
        ("10.1.2.3", b"\x01\x0a\x01\x02\x03"),
        ("2001:db8::1", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01"),
        ("bücher.test", b"\x03\x12xn--bcher-kva.test"),
    ],
)
def test_kinds_of_address(host: str, sent: bytes) -> None:
    socks = SocksHandshake(Endpoint(host, 80), None)
    socks.outgoing()
    socks.feed(b"\x05\x00")
    assert socks.outgoing() == b"\x05\x01\x00" + sent + b"\x00\x50"


@pytest.mark.parametrize(
    "bound", [b"\x01" + bytes(6), b"\x03\x04host\x00\x01", b"\x04" + bytes(18)]
)
def test_bound_address_of_any_kind_is_skipped(bound: bytes) -> None:
    socks = SocksHandshake(NAME, None)
    socks.feed(b"\x05\x00")
    socks.feed(b"\x05\x00\x00" + bound + b"rest")
    assert socks.trailing == b"rest"


def test_refusals_of_the_handshake() -> None:
    with pytest.raises(NoMethod):
        SocksHandshake(NAME, None).feed(b"\x05\xff")
    with pytest.raises(NoMethod):
        SocksHandshake(NAME, None).feed(b"\x05\x02")  # never offered
    with pytest.raises(NotSocks):
        SocksHandshake(NAME, None).feed(b"HTTP/1.1 400 Bad Request\r\n")
    with pytest.raises(SocksClosed):
        SocksHandshake(NAME, None).feed(b"")
    socks = SocksHandshake(NAME, USER)
    socks.feed(b"\x05\x02")
    with pytest.raises(BadPassword):
        socks.feed(b"\x01\x01")


CODES = {
    1: "egress.socks_failed",
    2: "egress.proxy_denied",
    3: "egress.proxy_no_route",
    4: "egress.proxy_cannot_forward",
    5: "egress.proxy_cannot_connect",
    6: "egress.proxy_upstream_timeout",
    7: "egress.socks_no_connect",
    8: "egress.socks_names",
    9: "egress.socks_failed",
}


@pytest.mark.parametrize("reply", CODES)
def test_each_reply_is_told_apart(reply: int) -> None:
    socks = SocksHandshake(NAME, None)
    socks.feed(b"\x05\x00")
    with pytest.raises(SocksRefusal) as refused:
        socks.feed(bytes([5, reply, 0, 1]))  # many send no more than that
    error = socks_refusal(Endpoint("proxy.test", 1080), NAME, refused.value.reply)
    assert error.code == CODES[reply]
    assert error.hint
    assert "proxy.test:1080" in error.message


def test_what_does_not_fit_is_not_sent() -> None:
    for user, password in (("x" * 256, "y"), ("x", "y" * 256), ("x", ""), ("ü" * 128, "y")):
        with pytest.raises(ValueError, match="255"):
            encoded(Credentials(user, Secret(password)))
