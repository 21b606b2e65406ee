"""Answers of strangers, as bytes."""

from __future__ import annotations

import pytest

from garrison.egress import Answer, Credentials, Endpoint, Target
from garrison.egress.errors import ProxyAnswerError
from garrison.egress.handshake import (
    AnswerFault,
    BadHttp,
    ClosedEarly,
    Exchange,
    HeadTooLarge,
    NotHttp,
    connect_exchange,
    get_exchange,
    is_proxys_own,
    offered_schemes,
    page_title,
    service_of,
    upgrade_exchange,
)
from garrison.egress.plan import accept_key
from garrison.egress.refusal import refusal
from garrison.secret import Secret

DESTINATION, PROXY = Endpoint("a.test", 443), Endpoint("proxy.test", 3128)


def connect() -> Exchange:
    return connect_exchange(DESTINATION, None)


def test_connect_request() -> None:
    basic = Credentials("agent", Secret("pw")).basic()
    assert connect_exchange(Endpoint("fd00::1", 8443), basic).outgoing == (
        b"CONNECT [fd00::1]:8443 HTTP/1.1\r\n"
        b"Host: [fd00::1]:8443\r\nUser-Agent: garrison\r\n"
        b"Proxy-Authorization: Basic YWdlbnQ6cHc=\r\n\r\n"
    )


def test_plain_request_takes_credentials_only_in_absolute_form() -> None:
    basic = Credentials("agent", Secret("pw")).basic()
    target = Target.parse("http://a.test/x")
    absolute = get_exchange(target, absolute=True, authorization=basic).outgoing
    assert absolute.startswith(b"GET http://a.test/x HTTP/1.1\r\nHost: a.test\r\n")
    assert b"Proxy-Authorization" in absolute
    origin = get_exchange(target, absolute=False, authorization=basic).outgoing
    assert origin.startswith(b"GET /x HTTP/1.1\r\nHost: a.test\r\n")
    assert b"Proxy-Authorization" not in origin


def test_upgrade_request() -> None:
    sent = upgrade_exchange(Target.parse("wss://a.test:1/x"), "a2V5").outgoing
    assert sent.startswith(b"GET /x HTTP/1.1\r\nHost: a.test:1\r\n")
    assert b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a2V5" in sent


def test_accept_key_of_the_rfc() -> None:
    """RFC 6455 section 1.3."""
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_tunnel_and_what_follows() -> None:
    exchange = connect()
    exchange.feed(b"HTTP/1.1 200 OK\r\n\r\n\x16\x03")
    assert exchange.complete
    assert exchange.answer == Answer(200, "OK")
    assert exchange.trailing == b"\x16\x03"


def test_refusal_keeps_what_explains_it() -> None:
    exchange = connect()
    exchange.feed(
        b"HTTP/1.1 403 Forbidden\r\nServer: squid/5.7\r\nX-Squid-Error: ERR_ACCESS_DENIED 0\r\n"
        b"Set-Cookie: secret=1\r\nContent-Length: 9000\r\n\r\n" + b"x" * 9000
    )
    assert exchange.complete
    assert exchange.answer is not None
    assert set(exchange.answer.headers) == {"server", "x-squid-error"}
    assert exchange.answer.body == "x" * 4096


def test_echoed_credentials_are_removed() -> None:
    credentials = Credentials("agent", Secret("canary"))
    exchange = connect_exchange(DESTINATION, credentials.basic(), credentials.scrub)
    token = credentials.basic().encode()
    exchange.feed(
        b"HTTP/1.1 407 canary\r\nServer: " + token + b"\r\nLocation: http://x/?canary\r\n\r\n"
        b"you sent canary and " + token
    )
    exchange.feed(b"")
    assert exchange.answer is not None
    assert "canary" not in str(exchange.answer)
    assert token.decode()[6:] not in str(exchange.answer)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"", ClosedEarly),
        (b"HTT", ClosedEarly),
        (b"HTTP/1.1 200 OK\r\nX: y", ClosedEarly),
        (b"SSH-2.0-OpenSSH_9.2\r\n", NotHttp),
        (b"\x15\x03\x01\x00\x02\x02\x46", NotHttp),
        (b"<html>", NotHttp),
        (b"\x05\x00", NotHttp),
        (b"HTTP/9 wat\r\n\r\n", BadHttp),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", BadHttp),
        (b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 70_000, HeadTooLarge),
    ],
)
def test_what_is_no_answer(data: bytes, fault: type[AnswerFault]) -> None:
    def feed(exchange: Exchange) -> None:
        exchange.feed(data)
        exchange.feed(b"")

    with pytest.raises(fault):
        feed(connect())


