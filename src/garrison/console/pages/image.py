"""/images/{digest}: what is wrong in an image, where it comes from, and what removes most of it."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cmp_to_key, partial
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import images as operations
from garrison.console import scans
from garrison.console.accounts import OPERATORS
from garrison.console.pages import text
from garrison.console.pages.images import WORST_FIRST, severity_of, system
from garrison.console.pages.text import ImageName
from garrison.console.pages.view import Choice, Crumb, choices, crumbs, link, segment
from garrison.console.pages.visit import Visit, page
from garrison.console.pages.waivers import last_day
from garrison.findings import Match, Severity, full_name
from garrison.findings.ranking import percent, reasons
from garrison.packages import support_of, support_sentence
from garrison.packages.versions import SCHEMES

if TYPE_CHECKING:
    from garrison.console.images import ImageView
    from garrison.database.images import LayerRow
    from garrison.findings.finding import Finding
    from garrison.packages import Package, Skipped

PATH = "/images"
GROUPS = (("fix", "Fix"), ("package", "Package"), ("layer", "Layer"), ("none", "None"))
FINDINGS_LIMIT = 20_000
PAGE = 100
SHOWN = 10
ROW = 36.0
_EVIDENCE = re.compile(r"^(?P<record>\S+): \S+ \S+ \S+ \((?P<rule>.*)\)$")
_SCHEMES = {
    "deb": "dpkg",
    "apk": "apk",
    "rpm": "rpm",
    "pypi": "pep440",
    "npm": "semver",
    "golang": "semver",
    "cargo": "semver",
    "gem": "gem",
    "maven": "maven",
}
_MANAGERS = {"deb": "apt", "apk": "apk", "rpm": "rpm", "pypi": "pip", "npm": "npm", "gem": "gem"}


@dataclass(frozen=True, slots=True)
class Line:
    """One finding. layer: its number, 1 is the oldest; 0 where it is not known.

    exploited: what is known of it, empty where nothing is. rank: why it stands where it does.
    waive: address to waive it. waived: the reason of the waiver that covers it, whose page is
    waiver.
    """

    advisory: str
    href: str
    severity: Severity
    summary: str
    score: float | None
    package: str
    installed: str
    fixed_in: str
    layer: int
    path: str
    because: str
    evidence: str
    severity_source: str
    exploited: str = ""
    epss: str = ""
    epss_note: str = ""
    rank: str = ""
    waive: str = ""
    waived: str = ""
    waived_until: str = ""
    waiver: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Findings that belong together: by the change that removes them, a package or a layer.

    fixed_in: the version that removes all that can be removed; empty where nothing does.
    several: its lines are about different packages.
    more: address of all, where only the first are shown.
    """

    title: str
    verb: str
    installed: str
    fixed_in: str
    where: str
    lines: tuple[Line, ...]
    counts: tuple[tuple[Severity, int], ...]
    total: int
    several: bool = False
    more: str = ""


@dataclass(frozen=True, slots=True)
class LayerLine:
    """One layer, newest first as they lie. y, height: its slice of the core sample."""

    number: int
    step: str
    full_step: str
    digest: str
    size: int
    packages: int
    counts: tuple[tuple[Severity, int], ...]
    worst: str
    href: str
    chosen: bool
    y: float
    height: float
    middle: float


