"""Challenges are read as RFC 9110 writes them, and Digest is answered as RFC 7616 does."""

from __future__ import annotations

import pytest

from garrison.egress import Credentials
from garrison.egress.challenge import (
    Challenge,
    answer_digest,
    parse_challenges,
    shown_challenge,
    strongest_digest,
)
from garrison.secret import Secret


def names(*values: str) -> list[tuple[str, dict[str, str], str]]:
    return [(one.name, dict(one.parameters), one.token) for one in parse_challenges(values)]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["Basic realm=x"], [("Basic", {"realm": "x"}, "")]),
        (["NTLM", "Negotiate"], [("NTLM", {}, ""), ("Negotiate", {}, "")]),
        (["NTLM TlRMTVNTUAAC=="], [("NTLM", {}, "TlRMTVNTUAAC==")]),
        (["Negotiate, NTLM, Basic realm=\"a, Digest b\""],
         [("Negotiate", {}, ""), ("NTLM", {}, ""), ("Basic", {"realm": "a, Digest b"}, "")]),
        (['Digest realm="a \\"b\\"", nonce="n" , qop="auth,auth-int",stale=TRUE, Basic realm=y'],
         [("Digest", {"realm": 'a "b"', "nonce": "n", "qop": "auth,auth-int", "stale": "TRUE"}, ""),
          ("Basic", {"realm": "y"}, "")]),
        (["", ",,"], []),
        (["=x, Basic realm = x"], [("Basic", {"realm": "x"}, "")]),
    ],
)  # fmt: skip
def test_challenges(values: list[str], expected: list[object]) -> None:
    assert names(*values) == expected


MUFASA = Credentials("Mufasa", Secret("Circle of Life"))
RFC7616 = {
    "realm": "http-auth@example.org",
    "qop": "auth, auth-int",
    "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "opaque": "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS",
}
CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_digest_of_the_rfc(algorithm: str, response: str) -> None:
    """The figures of RFC 7616 section 3.9.1."""
    challenge = Challenge("Digest", {**RFC7616, "algorithm": algorithm})
    answer = answer_digest(challenge, MUFASA, "GET", "/dir/index.html", nc=1, cnonce=CNONCE)
    assert f'response="{response}"' in answer.header
    assert "nc=00000001" in answer.header
    assert response in answer.secrets


def test_digest_with_a_hashed_user() -> None:
    """The user of RFC 7616 section 3.9.2, hashed as its erratum 4897 corrects it."""
    challenge = Challenge(
        "Digest",
        {
            "realm": "api@example.org",
            "qop": "auth",
            "algorithm": "SHA-512-256",
            "nonce": "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
            "charset": "UTF-8",
            "userhash": "true",
        },
    )
    jason = Credentials("Jäsøn Doe", Secret("Secret, or not?"))
    header = answer_digest(challenge, jason, "GET", "/doe.json", nc=1, cnonce="x").header
    assert 'username="793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b"' in header
    assert "userhash=true" in header


def test_digest_without_qop_is_that_of_rfc_2069() -> None:
    import hashlib

    def md5(text: str) -> str:
        return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()

    challenge = Challenge("Digest", {"realm": "r", "nonce": "n"})
    header = answer_digest(challenge, MUFASA, "GET", "/", nc=1, cnonce="c").header
    expected = md5(f"{md5('Mufasa:r:Circle of Life')}:n:{md5('GET:/')}")
    assert f'response="{expected}"' in header
    assert "cnonce" not in header
    assert "nc=" not in header


def test_session_algorithms_hash_the_nonces_in() -> None:
    plain = Challenge("Digest", {**RFC7616, "algorithm": "MD5"})
    session = Challenge("Digest", {**RFC7616, "algorithm": "MD5-sess"})
    one, two = (
        answer_digest(each, MUFASA, "GET", "/", nc=1, cnonce="c").header
        for each in (plain, session)
    )
    assert one.partition("response=")[2][:40] != two.partition("response=")[2][:40]
    assert "algorithm=MD5-sess" in two


def test_quotes_and_backslashes_survive() -> None:
    user = Credentials('DOM\\us"er', Secret("x"))
    header = answer_digest(
        Challenge("Digest", {"realm": 'a"b', "nonce": "n"}), user, "GET", "/", nc=1, cnonce="c"
    ).header
    again = parse_challenges([header])[0]
    assert again.parameters["username"] == 'DOM\\us"er'
    assert again.parameters["realm"] == 'a"b'


def test_strongest_digest_that_can_be_answered() -> None:
    found = parse_challenges(
        [
            'Digest realm=r, nonce=a, algorithm=MD5, qop="auth"',
            'Digest realm=r, nonce=b, algorithm=SHA-256, qop="auth"',
            'Digest realm=r, nonce=c, algorithm=SHA-256, qop="auth-int"',
            "Digest realm=r, nonce=d, algorithm=BLAKE9",
            "Digest realm=r, algorithm=SHA-256",
        ]
    )
    best = strongest_digest(found)
    assert best is not None
    assert best.parameters["nonce"] == "b"
    assert strongest_digest(found[2:]) is None


def test_kept_challenges_hold_no_tokens() -> None:
    shown = shown_challenge(
        'NTLM TlRMTVNTUAACAAAA==, Digest realm="r", nonce="secret,1", opaque=secret2, qop="auth"'
    )
    assert "TlRM" not in shown
    assert "secret" not in shown
    assert 'realm="r"' in shown
    assert 'qop="auth"' in shown
