"""A proxy that checks every byte of signing in: NTLM by pyspnego's server side, Digest by its own
count of nonces, Basic. For what Squid's helpers do not check, and for how proxies misbehave.

It serves CONNECT and plain HTTP on loopback, in threads of the process that starts it.
"""

import base64
import binascii
import contextlib
import hashlib
import os
import re
import secrets
import socket
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import spnego
from spnego.exceptions import SpnegoError

REALM = "ACME egress"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request. connection: its number. scheme: of its credentials. status: what it got."""

    connection: int
    method: str
    target: str
    scheme: str
    status: int
    user: str


@dataclass(slots=True)
class _Connection:
    number: int
    sock: socket.socket
    buffer: bytes = b""
    ntlm: Any = None
    user: str = ""
    """Whom NTLM has signed in: the connection is his."""


@dataclass(slots=True)
class StrictProxy:
    """A running proxy, from entering to leaving.

    schemes: offered, in this order: `ntlm`, `digest`, `basic`. names: resolved to 127.0.0.1.
    refuses: schemes that are offered and accept nobody. nonce_uses: a nonce is stale after so
    many. algorithms: of Digest, one challenge each. closes: after each 407 (`always`), or only
    after NTLM's challenge (`ntlm`).
    """

    users: Mapping[str, str]
    schemes: Sequence[str] = ("basic",)
    names: Sequence[str] = ()
    refuses: Sequence[str] = ()
    nonce_uses: int = 1000
    algorithms: Sequence[str] = ("SHA-256",)
    closes: str = ""
    seen: list[Seen] = field(default_factory=list)
    credentials: list[str] = field(default_factory=list)
    """Every `Proxy-Authorization` that came."""
    port: int = 0
    _counts: dict[str, set[int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def statuses(self) -> list[tuple[str, int]]:
        """Scheme and status of every request so far."""
        return [(one.scheme, one.status) for one in self.seen]

    def __enter__(self) -> Self:
        with self._stack:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
            (folder / "users").write_text("".join(self._ntlm_lines()))
            before = os.environ.get("NTLM_USER_FILE")
            os.environ["NTLM_USER_FILE"] = str(folder / "users")
            self._stack.callback(_restore, "NTLM_USER_FILE", before)
            listener = self._stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            self.port = listener.getsockname()[1]
            self._stack.callback(_wake, listener)
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _ntlm_lines(self) -> list[str]:
        """In smbpasswd's form, since the other one takes no colon in a password."""
        from spnego._ntlm_raw.crypto import ntowfv1

        return [
            f"{user}:1:{'0' * 32}:{ntowfv1(password).hex().upper()}:[U]:LCT-1\n"
            for user, password in self.users.items()
        ]

    def _accept(self, listener: socket.socket) -> None:
        number = 0
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                number += 1
                threading.Thread(
                    target=self._serve, args=(_Connection(number, sock),), daemon=True
                ).start()

    def _serve(self, connection: _Connection) -> None:
        with connection.sock, contextlib.suppress(OSError):
            connection.sock.settimeout(10)
            while self._one(connection):
                pass

    def _one(self, connection: _Connection) -> bool:
        """One request; whether another may follow."""
        head, connection.buffer = _read(connection, b"\r\n\r\n")
        if not head:
            return False
        line, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        fields = {
            name.lower(): value.strip() for name, _, value in (one.partition(":") for one in lines)
        }
        length = int(fields.get("content-length", "0"))
        while len(connection.buffer) < length:
            connection.buffer += connection.sock.recv(65536)
        body, connection.buffer = connection.buffer[:length], connection.buffer[length:]
        credentials = fields.get("proxy-authorization", "")
        scheme = credentials.partition(" ")[0].lower()
        if credentials:
            self.credentials.append(credentials)
        user, challenges, closes = self._authorise(connection, credentials, method, target)
        status = 200 if user else 407
        self.seen.append(Seen(connection.number, method, target, scheme, status, user))
        if not user:
            self._refuse(connection, challenges, closes)
            return not closes
        if method == "CONNECT":
            self._tunnel(connection, target)
            return False
        self._forward(connection, method, target, lines, body)
        return True

    # Signing in

    def _authorise(
        self, connection: _Connection, credentials: str, method: str, target: str
    ) -> tuple[str, list[str], bool]:
        """The user, or the challenges and whether the connection is closed after them."""
        offers, closes = self._offers(), self.closes == "always"
        if connection.user and not credentials:
            return connection.user, [], False
        scheme, _, rest = credentials.partition(" ")
        if scheme.lower() not in self.schemes or scheme.lower() in self.refuses:
            return "", offers, closes
        if scheme == "Basic":
            user, _, password = base64.b64decode(rest).decode().partition(":")
            good = self.users.get(user) == password
            return (user, [], False) if good else ("", offers, closes)
        if scheme == "Digest":
            user, stale = self._digest(rest, method, target)
            return (user, [], False) if user else ("", self._offers(stale), closes)
        return self._ntlm(connection, rest, closes)

    def _ntlm(
        self, connection: _Connection, token: str, closes: bool
    ) -> tuple[str, list[str], bool]:
        if connection.ntlm is None:
            connection.ntlm = spnego.server(protocol="ntlm")
        try:
            answer = connection.ntlm.step(base64.b64decode(token, validate=True))
        except (SpnegoError, ValueError, binascii.Error):
            connection.ntlm = None
            return "", self._offers(), closes
        if answer:
            challenge = base64.b64encode(answer).decode()
            return "", [f"NTLM {challenge}"], closes or self.closes == "ntlm"
        connection.user = str(connection.ntlm.client_principal)
        return connection.user, [], False

    def _offers(self, stale: bool = False) -> list[str]:
        found = []
        for scheme in self.schemes:
            if scheme == "basic":
                found.append(f'Basic realm="{REALM}", charset="UTF-8"')
            elif scheme == "digest":
                found += [self._challenge(algorithm, stale) for algorithm in self.algorithms]
            else:
                found.append(scheme.upper() if scheme == "ntlm" else scheme.capitalize())
        return found

    def _challenge(self, algorithm: str, stale: bool) -> str:
        nonce = secrets.token_urlsafe(16)
        with self._lock:
            self._counts[nonce] = set()
        more = ", stale=true" if stale else ""
        return (
            f'Digest realm="{REALM}", nonce="{nonce}", opaque="{nonce[::-1]}", qop="auth",'
            f" algorithm={algorithm}{more}"
        )

    def _digest(self, text: str, method: str, target: str) -> tuple[str, bool]:
        """The user, and whether only the nonce was wrong."""
        given = {
            name: quoted.replace('\\"', '"').replace("\\\\", "\\") if quoted else plain
            for name, quoted, plain in re.findall(
                r'(\w+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', text.encode("latin-1").decode()
            )
        }
        user, nonce, count = given["username"], given["nonce"], int(given["nc"], 16)
        name = given["algorithm"].lower()

        def hashed(value: str) -> str:
            kind = {"md5": "md5", "sha-256": "sha256", "sha-512-256": "sha512_256"}
            return hashlib.new(kind[name.removesuffix("-sess")], value.encode()).hexdigest()

        secret = hashed(f"{user}:{REALM}:{self.users.get(user, '')}")
        if name.endswith("-sess"):
            secret = hashed(f"{secret}:{nonce}:{given['cnonce']}")
        expected = hashed(
            f"{secret}:{nonce}:{given['nc']}:{given['cnonce']}:{given['qop']}:"
            + hashed(f"{method}:{target}")
        )
        right = (
            user in self.users
            and given["response"] == expected
            and given["uri"] == target
            and given["opaque"] == nonce[::-1]
        )
        with self._lock:
            used = self._counts.get(nonce)
            fresh = used is not None and count not in used and count <= self.nonce_uses
            if right and used is not None:
                used.add(count)
        return (user, False) if right and fresh else ("", right)

    def _refuse(self, connection: _Connection, challenges: Sequence[str], closes: bool) -> None:
        page = b"<html><title>Sign in</title>" + b"." * 6000 + b"</html>"
        lines = ["HTTP/1.1 407 Proxy Authentication Required"]
        lines += [f"Proxy-Authenticate: {one}" for one in challenges]
        lines += [f"Content-Length: {len(page)}", *(["Connection: close"] if closes else [])]
        connection.sock.sendall("\r\n".join([*lines, "", ""]).encode() + page)

    # Passing on

    def _dial(self, address: str) -> socket.socket:
        host, _, port = address.rpartition(":")
        return socket.create_connection(("127.0.0.1" if host in self.names else host, int(port)))

    def _tunnel(self, connection: _Connection, target: str) -> None:
        with self._dial(target) as there:
            connection.sock.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_pump, args=(there, connection.sock), daemon=True)
            back.start()
            _pump(connection.sock, there)
            back.join(5)

    def _forward(
        self, connection: _Connection, method: str, target: str, lines: list[str], body: bytes
    ) -> None:
        authority, _, path = target.removeprefix("http://").partition("/")
        kept = [line for line in lines if line and not line.lower().startswith("proxy-")]
        kept = [line for line in kept if not line.lower().startswith("connection")]
        head = [f"{method} /{path} HTTP/1.1", *kept, "Connection: close", "", ""]
        with self._dial(authority if ":" in authority else f"{authority}:80") as there:
            there.sendall("\r\n".join(head).encode("latin-1") + body)
            answer = b""
            while data := there.recv(65536):
                answer += data
        head_bytes, _, page = answer.partition(b"\r\n\r\n")
        drop = re.compile(rb"(?i)^(connection|content-length|transfer-encoding):")
        fields = [one for one in head_bytes.split(b"\r\n") if not drop.match(one)]
        fields.append(b"Content-Length: %d" % len(page))
        connection.sock.sendall(b"\r\n".join(fields) + b"\r\n\r\n" + page)


def _read(connection: _Connection, until: bytes) -> tuple[bytes, bytes]:
    data = connection.buffer
    while until not in data:
        more = connection.sock.recv(65536)
        if not more:
            return b"", b""
        data += more
    head, _, rest = data.partition(until)
    return head, rest


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def _restore(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _wake(listener: socket.socket) -> None:
    """Closing a socket wakes nobody who waits in accept."""
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
