"""Which advisories apply to which package; findings are this joined with what images hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from garrison.database.page import Page
from garrison.findings.finding import Cvss, Finding, Match, Severity
from garrison.packages.package import Package


@dataclass(frozen=True, slots=True)
class FindingRow:
    """reference: the image's newest one."""

    image_id: int
    image_digest: str
    reference: str
    package_id: int
    finding: Finding


@dataclass(frozen=True, slots=True)
class FindingQuery:
    """image_id: of one image; None: of the whole fleet. severities: only these, empty: all.

    package: exact name. advisory: id or alias. fixable: only those with a fixed version.
    """

    image_id: int | None = None
    min_severity: Severity | None = None
    severities: tuple[Severity, ...] = ()
    package: str = ""
    advisory: str = ""
    fixable: bool = False
    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class AffectedPackage:
    """images: how many images have it where it counts."""

    package_id: int
    package: Package
    fixed_in: str
    images: int


@dataclass(frozen=True, slots=True)
class AdvisoryRow:
    """What the fleet's matches say of one advisory; id: as in findings.

    severity: the highest of its matches. packages: the first `AFFECTED_LIMIT` by name.
    images: how many images have a finding of it.
    """

    id: str
    aliases: tuple[str, ...]
    severity: Severity
    severity_source: str
    cvss: tuple[Cvss, ...]
    summary: str
    url: str
    published: str
    records: tuple[str, ...]
    packages: tuple[AffectedPackage, ...]
    images: int


AFFECTED_LIMIT = 200


def unmatched(
    c: Connection, revision: str, limit: int = 500, *, after: int = 0
) -> list[tuple[int, Package]]:
    """Packages that were not matched with the advisories of this revision, by id.

    after: the last id of the batch before. The packages have no path, position or layer: those
    belong to an image.
    """
    raise NotImplementedError


def put(c: Connection, revision: str, matches: Mapping[int, Sequence[Match]]) -> frozenset[int]:
    """Replace the matches of these packages and note that they are of this revision.

    A package without matches is an entry with an empty sequence.

    Returns the packages whose matches differ from before: recount the images that have them
    (`images.with_packages`), in this transaction.
    """
    raise NotImplementedError


def recount(c: Connection, image_ids: Iterable[int] | None = None) -> None:
    """Bring the counters of these images up to date; None: of all."""
    raise NotImplementedError


def findings(c: Connection, query: FindingQuery) -> Page[FindingRow]:
    """Findings, the most severe first, then the newest advisory.

    One for each advisory, package URL and path of an image.
    """
    raise NotImplementedError


def advisory(c: Connection, name: str) -> AdvisoryRow | None:
    """What is known of an advisory, by its id, an alias or a record's id.

    None: no package of the fleet matches it. The images: `images.page` with ImageQuery.advisory.
    """
    raise NotImplementedError
