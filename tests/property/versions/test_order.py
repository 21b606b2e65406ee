"""Each scheme is a total order over its versions, and its parser survives any text."""

from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from garrison.packages.versions import SCHEMES, InvalidVersionError

# Few characters and pieces, so that near-equal versions are frequent.
_PIECES = {
    "dpkg": ("0", "1", "2", "10", "00", ".", "+", "~", "~~", "a", "rc", "-", ":", "deb", "Z"),
    "apk": ("0", "1", "01", "10", ".", ".0", ".1", "a", "_rc", "_p", "_alpha1", "-r", "~ab", "-r1"),
    "rpm": ("0", "1", "10", "01", ".", "a", "rc", "~", "^", "-", "1:", "_", ".el9"),
    "pep440": ("0", "1", "10", ".", "a1", "rc", ".dev", ".post1", "+l.1", "1!", "b", "-", "v"),
    "semver": ("0", "1", "10", ".", ".0", "-", "-0", "-a", ".a", ".1", "+b", "v", "-rc.1"),
    "gem": ("0", "1", "10", ".", ".0", ".a", ".rc", "b1", "-", ".0.0", "z"),
    "maven": ("0", "1", "10", ".", "-", "a", "alpha", "rc", "ga", "sp", "x", "-0", ".0", "-1", "m"),
    "composer": ("0", "1", "10", ".", "-", "beta", "RC1", "-dev", "pl", "a2", ".1", "+x", "x"),
    "nuget": ("0", "1", "10", ".", ".0", "-", "-0", "-A", ".a", ".1", "+b", "-rc.1", ".2"),
}


def versions(scheme: str) -> st.SearchStrategy[str]:
    pieces = st.lists(st.sampled_from(_PIECES[scheme]), min_size=1, max_size=7)
    return st.tuples(st.sampled_from(("0", "1", "2", "1.0")), pieces).map(
        lambda pair: pair[0] + "".join(pair[1])
    )


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@given(data=st.data())
@settings(max_examples=400)
def test_total_order(scheme: str, data: st.DataObject) -> None:
    """Reflexive, antisymmetric and transitive, whether the versions are valid or not."""
    a, b, c = (data.draw(versions(scheme), label=name) for name in "abc")
    compare = SCHEMES[scheme].compare
    assert compare(a, a) == 0
    assert compare(a, b) == -compare(b, a)
    for x, y, z in itertools.permutations((a, b, c)):
        if compare(x, y) <= 0 and compare(y, z) <= 0:
            assert compare(x, z) <= 0
        if compare(x, y) == 0:
            assert compare(x, z) == compare(y, z)


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@given(data=st.data())
def test_equal_versions_have_equal_hashes(scheme: str, data: st.DataObject) -> None:
    a, b = data.draw(versions(scheme)), data.draw(versions(scheme))
    one = SCHEMES[scheme]
    if one.valid(a) and one.valid(b) and one.parse(a) == one.parse(b):
        assert hash(one.parse(a)) == hash(one.parse(b))


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
@given(text=st.text() | st.from_regex(r"[0-9v][0-9a-zA-Z.+~:_\-!]{0,40}", fullmatch=True))
@settings(max_examples=300)
def test_any_text_is_a_version_or_refused(scheme: str, text: str) -> None:
    """Version strings come from images that somebody else made."""
    try:
        key = SCHEMES[scheme].parse(text)
    except InvalidVersionError:
        return
    assert key == SCHEMES[scheme].parse(text)
    assert not key < SCHEMES[scheme].parse(text)


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_long_texts_are_refused_quickly(scheme: str) -> None:
    """Integers of unbounded length are quadratic, deep nesting overflows the stack."""
    for text in ("1" * 100_000, "1-" * 50_000, "1." * 50_000 + "1", "1~" * 50_000):
        assert not SCHEMES[scheme].valid(text)


@given(pairs=st.lists(st.tuples(versions("dpkg"), versions("dpkg")), min_size=5, max_size=5))
@settings(max_examples=60, deadline=None)
def test_dpkg_agrees_with_dpkg(pairs: list[tuple[str, str]]) -> None:
    """The program itself decides."""
    dpkg = shutil.which("dpkg")
    if dpkg is None:
        pytest.skip("dpkg is not installed")
    scheme = SCHEMES["dpkg"]
    for a, b in pairs:
        if not scheme.valid(a) or not scheme.valid(b):
            continue
        for operator, expected in (("lt", {-1}), ("eq", {0}), ("gt", {1})):
            found = subprocess.run(
                [dpkg, "--compare-versions", a, operator, b], capture_output=True, check=False
            )
            if found.returncode > 1:
                break  # newer dpkg refuses an empty revision, older ones take it
            assert (found.returncode == 0) == (scheme.compare(a, b) in expected), (a, operator, b)
