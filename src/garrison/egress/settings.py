"""Proxy settings: the five values of Manage > System > Proxy, and which source set each."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self
from urllib.parse import quote, unquote

from garrison.egress.bypass import BypassList
from garrison.egress.endpoint import ProxyAddress
from garrison.egress.trust import MAX_PEM, BadCertificateError, TrustBundle, system_certificates
from garrison.errors import InvalidSettingError
from garrison.secret import Secret


@dataclass(frozen=True, slots=True)
class Credentials:
    """User and password for a proxy; printing shows the user alone."""

    user: str
    password: Secret

    def basic(self) -> str:
        """The value of `Proxy-Authorization` (RFC 7617, UTF-8): a secret."""
        pair = f"{self.user}:{self.password.reveal()}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")

    def scrub(self, text: str) -> str:
        """`text` without the password, in the forms in which a peer could echo it."""
        password = self.password.reveal()
        forms = (
            self.basic().partition(" ")[2],
            f"{self.user}:{password}",
            quote(password, safe=""),
            quote(password),
            password,
        )
        # A password of one or two characters would eat the whole text and is no secret.
        for form in forms:
            if len(form) > 2:
                text = text.replace(form, "***")
        return text


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
    """

    proxy: ProxyAddress | None = None
    bypass: BypassList = field(default_factory=BypassList)
    trust: TrustBundle = field(default_factory=TrustBundle)
    credentials: Credentials | None = None
    revision: int = 0
    sources: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

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
    ) -> Self:
        """Read the values as people write them.

        Raises:
            InvalidSettings: one or more cannot work; each problem names its field.
        """
        problems: list[InvalidSettingError] = []
        proxy = _proxy(http_proxy, problems)
        bypass = _bypass(no_proxy, problems)
        trust = _trust(ca, problems)
        credentials = _credentials(user, password, problems)
        if problems:
            raise InvalidSettings(problems)
        return cls(
            proxy=proxy,
            bypass=bypass,
            trust=trust,
            credentials=credentials,
            revision=revision,
            sources=MappingProxyType(dict(sources or {})),
            warnings=_warnings(proxy, bypass, credentials, password),
        )

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


def _bypass(text: Iterable[str] | str, problems: list[InvalidSettingError]) -> BypassList:
    bypass, errors = BypassList.parse(text)
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


def _credentials(
    user: str, password: Secret | None, problems: list[InvalidSettingError]
) -> Credentials | None:
    if ":" in user:
        problems.append(
            InvalidSettingError(
                "user",
                "User: Basic authentication cannot carry a user name with a colon",
                "Enter the password in its own field.",
            )
        )
    for field_name, text in (("user", user), ("password", password.reveal() if password else "")):
        if not _is_printable(text):
            problems.append(
                InvalidSettingError(
                    field_name,
                    f"{field_name.capitalize()}: holds control characters",
                    "Enter it without a line break.",
                )
            )
    return Credentials(user, password or Secret("")) if user else None


def _is_printable(text: str) -> bool:
    """Whether a header can carry it: no control characters, no half of a surrogate pair."""
    return not any(ord(char) < 32 or ord(char) == 127 or 0xD800 <= ord(char) < 0xE000
                   for char in text)  # fmt: skip


def _warnings(
    proxy: ProxyAddress | None,
    bypass: BypassList,
    credentials: Credentials | None,
    password: Secret | None,
) -> tuple[str, ...]:
    found = [f"No Proxy: {warning}" for warning in bypass.warnings]
    if proxy is not None and any(entry.kind == "all" for entry in bypass.entries):
        found.append("No Proxy: * sends every connection direct; the proxy is not used")
    if credentials is None and password:
        found.append("Password: not used without a user")
    if credentials is not None and proxy is None:
        found.append("User: not used without a proxy")
    return tuple(found)


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
            sources=MappingProxyType(dict(self.sources)),
            warnings=settings.warnings,
        )

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
