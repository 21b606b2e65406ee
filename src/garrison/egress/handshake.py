"""One HTTP request and its answer over bytes, no sockets: CONNECT, and the calls of a test.

The answer comes from a stranger: its head is limited to 64 KiB, of its body 4 KiB are kept, and
its first bytes are looked at, since an SSH server or a TLS port never sends a line of HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias

import h11

from garrison.egress.challenge import parse_challenges, shown_challenge
from garrison.egress.endpoint import Endpoint, Target
from garrison.egress.trace import Answer

HEAD_LIMIT = 64 << 10
BODY_KEPT = 4 << 10
PAGE_LIMIT = 256 << 10
"""Of the page behind a 407, which is read to its end: the connection is needed again."""

Scrub: TypeAlias = Callable[[str], str]
"""Takes our own credentials out of a text."""

_KEPT_HEADERS = (
    "content-type",
    "location",
    "proxy-authenticate",
    "proxy-status",
    "retry-after",
    "server",
    "via",
    "www-authenticate",
    "x-squid-error",
)

Service: TypeAlias = Literal["tls", "ssh", "http", "other"]


class AnswerFault(Exception):
    """What came is no usable answer."""


class NotHttp(AnswerFault):
    """Something else speaks at the other end. banner: its first bytes, printable."""

    def __init__(self, service: Service, banner: str) -> None:
        super().__init__(service)
        self.service, self.banner = service, banner


class HeadTooLarge(AnswerFault):
    """More than HEAD_LIMIT bytes of headers."""


class BadHttp(AnswerFault):
    """Begins like HTTP and is not."""


class ClosedEarly(AnswerFault):
    """The stream ended before the answer's head did. received: bytes until then."""

    def __init__(self, received: int) -> None:
        super().__init__(f"after {received} bytes")
        self.received = received


def service_of(first: bytes) -> Service | None:
    """Who speaks, by the first bytes; None while they could still be HTTP's."""
    if first[:5] == b"HTTP/":
        return "http"
    if b"HTTP/".startswith(first[:5]):
        return None
    if first[0] in (0x15, 0x16):
        # A TLS record: alert or handshake, then the version's 3.
        return None if len(first) < 2 else "tls" if first[1] == 3 else "other"
    if b"SSH-".startswith(first[:4]):
        return None if len(first) < 4 else "ssh"
    return "other"


def banner_of(first: bytes) -> str:
    """The first line of what came, printable, at most 80 characters."""
    line = first[:200].split(b"\n", 1)[0].decode("utf-8", "replace")
    return "".join(char if char.isprintable() else "·" for char in line.strip())[:80]


