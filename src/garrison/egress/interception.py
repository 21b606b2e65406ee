"""Whether TLS was opened on the way, and how sure that is.

A certificate from an unknown CA may be a private service's own, or an inspecting proxy's. What
tells them apart is gathered here; where nothing does, nothing is claimed.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from garrison.egress.trust import Certificate, signs_with_own_key

Certainty: TypeAlias = Literal["certain", "likely", "possible"]

PUBLIC_SERVICES = (
    "amazonaws.com",
    "atlassian.net",
    "azurecr.io",
    "docker.com",
    "docker.io",
    "gcr.io",
    "ghcr.io",
    "githubusercontent.com",
    "googleapis.com",
    "mcr.microsoft.com",
    "pkg.dev",
    "quay.io",
    "slack.com",
)
"""Services for everybody, that no private CA signs for: those of `connections.md`, their kin."""

_KEPT = 512


@dataclass(frozen=True, slots=True)
class Interception:
    """by: the CA's name. evidence: how it is known, for people."""

    by: str
    certainty: Certainty
    evidence: str

    def as_dict(self) -> dict[str, str]:
        return {"by": self.by, "certainty": self.certainty, "evidence": self.evidence}


@dataclass(frozen=True, slots=True)
class Sighting:
    """What other connections of this process showed.

    opened: a host whose TLS this CA surely opened. reused: a host for which another certificate
    with the same key was shown.
    """

    opened: str = ""
    reused: str = ""


def is_public_service(host: str) -> bool:
    name = host.lower().rstrip(".")
    return any(name == one or name.endswith(f".{one}") for one in PUBLIC_SERVICES)


def invented_name(chain: Sequence[Certificate]) -> str:
    """A name that no server has a certificate for: who shows one has made it on the spot."""
    return f"x{chain[0].sha256[:20]}.invalid"


def judge(
    host: str,
    chain: Sequence[Certificate],
    *,
    minted: bool = False,
    sighting: Sighting | None = None,
    public_store: bool = True,
) -> Interception | None:
    """What an untrusted chain for `host` tells; None where it may as well be the service's own.

    minted: a certificate for `invented_name` was shown when asked. public_store: there are
    public CAs to compare with.
    """
    if not chain:
        return None
    by, seen = _issuer_name(chain), sighting or Sighting()
    if signs_with_own_key(chain):
        return Interception(by, "certain", "the certificate holds its own CA's key")
    if minted:
        return Interception(by, "certain", "it makes certificates for whatever name is asked")
    if public_store and is_public_service(host):
        return Interception(by, "certain", f"{host} has a certificate of a public CA")
    if seen.opened:
        return Interception(by, "certain", f"the same CA stands in for {seen.opened}")
    if seen.reused:
        return Interception(by, "likely", f"the same key was shown for {seen.reused}")
    return None


def judge_trusted(
    host: str, chain: Sequence[Certificate], sighting: Sighting | None = None
) -> Interception:
    """What a verified chain tells that ends at one of the operator's own CAs."""
    found = judge(host, chain, sighting=sighting)
    if found is not None:
        return found
    by = chain[-1].subject if chain else ""
    return Interception(
        by, "possible", "a CA that was added here: the proxy's, or the destination's own"
    )


class Sightings:
    """Who signed for whom, as far as this process saw; bounded. Any thread."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._lock = threading.Lock()
        self._opened: OrderedDict[tuple[str, bytes], str] = OrderedDict()
        self._keys: OrderedDict[bytes, tuple[str, str]] = OrderedDict()

    def of(self, host: str, chain: Sequence[Certificate]) -> Sighting:
        """What is known beside this chain of `host`."""
        if not chain:
            return Sighting()
        with self._lock:
            opened = self._opened.get(_issuer(chain), "")
            where, sha256 = self._keys.get(chain[0].spki_sha256, ("", ""))
        other = where if sha256 != chain[0].sha256 and where not in ("", host) else ""
        covered = other in chain[0].names
        return Sighting("" if opened == host else opened, "" if covered else other)

    def note(self, host: str, chain: Sequence[Certificate], found: Interception | None) -> None:
        """Remember an untrusted chain that was shown for `host`."""
        if not chain:
            return
        with self._lock:
            self._keys.setdefault(chain[0].spki_sha256, (host, chain[0].sha256))
            if found is not None and found.certainty == "certain":
                self._opened.setdefault(_issuer(chain), host)
            for held in (self._opened, self._keys):
                while len(held) > self._kept:
                    held.popitem(last=False)

    def forget(self) -> None:
        with self._lock:
            self._opened.clear()
            self._keys.clear()


SIGHTINGS = Sightings()
"""One per process: what one connection saw helps to judge the next."""


def _issuer(chain: Sequence[Certificate]) -> tuple[str, bytes]:
    return chain[0].issuer, chain[0].authority_key


def _issuer_name(chain: Sequence[Certificate]) -> str:
    from garrison.egress.trust import issuing_ca

    found = issuing_ca(chain)
    return found.subject if found is not None else chain[0].issuer
