"""Findings back from their document, as a Console answers them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from garrison.advisories.facts import Epss, Kev
from garrison.findings import Cvss, Decision, Finding, Match, Severity
from garrison.packages import Inventory, Package


def findings_of(
    documents: Iterable[Mapping[str, Any]], inventory: Inventory
) -> tuple[Finding, ...]:
    """The findings that `finding_document` made, at the packages of `inventory`.

    Raises KeyError, TypeError, ValueError: it is none, or about another image.
    """
    packages = {(package.purl, package.path): package for package in inventory.packages}
    return tuple(_finding(document, packages) for document in documents)


def _finding(document: Mapping[str, Any], packages: Mapping[tuple[str, str], Package]) -> Finding:
    where = document["package"]
    decision = document["decision"]
    return Finding(
        packages[where["purl"], where["path"]],
        Match(
            id=document["id"],
            aliases=tuple(document["aliases"]),
            severity=Severity.parse(document["severity"]),
            severity_source=document["severity_source"] or "",
            cvss=tuple(Cvss(each["vector"], each["score"]) for each in document["cvss"]),
            fixed_in=document["fixed_in"] or "",
            evidence=document["evidence"],
            records=tuple(document["records"]),
            summary=document["summary"],
            url=document["url"],
            published=document["published"] or "",
            exploited=document["kev"],
            epss=_epss(document),
            kev=_kev(document),
        ),
        None if decision is None else _decision(decision),
    )


def _epss(document: Mapping[str, Any]) -> Epss | None:
    score = document["epss"]
    return None if score is None else Epss(score, document["epss_percentile"] or 0.0)


def _kev(document: Mapping[str, Any]) -> Kev | None:
    added = document["kev_added"]
    return Kev(added, document["kev_due"] or "", False, "", "") if added is not None else None


def _decision(document: Mapping[str, Any]) -> Decision:
    return Decision(
        document["kind"],
        document["status"],
        document["justification"] or "",
        document["reason"],
        document["source"],
        document["expires"] or "",
    )
