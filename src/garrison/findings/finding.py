"""What is wrong in an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, TypeAlias

from garrison.advisories.facts import Epss, Kev
from garrison.packages.lifecycle import Support
from garrison.packages.package import Inventory, Package


class Severity(IntEnum):
    """Ordered, so that a threshold is a comparison. `label` is the word used everywhere."""

    UNKNOWN = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3
    CRITICAL = 4

    @property
    def label(self) -> str:
        return self.name.lower()

    @classmethod
    def parse(cls, text: str) -> Severity:
        """The severity of that name, any case. Raises ValueError."""
        try:
            return cls[text.strip().upper()]
        except KeyError:
            raise ValueError(f"not a severity: {text!r}") from None


@dataclass(frozen=True, slots=True)
class Cvss:
    """A CVSS vector and its base score, 0.0 to 10.0."""

    vector: str
    score: float


@dataclass(frozen=True, slots=True)
class Match:
    """One advisory that applies to one package version, wherever that is installed.

    id: the CVE where the joined records name exactly one, else the deciding record's id.
    severity_source: where the severity came from (`GHSA-… CVSS:3.1`), empty if unknown.
    fixed_in: the version that fixes it for the installed branch, or empty.
    evidence: which record, range or version list matched, as text for people.
    records: ids of all records joined into this match.
    epss: the highest of its CVEs. kev: the first entry of the catalogue about one of them.
    exploited: whether there is such an entry; None while no catalogue is loaded.
    """

    id: str
    aliases: tuple[str, ...]
    severity: Severity
    severity_source: str
    cvss: tuple[Cvss, ...]
    fixed_in: str
    evidence: str
    records: tuple[str, ...]
    summary: str = ""
    url: str = ""
    published: str = ""
    epss: Epss | None = None
    kev: Kev | None = None
    exploited: bool | None = None


DecisionStatus: TypeAlias = Literal[
    "affected", "under_investigation", "not_affected", "fixed", "accepted"
]
"""The statuses of VEX, and `accepted`: a waiver's."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody said about a finding: a VEX statement or a waiver.

    justification: one of VEX's labels (`vulnerable_code_not_present`), or empty. reason: for
    people. source: the file, document or waiver that says so. expires: RFC 3339, or empty.
    """

    kind: Literal["vex", "waiver"]
    status: DecisionStatus
    justification: str = ""
    reason: str = ""
    source: str = ""
    expires: str = ""

    @property
    def suppresses(self) -> bool:
        """Whether the finding no longer counts."""
        return self.status in ("not_affected", "fixed", "accepted")


@dataclass(frozen=True, slots=True)
class Finding:
    """A match at one package in one image, and what was decided about it, if anything."""

    package: Package
    match: Match
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class ScanReport:
    """An inventory, and what the advisories say about it.

    intel_revision: revision of the advisories used; intel_updated_at: RFC 3339, or empty.
    missing_ecosystems: ecosystems of packages in the image for which no advisories are loaded.
    support: how long the image's release gets updates, where that was asked.
    suppressed: findings that a decision takes out of the count: shown apart, never dropped.
    complete: whether a report without findings means anything: False when advisories for an
        ecosystem are missing or a package database could not be read.
    """

    inventory: Inventory
    findings: tuple[Finding, ...]
    intel_revision: str = ""
    intel_updated_at: str = ""
    missing_ecosystems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = field(default=())
    suppressed: tuple[Finding, ...] = ()
    support: Support | None = None

    @property
    def complete(self) -> bool:
        return not self.missing_ecosystems and not self.inventory.unreadable
