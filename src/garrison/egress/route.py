"""Which way a connection leaves, decided before anything is opened."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from garrison.egress.bypass import BUILTIN, IN_CLUSTER
from garrison.egress.credentials import Credentials, ProxyAuth
from garrison.egress.endpoint import Endpoint, ProxyAddress, Purpose, Target
from garrison.egress.place import Led
from garrison.egress.rules import DEFAULT_NAME, Proxy, Rule
from garrison.egress.settings import ProxySettings


@dataclass(frozen=True, slots=True)
class Direct:
    """Dial the destination itself."""

    because: str

    def __str__(self) -> str:
        return "direct"


@dataclass(frozen=True, slots=True)
class ViaProxy:
    """Dial `proxy` and ask it for the destination. name: of the proxy in the settings, or empty."""

    proxy: ProxyAddress
    because: str
    name: str = DEFAULT_NAME
    auth: ProxyAuth = "auto"
    credentials: Credentials | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return str(self.proxy.endpoint)


Route: TypeAlias = Direct | ViaProxy
Decider: TypeAlias = Literal["builtin", "bypass", "rule", "pac", "default", "strict"]
PacAnswer: TypeAlias = "tuple[ProxyAddress | None, ...]"
"""What a PAC file said, in its order; None is DIRECT."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The routes to try, in order, and what decided.

    No candidates: strict mode refuses the destination, or, with `ask_pac`, the PAC file has to be
    asked first.
    """

    candidates: tuple[Route, ...]
    decided_by: Decider
    because: str
    rule: str = ""
    """The name of the rule, or the bypass entry."""
    ask_pac: bool = False

    @property
    def refused(self) -> bool:
        return not self.candidates and not self.ask_pac


def choose_route(
    target: Target, settings: ProxySettings, purpose: Purpose, pac: PacAnswer | None = None
) -> Choice:
    """Decide how to reach `target`; no I/O, so it can be shown before it is used.

    Asked in turn, the first that knows decides: strict mode (which can only refuse), what is
    always direct, No Proxy, the rules, the PAC file, HTTP Proxy. pac: its answer for this target;
    without one, and where it is needed, the choice says `ask_pac`.
    """
    destination, more = target.endpoint, settings.more
    if more.strict and not _allowed(destination, settings, purpose):
        return Choice((), "strict", "strict mode: no allowed destination matches")
    if entry := settings.bypass.match(destination):
        if entry in BUILTIN or (settings.bypass.in_cluster and entry in IN_CLUSTER):
            because = f"always direct: {entry} ({entry.note})"
            return Choice((Direct(because),), "builtin", because, entry.text)
        because = f"bypass entry {entry}"
        return Choice((Direct(because),), "bypass", because, entry.text)
    for rule in more.rules:
        if rule.matches(destination, purpose, settings.group):
            return _by_rule(rule, settings, pac)
    return _by_default(settings, pac)


def limits_of(
    led: Led | None, target: Target, settings: ProxySettings, purpose: Purpose
) -> Led | None:
    """Where `led` may lead; a rule that names both the purpose and the destination, and sends it
    direct, says that a private address is meant."""
    if led is None:
        return None
    named = any(
        rule.use == "direct"
        and rule.purposes
        and rule.destinations.entries
        and rule.matches(target.endpoint, purpose, settings.group)
        for rule in settings.more.rules
    )
    return Led(led.by, "private") if named and led.place == "public" else led


def _allowed(destination: Endpoint, settings: ProxySettings, purpose: Purpose) -> bool:
    """The Console is never cut off from its Defenders, nor is this machine from itself."""
    if purpose == "fleet" or settings.more.allowed.find(destination) is not None:
        return True
    address = destination.ip
    return destination.host == "localhost" if address is None else address.is_loopback


def _by_rule(rule: Rule, settings: ProxySettings, pac: PacAnswer | None) -> Choice:
    because = f"rule {rule.name}"
    match rule.use:
        case "direct":
            return Choice((Direct(because),), "rule", because, rule.name)
        case "proxy":
            routes = _via(rule.proxies, settings, because)
            return Choice(routes, "rule", because, rule.name)
        case "pac":
            return _by_pac(settings, pac, f"{because}: the PAC file", rule.name)
        case "default":
            return _by_default(settings, pac, f"{because}: ", rule.name)


def _by_default(
    settings: ProxySettings, pac: PacAnswer | None, prefix: str = "", rule: str = ""
) -> Choice:
    if settings.more.pac_url:
        return _by_pac(settings, pac, f"{prefix}the PAC file", rule)
    if settings.proxy is None:
        because = f"{prefix}no proxy is set"
        return Choice((Direct(because),), "default", because, rule)
    because = f"{prefix}the proxy; no bypass entry matches"
    names = (DEFAULT_NAME, *settings.more.failover)
    return Choice(_via(names, settings, because), "default", because, rule)


def _via(names: Iterable[str], settings: ProxySettings, because: str) -> tuple[Route, ...]:
    found = (settings.named(name) for name in names)
    return tuple(_through(one, because) for one in found if one is not None)


def _through(proxy: Proxy, because: str) -> ViaProxy:
    held = None if proxy.auth == "none" else proxy.credentials
    return ViaProxy(proxy.address, because, proxy.name, proxy.auth, held)


def _by_pac(settings: ProxySettings, pac: PacAnswer | None, because: str, rule: str) -> Choice:
    if pac is None:
        return Choice((), "pac", because, rule, ask_pac=True)
    known = [settings.named(DEFAULT_NAME), *settings.more.proxies]
    routes = tuple(
        Direct(because) if one is None else _named_by_pac(one, known, settings, because)
        for one in pac
    )
    return Choice(routes, "pac", because, rule)


def _named_by_pac(
    address: ProxyAddress, known: Iterable[Proxy | None], settings: ProxySettings, because: str
) -> ViaProxy:
    """A password goes to the proxy it was entered for; without HTTP Proxy, User and Password can
    only be meant for those of the PAC file."""
    for one in known:
        if one is not None and _same(one.address, address):
            return _through(Proxy(one.name, address, one.auth, one.credentials), because)
    if settings.proxy is not None:
        return ViaProxy(address, because, "")
    auth = settings.more.auth
    return _through(Proxy("", address, auth, settings.credentials), because)


def _same(one: ProxyAddress, other: ProxyAddress) -> bool:
    """A password meant for TLS is not sent without."""
    return one.endpoint == other.endpoint and (
        one.scheme == other.scheme or (one.socks and other.socks)
    )


@dataclass(frozen=True, slots=True)
class Explanation:
    """The route of one URL, for people; without credentials.

    chosen: the candidate that is meant, where it is not the first. error: why there is none.
    """

    url: str
    choice: Choice
    purpose: Purpose
    chosen: Route | None = None
    note: str = ""
    """What is to be known of the answer, such as that the PAC file was not asked."""

    @property
    def route(self) -> Route | None:
        return self.chosen or next(iter(self.choice.candidates), None)

    @property
    def proxy(self) -> str | None:
        return str(self.route.proxy) if isinstance(self.route, ViaProxy) else None

    def as_dict(self) -> dict[str, Any]:
        choice = self.choice
        return {
            "url": self.url,
            "route": _kind(self.route, choice),
            "proxy": self.proxy,
            "because": choice.because,
            "purpose": self.purpose,
            "decided_by": choice.decided_by,
            "rule": choice.rule,
            "candidates": [
                {
                    "route": _kind(one, choice),
                    "proxy": str(one.proxy) if isinstance(one, ViaProxy) else None,
                    "name": one.name if isinstance(one, ViaProxy) else "",
                }
                for one in choice.candidates
            ],
            "note": self.note,
        }


def _kind(route: Route | None, choice: Choice) -> str:
    if route is None:
        return "unknown" if choice.ask_pac else "refused"
    return "proxy" if isinstance(route, ViaProxy) else "direct"
