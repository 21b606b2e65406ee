"""Both sides' conversation on one connection, and when to try the next one.

Sans-IO like the channel below it: bytes and the time come in, messages and bytes go out. Times
are seconds of a monotonic clock, always an argument.
"""

from __future__ import annotations

import random
from typing import Literal, TypeAlias

from garrison.errors import GarrisonError
from garrison.fleet.channel import ClientChannel, ServerChannel
from garrison.fleet.errors import (
    FleetError,
    ProtocolError,
    RefusedError,
    SessionLostError,
)
from garrison.fleet.messages import (
    PROTOCOL,
    Enrolled,
    EnrolRequest,
    FromConsole,
    FromDefender,
    Hello,
    Ping,
    Pong,
    Refused,
    Welcome,
    decode_from_console,
    decode_from_defender,
    encode,
)

MISSED = 3
"""Heartbeats that may be missed before the other side counts as gone."""

OLDEST_PROTOCOL = 1
MIN_HEARTBEAT, MAX_HEARTBEAT = 1.0, 300.0
MIN_QUIET = 1.5
"""Seconds of silence below which a cut tells nothing about idle limits."""
ALIKE = 1.25
_PING_WITHIN = 0.4
"""Of an idle limit: a ping may be late, and its answer lost."""
_MAX_RETRY_AFTER = 600.0


class Backoff:
    """How long to wait before the next attempt: full jitter, doubling up to `cap` seconds.

    Every wait is a fresh draw from the whole range, so that a fleet that lost its Console at one
    moment does not come back at one moment.
    """

    def __init__(self, rng: random.Random, *, first: float = 0.5, cap: float = 20.0) -> None:
        self._rng, self._first, self._cap = rng, first, cap
        self._attempt = 0

    def next(self, retry_after: float | None = None) -> float:
        """Seconds to wait now. retry_after: what the Console asked for; never less than that."""
        ceiling = min(self._cap, self._first * 2 ** min(self._attempt, 16))
        self._attempt += 1
        wait = self._rng.uniform(0, ceiling)
        if retry_after is None:
            return wait
        return min(max(retry_after, 0.0), _MAX_RETRY_AFTER) + wait

    def reset(self) -> None:
        """A session was opened: the next loss starts from the beginning."""
        self._attempt = 0


class IdleLimit:
    """Learns from sessions that were cut while nothing was said: something on the way forgets
    idle connections. Two cuts after about the same silence are believed, one may be a chance.

    ping: seconds between pings that keep a connection alive; None while nothing is known.
    """

    def __init__(self) -> None:
        self.ping: float | None = None
        self._last: float | None = None

    def cut(self, quiet: float, heartbeat: float) -> bool:
        """A session ended without a goodbye, `quiet` seconds after the last word; whether
        something new was learnt. heartbeat: between its pings."""
        before, self._last = self._last, None
        if not MIN_QUIET <= quiet < heartbeat:
            # While a ping was unanswered: that is a connection that was lost.
            return False
        if before is None or not before / ALIKE <= quiet <= before * ALIKE:
            self._last = quiet
            return False
        self.ping = max(min(before, quiet) * _PING_WITHIN, MIN_HEARTBEAT)
        return True

    def forget(self) -> None:
        """The way is another one now."""
        self.ping = self._last = None


class Enrolment:
    """A Defender without identity asks for one. The token leaves only in a proven channel."""

    def __init__(self, channel: ClientChannel, request: EnrolRequest) -> None:
        self._channel = channel
        channel.send(encode(request))

    def receive(self, data: bytes) -> Enrolled | None:
        """Take bytes; the answer once it is there.

        Raises:
            FleetError: refused, not the Console of the token, or no Console at all.
        """
        for raw in self._channel.receive(data):
            match decode_from_console(raw):
                case Enrolled() as enrolled:
                    return enrolled
                case Refused() as refused:
                    raise refusal(refused)
                case None:
                    continue
                case other:
                    raise ProtocolError(f"{type(other).__name__} in place of an enrolment")
        return None

    def eof(self) -> None:
        """The transport ended. Raises ChannelClosedError: always too early here."""
        self._channel.eof()

    def outgoing(self) -> bytes:
        return self._channel.outgoing()


