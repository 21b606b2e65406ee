"""What is said about releases that get no updates, or only some."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

import garrison.packages
from garrison.packages import OperatingSystem, Support, support_of, support_sentence

TODAY = date(2026, 11, 24)
DATA = json.loads((Path(garrison.packages.__file__).parent / "lifecycle.json").read_text())


@pytest.mark.parametrize(
    ("id", "version", "state", "until"),
    [
        ("debian", "13", "supported", "2028-08-09"),
        ("debian", "12", "extended", "2028-06-30"),
        ("debian", "12.5", "extended", "2028-06-30"),
        ("debian", "11", "paid", "2031-06-30"),
        ("debian", "7", "ended", "2020-06-30"),
        ("ubuntu", "24.04", "supported", "2029-05-31"),
        ("ubuntu", "20.04", "paid", "2030-04-23"),
        ("ubuntu", "25.10", "ended", "2026-07-09"),
        ("alpine", "3.23.2", "supported", "2027-11-01"),
        ("alpine", "3.20.1", "ended", "2026-04-01"),
        ("alpine", "3.24_alpha20260101", "development", ""),
        ("rhel", "9.3", "supported", "2032-05-31"),
        ("rhel", "7.9", "paid", "2028-06-30"),
        ("almalinux", "8.10", "supported", "2029-03-01"),
        ("rocky", "8.9", "supported", "2029-05-31"),
        ("centos", "7", "ended", "2024-06-30"),
        ("sles", "15.7", "supported", "2031-07-31"),
        ("sles", "15.4", "paid", "2026-12-31"),
        ("opensuse-leap", "15.6", "ended", "2026-04-30"),
        ("amzn", "2023", "supported", "2029-06-30"),
        ("amzn", "2", "ended", "2026-06-30"),
        ("wolfi", "20230201", "rolling", ""),
        ("nimbus", "7", "unknown", ""),
        ("alpine", "9.9", "unknown", ""),
        ("debian", "", "unknown", ""),
    ],
)
def test_releases(id: str, version: str, state: str, until: str) -> None:
    found = support_of(OperatingSystem(id, version), TODAY)
    assert (found.state, found.until) == (state, until)
    assert found.over == (state in ("paid", "ended"))


@pytest.mark.parametrize(
    ("day", "state", "phase"),
    [
        (date(2024, 8, 14), "supported", "security support"),
        (date(2024, 8, 15), "extended", "LTS"),
        (date(2026, 8, 31), "extended", "LTS"),
        (date(2026, 9, 1), "paid", "ELTS"),
        (date(2031, 7, 1), "ended", "ELTS"),
    ],
)
def test_debian_11_on_the_days_that_matter(day: date, state: str, phase: str) -> None:
    """The last day of a phase belongs to it; ELTS is not for everyone."""
    found = support_of(OperatingSystem("debian", "11"), day)
    assert (found.state, found.phase) == (state, phase)


def test_debian_testing_has_a_name_and_no_number() -> None:
    assert support_of(OperatingSystem("debian", "", "", "forky"), TODAY).state == "development"


def test_sentences_name_the_day_and_how_old_the_list_is() -> None:
    os = OperatingSystem("debian", "11", "Debian GNU/Linux 11 (bullseye)")
    assert support_sentence(os, support_of(os, TODAY)) == (
        "Debian GNU/Linux 11 (bullseye) gets updates for subscribers only: support for everyone"
        " ended on 2026-08-31, ELTS runs until 2031-06-30 (dates as of 2026-11-24)"
    )
    alpine = OperatingSystem("alpine", "3.18.4", "Alpine Linux v3.18")
    assert support_sentence(alpine, support_of(alpine, TODAY)) == (
        "Alpine Linux v3.18 gets no updates any more: support ended on 2025-05-09"
        " (dates as of 2026-01-27)"
    )
    unknown = OperatingSystem("nimbus", "7", "Nimbus 7")
    assert support_sentence(unknown, support_of(unknown, TODAY)) == (
        "how long Nimbus 7 gets updates is not known"
    )
    assert support_sentence(unknown, Support("supported")) == ""


@pytest.mark.parametrize(
    ("id", "version", "label"),
    [
        ("debian", "13", ""),
        ("debian", "12", "LTS until 2028-06-30"),
        ("debian", "11", "End of life"),
        ("wolfi", "20230201", ""),
        ("nimbus", "7", "end of updates not known"),
    ],
)
def test_a_few_words_beside_the_name(id: str, version: str, label: str) -> None:
    assert support_of(OperatingSystem(id, version), TODAY).label == label


def test_the_list_is_sound() -> None:
    """Each phase ends after the one before it, and where the dates come from is said."""
    for name, family in DATA.items():
        assert family["origin"], name
        assert date.fromisoformat(family["as_of"])
        for release, ends in family.get("releases", {}).items():
            days = [date.fromisoformat(end) for end in ends]
            assert days == sorted(days), (name, release)
            assert 0 < len(days) <= len(family["phases"]), (name, release)
            assert not family["phases"][0][1], (name, release)
