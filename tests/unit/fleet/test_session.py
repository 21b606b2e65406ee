"""Both sides' conversation, without a network and with a clock of our own."""

from __future__ import annotations

import random

import pytest

from garrison.fleet.authority import Authority
from garrison.fleet.channel import ClientChannel, ServerChannel, ServerIdentity
from garrison.fleet.errors import (
    ChannelClosedError,
    FleetError,
    ProtocolError,
    RefusedError,
    SessionLostError,
)
from garrison.fleet.messages import (
    Acknowledge,
    Contacts,
    Enrolled,
    EnrolRequest,
    FromConsole,
    FromDefender,
    Hello,
    Ping,
    ScanRequest,
    Welcome,
    decode_from_console,
    decode_from_defender,
    encode,
)
from garrison.fleet.session import (
    Backoff,
    ConsoleSession,
    DefenderSession,
    Enrolment,
    IdleLimit,
)
from tests.unit.fleet.certificates import NOW, enrolled

HELLO = Hello(name="node-1", version="1", platform="linux/amd64", settings_revision=3)
HEARTBEAT = 25.0


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create(NOW)


@pytest.fixture(scope="module")
def gateway(authority: Authority) -> ServerIdentity:
    return ServerIdentity(authority, NOW)


class Talk:
    """A Defender and a Console that share a clock; `run` carries bytes until both are silent."""

    def __init__(self, authority: Authority, gateway: ServerIdentity) -> None:
        self.now = 1000.0
        self.defender = DefenderSession(
            ClientChannel.for_identity(enrolled(authority)), HELLO, self.now
        )
        self.console = ConsoleSession(
            ServerChannel(gateway), heartbeat=HEARTBEAT, handshake=15, now=self.now
        )
        self.at_console: list[FromDefender] = []
        self.at_defender: list[FromConsole] = []

    def run(self) -> Talk:
        while True:
            up, down = self.defender.outgoing(), self.console.outgoing()
            if not up and not down:
                return self
            self.at_console += self.console.receive(up, self.now) if up else []
            self.at_defender += self.defender.receive(down, self.now) if down else []

    def open(self) -> Talk:
        self.run()
        self.console.welcome("d-1", self.now)
        return self.run()


@pytest.fixture
def talk(authority: Authority, gateway: ServerIdentity) -> Talk:
    return Talk(authority, gateway)


def test_hello_then_welcome(talk: Talk) -> None:
    talk.run()
    assert talk.at_console == [HELLO]
    assert talk.defender.welcome is None

    talk.console.welcome("d-1", talk.now)
    talk.run()

    assert talk.at_defender == [Welcome(defender_id="d-1", heartbeat=HEARTBEAT)]


def test_nothing_is_sent_before_welcome(talk: Talk) -> None:
    with pytest.raises(ValueError):
        talk.defender.send(Ping(sent=1))
    with pytest.raises(ValueError):
        talk.console.send(Acknowledge(id="s"))


def test_messages_go_both_ways(talk: Talk) -> None:
    talk.open()
    talk.defender.send(Contacts(contacts=[]))
    talk.console.send(ScanRequest(id="s-1", reference="debian:12"))
    talk.run()

    assert talk.at_console[1:] == [Contacts(contacts=[])]
    assert talk.at_defender[1:] == [ScanRequest(id="s-1", reference="debian:12")]


def test_heartbeats_keep_a_session_alive(talk: Talk) -> None:
    talk.open()
    for _ in range(20):
        talk.now += HEARTBEAT
        talk.defender.tick(talk.now)
        talk.run()
        talk.console.check(talk.now)

    assert talk.at_console[1:] == []
    assert talk.at_defender[1:] == []


def test_a_silent_console_is_given_up_after_three_heartbeats(talk: Talk) -> None:
    talk.open()
    opened = talk.now
    with pytest.raises(SessionLostError):
        tick_for(talk, 10 * HEARTBEAT)

    assert 3 * HEARTBEAT < talk.now - opened <= 4 * HEARTBEAT


def test_a_silent_defender_is_given_up_after_three_heartbeats(talk: Talk) -> None:
    talk.open()

    assert talk.console.deadline == talk.now + 3 * HEARTBEAT
    talk.console.check(talk.now + 3 * HEARTBEAT - 1)
    with pytest.raises(SessionLostError):
        talk.console.check(talk.now + 3 * HEARTBEAT)


def test_a_slow_peer_does_not_prolong_its_first_deadline(
    authority: Authority, gateway: ServerIdentity
) -> None:
    """One byte now and then keeps a session alive, but not a handshake."""
    talk = Talk(authority, gateway)
    for byte in talk.defender.outgoing():
        talk.now += 0.1
        talk.console.receive(bytes([byte]), talk.now)

    assert talk.console.deadline == 1015.0


def test_a_refusal_says_why_and_when_to_come_back(talk: Talk) -> None:
    talk.run()
    talk.console.refuse(FleetError("go away"), retry_after=7)
    with pytest.raises(RefusedError) as caught:
        talk.run()

    assert (caught.value.code, caught.value.retry_after) == ("fleet.error", 7)


def test_goodbye(talk: Talk) -> None:
    talk.open()
    talk.console.close()
    talk.run()

    assert talk.defender.ended


def test_a_cut_is_not_a_goodbye(talk: Talk) -> None:
    talk.run()
    talk.defender._channel._frames._buffer += b"half"
    with pytest.raises(ChannelClosedError):
        talk.defender.eof()


