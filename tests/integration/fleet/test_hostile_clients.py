"""What connects to the gateway without being a Defender is closed within limits."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from garrison.console import gateway_records
from garrison.console.gateway import GatewayLimits
from garrison.console.gateway_records import UnknownDefenderError
from garrison.fleet.authority import Authority
from garrison.fleet.channel import ClientChannel
from garrison.fleet.identity import DefenderIdentity, DefenderKey
from garrison.fleet.join_token import JoinToken
from garrison.fleet.messages import EnrolRequest, Hello, ScanResult, encode
from tests.integration.fleet.harness import Console, running_console, running_defender, utc_now

HELLO = Hello(name="n", version="1", platform="linux/amd64", settings_revision=0)


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Console]:
    limits = GatewayLimits(poll=0.2, handshake=0.6)
    async with running_console(tmp_path / "console", limits=limits) as console:
        yield console


@contextlib.asynccontextmanager
async def client(console: Console) -> AsyncIterator[ClientConnection]:
    async with connect(f"{console.url}/v1/fleet", compression=None, proxy=None) as connection:
        yield connection


async def drain(connection: ClientConnection, channel: ClientChannel | None = None) -> list[bytes]:
    """Everything until the gateway closes; fails when it does not."""
    messages: list[bytes] = []
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionClosed):
            while True:
                data = await connection.recv()
                assert isinstance(data, bytes)
                if channel is not None:
                    messages += channel.receive(data)
                    if out := channel.outgoing():
                        await connection.send(out)
    return messages


async def test_another_path_is_not_found(console: Console) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(f"{console.url}/", proxy=None):
            pass

    assert caught.value.response.status_code == 404


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", bytes(1000), b"\x16\x03\x01\x02\x00" + bytes(600), "text"]
)
async def test_what_is_no_inner_tls_is_closed(console: Console, data: bytes | str) -> None:
    async with client(console) as connection:
        await connection.send(data)
        await drain(connection)

    assert console.gateway.counters.refusals == 1


async def test_a_frame_too_long_is_closed(console: Console) -> None:
    async with client(console) as connection:
        with contextlib.suppress(ConnectionClosed):
            await connection.send(bytes(1 << 20))
        await drain(connection)


async def test_who_says_nothing_is_closed(console: Console) -> None:
    async with client(console) as connection:
        await drain(connection)

    assert console.gateway.counters.refusals == 1


async def test_who_says_little_is_closed(console: Console) -> None:
    """One byte of a good handshake at a time, for longer than the handshake may take."""
    channel = ClientChannel.for_enrolment(console.authority.pin, utc_now)
    hello = channel.outgoing()
    async with client(console) as connection:
        with pytest.raises(ConnectionClosed):
            await trickle(connection, hello)


async def trickle(connection: ClientConnection, data: bytes) -> None:
    for byte in data:
        await connection.send(bytes([byte]))
        await asyncio.sleep(0.02)


async def test_a_raw_connection_that_says_nothing_is_closed(console: Console) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", console.port)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()


async def test_a_flood_without_certificate_is_closed(console: Console) -> None:
    """A megabyte in one message, promised after a good handshake."""
    channel = ClientChannel.for_enrolment(console.authority.pin, utc_now)
    async with client(console) as connection:
        while channel.state == "handshake":
            await connection.send(channel.outgoing())
            data = await connection.recv()
            assert isinstance(data, bytes)
            channel.receive(data)
        channel.send(b"x" + bytes(range(256)) * 4096)
        channel._write(b"\x00\xff\xff\xff\x00")
        with contextlib.suppress(ConnectionClosed):
            await connection.send(channel.outgoing())
        await drain(connection)

    assert console.gateway.counters.refusals == 1


async def test_hello_without_certificate_opens_no_session(console: Console) -> None:
    channel = ClientChannel.for_enrolment(console.authority.pin, utc_now)
    channel.send(encode(HELLO))
    async with client(console) as connection:
        await connection.send(channel.outgoing())
        messages = await drain(connection, channel)

    assert b"fleet.protocol" in b"".join(messages)
    assert console.gateway.connected() == frozenset()


def identity(authority: Authority, name: str = "nobody") -> DefenderIdentity:
    key = DefenderKey.create()
    certificate = authority.issue_defender(key.csr, name, utc_now())
    return DefenderIdentity.enrolled(key, name, certificate, authority.certificate_pem)


async def test_a_good_certificate_of_nobody_is_refused(console: Console) -> None:
    """Signed by our authority, known to no row: from a lost backup."""
    channel = ClientChannel.for_identity(identity(console.authority))
    channel.send(encode(HELLO))
    async with client(console) as connection:
        await connection.send(channel.outgoing())
        messages = await drain(connection, channel)

    assert b"fleet.defender_unknown" in b"".join(messages)
    assert console.gateway.connected() == frozenset()


async def test_an_older_certificate_than_the_one_in_use_is_refused(
    console: Console, tmp_path: Path
) -> None:
    """After a renewal was used the certificate before it is worth nothing."""
    async with running_defender(
        console.url, tmp_path / "node", token=console.join_token()
    ) as defender:
        defender_id = await defender.connected()
    first = DefenderIdentity.load(tmp_path / "node/defender")
    assert first is not None
    key = DefenderKey.create()
    later = utc_now().replace(microsecond=0)
    later = later.replace(year=later.year + 1)
    renewed = first.renewed(
        key,
        console.authority.issue_defender(key.csr, defender_id, later),
        console.authority.certificate_pem,
    )
    # Not valid yet by the clock: only the database's part is looked at here.
    assert gateway_records.admit(console.db, der(first)) == defender_id
    assert gateway_records.admit(console.db, der(renewed)) == defender_id
    assert gateway_records.admit(console.db, der(renewed)) == defender_id
    with pytest.raises(UnknownDefenderError):
        gateway_records.admit(console.db, der(first))


def der(identity: DefenderIdentity) -> bytes:
    return x509.load_pem_x509_certificate(identity.certificate.encode()).public_bytes(Encoding.DER)


async def test_a_result_that_is_none_is_a_failure_not_a_loop(
    console: Console, tmp_path: Path
) -> None:
    """Acknowledged, so that it is not sent for ever; shown as what it is."""
    async with running_defender(
        console.url, tmp_path / "node", token=console.join_token()
    ) as defender:
        defender.scanner.gate.clear()
        await defender.connected()
        scan_id = console.request_scan("registry.test/app:1")
        await defender.scanner.begun()
        await defender.agent._link.send(ScanResult(id=scan_id, inventory="rubbish"))
        await console.until(lambda: bool(console.failed))
        error = console.scan(scan_id).error

    assert error is not None
    assert error["code"] == "fleet.bad_result"


async def test_no_log_line_holds_a_secret(console: Console, tmp_path: Path) -> None:
    token = JoinToken(bytes(range(20)), console.authority.pin)
    request = EnrolRequest(
        token=token.secret_text, csr="not a request", name="n", version="1", platform="p"
    )
    with structlog.testing.capture_logs() as events:
        channel = ClientChannel.for_enrolment(console.authority.pin, utc_now)
        channel.send(encode(request))
        async with client(console) as connection:
            await connection.send(channel.outgoing())
            messages = await drain(connection, channel)

    assert b"fleet.join_token_unknown" in b"".join(messages)
    assert events
    assert token.secret_text not in str(events)
    assert token.secret_text.encode() not in b"".join(messages)


async def test_too_many_at_once_are_told_when_to_come_back(tmp_path: Path) -> None:
    limits = GatewayLimits(accepts_per_second=5)
    async with running_console(tmp_path / "console", limits=limits) as console:

        async def attempt() -> int | None:
            try:
                async with connect(f"{console.url}/v1/fleet", proxy=None, open_timeout=20):
                    return None
            except InvalidStatus as error:
                return int(error.response.headers["Retry-After"])

        answers = await asyncio.gather(*(attempt() for _ in range(90)))

    waits = [answer for answer in answers if answer is not None]
    assert 0 < len(waits) < 90
    # Spaced: they do not all come back at one moment.
    assert len(set(waits)) > 1
    assert min(waits) >= 5


async def test_the_websocket_library_logs_no_tracebacks(
    console: Console, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        _, writer = await asyncio.open_connection("127.0.0.1", console.port)
        writer.write(b"\x16\x03\x01 not http\r\n\r\n")
        await writer.drain()
        writer.close()
        await asyncio.sleep(0.1)

    assert [record for record in caplog.records if record.exc_info] == []
