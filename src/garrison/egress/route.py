"""Which way a connection leaves, decided before anything is opened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from garrison.egress.bypass import BUILTIN
from garrison.egress.endpoint import Endpoint, ProxyAddress, Purpose, Target
from garrison.egress.settings import ProxySettings


@dataclass(frozen=True, slots=True)
class Direct:
    """Dial the destination itself."""

    because: str

    def __str__(self) -> str:
        return "direct"


@dataclass(frozen=True, slots=True)
class ViaProxy:
    """Dial `proxy` and ask it for the destination."""

    proxy: ProxyAddress
    because: str

    def __str__(self) -> str:
        return str(self.proxy.endpoint)


Route: TypeAlias = Direct | ViaProxy


def choose_route(destination: Endpoint, settings: ProxySettings) -> Route:
    """Decide how to reach `destination`; no I/O, so it can be shown before it is used.

    A bypass entry wins over every proxy, and `because` names what decided.
    """
    if entry := settings.bypass.match(destination):
        if entry in BUILTIN:
            return Direct(because=f"always direct: {entry} ({entry.note})")
        return Direct(because=f"bypass entry {entry}")
    if settings.proxy is None:
        return Direct(because="no proxy is set")
    return ViaProxy(settings.proxy, because="the proxy; no bypass entry matches")


@dataclass(frozen=True, slots=True)
class Explanation:
    """The route of one URL, for people; `proxy` without credentials."""

    url: str
    route: Route
    purpose: Purpose

    @property
    def proxy(self) -> str | None:
        return str(self.route.proxy) if isinstance(self.route, ViaProxy) else None

    def as_dict(self) -> dict[str, Any]:
        return {
            "url": self.url,
            "route": "proxy" if isinstance(self.route, ViaProxy) else "direct",
            "proxy": self.proxy,
            "because": self.route.because,
            "purpose": self.purpose,
        }


def explain(url: str, settings: ProxySettings, purpose: Purpose) -> Explanation:
    """The route `url` would take, and why; opens nothing. Raises BadUrlError."""
    return Explanation(url, choose_route(Target.parse(url).endpoint, settings), purpose)
