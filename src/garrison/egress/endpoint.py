"""Addresses: a host and port, a proxy's address, and the target that a URL names."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Self, TypeAlias
from urllib.parse import SplitResult, urlsplit

from garrison.errors import GarrisonError

Purpose: TypeAlias = Literal["intel", "alerts", "registry", "secrets", "fleet", "sso"]
PURPOSES: tuple[Purpose, ...] = ("intel", "alerts", "registry", "secrets", "fleet", "sso")

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@lru_cache(4096)
def read_ip(text: str) -> IpAddress | None:
    """The address in `text`, with or without brackets; None when it is a name.

    An IPv4 address mapped into IPv6 is that IPv4 address, so that no rule is passed by it.
    """
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
        if ":" not in text:
            return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


@lru_cache(4096)
def normal_name(text: str) -> str:
    """A DNS name as it is compared and sent: lower-case A-labels, no final dot.

    Raises ValueError on what is no name, such as `127.1`, which resolvers read as an address.
    """
    name = text.rstrip(".").lower() if text.endswith(".") and not text.endswith("..") else text
    if not name.isascii():
        import idna

        try:
            name = idna.encode(name, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError) as error:
            raise ValueError(f"{text!r} is not a host name: {error}") from None
    name = name.lower()
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{text!r} is neither a host name nor an IP address")
    if _NUMBER.fullmatch(labels[-1]):
        raise ValueError(f"{text!r} is not a complete IP address")
    return name


def normal_host(text: str) -> str:
    """A name by `normal_name`, or an IP address in its shortest form without brackets."""
    address = read_ip(text)
    return str(address) if address is not None else normal_name(text)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host and a port; the host as by `normal_host`."""

    host: str
    port: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", normal_host(self.host))
        if not 0 < self.port < 65536:
            raise ValueError(f"{self.port} is not a port")

    @property
    def ip(self) -> IpAddress | None:
        """The address, when the host is one."""
        return read_ip(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


ProxyScheme: TypeAlias = Literal["http", "https", "socks5", "socks5h"]
_PROXY_PORTS: dict[ProxyScheme, int] = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """A proxy; `https`: TLS from here to the proxy itself. `socks5h`: it resolves names."""

    scheme: ProxyScheme
    endpoint: Endpoint

    @classmethod
    def parse(cls, text: str, *, default_port: bool = False) -> Self:
        """Read `PROTOCOL://HOST:PORT`.

        default_port: accept an address without one, as environment variables have it.

        Raises ValueError, its text for people and without what may be a password.
        """
        if "://" not in text:
            raise ValueError(f"the protocol is missing: write {_with_scheme(text)}")
        parts = _split(text)
        if parts.username is not None or parts.password is not None:
            raise ValueError("credentials do not belong in the address: enter them in User"
                             " and Password")  # fmt: skip
        scheme = _proxy_scheme(parts.scheme.lower())
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("an address ends after its port: PROTOCOL://HOST:PORT")
        port = parts.port
        if port is None:
            if not default_port:
                raise ValueError(f"the port is missing: {scheme}://{parts.hostname or 'HOST'}:PORT")
            port = _PROXY_PORTS[scheme]
        return cls(scheme, Endpoint(_host(parts), port))

    @property
    def socks(self) -> bool:
        """Whether it is spoken to by SOCKS5: everything is a tunnel then."""
        return self.scheme in ("socks5", "socks5h")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.endpoint}"


def _proxy_scheme(text: str) -> ProxyScheme:
    for scheme in _PROXY_PORTS:
        if scheme == text:
            return scheme
    raise ValueError(f"{text}:// proxies are not supported: use {'://, '.join(_PROXY_PORTS)}://")


def _with_scheme(text: str) -> str:
    # Whatever stands before an @ may be a password.
    address = text.rpartition("@")[2]
    return f"http://{address or 'HOST:PORT'}"


