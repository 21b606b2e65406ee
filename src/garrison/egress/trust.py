"""Certificates: whom we trust, and who signed what we were shown.

The operator's own CAs are added to the system's. Every context verifies; the only exception is
`looking_context`, for a handshake that sends nothing and only reads the chain it is shown.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import importlib.util
import os
import re
import ssl
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from cryptography import x509

    from garrison.egress.trace import Chain

MAX_PEM = 4 << 20
"""Bytes of a CA setting at most: some ten times a whole system store."""

_BEGIN = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----")
_CERTIFICATE_NAMES = ("CERTIFICATE", "TRUSTED CERTIFICATE", "X509 CERTIFICATE")

# Where Linux distributions keep the store, for an OpenSSL that was built elsewhere.
_STORE_FILES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


class BadCertificateError(ValueError):
    """A PEM text that cannot be used; `line` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line, self.problem = line, problem


@dataclass(frozen=True, slots=True)
class Certificate:
    """What is told of a certificate. sha256: of its DER, lower-case hexadecimal."""

    subject: str
    issuer: str
    sha256: str
    not_before: datetime
    not_after: datetime
    names: tuple[str, ...]
    is_ca: bool
    spki_sha256: bytes
    der: bytes
    authority_key: bytes = b""
    """Names the key that signed it (RFC 5280 section 4.2.1.1); empty where it is not told."""

    @classmethod
    def read(cls, der: bytes) -> Self:
        """Raises ValueError."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        with warnings.catch_warnings():
            # Odd serial numbers and the like: old CAs have them, and TLS takes them.
            warnings.simplefilter("ignore", UserWarning)
            certificate = x509.load_der_x509_certificate(der)
        spki = certificate.public_key().public_bytes(
            Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        )
        return cls(
            subject=shown_name(certificate.subject),
            issuer=shown_name(certificate.issuer),
            sha256=hashlib.sha256(der).hexdigest(),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            names=_names(certificate),
            is_ca=_is_ca(certificate),
            spki_sha256=hashlib.sha256(spki).digest(),
            der=der,
            authority_key=_authority_key(certificate),
        )

    @property
    def self_issued(self) -> bool:
        """Whether nobody else vouches for it."""
        return self.subject == self.issuer

    def as_dict(self) -> dict[str, Any]:
        """As tests and pages show it."""
        return {
            "subject": self.subject,
            "issuer": self.issuer,
            "sha256": self.sha256,
            "not_before": self.not_before.isoformat(),
            "not_after": self.not_after.isoformat(),
            "names": list(self.names),
            "is_ca": self.is_ca,
        }

    @property
    def fingerprint(self) -> str:
        """The SHA-256 as tools print it: `AB:CD:…`."""
        return ":".join(self.sha256[i : i + 2] for i in range(0, 64, 2)).upper()

    @property
    def pem(self) -> str:
        return ssl.DER_cert_to_PEM_cert(self.der)


def shown_name(name: x509.Name) -> str:
    """A distinguished name for people: its organisation and common name."""
    from cryptography.x509.oid import NameOID

    parts = [
        str(attribute.value)
        for oid in (NameOID.ORGANIZATION_NAME, NameOID.COMMON_NAME)
        for attribute in name.get_attributes_for_oid(oid)[:1]
    ]
    return ", ".join(dict.fromkeys(parts)) or name.rfc4514_string() or "(no name)"


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except (x509.ExtensionNotFound, ValueError):
        return ()
    names = extension.value.get_values_for_type(x509.DNSName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return (*names, *(str(address) for address in addresses))


def _is_ca(certificate: x509.Certificate) -> bool:
    from cryptography import x509

    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, ValueError):
        return False
    return constraints.value.ca


def _authority_key(certificate: x509.Certificate) -> bytes:
    from cryptography import x509

    try:
        extension = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except (x509.ExtensionNotFound, ValueError):
        return b""
    return extension.value.key_identifier or b""


def read_chain(chain: Chain) -> tuple[Certificate, ...]:
    """What can be read of a chain, in its order."""
    found = []
    for der in chain.ders:
        with contextlib.suppress(ValueError):
            found.append(Certificate.read(der))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class TrustBundle:
    """The operator's own CA certificates, as DER, in their order and once each."""

    ders: tuple[bytes, ...] = ()

    @classmethod
    def parse(cls, pem: str) -> Self:
        """Read PEM blocks; text around them is ignored, as OpenSSL does.

        Raises:
            BadCertificateError: a block is not a certificate, or the text has none.
        """
        if len(pem) > MAX_PEM:
            raise BadCertificateError(1, f"more than {MAX_PEM >> 20} MiB of certificates")
        ders = tuple(dict.fromkeys(_blocks(pem)))
        if not ders and pem.strip():
            raise BadCertificateError(1, "no certificate: a block starts with"
                                      " -----BEGIN CERTIFICATE-----")  # fmt: skip
        return cls(ders)

    @property
    def pem(self) -> str:
        return "".join(ssl.DER_cert_to_PEM_cert(der) for der in self.ders)

    @property
    def certificates(self) -> tuple[Certificate, ...]:
        return tuple(Certificate.read(der) for der in self.ders)

    def without(self, ders: frozenset[bytes]) -> TrustBundle:
        return TrustBundle(tuple(der for der in self.ders if der not in ders))

    def __bool__(self) -> bool:
        return bool(self.ders)

    def __repr__(self) -> str:
        return f"TrustBundle({len(self.ders)} certificates)"


