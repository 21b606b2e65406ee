"""Every handshake with a proxy, by the plan itself, with its peer's bytes cut anywhere."""

from __future__ import annotations

import base64
import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import spnego
from hypothesis import given, settings
from hypothesis import strategies as st

from garrison.egress import (
    BadUrlError,
    Credentials,
    EgressError,
    Endpoint,
    ProxyAddress,
    Target,
    Trace,
    ViaProxy,
)
from garrison.egress.challenge import parse_challenges, shown_challenge
from garrison.egress.plan import (
    Address,
    Call,
    Connect,
    Left,
    Limit,
    Receive,
    Resolve,
    Run,
    Send,
    Share,
    open_call,
)
from garrison.egress.signin import MEMORY, Memory, SignIn
from garrison.egress.socks import SocksFault, SocksHandshake
from garrison.egress.trust import TrustBundle
from garrison.secret import Secret

BOB = Credentials("bob", Secret("canary-1234"))
DESTINATION = Endpoint("a.test", 80)
Respond = Callable[[bytes], bytes | None]


class Peer:
    """The other end: `respond` gets all that was sent on a connection and not answered yet, and
    gives an answer, or None to wait for more. cuts: sizes of the pieces in which it arrives."""

    def __init__(self, make: Callable[[], Respond], cuts: list[int]) -> None:
        self._make, self._cuts = make, iter(cuts)
        self._respond = make()
        self._sent, self._out = b"", b""
        self.connections = 0

    def perform(self, operation: object) -> Any:
        match operation:
            case Resolve():
                return (Address(2, ("192.0.2.1", 1)),)
            case Connect(addresses):
                self.connections += 1
                self._respond, self._sent, self._out = self._make(), b"", b""
                return addresses[0]
            case Send(data):
                self._sent += data
                while (answer := self._respond(self._sent)) is not None:
                    self._sent, self._out = b"", self._out + answer
                return None
            case Receive():
                size = next(self._cuts, 1 << 20)
                piece, self._out = self._out[:size], self._out[size:]
                return piece
            case Limit() | Share():
                return None
            case Left():
                return 10.0
            case Run(function):
                return function()
        raise AssertionError(operation)


def opened(scheme: str, credentials: Credentials | None, make: Callable[[], Respond],
           cuts: list[int]) -> tuple[Trace, Peer]:  # fmt: skip
    MEMORY.clear()
    proxy = ProxyAddress.parse(f"{scheme}://proxy.test:3128")
    call = Call(DESTINATION, ViaProxy(proxy, "test"), False, True, TrustBundle(), credentials)
    trace, peer = Trace(lambda: 0.0), Peer(make, cuts)
    plan = open_call(call, trace)
    try:
        operation = plan.send(None)
        while True:
            operation = plan.send(peer.perform(operation))
    except StopIteration:
        return trace, peer


def head_of(data: bytes) -> str | None:
    return data.decode("latin-1") if data.endswith(b"\r\n\r\n") else None


def credentials_in(head: str) -> tuple[str, str]:
    found = re.search(r"(?i)^proxy-authorization: (\w+) (.*)\r$", head, re.MULTILINE)
    return (found[1], found[2]) if found else ("", "")


def refusal(*challenges: str) -> bytes:
    page = b"<html>" + b"x" * 5000
    lines = ["HTTP/1.1 407 No", *(f"Proxy-Authenticate: {one}" for one in challenges)]
    return "\r\n".join([*lines, f"Content-Length: {len(page)}", "", ""]).encode() + page


OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"


def digest_peer() -> Respond:
    def respond(data: bytes) -> bytes | None:
        if (head := head_of(data)) is None:
            return None
        scheme, _ = credentials_in(head)
        return OPENED if scheme == "Digest" else refusal('Digest realm="r", nonce="n", qop="auth"')

    return respond


def ntlm_peer() -> Respond:
    server = spnego.server(protocol="ntlm")

    def respond(data: bytes) -> bytes | None:
        if (head := head_of(data)) is None:
            return None
        scheme, token = credentials_in(head)
        if scheme != "NTLM":
            return refusal("NTLM", 'Basic realm="never taken"')
        answer = server.step(base64.b64decode(token))
        return refusal(f"NTLM {base64.b64encode(answer).decode()}") if answer else OPENED

    return respond


def socks_peer() -> Respond:
    """Answers the greeting, the password and the request, each once it is there."""
    sizes = [4, 1 + 1 + 3 + 1 + 11, 5]
    answers = [b"\x05\x02", b"\x01\x00", b"\x05\x00\x00\x03\x04host\x00\x50"]

    def respond(data: bytes) -> bytes | None:
        if not sizes or len(data) < sizes[0]:
            return None
        sizes.pop(0)
        return answers.pop(0)

    return respond


