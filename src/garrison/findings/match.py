"""Packages and advisories → matches with evidence. Pure: advisories come through `Lookup`.

The rules are written down in docs/reference/matching.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from garrison.advisories import (
    Advisory,
    AffectedRow,
    CveFacts,
    Verdict,
    check,
    fixes,
    normalize_name,
)
from garrison.findings.finding import Finding, Match, ScanReport
from garrison.findings.severity import assess
from garrison.packages import Inventory, Package
from garrison.packages.releases import variant_of
from garrison.packages.versions import scheme_for
from garrison.packages.versions.semver import from_go_toolchain

_DISTRIBUTIONS = frozenset({"deb", "apk", "rpm"})
_ECOSYSTEMS = {
    "cargo": "crates.io",
    "composer": "Packagist",
    "gem": "RubyGems",
    "golang": "Go",
    "hex": "Hex",
    "maven": "Maven",
    "npm": "npm",
    "nuget": "NuGet",
    "pub": "Pub",
    "pypi": "PyPI",
}
# Their records name binary packages; all other distributions' name source packages.
_BY_BINARY = frozenset({"AlmaLinux", "Red Hat", "Rocky Linux"})
_MODULAR = re.compile(r"\.module[+_]el\d")
_MODULE_OF_PURL = re.compile(r"[?&](?:rpmmod|modularitylabel)=([^:&%]+)(?::|%3A)([^:&%]+)")
_MODULE_OF_SUMMARY = re.compile(r"(?:^|\s)([\w.+-]+:[\w.+-]+) (?:security|bug|enhancement)")
# Joins namespace and name the way the ecosystem's advisories do.
_JOINTS = {"maven": ":"}


class Lookup(Protocol):
    """Where advisories come from; `AdvisoryStore` is one."""

    @property
    def revision(self) -> str: ...
    @property
    def updated_at(self) -> str: ...
    def covers(self, ecosystem: str) -> bool: ...
    def lookup(
        self, ecosystem: str, names: Iterable[str]
    ) -> Mapping[str, tuple[AffectedRow, ...]]: ...
    def related(self, identifiers: Iterable[str]) -> Mapping[str, tuple[Advisory, ...]]: ...
    @property
    def knows_exploited(self) -> bool: ...
    def facts(self, cves: Iterable[str]) -> Mapping[str, CveFacts]: ...


class Subject(NamedTuple):
    """What advisories are asked about: for most distributions the source package and its version.

    module: module and stream of a modular rpm (`nodejs:18`), as far as it is known.
    """

    ecosystem: str
    name: str
    version: str
    module: str = ""


@dataclass(frozen=True, slots=True)
class Matching:
    """matches: per subject, worst first. warnings: what could not be decided, for people."""

    matches: Mapping[Subject, tuple[Match, ...]]
    warnings: tuple[str, ...] = ()

    def of(self, package: Package) -> tuple[Match, ...]:
        """The matches of one of the packages that were asked about."""
        subject = subject_of(package)
        return self.matches.get(subject, ()) if subject is not None else ()


def ecosystem_of(package: Package) -> str:
    """OSV's name of the advisories that apply (`PyPI`, `Debian:12`).

    A distribution package of an unknown release gives an ecosystem that no feed has, so that it
    is reported as missing and never taken for sound.
    """
    if package.type in _DISTRIBUTIONS:
        return package.distro or f"{package.type} packages of an unknown release"
    return _ECOSYSTEMS.get(package.type, package.type)


def full_name(package: Package) -> str:
    """The name people know it by: with npm's scope, Maven's group, Go's path (`@types/node`)."""
    if not package.namespace or package.type in _DISTRIBUTIONS:
        return package.name
    return f"{package.namespace}{_JOINTS.get(package.type, '/')}{package.name}"


def subject_of(package: Package) -> Subject | None:
    """What to ask for `package`; None for files of a distribution package, which is asked itself.

    Distributions fix without changing upstream's version, so upstream's advisories would accuse
    such files wrongly.
    """
    if package.type in _DISTRIBUTIONS:
        ecosystem = ecosystem_of(package)
        if ecosystem.partition(":")[0] in _BY_BINARY:
            return Subject(ecosystem, package.name, package.version, module_of(package))
        name, version = package.source or package.name, package.source_version or package.version
        return Subject(ecosystem, name, version)
    if package.position == "owned":
        return None
    ecosystem = ecosystem_of(package)
    full = full_name(package)
    version = package.version
    if package.type == "golang" and full in {"stdlib", "toolchain"}:
        version = from_go_toolchain(version)
    return Subject(ecosystem, normalize_name(ecosystem, full), version)


