"""Plain HTTP on loopback, else TLS with a certificate of our own CA."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from garrison.console import listeners
from garrison.console.listeners import ListenError
from garrison.console.settings import ConsoleSettings, ListenAddress
from garrison.fleet import Authority
from tests.unit.console.harness import NOW


def settings(tmp_path: Path, **environ: str) -> ConsoleSettings:
    return ConsoleSettings.from_environment(environ, data=tmp_path)


def leaf(tmp_path: Path) -> x509.Certificate:
    pem = (tmp_path / "tls" / "console" / "listener.pem").read_bytes()
    return x509.load_pem_x509_certificates(pem)[0]


def names(certificate: x509.Certificate) -> set[str]:
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return {*held.get_values_for_type(x509.DNSName)} | {
        str(each) for each in held.get_values_for_type(x509.IPAddress)
    }


def test_loopback_is_plain(tmp_path: Path) -> None:
    authority = Authority.create(NOW)

    assert listeners.listener_tls(settings(tmp_path), authority, NOW) is None
    assert listeners.gateway_tls(settings(tmp_path), authority, NOW) is None


def test_a_public_listener_has_a_certificate_for_its_names(tmp_path: Path) -> None:
    made = settings(
        tmp_path,
        GARRISON_LISTEN="0.0.0.0:8083",
        GARRISON_PUBLIC_URL="https://garrison.corp.test",
    )

    context = listeners.listener_tls(made, Authority.create(NOW), NOW)

    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert {"garrison.corp.test", "localhost", "127.0.0.1"} <= names(leaf(tmp_path))
    file = tmp_path / "tls" / "console" / "listener.pem"
    assert file.stat().st_mode & 0o777 == 0o600


def test_the_certificate_is_kept_until_something_changes(tmp_path: Path) -> None:
    made = settings(tmp_path, GARRISON_LISTEN="10.0.0.1:8083")
    authority = Authority.create(NOW)
    serials = []
    for at in (NOW, NOW + timedelta(days=300), NOW + timedelta(days=380)):
        listeners.listener_tls(made, authority, at)
        serials.append(leaf(tmp_path).serial_number)
    assert serials[0] == serials[1] != serials[2]

    moved = settings(tmp_path, GARRISON_LISTEN="10.0.0.2:8083")
    listeners.listener_tls(moved, authority, NOW + timedelta(days=380))
    assert "10.0.0.2" in names(leaf(tmp_path))

    other = Authority.create(NOW)
    listeners.listener_tls(moved, other, NOW + timedelta(days=380))
    assert leaf(tmp_path).issuer == other.certificate.subject


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    made = settings(tmp_path, GARRISON_LISTEN="10.0.0.1:8083")
    path = tmp_path / "tls" / "console" / "listener.pem"
    path.parent.mkdir(parents=True)
    path.write_text("nonsense")

    assert listeners.listener_tls(made, Authority.create(NOW), NOW) is not None


def test_a_taken_port_is_said_plainly() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = ListenAddress("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(ListenError) as error:
            listeners.bind(address, "GARRISON_LISTEN")

    assert error.value.code == "console.listen"
    assert str(address) in error.value.message
    assert "GARRISON_LISTEN" in error.value.hint


@pytest.mark.parametrize("host", ["no-such-name.invalid", "203.0.113.77"])
def test_an_address_that_is_not_ours(host: str) -> None:
    with pytest.raises(ListenError) as error:
        listeners.bind(ListenAddress(host, 0), "--listen")

    assert error.value.hint


def test_port_zero_gets_a_real_one() -> None:
    with listeners.bind(ListenAddress("127.0.0.1", 0), "x") as listener:
        assert listeners.address_of(listener, ListenAddress("127.0.0.1", 0)).port > 0


async def _hello(scope: Any, receive: Any, send: Any) -> None:
    fields = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": fields})
    await send({"type": "http.response.body", "body": b"ok"})


WHOLE = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: a\r\n", WHOLE + b"GET /"])
async def test_half_a_head_does_not_hold_a_connection(
    start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does one that goes on drop by drop; also behind a request that was answered."""
    monkeypatch.setattr(listeners, "HEAD_SECONDS", 0.3)
    listener = listeners.bind(ListenAddress("127.0.0.1", 0), "--listen")
    async with listeners.serving(_hello, listener, None):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(start)

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                while not writer.is_closing():
                    writer.write(b"x" if start else b"")
                    await writer.drain()
                    await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(5):
            said = await reader.read()
        dripping.cancel()
        writer.close()
    assert said.endswith(b"408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    assert (b"200 OK" in said) == start.startswith(WHOLE)


async def test_a_slow_answer_is_not_cut_by_the_heads_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listeners, "HEAD_SECONDS", 0.1)

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.3)
        await _hello(scope, receive, send)

    listener = listeners.bind(ListenAddress("127.0.0.1", 0), "--listen")
    async with listeners.serving(slow, listener, None):
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        writer.write(WHOLE)
        async with asyncio.timeout(5):
            assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.close()
