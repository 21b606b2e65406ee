"""The bypass list (No Proxy): what is reached directly, and why.

A name covers itself and everything below it; `.name` and `*.name` cover only what is below.
Addresses and CIDR ranges match hosts that are written as addresses: a name is never resolved to
choose a route, which would leak it and fails where only the proxy resolves names.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Self, TypeAlias

from garrison.egress.endpoint import Endpoint, IpAddress, normal_name, read_ip

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Kind: TypeAlias = Literal["name", "below", "network", "local", "all"]

_SEPARATORS = re.compile(r"[\s,;]+")
_IPV4_PREFIX = re.compile(r"(\d{1,3})(\.\d{1,3}){0,2}(\.\*){0,3}\.?")


class BypassEntryError(ValueError):
    """An entry that could never match, or cannot be read; `instead` is what to write."""

    def __init__(self, entry: str, problem: str, instead: str = "") -> None:
        super().__init__(f"{entry!r} {problem}" + (f": write {instead}" if instead else ""))
        self.entry, self.problem, self.instead = entry, problem, instead


@dataclass(frozen=True, slots=True)
class BypassEntry:
    """One entry. `text` is its normal form; `note` says what a built-in one is for."""

    kind: Kind
    text: str
    name: str = ""
    network: Network | None = None
    port: int | None = None
    note: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises BypassEntryError."""
        entry = text.strip()
        if entry == "*":
            return cls("all", "*")
        if entry.lower() == "<local>":
            return cls("local", "<local>")
        if "://" in entry:
            rest = entry.partition("://")[2].partition("/")[0].rpartition("@")[2]
            raise BypassEntryError(_shown(entry), "is a URL, not an address", rest or "the host")
        return cls._network(entry) or cls._name(entry)

    @classmethod
    def _network(cls, entry: str) -> Self | None:
        if "/" in entry:
            return cls._range(entry)
        if (address := read_ip(entry)) is not None:
            return cls("network", str(address), network=ipaddress.ip_network(_plain(address)))
        host, port = _split_port(entry)
        if port is not None and (address := read_ip(host)) is not None:
            text = str(Endpoint(str(address), port))
            return cls("network", text, network=ipaddress.ip_network(_plain(address)), port=port)
        _refuse_partial_ip(entry)
        return None

    @classmethod
    def _range(cls, entry: str) -> Self:
        length, port = entry.partition("/")[2], None
        if "]" not in length and length.count(":") == 1 and length.partition(":")[0].isdigit():
            entry, port = _split_port(entry)
        network = _cidr(entry)
        if port is None:
            return cls("network", str(network), network=network)
        address = network.network_address
        host = f"[{address}]" if address.version == 6 else str(address)
        return cls("network", f"{host}/{network.prefixlen}:{port}", network=network, port=port)

    @classmethod
    def _name(cls, entry: str) -> Self:
        host, port = _split_port(entry)
        kind: Kind = "name"
        for start in ("*.", "."):
            if host.startswith(start):
                kind, host = "below", host[len(start) :]
                break
        if "*" in host:
            raise BypassEntryError(entry, "has a * that is not its first label", _wildcard(host))
        try:
            name = normal_name(host)
        except ValueError:
            raise BypassEntryError(entry, "is neither a name, an address nor a range") from None
        text = ("." if kind == "below" else "") + name + ("" if port is None else f":{port}")
        return cls(kind, text, name=name, port=port)

    def matches(self, destination: Endpoint) -> bool:
        """Whether `destination` is reached directly because of this entry."""
        if self.port is not None and self.port != destination.port:
            return False
        if self.kind == "all":
            return True
        address = destination.ip
        if self.network is not None:
            return address is not None and _plain(address) in self.network
        if address is not None:
            return False
        if self.kind == "local":
            return "." not in destination.host
        below = destination.host.endswith("." + self.name)
        return below or (self.kind == "name" and destination.host == self.name)

    def covers(self, other: BypassEntry) -> bool:
        """Whether everything that `other` matches is matched by this entry too."""
        if self.port is not None and self.port != other.port:
            return False
        if self.kind == "all":
            return True
        if self.network is not None:
            mine, theirs = self.network, other.network
            if isinstance(mine, ipaddress.IPv4Network):
                return isinstance(theirs, ipaddress.IPv4Network) and theirs.subnet_of(mine)
            return isinstance(theirs, ipaddress.IPv6Network) and theirs.subnet_of(mine)
        if self.kind == "local":
            return other.kind == "local"
        if other.kind not in ("name", "below"):
            return False
        if other.name == self.name:
            return self.kind == "name" or other.kind == "below"
        return other.name.endswith("." + self.name)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class BypassList:
    """The operator's entries, in their order; the built-in ones hold as well."""

    entries: tuple[BypassEntry, ...] = ()
    warnings: tuple[str, ...] = ()
    """What is redundant, or means something else than it seems to."""
    in_cluster: bool = True
    """Whether names inside a cluster are direct without being listed."""

    @classmethod
    def parse(
        cls, text: str | Iterable[str], *, direct: bool = True, in_cluster: bool = True
    ) -> tuple[Self, tuple[BypassEntryError, ...]]:
        """The list of the readable entries, and one error for each of the others.

        Entries are separated by commas, semicolons or white space. direct: the list says what is
        reached directly, so that the built-in entries hold beside it.
        """
        parts = [text] if isinstance(text, str) else list(text)
        words = [word for part in parts for word in _SEPARATORS.split(part) if word]
        entries: list[BypassEntry] = []
        errors: list[BypassEntryError] = []
        warnings: list[str] = []
        for word in words:
            try:
                entry = BypassEntry.parse(word)
            except BypassEntryError as error:
                errors.append(error)
                continue
            if entry.network is not None and _has_host_bits(word, entry.network):
                warnings.append(f"{word} means {entry}")
            if entry in entries:
                warnings.append(f"{entry} is there twice")
                continue
            entries.append(entry)
        made = cls(tuple(entries), in_cluster=in_cluster)
        warnings += _redundant(entries, made.builtin if direct else ())
        if direct:
            warnings += _only_addresses(entries)
        return replace(made, warnings=tuple(warnings)), tuple(errors)

    @classmethod
    def of(cls, text: str | Iterable[str]) -> Self:
        """Like `parse`; raises the first error."""
        result, errors = cls.parse(text)
        if errors:
            raise errors[0]
        return result

    @property
    def builtin(self) -> tuple[BypassEntry, ...]:
        return (*BUILTIN, *IN_CLUSTER) if self.in_cluster else BUILTIN

    def match(self, destination: Endpoint) -> BypassEntry | None:
        """The entry that sends `destination` direct; the built-in ones are asked first."""
        found = (entry for entry in self.builtin if entry.matches(destination))
        return next(found, None) or self.find(destination)

    def find(self, destination: Endpoint) -> BypassEntry | None:
        """The first of the operator's entries that matches."""
        return next((entry for entry in self.entries if entry.matches(destination)), None)

    def __str__(self) -> str:
        return ",".join(entry.text for entry in self.entries)


