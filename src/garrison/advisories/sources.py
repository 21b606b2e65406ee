"""What is fetched beside advisories, from where, and what its files are. Reads files, no network.

EPSS, the catalogue of exploited vulnerabilities (KEV) and ratings of CVEs each have a public
address. Where the advisories come from a mirror, none of them is contacted unless it is named.
"""

from __future__ import annotations

import gzip
import hashlib
import mmap
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast
from urllib.parse import urlsplit

from garrison.advisories.archive import records
from garrison.advisories.errors import BadFeedError
from garrison.advisories.facts import CveRecord, read_cves
from garrison.errors import InvalidSettingError

EPSS_URL = "https://epss.empiricalsecurity.com/epss_scores-current.csv.gz"
KEV_URL = "https://www.cisa.gov/sites/default/files/feeds/known_exploited_vulnerabilities.json"
CVE_URL = "https://nvd.nist.gov/feeds/json/cve/2.0"
OFF = "off"

MAX_TEXT = 1 << 30
"""Bytes of unpacked scores."""
MAX_CATALOGUE = 64 << 20
MAX_CVES = 4 << 30
"""Bytes of an unpacked file of CVEs; the largest year of NVD has about 0.3 GiB."""
_MAX_LINE = 1 << 16
_FIRST_YEAR = 2002
FRESH_DAYS = 6
"""NVD's file of changes reaches back 8 days: a year read so recently need not be asked for."""
_HINT = "Try again; if it stays, tell whoever runs the mirror."


@dataclass(frozen=True, slots=True)
class CvePart:
    """One file of CVEs. name: unique among them. optional: it need not exist yet."""

    name: str
    url: str
    yearly: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Sources:
    """Addresses; empty: not wanted. cve: of files, or of a folder with NVD's yearly files."""

    epss: str = ""
    kev: str = ""
    cve: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], *, public: bool) -> Sources:
        """public: the advisories come from the public export, so these come from theirs.

        Raises InvalidSettingError: not an address.
        """

        def chosen(name: str, default: str) -> str:
            text = environ.get(name, "").strip()
            return "" if text.lower() == OFF else text or (default if public else "")

        cve = chosen("GARRISON_INTEL_CVE_URL", CVE_URL)
        return cls(
            _address("GARRISON_INTEL_EPSS_URL", chosen("GARRISON_INTEL_EPSS_URL", EPSS_URL)),
            _address("GARRISON_INTEL_KEV_URL", chosen("GARRISON_INTEL_KEV_URL", KEV_URL)),
            tuple(
                _address("GARRISON_INTEL_CVE_URL", part.strip())
                for part in cve.split(",")
                if part.strip()
            ),
        )

    def cve_parts(self, year: int) -> list[CvePart]:
        """The files of CVEs there are in that year."""
        parts = []
        for url in self.cve:
            name = urlsplit(url).path.rpartition("/")[2]
            if name.endswith((".zip", ".json", ".json.gz")):
                unique = hashlib.sha256(url.encode()).hexdigest()[:8]
                parts.append(CvePart(f"{name} {unique}", url))
                continue
            for number in range(_FIRST_YEAR, year + 1):
                file = f"nvdcve-2.0-{number}"
                address = f"{url.rstrip('/')}/{file}.json.gz"
                parts.append(CvePart(file, address, yearly=True, optional=number == year))
            file = "nvdcve-2.0-modified"
            parts.append(CvePart(file, f"{url.rstrip('/')}/{file}.json.gz"))
        return parts


NOTHING_ELSE = Sources()


def _address(setting: str, text: str) -> str:
    if text:
        try:
            parts = urlsplit(text)
            fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fine = False
        if not fine:
            raise InvalidSettingError(
                setting, f"not an http or https address: {text[:200]}", "Or turn it off: off."
            )
    return text


def text_lines(path: Path) -> Iterator[str]:
    """The lines of a text file, packed with gzip or not. Raises BadFeedError."""
    total = 0
    with _opened(path) as file:
        while line := file.readline(_MAX_LINE):
            total += len(line)
            if total > MAX_TEXT:
                raise BadFeedError(f"the file unpacks to more than {MAX_TEXT} bytes", _HINT)
            yield line.decode("utf-8", "replace")


def whole(path: Path, limit: int = MAX_CATALOGUE) -> bytes:
    """The content of a file, packed with gzip or not. Raises BadFeedError."""
    with _opened(path) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise BadFeedError(f"the file has more than {limit} bytes", _HINT)
    return content


def cve_records(path: Path) -> Iterator[CveRecord | tuple[str, str]]:
    """The records of CVEs in a file: JSON, packed or not, or a zip archive of JSON files.

    Raises BadFeedError: none of these.
    """
    with path.open("rb") as file:
        zipped = file.read(4) == b"PK\x03\x04"
    if not zipped:
        with _mapped(path) as data:
            yield from read_cves(data)
        return
    found = False
    for name, content in records(path):
        try:
            for record in read_cves(content):
                found = True
                yield record
        except BadFeedError as error:
            # Archives of the CVE List hold other files too; one broken record spoils no other.
            if "CVE-" in name:
                yield name.rpartition("/")[2][:80], error.message
    if not found:
        raise BadFeedError("the archive has no record of a CVE", _HINT)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            if not packed:
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as file:
                yield cast("IO[bytes]", file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadFeedError(f"the file is damaged: {error}", _HINT) from error


@contextmanager
def _mapped(path: Path) -> Iterator[Any]:
    """The unpacked content as memory that the system can take back: years of NVD are large."""
    plain = path.with_name(path.name + ".plain")
    try:
        with _opened(path) as file, plain.open("wb") as out:
            copied = 0
            while chunk := file.read(1 << 20):
                copied += len(chunk)
                if copied > MAX_CVES:
                    raise BadFeedError(f"the file unpacks to more than {MAX_CVES} bytes", _HINT)
                out.write(chunk)
        if not copied:
            raise BadFeedError("the file is empty", _HINT)
        with plain.open("rb") as file:
            # Not closed here: records that were decoded may still look into it.
            yield memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    finally:
        plain.unlink(missing_ok=True)
