"""The Console's own certificate authority, and what it signs."""

from __future__ import annotations

import hashlib
import ipaddress
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Self, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from garrison.fleet.errors import FleetError, IdentityUnreadableError, PinMismatchError
from garrison.fleet.files import write_private

GATEWAY_NAME = "gateway.garrison.internal"
"""The name in the gateway's inner certificate, whatever address Defenders dial."""

AUTHORITY_LIFE = timedelta(days=3650)
DEFENDER_LIFE = timedelta(days=90)
SERVER_LIFE = timedelta(days=397)
CLOCK_SKEW = timedelta(hours=1)
"""Certificates start this long before they are made: clocks of nodes differ."""

MAX_PEM = 64 << 10
"""Bytes of a certificate file or request at most."""

DEFENDER_URI = "garrison:defender:"
_Key: TypeAlias = ec.EllipticCurvePrivateKey


class InvalidRequestError(FleetError):
    """A certificate request that cannot be signed."""

    code = "fleet.bad_request"


def spki_sha256(certificate: x509.Certificate | str | bytes) -> bytes:
    """SHA-256 of the certificate's SubjectPublicKeyInfo: the pin (RFC 7469 section 2.4).

    certificate: parsed, PEM text or DER.
    """
    if isinstance(certificate, str):
        certificate = x509.load_pem_x509_certificate(certificate.encode())
    elif isinstance(certificate, bytes):
        certificate = x509.load_der_x509_certificate(certificate)
    return hashlib.sha256(
        certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    ).digest()


def fingerprint(certificate: str | bytes) -> str:
    """SHA-256 of the certificate's DER, in hex: how the database knows an identity.

    certificate: PEM text or DER.
    """
    if isinstance(certificate, str):
        certificate = x509.load_pem_x509_certificate(certificate.encode()).public_bytes(
            serialization.Encoding.DER
        )
    return hashlib.sha256(certificate).hexdigest()


def defender_id(certificate_der: bytes) -> str | None:
    """The Defender that a certificate names, or None where it names none."""
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, x509.ExtensionNotFound):
        return None
    found = [uri.removeprefix(DEFENDER_URI) for uri in uris if uri.startswith(DEFENDER_URI)]
    return found[0] if len(found) == 1 else None


@dataclass(frozen=True, slots=True)
class IssuedServer:
    """A server's key and certificate chain (leaf, then authority), PEM."""

    key: bytes
    chain: bytes

    def __repr__(self) -> str:
        return "IssuedServer(***)"


