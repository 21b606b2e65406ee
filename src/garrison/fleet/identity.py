"""Who a Console and a Defender are to each other: our own authority, certificates, join tokens.

The Console has an `Authority`. A Defender has a key of its own that never leaves its node and a
certificate of that authority. A join token carries the SHA-256 of the authority's public key,
so that a Defender knows its Console before it has ever spoken to it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from garrison.fleet.authority import (
    GATEWAY_NAME,
    Authority,
    IssuedServer,
    defender_id,
    fingerprint,
    key_pem,
    spki_sha256,
)
from garrison.fleet.errors import IdentityUnreadableError
from garrison.fleet.files import write_private
from garrison.fleet.join_token import JoinToken, token_hash

__all__ = [
    "GATEWAY_NAME",
    "Authority",
    "DefenderIdentity",
    "DefenderKey",
    "IssuedServer",
    "JoinToken",
    "defender_id",
    "fingerprint",
    "spki_sha256",
    "token_hash",
]


@dataclass(frozen=True, slots=True, repr=False)
class DefenderKey:
    """A new private key and the request to sign it; nothing is stored yet."""

    key: bytes
    csr: str

    @classmethod
    def create(cls) -> Self:
        key = ec.generate_private_key(ec.SECP256R1())
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([]))
            .sign(key, hashes.SHA256())
        )
        return cls(key_pem(key), csr.public_bytes(serialization.Encoding.PEM).decode())

    def __repr__(self) -> str:
        return "DefenderKey(***)"


@dataclass(frozen=True, slots=True, repr=False)
class DefenderIdentity:
    """What makes a node this Defender: key, certificate and authority, all PEM.

    enrolled_with: `secret_hash` of the join token, in hex: a Defender that was removed enrols
        again with another token only. Empty where that is not known.
    """

    defender_id: str
    key: bytes
    certificate: str
    ca: str
    enrolled_with: str = ""

    FILE = "identity.pem"

    def __repr__(self) -> str:
        return f"DefenderIdentity({self.defender_id})"

    @classmethod
    def enrolled(
        cls,
        key: DefenderKey,
        defender_id: str,
        certificate: str,
        ca: str,
        token: JoinToken | None = None,
    ) -> Self:
        """The identity from the Console's answer. token: the one it was given for.

        Raises:
            IdentityUnreadableError: the certificate is not for our key or not by `ca`.
        """
        used = token.secret_hash.hex() if token else ""
        identity = cls(defender_id, key.key, certificate, ca, used)
        identity.check()
        if token and token.pin not in identity.pins:
            raise IdentityUnreadableError("the Console sent another authority than the token's")
        return identity

    def renewed(self, key: DefenderKey, certificate: str, ca: str) -> Self:
        """The same Defender with a new key and certificate.

        Raises:
            IdentityUnreadableError: as for `enrolled`.
        """
        identity = type(self)(self.defender_id, key.key, certificate, ca, self.enrolled_with)
        identity.check()
        return identity

    @classmethod
    def load(cls, directory: Path) -> Self | None:
        """The identity kept in `directory`, or None where there is none.

        Raises:
            IdentityUnreadableError: files exist but are no identity.
        """
        path = directory / cls.FILE
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise IdentityUnreadableError(f"{path} cannot be read: {error.strerror}") from error
        blocks = re.findall(rb"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----\n", text, re.DOTALL)
        if len(blocks) < 3:
            raise IdentityUnreadableError(f"{path} holds {len(blocks)} PEM blocks instead of 3")
        try:
            named = defender_id(
                x509.load_pem_x509_certificate(blocks[1]).public_bytes(serialization.Encoding.DER)
            )
        except ValueError as error:
            raise IdentityUnreadableError(f"{path} holds no readable certificate") from error
        used = re.match(rb"join-token: ([0-9a-f]{64})\n", text)
        identity = cls(
            named or "",
            blocks[0],
            blocks[1].decode(),
            b"".join(blocks[2:]).decode(),
            used[1].decode() if used else "",
        )
        identity.check()
        return identity

    def save(self, directory: Path) -> None:
        """Write the identity (0600), whole or not at all.

        One file, so that a crash cannot leave the key of one identity beside the certificate of
        another.
        """
        note = f"join-token: {self.enrolled_with}\n" if self.enrolled_with else ""
        content = note.encode() + self.key + self.certificate.encode() + self.ca.encode()
        write_private(directory / self.FILE, content)

    def check(self) -> None:
        """Do nothing when key, certificate and authority belong together.

        Raises:
            IdentityUnreadableError: they do not.
        """
        try:
            key = serialization.load_pem_private_key(self.key, None)
            certificate = x509.load_pem_x509_certificate(self.certificate.encode())
            authorities = x509.load_pem_x509_certificates(self.ca.encode())
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise IdentityUnreadableError("the identity holds a block that cannot be read") from (
                error
            )
        if key.public_key() != certificate.public_key():
            raise IdentityUnreadableError("the identity's certificate is for another key")
        if not any(_signed(certificate, authority) for authority in authorities):
            raise IdentityUnreadableError("the identity's certificate is by another authority")
        der = certificate.public_bytes(serialization.Encoding.DER)
        if defender_id(der) != self.defender_id:
            raise IdentityUnreadableError("the identity's certificate names another Defender")

    @property
    def not_after(self) -> datetime:
        return x509.load_pem_x509_certificate(self.certificate.encode()).not_valid_after_utc

    def renewal_due(self, now: datetime) -> bool:
        """Whether less than a third of the certificate's life is left."""
        certificate = x509.load_pem_x509_certificate(self.certificate.encode())
        life = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        return certificate.not_valid_after_utc - now < life / 3

    @property
    def pins(self) -> frozenset[bytes]:
        """The public keys of the authorities that this identity trusts."""
        return frozenset(
            spki_sha256(each) for each in x509.load_pem_x509_certificates(self.ca.encode())
        )


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
