"""How we sign in at a proxy."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Literal, TypeAlias
from urllib.parse import quote

from garrison.errors import InvalidSettingError
from garrison.secret import Secret

ProxyAuth: TypeAlias = Literal["auto", "basic", "digest", "ntlm", "negotiate", "none"]
"""`auto`: the strongest that the proxy offers and that works; `none`: credentials are not sent."""
AUTHS: tuple[ProxyAuth, ...] = ("auto", "basic", "digest", "ntlm", "negotiate", "none")


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


def read_credentials(
    user: str, password: Secret | None, problems: list[InvalidSettingError], at: str = ""
) -> Credentials | None:
    """at: what stands before the names of the fields."""
    if ":" in user:
        problems.append(
            InvalidSettingError(
                f"{at}user",
                "User: Basic authentication cannot carry a user name with a colon",
                "Enter the password in its own field.",
            )
        )
    for name, text in (("user", user), ("password", password.reveal() if password else "")):
        if not _is_printable(text):
            problems.append(
                InvalidSettingError(
                    f"{at}{name}",
                    f"{name.capitalize()}: holds control characters",
                    "Enter it without a line break.",
                )
            )
    return Credentials(user, password or Secret("")) if user else None


def _is_printable(text: str) -> bool:
    """Whether a header can carry it: no control characters, no half of a surrogate pair."""
    return not any(ord(char) < 32 or ord(char) == 127 or 0xD800 <= ord(char) < 0xE000
                   for char in text)  # fmt: skip
