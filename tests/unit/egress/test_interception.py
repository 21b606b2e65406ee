"""What tells an inspecting proxy from a private CA, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from garrison.egress.interception import (
    Interception,
    Sighting,
    Sightings,
    invented_name,
    is_public_service,
    judge,
    judge_trusted,
)
from garrison.egress.trust import Certificate

AT = datetime(2026, 1, 1, tzinfo=UTC)


def certificate(
    subject: str, issuer: str, key: str, *, names: Sequence[str] = (), ca: bool = False
) -> Certificate:
    """Of this key, signed by the key of `issuer`; nothing here verifies signatures."""
    return Certificate(
        subject=subject, issuer=issuer, sha256=f"{subject}/{key}".encode().hex(), not_before=AT,
        not_after=AT, names=tuple(names), is_ca=ca, spki_sha256=key.encode(), der=b"",
        authority_key=issuer.encode(),
    )  # fmt: skip


def leaf(host: str, key: str = "leaf", issuer: str = "ACME") -> tuple[Certificate, ...]:
    return (certificate(host, issuer, key, names=[host]),)


CA = certificate("ACME", "ACME", "ca", ca=True)


@pytest.mark.parametrize(
    ("host", "public"),
    [
        ("hooks.slack.com", True),
        ("Registry-1.Docker.io.", True),
        ("osv-vulnerabilities.storage.googleapis.com", True),
        ("evilslack.com", False),
        ("slack.com.corp.test", False),
        ("registry.corp.test", False),
    ],
)
def test_public_services_are_known_by_whole_labels(host: str, public: bool) -> None:
    assert is_public_service(host) is public


def test_nothing_is_claimed_of_a_private_ca() -> None:
    assert judge("git.corp.test", (*leaf("git.corp.test"), CA)) is None
    assert judge("git.corp.test", ()) is None


def test_what_is_certain() -> None:
    own_key = (certificate("a.test", "ACME", "ca", names=["a.test"]), CA)
    for found in (
        judge("a.test", own_key),
        judge("a.test", leaf("a.test"), minted=True),
        judge("hooks.slack.com", leaf("hooks.slack.com")),
        judge("a.test", leaf("a.test"), sighting=Sighting(opened="hooks.slack.com")),
    ):
        assert found is not None
        assert found.certainty == "certain"
        assert found.by == "ACME"
        assert found.evidence


def test_without_public_cas_a_public_service_proves_nothing() -> None:
    """A machine without a store trusts nobody, and finds every CA unknown."""
    assert judge("hooks.slack.com", leaf("hooks.slack.com"), public_store=False) is None


def test_a_ca_seen_opening_one_host_opens_the_next() -> None:
    seen = Sightings()
    chain = leaf("hooks.slack.com")
    seen.note("hooks.slack.com", chain, judge("hooks.slack.com", chain))
    other = leaf("git.corp.test", key="another")
    assert seen.of("git.corp.test", other) == Sighting(opened="hooks.slack.com")
    assert seen.of("git.corp.test", leaf("git.corp.test", "another", "Other CA")) == Sighting()


def test_one_key_for_two_hosts_is_likely_interception() -> None:
    seen = Sightings()
    seen.note("git.corp.test", leaf("git.corp.test"), None)
    sighting = seen.of("wiki.corp.test", leaf("wiki.corp.test"))
    found = judge("wiki.corp.test", leaf("wiki.corp.test"), sighting=sighting)
    assert found is not None
    assert (found.certainty, found.evidence) == (
        "likely", "the same key was shown for git.corp.test",
    )  # fmt: skip


def test_one_certificate_for_two_hosts_is_not() -> None:
    """A default certificate of an ingress, or one that names both."""
    seen = Sightings()
    default = leaf("ingress.local")
    seen.note("git.corp.test", default, None)
    assert seen.of("wiki.corp.test", default) == Sighting()
    both = (certificate("both", "ACME", "leaf", names=["git.corp.test", "wiki.corp.test"]),)
    assert seen.of("wiki.corp.test", both) == Sighting()


def test_memory_is_bounded() -> None:
    seen = Sightings(kept=3)
    for n in range(10):
        chain = leaf(f"{n}.test", f"k{n}", f"CA {n}")
        seen.note(f"{n}.test", chain, Interception("x", "certain", ""))
    assert seen.of("new.test", leaf("new.test", "k0", "CA 0")) == Sighting()
    assert seen.of("new.test", leaf("new.test", "k9", "CA 9")).opened == "9.test"


def test_a_trusted_ca_is_possible_unless_more_is_known() -> None:
    assert judge_trusted("git.corp.test", (*leaf("git.corp.test"), CA)).certainty == "possible"
    assert judge_trusted("hooks.slack.com", (*leaf("hooks.slack.com"), CA)).certainty == "certain"


def test_the_invented_name_is_no_real_one() -> None:
    name = invented_name(leaf("a.test"))
    assert name.endswith(".invalid")
    assert len(name) < 64