class Authority:
    """The certificate authority of one Console."""

    def __init__(self, key: _Key, certificate: x509.Certificate) -> None:
        self._key, self.certificate = key, certificate

    def __repr__(self) -> str:
        return f"Authority({self.pin.hex()[:16]}…)"

    @classmethod
    def create(cls, now: datetime) -> Self:
        """A new authority: P-256, may sign end certificates only."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Garrison"),
                x509.NameAttribute(NameOID.COMMON_NAME, f"Garrison Console {secrets.token_hex(4)}"),
            ]
        )
        certificate = (
            _builder(name, name, key.public_key(), now, now + AUTHORITY_LIFE)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(sign_certificates=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        return cls(key, certificate)

    @classmethod
    def from_pem(cls, pem: str) -> Self:
        """Read what `to_pem` wrote.

        Raises:
            IdentityUnreadableError: no key, no certificate, or they do not belong together.
        """
        try:
            key = serialization.load_pem_private_key(pem.encode(), None)
            certificate = x509.load_pem_x509_certificate(pem.encode())
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise IdentityUnreadableError("the authority's PEM cannot be read") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise IdentityUnreadableError("the authority's key is not an elliptic curve key")
        if key.public_key() != certificate.public_key():
            raise IdentityUnreadableError("the authority's key and certificate do not match")
        return cls(key, certificate)

    @classmethod
    def load_or_create(cls, path: Path, now: datetime) -> Self:
        """The authority kept in the file `path` (0600), made when there is none.

        Raises:
            IdentityUnreadableError: the file exists but is none: never replaced, since every
                Defender trusts the old one.
        """
        try:
            text = path.read_text(encoding="ascii")
        except FileNotFoundError:
            authority = cls.create(now)
            write_private(path, authority.to_pem().encode())
            return authority
        except (OSError, UnicodeDecodeError) as error:
            raise IdentityUnreadableError(f"{path} cannot be read: {error}") from error
        return cls.from_pem(text)

    def to_pem(self) -> str:
        """Key and certificate, PEM: keep it secret."""
        return self.private_key_pem + self.certificate_pem

    @property
    def private_key_pem(self) -> str:
        """The key alone, PEM: keep it secret."""
        return key_pem(self._key).decode()

    @property
    def certificate_pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def pin(self) -> bytes:
        """What a join token carries: SHA-256 of the authority's public key."""
        return spki_sha256(self.certificate)

    def issue_defender(self, csr: str, defender_id: str, now: datetime) -> str:
        """A client certificate (PEM) for the key in the request `csr` (PEM).

        Of the request only the key is used; names are the Console's decision.

        Raises:
            InvalidRequestError: no request, a signature that does not fit, or a weak key.
        """
        public = _requested_key(csr)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{DEFENDER_URI}{defender_id}")])
        san = x509.UniformResourceIdentifier(f"{DEFENDER_URI}{defender_id}")
        return self._issue(
            name, public, [san], ExtendedKeyUsageOID.CLIENT_AUTH, now, DEFENDER_LIFE
        ).decode()

    def issue_server(
        self, names: Iterable[str], now: datetime, *, life: timedelta = SERVER_LIFE
    ) -> IssuedServer:
        """A new key and certificate for a server known as `names`: DNS names and IP addresses."""
        wanted = list(names)
        if not wanted:
            raise ValueError("a server certificate needs a name")
        key = ec.generate_private_key(ec.SECP256R1())
        # A common name holds 64 characters; clients look at the alternative names alone.
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wanted[0][:64])])
        leaf = self._issue(
            name,
            key.public_key(),
            [_general_name(each) for each in wanted],
            ExtendedKeyUsageOID.SERVER_AUTH,
            now,
            life,
        )
        return IssuedServer(key_pem(key), leaf + self.certificate_pem.encode())

    def issue_gateway(self, now: datetime) -> IssuedServer:
        """The certificate of the gateway's inner TLS."""
        return self.issue_server([GATEWAY_NAME], now)

    def _issue(
        self,
        name: x509.Name,
        public: ec.EllipticCurvePublicKey,
        alternative: list[x509.GeneralName],
        purpose: x509.ObjectIdentifier,
        now: datetime,
        life: timedelta,
    ) -> bytes:
        end = min(now + life, self.certificate.not_valid_after_utc)
        signer = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return (
            _builder(name, self.certificate.subject, public, now, end)
            .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(sign_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer.value),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
            .public_bytes(serialization.Encoding.PEM)
        )


def check_pinned_gateway(leaf_der: bytes, authority_pem: str, pin: bytes, now: datetime) -> None:
    """Decide whether the peer of a TLS connection is the gateway that a join token names.

    leaf_der: the certificate whose key the peer has proven to hold.
    authority_pem: what the peer calls its authority; worth nothing until its key has `pin`.

    Raises:
        PinMismatchError: it is not; the text says which condition failed.
    """
    try:
        authority = x509.load_pem_x509_certificate(authority_pem.encode())
        leaf = x509.load_der_x509_certificate(leaf_der)
    except ValueError as error:
        raise PinMismatchError("what answered sent no certificate that can be read") from error
    if not secrets.compare_digest(spki_sha256(authority), pin):
        raise PinMismatchError("what answered has another authority than the join token names")
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise PinMismatchError(
            "what answered shows a certificate that the join token's authority did not sign"
        ) from error
    for certificate in (authority, leaf):
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise PinMismatchError(
                f"a certificate of the Console is valid from {certificate.not_valid_before_utc} "
                f"to {certificate.not_valid_after_utc}, and it is {now} here"
            )
    _check_extensions(authority, leaf)


def _check_extensions(authority: x509.Certificate, leaf: x509.Certificate) -> None:
    try:
        basic = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound) as error:
        raise PinMismatchError("what answered shows a certificate of another kind") from error
    if not basic.ca or GATEWAY_NAME not in names.get_values_for_type(x509.DNSName):
        raise PinMismatchError("what answered shows a certificate that is not the gateway's")
    # Without this a Defender's certificate of the same authority could pass for the gateway.
    if ExtendedKeyUsageOID.SERVER_AUTH not in usage:
        raise PinMismatchError("what answered shows a certificate that is not a server's")


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(end)
    )


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name.encode("idna").decode() if not name.isascii() else name)


def _requested_key(csr: str) -> ec.EllipticCurvePublicKey:
    if len(csr) > MAX_PEM:
        raise InvalidRequestError("the certificate request is too long")
    try:
        request = x509.load_pem_x509_csr(csr.encode())
        signed = request.is_signature_valid
        public = request.public_key()
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidRequestError("the certificate request cannot be read") from error
    if not signed:
        raise InvalidRequestError("the certificate request is not signed by its own key")
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.key_size < 256:
        raise InvalidRequestError("the certificate request has no elliptic curve key of 256 bits")
    return public


def key_pem(key: _Key) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
