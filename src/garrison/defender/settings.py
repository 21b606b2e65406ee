"""Settings of a Defender process: read once from the environment, then frozen."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from garrison.environment import data_directory, read_secret, text_or_file
from garrison.errors import InvalidSettingError
from garrison.fleet.join_token import JoinToken

DEFAULT_HEALTH_LISTEN = "127.0.0.1:9091"
FLEET_PATH = "/v1/fleet"
_SCHEMES = {"ws": "ws", "wss": "wss", "http": "ws", "https": "wss"}
_DEFAULT_PORTS = {"ws": 80, "wss": 443}


@dataclass(frozen=True, slots=True)
class DefenderSettings:
    """Everything a Defender process is told from outside, but how to get out.

    console: where the gateway is, `ws://…` or `wss://…`, without path.
    join_token: needed until the Defender has an identity.
    health_listen: host and port of the probes, or None for no listener.
    scans: images scanned at once.
    """

    console: str
    data: Path
    join_token: JoinToken | None = None
    name: str = ""
    health_listen: tuple[str, int] | None = ("127.0.0.1", 9091)
    scans: int = 2

    @property
    def url(self) -> str:
        """What the session's WebSocket is opened to."""
        return self.console + FLEET_PATH

    @property
    def directory(self) -> Path:
        """Where this Defender keeps its identity and journal."""
        return self.data / "defender"

    @property
    def node_name(self) -> str:
        return self.name or os.uname().nodename

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str],
        *,
        console: str | None = None,
        join_token_file: Path | None = None,
        data: Path | None = None,
        health_listen: str | None = None,
    ) -> DefenderSettings:
        """The settings in `environ`; arguments are command line options and win.

        Raises:
            InvalidSettingError: a value that cannot work, or a file that cannot be read.
        """
        return cls(
            console=console_address(console or environ.get("GARRISON_CONSOLE", "")),
            data=data or data_directory(environ),
            join_token=_join_token(environ, join_token_file),
            name=environ.get("GARRISON_DEFENDER_NAME", "").strip(),
            health_listen=_listen(
                health_listen
                if health_listen is not None
                else environ.get("GARRISON_HEALTH_LISTEN", DEFAULT_HEALTH_LISTEN)
            ),
        )


def console_address(text: str) -> str:
    """The gateway's address as `ws://HOST:PORT` or `wss://HOST:PORT`.

    http and https are taken for ws and wss; without a scheme it is wss.

    Raises:
        InvalidSettingError: no address, or one with credentials or a path.
    """
    hint = "Write it like wss://garrison.example.test:8084."
    text = text.strip()
    if not text:
        raise InvalidSettingError("console", "no Console address is set", hint)
    if "://" not in text:
        text = f"wss://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise InvalidSettingError("console", "the Console address has no usable port", hint) from (
            error
        )
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or not parts.hostname or port == 0:
        raise InvalidSettingError("console", "the Console address is not an address", hint)
    if parts.username is not None or parts.password is not None:
        raise InvalidSettingError(
            "console", "the Console address has a user or password in it", "Remove it. " + hint
        )
    if parts.path.rstrip("/") not in {"", FLEET_PATH} or parts.query or parts.fragment:
        raise InvalidSettingError("console", "the Console address has a path", hint)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{scheme}://{host}:{port or _DEFAULT_PORTS[scheme]}"


def _join_token(environ: Mapping[str, str], file: Path | None) -> JoinToken | None:
    if file is not None:
        return JoinToken.parse(read_secret(file, "--join-token-file", "join_token"))
    text = text_or_file(environ, "GARRISON_JOIN_TOKEN", "join_token")
    return JoinToken.parse(text) if text else None


def _listen(text: str) -> tuple[str, int] | None:
    text = text.strip()
    if text in {"", "off"}:
        return None
    host, colon, port = text.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidSettingError(
            "health_listen", f"{text!r} is not HOST:PORT", f"Write it like {DEFAULT_HEALTH_LISTEN}."
        )
    return host.strip("[]") or "0.0.0.0", int(port)