def _redundant(entries: list[BypassEntry], builtin: tuple[BypassEntry, ...]) -> list[str]:
    found = []
    for index, entry in enumerate(entries):
        if cover := next((one for one in builtin if one.covers(entry)), None):
            found.append(f"{entry} is not needed: {cover} is always direct")
            continue
        for other_index, other in enumerate(entries):
            if other_index == index or not other.covers(entry):
                continue
            # Of two that cover each other (`a` and `a:443` do not), the later is redundant.
            if entry.covers(other) and other_index > index:
                continue
            found.append(f"{entry} is not needed: {other} covers it")
            break
    return found


def _only_addresses(entries: list[BypassEntry]) -> list[str]:
    """Ranges of this network without a single name beside them: mostly a misunderstanding."""
    ranges = [one for one in entries if one.network is not None and one.network.num_addresses > 1]
    inside = [one for one in ranges if one.network is not None and one.network.is_private]
    if not inside or any(one.network is None for one in entries):
        return []
    return [
        f"{inside[0]} matches what is written as an address; a name such as registry.corp.test is"
        " not resolved for it: list names too, if there are any"
    ]


def _split_port(entry: str) -> tuple[str, int | None]:
    host, colon, port = entry.rpartition(":")
    if not colon or (":" in host and "]" not in host):
        return entry, None
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise BypassEntryError(entry, "has a port that is no port")
    return host, int(port)


