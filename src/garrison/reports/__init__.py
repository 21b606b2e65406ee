"""A scan report as people and programs read it."""

from garrison.reports.document import as_document, finding_document, package_document
from garrison.reports.render import FORMATS, Format, render
from garrison.reports.summary import summarize, summary_line

__all__ = [
    "FORMATS",
    "Format",
    "as_document",
    "finding_document",
    "package_document",
    "render",
    "summarize",
    "summary_line",
]