@pytest.fixture(scope="module")
def _ntlm_users(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    file: Path = tmp_path_factory.mktemp("ntlm") / "users"
    file.write_text(f":bob:{BOB.password.reveal()}\n")
    before = os.environ.get("NTLM_USER_FILE")
    os.environ["NTLM_USER_FILE"] = str(file)
    yield
    if before is None:
        del os.environ["NTLM_USER_FILE"]
    else:
        os.environ["NTLM_USER_FILE"] = before


CUTS = st.lists(st.one_of(st.integers(1, 9), st.integers(10, 4000)), max_size=60)


@pytest.mark.usefixtures("_ntlm_users")
@given(CUTS)
@settings(max_examples=30, deadline=None)
def test_chunking_of_http_rounds_does_not_matter(cuts: list[int]) -> None:
    for make, detail in ((digest_peer, "Digest (MD5)"), (ntlm_peer, "NTLM")):
        trace, peer = opened("http", BOB, make, cuts)
        (step,) = [step for step in trace.steps if step.hop == "proxy-auth"]
        assert step.detail == f'{detail}, user "bob"'
        assert peer.connections == 1


@given(CUTS)
def test_chunking_of_socks_does_not_matter(cuts: list[int]) -> None:
    trace, _ = opened("socks5h", BOB, socks_peer, cuts)
    assert [step.hop for step in trace.steps] == ["resolve", "tcp", "proxy-auth", "tunnel"]


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=10), st.booleans())
def test_socks_never_crashes(chunks: list[bytes], begins: bool) -> None:
    handshake = SocksHandshake(DESTINATION, BOB)
    with contextlib.suppress(SocksFault):
        if begins:
            handshake.feed(b"\x05\x02")
        for chunk in chunks:
            handshake.feed(chunk)
            handshake.outgoing()


@given(st.lists(st.binary(max_size=300), max_size=8), st.sampled_from(["http", "socks5h"]))
@settings(max_examples=150, deadline=None)
def test_hostile_proxies_are_told_or_believed(answers: list[bytes], scheme: str) -> None:
    """Whatever a proxy sends, the plan ends with a tunnel or an EgressError."""

    def make() -> Respond:
        left = iter(answers)
        return lambda data: next(left, None) if data else None

    with contextlib.suppress(EgressError):
        opened(scheme, BOB, make, [])


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))


@given(st.lists(TEXT, max_size=4))
def test_challenges_never_crash(values: list[str]) -> None:
    parse_challenges(values)
    for value in values:
        shown_challenge(value)


@given(
    st.lists(
        st.one_of(
            TEXT,
            st.sampled_from(
                ["NTLM", "Negotiate", "Basic realm=x", 'Digest realm="x", nonce="y"', "NTLM AAAA"]
            ),
            st.binary(max_size=60).map(lambda data: f"NTLM {base64.b64encode(data).decode()}"),
        ),
        max_size=4,
    )
)
@settings(max_examples=60, deadline=None)
def test_signing_in_ends(values: list[str]) -> None:
    """Also against a proxy that offers anything, for ever."""
    one = SignIn(ProxyAddress.parse("http://proxy.test:1"), "auto", BOB, Memory())
    rounds = 0
    fields = [("Proxy-Authenticate", value) for value in values]
    while one.answer(fields, "CONNECT", "a.test:443") is not None:
        rounds += 1
        assert rounds < 12
    assert "canary" not in one.description


@given(
    st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True),
                    st.text(st.characters(min_codepoint=32, max_codepoint=126)), max_size=5),
    st.sampled_from(["Basic", "Digest", "Hoba"]),
)  # fmt: skip
def test_quoted_parameters_come_back(parameters: dict[str, str], scheme: str) -> None:
    def quoted(value: str) -> str:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'

    text = f"{scheme} " + ", ".join(f"{k}={quoted(v)}" for k, v in parameters.items())
    (found,) = parse_challenges([text])
    assert dict(found.parameters) == parameters


@given(
    st.sampled_from(["http", "https", "ws", "wss"]),
    st.sampled_from(["a.test", "A.test", "10.1.2.3", "127.1", "a_b.test", "[::1]", "bü.test", "-"]),
    st.sampled_from(["", ":80", ":443", ":8443", ":0", ":99999", ":"]),
    st.one_of(st.just(""), TEXT.map(lambda text: f"/{text}")),
)  # fmt: skip
def test_short_cut_of_urls_changes_nothing(scheme: str, host: str, port: str, path: str) -> None:
    """Plain URLs are read by one expression; a fragment sends the same through the parser."""
    url = f"{scheme}://{host}{port}{path}"

    def read(text: str) -> object:
        try:
            return Target.parse(text)
        except BadUrlError as error:
            return type(error)

    if "#" not in url:
        assert read(url) == read(f"{url}#")