@dataclass(frozen=True, slots=True)
class PackageLine:
    name: str
    version: str
    kind: str
    path: str
    position: str
    layer: int
    layer_href: str
    source: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What every tab of an image shows.

    reported_by, reported_at: the build that last reported it; labels: what it says of itself.
    support, support_label: what to know of the release's updates, as a sentence and in a few
        words; empty where all is well. support_over: they have ended for everyone.
    """

    crumbs: tuple[Crumb, ...]
    name: ImageName
    digest: str
    platform: str
    system: str
    size: int
    packages: int
    counts: tuple[tuple[Severity, int], ...]
    total: int
    fixable: int
    exploited: int
    waived: int
    scanned_at: datetime
    seconds: float
    other_names: tuple[str, ...]
    moved_at: datetime | None
    warnings: tuple[str, ...]
    missing: tuple[str, ...]
    tabs: tuple[Choice, ...]
    again: str
    support: str
    support_label: str
    support_over: bool
    reported_by: str = ""
    reported_at: datetime | None = None
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ImagePage:
    """The findings tab.

    groups: where the findings are grouped; lines: where they are not. shown: findings left by the
    filters. height: of the core sample.
    """

    facts: Facts
    layers: tuple[LayerLine, ...]
    height: float
    groups: tuple[Group, ...]
    unfixed: Group | None
    lines: tuple[Line, ...]
    shown: int
    total: int
    fixes: int
    removable: int
    group_by: tuple[Choice, ...]
    severities: tuple[Choice, ...]
    group: str
    query: str
    fixable: bool
    exploited: bool
    waived: bool
    waived_href: str
    layer: int
    package: str
    narrowed: bool
    everything: str
    next_page: str
    first_page: str
    cut: bool


@dataclass(frozen=True, slots=True)
class PackagesPage:
    facts: Facts
    packages: tuple[PackageLine, ...]
    query: str
    action: str
    first_page: str
    next_page: str


@dataclass(frozen=True, slots=True)
class SkippedLine:
    path: str
    layer: int
    reason: str
    code: str


@dataclass(frozen=True, slots=True)
class SkippedPage:
    facts: Facts
    skipped: tuple[SkippedLine, ...]


def routes() -> list[Route]:
    return [
        page(f"{PATH}/{{digest}}", show),
        page(f"{PATH}/{{digest}}/packages", show_packages),
        page(f"{PATH}/{{digest}}/skipped", show_skipped),
    ]


def show(visit: Visit) -> Response:
    """The findings, grouped and narrowed as the address says."""
    view = operations.detail(visit.state, visit.path("digest"))
    waived = bool(visit.query.get("waived", ""))
    findings, cut = _findings(visit, view.image.image.id, waived=waived)
    context = findings_page(
        visit.query,
        view,
        findings,
        cut=cut,
        facts=_facts(visit, view, "findings"),
        may_waive=visit.may(*OPERATORS),
    )
    return visit.page("image.html", context, title=str(context.facts.name), here="images")


def findings_page(
    query: Mapping[str, str],
    view: ImageView,
    findings: Sequence[Finding],
    *,
    cut: bool,
    facts: Facts,
    may_waive: bool = False,
) -> ImagePage:
    """The context of the findings tab."""
    address = _Address.read(view.image.image.digest, query)
    numbers = layer_numbers(view.layers)
    chosen = [
        f
        for f in findings
        if (address.severity is None or f.match.severity >= address.severity)
        and (not address.fixable or f.match.fixed_in)
        and (not address.exploited or f.match.exploited)
        and (not address.layer or layer_of(f.package, numbers) == address.layer)
        and (not address.package or address.package in {f.package.name, f.package.source})
        and (not address.query or _contains(f, address.query))
    ]
    reference = view.image.image.reference if may_waive and not address.waived else ""
    make = partial(line, numbers=numbers, reference=reference)
    grouped = group(chosen, address, make)
    unfixed = next((g for g in grouped if address.group == "fix" and not g.fixed_in), None)
    fixes = [g for g in grouped if g is not unfixed]
    start = address.start if address.group == "none" else 0
    flat = [make(f) for f in chosen[start : start + PAGE]] if address.group == "none" else []
    slices = layer_lines(view.layers, findings, numbers, address)
    return ImagePage(
        facts=facts,
        layers=slices,
        height=ROW * len(slices),
        groups=tuple(fixes),
        unfixed=unfixed,
        lines=tuple(flat),
        shown=len(chosen),
        total=len(findings),
        fixes=len(fixes),
        removable=sum(g.total for g in fixes),
        group_by=tuple(
            Choice(key, name, key == address.group, href=address.link(group=key, start=0))
            for key, name in GROUPS
        ),
        severities=choices(
            (
                ("", "Any severity"),
                ("critical", "Critical"),
                ("high", "High and above"),
                ("medium", "Medium and above"),
                ("low", "Low and above"),
            ),
            address.severity.label if address.severity is not None else "",
        ),
        group=address.group,
        query=address.query,
        fixable=address.fixable,
        exploited=address.exploited,
        waived=address.waived,
        waived_href=_Address(address.digest, group="none", waived=True).link(),
        layer=address.layer,
        package=address.package,
        narrowed=address.narrowed,
        everything=_Address(address.digest, address.group, waived=address.waived).link(),
        next_page=address.link(start=start + PAGE)
        if address.group == "none" and start + PAGE < len(chosen)
        else "",
        first_page=address.link(start=0) if start else "",
        cut=cut,
    )


def show_packages(visit: Visit) -> Response:
    """What is installed."""
    view = operations.detail(visit.state, visit.path("digest"))
    numbers = layer_numbers(view.layers)
    words, cursor = visit.query.get("q", "").strip(), visit.query.get("cursor") or None
    digest = view.image.image.digest
    found = operations.packages(visit.state, digest, PAGE, cursor, search=words)
    here = f"{PATH}/{segment(digest)}/packages"
    context = PackagesPage(
        facts=_facts(visit, view, "packages"),
        packages=tuple(package_line(row.package, numbers, digest) for row in found.items),
        query=words,
        action=here,
        first_page=link(here, q=words) if cursor else "",
        next_page=link(here, q=words, cursor=found.next_cursor) if found.next_cursor else "",
    )
    return visit.page("image-packages.html", context, title=str(context.facts.name), here="images")


def show_skipped(visit: Visit) -> Response:
    """Files that could not be read."""
    view = operations.detail(visit.state, visit.path("digest"))
    numbers = layer_numbers(view.layers)
    context = SkippedPage(
        facts=_facts(visit, view, "skipped"),
        skipped=tuple(skipped_line(item, numbers) for item in view.image.skipped),
    )
    return visit.page("image-skipped.html", context, title=str(context.facts.name), here="images")


@dataclass(frozen=True, slots=True)
class _Address:
    """What the address of the findings tab says."""

    digest: str
    group: str = "fix"
    severity: Severity | None = None
    fixable: bool = False
    exploited: bool = False
    waived: bool = False
    layer: int = 0
    package: str = ""
    query: str = ""
    start: int = 0

    @classmethod
    def read(cls, digest: str, query: Mapping[str, str]) -> _Address:
        get = query.get
        chosen, layer, start = get("group", ""), get("layer", ""), get("from", "")
        return cls(
            digest,
            group=chosen if chosen in dict(GROUPS) else "fix",
            severity=severity_of(get("severity", "")),
            fixable=bool(get("fixable", "")),
            exploited=bool(get("exploited", "")),
            waived=bool(get("waived", "")),
            layer=int(layer) if layer.isdecimal() else 0,
            package=get("package", "").strip(),
            query=get("q", "").strip(),
            start=int(start) if start.isdecimal() else 0,
        )

    @property
    def narrowed(self) -> bool:
        return bool(
            self.severity is not None
            or self.fixable
            or self.exploited
            or self.layer
            or self.package
            or self.query
        )

    def link(self, **changes: object) -> str:
        values: dict[str, object] = {
            "group": self.group,
            "severity": self.severity.label if self.severity is not None else "",
            "fixable": "1" if self.fixable else "",
            "exploited": "1" if self.exploited else "",
            "waived": "1" if self.waived else "",
            "layer": self.layer or "",
            "package": self.package,
            "q": self.query,
            "start": self.start or "",
            **changes,
        }
        values["from"] = values.pop("start") or ""
        if values["group"] == "fix":
            values["group"] = ""
        return link(f"{PATH}/{segment(self.digest)}", **values)


def line(finding: Finding, numbers: dict[str, int], reference: str = "") -> Line:
    """One finding in the words of the page; reference: of the image, where it may be waived."""
    package, match, decision = finding.package, finding.match, finding.decision
    name = package.source or full_name(package)
    waive = link("/manage/waivers/new", advisory=match.id, package=name, image=reference)
    return Line(
        advisory=match.id,
        href=f"/advisories/{segment(match.id)}",
        severity=match.severity,
        summary=match.summary,
        score=max((c.score for c in match.cvss), default=None),
        package=full_name(package),
        installed=package.version,
        fixed_in=match.fixed_in,
        layer=layer_of(package, numbers),
        # One database of the distribution holds all its packages: its path says nothing.
        path="" if package.source else package.path,
        because=because(match.evidence, match.id),
        evidence=match.evidence,
        severity_source=match.severity_source,
        exploited=_exploited(match),
        epss=percent(match.epss.score) if match.epss else "",
        epss_note=f"Higher than {percent(match.epss.percentile)} of all" if match.epss else "",
        rank=text.sentence(", ".join(reasons(match))),
        waive=waive if reference else "",
        waived=decision.reason if decision else "",
        waived_until=last_day(datetime.fromisoformat(decision.expires)) if decision else "",
        waiver=f"/manage/waivers/{segment(decision.source)}" if decision else "",
    )


def _exploited(match: Match) -> str:
    """What the catalogue of exploited vulnerabilities says, as a sentence."""
    if not match.exploited:
        return ""
    said = ["Known to be exploited"]
    if match.kev is not None and match.kev.added:
        said.append(f"in CISA's catalogue since {match.kev.added}")
    if match.kev is not None and match.kev.ransomware:
        said.append("used for ransomware")
    return ", ".join(said) + "."


def because(evidence: str, advisory: str) -> str:
    """The rule that matched, in short: `< 3.0.18-1`; the record too where its name is another.

    What is not understood stays as it is; the whole text stands on hover.
    """
    said = []
    for part in evidence.split("; "):
        found = _EVIDENCE.match(part)
        if found is None:
            said.append(part)
            continue
        record, rule = found["record"], found["rule"]
        rule = re.sub(r"^introduced 0, fixed ", "< ", rule)
        rule = re.sub(r"^introduced 0, last affected ", "≤ ", rule)
        rule = re.sub(r"^introduced 0, no fix named$", "every version", rule)
        rule = re.sub(r"^introduced (\S+), fixed ", r"≥ \1, < ", rule)
        rule = re.sub(r"^introduced (\S+), last affected ", r"≥ \1, ≤ ", rule)
        rule = re.sub(r"^introduced (\S+), no fix named$", r"≥ \1", rule)
        said.append(rule if record == advisory else f"{record}: {rule}")
    return "; ".join(dict.fromkeys(said))


def merged(lines: Iterable[Line]) -> list[Line]:
    """Lines that differ in the package's name alone become one, naming all of them."""
    together: dict[tuple[object, ...], list[Line]] = {}
    for item in lines:
        key = (item.advisory, item.installed, item.fixed_in, item.layer, item.path, item.because)
        together.setdefault(key, []).append(item)
    return [
        replace(same[0], package=text.words(sorted({item.package for item in same})))
        for same in together.values()
    ]


