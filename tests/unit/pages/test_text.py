"""How values read on a page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from garrison.console.pages import text
from garrison.findings import Severity

NOW = datetime(2026, 11, 24, 10, 18, 4, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.0, "0.0 s"),
        (1.44, "1.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (38 * 60, "38 min"),
        (87 * 60, "1 h 27 min"),
        (7200, "2 h"),
        (86400, "1 d"),
        (10 * 86400, "10 d"),
    ],
)
def test_durations(seconds: float, said: str) -> None:
    assert text.duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (9_000, "9 KB"),
        (999_600, "1.0 MB"),
        (4_100_000, "4.1 MB"),
        (246_000_000, "246 MB"),
        (1_900_000_000, "1.9 GB"),
        (3 * 10**12, "3.0 TB"),
    ],
)
def test_sizes(count: int, said: str) -> None:
    assert text.size(count) == said


def test_ages_never_lie_in_the_future() -> None:
    """Clocks differ between machines: what is not old yet is 0 s old."""
    assert text.age(NOW + timedelta(minutes=5), NOW) == "0 s"
    assert text.age(NOW - timedelta(seconds=2.9), NOW) == "2 s"
    assert text.age(NOW - timedelta(hours=1, minutes=53), NOW) == "1 h 53 min"


def test_times_name_their_zone_where_no_script_runs() -> None:
    assert text.clock(NOW, NOW) == "10:18 UTC"
    assert text.clock(datetime(2026, 11, 3, tzinfo=UTC), NOW) == "3 Nov"
    assert text.clock(datetime(2025, 1, 31, tzinfo=UTC), NOW) == "31 Jan 2025"
    assert text.moment(datetime(2026, 11, 3, 7, 5, tzinfo=UTC), NOW) == "3 Nov, 07:05 UTC"


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [(0, 0, "0 %"), (0, 9, "0 %"), (1, 900, "1 %"), (899, 900, "99 %"), (9, 9, "100 %")],
)
def test_shares_do_not_round_something_to_nothing(part: int, whole: int, said: str) -> None:
    assert text.share(part, whole) == said


@pytest.mark.parametrize(
    ("reference", "host", "repository", "tag"),
    [
        ("debian:12", "", "debian", ":12"),
        ("library/redis", "", "library/redis", ""),
        ("harbor.corp.test/pay/checkout:4.12.0", "harbor.corp.test/", "pay/checkout", ":4.12.0"),
        ("localhost:5000/app", "localhost:5000/", "app", ""),
        ("localhost/app:x", "localhost/", "app", ":x"),
        (
            "gcr.test/a/b@sha256:" + "9c41d7" + "0" * 54 + "e20b",
            "gcr.test/",
            "a/b",
            "@sha256:9c41d7…e20b",
        ),
        ("docker:my app", "docker:", "my app", ""),
        ("sha256:" + "a" * 64, "", "sha256", ":" + "a" * 64),
    ],
)
def test_image_names_are_cut_where_readers_look(
    reference: str, host: str, repository: str, tag: str
) -> None:
    assert text.image_name(reference) == text.ImageName(host, repository, tag)


def test_severities_have_a_letter_of_their_own() -> None:
    letters = [text.severity(severity)[0] for severity in Severity]
    assert letters == ["U", "L", "M", "H", "C"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("", ""),
        ("connection refused", "Connection refused."),
        ("proxy.corp.test refused it", "proxy.corp.test refused it."),
        ("`docker.io` is known", "`docker.io` is known."),
        ("What now?", "What now?"),
        ("https://jira.test can never match", "https://jira.test can never match."),
    ],
)
def test_sentences_keep_the_spelling_of_hosts(given: str, said: str) -> None:
    assert text.sentence(given) == said


def test_lists_of_words() -> None:
    assert text.words([]) == ""
    assert text.words(["a"]) == "a"
    assert text.words(["a", "b", "c"]) == "a, b and c"
    assert text.plural(1, "finding") == "1 finding"
    assert text.plural(2318, "entry", "entries") == "2,318 entries"
    assert text.fingerprint("4f9a31c2" + "0" * 52 + "0b7e") == "4F:9A:31:C2 … 0B:7E"