def _blocks(pem: str) -> list[bytes]:
    found: list[bytes] = []
    judge = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    lines = pem.splitlines()
    index = 0
    while index < len(lines):
        begin = _BEGIN.search(lines[index])
        if begin is None:
            index += 1
            continue
        start = index + 1
        end = f"-----END {begin[1]}-----"
        stop = next((i for i in range(start, len(lines)) if end in lines[i]), None)
        if stop is None:
            raise BadCertificateError(start, f"the block has no {end}")
        if begin[1] not in _CERTIFICATE_NAMES:
            raise BadCertificateError(start, f"a {begin[1].lower()}, not a certificate")
        found.append(_block(lines[start:stop], start, judge))
        index = stop + 1
    return found


def _block(lines: Sequence[str], number: int, judge: ssl.SSLContext) -> bytes:
    """number: the line of its BEGIN. judge: used for nothing else."""
    for offset, line in enumerate(lines, start=1):
        if not re.fullmatch(r"[A-Za-z0-9+/=]*", line.strip()):
            raise BadCertificateError(number + offset, "not Base64")
    try:
        der = base64.b64decode("".join(line.strip() for line in lines), validate=True)
    except binascii.Error:
        raise BadCertificateError(number, "the block is not complete Base64") from None
    try:
        # OpenSSL's judgement is the one that counts, and needs no other library.
        judge.load_verify_locations(cadata=der)
    except (ssl.SSLError, ValueError):
        raise BadCertificateError(number, "the block holds no X.509 certificate") from None
    return der


# --- contexts -------------------------------------------------------------------------------


def context_for(trust: TrustBundle, extra_ca: str = "") -> ssl.SSLContext:
    """A verifying client context: the system's CAs, the operator's, and those of `extra_ca` (PEM).

    Loading a system store costs some 30 ms, so contexts are kept; a store that changed on disk
    is read again.
    """
    return _context(trust.ders, extra_ca, system_store())


def pinned_context(certificate: Certificate) -> ssl.SSLContext:
    """Trusts this CA and nothing else; names and dates are verified as ever."""
    context = _bare_context()
    context.load_verify_locations(cadata=certificate.der)
    return context


def looking_context() -> ssl.SSLContext:
    """Accepts any certificate: for a handshake that is thrown away, sending nothing."""
    context = _bare_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _bare_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    # An intermediate or a server's own certificate may be what the operator trusts.
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN
    # From Python 3.13 strictness is some contexts' default; corporate CAs often fail it.
    context.verify_flags &= ~ssl.VerifyFlags.VERIFY_X509_STRICT
    context.set_alpn_protocols(["http/1.1"])
    return context


@lru_cache(maxsize=32)
def _context(ders: tuple[bytes, ...], extra_ca: str, store: SystemStore) -> ssl.SSLContext:
    context = _bare_context()
    if store.file or store.directory:
        context.load_verify_locations(store.file or None, store.directory or None)
    if data := b"".join(ders):
        context.load_verify_locations(cadata=data)
    if extra_ca.strip():
        context.load_verify_locations(cadata=b"".join(TrustBundle.parse(extra_ca).ders))
    return context


