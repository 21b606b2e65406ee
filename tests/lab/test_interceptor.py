"""What an inspecting proxy sees is kept, WebSocket frames unmasked."""

import asyncio
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from lab.authority import Authority
from lab.frames import payloads
from lab.interceptor import Interceptor
from lab.network import Network
from lab.squid import Squid

pytestmark = pytest.mark.network

ECHO = """
import asyncio, ssl, sys
from websockets.asyncio.server import serve
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
async def echo(socket):
    async for message in socket:
        await socket.send(message[::-1])
async def main():
    async with serve(echo, "0.0.0.0", 8084, ssl=context) as server:
        print("ready", flush=True)
        await server.serve_forever()
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def console(
    net: Network, public_ca: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A WebSocket server where the Console would be."""
    pair = public_ca.issue("console.test")
    argv = [sys.executable, "-c", ECHO, str(pair.certificate), str(pair.key)]
    with net.popen(
        "console", argv, directory=tmp_path_factory.mktemp("echo"), name="echo"
    ) as process:
        process.wait_line("ready")
        yield


def reversed_by_console(proxy: str, ca: Path, message: str) -> str:
    async def talk() -> str:
        context = ssl.create_default_context(cafile=str(ca))
        url = "wss://console.test:8084/fleet"
        async with connect(url, ssl=context, proxy=proxy, max_size=None) as socket:
            await socket.send(message)
            return str(await socket.recv())

    return asyncio.run(talk())


@pytest.mark.parametrize("message", ["open sesame", "s" * 70_000 + "esame"])
def test_stand_alone_interceptor_reads_websockets(
    net: Network, public_ca: Authority, inspection_ca: Authority, console: None, message: str
) -> None:
    with Interceptor(net, authority=inspection_ca, trust=[public_ca.certificate]) as proxy:
        answer = net.call(
            "remote", reversed_by_console, proxy.url, inspection_ca.certificate, message
        )
        assert answer == message[::-1]
        (seen,) = proxy.connections
        assert seen.target == "console.test:8084"
        assert message.encode() in seen.messages
        assert message.encode() in proxy.decrypted()
        assert answer.encode() in proxy.decrypted()
        assert b"GET /fleet" in seen.sent


def test_recorder_sees_all_that_a_bumping_squid_decrypted(
    net: Network, public_ca: Authority, inspection_ca: Authority, console: None, tmp_path: Path
) -> None:
    own = Authority(tmp_path, "Lab recorder")
    with (
        Interceptor(net, authority=own, trust=[public_ca.certificate], mode="origin") as recorder,
        Squid(
            net=net, bump=inspection_ca, trust=[own.certificate], upstream=recorder.address
        ) as squid,
    ):
        answer = net.call(
            "remote", reversed_by_console, squid.url, inspection_ca.certificate, "open sesame"
        )
        assert answer == "emases nepo"
        assert squid.wait_for(lambda entry: entry.method == "GET").status == 101
        assert b"open sesame" in recorder.decrypted()
        assert b"emases nepo" in recorder.decrypted()
        assert b"Via: 1.1 proxy.test" in recorder.decrypted()


def test_frames_of_anything_else_are_none() -> None:
    assert payloads(b"GET / HTTP/1.1\r\n\r\nbody") == []
    assert payloads(b"") == []
    assert payloads(b"HTTP/1.1 101\r\nUpgrade: websocket\r\n\r\n\x82\x05he") == []