class Exchange:
    """A request's bytes, and the parser of its answer.

    Feed what arrives until `answer` is there; `complete` says that its body (as far as it is
    kept) is there too. After a 2xx to CONNECT or a 101, `trailing` holds bytes behind the head.

    streams: the body is not kept but left to `next_data`.
    """

    def __init__(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]],
        *,
        scrub: Scrub = str,
        data: bytes = b"",
        streams: bool = False,
    ) -> None:
        self.streams = streams
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
        self._scrub = scrub
        fields = [(name.encode("ascii"), value.encode()) for name, value in headers]
        request = h11.Request(method=method, target=target, headers=fields)
        self.outgoing: bytes = self._h11.send(request) or b""
        if data:
            self.outgoing += self._h11.send(h11.Data(data=data)) or b""
        self.outgoing += self._h11.send(h11.EndOfMessage()) or b""
        self.received = 0
        self.first = b""
        self.complete = False
        self.trailing = b""
        self._head: h11.Response | h11.InformationalResponse | None = None
        self._body = bytearray()
        self._answer: tuple[int, Answer] | None = None
        self._body_read = 0
        self._ended = False

    @property
    def answer(self) -> Answer | None:
        """None until the head is there."""
        if self._head is None:
            return None
        if self._answer is None or self._answer[0] != len(self._body):
            answer = kept_answer(
                self._head.status_code,
                self._head.reason.decode("utf-8", "replace"),
                self.field_values,
                bytes(self._body),
                self._scrub,
            )
            self._answer = (len(self._body), answer)
        return self._answer[1]

    @property
    def http_version(self) -> str:
        """Of the answer: `1.1`; empty until its head is there."""
        return self._head.http_version.decode("ascii") if self._head is not None else ""

    @property
    def field_values(self) -> list[tuple[str, str]]:
        """All header fields of the answer, unscrubbed: for the machine, never to be shown."""
        head = self._head
        if head is None:
            return []
        return [(name.decode("ascii"), value.decode("latin-1")) for name, value in head.headers]

    def feed(self, data: bytes) -> None:
        """Take the next bytes; b"" is the end of the stream.

        Raises AnswerFault.
        """
        if self.complete:
            self.trailing += data
            return
        self._look(data)
        self._ended = not data
        if not data and self._head is None:
            raise ClosedEarly(self.received)
        try:
            self._h11.receive_data(data)
            self._take()
        except h11.RemoteProtocolError as error:
            if self._head is not None:
                self.complete = True  # a body cut short: what there is will do
            elif error.error_status_hint == 431:
                raise HeadTooLarge from None
            else:
                raise BadHttp from None

    def _look(self, data: bytes) -> None:
        self.received += len(data)
        if len(self.first) >= 200 or self._head is not None:
            return
        self.first = (self.first + data)[:200]
        service = service_of(self.first)
        if service not in (None, "http"):
            raise NotHttp(service or "other", banner_of(self.first))

    def _take(self) -> None:
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                return
            if event is h11.PAUSED or isinstance(event, h11.EndOfMessage | h11.ConnectionClosed):
                self._finish()
                return
            if isinstance(event, h11.Response):
                self._head = event
                if self.streams:
                    return
            elif isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    self._head = event
            elif isinstance(event, h11.Data):
                self._body += event.data[: BODY_KEPT - len(self._body)]
                self._body_read += len(event.data)
                unauthorised = self._head is not None and self._head.status_code == 407
                if self._body_read >= (PAGE_LIMIT if unauthorised else BODY_KEPT):
                    self._finish()
                    return

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another request, now that the answer is complete."""
        done = self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE
        return done and not self._ended

    @property
    def persists(self) -> bool:
        """Whether the answer lets the connection live on behind its body."""
        head = self._head
        if head is None or self._ended or head.http_version < b"1.1":
            return False
        fields = dict(self.field_values)
        framed = {"content-length", "transfer-encoding"} & fields.keys()
        closes = "close" in fields.get("connection", "").lower()
        return bool(framed or head.status_code in (204, 304)) and not closes

    def keep_body(self) -> None:
        """Stop streaming: keep the body's start, as for any refusal."""
        self.streams = False
        self._take()

    def feed_body(self, data: bytes) -> None:
        """More of a streamed body. Raises BadHttp."""
        try:
            self._h11.receive_data(data)
        except h11.RemoteProtocolError:
            raise BadHttp from None

    def next_data(self) -> bytes | None:
        """The next piece of a streamed body; b"" at its end, None when more is to be fed.

        Raises BadHttp: it is malformed, or ended too early.
        """
        try:
            event = self._h11.next_event()
        except h11.RemoteProtocolError:
            raise BadHttp from None
        if event is h11.NEED_DATA:
            return None
        return bytes(event.data) if isinstance(event, h11.Data) else b""

    def _finish(self) -> None:
        self.complete = True
        self.trailing = bytes(self._h11.trailing_data[0])


