"""Join tokens: the secret that lets a node enrol, and the Console it may be told to."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Self

from garrison.fleet.authority import Authority
from garrison.fleet.errors import InvalidJoinTokenError

_PREFIX = "gjt1_"
_PIN_BYTES = 32
_CHECK_BYTES = 4
_SECRET_BYTES = 20
_MIN_SECRET = 16
_MAX_SECRET = 64


@dataclass(frozen=True, slots=True, repr=False)
class JoinToken:
    """What a Defender needs to enrol: a secret, and the key of the Console to tell it to.

    Text form: `gjt1_` and base64url of secret, pin and the first bytes of their SHA-256; the
    last finds typing errors, it protects nothing. Prints masked; `reveal` gives the text.
    """

    secret: bytes
    pin: bytes

    @classmethod
    def create(cls, authority: Authority) -> Self:
        return cls(secrets.token_bytes(_SECRET_BYTES), authority.pin)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text form; white space around it is ignored.

        Raises:
            InvalidJoinTokenError: and what is wrong, without repeating the text.
        """
        text = text.strip()
        if not text:
            raise InvalidJoinTokenError(
                "the join token is empty", "Copy it from Manage > Defenders > Join tokens."
            )
        if not text.startswith(_PREFIX):
            raise InvalidJoinTokenError(
                f"a join token starts with {_PREFIX}",
                "Use a join token (garrison join-tokens create), not an API token or password.",
            )
        body = text.removeprefix(_PREFIX)
        if re.search(r"\s", body):
            raise InvalidJoinTokenError(
                "the join token has white space inside", "Copy it as one line."
            )
        try:
            raw = base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise InvalidJoinTokenError(
                "the join token has characters that no join token has", "Copy it again, whole."
            ) from None
        content, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
        secret, pin = content[:-_PIN_BYTES], content[-_PIN_BYTES:]
        complete = _MIN_SECRET <= len(secret) <= _MAX_SECRET
        if not complete or not secrets.compare_digest(_checksum(content), check):
            raise InvalidJoinTokenError(
                "the join token is cut off or has a wrong character", "Copy it again, whole."
            )
        return cls(secret, pin)

    def reveal(self) -> str:
        """The text form: shown once to whoever made it, or written to a 0600 file."""
        content = self.secret + self.pin
        return _PREFIX + _base64url(content + _checksum(content))

    @property
    def secret_text(self) -> str:
        """The part that the Console checks, as it is sent in `EnrolRequest.token`."""
        return _base64url(self.secret)

    @property
    def secret_hash(self) -> bytes:
        """What the Console keeps of the token."""
        return token_hash(self.secret_text)

    def __str__(self) -> str:
        return f"{_PREFIX}***"

    def __repr__(self) -> str:
        return "JoinToken(***)"


def token_hash(secret_text: str) -> bytes:
    """SHA-256 of a token's secret part. The secret is random: it needs no slow hash."""
    return hashlib.sha256(secret_text.encode()).digest()


def _checksum(content: bytes) -> bytes:
    return hashlib.sha256(b"garrison join token" + content).digest()[:_CHECK_BYTES]


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
