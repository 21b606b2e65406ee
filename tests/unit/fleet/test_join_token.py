"""Join tokens: what is accepted, and that none is ever printed."""

from __future__ import annotations

import itertools

import pytest

from garrison.fleet.authority import Authority
from garrison.fleet.errors import InvalidJoinTokenError
from garrison.fleet.join_token import JoinToken, token_hash
from tests.unit.fleet.certificates import NOW

AUTHORITY = Authority.create(NOW)


def test_text_form_round_trips() -> None:
    token = JoinToken.create(AUTHORITY)

    assert JoinToken.parse(f"\n {token.reveal()} \n") == token
    assert token.reveal().startswith("gjt1_")
    assert token.pin == AUTHORITY.pin
    assert len(token.secret) >= 16


def test_the_console_keeps_a_hash_of_what_is_sent() -> None:
    token = JoinToken.create(AUTHORITY)

    assert token.secret_hash == token_hash(token.secret_text)
    assert token.secret not in token.secret_hash


def test_it_prints_masked() -> None:
    token = JoinToken.create(AUTHORITY)

    for shown in (str(token), repr(token), f"{token}"):
        assert token.secret_text not in shown
        assert token.reveal()[5:] not in shown


WHOLE = JoinToken.create(AUTHORITY).reveal()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("gat1_abcdef", "starts with"),
        (WHOLE[5:], "starts with"),
        (WHOLE[:-1], "cut off"),
        (WHOLE[:-8], "cut off"),
        (WHOLE[:20] + ("A" if WHOLE[20] != "A" else "B") + WHOLE[21:], "wrong character"),
        (WHOLE[:30] + "\n" + WHOLE[30:], "white space"),
        (WHOLE + "!", "characters"),
        (WHOLE[:10] + "ß" + WHOLE[11:], "characters"),
        ("gjt1_", "cut off"),
        ("gjt1_AAAA", "cut off"),
    ],
    ids=itertools.count(),  # the token differs each time
)
def test_what_is_no_token_is_refused_with_a_hint(text: str, word: str) -> None:
    with pytest.raises(InvalidJoinTokenError) as caught:
        JoinToken.parse(text)

    assert word in caught.value.message
    assert caught.value.hint
    assert caught.value.field == "join_token"
    if len(text) > 20:
        assert text[8:20] not in caught.value.message + caught.value.hint
