"""`WWW-Authenticate` and the tokens of registries.

Source: RFC 9110 section 11.6.1; distribution's docs/spec/auth/token.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

import msgspec

from garrison.images.errors import RegistryError

MAX_HEADER = 8 << 10
"""Characters of a challenge that are looked at."""

DEFAULT_LIFE = 60.0
"""Seconds a token is good for where its server does not say."""

_MAX_LIFE = 3600.0
_MARGIN = 0.1
"""Part of a token's life that is not used: clocks and slow requests."""

_SCHEME = re.compile(r"\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)(?=[\s,]|$)")
_PARAMETER = re.compile(
    r'\s*,?\s*([A-Za-z][A-Za-z0-9_-]*)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))'
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in that a server offers. scheme: lower case."""

    scheme: str
    parameters: dict[str, str]

    def token_url(self, repository: str) -> str:
        """Where a token to pull from `repository` is had. Raises RegistryError."""
        realm = self.parameters.get("realm", "")
        if not realm.startswith(("https://", "http://")):
            raise RegistryError("the registry asks for a token and does not say where to get it")
        return f"{realm}{'&' if '?' in realm else '?'}{urlencode(self.query(repository))}"

    def query(self, repository: str) -> dict[str, str]:
        """What a token server is asked: only ever to pull, whatever the challenge suggests."""
        query = {"scope": f"repository:{repository}:pull"}
        if service := self.parameters.get("service"):
            query["service"] = service
        return query


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and when, on the caller's clock, to ask for another one."""

    value: str
    until: float

    def __repr__(self) -> str:
        return f"Token(***, until={self.until})"


class _TokenJson(msgspec.Struct):
    token: str = ""
    access_token: str = ""
    expires_in: float | None = None


def parse_challenges(headers: Iterable[str]) -> list[Challenge]:
    """The challenges in one or more header values; what cannot be understood is left out."""
    found: list[Challenge] = []
    for header in headers:
        text = header[:MAX_HEADER]
        position = 0
        while position < len(text):
            parameter = _PARAMETER.match(text, position) if found else None
            if parameter is not None:
                value = parameter[3] if parameter[2] is None else parameter[2]
                found[-1].parameters[parameter[1].lower()] = re.sub(r"\\(.)", r"\1", value)
                position = parameter.end()
                continue
            scheme = _SCHEME.match(text, position)
            if scheme is None:
                break
            found.append(Challenge(scheme[1].lower(), {}))
            position = scheme.end()
    return found


def parse_token(data: bytes, now: float) -> Token:
    """The token in a token server's answer. Raises RegistryError."""
    try:
        answer = msgspec.json.decode(data, type=_TokenJson)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise RegistryError("the registry's token server answered no token") from None
    value = answer.token or answer.access_token
    # It becomes a header.
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise RegistryError("the registry's token server answered no token")
    life = DEFAULT_LIFE if answer.expires_in is None else answer.expires_in
    life = min(max(life, 0.0), _MAX_LIFE)
    return Token(value, now + life * (1 - _MARGIN))
