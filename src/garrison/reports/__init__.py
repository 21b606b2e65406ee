"""A scan report as people and programs read it."""

from garrison.reports.document import (
    as_document,
    finding_document,
    package_document,
    packages_document,
)
from garrison.reports.read import findings_of
from garrison.reports.render import (
    FORMATS,
    PACKAGE_FORMATS,
    Format,
    PackageFormat,
    render,
    render_packages,
)
from garrison.reports.summary import summarize, summary_line

__all__ = [
    "FORMATS",
    "PACKAGE_FORMATS",
    "Format",
    "PackageFormat",
    "as_document",
    "finding_document",
    "findings_of",
    "package_document",
    "packages_document",
    "render",
    "render_packages",
    "summarize",
    "summary_line",
]
