"""Reading OSV records: all that the real feeds contain, and what they might."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garrison.advisories import Event, Range, Rating, normalize_name
from garrison.advisories.osv import MAX_RECORD, UnreadableRecordError, read_record
from tests.unit.advisories.records import Json, entry, raw, record, span, until


def read(item: Json) -> Any:
    return read_record(raw(item), "name")


def test_a_record_becomes_an_advisory() -> None:
    found = read(
        record(
            "GHSA-1",
            entry("PyPI", "Foo.Bar", until("2.0"), versions=["1.0", "1.1"]),
            aliases=["CVE-2024-1", "CVE-2024-1"],
            upstream=["CVE-2024-2"],
            summary=" Bad ",
            published="2026-01-01T00:00:00Z",
            severity=[{"type": "CVSS_V3", "score": "CVSS:3.1/x"}],
            references=[{"type": "WEB", "url": "https://a.test"},
                        {"type": "ADVISORY", "url": "https://b.test"},
                        {"type": "WEB", "url": "javascript:alert(1)"}],
            database_specific={"severity": "HIGH", "unknown": {"deep": [1]}},
        )
    ).advisory  # fmt: skip
    assert found.identifiers == ("GHSA-1", "CVE-2024-1", "CVE-2024-2")
    assert found.summary == "Bad"
    assert found.url == "https://b.test"
    assert [reference.url for reference in found.references] == ["https://a.test", "https://b.test"]
    assert found.ratings == (Rating("CVSS_V3", "CVSS:3.1/x"), Rating("severity", "HIGH"))
    [affected] = found.affected
    assert affected.name == "foo-bar"
    assert affected.versions == ("1.0", "1.1")
    assert affected.ranges == (
        Range("ECOSYSTEM", (Event("introduced", "0"), Event("fixed", "2.0"))),
    )


def test_null_stands_for_nothing() -> None:
    """Go writes null for empty lists."""
    fields = ("aliases", "upstream", "related", "severity", "references", "details", "summary",
              "withdrawn", "published", "database_specific")  # fmt: skip
    found = read(record("GO-1", entry("Go", "stdlib", until("1.2")), **dict.fromkeys(fields)))
    assert found.advisory.identifiers == ("GO-1",)
    assert found.notes == ()


def test_git_ranges_are_left_out() -> None:
    """They speak of commits; the other ranges of the entry stay."""
    git = span({"introduced": "0"}, {"fixed": "abcdef"}, type="GIT")
    found = read(record("PYSEC-1", entry("PyPI", "a", git, until("2.0")))).advisory
    assert [item.type for item in found.affected[0].ranges] == ["ECOSYSTEM"]
    only = read(record("PYSEC-2", entry("PyPI", "a", git)))
    assert only.notes == ("PyPI a: only GIT ranges, never matched",)


def test_every_ecosystem_of_a_record_is_kept() -> None:
    found = read(
        record(
            "GHSA-77rm",
            entry("NuGet", "Google.Protobuf", until("3.15.0")),
            entry("Maven", "com.google.protobuf:protobuf-java", until("3.15.0")),
            entry("Go", "github.com/A/b", until("1.0.0")),
        )
    ).advisory
    assert [item.name for item in found.affected] == [
        "google.protobuf",
        "com.google.protobuf:protobuf-java",
        "github.com/A/b",
    ]


def test_what_cannot_be_used_is_noted() -> None:
    """A part without versions, and bounds that are none in their scheme."""
    notes = read(
        record(
            "PYSEC-3",
            entry("PyPI", "empty"),
            entry("PyPI", "odd", until("2.9.0-NA")),
            entry("PyPI", "listed", until("2.9.0-NA"), versions=["1.0"]),
            entry("PyPI", "endless", span({"fixed": "1.0"})),
            {"ranges": []},
        )
    ).notes
    assert notes == (
        "PyPI empty: neither ranges nor versions, never matched",
        "PyPI odd: bound '2.9.0-NA' is no pep440 version, the range is not used",
        "PyPI listed: bound '2.9.0-NA' is no pep440 version, the version list decides",
        "PyPI endless: no range has a beginning",
        "an affected entry names no package",
    )


def test_nothing_is_noted_about_withdrawn_records() -> None:
    found = read(record("PYSEC-4", entry("PyPI", "a"), withdrawn="2026-01-01T00:00:00Z"))
    assert found.advisory.withdrawn
    assert found.notes == ()


def test_go_zero_time_is_no_date() -> None:
    found = read(record("GO-2", entry("Go", "a", until("1.0.0")), published="0001-01-01T00:00:00Z"))
    assert found.advisory.published == ""


def test_the_first_line_stands_in_for_a_summary() -> None:
    found = read(record("X-1", entry("npm", "a", until("1.0.0")), details="\n## Title\ntext"))
    assert found.advisory.summary == "Title"
    long = read(record("X-2", entry("npm", "a", until("1.0.0")), details="x" * 500))
    assert len(long.advisory.summary) == 200


def test_ratings_beside_vectors() -> None:
    """Debian's urgency belongs to the package, RubyGems' bare scores to the record."""
    found = read(
        record(
            "D-1",
            entry("Debian:12", "a", until("1"), ecosystem_specific={"urgency": "low"}),
            database_specific={"cvss_v3": 7.5, "cvss_v2": "5.0", "severity": None},
        )
    ).advisory
    assert found.affected[0].ratings == (Rating("urgency", "low"),)
    assert found.ratings == (Rating("cvss_v3", "7.5"), Rating("cvss_v2", "5.0"))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "truncated"),
        (b"[]", "object"),
        (b"\xff\xfe", "invalid"),
        (b'{"modified": "2026-01-01T00:00:00Z"}', "id"),
        (b'{"id": ""}', "no usable id"),
        (b'{"id": "X\\u0000"}', "no usable id"),
        (b'{"id": "X", "modified": "yesterday"}', "modified"),
        (b'{"id": "X", "affected": [{"package": {"name": "a"}}]}', "ecosystem"),
        (b'{"id": "X", "affected": {"a": 1}}', "array"),
        (b'{"id": "X", "affected": [{"versions": [1]}]}', "str"),
        (b'{"id": "X", "aliases": ' + b"[" * 100_000, "depth"),
        (b" " * (MAX_RECORD + 1), "more than"),
    ],
)
def test_unreadable_records_say_why(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableRecordError) as caught:
        read_record(content, "name")
    assert caught.value.id in {"name", "X"}
    if reason != "depth":
        assert reason in str(caught.value).lower()


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_crash_the_reader(content: bytes) -> None:
    try:
        read_record(content, "name")
    except UnreadableRecordError:
        return


@pytest.mark.parametrize(
    ("ecosystem", "name", "expected"),
    [
        ("PyPI", "Zope.Interface__x", "zope-interface-x"),
        ("npm", "JSONStream", "JSONStream"),
        ("npm", "@Types/Node", "@Types/Node"),
        ("Go", "github.com/BurntSushi/toml", "github.com/BurntSushi/toml"),
        ("Maven", "org.Foo:Bar", "org.Foo:Bar"),
        ("Debian:12", "libA", "libA"),
        ("NuGet", "Google.Protobuf", "google.protobuf"),
        ("crates.io", "Foo_bar", "Foo_bar"),
    ],
)
def test_names_are_normalised_where_the_ecosystem_does(
    ecosystem: str, name: str, expected: str
) -> None:
    assert normalize_name(ecosystem, name) == expected
