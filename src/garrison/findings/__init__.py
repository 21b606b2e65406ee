"""What is wrong in an image: packages matched with advisories, with evidence.

`match_inventory` judges an image, `match_packages` any packages; both are pure over `Lookup`.
"""

from garrison.findings.finding import Cvss, Decision, Finding, Match, ScanReport, Severity
from garrison.findings.match import (
    Lookup,
    Matching,
    Subject,
    full_name,
    match_inventory,
    match_package,
    match_packages,
    subject_of,
)

__all__ = [
    "Cvss",
    "Decision",
    "Finding",
    "Lookup",
    "Match",
    "Matching",
    "ScanReport",
    "Severity",
    "Subject",
    "full_name",
    "match_inventory",
    "match_package",
    "match_packages",
    "subject_of",
]
