"""The inner TLS: who may speak, and that nothing is said to anybody else."""

from __future__ import annotations

import ssl
from datetime import timedelta

import pytest
import zstandard
from cryptography.x509.oid import ExtendedKeyUsageOID

from garrison.fleet.authority import Authority
from garrison.fleet.channel import (
    MAX_UNAUTHENTICATED,
    ClientChannel,
    ServerChannel,
    ServerIdentity,
)
from garrison.fleet.errors import (
    ChannelClosedError,
    IdentityRefusedError,
    MessageTooLargeError,
    NotOurConsoleError,
    PinMismatchError,
    ProtocolError,
)
from tests.unit.fleet.certificates import NOW, OddAuthority, Pair, enrolled

TOKEN = b"the secret of a join token"


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create(NOW)


@pytest.fixture(scope="module")
def gateway(authority: Authority) -> ServerIdentity:
    return ServerIdentity(authority, NOW)


def enrolling(authority: Authority, gateway: ServerIdentity) -> Pair:
    client = ClientChannel.for_enrolment(authority.pin, lambda: NOW)
    client.send(TOKEN)
    return Pair(client, ServerChannel(gateway))


def test_both_ends_know_each_other(authority: Authority, gateway: ServerIdentity) -> None:
    """With an identity the gateway sees this Defender's own certificate."""
    identity = enrolled(authority)
    pair = Pair(ClientChannel.for_identity(identity), ServerChannel(gateway)).run()
    pair.client.send(b"up")
    pair.server.send(b"down")
    pair.run()

    assert (pair.decrypted, pair.received) == ([b"up"], [b"down"])
    certificate = pair.server.peer_certificate
    assert certificate == ssl.PEM_cert_to_DER_cert(identity.certificate)


def test_tls_1_3_is_spoken(authority: Authority, gateway: ServerIdentity) -> None:
    pair = Pair(ClientChannel.for_identity(enrolled(authority)), ServerChannel(gateway)).run()

    assert pair.client._tls.version() == pair.server._tls.version() == "TLSv1.3"


def test_enrolment_needs_no_certificate(authority: Authority, gateway: ServerIdentity) -> None:
    pair = enrolling(authority, gateway).run()

    assert pair.decrypted == [TOKEN]
    assert pair.server.peer_certificate is None


def test_the_token_is_not_sent_before_the_console_is_proven(
    authority: Authority, gateway: ServerIdentity
) -> None:
    """Byte by byte: while the introduction is incomplete, nothing can be decrypted."""
    pair = enrolling(authority, gateway)
    pair.chunk = 1
    while not pair.decrypted:
        for piece in pair._pieces(pair.client.outgoing()):
            pair.decrypted += pair.server.receive(piece)
        for piece in pair._pieces(pair.server.outgoing()):
            assert not pair.decrypted
            was = pair.client.state
            pair.client.receive(piece)
            if pair.client.state == "handshake":
                assert was == "handshake"
                for byte in pair._pieces(pair.client.outgoing()):
                    pair.decrypted += pair.server.receive(byte)
                assert pair.decrypted == []

    assert pair.decrypted == [TOKEN]


def odd(**changes: object) -> OddAuthority:
    made = OddAuthority.create(NOW)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


@pytest.mark.parametrize(
    "changes",
    [
        {"names": ("other.garrison.internal",)},
        {"names": ()},
        {"usage": ExtendedKeyUsageOID.CLIENT_AUTH},
        {"started": timedelta(days=3)},
        {"started": -timedelta(days=3)},
        {"signer": Authority.create(NOW)},
    ],
    ids=["other name", "no name", "a client's", "expired", "not yet valid", "another signer"],
)
def test_an_enrolling_defender_tells_its_token_to_no_other_server(
    changes: dict[str, object],
) -> None:
    """The pin fits in each case; what the server shows for it does not."""
    impostor = odd(**changes)
    pair = enrolling(impostor, ServerIdentity(impostor, NOW)).run()

    assert isinstance(pair.client_error, PinMismatchError)
    assert pair.decrypted == []
    assert pair.client.state == "closed"


