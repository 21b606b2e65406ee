"""Certificates that no Garrison issues, and a channel's two ends joined in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from garrison.fleet.authority import Authority, IssuedServer
from garrison.fleet.channel import ClientChannel, ServerChannel
from garrison.fleet.errors import FleetError
from garrison.fleet.identity import DefenderIdentity, DefenderKey

NOW = datetime.now(UTC).replace(microsecond=0)


def enrolled(
    authority: Authority, defender_id: str = "d-1", now: datetime = NOW
) -> DefenderIdentity:
    """An identity as an enrolment gives it."""
    key = DefenderKey.create()
    certificate = authority.issue_defender(key.csr, defender_id, now)
    return DefenderIdentity.enrolled(key, defender_id, certificate, authority.certificate_pem)


class OddAuthority(Authority):
    """An authority that issues its gateway a certificate with something wrong in it."""

    names: tuple[str, ...] = ("gateway.garrison.internal",)
    usage = ExtendedKeyUsageOID.SERVER_AUTH
    life = timedelta(days=1)
    started = timedelta(hours=1)
    signer: Authority | None = None

    def issue_gateway(self, now: datetime) -> IssuedServer:
        signer = self.signer or self
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "odd")]))
            .issuer_name(signer.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - self.started)
            .not_valid_after(now - self.started + self.life)
            .add_extension(x509.ExtendedKeyUsage([self.usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(
                    signer.certificate.public_key()  # type: ignore[arg-type]
                ),
                critical=False,
            )
        )
        if self.names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in self.names]),
                critical=False,
            )
        leaf = builder.sign(signer._key, hashes.SHA256())
        return IssuedServer(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            ),
            leaf.public_bytes(serialization.Encoding.PEM),
        )


class Pair:
    """A Defender's end and a gateway's end; `run` carries bytes until both are silent.

    decrypted: every message that the gateway's end could read.
    """

    def __init__(self, client: ClientChannel, server: ServerChannel, chunk: int = 1 << 20) -> None:
        self.client, self.server, self.chunk = client, server, chunk
        self.decrypted: list[bytes] = []
        self.received: list[bytes] = []
        self.server_error: FleetError | None = None
        self.client_error: FleetError | None = None

    def run(self) -> Pair:
        """Errors of either side are kept, and its last words still delivered."""
        while True:
            up, down = self.client.outgoing(), self.server.outgoing()
            if not up and not down:
                return self
            for piece in self._pieces(up):
                try:
                    self.decrypted += self.server.receive(piece)
                except FleetError as error:
                    self.server_error = error
            for piece in self._pieces(down):
                try:
                    self.received += self.client.receive(piece)
                except FleetError as error:
                    self.client_error = error

    def _pieces(self, data: bytes) -> list[bytes]:
        return [data[i : i + self.chunk] for i in range(0, len(data), self.chunk)]
