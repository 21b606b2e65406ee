"""Probes answer what orchestrators and people ask."""

from __future__ import annotations

import asyncio

import pytest

from garrison.defender.health import Probes, answer, serve
from garrison.errors import InvalidSettingError

READY = Probes(lambda: (True, "connected as d"), lambda: {"a_total": 3.0, "b": 1.5})
NOT_READY = Probes(lambda: (False, "not connected: why"), dict)


def get(path: str, probes: Probes = READY, method: str = "GET") -> tuple[int, str]:
    head, _, body = answer(f"{method} {path} HTTP/1.1\r\n\r\n".encode(), probes).partition(
        b"\r\n\r\n"
    )
    return int(head.split(b" ")[1]), body.decode()


def test_probes() -> None:
    assert get("/healthz") == (200, "ok\n")
    assert get("/healthz", NOT_READY) == (200, "ok\n")
    assert get("/readyz") == (200, "connected as d\n")
    assert get("/readyz?verbose", NOT_READY) == (503, "not connected: why\n")
    assert get("/readyz", method="HEAD") == (200, "")
    assert get("/") == (404, "not found\n")
    assert get("/healthz", method="POST")[0] == 405


def test_metrics_are_prometheus_text() -> None:
    status, text = get("/metrics")

    assert status == 200
    assert text == "# TYPE a_total counter\na_total 3\n# TYPE b gauge\nb 1.5\n"


@pytest.mark.parametrize("head", [b"", b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\xfe\r\n\r\n"])
def test_rubbish_is_answered_with_an_error(head: bytes) -> None:
    assert answer(head, READY).split(b" ")[1] in {b"404", b"405"}


async def test_over_a_socket_and_with_rubbish() -> None:
    server = await serve("127.0.0.1", 0, READY)
    port = server.sockets[0].getsockname()[1]
    async with server:
        for sent, expected in ((b"GET /healthz HTTP/1.1\r\n\r\n", b"ok\n"), (b"x" * 20_000, b"")):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(sent)
            try:
                assert (await reader.read()).endswith(expected)
            except ConnectionResetError:
                assert expected == b""
            writer.close()
        with pytest.raises(InvalidSettingError) as caught:
            await serve("127.0.0.1", port, READY)

    assert caught.value.field == "health_listen"
