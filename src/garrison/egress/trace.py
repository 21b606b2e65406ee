"""What happened on the way: one step per hop, and what a peer answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias, get_args

Hop: TypeAlias = Literal[
    "resolve", "tcp", "proxy-tls", "proxy-auth", "tunnel", "tls", "http", "websocket"
]
HOPS: tuple[Hop, ...] = get_args(Hop)
Who: TypeAlias = Literal["you", "proxy", "destination", "network"]


@dataclass(frozen=True, slots=True)
class Chain:
    """The certificates of a TLS hop, DER, the peer's own first.

    verified: they are what verification used, the root last; else what was presented.
    """

    ders: tuple[bytes, ...]
    verified: bool

    def as_dict(self) -> dict[str, Any]:
        # Reading certificates needs a library that is loaded only to show them.
        from garrison.egress.trust import read_chain

        return {"verified": self.verified, "chain": [one.as_dict() for one in read_chain(self)]}


@dataclass(frozen=True, slots=True)
class Step:
    """One hop. ms: milliseconds it took. detail: what was found, without secrets.

    negotiated: what both sides agreed on (`tls`, `cipher`, `alpn`, `auth`, `http`).
    """

    hop: Hop
    target: str
    ok: bool
    ms: float
    detail: str
    negotiated: Mapping[str, str] = field(default_factory=dict)
    certificates: Chain | None = None
    via: str = ""
    """The route that was tried: `direct`, or the proxy's HOST:PORT."""

    def as_dict(self) -> dict[str, Any]:
        """`negotiated` and `certificates` only where there are any."""
        found: dict[str, Any] = {
            "hop": self.hop,
            "target": self.target,
            "ok": self.ok,
            "ms": self.ms,
            "detail": self.detail,
            "via": self.via,
        }
        if self.negotiated:
            found["negotiated"] = dict(self.negotiated)
        if self.certificates is not None and self.certificates.ders:
            found["certificates"] = self.certificates.as_dict()
        return found


@dataclass(slots=True)
class OpenStep:
    """A step under way: set what was found before it ends."""

    hop: Hop
    target: str
    detail: str = ""
    negotiated: Mapping[str, str] = field(default_factory=dict)
    certificates: Chain | None = None


@dataclass(slots=True)
class Trace:
    """The recorded steps of one connection, the failed one last. clock: seconds.

    via: the route that is tried now; several proxies of a list follow each other in one trace.
    """

    clock: Callable[[], float]
    steps: list[Step] = field(default_factory=list)
    via: str = ""
    target: str = ""
    """The destination's HOST:PORT."""

    @contextmanager
    def step(self, hop: Hop, target: object) -> Iterator[OpenStep]:
        """Record a step around a block; it failed when the block raised."""
        started = self.clock()
        step = OpenStep(hop, str(target))
        try:
            yield step
        except BaseException as error:
            # An error knows its hop better: a 407 to CONNECT belongs to proxy-auth.
            step.hop = getattr(error, "hop", step.hop)
            self._add(step, False, started, str(error) if hasattr(error, "code") else step.detail)
            raise
        self._add(step, True, started, step.detail)

    def add(
        self,
        hop: Hop,
        target: object,
        *,
        ok: bool,
        ms: float = 0.0,
        detail: str = "",
        negotiated: Mapping[str, str] | None = None,
    ) -> None:
        self.steps.append(
            Step(hop, str(target), ok, round(ms, 3), detail, negotiated or {}, via=self.via)
        )

    def _add(self, step: OpenStep, ok: bool, started: float, detail: str) -> None:
        ms = round((self.clock() - started) * 1000, 3)
        self.steps.append(
            Step(
                step.hop,
                step.target,
                ok,
                ms,
                detail,
                step.negotiated,
                step.certificates,
                self.via,
            )
        )

    def as_list(self) -> list[dict[str, Any]]:
        return [step.as_dict() for step in self.steps]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer answered: status, the headers that explain it, the start of its body as text.

    Kept with errors; whoever makes one has removed our own credentials from it.
    """

    status: int
    reason: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {"status": self.status, "headers": dict(self.headers), "body": self.body}


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """One opened connection, or one that failed: for the list of outside hosts.

    route: `direct`, or the proxy's HOST:PORT. at: UTC. code, who, hop, message, hint: of the
    error, else empty. steps: what was tried, hop by hop. test: somebody asked for a connection
    test. opened: False for what an open connection, told of before, carried since: `sent` and
    `received` are bytes of bodies.
    """

    host: str
    port: int
    purpose: str
    route: str
    ok: bool
    at: datetime
    code: str = ""
    who: str = ""
    hop: str = ""
    message: str = ""
    hint: str = ""
    steps: tuple[Step, ...] = ()
    test: bool = False
    opened: bool = True
    sent: int = 0
    received: int = 0


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth knowing about a connection that is no failure."""

    code: str
    message: str
    hint: str = ""

    def as_dict(self) -> dict[str, str]:
        return {"code": self.code, "message": self.message, "hint": self.hint}


@dataclass(frozen=True, slots=True)
class TestResult:
    """A connection test: how far it came, hop by hop.

    route: as `Explanation.as_dict`. error: `code`, `message`, `hint`, `who`, `hop`; None when ok.
    interception: `by`, `certainty`, `evidence`. trust: the CA that would have to be trusted, as
    `Certificate.as_dict` with its `pem`; None where that is not the remedy.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    ok: bool
    url: str
    route: Mapping[str, Any]
    steps: tuple[Step, ...]
    intercepted_by: str | None = None
    error: Mapping[str, Any] | None = None
    answer: Answer | None = None
    origin: str = "console"
    interception: Mapping[str, str] | None = None
    trust: Mapping[str, Any] | None = None
    notes: tuple[Note, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "url": self.url,
            "from": self.origin,
            "route": dict(self.route),
            "intercepted_by": self.intercepted_by,
            "error": None if self.error is None else dict(self.error),
            "answer": None if self.answer is None else self.answer.as_dict(),
            "interception": None if self.interception is None else dict(self.interception),
            "trust": None if self.trust is None else dict(self.trust),
            "notes": [note.as_dict() for note in self.notes],
            "trace": [step.as_dict() for step in self.steps],
        }
