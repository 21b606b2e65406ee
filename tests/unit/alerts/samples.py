"""Findings for tests of alerts."""

from __future__ import annotations

from datetime import UTC, datetime

from garrison.alerts import AlertImage
from garrison.findings.finding import Cvss, Finding, Match, Severity
from garrison.packages import Package

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
IMAGE = AlertImage(
    "registry.test/pay/checkout:4.12.0",
    "sha256:" + "ab" * 32,
    "linux/amd64",
    "Debian GNU/Linux 12 (bookworm)",
)


def finding(
    id: str = "CVE-2026-0001",
    severity: Severity = Severity.HIGH,
    *,
    package: str = "openssl",
    fixed_in: str = "3.0.13",
    score: float = 7.5,
    url: str = "https://nvd.test/vuln/CVE-2026-0001",
) -> Finding:
    return Finding(
        Package("deb", "debian", package, "3.0.1", f"pkg:deb/debian/{package}@3.0.1", "status"),
        Match(
            id=id,
            aliases=(),
            severity=severity,
            severity_source="",
            cvss=(Cvss("CVSS:3.1/AV:N", score),),
            fixed_in=fixed_in,
            evidence="",
            records=(id,),
            url=url,
        ),
    )
