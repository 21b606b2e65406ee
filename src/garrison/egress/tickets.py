"""NTLM and Negotiate tokens by pyspnego, which is imported when a proxy first asks for them."""

from __future__ import annotations

import logging
from typing import Literal

from garrison.egress.credentials import Credentials

Kind = Literal["library", "ticket"]


class TokenUnavailable(Exception):
    """No token can be made. kind: a library is missing, or there is nothing to make one from."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind, self.reason = kind, reason


class TokenContext:
    """One NTLM or Negotiate dialogue; it belongs to one connection.

    credentials: without them, Negotiate takes the ticket cache or keytab of this process.
    May ask the Kerberos server, so it blocks.
    """

    def __init__(
        self, scheme: Literal["ntlm", "negotiate"], credentials: Credentials | None, host: str
    ) -> None:
        import spnego
        from spnego.exceptions import SpnegoError

        # Its debug messages hold tokens.
        logging.getLogger("spnego").setLevel(logging.WARNING)
        self.scheme = scheme
        self._credentials = credentials
        password = credentials.password.reveal() if credentials else ""
        if scheme == "negotiate" and not password and not kerberos_available():
            raise TokenUnavailable("library", "the Kerberos libraries are not installed")
        if scheme == "ntlm" and credentials is None:
            raise TokenUnavailable("ticket", "NTLM needs a user and password")
        try:
            self._context = spnego.client(
                username=credentials.user if credentials else None,
                password=password if credentials and (password or scheme == "ntlm") else None,
                hostname=host,
                service="HTTP",
                protocol=scheme,
            )
        except (SpnegoError, ValueError) as error:
            raise self._unavailable(error) from None

    def step(self, token: bytes | None) -> bytes:
        """The next token to send. Raises TokenUnavailable."""
        try:
            return self._context.step(token) or b""
        except Exception as error:  # a stranger's token makes the library raise whatever it likes
            raise self._unavailable(error) from None

    def _unavailable(self, error: Exception) -> TokenUnavailable:
        base = getattr(error, "base_error", None)
        text = " ".join(str(base or error).split())[:200]
        return TokenUnavailable("ticket", self._credentials.scrub(text) if self._credentials else
                                text)  # fmt: skip

    @property
    def mechanism(self) -> str:
        """What was negotiated: `Kerberos` or `NTLM`."""
        chosen = self._context.negotiated_protocol
        return {"kerberos": "Kerberos", "ntlm": "NTLM"}.get(chosen or "", "")


def kerberos_available() -> bool:
    """Whether the libraries for Kerberos are installed."""
    try:
        from importlib import import_module

        import_module("gssapi")
        import_module("krb5")
    except ImportError:
        return False
    return True