class _Parts:
    """What `urlsplit` found, with its late errors raised early."""

    def __init__(self, split: SplitResult) -> None:
        self.scheme, self.path, self.query = split.scheme, split.path, split.query
        self.fragment = split.fragment
        self.username, self.password = split.username, split.password
        self.hostname, self.port = split.hostname, split.port
        self.netloc = split.netloc


def _split(text: str) -> _Parts:
    if _UNPRINTABLE.search(text):
        raise ValueError("an address holds no spaces or control characters")
    # urllib quotes the netloc, which may hold a password, in some of its texts.
    try:
        split = urlsplit(text)
    except ValueError:
        raise ValueError("not an address: its host cannot be read") from None
    try:
        _ = split.port
    except ValueError:
        raise ValueError("not an address: its port is not a number") from None
    return _Parts(split)


def _host(parts: _Parts) -> str:
    if not parts.hostname:
        raise ValueError("the host is missing")
    return parts.hostname


class BadUrlError(GarrisonError, ValueError):
    """A destination's address that cannot be used."""

    code = "egress.bad_url"

    @property
    def hint(self) -> str:
        return "Write a URL with the scheme http, https, ws or wss, such as https://HOST/PATH."


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL names: where to connect, and what to ask for there."""

    scheme: Literal["http", "https", "ws", "wss"]
    endpoint: Endpoint
    resource: str
    """Path and query, as sent."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises BadUrlError."""
        if (plain := _PLAIN_URL.fullmatch(url)) and url[-1] != "?":
            # What nearly every URL looks like; the rest gives the same and takes ten times longer.
            scheme, authority, resource = plain.groups()
            if endpoint := _plain_endpoint(scheme, authority):
                return cls(scheme, endpoint, resource or "/")  # type: ignore[arg-type]
        try:
            parts = _split(url)
            scheme = parts.scheme.lower()
            if scheme not in ("http", "https", "ws", "wss"):
                raise ValueError(f"scheme {scheme!r} is none of http, https, ws, wss")
            if parts.username is not None or parts.password is not None:
                raise ValueError("credentials do not belong in a URL")
            port = parts.port if parts.port is not None else _DEFAULT_PORTS[scheme]
            endpoint = Endpoint(_host(parts), port)
        except ValueError as error:
            raise BadUrlError(f"not a usable URL: {error}") from None
        resource = _ascii(parts.path or "/") + (f"?{_ascii(parts.query)}" if parts.query else "")
        return cls(scheme, endpoint, resource)  # type: ignore[arg-type]

    @property
    def tls(self) -> bool:
        return self.scheme in ("https", "wss")

    @property
    def websocket(self) -> bool:
        return self.scheme in ("ws", "wss")

    @property
    def has_default_port(self) -> bool:
        return self.endpoint.port == _DEFAULT_PORTS[self.scheme]

    @property
    def authority(self) -> str:
        """The value of `Host`: without the scheme's own port."""
        if self.has_default_port:
            return str(self.endpoint).rpartition(":")[0]
        return str(self.endpoint)

    @property
    def absolute(self) -> str:
        """The absolute form, for a request to a proxy (RFC 9112 section 3.2.2)."""
        return f"{self.scheme}://{self.authority}{self.resource}"


_PLAIN_URL = re.compile(r"(https?|wss?)://([a-z0-9.:-]+)(/[!$-~]*)?")
"""No user, no brackets, no fragment, all printable ASCII (`#` and `"` are left to the parser)."""


@lru_cache(4096)
def _plain_endpoint(scheme: str, authority: str) -> Endpoint | None:
    host, colon, port = authority.partition(":")
    if colon and not (port.isdigit() and 0 < int(port) < 65536):
        return None
    try:
        return Endpoint(host, int(port) if colon else _DEFAULT_PORTS[scheme])
    except ValueError:
        return None


def _ascii(text: str) -> str:
    from urllib.parse import quote

    return text if text.isascii() else quote(text, safe="%/?:@!$&'()*+,;=-._~[]")
