"""Whether a version is affected: the evaluation of the OSV schema, and where it is silent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from garrison.advisories import Affected, Event, Range, check, fixes
from garrison.packages.versions import SCHEMES, Scheme, scheme_for


def affected(ecosystem: str, *spans: str, versions: tuple[str, ...] = ()) -> Affected:
    """Spans as text: `i0 f1.0 l2.0 m3.0` for introduced, fixed, last_affected and limit."""
    kinds = {"i": "introduced", "f": "fixed", "l": "last_affected", "m": "limit"}
    ranges = tuple(
        Range("ECOSYSTEM", tuple(Event(kinds[word[0]], word[1:]) for word in span.split()))  # type: ignore[arg-type]
        for span in spans
    )
    return Affected(ecosystem, "a", ranges, versions)


def is_affected(entry: Affected, version: str) -> bool:
    return check(entry, version, scheme_for(entry.ecosystem)).affected


@pytest.mark.parametrize(
    ("span", "inside", "outside"),
    [
        ("i0 f2.0", "0 1.0 1.9.9", "2.0 3"),
        ("i1.0 f2.0", "1.0 1.5", "0.9 2.0"),
        ("i1.0 l2.0", "1.0 2.0", "0.9 2.0.1"),
        ("i0", "0 1 99", ""),
        ("i1.0 f1.5 i2.0 f2.5", "1.0 1.4 2.0 2.4", "0.9 1.5 1.9 2.5 3"),
        ("f2.5 i2.0 f1.5 i1.0", "1.0 1.4 2.0 2.4", "0.9 1.5 1.9 2.5 3"),
        ("i0 l0.10.9 l0.10.10", "0.1 0.10.9", "0.10.10 0.10.11"),
        ("i0 f1.0 f1.5", "0.9", "1.0 1.2 1.5"),
        ("i0 f2.0 i2.0 f2.1", "1.0 2.0 2.0.5", "2.1"),
        ("i0 l2.0 i2.0 l2.1", "1.0 2.0 2.0.5 2.1", "2.1.1"),
        ("i2.1 l2.1", "2.1", "2.0 2.2"),
        ("i2.0 f2.0", "", "1.0 2.0 3.0"),
        ("i0 f0", "", "0 1.0"),
        ("i0 l0", "0", "0.1 1.0"),
        ("l0 i0", "0 0.1 1.0", ""),
        ("f1.0", "", "0.5 1.0"),
        ("i0 m2.0", "1.0", "2.0 3.0"),
        ("i0 m*", "1.0 99", ""),
        ("i0 f1.5 i2.0 m2.2", "1.0 2.1", "1.6 2.2"),
    ],
)
def test_ranges(span: str, inside: str, outside: str) -> None:
    entry = affected("PyPI", span)
    assert [is_affected(entry, version) for version in inside.split()] == [True] * len(
        inside.split()
    )
    assert not any(is_affected(entry, version) for version in outside.split())


def test_a_version_list_adds_to_the_ranges() -> None:
    entry = affected("PyPI", "i2.0 f2.1", versions=("1.0.0", "2.0.0-final"))
    assert is_affected(entry, "1.0")
    assert is_affected(entry, "v1.0.0")
    assert is_affected(entry, "2.0.0-final")
    assert not is_affected(entry, "1.1")
    assert not is_affected(entry, "10")


def test_an_unusable_bound_leaves_the_list_to_decide() -> None:
    entry = affected("PyPI", "i0 f2.9.0-NA", versions=("1.0",))
    assert is_affected(entry, "1.0")
    other = check(entry, "2.0", SCHEMES["pep440"])
    assert not other.affected
    assert "2.9.0-NA" in other.undecided


def test_other_ranges_of_the_entry_still_hold() -> None:
    entry = affected("npm", "i1.0.0-* f2.0.0", "i0 f1.5.0")
    assert is_affected(entry, "1.4.0")


def test_an_installed_version_that_is_none_is_found_in_lists_alone() -> None:
    entry = affected("PyPI", "i0 f2.0", versions=("2004d",))
    assert is_affected(entry, "2004d")
    verdict = check(entry, "2004-x", SCHEMES["pep440"])
    assert not verdict.affected
    assert "2004-x" in verdict.undecided


def test_without_a_scheme_lists_alone_decide() -> None:
    entry = affected("Planet 9", "i0 f2.0", versions=("1.0",))
    assert check(entry, "1.0", None).affected
    assert check(entry, "1.5", None).undecided == "versions of Planet 9 cannot be ordered"


def test_partial_npm_bounds_are_filled_with_zeros() -> None:
    entry = affected("npm", "i1.0 f3.1.1")
    assert is_affected(entry, "1.0.0")
    assert not is_affected(entry, "1.0.0-rc.1")


def test_python_local_labels_are_ignored_unless_a_bound_has_one() -> None:
    """`2.0.1+cu118` is 2.0.1 to a specifier of PEP 440."""
    assert is_affected(affected("PyPI", "i0 l2.0.1"), "2.0.1+cu118")
    assert not is_affected(affected("PyPI", "i0 f2.0.1"), "2.0.1+cu118")
    assert is_affected(affected("PyPI", "i0 f2.0.1+cu119"), "2.0.1+cu118")


def test_lowest_prerelease_bounds() -> None:
    """Go and crates.io write `0.0.0-0`, which is below every release but not below pre-releases
    of 0.0.0."""
    entry = affected("Go", "i0.0.0-0 f1.2.3-0")
    assert is_affected(entry, "v0.0.0-20191109021931-daa7c04131f5")
    assert is_affected(entry, "v1.2.2")
    assert not is_affected(entry, "v1.2.3-pre")


def test_the_reason_names_the_part_of_the_range() -> None:
    entry = affected("PyPI", "i1.0 f1.5 i2.0 f2.5", versions=("7",))
    scheme = SCHEMES["pep440"]
    assert check(entry, "2.1", scheme).because == "introduced 2.0, fixed 2.5"
    assert check(entry, "7", scheme).because == "version 7 is listed"
    assert check(affected("PyPI", "i0 l2"), "1", scheme).because == "introduced 0, last affected 2"
    assert check(affected("PyPI", "i0"), "1", scheme).because == "introduced 0, no fix named"


def test_fixes_are_those_above_the_installed_version() -> None:
    entry = affected("PyPI", "i1.0 f1.5 i2.0 f2.5 f2.9-NA f0")
    assert fixes(entry, "1.1", SCHEMES["pep440"]) == ["1.5", "2.5"]
    assert fixes(entry, "2.1", SCHEMES["pep440"]) == ["2.5"]
    assert fixes(entry, "no version", SCHEMES["pep440"]) == []


@given(
    points=st.lists(st.tuples(st.sampled_from("ifl"), st.integers(0, 9)), min_size=1, max_size=8),
    version=st.integers(0, 10),
)
def test_ranges_equal_the_schemas_pseudo_code(points: list[tuple[str, int]], version: int) -> None:
    """The OSV schema's own algorithm, written down over plain integers."""
    scheme: Scheme = SCHEMES["semver"]
    entry = affected("npm", " ".join(f"{kind}{number}" for kind, number in points))
    vulnerable = False
    for kind, number in sorted(points, key=lambda point: point[1]):
        if kind == "i" and version >= number:
            vulnerable = True
        if (kind == "f" and version >= number) or (kind == "l" and version > number):
            vulnerable = False
    assert check(entry, f"{version}.0.0", scheme).affected == vulnerable
