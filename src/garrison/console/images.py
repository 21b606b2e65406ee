"""Images, what is in them and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from garrison.advisories import Advisory
from garrison.console.problems import NotFoundError
from garrison.console.state import AppState
from garrison.database import images as rows
from garrison.database import matches, scans
from garrison.database.images import ImageDetail, ImageQuery, ImageRow, LayerRow, PackageRow
from garrison.database.matches import AdvisoryRow, FindingQuery, FindingRow
from garrison.database.page import Page
from garrison.database.scans import ScanRow


@dataclass(frozen=True, slots=True)
class ImageView:
    """One image, and whether an empty list of findings would mean anything.

    missing_ecosystems: of packages in it, without advisories loaded. warnings: sentences to show
    above the findings; with any, the image is never called clean. report: the newest scan that a
    build did and reported, if any.
    """

    image: ImageDetail
    layers: tuple[LayerRow, ...]
    missing_ecosystems: tuple[str, ...]
    warnings: tuple[str, ...]
    report: ScanRow | None = None

    @property
    def complete(self) -> bool:
        return not self.warnings


@dataclass(frozen=True, slots=True)
class AdvisoryView:
    """An advisory. fleet: what the fleet's matches say, None where no package matches.

    record: as published, None where it is not loaded (any more).
    """

    fleet: AdvisoryRow | None
    record: Advisory | None


def page(state: AppState, query: ImageQuery) -> Page[ImageRow]:
    """Images with their counters."""
    with state.db.read() as c:
        return rows.page(c, query)


def detail(state: AppState, digest: str) -> ImageView:
    """One image with its layers. Raises NotFoundError."""
    with state.db.read() as c:
        found = rows.by_digest(c, digest)
        layers = rows.layers(c, found.image.id) if found else ()
        report = scans.last_report(c, found.image.id) if found else None
    if found is None:
        raise NotFoundError(f"there is no image {digest}", "Scan it: it may never have been.")
    covered = _covered(state, found.image)
    return ImageView(
        found, layers, found.image.missing(covered), found.image.warnings(covered), report
    )


def warnings(state: AppState, image: ImageRow) -> tuple[str, ...]:
    """Why the counters of an image in a list are not the whole truth; empty when they are."""
    return image.warnings(_covered(state, image))


def packages(
    state: AppState,
    digest: str,
    limit: int = 200,
    cursor: str | None = None,
    *,
    search: str = "",
) -> Page[PackageRow]:
    """The packages of an image. Raises NotFoundError."""
    with state.db.read() as c:
        found = rows.by_digest(c, digest)
        if found is None:
            raise NotFoundError(f"there is no image {digest}")
        return rows.packages(c, found.image.id, limit, cursor, search=search)


def findings(state: AppState, query: FindingQuery) -> Page[FindingRow]:
    """Findings of one image or of all, worst first."""
    with state.db.read() as c:
        return matches.findings(c, query)


def advisory(state: AppState, advisory_id: str) -> AdvisoryView:
    """What is known of an advisory, by its id or an alias. Raises NotFoundError."""
    with state.db.read() as c:
        fleet = matches.advisory(c, advisory_id)
    store = state.intel.store()
    record = store.advisory(advisory_id) if store else None
    if record is None and store is not None and fleet is not None:
        record = next((r for name in fleet.records if (r := store.advisory(name))), None)
    if fleet is None and record is None:
        raise NotFoundError(
            f"no advisory {advisory_id} is loaded", "Update the Intelligence Stream."
        )
    return AdvisoryView(fleet, record)


def _covered(state: AppState, image: ImageRow) -> frozenset[str]:
    """Those ecosystems of the image that something is known about."""
    store = state.intel.store()
    if store is None:
        return frozenset()
    return frozenset(name for name in image.ecosystems if store.covers(name))