def module_of(package: Package) -> str:
    """Module and stream of a modular rpm (`nodejs:18`), or empty: its package URL says it."""
    found = _MODULE_OF_PURL.search(package.purl) if package.type == "rpm" else None
    return f"{found[1]}:{found[2]}" if found else ""


def match_package(package: Package, lookup: Lookup) -> tuple[Match, ...]:
    """The matches of one package, worst first."""
    return match_packages([package], lookup).of(package)


def match_packages(packages: Iterable[Package], lookup: Lookup) -> Matching:
    """The matches of many packages with one question per ecosystem."""
    subjects = {subject for package in packages if (subject := subject_of(package)) is not None}
    rows = _rows(subjects, lookup)
    warnings: list[str] = []
    groups = {}
    for subject in sorted(subjects):
        candidates = rows.get((subject.ecosystem, subject.name), ())
        if candidates:
            groups[subject] = _groups(subject, candidates, warnings)
    beside = _beside(groups, lookup)
    matches = {
        subject: _ordered(_match(subject, group, beside) for group in found)
        for subject, found in groups.items()
        if found
    }
    return Matching(matches, tuple(warnings))


def match_inventory(inventory: Inventory, lookup: Lookup | None) -> ScanReport:
    """What the advisories say about an image; None for `lookup` when nothing is loaded."""
    asked = [package for package in inventory.packages if subject_of(package) is not None]
    used = Counter(ecosystem_of(package) for package in asked)
    missing = tuple(sorted(name for name in used if lookup is None or not lookup.covers(name)))
    matching = match_packages(asked, lookup) if lookup is not None else Matching({})
    warnings = [*_gaps(inventory, missing, used), *matching.warnings]
    findings = {
        (match.id, package.purl, package.path): Finding(package, match)
        for package in asked
        for match in matching.of(package)
    }
    return ScanReport(
        inventory=inventory,
        findings=tuple(sorted(findings.values(), key=_finding_order)),
        intel_revision=lookup.revision if lookup is not None else "",
        intel_updated_at=lookup.updated_at if lookup is not None else "",
        missing_ecosystems=missing,
        warnings=tuple(warnings),
    )


def _gaps(inventory: Inventory, missing: Sequence[str], used: Counter[str]) -> list[str]:
    gaps = [f"the package database {path} cannot be read" for path in inventory.unreadable]
    gaps += [
        f"no advisories are loaded for {name}, so {_packages(used[name])} not matched"
        for name in missing
    ]
    if not inventory.packages:
        gaps.append("no packages were found in this image")
    return gaps


def _packages(count: int) -> str:
    return "1 package was" if count == 1 else f"{count} packages were"


def _rows(
    subjects: Iterable[Subject], lookup: Lookup
) -> dict[tuple[str, str], tuple[AffectedRow, ...]]:
    names: dict[str, set[str]] = {}
    for subject in subjects:
        names.setdefault(subject.ecosystem, set()).add(subject.name)
    return {
        (ecosystem, name): rows
        for ecosystem, wanted in names.items()
        for name, rows in lookup.lookup(ecosystem, wanted).items()
    }


@dataclass(slots=True)
class _Candidate:
    """One advisory about the package, evaluated."""

    advisory: Advisory
    rows: list[AffectedRow]
    hits: list[tuple[AffectedRow, Verdict]]
    undecided: list[str]

    @property
    def links(self) -> tuple[str, ...]:
        """Ids that join it with others. Several upstream ids are several vulnerabilities: an
        erratum that lists them does not make them one."""
        upstream = self.advisory.upstream if len(self.advisory.upstream) == 1 else ()
        return (self.advisory.id, *self.advisory.aliases, *upstream)


@dataclass(slots=True)
class _Group:
    """Candidates about one vulnerability, of which at least one applies."""

    hits: list[_Candidate]
    all: list[_Candidate]

    @property
    def rows(self) -> list[AffectedRow]:
        return [row for candidate in self.hits for row, _ in candidate.hits]

    @property
    def identifiers(self) -> set[str]:
        return {id for candidate in self.hits for id in candidate.advisory.identifiers}