def group(
    findings: Sequence[Finding], address: _Address, make: Callable[[Finding], Line]
) -> list[Group]:
    """Findings put together as the address says; what removes most and worst comes first."""
    if address.group == "none":
        return []
    key = {"fix": _fix_key, "package": _package_key, "layer": _layer_key}
    parts: dict[tuple[str, ...], list[Finding]] = defaultdict(list)
    for finding in findings:
        parts[key[address.group](finding)].append(finding)
    groups = [_group(part, address, make) for part in parts.values()]
    return sorted(groups, key=_rank)


def _group(part: list[Finding], address: _Address, make: Callable[[Finding], Line]) -> Group:
    first = part[0].package
    fixed = (
        highest(first.type, (f.match.fixed_in for f in part)) if address.group != "layer" else ""
    )
    lines = merged(make(f) for f in part)
    number = lines[0].layer
    counts = count(f.match.severity for f in part)
    manager = _MANAGERS.get(first.type, first.type)
    where = f"by {manager}, layer {number}" if number else f"by {manager}"
    title, verb, installed = upgrade_name(part), "Upgrade", version_of(first)
    more = address.link(group="none", package=first.source or first.name)
    if address.group == "layer":
        title, verb, installed, where = f"Layer {number}" if number else "No layer", "", "", ""
        more = address.link(group="none", layer=number)
    elif address.group == "package":
        title, verb = full_name(first), ""
    elif not fixed:
        title, verb, installed, where = "No fix yet", "", "", ""
        more = address.link(group="none")
    return Group(
        title=title,
        verb=verb,
        installed=installed,
        fixed_in=fixed,
        where=where,
        lines=tuple(lines[:SHOWN]),
        counts=counts,
        total=len(part),
        several=len({item.package for item in lines}) > 1,
        more=more if len(lines) > SHOWN else "",
    )


