"""Messages between a Defender and the Console: JSON objects inside the inner TLS.

Every message is one WebSocket-independent frame of `channel.py`; `type` names it. Unknown fields
are ignored, so that either side may be newer; PROTOCOL is raised when that is not enough.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, TypeVar, get_args

import msgspec

from garrison.fleet.errors import ProtocolError

PROTOCOL = 1
MAX_MESSAGE = 64 << 20
"""Bytes of one message at most, decompressed."""


class _Message(msgspec.Struct, frozen=True, tag_field="type", omit_defaults=True):
    pass


class EnrolRequest(_Message, frozen=True, tag="enrol"):
    """Defender → Console, first message without a client certificate.

    token: the secret part of the join token. csr: PEM; its public key becomes the identity's.
    """

    token: str
    csr: str
    name: str
    version: str
    platform: str
    protocol: int = PROTOCOL


class Enrolled(_Message, frozen=True, tag="enrolled"):
    """Console → Defender: the certificate; reconnect with it."""

    defender_id: str
    certificate: str
    ca: str


class Refused(_Message, frozen=True, tag="refused"):
    """Console → Defender: and why. The Console closes after it."""

    code: str
    message: str
    hint: str = ""
    retry_after: float | None = None


class Hello(_Message, frozen=True, tag="hello"):
    """Defender → Console, first message with a client certificate."""

    name: str
    version: str
    platform: str
    settings_revision: int
    proxy: str = ""
    """The proxy in force without credentials, or empty."""
    route: str = ""
    """How this session left: `direct` or the proxy's address."""
    scans: list[str] = []
    """Scans in work, and those whose result is not acknowledged: the Console leaves them here."""
    protocol: int = PROTOCOL


class Renew(_Message, frozen=True, tag="renew"):
    """Defender → Console, in a session: a request (PEM) for the next certificate."""

    csr: str


class Renewed(_Message, frozen=True, tag="renewed"):
    """Console → Defender: use it from the next connection on; the old one stays valid until then.

    ca: the authorities to trust from now on, one or more PEM certificates.
    """

    certificate: str
    ca: str


class Welcome(_Message, frozen=True, tag="welcome"):
    """Console → Defender. heartbeat: seconds between pings the Console expects."""

    defender_id: str
    heartbeat: float
    protocol: int = PROTOCOL


class Ping(_Message, frozen=True, tag="ping"):
    """Defender → Console."""

    sent: float


class Pong(_Message, frozen=True, tag="pong"):
    """Console → Defender."""

    sent: float


class RegistryAccess(msgspec.Struct, frozen=True, omit_defaults=True):
    """How to reach one registry. ca: PEM, added to the trust bundle for this registry alone."""

    host: str
    user: str = ""
    password: str = ""
    plain_http: bool = False
    ca: str = ""

    def __repr__(self) -> str:
        return f"RegistryAccess(host={self.host!r}, user={self.user!r}, password=***)"

    __str__ = __repr__


class ScanRequest(_Message, frozen=True, tag="scan"):
    """Console → Defender: scan this image. platform: `linux/amd64`, or empty for the node's."""

    id: str
    reference: str
    platform: str = ""
    access: RegistryAccess | None = None


class ScanProgress(_Message, frozen=True, tag="scan_progress"):
    """Defender → Console. done, total: bytes of compressed layers."""

    id: str
    done: int
    total: int
    step: str


class ScanResult(_Message, frozen=True, tag="scan_result"):
    """Defender → Console: repeated over reconnects until acknowledged.

    inventory: `fleet.wire` form of packages.Inventory: base64 of zstd of JSON.
    """

    id: str
    inventory: str


class Failure(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as people read it. who: `you|proxy|destination|network`. hop: of a trace.

    evidence: as `EgressError.evidence`, where a connection failed.
    """

    code: str
    message: str
    hint: str = ""
    who: str = ""
    hop: str = ""
    evidence: dict[str, Any] | None = None


class ScanFailed(_Message, frozen=True, tag="scan_failed"):
    """Defender → Console: repeated over reconnects until acknowledged."""

    id: str
    error: Failure


class Acknowledge(_Message, frozen=True, tag="ack"):
    """Console → Defender: the result of this scan id is in the database."""

    id: str


class TestRequest(_Message, frozen=True, tag="test"):
    """Console → Defender: connect to `url` and report each hop. timeout: seconds for all."""

    id: str
    url: str
    purpose: str = "registry"
    timeout: float = 15.0


class ExplainRequest(_Message, frozen=True, tag="explain"):
    """Console → Defender: which route would `url` take; opens nothing."""

    id: str
    url: str
    purpose: str = "registry"


class Answer(_Message, frozen=True, tag="answer"):
    """Defender → Console: result of a TestRequest or ExplainRequest, as in interface.md."""

    id: str
    result: dict[str, Any]


class ContactStep(msgspec.Struct, frozen=True, array_like=True):
    """One hop of a contact."""

    hop: str
    target: str
    ok: bool
    ms: float
    detail: str


class Contact(msgspec.Struct, frozen=True, omit_defaults=True):
    """One outside host that was contacted: an egress.ConnectionRecord on the wire."""

    host: str
    port: int
    purpose: str
    route: str
    ok: bool
    at: float
    code: str = ""
    who: str = ""
    hop: str = ""
    message: str = ""
    hint: str = ""
    steps: list[ContactStep] = []
    test: bool = False
    opened: bool = True
    sent: int = 0
    received: int = 0


class Contacts(_Message, frozen=True, tag="contacts"):
    """Defender → Console: what it connected to since the last such message."""

    contacts: list[Contact]


FromDefender: TypeAlias = (
    EnrolRequest | Hello | Renew | Ping | ScanProgress | ScanResult | ScanFailed | Answer | Contacts
)
FromConsole: TypeAlias = (
    Enrolled
    | Refused
    | Welcome
    | Renewed
    | Pong
    | ScanRequest
    | Acknowledge
    | TestRequest
    | ExplainRequest
)
Hop: TypeAlias = Literal[
    "resolve", "tcp", "proxy-tls", "proxy-auth", "tunnel", "tls", "http", "websocket"
]

_T = TypeVar("_T")
_encoder = msgspec.json.Encoder()
_from_defender: msgspec.json.Decoder[FromDefender] = msgspec.json.Decoder(FromDefender)
_from_console: msgspec.json.Decoder[FromConsole] = msgspec.json.Decoder(FromConsole)


class _Tag(msgspec.Struct):
    type: str


_tag = msgspec.json.Decoder(_Tag)
_TAGS = frozenset(
    str(message.__struct_config__.tag)
    for union in (FromDefender, FromConsole)
    for message in get_args(union)
)


def encode(message: FromDefender | FromConsole) -> bytes:
    """The message as it travels."""
    return _encoder.encode(message)


def decode_from_defender(data: bytes) -> FromDefender | None:
    """A Defender's message; None for a kind that only a newer one knows.

    Raises:
        ProtocolError: no message.
    """
    return _decode(_from_defender, data)


def decode_from_console(data: bytes) -> FromConsole | None:
    """The Console's message; None for a kind that only a newer one knows.

    Raises:
        ProtocolError: no message.
    """
    return _decode(_from_console, data)


def _decode(decoder: msgspec.json.Decoder[_T], data: bytes) -> _T | None:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        if _unknown_kind(data):
            return None
        # The text of `error` names a field and a type, no value but that of `type`.
        raise ProtocolError(f"a message cannot be read: {str(error)[:200]}") from None


def _unknown_kind(data: bytes) -> bool:
    try:
        return _tag.decode(data).type not in _TAGS
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
