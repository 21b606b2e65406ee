"""TLS 1.3 inside arbitrary byte messages, and messages inside that TLS.

Sans-IO: what the transport received goes into `receive`, what `outgoing` gives goes to the
transport, in pieces of any size. It does not matter who carries the bytes or who opens the outer
TLS on the way: only the two ends of this channel read a message.

A frame is four bytes of length (big endian, of what follows the flag), one flag byte, content.

Ends and trust:

- The gateway shows a certificate of the Console's authority for a fixed name and asks for one.
- A Defender with an identity verifies the gateway in the handshake, as usual.
- A Defender that enrols has only a pin. Its handshake verifies nothing but that the peer holds
  the key of the certificate it shows; the peer's first frame carries the authority's certificate,
  and until that has the pinned key and has signed the peer's certificate, `send` sends nothing.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import struct
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Literal, TypeAlias

import zstandard

from garrison.fleet.authority import GATEWAY_NAME, Authority, check_pinned_gateway
from garrison.fleet.errors import (
    ChannelClosedError,
    FleetError,
    IdentityRefusedError,
    MessageTooLargeError,
    NotOurConsoleError,
    ProtocolError,
)
from garrison.fleet.identity import DefenderIdentity
from garrison.fleet.messages import MAX_MESSAGE
from garrison.fleet.wire import decompress

MAX_UNAUTHENTICATED = 64 << 10
"""Bytes of one message at most from a peer without a certificate."""

MAX_HANDSHAKE = 64 << 10
"""Bytes at most that a peer may send before its handshake is complete."""

COMPRESS_FROM = 4 << 10
"""Bytes from which compressing pays."""

_HEADER = struct.Struct(">IB")
_PLAIN, _ZSTD, _AUTHORITY = 0, 1, 2
_READ = 64 << 10
_ZSTD_LEVEL = 3

State: TypeAlias = Literal["handshake", "ready", "closed"]


class _Frames:
    """Cuts a byte stream into frames; holds at most one incomplete frame."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def __len__(self) -> int:
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        self._buffer += data
        while len(self._buffer) >= _HEADER.size:
            size, flag = _HEADER.unpack_from(self._buffer)
            if size > self.limit:
                raise MessageTooLargeError(size, self.limit)
            end = _HEADER.size + size
            if len(self._buffer) < end:
                return
            content = bytes(memoryview(self._buffer)[_HEADER.size : end])
            del self._buffer[:end]
            yield flag, content


def _frame(message: bytes) -> bytes:
    flag = _PLAIN
    if len(message) >= COMPRESS_FROM:
        smaller = zstandard.ZstdCompressor(level=_ZSTD_LEVEL).compress(message)
        if len(smaller) < len(message):
            flag, message = _ZSTD, smaller
    return _HEADER.pack(len(message), flag) + message


