"""RPM versions against the cases that rpm publishes, and against rpm itself."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest

from garrison.packages.versions import SCHEMES, InvalidVersionError, compare, scheme_for

# rpm: tests/rpmvercmp.at, its oddities and the caret's cases included.
CASES = """
1.0 = 1.0|1.0 < 2.0|2.0.1 = 2.0.1|2.0 < 2.0.1|2.0.1a = 2.0.1a|2.0.1 < 2.0.1a|5.5p1 = 5.5p1
5.5p1 < 5.5p2|5.5p10 = 5.5p10|5.5p1 < 5.5p10|10xyz < 10.1xyz|xyz10 = xyz10|xyz10 < xyz10.1
xyz.4 = xyz.4|xyz.4 < 8|xyz.4 < 2|5.5p2 < 5.6p1|5.6p1 < 6.5p1|6.0 < 6.0.rc1|10a1 < 10b2
10a2 < 10b2|1.0aa = 1.0aa|1.0a < 1.0aa|10.0001 = 10.0001|10.0001 = 10.1|10.0001 < 10.0039
4.999.9 < 5.0|20101121 = 20101121|20101121 < 20101122|2_0 = 2_0|2.0 = 2_0|a = a|a+ = a+|a+ = a_
+a = +a|+a = _a|+_ = +_|_+ = +_|_+ = _+|+ = _|1.0~rc1 = 1.0~rc1|1.0~rc1 < 1.0|1.0~rc1 < 1.0~rc2
1.0~rc1~git123 = 1.0~rc1~git123|1.0~rc1~git123 < 1.0~rc1|1.0^ = 1.0^|1.0 < 1.0^
1.0^git1 = 1.0^git1|1.0 < 1.0^git1|1.0^git1 < 1.0^git2|1.0^git1 < 1.01|1.0^20160101 = 1.0^20160101
1.0^20160101 < 1.0.1|1.0^20160101^git1 = 1.0^20160101^git1|1.0^20160101^git1 < 1.0^20160102
1.0~rc1^git1 = 1.0~rc1^git1|1.0~rc1 < 1.0~rc1^git1|1.0^git1~pre = 1.0^git1~pre
1.0^git1~pre < 1.0^git1|1b.fc17 = 1b.fc17|1b.fc17 < 1.fc17|1g.fc17 = 1g.fc17|1.fc17 < 1g.fc17
1.1.α = 1.1.α|1.1.α = 1.1.β|1.1.αα = 1.1.α|1.1.α = 1.1.ββ|1.1.ββ = 1.1.αα
"""
PUBLISHED = [tuple(case.split()) for line in CASES.split("\n") for case in line.split("|") if case]
_SIGNS = {"<": -1, "=": 0}


@pytest.mark.parametrize(("a", "sign", "b"), PUBLISHED)
def test_rpm_orders_as_rpm_publishes(a: str, sign: str, b: str) -> None:
    assert compare("rpm", a, b) == _SIGNS[sign]
    assert compare("rpm", b, a) == -_SIGNS[sign]


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ("9.9-9", "1:0.1-1"),
        ("1:1.0-1", "2:0.5-1"),
        ("1.0-1.el9", "1.0-2.el9"),
        ("1.0-1.el9", "1.0-1.el9_1"),
        ("1.0-2.el9", "1.0-10.el9"),
        ("1.0~rc1-9", "1.0-1"),
        ("3.0.7-24.el9", "3.0.7-25.el9_3"),
        ("1.0", "1.0-0"),
        ("1.0-1", "1.0-1^git1"),
    ],
)
def test_epoch_version_and_release_decide_in_this_order(low: str, high: str) -> None:
    assert compare("rpm", low, high) == -1
    assert compare("rpm", high, low) == 1


@pytest.mark.parametrize(
    ("a", "b"), [("0:1.0-1", "1.0-1"), (":1.0-1", "1.0-1"), ("01:2-1", "1:2-1")]
)
def test_no_epoch_is_epoch_zero(a: str, b: str) -> None:
    assert compare("rpm", a, b) == 0


@pytest.mark.parametrize(
    "text", ["", " ", "1 0-1", "1:", "-1", "1.0\n2-1", "9" * 30 + ":1", "1" * 2000]
)
def test_what_is_no_rpm_version_is_refused(text: str) -> None:
    with pytest.raises(InvalidVersionError):
        SCHEMES["rpm"].parse(text)


@pytest.mark.parametrize(
    "ecosystem",
    ["AlmaLinux:9", "Rocky Linux:8", "Red Hat:enterprise_linux:9::baseos", "openSUSE:Leap 15.5",
     "SUSE:Linux Enterprise Server 15 SP5", "Azure Linux:3", "openEuler:22.03-LTS", "Mageia:9",
     "Photon OS:5.0"],
)  # fmt: skip
def test_distributions_with_rpm_use_it(ecosystem: str) -> None:
    assert scheme_for(ecosystem) is SCHEMES["rpm"]


def test_rpm_agrees_with_rpm() -> None:
    """The program itself decides 3,000 near-equal pairs."""
    rpm = shutil.which("rpm")
    if rpm is None:
        pytest.skip("rpm is not installed")
    rng = random.Random(11)
    pieces = ("0", "1", "2", "10", "01", ".", "_", "~", "^", "a", "rc", "Z", "git", "+", "~~", "^^")
    versions = ["".join(rng.choices(pieces, k=rng.randint(1, 7))) for _ in range(6000)]
    pairs = list(zip(versions[::2], versions[1::2], strict=True))
    lines = "\n".join(f'print(rpm.vercmp("{a}", "{b}"), " ")' for a, b in pairs)
    # A macro's text is limited; so are a command line's words.
    found: list[int] = []
    for start in range(0, len(pairs), 500):
        part = "\n".join(lines.split("\n")[start : start + 500])
        done = subprocess.run(
            [rpm, "--eval", f"%{{lua: {part}}}"], capture_output=True, text=True, check=True
        )
        found += map(int, done.stdout.split())
    # A dash would separate a release, so there is none in these.
    assert found == [compare("rpm", a, b) for a, b in pairs]
