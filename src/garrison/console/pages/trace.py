"""Connection tests and failures as pages show them: where it stopped, who acts, what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from garrison.console.pages import text

ACTORS: Mapping[str, str] = {
    "you": "You",
    "proxy": "Whoever runs the proxy",
    "destination": "Whoever runs the destination",
    "network": "Whoever runs the network between",
}
STOPS: Mapping[str, str] = {
    "resolve": "looking up the name",
    "tcp": "opening the connection",
    "proxy-tls": "TLS with the proxy",
    "proxy-auth": "signing in at the proxy",
    "tunnel": "asking the proxy for a tunnel",
    "tls": "TLS with the destination",
    "http": "the request itself",
    "websocket": "opening the WebSocket",
}
_AT_PROXY = frozenset({"proxy-tls", "proxy-auth", "tunnel"})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why something that needed the network did not work.

    code: stable, for searching and for scripts. answer: what the proxy or the destination said,
    kept raw; empty where nothing was said.
    """

    code: str
    message: str
    hint: str = ""
    who: str = ""
    hop: str = ""
    answer: str = ""

    @property
    def actor(self) -> str:
        """Who must act, in words; empty where it is not known."""
        return ACTORS.get(self.who, "")

    @property
    def stop(self) -> str:
        """At what it stopped, in words; empty where no connection was involved."""
        return STOPS.get(self.hop, self.hop)

    @property
    def says(self) -> str:
        """The label of the message: who said it."""
        return "Proxy says" if self.hop in {"proxy-auth", "tunnel"} else "Happened"

    @property
    def about_proxy(self) -> bool:
        """Whether the proxy settings are the place to repair it."""
        return self.code.startswith("egress.") and self.who in {"you", "proxy"}


def failure(error: object) -> Failure | None:
    """The failure in a stored or answered error: a mapping, an object with its fields, or None."""
    if error is None:
        return None

    def read(name: str) -> str:
        value = error.get(name) if isinstance(error, Mapping) else getattr(error, name, "")
        return value if isinstance(value, str) else ""

    return Failure(
        code=read("code"),
        message=text.sentence(read("message")),
        hint=text.sentence(read("hint")),
        who=read("who"),
        hop=read("hop"),
        answer=raw_answer(
            error.get("answer") if isinstance(error, Mapping) else getattr(error, "answer", None)
        ),
    )


def raw_answer(answer: object) -> str:
    """What was answered, as text: status line, headers, the kept piece of the body."""
    if isinstance(answer, str):
        return answer
    if not isinstance(answer, Mapping):
        return ""
    lines = [str(answer[name]) for name in ("status_line", "status") if answer.get(name)][:1]
    headers = answer.get("headers") or {}
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    lines += [f"{name}: {value}" for name, value in pairs]
    if body := answer.get("body"):
        lines += ["", str(body)]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class CertificateLine:
    """One certificate of a chain. sha256: with colons."""

    subject: str
    issuer: str
    sha256: str
    since: str
    until: str
    names: str
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Hop:
    """One row of a trace. state: `done`, `fail`, or `skip` for one that was not reached.

    facts: what was negotiated beside the detail. verified: the chain passed; else it was shown.
    way: where the attempt of another candidate begins, which.
    """

    name: str
    state: str
    detail: str
    ms: float | None = None
    facts: tuple[str, ...] = ()
    certificates: tuple[CertificateLine, ...] = ()
    verified: bool = False
    way: str = ""

    @property
    def shape(self) -> str:
        return {"done": "done", "fail": "fail"}.get(self.state, "idle")


@dataclass(frozen=True, slots=True)
class TrustOffer:
    """The CA that would have to be trusted. sure: how certain interception is, in words."""

    certificate: CertificateLine
    itself: bool
    sure: str = ""


@dataclass(frozen=True, slots=True)
class TraceView:
    """A finished connection test.

    head, rest: the verdict, its first words strong. notes: message and hint each.
    """

    url: str
    ok: bool
    head: str
    rest: str
    hops: tuple[Hop, ...]
    failure: Failure | None
    total: float
    at: datetime
    intercepted_by: str = ""
    trust: TrustOffer | None = None
    notes: tuple[tuple[str, str], ...] = ()


def trace_view(result: Mapping[str, Any], at: datetime) -> TraceView:
    """A test's answer, with the hops that it did not come to."""
    steps = [
        Hop(
            name=str(step["hop"]),
            state="done" if step["ok"] else "fail",
            detail=str(step.get("detail") or step.get("target") or ""),
            ms=float(step.get("ms") or 0.0),
            facts=_facts(step.get("negotiated") or {}),
            certificates=tuple(
                certificate_line(one, at)
                for one in (step.get("certificates") or {}).get("chain", ())
            ),
            verified=bool((step.get("certificates") or {}).get("verified")),
            way=way,
        )
        for step, way in _attempts(result.get("trace", ()))
    ]
    url, ok = str(result["url"]), bool(result["ok"])
    route = result.get("route") or {}
    wrong = failure(result.get("error"))
    if wrong is not None and not wrong.answer:
        wrong = replace(wrong, answer=raw_answer(result.get("answer")))
    if not ok:
        steps += [
            Hop(name, "skip", "not reached") for name in _missing(steps, url, route.get("proxy"))
        ]
    head, rest = _verdict(url, ok, route, wrong, result.get("intercepted_by") or "")
    return TraceView(
        url=url,
        ok=ok,
        head=head,
        rest=rest,
        hops=tuple(steps),
        failure=wrong,
        total=sum(step.ms or 0.0 for step in steps),
        at=at,
        intercepted_by=str(result.get("intercepted_by") or ""),
        trust=_offer(result, at),
        notes=tuple(
            (text.sentence(str(note["message"])), text.sentence(str(note.get("hint") or "")))
            for note in result.get("notes") or ()
        ),
    )


