"""Reports for tests of formats."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from garrison.findings import Decision, ScanReport, match_inventory
from garrison.packages import Inventory, Layer, OperatingSystem, Package, Skipped
from garrison.packages.purl import purl
from tests.unit.advisories.records import cvss, entry, record, until
from tests.unit.findings.lookup import Records

NOW = datetime(2026, 11, 24, 13, 0, 0, 250_000, tzinfo=UTC)
LAYER = "sha256:" + "ab12" * 16
DIFF = "sha256:" + "cd34" * 16
DIGEST = "sha256:" + "0" * 64
RECORDS = Records(
    record("GHSA-1", entry("npm", "@a/b", until("2.0.0")), aliases=["CVE-2024-1"],
           severity=cvss("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"),
           published="2024-01-01T00:00:00Z", summary="It is bad"),
    record("DEBIAN-CVE-2024-2", entry("Debian:12", "zlib", until("1:1.3-1")),
           upstream=["CVE-2024-2"]),
    record("PYSEC-3", entry("PyPI", "jinja2", until("3.1.0")), aliases=["CVE-2024-3"],
           severity=cvss("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:N/VA:N/SC:N/SI:N/SA:N")),
    record("PYSEC-4", entry("PyPI", "jinja2", until("9")),
           severity=[{"type": "CVSS_V2", "score": "AV:N/AC:L/Au:N/C:C/I:C/A:C"}]),
)  # fmt: skip


def _package(type: str, namespace: str, name: str, version: str, path: str, **more: str) -> Package:
    arch = more.get("arch", "")
    qualifiers = {"arch": arch, "distro": "debian-12"} if type == "deb" else {}
    return Package(
        type, namespace, name, version, purl(type, namespace, name, version, qualifiers), path,
        layer=LAYER, diff_id=DIFF, **more,  # type: ignore[arg-type]
    )  # fmt: skip


STATUS = "var/lib/dpkg/status"
ZLIB = _package("deb", "debian", "zlib1g", "1:1.2-1+b1", STATUS, arch="amd64",
                distro="Debian:12", source="zlib", source_version="1:1.2-1")  # fmt: skip
NPM = _package("npm", "@a", "b", "1.0.0", "srv/app/node_modules/@a/b/package.json")
NPM_AGAIN = replace(NPM, path="srv/ü ber/node_modules/@a/b/package.json", position="vendored")
JINJA = _package("pypi", "", "Jinja2", "3.0.0", "usr/lib/python3/Jinja2.dist-info/METADATA")
OWNED = replace(JINJA, position="owned", owner="zlib1g", path="usr/lib/python3/owned/METADATA")
ALL = (ZLIB, NPM, NPM_AGAIN, JINJA, OWNED)


def report(*packages: Package, decided: Decision | None = None, **more: object) -> ScanReport:
    """decided: about everything in Jinja2."""
    facts: dict[str, object] = {"reference": "r.test/team/a:1", "digest": DIGEST} | more
    inventory = Inventory(
        platform="linux/amd64",
        os=OperatingSystem("debian", "12", "Debian GNU/Linux 12 (bookworm)", "bookworm"),
        layers=(Layer(LAYER, DIFF, 10),),
        packages=packages,
        **facts,  # type: ignore[arg-type]
    )
    found = match_inventory(inventory, RECORDS)
    if decided is None:
        return found
    about = [replace(f, decision=decided) for f in found.findings if f.package.name == "Jinja2"]
    others = tuple(f for f in found.findings if f.package.name != "Jinja2")
    if decided.suppresses:
        return replace(found, findings=others, suppressed=tuple(about))
    return replace(found, findings=(*others, *about))


NOT_AFFECTED = Decision(
    "vex", "not_affected", "vulnerable_code_not_in_execute_path", "Never called", "team.vex.json"
)
ACCEPTED = Decision(
    "waiver", "accepted", reason="Internal only", source="waivers.yaml", expires="2027-01-01"
)
BROKEN = Skipped("a/b.json", LAYER, "packages.unreadable", "no JSON")