def test_an_enrolling_defender_tells_its_token_to_no_other_console(
    authority: Authority, gateway: ServerIdentity
) -> None:
    client = ClientChannel.for_enrolment(bytes(32), lambda: NOW)
    client.send(TOKEN)
    pair = Pair(client, ServerChannel(gateway)).run()

    assert isinstance(pair.client_error, PinMismatchError)
    assert pair.decrypted == []


class Repeater(ServerIdentity):
    """Shows a certificate of its own, and repeats the introduction of the real Console."""

    def __init__(self, own: Authority, real: Authority) -> None:
        super().__init__(own, NOW)
        self.authority_pem = real.certificate_pem.encode()


def test_repeating_the_consoles_introduction_is_not_enough(authority: Authority) -> None:
    """The authority's certificate is public: anybody in between can send it."""
    pair = enrolling(authority, Repeater(Authority.create(NOW), authority)).run()

    assert isinstance(pair.client_error, PinMismatchError)
    assert pair.decrypted == []


@pytest.mark.parametrize("introduction", [b"", b"\xff\x00", b"-----BEGIN CERTIFICATE-----\nAA"])
def test_a_broken_introduction_is_refused(authority: Authority, introduction: bytes) -> None:
    identity = ServerIdentity(authority, NOW)
    identity.authority_pem = introduction
    pair = enrolling(authority, identity).run()

    assert isinstance(pair.client_error, PinMismatchError)
    assert pair.decrypted == []


def test_a_message_in_place_of_the_introduction_is_refused(
    authority: Authority, gateway: ServerIdentity
) -> None:
    server = ServerChannel(gateway)
    server._on_handshake = server._ready  # type: ignore[method-assign]
    client = ClientChannel.for_enrolment(authority.pin, lambda: NOW)
    client.send(TOKEN)
    server.send(b"hello")
    pair = Pair(client, server).run()

    assert isinstance(pair.client_error, ProtocolError)
    assert pair.decrypted == []


@pytest.mark.parametrize(
    "changes",
    [
        {"names": ("other.garrison.internal",)},
        {"usage": ExtendedKeyUsageOID.CLIENT_AUTH},
        {"started": timedelta(days=3)},
    ],
    ids=["other name", "a client's", "expired"],
)
def test_a_defender_speaks_to_its_own_console_only(changes: dict[str, object]) -> None:
    impostor = odd(**changes)
    client = ClientChannel.for_identity(enrolled(impostor))
    client.send(b"hello")
    pair = Pair(client, ServerChannel(ServerIdentity(impostor, NOW))).run()

    assert isinstance(pair.client_error, NotOurConsoleError)
    assert pair.decrypted == []


def test_a_console_with_another_authority_is_not_ours(authority: Authority) -> None:
    client = ClientChannel.for_identity(enrolled(authority))
    client.send(b"hello")
    other = ServerIdentity(Authority.create(NOW), NOW)
    pair = Pair(client, ServerChannel(other)).run()

    assert isinstance(pair.client_error, NotOurConsoleError)
    assert "join token" in pair.client_error.hint
    assert pair.decrypted == []
    assert isinstance(pair.server_error, ProtocolError)


def test_another_authoritys_certificate_is_refused_and_the_defender_learns_it(
    authority: Authority, gateway: ServerIdentity
) -> None:
    """In TLS 1.3 the refusal comes after the Defender's own handshake has ended well."""
    identity = enrolled(Authority.create(NOW))
    claimed = type(identity)(
        identity.defender_id, identity.key, identity.certificate, authority.certificate_pem
    )
    client = ClientChannel.for_identity(claimed)
    client.send(b"hello")
    pair = Pair(client, ServerChannel(gateway)).run()

    assert isinstance(pair.server_error, ProtocolError)
    assert isinstance(pair.client_error, IdentityRefusedError)
    assert pair.decrypted == []


def test_an_expired_certificate_is_refused_and_the_defender_learns_it(
    authority: Authority, gateway: ServerIdentity
) -> None:
    identity = enrolled(authority, now=NOW - timedelta(days=200))
    pair = Pair(ClientChannel.for_identity(identity), ServerChannel(gateway)).run()

    assert isinstance(pair.client_error, IdentityRefusedError)
    assert "expired" in str(pair.client_error)
    assert "clock" in pair.client_error.hint


