"""Trusting the CA that a connection test showed, once a person has seen its fingerprint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool

from garrison.console import proxy
from garrison.console.problems import ConflictError
from garrison.database import audit
from garrison.egress import TrustBundle

if TYPE_CHECKING:
    from garrison.console.state import AppState
    from garrison.egress import Purpose


class NothingToTrustError(ConflictError):
    """The test did not end at an unknown CA, or the CA was not presented."""

    code = "egress.nothing_to_trust"


class OtherCaError(ConflictError):
    """The chain presented now is not the one the person saw."""

    code = "egress.other_ca"


@dataclass(frozen=True, slots=True)
class Trusted:
    """certificate: as in a test's `trust`. test: the same test with the CA trusted."""

    certificate: Mapping[str, Any]
    revision: int
    test: Mapping[str, Any]


async def trust_ca(
    state: AppState,
    url: str,
    purpose: Purpose,
    from_: str,
    fingerprint: str,
    actor: str,
    timeout: float = proxy.TEST_SECONDS,
) -> Trusted:
    """Test again, add the CA it meets if that has this SHA-256, and test once more.

    fingerprint: hexadecimal, colons and case do not matter.

    Raises: NothingToTrustError, OtherCaError: nothing was changed. InvalidSettings, and what
    `proxy.test` raises.
    """
    found = await proxy.test(state, url, purpose, from_, timeout)
    certificate = checked_offer(found, fingerprint)
    revision = await run_in_threadpool(add, state, certificate, url, from_, actor)
    return Trusted(certificate, revision, await proxy.test(state, url, purpose, from_, timeout))


def checked_offer(found: Mapping[str, Any], fingerprint: str) -> Mapping[str, Any]:
    """The CA that a test offers to trust, if it is the one of the fingerprint.

    The certificate itself is hashed: a Defender's word is not taken for it.

    Raises NothingToTrustError, OtherCaError.
    """
    certificate: Mapping[str, Any] | None = found.get("trust")
    if found.get("ok"):
        raise NothingToTrustError(
            "the connection works already", "Nothing was changed: no CA has to be trusted for it."
        )
    if not certificate:
        raise NothingToTrustError(
            "this connection does not fail at a CA that was presented",
            "Run the test again: it says what to do now.",
        )
    try:
        (one,) = TrustBundle.parse(str(certificate["pem"])).certificates
    except ValueError:
        raise NothingToTrustError("what was presented is not one certificate") from None
    if one.sha256 != fingerprint.replace(":", "").strip().lower():
        raise OtherCaError(
            f'the chain leads to another CA now: "{one.subject}", SHA-256 {one.fingerprint}',
            "Nothing was changed. Compare this fingerprint with the one your network's owner"
            " publishes before you trust it.",
        )
    return {**one.as_dict(), "fingerprint": one.fingerprint, "pem": one.pem}


def add(state: AppState, certificate: Mapping[str, Any], url: str, from_: str, actor: str) -> int:
    """Save the settings with this CA, and who did it; the settings' revision."""
    saved = proxy.add_ca(state, str(certificate["pem"]), actor)
    parts = urlsplit(url)
    with state.db.write() as c:
        audit.record(
            c,
            actor=actor,
            action="egress.trust",
            target="settings/proxy",
            detail={
                "subject": certificate["subject"],
                "sha256": certificate["sha256"],
                "for": parts.hostname or "",
                "from": from_,
                "revision": saved.revision,
            },
            now=datetime.now(UTC),
        )
    return saved.revision
