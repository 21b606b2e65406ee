"""`/images`, `/findings` and `/advisories`."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import quote

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
    ImageDetailOut,
    ImageOut,
    ItemList,
    LayerOut,
    OsOut,
    PackageOut,
    SeverityName,
    SkippedFileOut,
)
from garrison.database.images import Counters, ImageQuery, ImageRow, LayerRow, PackageRow
from garrison.database.matches import FindingQuery, FindingRow
from garrison.findings.finding import Severity

router = APIRouter(tags=["Images and findings"])
Digest = Annotated[str, Path(max_length=200, examples=["sha256:4f06…"])]


@router.get("/images")
def list_images(
    state: State,
    caller: Anyone,
    page: Wanted,
    search: Annotated[str | None, Query(max_length=200, description="Part of a name")] = None,
    min_severity: SeverityName | None = None,
    sort: Literal["severity", "scanned", "name"] = "severity",
) -> ItemList[ImageOut]:
    """Images with their counters."""
    query = ImageQuery(
        limit=page.limit,
        cursor=page.cursor,
        search=search or "",
        min_severity=Severity.parse(min_severity) if min_severity else None,
        sort=sort,
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
) -> ItemList[FindingOut]:
    """The findings of an image, worst first."""
    image = images.detail(state, digest).image
    query = FindingQuery(
        limit=page.limit,
        cursor=page.cursor,
        image_id=image.row.id,
        min_severity=Severity.parse(min_severity) if min_severity else None,
    )
    return item_list(images.findings(state, query), finding_view)


@router.get("/findings")
def list_findings(
    state: State,
    caller: Anyone,
    page: Wanted,
    min_severity: SeverityName | None = None,
    package: Annotated[str | None, Query(max_length=300)] = None,
    advisory: Annotated[str | None, Query(max_length=100)] = None,
) -> ItemList[FindingOut]:
    """Findings of all images, worst first."""
    query = FindingQuery(
        limit=page.limit,
        cursor=page.cursor,
        min_severity=Severity.parse(min_severity) if min_severity else None,
        package=package or "",
        advisory=advisory or "",
    )
    return item_list(images.findings(state, query), finding_view)


@router.get("/advisories/{advisory_id}")
def read_advisory(
    state: State, caller: Anyone, advisory_id: Annotated[str, Path(max_length=100)]
) -> AdvisoryOut:
    """An advisory, by its id or an alias, and where it applies."""
    return advisory_view(images.advisory(state, advisory_id))
