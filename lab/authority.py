"""Throwaway certificate authorities."""

import ipaddress
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lab.errors import LabError

Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

LIFETIME = timedelta(days=30)
EARLY = timedelta(hours=1)
"""Certificates are valid from so long ago, so that clocks need not agree."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate, its issuers after it, and its key: two PEM files."""

    certificate: Path
    key: Path


class Authority:
    """A CA whose certificate and key are files in `directory`; those there are used again.

    algorithm: `rsa` for programs that expect it of a CA, such as Squid's certificate generator.
    """

    def __init__(
        self,
        directory: Path,
        name: str = "Garrison lab CA",
        *,
        algorithm: Literal["ec", "rsa"] = "ec",
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self.pair = KeyPair(directory / "ca.pem", directory / "ca.key")
        if not self.pair.key.exists():
            key: Key = _new_key() if algorithm == "ec" else _new_rsa_key()
            _write(self.pair, [_ca_certificate(name, key)], key)
        self._certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        self._key = _read_key(self.pair.key)

    @property
    def certificate(self) -> Path:
        """What clients must trust, as a PEM file."""
        return self.pair.certificate

    @property
    def pem(self) -> str:
        return self.certificate.read_text()

    def issue(
        self,
        *names: str,
        since: datetime | None = None,
        until: datetime | None = None,
        directory: Path | None = None,
    ) -> KeyPair:
        """A server certificate for DNS names and IP addresses; the first is the common name."""
        folder = directory or self.directory
        stem = names[0].replace("*", "_").replace(":", "_")
        pair = KeyPair(folder / f"{stem}.pem", folder / f"{stem}.key")
        if since is None and until is None and pair.certificate.exists():
            return pair
        key = _new_key()
        _write(pair, [self._sign(names, key, since, until), self._certificate], key)
        return pair

    def server_context(self, *names: str) -> ssl.SSLContext:
        """For a server under `names`."""
        pair = self.issue(*names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        return context

    def client_context(self) -> ssl.SSLContext:
        """For a client that trusts this authority and no other."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def _sign(
        self, names: tuple[str, ...], key: Key, since: datetime | None, until: datetime | None
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        issuer = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(_name(names[0]))
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(since or now - EARLY)
            .not_valid_after(until or now + LIFETIME)
            .add_extension(x509.SubjectAlternativeName([_san(name) for name in names]), False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), False)
            .sign(self._key, hashes.SHA256())
        )


def _new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def _read_key(file: Path) -> Key:
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise LabError(f"{file}: not a key of ours")
    return key


def _new_rsa_key() -> Key:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _ca_certificate(name: str, key: Key) -> x509.Certificate:
    now = datetime.now(UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = {
        "digital_signature": True,
        "content_commitment": False,
        "key_encipherment": False,
        "data_encipherment": False,
        "key_agreement": False,
        "key_cert_sign": True,
        "crl_sign": True,
        "encipher_only": False,
        "decipher_only": False,
    }
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(name))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - EARLY)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .add_extension(x509.KeyUsage(**usage), True)
        .add_extension(identifier, False)
        .sign(key, hashes.SHA256())
    )


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ACME Corp"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _san(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _write(pair: KeyPair, chain: list[x509.Certificate], key: Key) -> None:
    pem = serialization.Encoding.PEM
    pair.certificate.write_bytes(b"".join(each.public_bytes(pem) for each in chain))
    pair.key.write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    pair.key.chmod(0o600)
