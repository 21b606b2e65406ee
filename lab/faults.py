"""Bad proxies, one small function a fault: each gets a connection and misbehaves on it.

The numbers are those of the table in `tests/integration/egress/test_fault_table.py`.
"""

from __future__ import annotations

import base64
import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator

Script = Callable[[socket.socket], None]


@contextlib.contextmanager
def scripted(
    script: Script,
    *,
    context: ssl.SSLContext | None = None,
    address: str = "127.0.0.1",
    timeout: float = 5.0,
) -> Iterator[int]:
    """Serve every connection by `script`, each in a thread; gives the port.

    timeout: seconds of one read or write at most.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, 0), family=family)
    stopping = threading.Event()

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(timeout)
            if context is None:
                script(connection)
                return
            with context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            ) as tls:
                try:
                    tls.do_handshake()
                except ssl.SSLError:
                    time.sleep(0.2)  # closing at once would take our alert along
                    return
                script(tls)

    def accept() -> None:
        while not stopping.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                if stopping.is_set():
                    connection.close()
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    port = listener.getsockname()[1]
    try:
        yield port
    finally:
        stopping.set()
        with contextlib.suppress(OSError), socket.socket(family) as last:
            last.connect((address, port))
        thread.join(5)
        listener.close()


def read_head(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := connection.recv(4096)):
            raise ConnectionResetError
        data += more
    return data


def answers(text: str, *, linger: float = 0.0) -> Script:
    """Answer any request with this, as it stands, and close `linger` seconds later."""

    def script(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(text.replace("\n", "\r\n").encode())
        time.sleep(linger)

    return script


def closes(connection: socket.socket) -> None:
    read_head(connection)


def closes_at_once(connection: socket.socket) -> None:
    return


def resets(connection: socket.socket) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def hangs(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def drips(connection: socket.socket) -> None:
    read_head(connection)
    for byte in b"HTTP/1.1 200 Connection established\r\n\r\n":
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def huge_head(connection: socket.socket) -> None:
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: " + b"x" * 300_000 + b"\r\n\r\n")


def ssh(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n")
    with contextlib.suppress(TimeoutError):
        while connection.recv(4096):
            pass


PAGE = "<html><title>ACME Guest WiFi</title>Welcome</html>"


def portal_at_once(connection: socket.socket) -> None:
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE.encode())


def portal_later(connection: socket.socket) -> None:
    """The page comes only when the client's TLS greeting does."""
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    connection.recv(4096)
    connection.sendall(PAGE.encode())


def closes_in_tls(connection: socket.socket) -> None:
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    connection.recv(200)


def hangs_in_tls(connection: socket.socket) -> None:
    read_head(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    hangs(connection)


def tunnel_to(port: int, head: str = "HTTP/1.1 200 Connection established") -> Script:
    """A proxy that always connects to 127.0.0.1:`port`, whatever was asked."""

    def script(connection: socket.socket) -> None:
        read_head(connection)
        with socket.socket() as other:
            other.connect(("127.0.0.1", port))
            connection.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
            thread = threading.Thread(target=_pump, args=(connection, other), daemon=True)
            thread.start()
            _pump(other, connection)
            thread.join(5)

    return script


def shrinking(port: int, largest: int) -> Script:
    """A tunnel that loses what is larger than `largest` bytes: a black hole for big packets."""

    def script(connection: socket.socket) -> None:
        read_head(connection)
        with socket.socket() as other:
            other.connect(("127.0.0.1", port))
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            thread = threading.Thread(target=_pump, args=(connection, other), daemon=True)
            thread.start()
            with contextlib.suppress(OSError):
                while data := other.recv(65536):
                    if len(data) <= largest:
                        connection.sendall(data)
            thread.join(5)

    return script


def ports_only(port: int, allowed: int) -> Script:
    """Refuses tunnels to any port but one, as Squid's `SSL_ports` and tinyproxy's
    `ConnectPort` do; to that one it connects to 127.0.0.1:`port`."""
    pass_on = tunnel_to(port)

    def script(connection: socket.socket) -> None:
        head = connection.recv(4096, socket.MSG_PEEK)
        if head.split(b" ")[1].endswith(f":{allowed}".encode()):
            pass_on(connection)
        else:
            answers("HTTP/1.1 403 Forbidden\nContent-Length: 0\n\n")(connection)

    return script


def idles(port: int, seconds: float) -> Script:
    """A tunnel that is closed when nothing was sent in either direction for so long."""

    def script(connection: socket.socket) -> None:
        read_head(connection)
        with socket.socket() as other:
            other.connect(("127.0.0.1", port))
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            ends = {connection: other, other: connection}
            while ready := select.select(list(ends), [], [], seconds)[0]:
                for end in ready:
                    if not (data := end.recv(65536)):
                        return
                    ends[end].sendall(data)

    return script


@contextlib.contextmanager
def full_backlog() -> Iterator[int]:
    """A port whose queue is full: SYNs are dropped, as by a firewall."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(3):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(("127.0.0.1", port))
        time.sleep(0.05)
        yield port


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A port where nobody listens, and nobody else can."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def socks(reply: int) -> Script:
    """A SOCKS5 proxy (RFC 1928) that hangs up on anything else, as Dante does."""

    def script(connection: socket.socket) -> None:
        greeting = connection.recv(2)
        if greeting[:1] != b"\5":
            return
        connection.recv(greeting[1])
        connection.sendall(b"\5\0")
        connection.recv(300)
        connection.sendall(bytes([5, reply, 0, 1]) + bytes(6))
        connection.recv(1)

    return script


def balanced(connection: socket.socket) -> None:
    """NTLM behind a load balancer that ends each connection with its answer: the challenge comes
    (MS-NLMP section 2.2.1.2), and there is no connection left to answer it on."""
    while b"Proxy-Authorization: NTLM " not in read_head(connection):
        _ask_ntlm(connection, "")
    flags = 0x20888201  # 128 bits, target info, extended security, always sign, NTLM, Unicode
    head = b"NTLMSSP\0" + struct.pack("<IHHIIQQHHI", 2, 0, 0, 48, flags, 1, 0, 4, 4, 48)
    _ask_ntlm(connection, " " + base64.b64encode(head + bytes(4)).decode(), "Connection: close\n")


def _ask_ntlm(connection: socket.socket, token: str, more: str = "") -> None:
    answer = (
        f"HTTP/1.1 407 Proxy Authentication Required\nProxy-Authenticate: NTLM{token}\n{more}"
        "Content-Length: 0\n\n"
    )
    connection.sendall(answer.replace("\n", "\r\n").encode())


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def relay(one: socket.socket, two: socket.socket) -> None:
    """Carry bytes both ways until either side ends."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    back = threading.Thread(target=pump, args=(two, one), daemon=True)
    back.start()
    pump(one, two)
    back.join(5)
