"""Signing in: the strongest scheme that works, remembered per proxy, and nothing of it told."""

from __future__ import annotations

import base64
import re

import pytest

from garrison.egress import Credentials, Endpoint, ProxyAddress
from garrison.egress.challenge import parse_challenges
from garrison.egress.credentials import ProxyAuth
from garrison.egress.refusal import unauthorised
from garrison.egress.signin import Memory, SignIn
from garrison.secret import Secret

PROXY = ProxyAddress.parse("http://proxy.test:3128")
DESTINATION = Endpoint("a.test", 443)
BOB = Credentials("bob", Secret("canary-p@ss:w/rd%ü"))
BASIC = 'Basic realm="x"'
DIGEST = 'Digest realm="x", nonce="one", qop="auth", algorithm=SHA-256'


def offers(*values: str) -> list[tuple[str, str]]:
    return [("Proxy-Authenticate", value) for value in values]


def sign_in(
    memory: Memory, choice: ProxyAuth = "auto", credentials: Credentials | None = BOB
) -> SignIn:
    return SignIn(PROXY, choice, credentials, memory)


def begin(one: SignIn) -> str | None:
    return one.begin("CONNECT", "a.test:443")


def answer(one: SignIn, *values: str) -> str | None:
    return one.answer(offers(*values), "CONNECT", "a.test:443")


def scheme_of(header: str | None) -> str:
    return (header or "").partition(" ")[0]


def test_credentials_wait_until_the_scheme_is_known() -> None:
    """A password in the clear is not sent to a proxy that would take better."""
    assert begin(sign_in(Memory())) is None
    assert scheme_of(begin(sign_in(Memory(), "basic"))) == "Basic"


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        ([BASIC], "Basic"),
        ([BASIC, DIGEST], "Digest"),
        ([f"{BASIC}, NTLM", DIGEST], "NTLM"),
        (["Negotiate", "NTLM", DIGEST, BASIC], "Negotiate"),
    ],
)
def test_strongest_offer_is_taken(offered: list[str], taken: str) -> None:
    assert scheme_of(answer(sign_in(Memory()), *offered)) == taken


def test_each_refused_scheme_gives_way_to_the_next() -> None:
    one, offered = sign_in(Memory()), ("NTLM", DIGEST, BASIC)
    found = [scheme_of(answer(one, *offered)) for _ in range(4)]
    assert found == ["NTLM", "Digest", "Basic", ""]
    assert one.refused == ["ntlm", "digest", "basic"]
    error = unauthorised(PROXY.endpoint, DESTINATION, None, one)
    assert error.code == "egress.proxy_auth_charset"
    assert "NTLM, Digest, Basic" in error.message
    assert 'user "bob"' in error.message


def test_what_was_accepted_begins_the_next_connection() -> None:
    memory = Memory()
    first = sign_in(memory)
    answer(first, "NTLM", BASIC)
    answer(first, "NTLM", BASIC)
    first.accepted()
    assert first.description == 'Basic, user "bob"; refused: NTLM'
    assert scheme_of(begin(sign_in(memory))) == "Basic"
    # Neither for other credentials, nor for another choice.
    assert begin(sign_in(memory, credentials=Credentials("eve", Secret("x")))) is None
    assert begin(sign_in(memory, "digest")) is None


def test_refused_memory_is_forgotten() -> None:
    memory = Memory()
    first = sign_in(memory)
    answer(first, BASIC)
    first.accepted()
    second = sign_in(memory)
    begin(second)
    assert scheme_of(answer(second, DIGEST)) == "Digest"
    assert begin(sign_in(memory)) is None


def parameters(header: str | None) -> dict[str, str]:
    return dict(parse_challenges([header or ""])[0].parameters)


def test_digest_counts_its_nonce_over_connections() -> None:
    memory = Memory()
    first = sign_in(memory)
    assert parameters(answer(first, DIGEST))["nc"] == "00000001"
    first.accepted()
    found = [parameters(begin(sign_in(memory))) for _ in range(3)]
    assert [one["nc"] for one in found] == ["00000002", "00000003", "00000004"]
    assert {one["nonce"] for one in found} == {"one"}
    assert len({one["cnonce"] for one in found}) == 3