def test_a_gateways_certificate_is_no_defenders(
    authority: Authority, gateway: ServerIdentity
) -> None:
    """Only certificates made for clients open a session."""
    identity = enrolled(authority)
    server = authority.issue_gateway(NOW)
    stolen = type(identity)("d-1", server.key, server.chain.decode(), authority.certificate_pem)
    pair = Pair(ClientChannel.for_identity(stolen), ServerChannel(gateway)).run()

    assert pair.server_error is not None


def test_large_messages_are_compressed(authority: Authority, gateway: ServerIdentity) -> None:
    message = b"package " * 100_000
    pair = Pair(ClientChannel.for_identity(enrolled(authority)), ServerChannel(gateway)).run()
    pair.server.accept_large()
    pair.client.send(message)
    sent = pair.client.outgoing()
    pair.decrypted += pair.server.receive(sent)

    assert pair.decrypted == [message]
    assert len(sent) < len(message) // 20


def test_a_peer_without_certificate_may_not_send_much(
    authority: Authority, gateway: ServerIdentity
) -> None:
    pair = enrolling(authority, gateway).run()
    pair.client._write(b"\xff\xff\xff\xff\x00")
    pair.run()

    assert isinstance(pair.server_error, MessageTooLargeError)
    assert pair.server.state == "closed"


def test_a_small_frame_may_not_hide_a_large_message(
    authority: Authority, gateway: ServerIdentity
) -> None:
    """Decompression stops at the limit, whatever the frame says of itself."""
    bomb = zstandard.compress(bytes(200 << 20))
    assert len(bomb) < MAX_UNAUTHENTICATED
    pair = enrolling(authority, gateway).run()
    pair.client._write(len(bomb).to_bytes(4, "big") + b"\x01" + bomb)
    pair.run()

    assert isinstance(pair.server_error, MessageTooLargeError)


@pytest.mark.parametrize(
    "frame", [b"\x00\x00\x00\x01\x09x", b"\x00\x00\x00\x03\x01abc", b"\x00\x00\x00\x01\x02x"]
)
def test_unknown_frames_end_the_channel(
    authority: Authority, gateway: ServerIdentity, frame: bytes
) -> None:
    pair = enrolling(authority, gateway).run()
    pair.client._write(frame)
    pair.run()

    assert isinstance(pair.server_error, ProtocolError)


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x16\x03\x01\xff\xff"])
def test_what_is_no_tls_ends_the_channel(gateway: ServerIdentity, data: bytes) -> None:
    with pytest.raises(ProtocolError):
        feed(ServerChannel(gateway), data, times=64 << 10)


def feed(channel: ServerChannel, data: bytes, times: int) -> None:
    for _ in range(times):
        channel.receive(data)


def test_an_end_in_the_middle_is_not_an_end(authority: Authority, gateway: ServerIdentity) -> None:
    """A cut connection must not pass for an orderly end: a message may be missing."""
    with pytest.raises(ChannelClosedError):
        ServerChannel(gateway).eof()
    pair = enrolling(authority, gateway).run()
    pair.client._write(b"\x00\x00\x00\x09\x00half")
    pair.run()
    with pytest.raises(ChannelClosedError):
        pair.server.eof()


def test_goodbye_is_understood(authority: Authority, gateway: ServerIdentity) -> None:
    pair = enrolling(authority, gateway).run()
    pair.server.close()
    pair.run()

    assert (pair.client.state, pair.client_error) == ("closed", None)
    with pytest.raises(ChannelClosedError):
        pair.client.send(b"more")


def test_no_session_tickets(authority: Authority, gateway: ServerIdentity) -> None:
    """A ticket would let a later connection skip the check of a revoked certificate."""
    pair = Pair(ClientChannel.for_identity(enrolled(authority)), ServerChannel(gateway)).run()

    session = pair.client._tls.session
    assert session is None or not session.has_ticket
