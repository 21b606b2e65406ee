"""Proxy settings: the five values of Manage > System > Proxy, and which source set each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import unquote

from garrison.egress.bypass import BypassList
from garrison.egress.credentials import Credentials, read_credentials
from garrison.egress.endpoint import ProxyAddress
from garrison.egress.rules import DEFAULT_NAME, More, Proxy, more_document, read_more
from garrison.egress.trust import MAX_PEM, BadCertificateError, TrustBundle, system_certificates
from garrison.errors import InvalidSettingError
from garrison.secret import Secret


class InvalidSettings(InvalidSettingError):
    """Values that cannot work; `problems` has every one of them, at least one."""

    def __init__(self, problems: Iterable[InvalidSettingError]) -> None:
        self.problems = list(problems)
        first = self.problems[0]
        super().__init__(first.field, "; ".join(str(one) for one in self.problems), first.hint)


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """How connections leave. Never changed: new settings are a new value.

    revision: the number under which the Console saved it; 0 when it did not.
    sources: by field, where its value comes from: an option, `saved`, a variable's name.
    group: of the Defender these are for; empty for the Console.
    """

    proxy: ProxyAddress | None = None
    bypass: BypassList = field(default_factory=BypassList)
    trust: TrustBundle = field(default_factory=TrustBundle)
    credentials: Credentials | None = None
    revision: int = 0
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    more: More = field(default_factory=More)
    group: str = ""

    @classmethod
    def build(
        cls,
        *,
        http_proxy: str = "",
        no_proxy: Iterable[str] | str = (),
        ca: str = "",
        user: str = "",
        password: Secret | None = None,
        revision: int = 0,
        sources: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
        group: str = "",
    ) -> Self:
        """Read the values as people write them. more: the plain form of what goes beyond five.

        Raises:
            InvalidSettings: one or more cannot work; each problem names its field.
        """
        problems: list[InvalidSettingError] = []
        proxy = _proxy(http_proxy, problems)
        in_cluster = (more or {}).get("direct_in_cluster", True) is not False
        bypass = _bypass(no_proxy, in_cluster, problems)
        trust = _trust(ca, problems)
        credentials = read_credentials(user, password, problems)
        beyond = read_more(more or {}, proxy, problems)
        if problems:
            raise InvalidSettings(problems)
        return cls(
            proxy=proxy,
            bypass=bypass,
            trust=trust,
            credentials=credentials,
            revision=revision,
            sources=MappingProxyType(dict(sources or {})),
            warnings=_warnings(proxy, bypass, credentials, password, beyond),
            more=beyond,
            group=group,
        )

    def named(self, name: str) -> Proxy | None:
        """The proxy of that name; `default` is the one of HTTP Proxy."""
        if name != DEFAULT_NAME:
            return self.more.proxy(name)
        if self.proxy is None:
            return None
        return Proxy(DEFAULT_NAME, self.proxy, self.more.auth, self.credentials)

    def for_group(self, group: str) -> ProxySettings:
        """What a Defender of that group is given: its own rules, and the proxies these use."""
        rules = tuple(rule for rule in self.more.rules if rule.concerns(group))
        used = {*self.more.failover, *(name for rule in rules for name in rule.proxies)}
        # A PAC file may name any of them, and their credentials are looked up by address.
        kept = tuple(one for one in self.more.proxies if one.name in used or self.more.pac_url)
        return replace(self, more=replace(self.more, rules=rules, proxies=kept), group=group)

    def as_view(self) -> dict[str, Any]:
        """What may be shown; the password only as `password_set`."""
        return {
            "http_proxy": "" if self.proxy is None else str(self.proxy),
            "no_proxy": [entry.text for entry in self.bypass.entries],
            "ca": self.trust.pem,
            "ca_certificates": [
                {
                    "subject": one.subject,
                    "sha256": one.sha256,
                    "not_after": one.not_after.isoformat(),
                }
                for one in self.trust.certificates
            ],
            "user": "" if self.credentials is None else self.credentials.user,
            "password_set": self.credentials is not None and bool(self.credentials.password),
            "revision": self.revision,
            "sources": dict(self.sources),
            "builtin": [{"entry": entry.text, "note": entry.note} for entry in self.bypass.builtin],
            **more_document(self.more),
        }


def _proxy(text: str, problems: list[InvalidSettingError]) -> ProxyAddress | None:
    text = text.strip()
    if not text:
        return None
    try:
        return ProxyAddress.parse(text)
    except ValueError as error:
        problems.append(
            InvalidSettingError(
                "http_proxy",
                f"HTTP Proxy: {error}",
                "Write PROTOCOL://HOST:PORT, such as http://proxy.corp.test:8080.",
            )
        )
        return None


def _bypass(
    text: Iterable[str] | str, in_cluster: bool, problems: list[InvalidSettingError]
) -> BypassList:
    bypass, errors = BypassList.parse(text, in_cluster=in_cluster)
    problems.extend(
        InvalidSettingError(
            "no_proxy",
            f"No Proxy: {error}",
            f"Write {error.instead}."
            if error.instead
            else "Write a name, an IP address, a range"
            " such as 10.0.0.0/8, or .name for all below a name; each with :PORT if wanted.",
        )
        for error in errors
    )
    return bypass


def _trust(pem: str, problems: list[InvalidSettingError]) -> TrustBundle:
    try:
        return TrustBundle.parse(pem)
    except BadCertificateError as error:
        problems.append(
            InvalidSettingError(
                "ca",
                f"CA certificates: {error}",
                "Paste whole PEM blocks, from -----BEGIN CERTIFICATE----- to"
                " -----END CERTIFICATE-----.",
            )
        )
        return TrustBundle()


def _warnings(
    proxy: ProxyAddress | None,
    bypass: BypassList,
    credentials: Credentials | None,
    password: Secret | None,
    more: More,
) -> tuple[str, ...]:
    found = [f"No Proxy: {warning}" for warning in bypass.warnings]
    if proxy is not None and any(entry.kind == "all" for entry in bypass.entries):
        found.append("No Proxy: * sends every connection direct; the proxy is not used")
    if credentials is None and password:
        found.append("Password: not used without a user")
    if credentials is not None and proxy is None and not more.pac_url:
        found.append("User: not used without a proxy")
    return (*found, *_more_warnings(proxy, credentials, more))


def _more_warnings(
    proxy: ProxyAddress | None, credentials: Credentials | None, more: More
) -> list[str]:
    found = [
        f"{what}: {warning}"
        for what, hosts in (
            *((f"Rule {rule.name}", rule.destinations) for rule in more.rules),
            ("Allowed destinations", more.allowed),
        )
        for warning in hosts.warnings
    ]
    used = {*more.failover, *(name for rule in more.rules for name in rule.proxies)}
    if not more.pac_url:
        found += [f"Proxy {one.name}: nothing uses it" for one in more.proxies
                  if one.name not in used]  # fmt: skip
    if (
        more.pac_url
        and proxy is not None
        and not any(rule.use == "proxy" and DEFAULT_NAME in rule.proxies for rule in more.rules)
    ):
        found.append("HTTP Proxy: the PAC file decides, so that it is not used")
    if more.pac_url.startswith("http://") and credentials is not None and proxy is None:
        found.append(
            "PAC file: it comes over http://, and whoever changes it on the way is sent the"
            " password: serve it by https://, or name each proxy"
        )
    return found


# --- as one document ------------------------------------------------------------------------

FIELDS = ("http_proxy", "no_proxy", "ca", "user", "password")


def settings_document(settings: ProxySettings) -> dict[str, Any]:
    """Everything, passwords too: what a Defender is given."""
    held = settings.credentials
    return {
        "http_proxy": str(settings.proxy) if settings.proxy else "",
        "no_proxy": [entry.text for entry in settings.bypass.entries],
        "ca": settings.trust.pem,
        "user": held.user if held else "",
        "password": held.password.reveal() if held else None,
        "revision": settings.revision,
        "group": settings.group,
        **more_document(settings.more, secrets=True),
    }


def settings_from_document(document: Any) -> ProxySettings:
    """What `settings_document` gave. Raises InvalidSettingError."""
    if not isinstance(document, dict):
        raise _NOT_OURS
    more = {name: value for name, value in document.items() if name not in (*FIELDS, *_ABOUT)}
    texts = [document.get(name) or "" for name in ("http_proxy", "ca", "user", "group")]
    password, revision = document.get("password"), document.get("revision", 0)
    if not all(isinstance(one, str) for one in (*texts, password or "")):
        raise _NOT_OURS
    if not isinstance(revision, int):
        raise _NOT_OURS
    no_proxy = document.get("no_proxy") or []
    if not isinstance(no_proxy, str | list) or not all(isinstance(one, str) for one in no_proxy):
        raise _NOT_OURS
    return ProxySettings.build(
        http_proxy=texts[0],
        no_proxy=no_proxy,
        ca=texts[1],
        user=texts[2],
        password=Secret(password) if password else None,
        revision=revision,
        more=more,
        group=texts[3],
    )


_ABOUT = ("revision", "group")
_NOT_OURS = InvalidSettingError(
    "egress", "not the JSON of `garrison egress export`", "Write it again on the Console."
)

# --- the environment ------------------------------------------------------------------------

_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy")


def settings_from_environment(environ: Mapping[str, str]) -> ProxySettings:
    """`GARRISON_*`, then `HTTPS_PROXY` and its kin, where no Console settings exist.

    An empty `GARRISON_*` value counts: it means none. Credentials in a foreign variable's URL are
    split off and decoded once.

    Raises:
        InvalidSettings: a value or a file cannot be read; never a silent direct connection.
    """
    reader = _Environment(environ)
    settings = reader.read()
    if reader.problems:
        raise InvalidSettings(reader.problems)
    return settings


class _Environment:
    """Reads each value from its first source and remembers which it was."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self.problems: list[InvalidSettingError] = []
        self.sources: dict[str, str] = {}

    def read(self) -> ProxySettings:
        document = self._document()
        if document is not None:
            return document
        proxy, user, password = self._proxy()
        no_proxy = self._text("no_proxy", "GARRISON_NO_PROXY", "NO_PROXY", "no_proxy")
        ca = self._ca()
        try:
            settings = ProxySettings.build(
                http_proxy=proxy, no_proxy=no_proxy, ca=ca, user=user, password=password
            )
        except InvalidSettings as error:
            self.problems += [self._named(one) for one in error.problems]
            return ProxySettings()
        trust = settings.trust
        if self.sources.get("ca") in ("SSL_CERT_FILE", "ssl_cert_file"):
            # Usually the system's own store, whose CAs are not the operator's.
            trust = trust.without(system_certificates())
        return ProxySettings(
            settings.proxy,
            settings.bypass,
            trust,
            settings.credentials,
            more=settings.more,
            sources=MappingProxyType(dict(self.sources)),
            warnings=settings.warnings,
        )

    def _document(self) -> ProxySettings | None:
        """All of it from one file, which says everything."""
        name = "GARRISON_EGRESS_FILE"
        if not self.environ.get(name):
            return None
        text = self._file("egress", name)
        if self.problems:
            return ProxySettings()
        try:
            settings = settings_from_document(json.loads(text))
        except (InvalidSettingError, json.JSONDecodeError) as error:
            found = error if isinstance(error, InvalidSettingError) else _NOT_OURS
            self.problems += [
                InvalidSettingError(one.field, f"{name}: {one}", one.hint)
                for one in (found.problems if isinstance(found, InvalidSettings) else [found])
            ]
            return ProxySettings()
        return replace(settings, sources=MappingProxyType(dict.fromkeys(FIELDS, name)))

    def _named(self, problem: InvalidSettingError) -> InvalidSettingError:
        source = self.sources.get(problem.field, "")
        text = f"{source}: {problem}" if source else str(problem)
        return InvalidSettingError(problem.field, text, problem.hint)

    def _text(self, field_name: str, own: str, *others: str) -> str:
        if own in self.environ:
            self.sources[field_name] = own
            return self.environ[own]
        for name in others:
            if value := self.environ.get(name, "").strip():
                self.sources[field_name] = name
                return value
        return ""

    def _proxy(self) -> tuple[str, str, Secret | None]:
        text = self._text("http_proxy", "GARRISON_HTTP_PROXY", *_PROXY_VARIABLES)
        user, password = "", None
        if self.sources.get("http_proxy") in _PROXY_VARIABLES:
            text, user, password = self._foreign(text)
        if "GARRISON_PROXY_USER" in self.environ:
            user = self._text("user", "GARRISON_PROXY_USER")
            password = None
        if "GARRISON_PROXY_PASSWORD_FILE" in self.environ:
            name = "GARRISON_PROXY_PASSWORD_FILE"
            password = Secret(self._file("password", name).rstrip("\r\n"))
        return text, user, password

    def _foreign(self, text: str) -> tuple[str, str, Secret | None]:
        """Split an address such as `http://user:p%40ss@proxy:3128` or `proxy:3128`."""
        source = self.sources["http_proxy"]
        scheme, _, rest = text.rpartition("://")
        userinfo, at, host = rest.rpartition("@")
        user, password = "", None
        if at:
            raw_user, colon, raw_password = userinfo.partition(":")
            user = unquote(raw_user)
            password = Secret(unquote(raw_password)) if colon else None
            self.sources["user"] = source
            if colon:
                self.sources["password"] = source
        address = f"{scheme or 'http'}://{host}"
        try:
            return str(ProxyAddress.parse(address, default_port=True)), user, password
        except ValueError:
            return address, user, password

    def _ca(self) -> str:
        for name in ("GARRISON_CA_FILE", "SSL_CERT_FILE", "ssl_cert_file"):
            if self.environ.get(name):
                return self._file("ca", name)
        return ""

    def _file(self, field_name: str, name: str) -> str:
        path = self.environ[name]
        if not path:
            return ""
        self.sources[field_name] = name
        try:
            return _read(path)
        except (OSError, UnicodeDecodeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            self.problems.append(
                InvalidSettingError(
                    field_name,
                    f"{name}: cannot read {path}: {reason}",
                    "Name a file that this process may read.",
                )
            )
            return ""


def _read(path: str) -> str:
    if os.path.isfile(path) and os.path.getsize(path) > MAX_PEM:
        raise ValueError("too large")
    return Path(path).read_text(encoding="utf-8")
