"""`Proxy-Authenticate`: the challenges in it, and the answer to Digest's (RFC 7616). Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from garrison.egress.credentials import Credentials

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105, the grammar's word
_SEPARATOR = re.compile(r"[\s,]*")
_SCHEME = re.compile(rf"({_TOKEN})(?=[\s,]|$)")
_TOKEN68 = re.compile(r"[ \t]+([A-Za-z0-9._~+/-]+=*)[ \t]*(?=,|$)")
_PARAMETER = re.compile(rf'({_TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')
_OTHER = re.compile(r"[^,]*")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One scheme that a proxy offers. name: as the proxy spells it. token: of NTLM, Negotiate."""

    name: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    token: str = ""

    @property
    def scheme(self) -> str:
        return self.name.lower()


def parse_challenges(values: Iterable[str]) -> list[Challenge]:
    """The challenges of all `Proxy-Authenticate` fields (RFC 9110 section 11.6.1).

    Several may share a field, and parameters are separated by commas as challenges are. What
    cannot be read is left out.
    """
    return [challenge for value in values for challenge in _challenges(value)]


def _challenges(text: str) -> list[Challenge]:
    found: list[tuple[str, dict[str, str], str]] = []
    at = 0
    while (at := _end(_SEPARATOR, text, at)) < len(text):
        parameter = _PARAMETER.match(text, at)
        if parameter and found:
            name, quoted, plain = parameter.groups()
            value = plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            found[-1][1].setdefault(name.lower(), value)
            at = parameter.end()
        elif scheme := _SCHEME.match(text, at):
            token = _TOKEN68.match(text, scheme.end())
            found.append((scheme[1], {}, token[1] if token else ""))
            at = token.end() if token else scheme.end()
        else:
            at = max(at + 1, _end(_OTHER, text, at))
    return [Challenge(name, parameters, token) for name, parameters, token in found]


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def shown_challenge(text: str) -> str:
    """A field as it may be kept: no tokens, no nonces."""
    text = re.sub(r"(?i)\b(ntlm|negotiate)[ \t]+[A-Za-z0-9._~+/-]{8,}=*", r"\1 ***", text)
    return re.sub(r'(?i)\b(nonce|opaque)[ \t]*=[ \t]*("(?:[^"\\]|\\.)*"|[^\s,"]+)', r"\1=***", text)


# --- Digest ---------------------------------------------------------------------------------

_HASHES: Mapping[str, Callable[[bytes], str]] = {
    "md5": lambda data: hashlib.md5(data, usedforsecurity=False).hexdigest(),
    "sha-256": lambda data: hashlib.sha256(data).hexdigest(),
    "sha-512-256": lambda data: hashlib.new("sha512_256", data).hexdigest(),
}
_STRENGTH = ("sha-512-256", "sha-256", "md5")


def strongest_digest(challenges: Iterable[Challenge]) -> Challenge | None:
    """The Digest challenge with the strongest algorithm that can be answered."""
    usable = [one for one in challenges if one.scheme == "digest" and _usable(one)]
    return min(usable, key=lambda one: _STRENGTH.index(_algorithm(one)[0]), default=None)


def _usable(challenge: Challenge) -> bool:
    qop = challenge.parameters.get("qop", "")
    return (
        "nonce" in challenge.parameters
        and _algorithm(challenge)[0] in _STRENGTH
        and ("sha512_256" in hashlib.algorithms_available or "512" not in algorithm_of(challenge))
        and (not qop or "auth" in _words(qop))
    )


def algorithm_of(challenge: Challenge) -> str:
    """As the proxy names it: `MD5`, `SHA-256-sess`."""
    return challenge.parameters.get("algorithm", "") or "MD5"


def _algorithm(challenge: Challenge) -> tuple[str, bool]:
    name = algorithm_of(challenge).lower()
    return name.removesuffix("-sess"), name.endswith("-sess")


def _words(text: str) -> list[str]:
    return [word.strip().lower() for word in text.split(",")]


@dataclass(frozen=True, slots=True)
class DigestAnswer:
    """header: the value of `Proxy-Authorization`. secrets: what of it nobody may see."""

    header: str
    secrets: tuple[str, ...]


def answer_digest(
    challenge: Challenge, credentials: Credentials, method: str, uri: str, *, nc: int, cnonce: str
) -> DigestAnswer:
    """The answer to a Digest challenge (RFC 7616 section 3.4).

    uri: the request's target as it is sent. nc: how often this nonce was used, from 1. cnonce:
    random text.
    """
    given = challenge.parameters
    name, session = _algorithm(challenge)
    hashed = _HASHES[name]
    realm, nonce = given.get("realm", ""), given["nonce"]
    user, password = credentials.user, credentials.password.reveal()
    qop = "auth" if given.get("qop") else ""
    a1 = hashed(f"{user}:{realm}:{password}".encode())
    if session:
        a1 = hashed(f"{a1}:{nonce}:{cnonce}".encode())
    a2 = hashed(f"{method}:{uri}".encode())
    middle = f"{nonce}:{nc:08x}:{cnonce}:{qop}" if qop else nonce
    response = hashed(f"{a1}:{middle}:{a2}".encode())
    userhash = given.get("userhash", "").lower() == "true"
    shown = hashed(f"{user}:{realm}".encode()) if userhash else user
    fields = [
        f"username={_quoted(shown)}",
        f"realm={_quoted(realm)}",
        f"nonce={_quoted(nonce)}",
        f"uri={_quoted(uri)}",
        f'response="{response}"',
    ]
    if "algorithm" in given:
        fields.append(f"algorithm={given['algorithm']}")
    if "opaque" in given:
        fields.append(f"opaque={_quoted(given['opaque'])}")
    if qop:
        fields.append(f"qop={qop}, nc={nc:08x}")
    if qop or session:
        fields.append(f'cnonce="{cnonce}"')
    if userhash:
        fields.append("userhash=true")
    return DigestAnswer("Digest " + ", ".join(fields), (response, cnonce, a1))


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
