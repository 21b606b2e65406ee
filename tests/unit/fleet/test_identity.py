"""The authority's certificates, and what a Defender keeps of them."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.verification import PolicyBuilder, Store

from garrison.fleet.authority import (
    DEFENDER_LIFE,
    Authority,
    InvalidRequestError,
    defender_id,
    fingerprint,
    spki_sha256,
)
from garrison.fleet.errors import IdentityUnreadableError
from garrison.fleet.identity import DefenderIdentity, DefenderKey
from garrison.fleet.join_token import JoinToken
from tests.unit.fleet.certificates import NOW, enrolled


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create(NOW)


def der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(serialization.Encoding.DER)


def test_an_authority_survives_its_text_form(authority: Authority) -> None:
    again = Authority.from_pem(authority.to_pem())

    assert again.certificate == authority.certificate
    assert again.pin == authority.pin == spki_sha256(authority.certificate_pem)
    assert "PRIVATE" not in repr(authority)


def test_an_authority_of_two_halves_is_refused(authority: Authority) -> None:
    other = Authority.create(NOW)

    for pem in (
        other.private_key_pem + authority.certificate_pem,
        authority.certificate_pem,
        authority.private_key_pem,
        "nothing",
    ):
        with pytest.raises(IdentityUnreadableError):
            Authority.from_pem(pem)


def test_server_certificates_pass_a_strict_verifier(authority: Authority) -> None:
    """The web's rules, as browsers and OpenSSL apply them: names, usages, key identifiers."""
    issued = authority.issue_server(["console.example.test", "127.0.0.1"], NOW)
    leaf, ca = x509.load_pem_x509_certificates(issued.chain)
    verifier = PolicyBuilder().store(Store([ca])).time(NOW)

    verifier.build_server_verifier(x509.DNSName("console.example.test")).verify(leaf, [])
    assert ca == authority.certificate
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_a_defenders_certificate_names_it_and_ends_soon(authority: Authority) -> None:
    identity = enrolled(authority, "0190-abc")
    certificate = x509.load_pem_x509_certificate(identity.certificate.encode())

    assert defender_id(der(identity.certificate)) == "0190-abc"
    assert certificate.not_valid_before_utc < NOW
    assert certificate.not_valid_after_utc == NOW + DEFENDER_LIFE
    assert identity.not_after == certificate.not_valid_after_utc
    assert len(fingerprint(identity.certificate)) == 64
    assert fingerprint(identity.certificate) == fingerprint(der(identity.certificate))


def test_no_certificate_outlives_its_authority(authority: Authority) -> None:
    late = authority.certificate.not_valid_after_utc - timedelta(days=10)
    identity = enrolled(authority, now=late)

    assert identity.not_after == authority.certificate.not_valid_after_utc


def test_only_the_key_of_a_request_is_used(authority: Authority) -> None:
    """Names and usages that a Defender asks for are not its decision."""
    key = ec.generate_private_key(ec.SECP256R1())
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name.from_rfc4514_string("CN=garrison:defender:other"))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("gateway.garrison.internal")]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    pem = greedy.public_bytes(serialization.Encoding.PEM).decode()
    certificate = x509.load_pem_x509_certificate(authority.issue_defender(pem, "d-1", NOW).encode())

    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == []
    assert "other" not in certificate.subject.rfc4514_string()


def _rsa_request() -> str:
    key = rsa.generate_private_key(65537, 2048)
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def _forged_request() -> str:
    """A request whose signature is by another key than the one in it."""
    raw = bytearray(
        x509.load_pem_x509_csr(DefenderKey.create().csr.encode()).public_bytes(
            serialization.Encoding.DER
        )
    )
    raw[-5] ^= 1
    return x509.load_der_x509_csr(bytes(raw)).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    "csr", ["", "x" * 100_000, "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n", _rsa_request()]
)
def test_requests_that_cannot_be_signed(authority: Authority, csr: str) -> None:
    with pytest.raises(InvalidRequestError):
        authority.issue_defender(csr, "d-1", NOW)


def test_a_request_proves_its_key(authority: Authority) -> None:
    with pytest.raises(InvalidRequestError):
        authority.issue_defender(_forged_request(), "d-1", NOW)


def test_an_identity_is_kept_whole_and_private(authority: Authority, tmp_path: Path) -> None:
    directory = tmp_path / "defender"
    token = JoinToken.create(authority)
    key = DefenderKey.create()
    identity = DefenderIdentity.enrolled(
        key,
        "d-1",
        authority.issue_defender(key.csr, "d-1", NOW),
        authority.certificate_pem,
        token,
    )
    identity.save(directory)
    (file,) = directory.iterdir()

    assert DefenderIdentity.load(directory) == identity
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert token.secret_text not in file.read_text()
    assert "PRIVATE" not in repr(identity) + repr(key)


def test_no_identity_is_none(tmp_path: Path) -> None:
    assert DefenderIdentity.load(tmp_path / "defender") is None


def test_a_broken_identity_is_an_error_not_a_new_enrolment(
    authority: Authority, tmp_path: Path
) -> None:
    enrolled(authority).save(tmp_path)
    (file,) = tmp_path.iterdir()
    whole = file.read_bytes()

    for broken in (b"", whole[: len(whole) // 2], whole.replace(b"MI", b"XX"), b"\xff" * 10):
        file.write_bytes(broken)
        with pytest.raises(IdentityUnreadableError) as caught:
            DefenderIdentity.load(tmp_path)
        assert "join token" in caught.value.hint


def test_an_answer_that_does_not_fit_is_refused(authority: Authority) -> None:
    """The Console's answer is checked before it becomes our identity."""
    key, other = DefenderKey.create(), Authority.create(NOW)
    good = authority.issue_defender(key.csr, "d-1", NOW)
    token = JoinToken.create(authority)
    foreign = authority.issue_defender(DefenderKey.create().csr, "d-1", NOW)
    ca = authority.certificate_pem

    for certificate, authorities, name in (
        (foreign, ca, "d-1"),
        (good, other.certificate_pem, "d-1"),
        (good, ca, "d-2"),
        ("rubbish", ca, "d-1"),
        (good, "", "d-1"),
    ):
        with pytest.raises(IdentityUnreadableError):
            DefenderIdentity.enrolled(key, name, certificate, authorities, token)
    with pytest.raises(IdentityUnreadableError):
        DefenderIdentity.enrolled(key, "d-1", good, ca, JoinToken.create(other))


def test_renewal_is_due_in_the_last_third(authority: Authority) -> None:
    identity = enrolled(authority)

    assert not identity.renewal_due(NOW + timedelta(days=50))
    assert identity.renewal_due(NOW + timedelta(days=65))


def test_a_renewed_identity_is_the_same_defender(authority: Authority) -> None:
    identity, key = enrolled(authority), DefenderKey.create()
    renewed = identity.renewed(
        key, authority.issue_defender(key.csr, "d-1", NOW), authority.certificate_pem
    )

    assert renewed.defender_id == identity.defender_id
    assert renewed.certificate != identity.certificate
    with pytest.raises(IdentityUnreadableError):
        identity.renewed(
            key, authority.issue_defender(key.csr, "d-2", NOW), authority.certificate_pem
        )