def _fix_key(finding: Finding) -> tuple[str, ...]:
    package = finding.package
    if not finding.match.fixed_in:
        return ()
    # One upgrade of a source package moves all packages built from it.
    return (package.type, package.source or package.name, version_of(package))


def _package_key(finding: Finding) -> tuple[str, ...]:
    return (finding.package.purl, finding.package.path if not finding.package.source else "")


def _layer_key(finding: Finding) -> tuple[str, ...]:
    return (finding.package.layer or finding.package.diff_id,)


def _rank(item: Group) -> tuple[float, ...]:
    return (*(-n for _, n in item.counts), -item.total)


def upgrade_name(part: Sequence[Finding]) -> str:
    """What to upgrade: the source package, or the packages where they are few."""
    names = sorted({f.package.name for f in part})
    first = part[0].package
    if not first.source or first.source in names or len(names) > 3:
        return first.source or full_name(first)
    return text.words(names)


def version_of(package: Package) -> str:
    return package.source_version or package.version


def highest(kind: str, versions: Iterable[str]) -> str:
    """The version that fixes all of these; empty where there is none."""
    given = sorted({v for v in versions if v})
    if not given:
        return ""
    scheme = SCHEMES.get(_SCHEMES.get(kind, ""))
    return max(given, key=cmp_to_key(scheme.compare)) if scheme else given[-1]


