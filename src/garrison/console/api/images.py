"""`/images`, `/findings` and `/advisories`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Path, Query

from garrison.console import images
from garrison.console.api.common import Anyone, State, Wanted, item_list
from garrison.console.api.models import (
    AdvisoryOut,
    AffectedPackageOut,
    CountsOut,
    CvssOut,
    FindingImageOut,
    FindingOut,
    FindingPackageOut,
    FindingWaiverOut,
    ImageDetailOut,
    ImageOut,
    ImageReportOut,
    ItemList,
    LayerOut,
    OsOut,
    PackageOut,
    SeverityName,
    SkippedFileOut,
    SupportOut,
)
from garrison.database.images import ImageQuery, ImageRow, LayerRow, PackageRow
from garrison.database.matches import AdvisoryRow, AffectedPackage, FindingQuery, FindingRow
from garrison.database.scans import ScanRow
from garrison.findings.finding import Decision, Severity
from garrison.findings.ranking import reasons
from garrison.packages import OperatingSystem, support_of

router = APIRouter(tags=["Images and findings"])
Exploited = Annotated[bool | None, Query(description="Known to be exploited, or known not to be")]
Score = Annotated[float | None, Query(ge=0, le=1, description="EPSS at least")]
Waived = Annotated[bool, Query(description="Only what waivers cover, instead of all else")]
Digest = Annotated[str, Path(max_length=200, examples=["sha256:4f06…"])]


@router.get("/images")
def list_images(
    state: State,
    caller: Anyone,
    page: Wanted,
    search: Annotated[
        str, Query(max_length=200, description="Part of a reference, or a digest's beginning")
    ] = "",
    min_severity: SeverityName | None = None,
    fixable: bool = False,
    exploited: bool = False,
    advisory: Annotated[str, Query(max_length=100, description="Id or alias")] = "",
    package: Annotated[str, Query(max_length=300, description="Exact name")] = "",
    sort: Literal["severity", "reference", "scanned"] = "severity",
) -> ItemList[ImageOut]:
    """Images with their counters."""
    query = ImageQuery(
        limit=page.limit,
        cursor=page.cursor,
        search=search,
        sort=sort,
        min_severity=_severity(min_severity),
        fixable=fixable,
        exploited=exploited,
        advisory=advisory,
        package=package,
    )
    return item_list(images.page(state, query), image_view)


@router.get("/images/{digest}")
def read_image(state: State, caller: Anyone, digest: Digest) -> ImageDetailOut:
    """One image: facts, layers, and whether its findings are complete."""
    return detail_view(images.detail(state, digest))


@router.get("/images/{digest}/packages")
def list_packages(
    state: State, caller: Anyone, digest: Digest, page: Wanted
) -> ItemList[PackageOut]:
    """The packages of an image."""
    return item_list(images.packages(state, digest, page.limit, page.cursor), package_view)


@router.get("/images/{digest}/findings")
def list_image_findings(
    state: State,
    caller: Anyone,
    digest: Digest,
    page: Wanted,
    min_severity: SeverityName | None = None,
    fixable: bool = False,
    kev: Exploited = None,
    min_epss: Score = None,
    waived: Waived = False,
    sort: Literal["severity", "rank"] = "severity",
) -> ItemList[FindingOut]:
    """The findings of an image, worst first; by `rank` exploitation and fixes decide too."""
    image = images.detail(state, digest).image.image
    query = FindingQuery(
        limit=page.limit,
        cursor=page.cursor,
        image_id=image.id,
        min_severity=_severity(min_severity),
        fixable=fixable,
        kev=kev,
        min_epss=min_epss,
        waived=waived,
        ranked=sort == "rank",
    )
    return item_list(images.findings(state, query), finding_view)


@router.get("/findings")
def list_findings(
    state: State,
    caller: Anyone,
    page: Wanted,
    min_severity: SeverityName | None = None,
    package: Annotated[str, Query(max_length=300, description="Exact name")] = "",
    advisory: Annotated[str, Query(max_length=100, description="Id or alias")] = "",
    fixable: bool = False,
    kev: Exploited = None,
    min_epss: Score = None,
    waived: Waived = False,
) -> ItemList[FindingOut]:
    """Findings of all images, worst first."""
    query = FindingQuery(
        limit=page.limit,
        cursor=page.cursor,
        min_severity=_severity(min_severity),
        package=package,
        advisory=advisory,
        fixable=fixable,
        kev=kev,
        min_epss=min_epss,
        waived=waived,
    )
    return item_list(images.findings(state, query), finding_view)


@router.get("/advisories/{advisory_id}")
def read_advisory(
    state: State, caller: Anyone, advisory_id: Annotated[str, Path(max_length=100)]
) -> AdvisoryOut:
    """An advisory, by its id or an alias, and where it applies."""
    return advisory_view(images.advisory(state, advisory_id))


def image_view(row: ImageRow) -> ImageOut:
    """An image in a list."""
    return ImageOut(**_image(row))


def detail_view(view: images.ImageView) -> ImageDetailOut:
    """An image with its layers."""
    detail, row = view.image, view.image.image
    here = f"/api/v1/images/{row.digest}"
    return ImageDetailOut(
        **_image(row),
        references=[each.reference for each in detail.references],
        labels=detail.labels,
        layers=[_layer(each) for each in view.layers],
        ecosystems=list(row.ecosystems),
        missing_ecosystems=list(view.missing_ecosystems),
        unreadable=list(row.unreadable),
        skipped=[SkippedFileOut.model_validate(each) for each in detail.skipped],
        scan_seconds=detail.scan_seconds,
        complete=view.complete,
        warnings=list(view.warnings),
        report=_report(view.report),
        links={"packages": f"{here}/packages", "findings": f"{here}/findings"},
    )


def _report(row: ScanRow | None) -> ImageReportOut | None:
    if row is None:
        return None
    return ImageReportOut(
        scan=row.id, at=row.created_at, by=row.requested_by, labels=dict(row.labels)
    )


def package_view(row: PackageRow) -> PackageOut:
    """A package in an image."""
    return PackageOut.model_validate(row.package)


def finding_view(row: FindingRow) -> FindingOut:
    """A finding: the shape of `garrison scan --format json`, with its image."""
    package, match = row.finding.package, row.finding.match
    return FindingOut(
        id=match.id,
        aliases=list(match.aliases),
        image=FindingImageOut(digest=row.image_digest, reference=row.reference),
        package=FindingPackageOut.model_validate(package),
        severity=_word(match.severity),
        severity_source=match.severity_source,
        cvss=[CvssOut.model_validate(each) for each in match.cvss],
        fixed_in=match.fixed_in or None,
        layer=package.layer,
        diff_id=package.diff_id,
        evidence=match.evidence,
        records=list(match.records),
        epss=match.epss.score if match.epss else None,
        epss_percentile=match.epss.percentile if match.epss else None,
        kev=match.exploited,
        kev_added=(match.kev.added or None) if match.kev else None,
        kev_due=(match.kev.due or None) if match.kev else None,
        rank=list(reasons(match)),
        waiver=_waiver(row.finding.decision),
        url=match.url,
        summary=match.summary,
        published=match.published,
    )


def _waiver(decision: Decision | None) -> FindingWaiverOut | None:
    if decision is None:
        return None
    return FindingWaiverOut(id=decision.source, reason=decision.reason, expires_at=decision.expires)


def advisory_view(view: images.AdvisoryView) -> AdvisoryOut:
    """An advisory: as published, and what of the fleet it hits."""
    record, fleet = view.record, view.fleet
    return AdvisoryOut(
        id=fleet.id if fleet else record.id if record else "",
        aliases=list(fleet.aliases if fleet else record.aliases if record else ()),
        severity=_word(fleet.severity if fleet else Severity.UNKNOWN),
        severity_source=fleet.severity_source if fleet else "",
        cvss=[CvssOut.model_validate(each) for each in fleet.cvss] if fleet else [],
        summary=(record.summary if record else "") or (fleet.summary if fleet else ""),
        details=record.details if record else "",
        published=(record.published if record else "") or (fleet.published if fleet else ""),
        url=(fleet.url if fleet else "") or (record.url if record else ""),
        records=list(fleet.records) if fleet else [record.id] if record else [],
        packages=_affected(fleet),
        images=fleet.images if fleet else 0,
    )


def _affected(fleet: AdvisoryRow | None) -> list[AffectedPackageOut]:
    return [_affected_package(each) for each in fleet.packages] if fleet else []


def _affected_package(each: AffectedPackage) -> AffectedPackageOut:
    return AffectedPackageOut(
        type=each.package.type,
        name=each.package.name,
        version=each.package.version,
        purl=each.package.purl,
        fixed_in=each.fixed_in or None,
        images=each.images,
    )


def _image(row: ImageRow) -> dict[str, Any]:
    return {
        "digest": row.digest,
        "reference": row.reference,
        "platform": row.platform,
        "os": _os(row.os) if row.os else None,
        "packages": row.packages,
        "findings": CountsOut.model_validate(row.counts),
        "fixable": row.counts.fixable,
        "exploited": row.counts.exploited,
        "waived": row.counts.waived,
        "pending": row.pending,
        "size": row.size,
        "first_seen": row.first_seen,
        "scanned_at": row.scanned_at,
    }


def _os(os: OperatingSystem) -> OsOut:
    support = support_of(os, datetime.now(UTC).date())
    return OsOut(
        id=os.id,
        version_id=os.version_id,
        pretty_name=os.pretty_name,
        codename=os.codename,
        support=SupportOut.model_validate(support),
    )


def _layer(row: LayerRow) -> LayerOut:
    layer = row.layer
    return LayerOut(
        digest=layer.digest,
        diff_id=layer.diff_id,
        size=layer.size,
        created_by=layer.created_by,
        packages=row.packages,
    )


def _severity(name: SeverityName | None) -> Severity | None:
    return Severity.parse(name) if name else None


def _word(severity: Severity) -> SeverityName:
    return cast(SeverityName, severity.label)
