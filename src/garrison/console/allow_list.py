"""The list of outside hosts in the forms that those who run proxies and firewalls take."""

from __future__ import annotations

import csv
import io
import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

if TYPE_CHECKING:
    from garrison.database.contacts import ContactRow

Format: TypeAlias = Literal["csv", "hosts", "squid", "json"]
FORMATS: tuple[Format, ...] = get_args(Format)
Via: TypeAlias = Literal["any", "proxy", "direct"]
MEDIA: Mapping[str, tuple[str, str]] = {
    "csv": ("text/csv; charset=utf-8", "garrison-allow-list.csv"),
    "hosts": ("text/plain; charset=utf-8", "garrison-hosts.txt"),
    "squid": ("text/plain; charset=utf-8", "garrison-squid.conf"),
    "json": ("application/json", "garrison-allow-list.json"),
}
"""Media type and file name of each format."""
_TEST = "test"
_COLUMNS = ("host", "port", "purposes", "from", "routes", "first_at", "last_at", "result")
_MOST_SOURCES = 5


@dataclass(frozen=True, slots=True)
class Entry:
    """One host and port. sources: who contacts it; routes: `direct`, proxies. result: of the
    last connection: `ok`, or the error's code."""

    host: str
    port: int
    purposes: tuple[str, ...]
    sources: tuple[str, ...]
    routes: tuple[str, ...]
    first_at: datetime
    last_at: datetime
    result: str

    def as_dict(self) -> dict[str, Any]:
        return {
            "host": self.host,
            "port": self.port,
            "purposes": list(self.purposes),
            "from": list(self.sources),
            "routes": list(self.routes),
            "first_at": self.first_at.isoformat(),
            "last_at": self.last_at.isoformat(),
            "result": self.result,
        }


def entries(rows: Iterable[ContactRow], via: Via = "any") -> list[Entry]:
    """What has to be allowed: each host and port once, by name.

    This machine itself is left out, and hosts that only connection tests have contacted: nobody
    needs a mistyped one.
    """
    groups: dict[tuple[str, int], list[ContactRow]] = {}
    for row in rows:
        if row.purpose == _TEST or _is_loopback(row.host):
            continue
        if via != "any" and (row.route == "direct") != (via == "direct"):
            continue
        groups.setdefault((row.host, row.port), []).append(row)
    return [_entry(host, port, group) for (host, port), group in sorted(groups.items())]


def render(listed: Sequence[Mapping[str, Any]], form: Literal["csv", "hosts", "squid"]) -> str:
    """`Entry.as_dict` of each, as text."""
    if form == "csv":
        return _csv(listed)
    if form == "hosts":
        return "".join(f"{host}\n" for host in dict.fromkeys(each["host"] for each in listed))
    return _squid(listed)


def _entry(host: str, port: int, group: Sequence[ContactRow]) -> Entry:
    last = max(group, key=lambda row: row.last_seen)
    return Entry(
        host=host,
        port=port,
        purposes=tuple(sorted({row.purpose for row in group})),
        sources=_sources(group),
        routes=tuple(sorted({row.route for row in group})),
        first_at=min(row.first_seen for row in group),
        last_at=last.last_seen,
        result="ok" if last.last_ok else last.last_code,
    )


def _sources(group: Sequence[ContactRow]) -> tuple[str, ...]:
    """The Console, then Defenders by name; by group where there are many."""
    console = ("Console",) if any(row.source == "console" for row in group) else ()
    names = sorted({row.source_name for row in group if row.source != "console"})
    if len(names) > _MOST_SOURCES:
        counts: dict[str, set[str]] = {}
        for row in group:
            if row.source != "console":
                counts.setdefault(row.group or "no group", set()).add(row.source)
        names = [f"{name} ({len(ids)} Defenders)" for name, ids in sorted(counts.items())]
    return (*console, *names)


def _is_loopback(host: str) -> bool:
    address = _address(host)
    if address is not None:
        return address.is_loopback
    return host == "localhost" or host.endswith(".localhost")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _csv(listed: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for each in listed:
        cells = (each[name] for name in _COLUMNS)
        writer.writerow(
            _cell("; ".join(cell) if isinstance(cell, list | tuple) else str(cell))
            for cell in cells
        )
    return text.getvalue()


def _cell(text: str) -> str:
    """A spreadsheet would run a cell that begins like this: names come from Defenders."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def _squid(listed: Sequence[Mapping[str, Any]]) -> str:
    names: list[str] = []
    addresses: list[str] = []
    for each in listed:
        host = str(each["host"])
        found = addresses if _address(host) is not None else names
        if host not in found:
            found.append(host)
    ports = sorted({int(each["port"]) for each in listed})
    lines = ["# Outside hosts of Garrison. Above the rule that denies the rest."]
    lines += [f"acl garrison_hosts dstdomain {name}" for name in names]
    lines += [f"acl garrison_addresses dst {address}" for address in addresses]
    if ports:
        lines.append(f"acl garrison_ports port {' '.join(map(str, ports))}")
    if names:
        lines.append("http_access allow garrison_hosts garrison_ports")
    if addresses:
        lines.append("http_access allow garrison_addresses garrison_ports")
    return "\n".join(lines) + "\n"
