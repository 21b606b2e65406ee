"""What goes beyond the five values: further proxies, rules, PAC, CAs per destination, strict mode.

Each has a plain form, the same in the API, the database, and a file: `read_more` makes values of
it and names every field that cannot work, `more_document` gives it back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar, get_args
from urllib.parse import urlsplit

from garrison.egress.bypass import BypassList
from garrison.egress.credentials import AUTHS, Credentials, ProxyAuth, read_credentials
from garrison.egress.endpoint import PURPOSES, Endpoint, ProxyAddress, Purpose
from garrison.egress.trust import BadCertificateError, TrustBundle
from garrison.errors import InvalidSettingError
from garrison.secret import Secret

DEFAULT_NAME = "default"
"""In lists of proxies: the one of HTTP Proxy."""
CONSOLE_GROUP = "console"
"""In `groups` of a rule: the Console itself, and commands."""
MAX_ITEMS = 500

Use: TypeAlias = Literal["default", "direct", "pac", "proxy"]
USES: tuple[Use, ...] = get_args(Use)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy and how we sign in there."""

    name: str
    address: ProxyAddress
    auth: ProxyAuth = "auto"
    credentials: Credentials | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What matches all that is named here is reached by `use`; what is empty matches everything.

    groups: of Defenders. proxies: names, in the order in which they are tried.
    """

    name: str
    use: Use
    purposes: tuple[Purpose, ...] = ()
    destinations: BypassList = field(default_factory=BypassList)
    groups: tuple[str, ...] = ()
    proxies: tuple[str, ...] = ()

    def matches(self, destination: Endpoint, purpose: Purpose, group: str) -> bool:
        return (
            (not self.purposes or purpose in self.purposes)
            and self.concerns(group)
            and (not self.destinations.entries or self.destinations.find(destination) is not None)
        )

    def concerns(self, group: str) -> bool:
        """group: empty for the Console."""
        return not self.groups or (group or CONSOLE_GROUP) in self.groups


@dataclass(frozen=True, slots=True)
class DestinationCa:
    """CAs that are trusted for these destinations alone, beside those for all."""

    destinations: BypassList
    trust: TrustBundle


@dataclass(frozen=True, slots=True)
class More:
    """failover: proxies tried after HTTP Proxy, in order. allowed: what strict mode lets out."""

    auth: ProxyAuth = "auto"
    failover: tuple[str, ...] = ()
    proxies: tuple[Proxy, ...] = ()
    pac_url: str = ""
    pac_dns: bool = False
    rules: tuple[Rule, ...] = ()
    destination_ca: tuple[DestinationCa, ...] = ()
    strict: bool = False
    allowed: BypassList = field(default_factory=BypassList)
    direct_in_cluster: bool = True

    def proxy(self, name: str) -> Proxy | None:
        return next((one for one in self.proxies if one.name == name), None)

    def extra_ca(self, destination: Endpoint) -> str:
        """PEM of what is trusted for this destination beside the CAs for all."""
        return "\n".join(
            one.trust.pem for one in self.destination_ca if one.destinations.find(destination)
        )


MORE_FIELDS = (
    "auth",
    "failover",
    "proxies",
    "pac_url",
    "pac_dns",
    "rules",
    "destination_ca",
    "strict",
    "allowed",
    "direct_in_cluster",
)


def more_document(more: More, *, secrets: bool = False) -> dict[str, Any]:
    """The plain form. secrets: with the passwords, else `password_set` in their place."""
    return {
        "auth": more.auth,
        "failover": list(more.failover),
        "proxies": [_proxy_document(one, secrets) for one in more.proxies],
        "pac_url": more.pac_url,
        "pac_dns": more.pac_dns,
        "rules": [
            {
                "name": rule.name,
                "use": rule.use,
                "proxies": list(rule.proxies),
                "purposes": list(rule.purposes),
                "destinations": _texts(rule.destinations),
                "groups": list(rule.groups),
            }
            for rule in more.rules
        ],
        "destination_ca": [
            {"destinations": _texts(one.destinations), "ca": one.trust.pem}
            for one in more.destination_ca
        ],
        "strict": more.strict,
        "allowed": _texts(more.allowed),
        "direct_in_cluster": more.direct_in_cluster,
    }


def _proxy_document(proxy: Proxy, secrets: bool) -> dict[str, Any]:
    held = proxy.credentials
    document: dict[str, Any] = {
        "name": proxy.name,
        "address": str(proxy.address),
        "auth": proxy.auth,
        "user": held.user if held else "",
    }
    if secrets:
        document["password"] = held.password.reveal() if held else None
    else:
        document["password_set"] = held is not None and bool(held.password)
    return document


def _texts(hosts: BypassList) -> list[str]:
    return [entry.text for entry in hosts.entries]


_ITEM_FIELDS = {
    "proxies": frozenset({"name", "address", "auth", "user", "password", "password_set"}),
    "rules": frozenset({"name", "use", "proxies", "purposes", "destinations", "groups"}),
    "destination_ca": frozenset({"destinations", "ca"}),
}

# --- reading --------------------------------------------------------------------------------


class _Reader:
    """Takes values out of plain data; what cannot be used becomes a problem."""

    def __init__(self, problems: list[InvalidSettingError]) -> None:
        self.problems = problems

    def wrong(self, at: str, problem: str, hint: str = "") -> None:
        self.problems.append(InvalidSettingError(at, problem, hint))

    def text(self, data: Mapping[str, Any], name: str, at: str) -> str:
        value = data.get(name, "")
        if isinstance(value, str):
            return value.strip()
        self.wrong(f"{at}{name}", f"{name} is not a text")
        return ""

    def switch(self, data: Mapping[str, Any], name: str, default: bool) -> bool:
        value = data.get(name, default)
        if isinstance(value, bool):
            return value
        self.wrong(name, f"{name} is neither true nor false")
        return default

    def choice(
        self, data: Mapping[str, Any], name: str, at: str, known: Sequence[T], default: T
    ) -> T:
        value = data.get(name, default)
        for one in known:
            if one == value:
                return one
        self.wrong(f"{at}{name}", f"there is no {name} {value!r}", _one_of(known))
        return default

    def texts(self, data: Mapping[str, Any], name: str, at: str) -> tuple[str, ...]:
        value = data.get(name) or []
        if isinstance(value, str):
            value = re.split(r"[\s,;]+", value.strip()) if value.strip() else []
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            self.wrong(f"{at}{name}", f"{name} is not a list of texts")
            return ()
        return tuple(dict.fromkeys(one.strip() for one in value if one.strip()))

    def hosts(self, data: Mapping[str, Any], name: str, at: str) -> BypassList:
        hosts, errors = BypassList.parse(self.texts(data, name, at), direct=False)
        for error in errors:
            hint = f"Write {error.instead}." if error.instead else ""
            self.wrong(f"{at}{name}", f"{name}: {error}", hint)
        return hosts

    def items(
        self, data: Mapping[str, Any], name: str, read: Callable[[Mapping[str, Any], str], T | None]
    ) -> tuple[T, ...]:
        value = data.get(name) or []
        if not isinstance(value, list | tuple) or len(value) > MAX_ITEMS:
            self.wrong(name, f"{name} is not a list of at most {MAX_ITEMS} entries")
            return ()
        found = []
        for index, one in enumerate(value):
            at = f"{name}[{index}]"
            if not isinstance(one, Mapping):
                self.wrong(at, f"{at} is not an object")
            elif unknown := sorted(set(one) - _ITEM_FIELDS[name]):
                self.wrong(f"{at}.{unknown[0]}", f"{at} has no {unknown[0]}")
            elif (made := read(one, f"{at}.")) is not None:
                found.append(made)
        return tuple(found)

    # What there is

    def proxy(self, data: Mapping[str, Any], at: str) -> Proxy | None:
        name = self.text(data, "name", at)
        if not _NAME.fullmatch(name) or name == DEFAULT_NAME:
            self.wrong(
                f"{at}name",
                f"{name!r} cannot be the name of a proxy",
                f"Use letters, digits, dots and dashes; `{DEFAULT_NAME}` means HTTP Proxy.",
            )
        password = data.get("password")
        if password is not None and not isinstance(password, str | Secret):
            self.wrong(f"{at}password", "password is not a text")
            password = None
        secret = Secret(password) if isinstance(password, str) else password
        credentials = read_credentials(self.text(data, "user", at), secret, self.problems, at)
        auth = self.choice(data, "auth", at, AUTHS, "auto")
        try:
            address = ProxyAddress.parse(self.text(data, "address", at))
        except ValueError as error:
            self.wrong(f"{at}address", f"{name}: {error}", "Write PROTOCOL://HOST:PORT.")
            return None
        return Proxy(name, address, auth, credentials)

    def rule(self, data: Mapping[str, Any], at: str) -> Rule:
        purposes = self.texts(data, "purposes", at)
        known = tuple(one for one in PURPOSES if one in purposes)
        for unknown in sorted(set(purposes) - set(known)):
            self.wrong(f"{at}purposes", f"there is no purpose {unknown!r}", _one_of(PURPOSES))
        name = self.text(data, "name", at)
        if not name or len(name) > 100 or not name.isprintable():
            self.wrong(f"{at}name", "a rule needs a name of at most 100 characters")
        if "use" not in data:
            self.wrong(f"{at}use", "it is not said how what matches is reached", _one_of(USES))
        return Rule(
            name,
            self.choice(data, "use", at, USES, "default"),
            known,
            self.hosts(data, "destinations", at),
            self.texts(data, "groups", at),
            self.texts(data, "proxies", at),
        )

    def destination_ca(self, data: Mapping[str, Any], at: str) -> DestinationCa | None:
        hosts = self.hosts(data, "destinations", at)
        if not hosts.entries:
            self.wrong(
                f"{at}destinations",
                "no destination is named",
                "For all destinations add the certificate to CA certificates.",
            )
        try:
            trust = TrustBundle.parse(self.text(data, "ca", at))
        except BadCertificateError as error:
            self.wrong(f"{at}ca", f"CA: {error}", "Paste whole PEM blocks.")
            return None
        if not trust:
            self.wrong(f"{at}ca", "no certificate is given", "Paste whole PEM blocks.")
        return DestinationCa(hosts, trust)


def read_more(
    data: Mapping[str, Any], default: ProxyAddress | None, problems: list[InvalidSettingError]
) -> More:
    """Read the plain form; what is absent is as by default. default: of HTTP Proxy."""
    reader = _Reader(problems)
    for unknown in sorted(set(data) - set(MORE_FIELDS)):
        reader.wrong(unknown, f"there is no setting {unknown}", _one_of(MORE_FIELDS))
    more = More(
        auth=reader.choice(data, "auth", "", AUTHS, "auto"),
        failover=reader.texts(data, "failover", ""),
        proxies=reader.items(data, "proxies", reader.proxy),
        pac_url=_pac_url(reader, data),
        pac_dns=reader.switch(data, "pac_dns", False),
        rules=reader.items(data, "rules", reader.rule),
        destination_ca=reader.items(data, "destination_ca", reader.destination_ca),
        strict=reader.switch(data, "strict", False),
        allowed=reader.hosts(data, "allowed", ""),
        direct_in_cluster=reader.switch(data, "direct_in_cluster", True),
    )
    _check(reader, more, default)
    return more


def _pac_url(reader: _Reader, data: Mapping[str, Any]) -> str:
    text = reader.text(data, "pac_url", "")
    if not text:
        return ""
    hint = "Write it like http://wpad.corp.test/proxy.pac or file:///etc/proxy.pac."
    try:
        parts = urlsplit(text)
        usable = parts.port != 0
    except ValueError:
        reader.wrong("pac_url", "the PAC file's address is not a URL", hint)
        return ""
    if parts.username is not None or parts.password is not None:
        reader.wrong("pac_url", "the PAC file's address holds credentials", hint)
    elif parts.scheme == "file":
        usable = parts.netloc in ("", "localhost") and parts.path.startswith("/")
    else:
        usable = usable and parts.scheme in ("http", "https") and bool(parts.hostname)
    if not usable:
        reader.wrong("pac_url", "the PAC file's address is none of http, https, file", hint)
    return text


def _check(reader: _Reader, more: More, default: ProxyAddress | None) -> None:
    """What is right by itself and wrong together."""
    for what, names in (
        ("proxies", [one.name for one in more.proxies]),
        ("rules", [one.name for one in more.rules]),
    ):
        for index, name in enumerate(names):
            if name in names[:index]:
                reader.wrong(f"{what}[{index}].name", f"there is another {name!r}")
    if more.failover and default is None:
        reader.wrong(
            "failover", "there is no HTTP Proxy that others could follow", "Set HTTP Proxy."
        )
    _check_names(reader, "failover", more.failover, more, default)
    if DEFAULT_NAME in more.failover:
        reader.wrong("failover", f"{DEFAULT_NAME} is first anyway", "Leave it out.")
    for index, rule in enumerate(more.rules):
        at = f"rules[{index}]."
        if rule.use == "proxy" and not rule.proxies:
            reader.wrong(f"{at}proxies", f"rule {rule.name}: no proxy is named")
        if rule.use != "proxy" and rule.proxies:
            reader.wrong(f"{at}proxies", f"rule {rule.name}: proxies are for `proxy` alone")
        if rule.use == "pac" and not more.pac_url:
            reader.wrong(f"{at}use", f"rule {rule.name}: no PAC file is set", "Set its address.")
        _check_names(reader, f"{at}proxies", rule.proxies, more, default)
    if more.strict and not more.allowed.entries:
        reader.wrong(
            "allowed",
            "strict mode without any allowed destination lets nothing out",
            "Take the list from the hosts that were contacted: garrison egress connections.",
        )


def _check_names(
    reader: _Reader, at: str, names: Iterable[str], more: More, default: ProxyAddress | None
) -> None:
    for name in names:
        if name == DEFAULT_NAME and default is not None:
            continue
        if more.proxy(name) is None:
            reader.wrong(at, f"there is no proxy {name!r}", "Add it to the proxies, or correct it.")


def _one_of(known: Sequence[Any]) -> str:
    return f"Use one of: {', '.join(map(str, known))}."