@pytest.mark.parametrize(
    "message",
    [
        EnrolRequest(token="t", csr="c", name="n", version="1", platform="p"),
        Ping(sent=1),
        Contacts(contacts=[]),
    ],
)
def test_a_session_begins_with_hello(
    authority: Authority, gateway: ServerIdentity, message: FromDefender
) -> None:
    client = ClientChannel.for_identity(enrolled(authority))
    client.send(encode(message))
    console = ConsoleSession(ServerChannel(gateway), heartbeat=25, handshake=15, now=0)
    with pytest.raises(ProtocolError):
        exchange(client, console)


def test_without_certificate_only_enrolment(authority: Authority, gateway: ServerIdentity) -> None:
    """A Hello without a certificate is nobody's."""
    client = ClientChannel.for_enrolment(authority.pin, lambda: NOW)
    client.send(encode(HELLO))
    console = ConsoleSession(ServerChannel(gateway), heartbeat=25, handshake=15, now=0)
    with pytest.raises(ProtocolError):
        exchange(client, console)


def test_nothing_but_the_answer_follows_the_first_message(talk: Talk) -> None:
    talk.run()
    talk.defender._channel.send(encode(Ping(sent=1)))
    with pytest.raises(ProtocolError):
        talk.run()


def test_an_old_protocol_is_refused_with_a_reason(
    authority: Authority, gateway: ServerIdentity
) -> None:
    client = ClientChannel.for_identity(enrolled(authority))
    client.send(encode(Hello(name="n", version="0", platform="p", settings_revision=0, protocol=0)))
    console = ConsoleSession(ServerChannel(gateway), heartbeat=25, handshake=15, now=0)
    with pytest.raises(FleetError, match="protocol 0"):
        exchange(client, console)
    (raw,) = client.receive(console.outgoing())

    assert b"fleet.protocol_version" in raw


def test_enrolment(authority: Authority, gateway: ServerIdentity) -> None:
    request = EnrolRequest(token="t", csr="c", name="n", version="1", platform="p")
    enrolment = Enrolment(ClientChannel.for_enrolment(authority.pin, lambda: NOW), request)
    console = ConsoleSession(ServerChannel(gateway), heartbeat=25, handshake=15, now=0)
    answer = Enrolled(defender_id="d", certificate="c", ca="a")
    got: Enrolled | None = None
    for _ in range(6):
        for message in console.receive(enrolment.outgoing(), 0):
            assert message == request
            console.enrolled(answer)
        got = enrolment.receive(console.outgoing()) or got

    assert got == answer


def test_messages_of_a_newer_peer_are_passed_over() -> None:
    """One side may know more than the other: fields and kinds."""
    assert decode_from_console(b'{"type":"rollout","id":"x"}') is None
    assert decode_from_defender(b'{"type":"labels","labels":{}}') is None
    assert decode_from_console(b'{"type":"ack","id":"x","more":[1]}') == Acknowledge(id="x")


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b"null", b'{"type":1}', b'{"type":"hello"}', b"\xff", b"[" * 10_000,
     b'{"type":"answer","id":"x","result":' + b'{"a":' * 5000, b'{"type":"ack","id":"x"}'],
)  # fmt: skip
def test_what_is_no_message_is_refused(data: bytes) -> None:
    """An `ack` too: it is the Console's to send."""
    with pytest.raises(ProtocolError) as caught:
        decode_from_defender(data)

    assert len(caught.value.message) < 300


def test_backoff_draws_from_a_growing_range_up_to_its_cap() -> None:
    for attempt in range(12):
        ceiling = min(20.0, 0.5 * 2**attempt)
        samples = []
        for seed in range(200):
            one = Backoff(random.Random(seed), first=0.5, cap=20)
            samples.append([one.next() for _ in range(attempt + 1)][-1])
        assert 0 <= min(samples) < ceiling * 0.1
        assert ceiling * 0.9 < max(samples) <= ceiling


def test_backoff_never_comes_before_the_console_asked() -> None:
    backoff = Backoff(random.Random(1))

    for _ in range(20):
        assert 7 <= backoff.next(retry_after=7) <= 27
    assert backoff.next(retry_after=10**9) <= 620
    assert backoff.next(retry_after=-5) >= 0


def test_backoff_starts_again_after_a_session() -> None:
    backoff = Backoff(random.Random(1))
    for _ in range(10):
        backoff.next()
    backoff.reset()

    assert backoff.next() <= 0.5


def tick_for(talk: Talk, seconds: float) -> None:
    until = talk.now + seconds
    while talk.now < until:
        talk.now = talk.defender.next_tick()
        talk.defender.tick(talk.now)


def exchange(client: ClientChannel, console: ConsoleSession) -> None:
    for _ in range(6):
        console.receive(client.outgoing(), 0)
        client.receive(console.outgoing())


def test_two_cuts_after_the_same_silence_are_an_idle_limit() -> None:
    limit = IdleLimit()
    assert not limit.cut(8.0, 25.0)
    assert limit.ping is None
    assert limit.cut(8.4, 25.0)
    assert limit.ping == pytest.approx(3.2)
    limit.forget()
    assert limit.ping is None


@pytest.mark.parametrize(
    "cuts",
    [
        [(8.0, 25.0), (3.0, 25.0)],  # as chance has it
        [(0.3, 25.0), (0.3, 25.0)],  # in the middle of talk
        [(30.0, 25.0), (30.0, 25.0)],  # a ping was not answered
        [(8.0, 25.0), (0.2, 25.0), (8.0, 25.0)],
    ],
)
def test_other_losses_teach_nothing(cuts: list[tuple[float, float]]) -> None:
    """A Console that restarts must not make ten thousand Defenders ping every second."""
    limit = IdleLimit()
    for quiet, heartbeat in cuts:
        limit.cut(quiet, heartbeat)
    assert limit.ping is None