class DefenderSession:
    """A Defender's side of one session.

    `welcome` is the Console's answer to our Hello, None until it came; only then may anything
    else be sent. Pongs are consumed here, a refusal is raised.
    """

    def __init__(
        self, channel: ClientChannel, hello: Hello, now: float, *, ping: float | None = None
    ) -> None:
        """ping: seconds between pings, where more are needed than the Console expects."""
        self._channel = channel
        self._heard = self._pinged = now
        self.welcome: Welcome | None = None
        self._heartbeat = self._patience = 0.0
        self._ping = ping
        channel.send(encode(hello))

    def receive(self, data: bytes, now: float) -> list[FromConsole]:
        """Take bytes, give the messages completed by them (the Welcome too).

        Raises:
            FleetError: the session is over, and why.
        """
        self._heard = now
        messages: list[FromConsole] = []
        for raw in self._channel.receive(data):
            match decode_from_console(raw):
                case Refused() as refused:
                    raise refusal(refused)
                case Welcome() as welcome:
                    self._welcomed(welcome, now)
                    messages.append(welcome)
                case Pong() | None:
                    continue
                case Enrolled():
                    raise ProtocolError("Enrolled in a session")
                case message:
                    if self.welcome is None:
                        raise ProtocolError(f"{type(message).__name__} before Welcome")
                    messages.append(message)
        return messages

    def send(self, message: FromDefender) -> None:
        """Queue `message`; the transport takes it from `outgoing`."""
        if self.welcome is None:
            raise ValueError("nothing is sent before Welcome")
        self._channel.send(encode(message))

    def outgoing(self) -> bytes:
        return self._channel.outgoing()

    def eof(self) -> None:
        """The transport ended. Raises ChannelClosedError in the middle of something."""
        self._channel.eof()

    def close(self) -> None:
        self._channel.close()

    @property
    def ended(self) -> bool:
        """Whether the Console has said goodbye."""
        return self._channel.state == "closed"

    @property
    def heartbeat(self) -> float:
        """Seconds between pings; 0 before the Welcome."""
        return self._heartbeat

    def next_tick(self) -> float:
        """When to call `tick`; before the Welcome there is nothing to do."""
        return self._pinged + self._heartbeat if self.welcome else float("inf")

    def tick(self, now: float) -> None:
        """Queue a ping when one is due.

        Raises:
            SessionLostError: three heartbeats were not answered.
        """
        if self.welcome is None or now < self.next_tick():
            return
        if now - self._heard > self._patience:
            raise SessionLostError(now - self._heard)
        self._pinged = now
        self._channel.send(encode(Ping(sent=now)))

    def _welcomed(self, welcome: Welcome, now: float) -> None:
        if self.welcome is not None:
            raise ProtocolError("a second Welcome")
        self.welcome, self._pinged = welcome, now
        expected = min(max(welcome.heartbeat, MIN_HEARTBEAT), MAX_HEARTBEAT)
        self._heartbeat, self._patience = expected, MISSED * expected
        if self._ping is not None:
            self._heartbeat = min(expected, self._ping)


Stage: TypeAlias = Literal["first", "deciding", "open", "over"]


