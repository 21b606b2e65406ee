"""What kind of place an address is, and where a stranger's word may lead us.

A registry names its token service, and redirects to its storage. Neither may make a Defender call
what only its node or network can reach, unless the registry itself is there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from garrison.egress.endpoint import IpAddress, read_ip

Place: TypeAlias = Literal["public", "private", "loopback", "link-local", "metadata", "nowhere"]

WORDS: dict[Place, str] = {
    "public": "a public address",
    "private": "a private address",
    "loopback": "this machine itself",
    "link-local": "a link-local address",
    "metadata": "a metadata service of the cloud",
    "nowhere": "no address of a host",
}

_METADATA = frozenset(
    map(
        ipaddress.ip_address,
        (
            "169.254.169.254",  # most clouds
            "169.254.170.2",  # Amazon, of a container
            "169.254.170.23",
            "fd00:ec2::254",
            "fd00:ec2::23",
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure
            "fd20:ce::254",  # Google
            "192.0.0.192",  # Oracle
        ),
    )
)
_EMBEDDING = (  # IPv6 ranges that end in an IPv4 address
    ipaddress.IPv6Network("64:ff9b::/96"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),
    ipaddress.IPv6Network("::/96"),
)
_MAY_LEAD_TO: dict[Place, frozenset[Place]] = {
    "public": frozenset({"public"}),
    "private": frozenset({"public", "private"}),
    "loopback": frozenset({"public", "private", "loopback"}),
    "link-local": frozenset({"public", "private", "link-local"}),
    "metadata": frozenset({"public"}),
    "nowhere": frozenset({"public"}),
}


def place_of(address: IpAddress) -> Place:
    """The kind of place; an IPv4 address inside an IPv6 one counts as itself."""
    if isinstance(address, ipaddress.IPv6Address):
        address = ipaddress.IPv6Address(int(address))
        if address.is_loopback:
            return "loopback"
        if address.is_site_local:
            return "private"
        if (inner := _embedded(address)) is not None:
            return place_of(inner)
    if address in _METADATA:
        return "metadata"
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_unspecified or address.is_multicast:
        return "nowhere"
    return "public" if address.is_global else "private"


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if any(address in network for network in _EMBEDDING) and int(address) > 1:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def place_named(host: str) -> Place | None:
    """The same for a host as it is written; None for a name."""
    address = read_ip(host)
    return None if address is None else place_of(address)


@dataclass(frozen=True, slots=True)
class Led:
    """We follow somebody's word. by: whose; place: where they are; by a proxy it is public."""

    by: str
    place: Place

    def permits(self, place: Place) -> bool:
        return place in _MAY_LEAD_TO[self.place]

    def refused(self, addresses: Iterable[str]) -> Place | None:
        """The kind of place that speaks against going there, if none of the addresses may be
        called."""
        found: Place | None = None
        for text in addresses:
            place = place_named(text)
            if place is None or self.permits(place):
                return None
            found = place
        return found

    def refused_by_proxy(self, host: str) -> Place | None:
        """A proxy has its own view of names; but not even its own node is to be called."""
        place = place_named(host)
        return place if place in ("loopback", "link-local", "metadata", "nowhere") else None
