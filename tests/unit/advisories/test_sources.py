"""Which addresses are asked beside the advisories', and what their files are."""

from __future__ import annotations

import gzip
import io
import zipfile
from pathlib import Path

import pytest

from garrison.advisories import BadFeedError
from garrison.advisories import sources as module
from garrison.advisories.facts import CveRecord
from garrison.advisories.listing import changes, read_listing
from garrison.advisories.sources import (
    CVE_URL,
    EPSS_URL,
    KEV_URL,
    NOTHING_ELSE,
    Sources,
    cve_records,
    text_lines,
    whole,
)
from garrison.errors import InvalidSettingError
from tests.unit.advisories.test_facts import DATA


def test_the_public_addresses_are_asked_beside_the_public_export_alone() -> None:
    """Who names a mirror has a reason: nothing else is contacted then."""
    assert Sources.from_environment({}, public=True) == Sources(EPSS_URL, KEV_URL, (CVE_URL,))
    assert Sources.from_environment({}, public=False) == NOTHING_ELSE


def test_each_can_be_named_and_turned_off() -> None:
    environ = {
        "GARRISON_INTEL_EPSS_URL": "https://m.test/e.csv.gz",
        "GARRISON_INTEL_KEV_URL": "off",
        "GARRISON_INTEL_CVE_URL": "https://m.test/nvd, https://m.test/cves.zip",
    }
    expected = Sources(
        "https://m.test/e.csv.gz", "", ("https://m.test/nvd", "https://m.test/cves.zip")
    )
    for public in (True, False):
        assert Sources.from_environment(environ, public=public) == expected


@pytest.mark.parametrize("value", ["ftp://m.test/", "m.test", "https://", "https://m:x/"])
def test_an_address_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(InvalidSettingError):
        Sources.from_environment({"GARRISON_INTEL_KEV_URL": value}, public=True)


def test_files_of_cves() -> None:
    parts = Sources(cve=("https://m.test/nvd/", "https://m.test/cves.zip")).cve_parts(2003)
    assert [(part.name.partition(" ")[0], part.url) for part in parts] == [
        ("nvdcve-2.0-2002", "https://m.test/nvd/nvdcve-2.0-2002.json.gz"),
        ("nvdcve-2.0-2003", "https://m.test/nvd/nvdcve-2.0-2003.json.gz"),
        ("nvdcve-2.0-modified", "https://m.test/nvd/nvdcve-2.0-modified.json.gz"),
        ("cves.zip", "https://m.test/cves.zip"),
    ]
    # The file of a new year comes some days into it.
    assert [part.optional for part in parts] == [False, True, False, False]


def test_packed_and_plain_files_are_read_alike(tmp_path: Path) -> None:
    plain, packed = tmp_path / "plain", tmp_path / "packed"
    plain.write_bytes(b"a\nb\n")
    packed.write_bytes(gzip.compress(b"a\nb\n"))
    assert list(text_lines(plain)) == list(text_lines(packed)) == ["a\n", "b\n"]
    assert whole(plain) == whole(packed) == b"a\nb\n"


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(gzip.compress(bytes(range(256)) * 100)[:-20])
    with pytest.raises(BadFeedError):
        list(text_lines(cut))
    with pytest.raises(BadFeedError):
        list(cve_records(cut))


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("MAX_TEXT", "MAX_CVES"):
        monkeypatch.setattr(module, limit, 1000)
    bomb = tmp_path / "bomb"
    bomb.write_bytes(gzip.compress(b"x" * 10_000))
    with pytest.raises(BadFeedError):
        list(text_lines(bomb))
    with pytest.raises(BadFeedError):
        whole(bomb, 1000)
    with pytest.raises(BadFeedError):
        list(cve_records(bomb))
    assert [path.name for path in tmp_path.iterdir()] == ["bomb"]


def test_archives_of_the_cve_list_hold_other_files_too(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("main/README.json", "{}")
        archive.writestr("main/cves/deltaLog.json", "[]")
        archive.writestr("main/cves/2024/1xxx/CVE-2024-1000.json", "{broken")
        for path in sorted(DATA.glob("CVE-*.json")):
            archive.writestr(f"main/cves/{path.name}", path.read_bytes())
    file = tmp_path / "cves.zip"
    file.write_bytes(out.getvalue())
    found = list(cve_records(file))
    assert [r.id for r in found if isinstance(r, CveRecord)] == [
        "CVE-2024-11168", "CVE-2024-45490", "CVE-2024-49967",
    ]  # fmt: skip
    assert [r[0] for r in found if not isinstance(r, CveRecord)] == ["CVE-2024-1000.json"]


def test_lists_of_changes() -> None:
    listed = read_listing(["2027-07-09T00:00:00Z,PYSEC-2\n", "2026-01-01T00:00:00.5Z,PYSEC-1\n"])
    assert listed == {"PYSEC-2": "2027-07-09T00:00:00", "PYSEC-1": "2026-01-01T00:00:00.5"}
    held = {"PYSEC-1": "2026-01-01T00:00:00.5", "PYSEC-2": "2026-01-01T00:00:00", "PYSEC-3": "x"}
    due = changes(held, listed)
    assert (dict(due.changed), due.removed) == ({"PYSEC-2": "2027-07-09T00:00:00"}, ("PYSEC-3",))
    assert due.few(3)
    assert not changes({}, {str(n): "2026" for n in range(21)}).few(100)
    assert not changes({}, {str(n): "2026" for n in range(301)}).few(100_000)


@pytest.mark.parametrize("text", ["", "<html>", "2026-01-01", "x,PYSEC-1", "2026,"])
def test_what_is_no_list_of_changes_is_refused(text: str) -> None:
    with pytest.raises(BadFeedError):
        read_listing([text])