def _attempts(trace: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], str]]:
    """Each step, and where several candidates were tried the first of each with its way."""
    ways = [str(step.get("via") or "") for step in trace]
    if len(set(ways)) < 2:
        return [(step, "") for step in trace]
    return [
        (step, way if i == 0 or ways[i - 1] != way else "")
        for i, (step, way) in enumerate(zip(trace, ways, strict=True))
    ]


_FACTS = {"alpn": "ALPN ", "auth": "signed in by ", "http": "HTTP/"}


def _facts(negotiated: Mapping[str, str]) -> tuple[str, ...]:
    """TLS version and cipher stand in the detail already."""
    return tuple(f"{name}{negotiated[key]}" for key, name in _FACTS.items() if negotiated.get(key))


def certificate_line(found: Mapping[str, Any], now: datetime) -> CertificateLine:
    """A certificate of a chain, from `Certificate.as_dict`."""
    since, until = moment(found["not_before"]), moment(found["not_after"])
    sha256 = str(found["sha256"]).upper()
    return CertificateLine(
        subject=str(found["subject"]),
        issuer=str(found["issuer"]),
        sha256=":".join(sha256[i : i + 2] for i in range(0, len(sha256), 2)),
        since=text.day(since),
        until=text.day(until),
        names=", ".join(str(name) for name in found.get("names") or ()),
        expired=until < now,
    )


def moment(value: Any) -> datetime:
    """A time of a stored result or an answer."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))


def _offer(result: Mapping[str, Any], at: datetime) -> TrustOffer | None:
    found = result.get("trust")
    if not found:
        return None
    line = certificate_line(found, at)
    interception = result.get("interception") or {}
    sure = {
        "certain": "TLS is opened on the way",
        "likely": "TLS is probably opened on the way",
    }.get(str(interception.get("certainty", "")), "")
    return TrustOffer(
        line,
        itself=not found["is_ca"],
        sure=f"{sure}: {interception['evidence']}." if sure else "",
    )


def stored_view(error: Mapping[str, Any] | None, at: datetime) -> TraceView | None:
    """The trace that was kept with a failure; None where no connection was involved."""
    evidence = (error or {}).get("evidence")
    if not error or not evidence or not evidence.get("trace"):
        return None
    hops = {str(step["hop"]) for step in evidence["trace"]}
    scheme = "https" if "tls" in hops or error.get("hop") not in {"http", "websocket"} else "http"
    return trace_view(
        {
            "ok": False,
            "url": f"{scheme}://{evidence['target']}",
            "error": {**error, "answer": evidence.get("answer")},
            "trace": evidence["trace"],
            "route": {"proxy": evidence.get("proxy")},
        },
        at,
    )


def attempt_view(host: str, result: Mapping[str, Any], at: datetime) -> TraceView:
    """An attempt of which only the steps are known: whether a proxy was asked is seen in them."""
    steps = result.get("trace") or ()
    first = str(steps[0].get("target", "")) if steps else ""
    # The first address that was looked up is the proxy's, where there is one.
    asked = (host and first and host not in first) or any(s["hop"] in _AT_PROXY for s in steps)
    target = first if asked else ""
    url = f"https://{host}" if host else "https://destination"
    route = {"proxy": f"http://{target}" if target else None}
    return trace_view({**result, "url": url, "route": route}, at)


def expected(url: str, proxy: str | None) -> list[str]:
    """The hops a connection to `url` makes, in order."""
    scheme = urlsplit(url).scheme
    hops = ["resolve", "tcp"]
    if proxy:
        if proxy.startswith("https://"):
            hops.append("proxy-tls")
        if scheme in {"https", "wss", "ws"}:
            hops.append("tunnel")
    if scheme in {"https", "wss"}:
        hops.append("tls")
    hops.append("websocket" if scheme in {"ws", "wss"} else "http")
    return hops


def _missing(steps: Sequence[Hop], url: str, proxy: str | None) -> list[str]:
    hops = expected(url, proxy)
    if not steps:
        return hops
    last = steps[-1].name
    # proxy-auth is the tunnel's request refused; the tunnel itself was not opened.
    place = hops.index("tunnel") - 1 if last == "proxy-auth" and "tunnel" in hops else -1
    if last in hops:
        place = hops.index(last)
    elif last == "proxy-auth" and "tunnel" not in hops:
        place = hops.index("http") - 1 if "http" in hops else len(hops)
    return hops[place + 1 :]


def _verdict(
    url: str, ok: bool, route: Mapping[str, Any], wrong: Failure | None, by: str
) -> tuple[str, str]:
    host = urlsplit(url).hostname or url
    proxy = str(route.get("proxy") or "")
    if ok:
        way = f"by {urlsplit(proxy).netloc or proxy}" if proxy else "directly"
        inspected = f" TLS is inspected by “{by}”, which is trusted." if by else ""
        return f"`{host}` answers,", f"reached {way}.{inspected}"
    hop = wrong.hop if wrong else ""
    name = urlsplit(proxy).hostname or proxy
    if proxy and hop in _AT_PROXY:
        return "Stopped at the proxy.", f"`{host}` was not reached; `{name}` was."
    if proxy and hop in {"resolve", "tcp"}:
        return (
            "The proxy was not reached.",
            f"`{name}` does not answer here, so nothing else was tried.",
        )
    if hop in {"http", "websocket"}:
        return f"`{host}` was reached, and refused.", "The way there works."
    if hop == "tls":
        return f"`{host}` is not trusted.", "Something answered; its certificate was not accepted."
    if hop:
        return f"`{host}` was not reached.", f"It stopped while {STOPS.get(hop, hop)}."
    return "The test could not be made.", ""