def kept_answer(
    status: int,
    reason: str,
    fields: Iterable[tuple[str, str]],
    body: bytes,
    scrub: Scrub = str,
) -> Answer:
    """What is kept of an answer: the headers that explain it, 4 KiB of body, no credentials."""
    kept: dict[str, str] = {}
    for name, value in fields:
        key = name.lower()
        if key in _KEPT_HEADERS:
            value = shown_challenge(value) if key.endswith("-authenticate") else value
            kept[key] = scrub(f"{kept[key]}, {value}" if key in kept else value)
    if "location" in kept:
        # A query may hold a session of somebody's.
        kept["location"] = kept["location"].partition("?")[0]
    return Answer(
        status=status,
        reason=scrub(reason),
        headers=kept,
        body=scrub(body[:BODY_KEPT].decode("utf-8", "replace")),
    )


USER_AGENT = "garrison"


def connect_exchange(
    destination: Endpoint, authorization: str | None = None, scrub: Scrub = str
) -> Exchange:
    """CONNECT (RFC 9110 section 9.3.6). authorization: `Proxy-Authorization`."""
    headers = [("Host", str(destination)), ("User-Agent", USER_AGENT)]
    if authorization is not None:
        headers.append(("Proxy-Authorization", authorization))
    return Exchange("CONNECT", str(destination), headers, scrub=scrub)


def get_exchange(
    target: Target, *, absolute: bool, authorization: str | None = None, scrub: Scrub = str
) -> Exchange:
    """A GET; `absolute` form goes to a proxy, and only that carries `authorization`."""
    headers = [("Host", target.authority), ("User-Agent", USER_AGENT), ("Accept", "*/*")]
    if absolute and authorization is not None:
        headers.append(("Proxy-Authorization", authorization))
    resource = target.absolute if absolute else target.resource
    return Exchange("GET", resource, headers, scrub=scrub)


def upgrade_exchange(target: Target, key: str) -> Exchange:
    """The opening handshake of a WebSocket (RFC 6455 section 4.1). key: 16 bytes in Base64."""
    headers = [
        ("Host", target.authority),
        ("User-Agent", USER_AGENT),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", key),
        ("Sec-WebSocket-Version", "13"),
    ]
    return Exchange("GET", target.resource, headers)


# --- reading a proxy's answer ---------------------------------------------------------------


def offered_schemes(answer: Answer) -> tuple[str, ...]:
    """The authentication schemes of a 407, such as `("Negotiate", "Basic")`."""
    found = parse_challenges([answer.headers.get("proxy-authenticate", "")])
    return tuple(
        dict.fromkeys(one.name.capitalize() if one.name.islower() else one.name for one in found)
    )


def squid_error(answer: Answer) -> str:
    """Squid's own word for what went wrong, such as `ERR_DNS_FAIL`."""
    return answer.headers.get("x-squid-error", "").partition(" ")[0].upper()


def proxy_status_error(answer: Answer) -> str:
    """The error of `Proxy-Status` (RFC 9209), such as `connection_timeout`."""
    found = re.search(r";\s*error=\"?([a-z_]+)", answer.headers.get("proxy-status", ""))
    return found[1] if found else ""


def is_proxys_own(answer: Answer) -> bool:
    """Whether a proxy made this answer itself, to a request in absolute form.

    `Via` tells nothing: proxies add it to what they pass on. So: 407, a header that only errors
    of proxies have, or an error from a server whose name is a proxy's.
    """
    if answer.status == 407:
        return True
    if answer.status < 400:
        return False
    if squid_error(answer) or proxy_status_error(answer):
        return True
    server = answer.headers.get("server", "").lower()
    proxies: Sequence[str] = ("squid", "tinyproxy", "mitmproxy", "privoxy", "bluecoat")
    return (answer.status == 403 or answer.status >= 500) and server.startswith(tuple(proxies))


def wants_certificate_by_page(answer: Answer) -> bool:
    """Whether a server took the connection and says in a page that it wants a certificate, as
    nginx does (status 400, with this title)."""
    title = page_title(answer.body).lower()
    return answer.status == 400 and "no required ssl certificate" in title


def page_title(body: str) -> str:
    """The title of an HTML page, or empty."""
    found = re.search(r"<title[^>]*>(.*?)</title>", body, re.IGNORECASE | re.DOTALL)
    return " ".join(found[1].split())[:80] if found else ""