def count(severities: Iterable[Severity]) -> tuple[tuple[Severity, int], ...]:
    """Pairs for the severity marks, worst first."""
    counted = Counter(severities)
    return tuple((severity, counted[severity]) for severity in WORST_FIRST)


def layer_numbers(rows: Sequence[LayerRow]) -> dict[str, int]:
    """Layer number by digest and diff id; 1 is the oldest."""
    numbers: dict[str, int] = {}
    for row in rows:
        for name in (row.layer.digest, row.layer.diff_id):
            if name:
                numbers.setdefault(name, row.position + 1)
    return numbers


def layer_of(package: Package, numbers: dict[str, int]) -> int:
    return numbers.get(package.layer) or numbers.get(package.diff_id) or 0


def layer_lines(
    rows: Sequence[LayerRow],
    findings: Sequence[Finding],
    numbers: dict[str, int],
    address: _Address,
) -> tuple[LayerLine, ...]:
    """The layers as a core sample: height by size, the newest on top."""
    by_layer: dict[int, list[Severity]] = defaultdict(list)
    for finding in findings:
        by_layer[layer_of(finding.package, numbers)].append(finding.match.severity)
    newest_first = sorted(rows, key=lambda row: row.position, reverse=True)
    heights = slice_heights([row.layer.size for row in newest_first])
    lines, y = [], 2.0
    for place, (row, height) in enumerate(zip(newest_first, heights, strict=True)):
        number = row.position + 1
        severities = by_layer[number]
        chosen = address.layer == number
        lines.append(
            LayerLine(
                number=number,
                step=build_step(row.layer.created_by)
                or text.digest(row.layer.digest or row.layer.diff_id),
                full_step=row.layer.created_by,
                digest=row.layer.digest or row.layer.diff_id,
                size=row.layer.size,
                packages=row.packages,
                counts=count(severities),
                worst=text.severity(max(severities))[1] if severities else "",
                href=address.link(layer="" if chosen else number, start=0) if severities else "",
                chosen=chosen,
                y=round(y, 1),
                height=round(height, 1),
                middle=round(ROW * place + ROW / 2, 1),
            )
        )
        y += height + 2.0
    return tuple(lines)


def slice_heights(sizes: Sequence[int]) -> list[float]:
    """Heights that fill the rows beside them: in proportion to size, none too thin to see."""
    if not sizes:
        return []
    least, room = 5.0, ROW * len(sizes) - 2.0 - 2.0 * len(sizes)
    spare = room - least * len(sizes)
    whole = sum(sizes)
    return [least + (spare * size / whole if whole else spare / len(sizes)) for size in sizes]


