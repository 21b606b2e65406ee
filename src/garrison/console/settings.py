"""Settings of a Console process: read once from the environment, then frozen."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from garrison.advisories.feeds import DEFAULT_ECOSYSTEMS, DEFAULT_URL, ecosystems_in
from garrison.advisories.sources import NOTHING_ELSE, Sources
from garrison.environment import data_directory, text_of_file, text_or_file
from garrison.errors import InvalidSettingError
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.egress import ProxySettings

DEFAULT_LISTEN = "127.0.0.1:8083"
DEFAULT_GATEWAY_LISTEN = "127.0.0.1:8084"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Where a listener binds: `HOST:PORT`, `[V6]:PORT`, or `:PORT` for every address."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, *, setting: str) -> ListenAddress:
        """The address in `text`; `setting` names where it was written.

        Raises: InvalidSettingError.
        """
        host, colon, port = text.strip().rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
        elif ":" in host:
            raise InvalidSettingError(
                setting, f"{text!r} is not HOST:PORT", "Write an IPv6 address as [::1]:8083."
            )
        if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
            raise InvalidSettingError(
                setting, f"{text!r} is not HOST:PORT", "Write it like 127.0.0.1:8083."
            )
        return cls(host or "0.0.0.0", int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it: then plain HTTP is allowed."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_wildcard(self) -> bool:
        return self.host in {"0.0.0.0", "::"}

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """Everything a Console process is told from outside.

    database_url: None for SQLite in `data`. public_url, gateway_url: what others dial, without a
    trailing slash; empty when they are to be derived from the listeners.
    environment_proxy: proxy settings of the environment: in force until some are saved.
    """

    data: Path
    listen: ListenAddress
    gateway_listen: ListenAddress
    environment_proxy: ProxySettings
    database_url: Secret | None = None
    public_url: str = ""
    gateway_url: str = ""
    admin_password: Secret | None = None
    intel_url: str = DEFAULT_URL
    intel_ecosystems: tuple[str, ...] = DEFAULT_ECOSYSTEMS
    intel_sources: Sources = NOTHING_ELSE

    @property
    def console_url(self) -> str:
        """What people open: the public URL, else the listener's own address."""
        return self.public_url or _url_of(self.listen, "http", "https")

    @property
    def defender_url(self) -> str:
        """What Defenders dial."""
        return self.gateway_url or _url_of(self.gateway_listen, "ws", "wss")

    @property
    def secure(self) -> bool:
        """Whether people reach the pages by https: decides `Secure` cookies and HSTS."""
        return self.console_url.startswith("https://")

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str],
        *,
        data: Path | None = None,
        listen: str | None = None,
        gateway_listen: str | None = None,
    ) -> ConsoleSettings:
        """The settings in `environ`; arguments are command line options and win.

        Raises:
            InvalidSettingError: a value that cannot work, or a file that cannot be read.
        """
        from garrison.egress import settings_from_environment

        database = text_or_file(environ, "GARRISON_DATABASE_URL")
        password = text_of_file(environ, "GARRISON_ADMIN_PASSWORD_FILE")
        intel = _public_url(environ, "GARRISON_INTEL_URL", ("http", "https")) or DEFAULT_URL
        return cls(
            data=data if data is not None else data_directory(environ),
            listen=ListenAddress.parse(
                listen or environ.get("GARRISON_LISTEN") or DEFAULT_LISTEN,
                setting="--listen" if listen else "GARRISON_LISTEN",
            ),
            gateway_listen=ListenAddress.parse(
                gateway_listen or environ.get("GARRISON_GATEWAY_LISTEN") or DEFAULT_GATEWAY_LISTEN,
                setting="--gateway-listen" if gateway_listen else "GARRISON_GATEWAY_LISTEN",
            ),
            environment_proxy=settings_from_environment(environ),
            database_url=Secret(database) if database else None,
            public_url=_public_url(environ, "GARRISON_PUBLIC_URL", ("http", "https")),
            gateway_url=_public_url(environ, "GARRISON_GATEWAY_URL", ("ws", "wss")),
            admin_password=Secret(password) if password else None,
            intel_url=intel,
            intel_ecosystems=ecosystems_in(environ.get("GARRISON_INTEL_ECOSYSTEMS", ""))
            or DEFAULT_ECOSYSTEMS,
            intel_sources=Sources.from_environment(environ, public=intel == DEFAULT_URL),
        )


def with_file(environ: Mapping[str, str], path: Path | None) -> dict[str, str]:
    """`environ` over the settings in a file of `NAME=value` lines, as systemd reads them.

    Raises:
        InvalidSettingError: it cannot be read, or a line is not a setting; the line is named.
    """
    if path is None:
        return dict(environ)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise InvalidSettingError("--config", f"cannot read {path}: {reason}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        name, equals, value = line.partition("=")
        name, value = name.strip(), value.strip()
        if not equals or not name.startswith("GARRISON_"):
            raise InvalidSettingError(
                "--config",
                f"{path}, line {number}: not a setting",
                "Write GARRISON_NAME=value, one a line.",
            )
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        found[name] = value
    return {**found, **environ}


def _url_of(listen: ListenAddress, plain: str, tls: str) -> str:
    host = "localhost" if listen.is_wildcard else listen.host
    return f"{plain if listen.is_loopback else tls}://{ListenAddress(host, listen.port)}"


def _public_url(environ: Mapping[str, str], name: str, schemes: tuple[str, ...]) -> str:
    text = environ.get(name, "").strip()
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        usable = (
            parts.scheme in schemes
            and bool(parts.hostname)
            and parts.username is None
            and parts.password is None
            and parts.port != 0
        )
    except ValueError:
        usable = False
    if not usable:
        raise InvalidSettingError(
            name, f"{name} is not an address", f"Write it like {schemes[-1]}://garrison.corp.test."
        )
    return text.rstrip("/")
