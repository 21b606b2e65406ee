"""The link where the network is a stand-in: what it sends before it knows whom to, and when."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from garrison.defender import link as link_module
from garrison.defender.link import Connection, Link
from garrison.defender.settings import DefenderSettings
from garrison.defender.state import LinkState
from garrison.errors import GarrisonError
from garrison.fleet.authority import Authority
from garrison.fleet.channel import ServerChannel, ServerIdentity
from garrison.fleet.errors import FleetError
from garrison.fleet.join_token import JoinToken
from garrison.fleet.messages import FromConsole, Hello
from garrison.fleet.session import ConsoleSession
from tests.unit.fleet.certificates import NOW, enrolled

AUTHORITY = Authority.create(NOW)


class Owner:
    def __init__(self) -> None:
        self.opens = 0

    def hello(self) -> Hello:
        return Hello(name="n", version="1", platform="p", settings_revision=0)

    async def opened(self) -> None:
        self.opens += 1

    async def received(self, message: FromConsole) -> None:
        raise AssertionError(f"unexpected {message}")


class Socket:
    """A connection to a gateway in memory; `sent` is all that reached it, as it was sent."""

    def __init__(self, authority: Authority) -> None:
        self.console = ConsoleSession(
            ServerChannel(ServerIdentity(authority, NOW)), heartbeat=25, handshake=15, now=0
        )
        self.messages: list[object] = []
        self.sent = b""
        self.closed = asyncio.Event()
        self._answers: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def send(self, data: bytes) -> None:
        self.sent += data
        try:
            for message in self.console.receive(data, 0):
                self.messages.append(message)
                if isinstance(message, Hello):
                    self.console.welcome("d-1", 0)
        except FleetError:
            self._answers.put_nowait(None)
        if out := self.console.outgoing():
            self._answers.put_nowait(out)

    async def receive(self) -> bytes | None:
        return await self._answers.get()

    async def close(self) -> None:
        self.closed.set()
        self._answers.put_nowait(None)


class Network:
    """Gives out sockets; `hold` keeps a dial from returning until it is set."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.sockets: list[Socket] = []
        self.dialled = asyncio.Queue[tuple[str, bytes | None]]()
        self.hold = asyncio.Event()
        self.hold.set()
        self.error: GarrisonError | None = None

    async def __call__(self, *, extra_ca: str, pin: bytes | None) -> Connection:
        self.dialled.put_nowait((extra_ca, pin))
        await self.hold.wait()
        if self.error is not None:
            raise self.error
        self.sockets.append(Socket(self.authority))
        return self.sockets[-1]


class Running:
    """A link that runs, and its states."""

    def __init__(self, data: Path, network: Network, token: JoinToken | None = None) -> None:
        self.states: asyncio.Queue[LinkState] = asyncio.Queue()
        self.owner = Owner()
        self.link = Link(
            DefenderSettings(console="ws://console.test:8084", data=data, join_token=token),
            network,
            self.owner,
            rng=random.Random(1),
            now=lambda: NOW,
            changed=self.states.put_nowait,
        )
        self.stop = asyncio.Event()

    async def __aenter__(self) -> Running:
        self.task = asyncio.create_task(self.link.run(self.stop))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        await asyncio.wait_for(self.task, 10)

    async def state(self) -> LinkState:
        return await asyncio.wait_for(self.states.get(), 10)


async def test_outer_tls_trusts_the_pin_first_and_the_authority_later(tmp_path: Path) -> None:
    network = Network(AUTHORITY)
    token = JoinToken.create(AUTHORITY)
    async with Running(tmp_path / "new", network, token):
        assert await network.dialled.get() == ("", AUTHORITY.pin)
    enrolled(AUTHORITY).save(tmp_path / "old/defender")
    async with Running(tmp_path / "old", network, token) as running:
        assert await network.dialled.get() == (AUTHORITY.certificate_pem, None)
        assert (await running.state()).connected


async def test_nothing_of_a_token_reaches_another_console(tmp_path: Path) -> None:
    """What that Console could decrypt is recorded: nothing."""
    network = Network(Authority.create(NOW))
    token = JoinToken.create(AUTHORITY)
    async with Running(tmp_path, network, token) as running:
        state = await running.state()

    assert state.failure is not None
    assert state.failure.code == "fleet.console_not_in_join_token"
    assert [socket.messages for socket in network.sockets] == [[] for _ in network.sockets]
    assert token.secret_text.encode() not in b"".join(socket.sent for socket in network.sockets)


async def test_settings_that_change_while_dialling_are_used_at_once(tmp_path: Path) -> None:
    """Else the session would stay on the old route until it breaks."""
    enrolled(AUTHORITY).save(tmp_path / "defender")
    network = Network(AUTHORITY)
    network.hold.clear()
    async with Running(tmp_path, network) as running:
        await network.dialled.get()
        running.link.reconnect(close=True)
        network.hold.set()
        await asyncio.wait_for(network.dialled.get(), 10)
        assert (await running.state()).connected

        first, second = network.sockets
        assert first.closed.is_set()
        assert first.sent == b""
        assert [type(message) for message in second.messages] == [Hello]


async def test_a_changed_setting_cuts_the_wait(tmp_path: Path) -> None:
    enrolled(AUTHORITY).save(tmp_path / "defender")
    network = Network(AUTHORITY)
    network.error = GarrisonError("no way")
    async with Running(tmp_path, network) as running:
        for _ in range(5):
            running.link.reconnect(close=False)
            assert (await running.state()).failure is not None
        network.error = None
        running.link.reconnect(close=False)
        while not (state := await running.state()).connected:
            assert state.failure is not None
    assert running.owner.opens == 1


async def test_goodbye_is_said_at_the_end(tmp_path: Path) -> None:
    enrolled(AUTHORITY).save(tmp_path / "defender")
    network = Network(AUTHORITY)
    async with Running(tmp_path, network) as running:
        assert (await running.state()).connected

    (socket,) = network.sockets
    assert socket.console.ended
    assert socket.closed.is_set()


async def test_a_token_is_not_used_where_the_identity_cannot_be_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(link_module, "write_private", full)
    network = Network(AUTHORITY)
    async with Running(tmp_path, network, JoinToken.create(AUTHORITY)) as running:
        state = await running.state()

    assert state.failure is not None
    assert state.failure.code == "fleet.data_unwritable"
    assert network.sockets == []
