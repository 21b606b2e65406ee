"""A small made-up feed: OSV records that make findings in the images of `fleet.py`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from garrison.advisories import Kev, Rating
from garrison.advisories.facts import Catalogue, CveRecord, Scores
from garrison.advisories.snapshot import Validators, next_snapshot

CRITICAL = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"
HIGH = "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H"
MEDIUM = "CVSS:3.1/AV:N/AC:L/PR:N/UI:R/S:C/C:L/I:L/A:N"
LOW = "CVSS:3.1/AV:L/AC:H/PR:L/UI:N/S:U/C:N/I:N/A:L"

SCORES = (
    "#model_version:v2026.06.15,score_date:2026-11-24T12:00:00Z",
    "cve,epss,percentile",
    "CVE-2024-5535,0.94312,0.99871",
    "CVE-2025-15467,0.0312,0.871",
    "CVE-2024-6119,0.0051,0.42",
    "CVE-2024-2511,0.00043,0.11",
    "CVE-2023-50387,0.614,0.983",
    "not a score",
)
EXPLOITED = {
    "CVE-2024-5535": Kev("2024-08-02", "2024-08-23", True, "OpenSSL", "Update."),
    "CVE-2023-50387": Kev("2024-03-11", "2024-04-01", False, "DNSSEC", "Update."),
}

# ecosystem, package, id, vector (empty: nobody has rated it), fixed in (empty: no fix), summary
RECORDS: tuple[tuple[str, str, str, str, str, str], ...] = (
    ("Debian:12", "openssl", "CVE-2025-15467", CRITICAL, "3.0.18-1~deb12u1",
     "Stack overflow when parsing CMS AuthEnvelopedData"),
    ("Debian:12", "openssl", "CVE-2024-5535", CRITICAL, "3.0.15-1~deb12u1",
     "SSL_select_next_proto reads past its buffer"),
    ("Debian:12", "openssl", "CVE-2024-6119", HIGH, "3.0.14-1~deb12u2",
     "Wrong certificate name check can end the process"),
    ("Debian:12", "openssl", "CVE-2025-9230", HIGH, "3.0.17-1~deb12u3",
     "Out-of-bounds write in RFC 3211 key unwrap"),
    ("Debian:12", "openssl", "CVE-2024-4741", MEDIUM, "3.0.14-1~deb12u1",
     "Use after free when buffers are released while records are read"),
    ("Debian:12", "openssl", "CVE-2024-2511", LOW, "3.0.14-1~deb12u1",
     "Unbounded growth of the session cache with TLS 1.3"),
    ("Debian:12", "expat", "CVE-2024-45491", CRITICAL, "2.5.0-1+deb12u1",
     "Integer overflow for the number of attribute groups on 32-bit platforms"),
    ("Debian:12", "expat", "CVE-2023-52425", HIGH, "2.5.0-1+deb12u2",
     "Quadratic time for large tokens that arrive in many pieces"),
    ("Debian:12", "expat", "CVE-2024-50602", MEDIUM, "2.5.0-1+deb12u2",
     "Crash when a parser that was not started is resumed"),
    ("Debian:12", "krb5", "CVE-2024-37371", HIGH, "1.20.1-2+deb12u2",
     "Invalid memory reads while message tokens are handled"),
    ("Debian:12", "krb5", "CVE-2024-37370", HIGH, "1.20.1-2+deb12u2",
     "A plain text field of a token can be changed on the way"),
    ("Debian:12", "krb5", "CVE-2025-3576", MEDIUM, "1.20.1-2+deb12u4",
     "Spoofed checksums where RC4 is still allowed"),
    ("Debian:12", "zlib", "CVE-2023-45853", CRITICAL, "",
     "Integer overflow in the MiniZip part when names are very long"),
    ("Debian:12", "perl", "CVE-2023-31484", HIGH, "",
     "CPAN.pm does not verify certificates of the servers it asks"),
    ("Debian:12", "perl", "CVE-2011-4116", LOW, "",
     "The module File::Temp follows symbolic links in an unsafe way"),
    ("Debian:12", "glibc", "CVE-2025-4802", HIGH, "2.36-9+deb12u11",
     "Programs with setuid, linked statically, search libraries in LD_LIBRARY_PATH"),
    ("Debian:12", "glibc", "CVE-2019-1010022", "", "", "Stack guard protection can be bypassed"),
    ("Debian:12", "glibc", "CVE-2018-20796", "", "", "Unlimited recursion in regular expressions"),
    ("Debian:12", "gnutls28", "CVE-2024-28835", MEDIUM, "3.7.9-2+deb12u3",
     "Crash when a chain is verified with certtool"),
    ("Debian:12", "systemd", "CVE-2023-50387", HIGH, "252.23-1~deb12u1",
     "Answers signed with DNSSEC can keep a resolver busy"),
    ("Debian:12", "coreutils", "CVE-2016-2781", LOW, "",
     "chroot with a user lets a program push characters into the terminal"),
    ("PyPI", "requests", "CVE-2024-35195", MEDIUM, "2.32.0",
     "Verification stays off for a session whose first request was not verified"),
    ("PyPI", "requests", "CVE-2023-32681", MEDIUM, "2.31.0",
     "Proxy-Authorization is sent to the destination after a redirect"),
    ("PyPI", "urllib3", "CVE-2023-43804", HIGH, "1.26.17",
     "A Cookie header is kept when a redirect leads to another origin"),
    ("PyPI", "urllib3", "CVE-2024-37891", MEDIUM, "1.26.19",
     "Proxy-Authorization is kept when a redirect leads to another origin"),
    ("PyPI", "certifi", "CVE-2023-37920", CRITICAL, "2023.7.22",
     "The root certificates of e-Tugra are still in the list"),
    ("PyPI", "jinja2", "CVE-2024-34064", MEDIUM, "3.1.4",
     "Keys with characters that end an attribute pass the xmlattr filter"),
    ("PyPI", "gunicorn", "CVE-2024-1135", HIGH, "22.0.0",
     "Requests with conflicting Transfer-Encoding headers are smuggled"),
    ("npm", "axios", "CVE-2024-39338", HIGH, "1.7.4",
     "A path that looks relative is requested from another server"),
    ("npm", "follow-redirects", "CVE-2024-28849", MEDIUM, "1.15.6",
     "Proxy-Authorization is kept when a redirect leads to another host"),
    ("npm", "semver", "CVE-2022-25883", HIGH, "7.5.2",
     "A range from outside can keep the parser busy for long"),
    ("Alpine:v3.20", "openssl", "CVE-2024-5535", CRITICAL, "3.3.1-r1",
     "SSL_select_next_proto reads past its buffer"),
    ("Alpine:v3.20", "busybox", "CVE-2023-42366", MEDIUM, "1.36.1-r29",
     "A crafted awk pattern reads past its buffer"),
)  # fmt: skip

SKIPPED = {"npm": ("GHSA-0000-0000-0001", b'{"id": "GHSA-0000-0000-0001", "affected": 7}')}
FEEDS = ("Debian", "PyPI", "npm", "Alpine")


def write(data: Path, now: datetime) -> None:
    """Put the feed in force in a data directory."""
    stamp = now.astimezone(UTC).isoformat().replace("+00:00", "Z")
    with next_snapshot(data) as writer:
        for feed in FEEDS:
            writer.replace_feed(feed, _records(feed), now=stamp)
        writer.replace_scores(Scores(SCORES), validators=Validators(), now=stamp)
        writer.replace_catalogue(
            Catalogue("2026.11.20", EXPLOITED, []), validators=Validators(), now=stamp
        )
        rated = CveRecord("CVE-2018-20796", "", "NVD", (Rating("CVSS_V3", HIGH),))
        writer.replace_cves("nvdcve-2.0-2018", [rated], validators=Validators(), now=stamp)
        writer.commit(stamp)


def _records(feed: str) -> Iterator[tuple[str, bytes]]:
    for ecosystem, package, name, vector, fixed, summary in RECORDS:
        if ecosystem.partition(":")[0] != feed:
            continue
        # A CVE is published once for each ecosystem, as the distributions' own records are.
        record = f"{name}" if feed == "Debian" else f"OSV-{feed}-{package}-{name[4:]}"
        yield (
            f"{record}.json",
            json.dumps(_record(record, name, ecosystem, package, vector, fixed, summary)).encode(),
        )
    if feed in SKIPPED:
        name, raw = SKIPPED[feed]
        yield f"{name}.json", raw


def _record(
    record: str, name: str, ecosystem: str, package: str, vector: str, fixed: str, summary: str
) -> dict[str, Any]:
    events = [{"introduced": "0"}, *([{"fixed": fixed}] if fixed else [])]
    return {
        "id": record,
        "aliases": [] if record == name else [name],
        "modified": "2026-11-20T08:00:00Z",
        "published": f"{name[4:8]}-06-03T10:00:00Z",
        "summary": summary,
        "details": f"{summary}.\n\nMade up for tests, after the real record's subject.",
        "references": [{"type": "ADVISORY", "url": f"https://advisories.test/{name}"}],
        "severity": [{"type": "CVSS_V3", "score": vector}] if vector else [],
        "affected": [
            {
                "package": {"ecosystem": ecosystem, "name": package},
                "ranges": [{"type": "ECOSYSTEM", "events": events}],
            }
        ],
    }
