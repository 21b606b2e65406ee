"""Images, what is in them and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from garrison.console.state import AppState

if TYPE_CHECKING:
    from garrison.database.images import ImageDetail, ImageQuery, ImageRow, PackageRow
    from garrison.database.matches import AdvisoryDetail, FindingQuery, FindingRow
    from garrison.database.page import Page


@dataclass(frozen=True, slots=True)
class ImageView:
    """One image, and whether an empty list of findings would mean anything.

    missing_ecosystems: of packages in it, without advisories loaded. warnings: sentences to show
    above the findings; with any, the image is never called clean.
    """

    image: ImageDetail
    missing_ecosystems: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def complete(self) -> bool:
        return not self.warnings


def page(state: AppState, query: ImageQuery) -> Page[ImageRow]:
    """Images with their counters."""
    raise NotImplementedError


def detail(state: AppState, digest: str) -> ImageView:
    """One image with its layers. Raises NotFoundError."""
    raise NotImplementedError


def packages(
    state: AppState, digest: str, limit: int = 200, cursor: str | None = None
) -> Page[PackageRow]:
    """The packages of an image. Raises NotFoundError."""
    raise NotImplementedError


def findings(state: AppState, query: FindingQuery) -> Page[FindingRow]:
    """Findings of one image or of all, worst first."""
    raise NotImplementedError


def advisory(state: AppState, advisory_id: str) -> AdvisoryDetail:
    """What is known of an advisory, and which images it is in. Raises NotFoundError."""
    raise NotImplementedError