class ConsoleSession:
    """The Console's side of one connection: an enrolment or a session.

    The first message is a Hello from a peer with a certificate or an EnrolRequest from one
    without; `receive` gives it, and the caller answers with `welcome`, `enrolled` or `refuse`.
    Pings are answered here.
    """

    def __init__(
        self, channel: ServerChannel, *, heartbeat: float, handshake: float, now: float
    ) -> None:
        self._channel = channel
        self._heartbeat = heartbeat
        self._patience = handshake
        self._deadline = now + handshake
        self.stage: Stage = "first"

    @property
    def peer_certificate(self) -> bytes | None:
        return self._channel.peer_certificate

    @property
    def deadline(self) -> float:
        """When the peer counts as gone unless it is heard before."""
        return self._deadline

    def check(self, now: float) -> None:
        """Do nothing while the peer is alive.

        Raises:
            SessionLostError: its deadline has passed.
        """
        if now >= self._deadline:
            raise SessionLostError(self._patience)

    def receive(self, data: bytes, now: float) -> list[FromDefender]:
        """Take bytes, give the messages completed by them.

        Raises:
            FleetError: the connection is over; `outgoing` may hold a last word.
        """
        messages: list[FromDefender] = []
        for raw in self._channel.receive(data):
            message = decode_from_defender(raw)
            if self.stage == "first":
                messages.append(self._first(message))
            elif self.stage != "open":
                raise ProtocolError("a message before the answer to the first one")
            elif isinstance(message, Ping):
                self._channel.send(encode(Pong(sent=message.sent)))
            elif isinstance(message, Hello | EnrolRequest):
                raise ProtocolError(f"{type(message).__name__} in a session")
            elif message is not None:
                messages.append(message)
        # Before the session is open the first deadline stands: a slow peer does not prolong it.
        if self.stage == "open":
            self._deadline = now + self._patience
        return messages

    def welcome(self, defender_id: str, now: float) -> None:
        """The peer is the Defender it says it is: the session is open."""
        self._answer(Welcome(defender_id=defender_id, heartbeat=self._heartbeat))
        self._channel.accept_large()
        self.stage = "open"
        self._patience = MISSED * self._heartbeat
        self._deadline = now + self._patience

    def enrolled(self, enrolled: Enrolled) -> None:
        """The peer has an identity now and will come back with it."""
        self._answer(enrolled)
        self.stage = "over"

    def refuse(self, error: GarrisonError, retry_after: float | None = None) -> None:
        """Say why not; the caller closes the connection after it."""
        if self._channel.state != "ready":
            return
        refused = Refused(
            code=error.code, message=error.message, hint=error.hint, retry_after=retry_after
        )
        self._channel.send(encode(refused))
        self._channel.close()
        self.stage = "over"

    def send(self, message: FromConsole) -> None:
        """Queue `message` in an open session."""
        if self.stage != "open":
            raise ValueError("no session is open")
        self._channel.send(encode(message))

    def outgoing(self) -> bytes:
        return self._channel.outgoing()

    def close(self) -> None:
        self._channel.close()
        self.stage = "over"

    @property
    def ended(self) -> bool:
        """Whether the peer has said goodbye."""
        return self._channel.state == "closed"

    def _answer(self, message: FromConsole) -> None:
        if self.stage != "deciding":
            raise ValueError("there is nothing to answer")
        self._channel.send(encode(message))

    def _first(self, message: FromDefender | None) -> Hello | EnrolRequest:
        expected = Hello if self.peer_certificate is not None else EnrolRequest
        if not isinstance(message, expected):
            raise ProtocolError("the first message is neither Hello nor an enrolment")
        if message.protocol < OLDEST_PROTOCOL:
            error = ProtocolVersionError(message.protocol)
            self.refuse(error)
            raise error
        self.stage = "deciding"
        return message


class ProtocolVersionError(FleetError):
    """The Defender is too old for this Console."""

    code = "fleet.protocol_version"

    def __init__(self, protocol: int) -> None:
        super().__init__(
            f"the Defender speaks protocol {protocol}, this Console {OLDEST_PROTOCOL} to {PROTOCOL}"
        )

    @property
    def hint(self) -> str:
        return "Upgrade the Defender."


def refusal(refused: Refused) -> RefusedError:
    return RefusedError(refused.code, refused.message, refused.hint, refused.retry_after)