def test_stale_nonce_is_renewed_and_no_refusal() -> None:
    memory = Memory()
    first = sign_in(memory)
    answer(first, DIGEST)
    first.accepted()
    for renewed in (DIGEST.replace("one", "two") + ", stale=true", DIGEST.replace("one", "three")):
        second = sign_in(memory)
        begin(second)
        again = parameters(answer(second, renewed))
        assert (again["nonce"], again["nc"]) == (parameters(renewed)["nonce"], "00000001")
        assert second.refused == []
        # Only once: a proxy that says so for ever is one that refuses.
        assert answer(second, renewed) is None
        first.accepted()


def test_two_digests_are_answered_by_the_stronger() -> None:
    weak = 'Digest realm="x", nonce="md5", qop="auth", algorithm=MD5'
    assert parameters(answer(sign_in(Memory()), weak, DIGEST))["nonce"] == "one"


def test_ntlm_answers_the_challenge_or_gives_way() -> None:
    one = sign_in(Memory())
    first = answer(one, "NTLM", BASIC)
    assert base64.b64decode((first or "").partition(" ")[2]).startswith(b"NTLMSSP\0\1")
    # A challenge that is none: the next scheme, on the same connection.
    assert scheme_of(answer(one, "NTLM bm90IG50bG0=", BASIC)) == "Basic"


@pytest.mark.parametrize(
    ("choice", "credentials", "offered", "code"),
    [
        ("auto", None, [BASIC], "egress.proxy_auth_required"),
        ("auto", None, ["NTLM"], "egress.proxy_auth_required"),
        ("auto", BOB, ["Bearer"], "egress.proxy_auth_scheme"),
        ("auto", BOB, [], "egress.proxy_auth_scheme"),
        ("digest", BOB, ["NTLM", BASIC], "egress.proxy_auth_choice"),
        ("none", BOB, [BASIC], "egress.proxy_auth_choice"),
        ("basic", BOB, [BASIC], "egress.proxy_auth_charset"),
        ("basic", Credentials("bob", Secret("50%")), [BASIC], "egress.proxy_auth_refused"),
        ("basic", Credentials("bob", Secret("50%25")), [BASIC], "egress.proxy_auth_encoded"),
    ],
)
def test_what_is_told_when_nothing_is_left(
    choice: ProxyAuth, credentials: Credentials | None, offered: list[str], code: str
) -> None:
    one = sign_in(Memory(), choice, credentials)
    begin(one)
    while answer(one, *offered) is not None:
        pass
    error = unauthorised(PROXY.endpoint, DESTINATION, None, one)
    assert error.code == code
    assert error.hint


def test_negotiate_without_kerberos_or_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("garrison.egress.tickets.kerberos_available", lambda: False)
    one = sign_in(Memory(), credentials=None)
    assert answer(one, "Negotiate") is None
    error = unauthorised(PROXY.endpoint, DESTINATION, None, one)
    assert error.code == "egress.proxy_auth_library"
    assert "libkrb5-dev" in error.hint


def test_nothing_that_was_sent_is_told() -> None:
    """A proxy may echo our request: its tokens, responses and nonces are taken out again."""
    one = sign_in(Memory())
    sent = [answer(one, "Negotiate", "NTLM", DIGEST, BASIC) for _ in range(4)]
    secrets = [BOB.password.reveal()]
    for header in filter(None, sent):
        scheme, _, rest = header.partition(" ")
        if scheme == "Digest":
            found = parameters(header)
            secrets += [found["response"], found["cnonce"]]
        else:
            secrets.append(rest)
    assert len(secrets) == 6
    echoed = one.scrub("\n".join(filter(None, sent)) + BOB.password.reveal())
    for secret in secrets:
        assert secret not in echoed
    assert not re.search("canary", f"{one!r} {vars(one)!r} {one.description}")
