"""The channel and the session under any chunking, any cut and any rubbish."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from garrison.fleet.authority import Authority
from garrison.fleet.channel import ClientChannel, ServerChannel, ServerIdentity
from garrison.fleet.errors import ChannelClosedError, FleetError, InvalidJoinTokenError
from garrison.fleet.join_token import JoinToken
from garrison.fleet.messages import decode_from_console, decode_from_defender
from garrison.fleet.session import ConsoleSession
from garrison.fleet.wire import pack, unpack
from tests.unit.fleet.certificates import NOW, Pair, enrolled

AUTHORITY = Authority.create(NOW)
GATEWAY = ServerIdentity(AUTHORITY, NOW)
IDENTITY = enrolled(AUTHORITY)
# Repetition makes messages that are worth compressing.
MESSAGES = st.lists(
    st.builds(lambda data, times: data * times, st.binary(max_size=50), st.integers(0, 400)),
    max_size=5,
)


def opened(chunk: int) -> Pair:
    pair = Pair(ClientChannel.for_identity(IDENTITY), ServerChannel(GATEWAY), chunk)
    pair.server.accept_large()
    return pair


@settings(max_examples=40, deadline=None)
@given(chunk=st.integers(1, 3000), up=MESSAGES, down=MESSAGES)
def test_messages_arrive_whole_and_in_order_in_any_chunking(
    chunk: int, up: list[bytes], down: list[bytes]
) -> None:
    pair = opened(chunk)
    for message in up:
        pair.client.send(message)
    for message in down:
        pair.server.send(message)
    pair.run()

    assert (pair.decrypted, pair.received) == (up, down)


@settings(max_examples=40, deadline=None)
@given(chunk=st.integers(1, 3000))
def test_enrolment_in_any_chunking(chunk: int) -> None:
    client = ClientChannel.for_enrolment(AUTHORITY.pin, lambda: NOW)
    client.send(b"token")
    pair = Pair(client, ServerChannel(GATEWAY), chunk).run()

    assert pair.decrypted == [b"token"]


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 4000), message=st.binary(min_size=1, max_size=2000))
def test_a_cut_anywhere_gives_no_half_message(cut: int, message: bytes) -> None:
    """What arrives before the cut is a prefix of the messages."""
    pair = opened(1 << 20).run()
    pair.client.send(message)
    pair.client.send(message[::-1])
    sent = pair.client.outgoing()
    got = pair.server.receive(sent[:cut])

    assert got == [message, message[::-1]][: len(got)]
    with contextlib.suppress(ChannelClosedError):
        pair.server.eof()
    assert pair.server.state == "closed"


@settings(max_examples=100, deadline=None)
@given(data=st.lists(st.binary(max_size=300), max_size=10), after=st.booleans())
def test_rubbish_ends_a_channel_with_a_known_error(data: list[bytes], after: bool) -> None:
    """Before the handshake or after it; never another exception, never a message."""
    pair = opened(1 << 20)
    if after:
        pair.run()
    try:
        for piece in data:
            assert pair.server.receive(piece) == []
    except FleetError:
        assert pair.server.state == "closed"
        assert pair.server.receive(b"more") == []


@settings(max_examples=60, deadline=None)
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_a_message(position: int, bit: int) -> None:
    pair = opened(1 << 20).run()
    pair.client.send(b"a message that matters")
    sent = bytearray(pair.client.outgoing())
    sent[position % len(sent)] ^= 1 << bit
    with contextlib.suppress(FleetError):
        assert pair.server.receive(bytes(sent)) == []


@settings(max_examples=100, deadline=None)
@given(frames=st.lists(st.binary(max_size=400), max_size=5))
def test_an_authenticated_peer_may_send_anything(frames: list[bytes]) -> None:
    """Bytes inside the TLS that are no frames and no messages end the session, no more."""
    client = ClientChannel.for_identity(IDENTITY)
    console = ConsoleSession(ServerChannel(GATEWAY), heartbeat=25, handshake=15, now=0)
    for _ in range(3):
        console.receive(client.outgoing(), 0)
        client.receive(console.outgoing())
    with contextlib.suppress(FleetError):
        for frame in frames:
            client._write(frame)
            console.receive(client.outgoing(), 0)


@given(data=st.binary(max_size=300))
def test_decoders_of_messages_never_crash(data: bytes) -> None:
    for decode in (decode_from_console, decode_from_defender):
        with contextlib.suppress(FleetError):
            decode(data)


@given(secret=st.binary(min_size=16, max_size=64), pin=st.binary(min_size=32, max_size=32))
def test_join_tokens_round_trip(secret: bytes, pin: bytes) -> None:
    token = JoinToken(secret, pin)

    assert JoinToken.parse(token.reveal()) == token


@given(
    secret=st.binary(min_size=16, max_size=24),
    position=st.integers(0, 200),
    letter=st.sampled_from("ABCxyz019-_"),
)
def test_a_wrong_character_in_a_join_token_is_found(
    secret: bytes, position: int, letter: str
) -> None:
    text = JoinToken(secret, bytes(32)).reveal()
    position %= len(text)
    wrong = text[:position] + letter + text[position + 1 :]
    try:
        parsed = JoinToken.parse(wrong)
    except InvalidJoinTokenError:
        return
    # The last character may carry bits that no byte uses.
    assert wrong == text or parsed == JoinToken(secret, bytes(32))


@given(text=st.text(max_size=200))
def test_join_token_parser_never_crashes(text: str) -> None:
    with pytest.raises(InvalidJoinTokenError):
        JoinToken.parse(f"gjt1_{text}")


@given(data=st.binary(max_size=5000))
def test_inventories_round_trip(data: bytes) -> None:
    assert unpack(pack(data)) == data


@given(text=st.text(max_size=200))
def test_unpack_never_crashes(text: str) -> None:
    with contextlib.suppress(FleetError):
        unpack(text, limit=1 << 20)