@dataclass(frozen=True, slots=True)
class SystemStore:
    """Where the system's CAs are; `changed` makes another value of a changed store."""

    file: str = ""
    directory: str = ""
    changed: int = 0

    def __bool__(self) -> bool:
        return bool(self.file or self.directory)


def system_store() -> SystemStore:
    """As `_look_for_store`, looked at once a second: each connection asks."""
    global _store
    now = time.monotonic()
    if _store is None or not 0 <= now - _store[0] < _STORE_SECONDS:
        _store = (now, _look_for_store())
    return _store[1]


_STORE_SECONDS = 1.0
_store: tuple[float, SystemStore] | None = None


def _look_for_store() -> SystemStore:
    """The store OpenSSL was built for, else a distribution's, else certifi's.

    `SSL_CERT_FILE` and `SSL_CERT_DIR` are not looked at: where they count, `settings` reads them.
    """
    paths = ssl.get_default_verify_paths()
    if _has_hashes(paths.openssl_capath):
        # Read by need, certificate by certificate: no 30 ms for the whole store.
        return SystemStore(directory=paths.openssl_capath, changed=_changed(paths.openssl_capath))
    for file in (paths.openssl_cafile, *_STORE_FILES):
        if os.path.isfile(file):
            return SystemStore(file=file, changed=_changed(file))
    if importlib.util.find_spec("certifi") is not None:
        certifi = importlib.import_module("certifi")
        return SystemStore(file=str(certifi.where()))
    return SystemStore()


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:
        return 0


def _has_hashes(directory: str) -> bool:
    try:
        with os.scandir(directory) as entries:
            return any(entry.name.endswith(".0") for entry in entries)
    except OSError:
        return False


def system_certificates() -> frozenset[bytes]:
    """The system's CAs as DER, as far as they are in one file."""
    store = system_store()
    file = store.file or next((path for path in _STORE_FILES if os.path.isfile(path)), "")
    if not file:
        return frozenset()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(file)
    return frozenset(context.get_ca_certs(binary_form=True))


# --- chains ---------------------------------------------------------------------------------
# Public from Python 3.13; before it only on the private `_sslobj`. Nothing else touches these.


def presented_chain(tls: ssl.SSLObject | ssl.SSLSocket) -> tuple[bytes, ...]:
    """The certificates the peer sent, as DER, its own first."""
    return _chain(tls, "get_unverified_chain")


def verified_chain(tls: ssl.SSLObject | ssl.SSLSocket) -> tuple[bytes, ...]:
    """The certificates that verification used, as DER, the root last."""
    return _chain(tls, "get_verified_chain")


def _chain(tls: Any, method: str) -> tuple[bytes, ...]:
    found = getattr(tls, method, None) or getattr(tls._sslobj, method)
    # 2: DER, as `_ssl.ENCODING_DER`.
    return tuple(
        one if isinstance(one, bytes) else bytes(one.public_bytes(2)) for one in found() or ()
    )


def signs_with_own_key(chain: Sequence[Certificate]) -> bool:
    """Whether the first certificate holds the key of the CA that issued it.

    No authority does that; intercepting proxies do (Squid and mitmproxy, seen), which give the
    key they have to every certificate they make.
    """
    if len(chain) < 2 or chain[0].sha256 == chain[1].sha256:
        return False
    return chain[0].spki_sha256 == chain[1].spki_sha256 and chain[1].is_ca


def issuing_ca(chain: Sequence[Certificate]) -> Certificate | None:
    """The CA that would have to be trusted for the first certificate of `chain`: the last one up
    the line of signatures, or the certificate itself where nobody else signed it.

    What only lies in the chain is not taken: a stranger may put any CA's certificate there.
    """
    from cryptography import x509

    if not chain:
        return None
    try:
        loaded = [x509.load_der_x509_certificate(one.der) for one in chain]
    except ValueError:
        return None
    at, found = 0, chain[0] if _signed_by(loaded[0], loaded[0]) else None
    seen = {0}
    while True:
        above = next(
            (
                i
                for i, one in enumerate(chain)
                if i not in seen and one.is_ca and _signed_by(loaded[at], loaded[i])
            ),
            None,
        )
        if above is None:
            return found
        at, found = above, chain[above]
        seen.add(above)


def _signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def pinned_certificate(chain: Sequence[Certificate], pin: bytes) -> Certificate | None:
    """The CA in `chain` whose public key has this SHA-256."""
    return next((one for one in chain if one.is_ca and one.spki_sha256 == pin), None)