def _cidr(entry: str) -> Network:
    address_text, _, rest = entry.partition("/")
    if not rest.isascii() or not (rest.isdigit() or read_ip(rest) is not None):
        address = read_ip(address_text)
        if address is not None and address.version == 6 and rest.count(":") == 1:
            raise BypassEntryError(entry, "has a port behind bare IPv6", f"[{address}]/{rest}")
        raise BypassEntryError(entry, "has a path: an entry is a host", address_text)
    if address_text.startswith("[") and address_text.endswith("]"):
        address_text = address_text[1:-1]
    try:
        network = ipaddress.ip_network(f"{address_text}/{rest}", strict=False)
    except ValueError:
        raise BypassEntryError(entry, "is not a range of addresses", "10.0.0.0/8") from None
    inner = None
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= 96:
        inner = network.network_address.ipv4_mapped
    # Destinations are compared as the IPv4 address they hold, see `read_ip`.
    return network if inner is None else ipaddress.IPv4Network((int(inner), network.prefixlen - 96))


def _refuse_partial_ip(entry: str) -> None:
    if not _IPV4_PREFIX.fullmatch(entry):
        return
    numbers = [part for part in entry.split(".") if part.isdigit()]
    if any(int(part) > 255 for part in numbers):
        raise BypassEntryError(entry, "is not an address")
    address = ".".join([*numbers, "0", "0", "0"][:4])
    raise BypassEntryError(
        entry, "is not a complete address and would match nothing", f"{address}/{8 * len(numbers)}"
    )


def _wildcard(host: str) -> str:
    rest = host.rpartition("*")[2].lstrip(".")
    return f".{rest}" if rest and "." in rest else "the name, or .name for all below it"


def _plain(address: IpAddress) -> IpAddress:
    """Without a zone (`fe80::1%eth0`), which `ip_network` refuses."""
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        return ipaddress.IPv6Address(int(address))
    return address


def _has_host_bits(word: str, network: Network) -> bool:
    address = word.partition("/")[0].strip("[]")
    found = read_ip(address)
    return "/" in word and found is not None and _plain(found) != network.network_address


def _shown(entry: str) -> str:
    """A pasted URL without what may be a password."""
    scheme, _, rest = entry.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"


def _builtin(text: str, note: str) -> BypassEntry:
    entry = BypassEntry.parse(text)
    return BypassEntry(entry.kind, entry.text, entry.name, entry.network, note=note)


BUILTIN: tuple[BypassEntry, ...] = (
    _builtin("localhost", "this machine"),
    _builtin("127.0.0.0/8", "this machine"),
    _builtin("::1", "this machine"),
    _builtin("169.254.0.0/16", "link-local: a node's metadata service"),
    _builtin("fe80::/10", "link-local"),
)
"""Always direct, whatever is set: no proxy can reach these on our behalf."""

IN_CLUSTER: tuple[BypassEntry, ...] = (
    _builtin(".svc", "a service of this cluster"),
    _builtin(".cluster.local", "a name of this cluster"),
    _builtin("kubernetes.default", "this cluster's API"),
)
"""Direct unless switched off: names that only a cluster's own DNS knows."""
