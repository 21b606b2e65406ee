"""Opens TLS and keeps every decrypted byte: what an inspecting proxy gets to see.

Two ways to stand in the path. `connect`: clients use it as their proxy. `origin`: a Squid that
opens TLS hands it each decrypted request (`Squid(bump=…, upstream=interceptor.address)`), so
that what is kept here is what that Squid read.
"""

import argparse
import asyncio
import contextlib
import ssl
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, get_args

from lab.authority import Authority
from lab.frames import payloads
from lab.network import PROXY_NAME, Namespace, Network

Mode = Literal["connect", "origin"]
HEAD_LIMIT = 64 << 10
CHUNK = 64 << 10


@dataclass(frozen=True, slots=True)
class Intercepted:
    """One decrypted connection so far."""

    target: str
    sent: bytes
    received: bytes

    @property
    def messages(self) -> list[bytes]:
        """WebSocket payloads in both directions, unmasked: what was sent, then received."""
        return payloads(self.sent) + payloads(self.received)


class Interceptor:
    """A running interceptor in a network's `proxy` namespace.

    authority: signs the certificates it shows; in `origin` mode the Squid must trust it.
    trust: PEM files of the authorities it verifies destinations with. Read for each connection,
        so that one may come into being later, such as the Console's own.
    """

    def __init__(
        self,
        net: Network,
        *,
        authority: Authority,
        trust: Sequence[Path],
        mode: Mode = "connect",
        namespace: Namespace = "proxy",
    ) -> None:
        self.net, self.authority, self.trust = net, authority, list(trust)
        self.mode, self.namespace = mode, namespace
        self.port = 0
        self._stack = contextlib.ExitStack()
        self._records = Path()

    @property
    def url(self) -> str:
        """Its address as a proxy, in `connect` mode."""
        return f"http://{PROXY_NAME}:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        """What `Squid(upstream=…)` takes, in `origin` mode."""
        return ("127.0.0.1", self.port)

    @property
    def connections(self) -> list[Intercepted]:
        """Every connection so far, oldest first; those still open grow."""
        return [
            Intercepted(
                up.with_suffix(".target").read_text(),
                up.read_bytes(),
                up.with_suffix(".received").read_bytes(),
            )
            for up in sorted(self._records.glob("*.sent"))
        ]

    def decrypted(self) -> bytes:
        """Everything seen in the clear in both directions, WebSocket frames also unmasked."""
        parts = [[each.sent, each.received, *each.messages] for each in self.connections]
        return b"\n".join(part for each in parts for part in each)

    def __enter__(self) -> Self:
        with self._stack:
            folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-intercept-"))
            self._records = Path(folder) / "records"
            self._records.mkdir()
            argv = [sys.executable, "-m", "lab.interceptor", f"--mode={self.mode}"]
            argv += [f"--authority={self.authority.directory}", f"--records={self._records}"]
            argv += [f"--trust={file}" for file in self.trust]
            process = self.net.popen(
                self.namespace,
                argv,
                directory=Path(folder),
                name="interceptor",
                cwd=Path(__file__).resolve().parent.parent,
            )
            self._stack.enter_context(process)
            self.port = int(process.wait_line(r"^listening on (\d+)$")[1])
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()


class _Server:
    def __init__(self, authority: Authority, trust: list[Path], records: Path) -> None:
        self.authority, self.records, self.trust = authority, records, trust
        self.contexts: dict[str, ssl.SSLContext] = {}
        self.count = 0

    def context(self, host: str) -> ssl.SSLContext:
        """Shows a certificate for `host`, made on first use."""
        if host not in self.contexts:
            self.contexts[host] = self.authority.server_context(host)
        return self.contexts[host]

    def verifying(self) -> ssl.SSLContext:
        """For the connection to the destination."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        for file in self.trust:
            if file.exists():
                context.load_verify_locations(file)
        return context

    def by_name(self) -> ssl.SSLContext:
        """Shows a certificate for whatever name the client asks for."""

        def choose(sock: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
            sock.context = self.context(name or "localhost")

        context = self.authority.server_context("localhost")
        context.sni_callback = choose
        return context

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client that sends CONNECT."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, _, rest = head.decode("latin-1").partition(" ")
        target = rest.split(" ")[0]
        if method != "CONNECT":
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            writer.close()
            return
        host, _, port = target.rpartition(":")
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.start_tls(self.context(host.strip("[]")))
        await self.relay(target, host, int(port), b"", reader, writer)

    async def origin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a Squid that takes us for the destination: the request says which it wants."""
        head = await reader.readuntil(b"\r\n\r\n")
        fields = [line.partition(b":") for line in head.split(b"\r\n")[1:]]
        found = [value.strip().decode() for name, _, value in fields if name.lower() == b"host"]
        host, _, port = found[0].partition(":")
        await self.relay(f"{host}:{port or 443}", host, int(port or 443), head, reader, writer)

    async def relay(
        self,
        target: str,
        host: str,
        port: int,
        head: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        there_reader, there_writer = await asyncio.open_connection(
            host, port, ssl=self.verifying(), server_hostname=host
        )
        self.count += 1
        record = self.records / f"{self.count:04}.sent"
        record.with_suffix(".target").write_text(target)
        record.with_suffix(".received").touch()
        record.write_bytes(head)
        there_writer.write(head)
        await asyncio.gather(
            _pump(reader, there_writer, record),
            _pump(there_reader, writer, record.with_suffix(".received")),
        )


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, record: Path) -> None:
    with record.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while data := await reader.read(CHUNK):
            file.write(data)
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(OSError):
        writer.close()


async def _serve(arguments: argparse.Namespace) -> None:
    server = _Server(Authority(arguments.authority), arguments.trust, arguments.records)
    handler = server.connect if arguments.mode == "connect" else server.origin
    tls = server.by_name() if arguments.mode == "origin" else None

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError, IndexError, ValueError) as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            writer.close()

    listener = await asyncio.start_server(handle, "0.0.0.0", 0, ssl=tls, limit=HEAD_LIMIT)
    print(f"listening on {listener.sockets[0].getsockname()[1]}", flush=True)
    await listener.serve_forever()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mode", choices=get_args(Mode), required=True)
    parser.add_argument("--authority", type=Path, required=True)
    parser.add_argument("--trust", type=Path, action="append", default=[])
    parser.add_argument("--records", type=Path, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(_serve(_arguments()))