class _Channel:
    """What both ends have in common."""

    def __init__(self, context: ssl.SSLContext, *, server: bool, limit: int) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._in,
            self._out,
            server_side=server,
            server_hostname=None if server else GATEWAY_NAME,
        )
        self._frames = _Frames(limit)
        self._waiting: list[bytes] = []
        self._before_ready = 0
        self._shaken = False
        self.state: State = "handshake"

    @property
    def peer_certificate(self) -> bytes | None:
        """DER of the certificate that the peer proved to hold, once the handshake is complete."""
        return self._tls.getpeercert(binary_form=True) if self._shaken else None

    def send(self, message: bytes) -> None:
        """Queue one message; before the channel is ready it waits, unencrypted and unsent.

        Raises:
            ChannelClosedError: the channel has ended.
            MessageTooLargeError: longer than any peer accepts.
        """
        if self.state == "closed":
            raise ChannelClosedError("the inner connection has ended")
        if len(message) > MAX_MESSAGE:
            raise MessageTooLargeError(len(message), MAX_MESSAGE)
        if self.state == "ready":
            self._write(_frame(message))
        else:
            self._waiting.append(message)

    def outgoing(self) -> bytes:
        """Bytes for the transport, also after an error: they tell the peer why."""
        return self._out.read()

    def receive(self, data: bytes) -> list[bytes]:
        """Take bytes from the transport, give the messages completed by them.

        Raises:
            FleetError: the peer is not who it must be, or does not speak this protocol; the
                channel is closed then, and `outgoing` may hold a last word.
        """
        if self.state == "closed":
            return []
        try:
            return self._receive(data)
        except FleetError:
            self._end()
            raise

    def eof(self) -> None:
        """The transport ended.

        Raises:
            ChannelClosedError: before the channel was ready or inside a message.
        """
        if self.state == "closed":
            return
        complete = self.state == "ready" and not self._frames
        self._end()
        if not complete:
            raise ChannelClosedError("the connection ended in the middle")

    def close(self) -> None:
        """Say goodbye; what `outgoing` gives afterwards still has to be sent."""
        if self.state == "ready":
            # SSLWantReadError: our close_notify is written, the peer's has not come yet.
            with contextlib.suppress(ssl.SSLError):
                self._tls.unwrap()
        self._end()

    def _end(self) -> None:
        self.state = "closed"
        self._waiting.clear()

    def _receive(self, data: bytes) -> list[bytes]:
        if self.state == "handshake":
            self._before_ready += len(data)
            if self._before_ready > MAX_HANDSHAKE + self._frames.limit:
                raise ProtocolError("the peer sends without completing the handshake")
        self._in.write(data)
        if not self._shaken and not self._handshake():
            return []
        messages: list[bytes] = []
        while plain := self._read():
            for flag, content in self._frames.feed(plain):
                if (message := self._take(flag, content)) is not None:
                    messages.append(message)
        return messages

    def _handshake(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            raise self._explain(error) from error
        self._shaken = True
        self._on_handshake()
        return True

    def _read(self) -> bytes:
        try:
            plain = self._tls.read(_READ)
        except ssl.SSLWantReadError:
            return b""
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            plain = b""
        except ssl.SSLError as error:
            raise self._explain(error) from error
        if not plain:
            # The peer's goodbye: `read` gives nothing after it.
            self.eof()
        return plain

    def _write(self, frame: bytes) -> None:
        try:
            self._tls.write(frame)
        except ssl.SSLError as error:
            self._end()
            raise self._explain(error) from error

    def _ready(self) -> None:
        self.state = "ready"
        waiting, self._waiting = self._waiting, []
        for message in waiting:
            self._write(_frame(message))

    def _take(self, flag: int, content: bytes) -> bytes | None:
        if flag == _PLAIN:
            return content
        if flag == _ZSTD:
            return decompress(content, self._frames.limit)
        raise ProtocolError(f"the peer sent a frame of unknown kind {flag}")

    def _on_handshake(self) -> None:
        raise NotImplementedError

    def _explain(self, error: ssl.SSLError) -> FleetError:
        raise NotImplementedError


class ServerChannel(_Channel):
    """The gateway's end.

    `peer_certificate` is None for a peer that has none: nothing but enrolment is for it.
    """

    def __init__(self, identity: ServerIdentity) -> None:
        super().__init__(identity.context, server=True, limit=MAX_UNAUTHENTICATED)
        self._authority = identity.authority_pem

    def accept_large(self, limit: int = MAX_MESSAGE) -> None:
        """Raise the limit of a message, once the peer is a Defender in good standing."""
        self._frames.limit = limit

    def _on_handshake(self) -> None:
        if self.peer_certificate is None:
            self._write(_HEADER.pack(len(self._authority), _AUTHORITY) + self._authority)
        self._ready()

    def _explain(self, error: ssl.SSLError) -> FleetError:
        return ProtocolError(f"inner TLS: {_reason(error)}")


class ClientChannel(_Channel):
    """A Defender's end; made by `for_identity` or `for_enrolment`."""

    def __init__(
        self, context: ssl.SSLContext, *, pin: bytes | None, now: Callable[[], datetime] | None
    ) -> None:
        super().__init__(context, server=False, limit=MAX_UNAUTHENTICATED)
        self._pin, self._now = pin, now
        self._handshake()

    @classmethod
    def for_identity(cls, identity: DefenderIdentity) -> ClientChannel:
        """A channel to the Console that gave us `identity`, and to no other."""
        context = _context(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = True
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=identity.ca)
        _load_chain(context, identity.key + identity.certificate.encode())
        return cls(context, pin=None, now=None)

    @classmethod
    def for_enrolment(cls, pin: bytes, now: Callable[[], datetime]) -> ClientChannel:
        """A channel to a Console of which only the authority's key is known.

        pin: SHA-256 of the authority's SubjectPublicKeyInfo.
        """
        context = _context(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return cls(context, pin=pin, now=now)

    def _on_handshake(self) -> None:
        if self._pin is None:
            self._ready()

    def _ready(self) -> None:
        self._frames.limit = MAX_MESSAGE
        super()._ready()

    def _take(self, flag: int, content: bytes) -> bytes | None:
        if self.state == "handshake":
            self._check_authority(flag, content)
            self._ready()
            return None
        return super()._take(flag, content)

    def _check_authority(self, flag: int, content: bytes) -> None:
        leaf = self.peer_certificate
        if flag != _AUTHORITY or leaf is None or self._pin is None or self._now is None:
            raise ProtocolError("what answered did not introduce itself as a Console")
        check_pinned_gateway(
            leaf, content.decode("ascii", errors="replace"), self._pin, self._now()
        )

    def _explain(self, error: ssl.SSLError) -> FleetError:
        reason = _reason(error)
        if isinstance(error, ssl.SSLCertVerificationError):
            return NotOurConsoleError(
                f"what answered is not this Defender's Console: {error.verify_message}"
            )
        # TLS 1.3 clients are done before the server has looked at their certificate: its refusal
        # comes as an alert to a later read.
        if "alert" in reason and ("certificate" in reason or "unknown ca" in reason):
            return IdentityRefusedError(reason.partition("alert ")[2] or reason)
        return ProtocolError(f"inner TLS: {reason}")


class ServerIdentity:
    """The gateway's inner certificate, shared by all of its channels."""

    def __init__(self, authority: Authority, now: datetime) -> None:
        self.issued_at = now
        self.authority_pem = authority.certificate_pem.encode()
        issued = authority.issue_gateway(now)
        context = _context(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=authority.certificate_pem)
        # Without tickets no session outlives the check of its certificate, and a new connection
        # costs one flight less of bytes.
        context.num_tickets = 0
        _load_chain(context, issued.key + issued.chain)
        self.context = context


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    return context


def _load_chain(context: ssl.SSLContext, pem: bytes) -> None:
    """Load key and chain, which `ssl` takes from files only, without writing them to a disk."""
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("garrison-identity", os.MFD_CLOEXEC)
        path, temporary = f"/proc/self/fd/{handle}", ""
    else:
        handle, temporary = tempfile.mkstemp()
        path = temporary
    try:
        with os.fdopen(handle, "wb", closefd=True) as file:
            file.write(pem)
            file.flush()
            context.load_cert_chain(path)
    finally:
        if temporary:
            os.unlink(temporary)


def _reason(error: ssl.SSLError) -> str:
    """OpenSSL's reason in words: `tlsv1 alert unknown ca`."""
    return (error.reason or str(error)).replace("_", " ").lower()