def _groups(subject: Subject, rows: Sequence[AffectedRow], warnings: list[str]) -> list[_Group]:
    groups = []
    undecided: list[_Candidate] = []
    for members in _joined(_candidates(subject, rows)):
        hits = [candidate for candidate in members if candidate.hits]
        if hits:
            groups.append(_Group(hits, members))
        elif all(candidate.undecided for candidate in members):
            undecided += members
    if undecided:
        warnings.append(_undecided_warning(subject, undecided))
    return _without_covered_errata(groups)


def _undecided_warning(subject: Subject, candidates: list[_Candidate]) -> str:
    ids = ", ".join(candidate.advisory.id for candidate in candidates[:8])
    more = f" and {len(candidates) - 8} more" if len(candidates) > 8 else ""
    return (
        f"{subject.ecosystem} {subject.name} {subject.version}: could not be compared with"
        f" {ids}{more} ({candidates[0].undecided[0]})"
    )


def _candidates(subject: Subject, rows: Sequence[AffectedRow]) -> list[_Candidate]:
    scheme = scheme_for(subject.ecosystem)
    candidates: dict[str, _Candidate] = {}
    for row in _about(subject, rows):
        candidate = candidates.setdefault(row.advisory.id, _Candidate(row.advisory, [], [], []))
        candidate.rows.append(row)
        verdict = check(row.affected, subject.version, scheme)
        if verdict.affected:
            candidate.hits.append((row, verdict))
        elif verdict.undecided:
            candidate.undecided.append(verdict.undecided)
    return list(candidates.values())


def _about(subject: Subject, rows: Sequence[AffectedRow]) -> Sequence[AffectedRow]:
    """Those rows that are about the build that is installed, where one release has several."""
    if subject.ecosystem.startswith("Ubuntu:"):
        return _of_variant(subject, rows)
    if subject.ecosystem.partition(":")[0] in _BY_BINARY:
        return [row for row in rows if _of_stream(subject, row)]
    return rows


def _of_variant(subject: Subject, rows: Sequence[AffectedRow]) -> list[AffectedRow]:
    """Per record: of a subscriber's package what is published for subscribers, else the release's
    own entry. What only subscribers get fixed is vulnerable for everybody."""
    records: dict[str, list[AffectedRow]] = {}
    for row in rows:
        records.setdefault(row.advisory.id, []).append(row)
    version = subject.version.lower()
    kept = []
    for entries in records.values():
        variants = [(variant_of(row.affected.ecosystem), row) for row in entries]
        plain = [row for variant, row in variants if not variant]
        pro = [row for variant, row in variants if variant == "Pro"]
        if "fips" in version:
            kept += [row for variant, row in variants if "FIPS" in variant] or plain or pro
        elif "esm" in version:
            kept += pro or plain
        else:
            kept += plain or pro
    return kept


def _of_stream(subject: Subject, row: AffectedRow) -> bool:
    """Modular packages exist once per stream beside the plain ones, each with its own fixes."""
    bounds = [event.version for span in row.affected.ranges for event in span.events[1:]]
    if not bounds:
        return True
    modular = any(_MODULAR.search(version) for version in bounds)
    if modular != bool(subject.module or _MODULAR.search(subject.version)):
        return False
    named = _MODULE_OF_SUMMARY.search(row.advisory.summary) if modular else None
    return not (named and subject.module) or named[1] == subject.module


def _joined(candidates: list[_Candidate]) -> list[list[_Candidate]]:
    """Candidates that share an id, directly or through others, in sets."""
    home: dict[str, list[_Candidate]] = {}
    sets: dict[int, list[_Candidate]] = {}
    for candidate in candidates:
        merged = [candidate]
        for link in candidate.links:
            other = home.get(link)
            if other is not None and id(other) in sets:
                del sets[id(other)]
                merged += other
        sets[id(merged)] = merged
        for member in merged:
            for link in member.links:
                home[link] = merged
    return [sorted(members, key=_preference) for members in sets.values()]