@pytest.mark.parametrize(
    ("first", "service"),
    [
        (b"", None),
        (b"H", None),
        (b"HTTP", None),
        (b"HTTP/", "http"),
        (b"HTTX", "other"),
        (b"\x16", None),
        (b"\x16\x03", "tls"),
        (b"\x15\x03\x03", "tls"),
        (b"\x16\x09", "other"),
        (b"SS", None),
        (b"SSH-", "ssh"),
        (b"220 ftp", "other"),
    ],
)
def test_service_by_first_bytes(first: bytes, service: str | None) -> None:
    assert service_of(first) == service


def test_banner_is_printable() -> None:
    with pytest.raises(NotHttp) as fault:
        connect().feed(b"SSH-2.0-x\x1b[31m\x00" + b"y" * 200)
    assert fault.value.banner.isprintable()
    assert len(fault.value.banner) <= 80


@pytest.mark.parametrize(
    ("header", "schemes"),
    [
        ('Basic realm="x"', ("Basic",)),
        ('Negotiate, NTLM, Basic realm="a, Digest b", charset="UTF-8"',
         ("Negotiate", "NTLM", "Basic")),
        ('Digest realm="x", nonce="y", qop="auth"', ("Digest",)),
        ('basic realm="x"', ("Basic",)),
        ('Negotiate oRQwEqADCgEBoQsGCSqGSIb3EgECAg==', ("Negotiate",)),
        ("", ()),
    ],
)  # fmt: skip
def test_offered_schemes(header: str, schemes: tuple[str, ...]) -> None:
    assert offered_schemes(Answer(407, headers={"proxy-authenticate": header})) == schemes


@pytest.mark.parametrize(
    ("answer", "own"),
    [
        (Answer(407), True),
        (Answer(200, headers={"x-squid-error": "ERR 0"}), False),
        (Answer(403, headers={"x-squid-error": "ERR_ACCESS_DENIED 0"}), True),
        (Answer(502, headers={"proxy-status": "gw; error=connection_refused"}), True),
        (Answer(502, headers={"proxy-status": "gw; received-status=502"}), False),
        (Answer(503, headers={"via": "1.1 proxy (squid/5.7)"}), False),
        (Answer(503, headers={"server": "squid/5.7"}), True),
        (Answer(403, headers={"server": "tinyproxy/1.11.1"}), True),
        (Answer(404, headers={"server": "squid"}), False),
        (Answer(500, headers={"server": "nginx"}), False),
    ],
)
def test_whose_answer(answer: Answer, own: bool) -> None:
    """`Via` is added to what a proxy passes on, so it proves nothing."""
    assert is_proxys_own(answer) is own


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(503, headers={"x-squid-error": "ERR_DNS_FAIL 0"}), "egress.proxy_cannot_resolve"),
        (Answer(503, headers={"x-squid-error": "ERR_CONNECT_FAIL 111"}),
         "egress.proxy_cannot_connect"),
        (Answer(503, headers={"x-squid-error": "ERR_CONNECT_FAIL 110"}),
         "egress.proxy_upstream_timeout"),
        (Answer(500, headers={"x-squid-error": "ERR_CANNOT_FORWARD 0"}),
         "egress.proxy_cannot_forward"),
        (Answer(404, headers={"x-squid-error": "ERR_ACCESS_DENIED 0"}), "egress.proxy_denied"),
        (Answer(504), "egress.proxy_upstream_timeout"),
        (Answer(502), "egress.proxy_cannot_connect"),
        (Answer(302), "egress.proxy_portal"),
        (Answer(511), "egress.proxy_portal"),
        (Answer(429, headers={"retry-after": "30"}), "egress.proxy_rate_limited"),
        (Answer(400), "egress.not_a_proxy"),
        (Answer(500), "egress.proxy_refused"),
    ],
)  # fmt: skip
def test_refusals(answer: Answer, code: str) -> None:
    error = refusal(PROXY, DESTINATION, answer)
    assert isinstance(error, ProxyAnswerError)
    assert error.code == code
    assert error.hint
    assert error.answer is answer
    assert "proxy.test:3128" in error.message


def test_redirecting_portal_is_named_without_its_query() -> None:
    answer = Answer(302, headers={"location": "https://u:p@login.test/sso"})
    assert "redirects to login.test" in refusal(PROXY, DESTINATION, answer).message


def test_page_title() -> None:
    assert page_title("<HTML><Title lang=x>\n A  page </title>") == "A page"
    assert page_title("no page") == ""
