"""Signing in to a proxy: which scheme is used, and what is sent next. No sockets.

Of what the proxy offers, the first usable one of `STRONGEST_FIRST` is taken; if it is refused,
the next. What was accepted is remembered by proxy, so that the next connection begins with it.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from garrison.egress.challenge import (
    Challenge,
    algorithm_of,
    answer_digest,
    parse_challenges,
    strongest_digest,
)
from garrison.egress.credentials import Credentials, ProxyAuth
from garrison.egress.endpoint import ProxyAddress
from garrison.egress.tickets import TokenContext, TokenUnavailable

Scheme: TypeAlias = Literal["negotiate", "ntlm", "digest", "basic"]

STRONGEST_FIRST: tuple[Scheme, ...] = ("negotiate", "ntlm", "digest", "basic")
"""As browsers have it. NTLM before Digest: where a directory's accounts are behind both, Digest
is mostly the one that was never set up, and failed tries lock accounts."""

NAMES = {"negotiate": "Negotiate", "ntlm": "NTLM", "digest": "Digest", "basic": "Basic"}


@dataclass(slots=True)
class _Known:
    """What a proxy accepted last. used: how often Digest's nonce was."""

    scheme: Scheme
    credentials: Credentials | None
    digest: Challenge | None = None
    used: int = 0