def _without_covered_errata(groups: list[_Group]) -> list[_Group]:
    """An erratum whose every vulnerability is a finding already joins those findings."""
    kept = []
    for group in groups:
        upstream = group.hits[0].advisory.upstream
        if len(group.hits) == 1 and len(upstream) > 1:
            covering = [
                other
                for id in upstream
                for other in groups
                if other is not group and len(other.hits[0].advisory.upstream) <= 1
                if id in other.identifiers
            ]
            if {id for id in upstream if any(id in other.identifiers for other in covering)} == set(
                upstream
            ):
                for other in {id(item): item for item in covering}.values():
                    other.hits.append(group.hits[0])
                continue
        kept.append(group)
    return kept


def _preference(candidate: _Candidate) -> tuple[int, str]:
    """GitHub's records first (they are the most worked on), then the rest by id."""
    return (0 if candidate.advisory.id.startswith("GHSA-") else 1, candidate.advisory.id)


@dataclass(frozen=True, slots=True)
class _Beside:
    """What is known beside the records that match: others that share an id, and of their CVEs."""

    related: Mapping[str, tuple[Advisory, ...]]
    facts: Mapping[str, CveFacts]
    knows_exploited: bool


def _beside(groups: Mapping[Subject, list[_Group]], lookup: Lookup) -> _Beside:
    wanted = {id for found in groups.values() for group in found for id in group.identifiers}
    if not wanted:
        return _Beside({}, {}, False)
    cves = [id for id in wanted if id.startswith("CVE-")]
    return _Beside(lookup.related(wanted), lookup.facts(cves), lookup.knows_exploited)


def _match(subject: Subject, group: _Group, beside: _Beside) -> Match:
    identifiers = group.identifiers
    others = [item for id in sorted(identifiers) for item in beside.related.get(id, ())]
    facts = [beside.facts[id] for id in sorted(identifiers) if id in beside.facts]
    assessment = assess(group.rows, others, facts)
    kevs = sorted(item.kev for item in facts if item.kev)
    lead = group.hits[0].advisory
    identity = _identity(group, lead)
    published = [item.advisory.published for item in group.hits if item.advisory.published]
    return Match(
        id=identity,
        aliases=tuple(sorted(identifiers - {identity})),
        severity=assessment.severity,
        severity_source=assessment.source,
        cvss=assessment.cvss,
        fixed_in=_fixed_in(subject, group),
        evidence="; ".join(_evidence(subject, candidate) for candidate in group.hits),
        records=tuple(sorted({candidate.advisory.id for candidate in group.hits})),
        summary=next((c.advisory.summary for c in group.hits if c.advisory.summary), ""),
        url=lead.url,
        published=min(published, default=""),
        epss=max((item.epss for item in facts if item.epss), default=None),
        kev=kevs[0] if kevs else None,
        exploited=bool(kevs) if beside.knows_exploited else None,
    )


def _identity(group: _Group, lead: Advisory) -> str:
    """The CVE where the matched records name exactly one (or, naming none, the records that were
    joined with them do), else the leading record's id."""
    for candidates in (group.hits, group.all):
        named = {id for candidate in candidates for id in candidate.links if id.startswith("CVE-")}
        if len(named) == 1:
            return named.pop()
        if named:
            break
    return lead.id


def _evidence(subject: Subject, candidate: _Candidate) -> str:
    reasons = dict.fromkeys(verdict.because for _, verdict in candidate.hits)
    return (
        f"{candidate.advisory.id}: {subject.ecosystem} {subject.name} {subject.version}"
        f" ({' and '.join(reasons)})"
    )


def _fixed_in(subject: Subject, group: _Group) -> str:
    """The smallest named fix above the installed version that no matched record calls affected.

    Where the records contradict each other and none is left, the smallest one any of them names.
    """
    scheme = scheme_for(subject.ecosystem)
    if scheme is None:
        return ""
    named = {
        version for row in group.rows for version in fixes(row.affected, subject.version, scheme)
    }
    ordered = sorted(named, key=scheme.parse)
    rows = [row for candidate in group.hits for row in candidate.rows]
    for version in ordered:
        if not any(check(row.affected, version, scheme).affected for row in rows):
            return version
    return ordered[0] if ordered else ""


def _ordered(matches: Iterable[Match]) -> tuple[Match, ...]:
    return tuple(sorted(matches, key=lambda match: (-match.severity, match.id)))


def _finding_order(finding: Finding) -> tuple[int, str, str, str, str]:
    package, match = finding.package, finding.match
    return (-match.severity, package.name, match.id, package.purl, package.path)
