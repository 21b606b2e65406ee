"""Handshakes in any chunking, parsers on hostile input, round trips."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from garrison.egress import (
    Answer,
    BadCertificateError,
    BadUrlError,
    BypassEntry,
    BypassEntryError,
    BypassList,
    Certificate,
    Credentials,
    Endpoint,
    InvalidSettings,
    ProxyAddress,
    ProxySettings,
    Target,
    TrustBundle,
    choose_route,
    settings_from_environment,
)
from garrison.egress.failover import MAX_PAUSE, ProxyHealth
from garrison.egress.handshake import (
    AnswerFault,
    Exchange,
    banner_of,
    connect_exchange,
    is_proxys_own,
    offered_schemes,
    page_title,
    service_of,
)
from garrison.egress.plan import calls_for
from garrison.egress.refusal import refusal
from garrison.secret import Secret

DESTINATION, PROXY = Endpoint("a.test", 443), Endpoint("proxy.test", 3128)

ANSWERS = [
    b"HTTP/1.1 200 Connection established\r\n\r\n\x16\x03\x03trailing",
    b"HTTP/1.0 200 OK\r\nVia: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 503 Bad\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    b"HTTP/1.0 403 No\r\n\r\nuntil the end",
]


def fed(chunks: list[bytes]) -> tuple[Answer | None, bytes, bool]:
    exchange = connect_exchange(DESTINATION, None)
    for chunk in chunks:
        exchange.feed(chunk)
    exchange.feed(b"")
    return exchange.answer, exchange.trailing, exchange.complete


@given(st.sampled_from(ANSWERS), st.data())
def test_chunking_does_not_matter(data: bytes, draw: st.DataObject) -> None:
    cuts = draw.draw(st.lists(st.integers(0, len(data)), max_size=len(data)).map(sorted))
    edges = [0, *cuts, len(data)]
    chunks = [data[a:b] for a, b in itertools.pairwise(edges) if a < b]
    assert fed(chunks) == fed([data])
    assert fed([bytes([byte]) for byte in data]) == fed([data])


@given(st.lists(st.binary(max_size=200), max_size=20), st.booleans())
@settings(max_examples=300)
def test_exchange_never_crashes(chunks: list[bytes], begins: bool) -> None:
    """Whatever a stranger sends is an answer or an AnswerFault."""
    exchange = connect_exchange(DESTINATION, None)
    with contextlib.suppress(AnswerFault):
        if begins:
            exchange.feed(b"HTTP/1.1 200 OK\r\n")
        for chunk in chunks:
            if chunk:
                exchange.feed(chunk)
        exchange.feed(b"")


@given(st.binary(max_size=300), st.sampled_from([200, 302, 403, 407, 429, 503, 504]))
def test_refusals_never_crash(body: bytes, status: int) -> None:
    exchange = Exchange("CONNECT", "a.test:443", [("Host", "a.test:443")])
    exchange.feed(b"HTTP/1.1 %d X\r\n\r\n" % status)
    with contextlib.suppress(AnswerFault):
        exchange.feed(body)
        exchange.feed(b"")
    assert exchange.answer is not None
    error = refusal(PROXY, DESTINATION, exchange.answer)
    assert error.hint
    assert error.message


@given(st.text(max_size=200), st.text(max_size=100), st.text(max_size=60), st.text(max_size=60))
def test_readers_of_answers_never_crash(a: str, b: str, c: str, d: str) -> None:
    answer = Answer(
        407,
        headers={"proxy-authenticate": a, "proxy-status": b, "x-squid-error": c, "location": d},
        body=a,
    )
    offered_schemes(answer)
    is_proxys_own(answer)
    page_title(a + "<title>" + b)
    for status in (302, 407, 429, 503):
        refusal(PROXY, DESTINATION, Answer(status, headers=answer.headers))


@given(st.binary(max_size=300))
def test_first_bytes_never_crash(data: bytes) -> None:
    service_of(data)
    assert banner_of(data).isprintable()


LABEL = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAME = st.lists(LABEL, min_size=1, max_size=4).map(".".join).filter(
    lambda name: not name.rpartition(".")[2].isdigit()
    and not name.rpartition(".")[2].startswith("0x")
)  # fmt: skip
HOST = st.one_of(NAME, st.ip_addresses().map(str))
PORT = st.integers(1, 65535)


@given(HOST, PORT)
def test_endpoint_round_trip(host: str, port: int) -> None:
    endpoint = Endpoint(host, port)
    assert Endpoint(endpoint.host, endpoint.port) == endpoint
    address = ProxyAddress("https", endpoint)
    assert ProxyAddress.parse(str(address)) == address
    assert Target.parse(f"https://{endpoint}/").endpoint == endpoint


ENTRY = st.one_of(
    HOST,
    NAME.map(lambda name: f".{name}"),
    st.tuples(NAME, PORT).map(lambda pair: f"{pair[0]}:{pair[1]}"),
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    st.tuples(st.ip_addresses(v=6), st.integers(0, 128)).map(lambda pair: f"{pair[0]}/{pair[1]}"),
    st.tuples(st.ip_addresses(v=4), st.integers(0, 32), PORT).map("{0[0]}/{0[1]}:{0[2]}".format),
    st.tuples(st.ip_addresses(v=6), st.integers(0, 128), PORT).map("[{0[0]}]/{0[1]}:{0[2]}".format),
    st.tuples(st.ip_addresses(v=6), PORT).map("[{0[0]}]:{0[1]}".format),
    st.sampled_from(["*", "<local>", "*.example.test", "EXAMPLE.test."]),
)


@given(st.lists(ENTRY, max_size=6), HOST, PORT)
def test_bypass_list_round_trip(entries: list[str], host: str, port: int) -> None:
    bypass = BypassList.of(entries)
    again = BypassList.of(str(bypass))
    assert again.entries == bypass.entries
    endpoint = Endpoint(host, port)
    assert again.match(endpoint) == bypass.match(endpoint)


@given(ENTRY, ENTRY, HOST, PORT)
def test_covered_entries_match_nothing_more(a: str, b: str, host: str, port: int) -> None:
    """What a linter calls redundant must be."""
    one, two = BypassEntry.parse(a), BypassEntry.parse(b)
    for endpoint in (Endpoint(host, port), Endpoint(two.name or "x", two.port or port)):
        if one.covers(two) and two.matches(endpoint):
            assert one.matches(endpoint)


@given(st.text(max_size=60))
def test_parsers_refuse_in_their_own_words(text: str) -> None:
    with contextlib.suppress(BypassEntryError):
        BypassEntry.parse(text)
    with contextlib.suppress(ValueError):
        ProxyAddress.parse(text)
    with contextlib.suppress(ValueError):
        ProxyAddress.parse(f"http://{text}", default_port=True)
    with contextlib.suppress(BadUrlError):
        Target.parse(text)
    with contextlib.suppress(BadUrlError):
        Target.parse(f"https://{text}")
    with contextlib.suppress(BadCertificateError):
        TrustBundle.parse(text)
    with contextlib.suppress(BadCertificateError):
        TrustBundle.parse(f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----")
    with contextlib.suppress(InvalidSettings):
        ProxySettings.build(http_proxy=text, no_proxy=text, ca=text, user=text)
    with contextlib.suppress(InvalidSettings):
        settings_from_environment({"HTTPS_PROXY": text, "NO_PROXY": text})


@given(st.binary(max_size=300))
def test_certificates_never_crash(der: bytes) -> None:
    with contextlib.suppress(ValueError):
        Certificate.read(der)


@given(st.text(min_size=8, max_size=30).filter(lambda text: text.isprintable() and "@" not in text))
def test_no_refusal_prints_a_password(password: str) -> None:
    """However a URL with credentials is mangled, its password is not in the message."""
    secret = f"canary{password}"
    for text in (f"http://u:{secret}@proxy:1", f"u:{secret}@proxy:1", f"x://u:{secret}@p:1"):
        assert "canary" not in refused(lambda text=text: ProxySettings.build(http_proxy=text))  # type: ignore[misc]
        assert "canary" not in refused(
            lambda text=text: settings_from_environment({"HTTPS_PROXY": text})  # type: ignore[misc]
        )


def refused(build: Callable[[], object]) -> str:
    try:
        build()
    except InvalidSettings as error:
        return str(error)
    return ""


@given(st.text(max_size=20).filter(lambda text: ":" not in text), st.text(max_size=20))
def test_basic_is_one_clean_header(user: str, password: str) -> None:
    with contextlib.suppress(UnicodeEncodeError):
        header = Credentials(user, Secret(password)).basic()
        assert header.isascii()
        assert header.isprintable()


@given(HOST, PORT, st.lists(ENTRY, max_size=4))
def test_route_is_pure_and_says_why(host: str, port: int, entries: list[str]) -> None:
    found = ProxySettings.build(http_proxy="http://proxy.test:1", no_proxy=entries)
    target = Target("https", Endpoint(host, port), "/")
    assert choose_route(target, found, "intel") == choose_route(target, found, "intel")
    assert choose_route(target, found, "intel").because


@st.composite
def health_steps(draw: st.DrawFn) -> list[tuple[str, int, float]]:
    kinds = st.sampled_from(["order", "failed", "served"])
    return draw(st.lists(st.tuples(kinds, st.integers(0, 3), st.floats(0, 90)), max_size=40))


@given(health_steps())
def test_failover_loses_no_proxy_and_ends_every_rest(steps: list[tuple[str, int, float]]) -> None:
    names = [f"p{number}" for number in range(3)]
    settings = ProxySettings.build(
        http_proxy="http://first.test:1",
        more={
            "proxies": [{"name": one, "address": f"http://{one}.test:1"} for one in names],
            "failover": names,
        },
    )
    target = Target.parse("https://x.test")
    calls = calls_for(target, choose_route(target, settings, "intel"), settings)
    health, now = ProxyHealth(), 0.0
    for kind, which, seconds in steps:
        now += seconds
        if kind == "order":
            resting = set(health.resting(now))
            order = health.order(calls, now)
            assert sorted(map(id, order)) == sorted(map(id, calls))
            kept = [one for one in order if one.route.proxy not in resting]  # type: ignore[union-attr]
            assert order[: len(kept)] == kept
            assert kept == [one for one in calls if one in kept]
        elif kind == "failed":
            health.failed(calls[which], now)
        else:
            health.served(calls[which])
            assert calls[which].route.proxy not in health.resting(now)  # type: ignore[union-attr]
        assert all(rest.until - now <= MAX_PAUSE for rest in health.resting(now).values())
    assert health.resting(now + MAX_PAUSE) == {}
    assert health.order(calls, now + MAX_PAUSE) == list(calls)


@given(st.ip_addresses(v=6), PORT, st.integers(0, 128))
def test_ipv6_is_matched_in_every_spelling(address: Any, port: int, length: int) -> None:
    spellings = [str(address), address.exploded, str(address).upper(), f"[{address.exploded}]"]
    for text in spellings:
        for written in spellings:
            assert BypassEntry.parse(text).matches(Endpoint(written, port))
        if address.ipv4_mapped is not None:
            length = max(length, 96)  # wider than all of IPv4 it is another thing
        inside = BypassEntry.parse(f"[{address}]/{length}:{port}")
        assert inside.matches(Endpoint(text, port))
        assert not inside.matches(Endpoint(text, port % 65535 + 1))


@given(NAME, PORT, st.sampled_from(["", ".", "*."]))
def test_case_and_final_dots_do_not_matter(name: str, port: int, prefix: str) -> None:
    host = f"x.{name}" if prefix else name
    for entry in (f"{prefix}{name}", f"{prefix}{name}.", f"{prefix}{name.upper()}"):
        for written in (host, f"{host}.", host.upper()):
            assert BypassEntry.parse(entry).matches(Endpoint(written, port))
        assert not prefix or not BypassEntry.parse(entry).matches(Endpoint(name, port))