def build_step(created_by: str) -> str:
    """A history entry as the Dockerfile line it came from, without the shell around it."""
    step = re.sub(r"\s+", " ", created_by).strip()
    step = re.sub(r"\s*# buildkit$", "", step)
    step = re.sub(r"^(?:RUN )?\|\d+ (?:[\w.]+=\S* )*/bin/sh -c ", "RUN ", step)
    if plain := re.match(r"^/bin/sh -c #\(nop\)\s*(.*)$", step):
        return re.sub(r"^(ADD|COPY) (?:file|dir|multi):\w{12}\w* in", r"\1 … in", plain.group(1))
    return re.sub(r"^(?:RUN )?/bin/sh -c ", "RUN ", step)


def package_line(package: Package, numbers: dict[str, int], digest: str) -> PackageLine:
    """One installed package in the words of the page."""
    number = layer_of(package, numbers)
    owner = f"owned by {package.owner}" if package.owner else package.position
    return PackageLine(
        name=full_name(package),
        version=package.version,
        kind=package.type,
        path=package.path,
        position="" if package.position == "installed" else owner,
        layer=number,
        layer_href=_Address(digest, layer=number).link() if number else "",
        source=package.source if package.source != package.name else "",
    )


def skipped_line(item: Skipped, numbers: dict[str, int]) -> SkippedLine:
    return SkippedLine(item.path, numbers.get(item.layer, 0), text.sentence(item.reason), item.code)


def _contains(finding: Finding, words: str) -> bool:
    wanted = words.lower()
    package, match = finding.package, finding.match
    return any(
        wanted in value.lower()
        for value in (match.id, *match.aliases, package.name, package.source, match.summary)
    )


def _findings(visit: Visit, image_id: int, *, waived: bool) -> tuple[list[Finding], bool]:
    """All findings of the image, ranked; True when there are more than a page can hold.

    waived: those that waivers cover, instead of the others.
    """
    from garrison.database.matches import FindingQuery

    found: list[Finding] = []
    cursor: str | None = None
    while len(found) < FINDINGS_LIMIT:
        query = FindingQuery(
            image_id=image_id, waived=waived, ranked=True, limit=1000, cursor=cursor
        )
        part = operations.findings(visit.state, query)
        found += [row.finding for row in part.items]
        cursor = part.next_cursor
        if cursor is None:
            return found, False
    return found, True


def _facts(visit: Visit, view: ImageView, tab: str) -> Facts:
    image = view.image.image
    here = f"{PATH}/{segment(image.digest)}"
    name = text.image_name(image.reference or image.digest)
    others = tuple(r.reference for r in view.image.references if r.reference != image.reference)
    current = [r for r in view.image.references if r.reference == image.reference]
    tabs = [
        Choice("findings", "Findings", tab == "findings", image.counts.total, here),
        Choice("packages", "Packages", tab == "packages", image.packages, f"{here}/packages"),
    ]
    if view.image.skipped:
        tabs.append(
            Choice(
                "skipped",
                "Skipped files",
                tab == "skipped",
                len(view.image.skipped),
                f"{here}/skipped",
            )
        )
    support = support_of(image.os, visit.now.date()) if image.os else None
    return Facts(
        crumbs=crumbs(("Images", PATH), str(name)),
        name=name,
        digest=image.digest,
        platform=image.platform,
        system=system(image),
        size=image.size,
        packages=image.packages,
        counts=tuple((s, image.counts.of(s)) for s in WORST_FIRST),
        total=image.counts.total,
        fixable=image.counts.fixable,
        exploited=image.counts.exploited,
        waived=image.counts.waived,
        scanned_at=image.scanned_at,
        seconds=view.image.scan_seconds,
        other_names=others,
        moved_at=current[0].moved_at if current else None,
        warnings=view.warnings,
        missing=view.missing_ecosystems,
        tabs=tuple(tabs),
        again=link("/scans/new", reference=image.reference, platform=image.platform)
        if visit.may(*OPERATORS) and scans.can_be_asked_for(image.reference)
        else "",
        support=support_sentence(image.os, support) if image.os and support else "",
        support_label=support.label if support else "",
        support_over=support is not None and support.over,
        reported_by=view.report.requested_by if view.report else "",
        reported_at=view.report.created_at if view.report else None,
        labels=tuple(sorted(view.report.labels.items())) if view.report else (),
    )