class Memory:
    """What each proxy accepted; any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], _Known] = {}

    def recall(
        self, proxy: ProxyAddress, choice: ProxyAuth, credentials: Credentials | None
    ) -> Scheme | None:
        with self._lock:
            known = self._known.get((str(proxy), choice))
            return known.scheme if known and known.credentials == credentials else None

    def keep(
        self,
        proxy: ProxyAddress,
        choice: ProxyAuth,
        credentials: Credentials | None,
        scheme: Scheme,
        digest: Challenge | None,
    ) -> None:
        with self._lock:
            known = self._known.get((str(proxy), choice))
            if (
                known is None
                or known.scheme != scheme
                or known.credentials != credentials
                or known.digest != digest
            ):
                self._known[str(proxy), choice] = _Known(scheme, credentials, digest, used=1)

    def next_digest(self, proxy: ProxyAddress, choice: ProxyAuth) -> tuple[Challenge, int] | None:
        """The nonce in use, and how often it will have been used with this time."""
        with self._lock:
            known = self._known.get((str(proxy), choice))
            if known is None or known.digest is None:
                return None
            known.used += 1
            return known.digest, known.used

    def clear(self) -> None:
        """Know nothing of any proxy."""
        with self._lock:
            self._known.clear()

    def forget(self, proxy: ProxyAddress, choice: ProxyAuth) -> None:
        with self._lock:
            self._known.pop((str(proxy), choice), None)


MEMORY = Memory()
"""Of this process: new settings with the same proxy need not learn again."""


class SignIn:
    """The dialogue of one request, or of one connection, with one proxy.

    Each method gives the value of `Proxy-Authorization` to send, or None to send none; after a
    407, None means that nothing is left. `blocks`: a method may ask a Kerberos server.
    """

    def __init__(
        self,
        proxy: ProxyAddress,
        choice: ProxyAuth,
        credentials: Credentials | None,
        memory: Memory = MEMORY,
    ) -> None:
        self.proxy, self.choice, self.credentials = proxy, choice, credentials
        self._memory = memory
        self._order: tuple[Scheme, ...] = (
            STRONGEST_FIRST if choice == "auto" else () if choice == "none" else (choice,)
        )
        self.scheme: Scheme | None = None
        """What is being tried."""
        self.refused: list[Scheme] = []
        self.unavailable: dict[Scheme, TokenUnavailable] = {}
        self.offered: tuple[str, ...] = ()
        self._challenges: list[Challenge] = []
        self._context: TokenContext | None = None
        self._digest: Challenge | None = None
        self._renewed = self._from_memory = False
        self._rounds = 0
        self._sent: set[str] = set()

    # What to send

    @property
    def begins_bound(self) -> Scheme | None:
        """NTLM or Negotiate, if a new connection begins with it: they belong to a connection."""
        known = self.scheme or self._memory.recall(self.proxy, self.choice, self.credentials)
        return known if known in ("ntlm", "negotiate") else None

    def begin(self, method: str, uri: str) -> str | None:
        """For the first request of a connection, or of a scheme that knows no connections."""
        known = self.scheme or self._memory.recall(self.proxy, self.choice, self.credentials)
        if known is None and self.choice == "basic" and self.credentials is not None:
            known = "basic"
        if known is None or known in self.refused:
            return None
        self.scheme = known
        if known == "digest":
            return self._begin_digest(method, uri)
        try:
            return self._start(known, method, uri)
        except TokenUnavailable as error:
            self.unavailable[known], self.scheme = error, None
            return None

    def _begin_digest(self, method: str, uri: str) -> str | None:
        following = self._memory.next_digest(self.proxy, self.choice)
        if following is None:
            self.scheme = None
            return None
        self._digest = following[0]
        return self._digest_header(method, uri, following[1])

    def answer(self, fields: Iterable[tuple[str, str]], method: str, uri: str) -> str | None:
        """After a 407 with these header fields."""
        found = parse_challenges(
            value for name, value in fields if name.lower() == "proxy-authenticate"
        )
        if not (self._context is not None and {one.scheme for one in found} == {self.scheme}):
            # The rounds of NTLM and Negotiate repeat nothing else of what was offered.
            self._challenges = found
            self.offered = tuple(dict.fromkeys(NAMES.get(one.scheme, one.name) for one in found))
        if (header := self._continued(found, method, uri)) is not None:
            return header
        return self.give_up(method, uri)

    def challenged(self, fields: Iterable[tuple[str, str]], method: str, uri: str) -> str | None:
        """As `answer`, for a request whose connection is over: NTLM and Negotiate then begin anew
        on the next one, with `begins_bound` and no header."""
        header = self.answer(fields, method, uri)
        if header is None or self._context is None:
            return header
        self._context = None
        return None

    def _continued(self, found: list[Challenge], method: str, uri: str) -> str | None:
        """The next round of what is under way."""
        if self._context is not None and self.scheme is not None:
            token = next((one.token for one in found if one.scheme == self.scheme), "")
            if not token:
                return None
            try:
                return self._token_header(base64.b64decode(token, validate=True))
            except binascii.Error:
                return None
            except TokenUnavailable as error:
                self.unavailable[self.scheme] = error
                return None
        if self.scheme == "digest" and self._digest is not None and not self._renewed:
            # A nonce from an earlier connection may have been forgotten without a word.
            fresh = strongest_digest(found)
            stale = fresh is not None and fresh.parameters.get("stale", "").lower() == "true"
            old = self._digest.parameters["nonce"]
            if fresh is not None and (stale or self._from_memory) and (
                fresh.parameters["nonce"] != old
            ):  # fmt: skip
                self._renewed = True
                self._digest = fresh
                return self._digest_header(method, uri, 1)
        return None

    def give_up(self, method: str, uri: str) -> str | None:
        """What is tried was refused, or broke off: begin with the next scheme that was offered."""
        if self.scheme is not None:
            self.refused.append(self.scheme)
            self._memory.forget(self.proxy, self.choice)
        self.scheme, self._context, self._digest = None, None, None
        offered = {challenge.scheme for challenge in self._challenges}
        for scheme in self._order:
            if scheme not in offered or scheme in self.refused or scheme in self.unavailable:
                continue
            try:
                header = self._start(scheme, method, uri)
            except TokenUnavailable as error:
                self.unavailable[scheme] = error
                continue
            if header is not None:
                self.scheme = scheme
                return header
        return None

    def _start(self, scheme: Scheme, method: str, uri: str) -> str | None:
        if scheme in ("ntlm", "negotiate"):
            self._context = TokenContext(scheme, self.credentials, self.proxy.endpoint.host)
            return self._token_header(None)
        if self.credentials is None:
            return None
        if scheme == "basic":
            return self.credentials.basic()
        self._digest = strongest_digest(self._challenges)
        return None if self._digest is None else self._digest_header(method, uri, 1)

    def _token_header(self, token: bytes | None) -> str:
        assert self._context is not None
        text = base64.b64encode(self._context.step(token)).decode("ascii")
        self._rounds = 1 if token is None else self._rounds + 1
        self._sent.add(text)
        return f"{NAMES[self._context.scheme]} {text}"

    def _digest_header(self, method: str, uri: str, nc: int) -> str:
        assert self._digest is not None
        assert self.credentials is not None
        self._from_memory = nc > 1
        answer = answer_digest(
            self._digest, self.credentials, method, uri, nc=nc, cnonce=secrets.token_hex(16)
        )
        self._sent.update(answer.secrets)
        return answer.header

    # What came of it

    @property
    def midway(self) -> bool:
        """Whether what is under way belongs to the connection, and has begun on it."""
        return self._context is not None and self._rounds > 1

    @property
    def last(self) -> str:
        """The name of what was tried last."""
        return NAMES[self.refused[-1]] if self.refused else ""

    def accepted(self) -> None:
        """The proxy took it: remember."""
        if self.scheme is not None:
            self._memory.keep(self.proxy, self.choice, self.credentials, self.scheme, self._digest)

    @property
    def description(self) -> str:
        """For people: the scheme, the user, and what was refused before."""
        if self.scheme is None:
            return ""
        name = NAMES[self.scheme]
        if self.scheme == "digest" and self._digest is not None:
            name = f"{name} ({algorithm_of(self._digest)})"
        if self.scheme == "negotiate" and self._context is not None:
            name = f"{name} ({self._context.mechanism})" if self._context.mechanism else name
        who = (
            f', user "{self.credentials.user}"' if self.credentials else ", ticket of this process"
        )
        refused = ", ".join(NAMES[one] for one in self.refused)
        return f"{name}{who}{f'; refused: {refused}' if refused else ''}"

    def scrub(self, text: str) -> str:
        """`text` without what was sent to sign in."""
        for secret in self._sent:
            text = text.replace(secret, "***")
        return self.credentials.scrub(text) if self.credentials else text
