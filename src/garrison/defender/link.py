"""The session with the Console: enrol, connect, keep, and come back.

Every connection is a WebSocket opened by `egress`. Which of a Console's answers lead to a new
enrolment, and which do not, is `enrol_again`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from garrison.defender.settings import DefenderSettings
from garrison.defender.state import LinkState, as_failure
from garrison.errors import GarrisonError
from garrison.fleet.channel import ClientChannel
from garrison.fleet.errors import (
    ChannelClosedError,
    FleetError,
    IdentityRefusedError,
    NotOurConsoleError,
    PinMismatchError,
    RefusedError,
)
from garrison.fleet.files import write_private
from garrison.fleet.identity import DefenderIdentity, DefenderKey
from garrison.fleet.join_token import JoinToken
from garrison.fleet.messages import (
    EnrolRequest,
    FromConsole,
    FromDefender,
    Hello,
    Renew,
    Renewed,
    Welcome,
)
from garrison.fleet.session import Backoff, DefenderSession, Enrolment, IdleLimit

CONNECT_SECONDS = 30.0
WELCOME_SECONDS = 30.0
LOG_SECONDS = 60.0
"""How often the same reason for not being connected is logged."""

FRAME = 128 << 10
"""Bytes of one WebSocket message at most; the inner TLS does not care where it is cut."""

_log = structlog.get_logger(__name__)


class Connection(Protocol):
    """A WebSocket, as `egress` gives it."""

    async def send(self, data: bytes, /) -> None: ...

    async def receive(self) -> bytes | None: ...

    async def close(self) -> None: ...


class Dial(Protocol):
    """Opens the WebSocket to the Console.

    extra_ca: PEM that the outer TLS may be verified with. pin: SHA-256 of such a CA's key, where
    its certificate is not known yet.
    """

    async def __call__(self, *, extra_ca: str, pin: bytes | None) -> Connection: ...


class Owner(Protocol):
    """Who has the link: says what a session starts with, and gets what arrives."""

    def hello(self) -> Hello: ...

    async def opened(self) -> None: ...

    async def received(self, message: FromConsole) -> None: ...


class NotEnrolledError(FleetError):
    """There is neither an identity nor a join token."""

    code = "fleet.not_enrolled"

    def __init__(self) -> None:
        super().__init__("this Defender has no identity and no join token to get one")

    @property
    def hint(self) -> str:
        return (
            "Create a join token (Manage > Defenders, or garrison join-tokens create) and set "
            "GARRISON_JOIN_TOKEN_FILE to a file that holds it."
        )


class DataUnwritableError(FleetError):
    """The identity could not be kept."""

    code = "fleet.data_unwritable"

    def __init__(self, directory: Path, reason: str) -> None:
        super().__init__(f"cannot write in {directory}: {reason}")

    @property
    def hint(self) -> str:
        return "Give the Defender a directory it may write in (GARRISON_DATA), with space left."


class SilentConsoleError(FleetError):
    """The WebSocket was opened, but no Console has answered inside it."""

    code = "fleet.no_answer"

    def __init__(self, seconds: float) -> None:
        super().__init__(f"what was reached at the Console's address said nothing in {seconds:g} s")

    @property
    def hint(self) -> str:
        return "Check that the address is the gateway's, and that proxies pass WebSockets on."


def enrol_again(
    error: FleetError, identity: DefenderIdentity, token: JoinToken | None, *, accepted: bool
) -> bool:
    """Whether `error` means that `identity` is worth nothing any more and `token` may replace it.

    accepted: whether a Console has ever taken this identity, or it is older than this process. A
        fresh one that is refused shows a fault that enrolling again would repeat for ever.
    """
    if token is None or not accepted:
        return False
    if isinstance(error, RefusedError):
        if error.code == "fleet.defender_unknown":
            return True
        # Somebody removed this Defender on purpose: only a token that it did not have yet says
        # that it is welcome again.
        return (
            error.code == "fleet.defender_removed"
            and token.secret_hash.hex() != identity.enrolled_with
        )
    if isinstance(error, IdentityRefusedError):
        return True
    # The Console has another authority now. The token proves that it is the one meant: enrolling
    # checks its pin. With the old authority's token something in between has answered.
    return (
        isinstance(error, NotOurConsoleError)
        and not isinstance(error, PinMismatchError)
        and token.pin not in identity.pins
    )


class Link:
    """Keeps one session with the Console; `run` is its whole life.

    clock: monotonic seconds. now: wall clock, for certificates.
    """

    def __init__(
        self,
        config: DefenderSettings,
        dial: Dial,
        owner: Owner,
        *,
        rng: random.Random,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[LinkState], None] = lambda _: None,
    ) -> None:
        self._config, self._dial, self._owner = config, dial, owner
        self._now, self._clock, self._changed = now, clock, changed
        self._backoff = Backoff(rng)
        self._identity: DefenderIdentity | None = None
        self._accepted = True
        self._session: DefenderSession | None = None
        self._connection: Connection | None = None
        self._sending = asyncio.Lock()
        self._again = asyncio.Event()
        self._renewal: DefenderKey | None = None
        self._logged = 0.0
        self._generation = 0
        self._idle = IdleLimit()
        self._spoken = 0.0
        self.state = LinkState()

    async def run(self, stop: asyncio.Event) -> None:
        """Connect, and connect again, until `stop` is set; then say goodbye.

        Raises:
            IdentityUnreadableError: the identity's file is there but broken.
            NotEnrolledError: there is none, and no token to get one.
        """
        self._identity = await asyncio.to_thread(DefenderIdentity.load, self._config.directory)
        if self._identity is None and self._config.join_token is None:
            raise NotEnrolledError
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                attempt = asyncio.create_task(self._attempt())
                await asyncio.wait({attempt, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not attempt.done():
                    await self._goodbye()
                    attempt.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        await attempt
                    return
                await self._pause(attempt.result(), stopping)
        finally:
            stopping.cancel()

    def reconnect(self, *, close: bool) -> None:
        """Try again now instead of after the wait; with `close` also leave the present session.

        For settings that have changed: the next connection uses the new ones.
        """
        self._backoff.reset()
        self._again.set()
        self._generation += close
        if close:
            self._idle.forget()
        if close and (connection := self._connection) is not None:
            self._session_over(None)
            task = asyncio.ensure_future(connection.close())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def send(self, message: FromDefender) -> bool:
        """Send `message`; False when there is no session (any more)."""
        session, connection = self._session, self._connection
        if session is None or connection is None or session.welcome is None:
            return False
        try:
            session.send(message)
            await self._flush(session.outgoing, connection)
        except GarrisonError:
            # Whoever reads the connection reports the loss.
            return False
        return True

    # --- one attempt ---------------------------------------------------------------------

    async def _attempt(self) -> float | None:
        """One connection from dialling to its end. Seconds to wait at least, or None."""
        self._again.clear()
        try:
            if self._identity is None:
                await self._enrol()
            await self._serve()
        except GarrisonError as error:
            return await self._failed(error)
        except Exception as error:
            _log.exception("session failed unexpectedly")
            self._set_failure(error)
            return None
        finally:
            self._session_over(None)
        return None

    async def _failed(self, error: GarrisonError) -> float | None:
        token, identity = self._config.join_token, self._identity
        if (
            isinstance(error, FleetError)
            and identity is not None
            and enrol_again(error, identity, token, accepted=self._accepted)
        ):
            _log.warning(
                "identity is refused, enrolling again",
                code=error.code,
                reason=error.message,
                defender=identity.defender_id,
            )
            self._identity = None
            return 0.0
        self._set_failure(error)
        return _retry_after(error)

    async def _pause(self, at_least: float | None, stopping: asyncio.Task[bool]) -> None:
        if self._identity is None and at_least == 0.0:
            return
        again = asyncio.create_task(self._again.wait())
        await asyncio.wait(
            {again, stopping},
            timeout=self._backoff.next(at_least),
            return_when=asyncio.FIRST_COMPLETED,
        )
        again.cancel()

    # --- enrolment -----------------------------------------------------------------------

    async def _enrol(self) -> None:
        token = self._config.join_token
        if token is None:
            raise NotEnrolledError
        # Before the token is used up: an identity that cannot be kept would be lost.
        await asyncio.to_thread(_check_writable, self._config.directory)
        key = await asyncio.to_thread(DefenderKey.create)
        hello = self._owner.hello()
        enrolment = Enrolment(
            ClientChannel.for_enrolment(token.pin, self._now),
            EnrolRequest(
                token=token.secret_text,
                csr=key.csr,
                name=hello.name,
                version=hello.version,
                platform=hello.platform,
            ),
        )
        connection = await self._dial(extra_ca="", pin=token.pin)
        try:
            async with asyncio.timeout(WELCOME_SECONDS):
                answer = None
                while answer is None:
                    await self._flush(enrolment.outgoing, connection)
                    data = await connection.receive()
                    if data is None:
                        enrolment.eof()
                        raise ChannelClosedError("the Console closed without an answer")
                    answer = enrolment.receive(data)
        except TimeoutError:
            raise SilentConsoleError(WELCOME_SECONDS) from None
        finally:
            await connection.close()
        identity = DefenderIdentity.enrolled(
            key, answer.defender_id, answer.certificate, answer.ca, token
        )
        await asyncio.to_thread(identity.save, self._config.directory)
        self._identity, self._accepted = identity, False
        _log.info("enrolled", defender=identity.defender_id, console=self._config.console)

    # --- a session -----------------------------------------------------------------------

    async def _serve(self) -> None:
        identity = self._identity
        if identity is None:
            raise NotEnrolledError
        generation = self._generation
        connection = await self._dial(extra_ca=identity.ca, pin=None)
        if generation != self._generation:
            # The settings changed while this was dialled by the old ones.
            await connection.close()
            return
        session = DefenderSession(
            ClientChannel.for_identity(identity),
            self._owner.hello(),
            self._clock(),
            ping=self._idle.ping,
        )
        self._session, self._connection = session, connection
        try:
            async with asyncio.TaskGroup() as group:
                ticks = group.create_task(self._tick(session, connection))
                await self._read(session, connection)
                ticks.cancel()
        except* GarrisonError as errors:
            raise _first(errors) from None
        finally:
            await connection.close()

    async def _read(self, session: DefenderSession, connection: Connection) -> None:
        await self._flush(session.outgoing, connection)
        deadline = self._clock() + WELCOME_SECONDS
        while True:
            try:
                async with asyncio.timeout(
                    None if session.welcome else max(deadline - self._clock(), 0)
                ):
                    data = await connection.receive()
            except TimeoutError:
                raise SilentConsoleError(WELCOME_SECONDS) from None
            if data is None:
                self._cut(session)
                session.eof()
                return
            self._spoken = self._clock()
            welcomed = session.welcome is not None
            messages = session.receive(data, self._clock())
            await self._flush(session.outgoing, connection)
            if not welcomed and session.welcome is not None:
                await self._opened()
            for message in messages:
                if isinstance(message, Renewed):
                    await self._renewed(message)
                elif not isinstance(message, Welcome):
                    await self._owner.received(message)
            if session.ended:
                return

    async def _opened(self) -> None:
        identity = self._identity
        if identity is None:
            raise NotEnrolledError
        self._backoff.reset()
        self._accepted = True
        route = self._owner.hello().route
        self._set(LinkState(connected=True, defender_id=identity.defender_id, route=route))
        _log.info("connected", console=self._config.console, route=route)
        if identity.renewal_due(self._now()):
            self._renewal = await asyncio.to_thread(DefenderKey.create)
            await self.send(Renew(csr=self._renewal.csr))
        await self._owner.opened()

    async def _renewed(self, message: Renewed) -> None:
        identity, key, self._renewal = self._identity, self._renewal, None
        if identity is None or key is None:
            return
        renewed = identity.renewed(key, message.certificate, message.ca)
        await asyncio.to_thread(renewed.save, self._config.directory)
        self._identity = renewed
        _log.info("certificate renewed", until=renewed.not_after.isoformat())

    async def _tick(self, session: DefenderSession, connection: Connection) -> None:
        while True:
            wait = session.next_tick() - self._clock()
            await asyncio.sleep(min(max(wait, 0.05), 1.0))
            session.tick(self._clock())
            await self._flush(session.outgoing, connection)

    async def _flush(self, outgoing: Callable[[], bytes], connection: Connection) -> None:
        # Under one lock from taking the bytes to sending them: TLS records must keep their order.
        async with self._sending:
            data = outgoing()
            if data:
                self._spoken = self._clock()
            for start in range(0, len(data), FRAME):
                await connection.send(data[start : start + FRAME])

    def _cut(self, session: DefenderSession) -> None:
        """The connection has ended; by whom?"""
        if session.ended or session is not self._session or session.welcome is None:
            return
        quiet = self._clock() - self._spoken
        if self._idle.cut(quiet, session.heartbeat):
            _log.warning(
                "idle sessions are closed on the way",
                after=round(quiet, 1),
                ping=round(self._idle.ping or 0.0, 1),
                hint="Pings are sent more often from now on. A proxy's or firewall's idle limit"
                " does this; raise it for the Console's address if that is not wanted.",
            )

    async def _goodbye(self) -> None:
        session, connection = self._session, self._connection
        if session is None or connection is None:
            return
        session.close()
        with contextlib.suppress(GarrisonError, TimeoutError):
            async with asyncio.timeout(2):
                await self._flush(session.outgoing, connection)
                await connection.close()

    # --- state ---------------------------------------------------------------------------

    def _session_over(self, _: object) -> None:
        was, self._session, self._connection = self._session, None, None
        if was is not None and self.state.connected:
            self._set(LinkState(defender_id=self.state.defender_id))

    def _set_failure(self, error: BaseException) -> None:
        failure = as_failure(error)
        repeated = failure == self.state.failure and self._clock() - self._logged < LOG_SECONDS
        self._set(LinkState(failure=failure, attempts=self.state.attempts + 1))
        if repeated:
            return
        self._logged = self._clock()
        _log.warning(
            "not connected",
            console=self._config.console,
            code=failure.code,
            hop=failure.hop or None,
            who=failure.who or None,
            reason=failure.message,
            hint=failure.hint or None,
        )

    def _set(self, state: LinkState) -> None:
        self.state = state
        self._changed(state)


def _check_writable(directory: Path) -> None:
    probe = directory / "probe"
    try:
        write_private(probe, b"")
        probe.unlink()
    except OSError as error:
        raise DataUnwritableError(directory, error.strerror or type(error).__name__) from error


def _first(errors: BaseExceptionGroup[GarrisonError]) -> GarrisonError:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _retry_after(error: GarrisonError) -> float | None:
    """What the Console asked for: in a refusal, or in the header of a 503 at its listener."""
    if isinstance(error, RefusedError):
        return error.retry_after
    headers = getattr(getattr(error, "answer", None), "headers", None)
    try:
        return float(headers["Retry-After"]) if headers is not None else None
    except (KeyError, ValueError, TypeError):
        return None
