"""Order of versions against the cases that the package managers themselves publish."""

from __future__ import annotations

import itertools

import pytest

from garrison.packages.versions import SCHEMES, InvalidVersionError, compare, scheme_for
from garrison.packages.versions.semver import from_go_toolchain

LESS, EQUAL, GREATER = -1, 0, 1
_SIGNS = {"<": LESS, "=": EQUAL, ">": GREATER}


def rising(scheme: str, versions: str) -> list[tuple[str, str, str]]:
    """Every pair of a list that rises from left to right."""
    return [(scheme, a, b) for a, b in itertools.combinations(versions.split(), 2)]


def equal(scheme: str, *groups: str) -> list[tuple[str, str, str]]:
    return [(scheme, a, b) for group in groups for a, b in itertools.combinations(group.split(), 2)]


# dpkg: lib/dpkg/t/t-version.c, scripts/t/Dpkg_Version.t, deb-version(7).
DPKG_LESS = [
    *rising("dpkg", "0:0-0 1:0-0"),
    *rising("dpkg", "a-0 b-0"),
    *rising("dpkg", "0-a 0-b"),
    *rising("dpkg", "1-1 1-2 2-1"),
    *rising("dpkg", "~~ ~~a ~ 0 a"),
    *rising("dpkg", "1.0~rc1 1.0 1.0a 1.0+dfsg 1.0.1"),
    *rising("dpkg", "1.0.4-1 1.0.4-1+deb12u1 1.0.4-1+deb12u2 1.0.4-1+deb12u10 1.0.4-1.1"),
    *rising("dpkg", "2.9.14+dfsg-1.3~deb12u1 2.9.14+dfsg-1.3 2.9.14+dfsg-1.3+b1"),
    *rising("dpkg", "1.4.2 2.7.4+reloaded-14 2.7.4+reloaded2-13 1:0.1"),
    *rising("dpkg", "3.0~rc.1-1 3.0-1"),
    *rising("dpkg", "1.002-1+b2 1.3"),
    *rising("dpkg", "1.2.3-1 1:0.4-1 2:0"),
]
DPKG_EQUAL = equal(
    "dpkg",
    "0-00 00-0 0",
    "0:1.0-1 1.0-1",
    "1.0-0 1.0 1.0-",
    "1.2.3 1.2.03",
    "1a 1a0",
    "0:0-0-0 0-0-0",
)
DPKG_INVALID = ["", "  ", "0:", "0:0 0-1", "-1:0-1", "999999999999999999999999:0-1", "a:0-0", "-0",
                "0:-0", "1" * 2000]  # fmt: skip

# apk-tools: test/version.data, without its two lines that it marks as invalid versions.
APK_DATA = """
2.34 > 0.1.0_alpha|0.1.0_alpha = 0.1.0_alpha|0.1.0_alpha < 0.1.3_alpha|0.1.0_alpha2 > 0.1.0_alpha
0.1.0_alpha < 2.2.39-r1|2.2.39-r1 > 1.0.4-r3|1.0.4-r3 < 1.0.4-r4|1.0.4-r4 < 1.6|1.6 > 1.0.2
1.0.2 > 0.7-r1|0.7-r1 < 1.0.0|1.1 > 1.1_alpha1|1.1_alpha1 < 1.2.1|1.2 < 1.3_alpha
1.3_alpha < 1.3_alpha2|1.3_alpha8 > 0.6.0|0.7.0 < 0.8_beta1|0.8_beta4 < 4.8-r1|4.8-r1 > 3.10.18-r1
3.10.18-r1 > 2.3.0b-r1|2.3.0b-r1 < 2.3.0b-r2|2.3.0b-r4 > 0.12.1|0.12.3 > 0.12|0.12 < 0.13_beta1
0.13_beta5 > 0.9.12|0.0.16 < 0.6|2.1.15-r3 > 1.2.11|1.2.11 < 1.2.12.1|1.2.12.1 < 1.2.13
1.2.14-r1 > 0.7.1|0.2.0-r1 = 0.2.0-r1|0.2.0-r1 < 3.1_p16|3.1_p16 < 3.1_p17|3.1_p17 > 1.06-r6
1.06-r6 < 006|006 > 1.0.0|1.2.2-r1 > 1.2.2|9.3.2-r4 < 9.3.4-r2|9.3.4-r2 > 9.3.4|1.4.1-r1 < 1.4.1-r2
1.0.4 < 2.59|2.59 < 20050718-r1|3.9.8-r5 > 2.01.01_alpha10|2.01.01_alpha10 > 0.94
1.0 > 0.99.3.20040818|0.7 < 1.21-r1|1.21-r1 > 0.13|0.13 < 0.90.1-r1|0.90.1-r1 > 0.10.2
1.39 > 1.00_beta2|1.00_beta2 > 0.9.2|5.94-r1 < 6.4|6.4 > 2.6-r5|7.15.1-r1 > 1.02|1.02 < 1.03-r1
2.8.0.6-r1 > 0.5.2.7|0.5.2.7 < 4.2.52_p2-r1|4.2.52_p2-r1 < 4.2.52_p4-r2|4.2.52_p4-r2 > 1.02.07
1.02.07 < 1.02.10-r1|1.0.5 < 8|8 < 9|9 > 2.18.3-r10|2.18.3-r10 > 1.05-r18|2.11-r1 > 2.11
0.4 < 1.0.0|1.0.0 < 10-r1|10-r1 > 4|4 > 0.7.3-r2|6.3.2-r1 < 6.3.3|4.18 < 4.19|4.19 > 4.3.0
2.4.2 < 20060720|20060720 > 3.0.20060720|3.0.20060720 < 20060720|8.54 > 4.1.4
2.1.9.200602141850 > 1.6|1.6 < 2.5.1-r8|2.5.1-r8 < 2.5.1a-r1|2.5.1a-r1 > 1.19.2-r1
1.3.5-r10 > 1.3.5-r8|1.3.5-r8 < 1.3.5-r9|20040401 > 2.0.0_rc3-r1|2.0.0_rc3-r1 > 1.5
0.99.163 < 2.6.15.20060110|3.0.0-r2 < 021109-r3|021109-r3 < 20060512|20060512 > 1.24
1.1.7 < 6b-r7|6b-r7 > 1.12-r7|3.9_pre20060124 > 0.01|0.01 < 0.06|0.10.0 < 0.10.1_rc1
0.10.1_rc1 > 0.9.11|0.9.11 < 394|1.1a < 1.3a|1.0-r1 > 0.15.1b|0.15.1b-r2 > 0.15.1b
22.7-r1 < 22.7.3-r1|22.7.3-r1 > 22.7|22.7 > 2.1_pre20|2.1_pre20 < 2.1_pre26|2.10.1 > 02.08.01b
02.08.01b < 4.77|5.1 > 2.02.06|2.02.06 < 2.02.10|2.02.10 < 2.8.5-r3|8.1.2.20050715-r1 < 20030215
3.81 > 1.6d|1.6d > 1.2.07.8|1.2.07.8 < 1.2.12.04|1.2.12.04 < 1.2.12.05|1.07-r1 < 1.07.5
1.07.5 > 1.07|20061003 > 0.1_pre20060810|0.1_pre20060810 < 0.1_pre20060817|3.3.17 > 0.59s-r11
0.59s-r11 < 0.65|1.60-r11 < 1.60-r12|1.60-r12 < 110-r8|110-r8 > 0.17-r2|0.20070118 < 0.20070207_rc1
0.20070207_rc1 < 1.0|2.3.30-r2 < 3.7_p1|3.7_p1 > 1.3|4.3_p2-r1 < 4.3_p2-r5|4.3_p2-r5 < 4.4_p1-r6
4.5_p1-r1 > 4.5_p1|4.5_p1 > 0.9.8c-r1|0.9.8c-r1 < 0.9.8d|2.2.3-r2 < 013|013 < 014-r1
014-r1 > 1.3.1-r1|0.1.23 < 5b-r9|5b-r9 > 2.2.10|3.2.7 > 0.3.1_rc8|0.3.1_rc8 < 22.2
1.7 < 1.7b|1.7b < 1.8.4-r3|1.8.5 < 1.8.5_p2|0.98 < 1.00|1.00 < 4.1.4-r1|2.3 < 2.17-r3
1.4.9-r2 < 2.9.11_pre20051101-r2|2.9.11_pre20051101-r3 > 2.9.11_pre20051101
2.9.11_pre20051101 < 2.9.11_pre20061021-r1|12.17.9 > 1.1.12|1.6.8_p12-r1 > 1.6.8_p9-r2
0.9.28-r2 < 0.9.28.1|0.9.28.1 < 087-r1|087-r1 < 103|104-r11 > 104-r9|1.2.5_rc2 > 0.1
2.12r-r4 < 2.12r-r5|7.0.17 < 7.0.174|0.3.4_pre20061029 < 0.4.0|1.3-r0 < 1.3.1-r0
1.3_pre1-r1 < 1.3.2|1.0_p10-r0 > 1.0_p9-r0|0.1.0_alpha_pre2 < 0.1.0_alpha
1.0.0_pre20191002222144-r0 < 1.0.0_pre20210530193627-r0
"""
APK_CASES = [
    tuple(case.split()) for line in APK_DATA.split("\n") for case in line.split("|") if case
]

# semver.org 2.0.0 section 11, and node-semver's test/fixtures/comparisons.js.
SEMVER_LESS = [
    *rising(
        "semver",
        "1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 1.0.0-beta.11"
        " 1.0.0-rc.1 1.0.0 2.0.0 2.1.0 2.1.1",
    ),
    *[
        ("semver", low, high)
        for high, low in (
            ("0.0.0", "0.0.0-foo"), ("0.0.1", "0.0.0"), ("1.0.0", "0.9.9"), ("0.10.0", "0.9.0"),
            ("0.99.0", "0.10.0"), ("v2.0.0", "1.2.3"), ("0.0.0", "v0.0.0-foo"),
            ("1.2.3", "1.2.3-asdf"), ("1.2.3", "1.2.3-4"), ("1.2.3", "1.2.3-4-foo"),
            ("1.2.3-5-foo", "1.2.3-5"), ("1.2.3-5", "1.2.3-4"), ("1.2.3-5-foo", "1.2.3-5-Foo"),
            ("3.0.0", "2.7.2+asdf"), ("1.2.3-a.10", "1.2.3-a.5"), ("1.2.3-a.b", "1.2.3-a.5"),
            ("1.2.3-a.b", "1.2.3-a"), ("1.2.3-a.b.c.10.d.5", "1.2.3-a.b.c.5.d.100"),
            ("1.2.3-r2", "1.2.3-r100"), ("1.2.3-r100", "1.2.3-R2"),
        )
    ],
    # golang.org/ref/mod: pseudo-versions, and the lowest bound that Go's and Rust's feeds write.
    *rising(
        "semver",
        "0.0.0-0 v0.0.0-20180306012644-bacd9c7ef1dd v0.0.0-20191109021931-daa7c04131f5 v0.0.0"
        " v1.2.3-pre.0.20191109021931-daa7c04131f5 v1.2.3"
        " v1.2.4-0.20191109021931-daa7c04131f5 v1.2.4 v2.0.0+incompatible",
    ),
]  # fmt: skip
SEMVER_EQUAL = equal(
    "semver", "1.0 1.0.0 v1 =1.0.0", "1.0.0+a 1.0.0+b 1.0.0", "2.0.0+incompatible v2.0.0"
)
SEMVER_INVALID = ["", "1.2.0-*", "x", "1.2.3.4", "1.0.0-", "1.0.0-a..b", "1.x", "9" * 2000]

# PEP 440 (packaging's tests), in order.
PEP440_LESS = rising(
    "pep440",
    "1.0.dev456 1.0a1 1.0a2.dev456 1.0a12.dev456 1.0a12 1.0b1.dev456 1.0b2 1.0b2.post345.dev456"
    " 1.0b2.post345 1.0rc1.dev456 1.0rc1 1.0 1.0+abc.5 1.0+abc.7 1.0+5 1.0.post456.dev34"
    " 1.0.post456 1.1.dev1 1.2+123abc 1.2+abc 1.2+1234.abc 1.2.r32 1.2.rev33+123456 1!0.1",
)
PEP440_EQUAL = equal("pep440", "1.0 1.0.0 v1.0", "1.0rc1 1.0-c.1 1.0.RC1", "1.0.post1 1.0-1 1.0.r1")
PEP440_INVALID = [
    "2.9.0-NA",
    "0.2.0-alpha\\.33",
    "2018-04-22b",
    "4.6.0.stable11",
    "2.0.0-final",
    "",
]

# RubyGems: test/rubygems/test_gem_version.rb.
GEM_LESS = [
    *rising("gem", "1.0.a 1.0"),
    *rising("gem", "0.0.0 1.8.2.a 1.8.2.a9 1.8.2.a10 1.8.2.b 1.8.2"),
    *rising("gem", "1.0.0-alpha 1.0.0-alpha.1 1.0.0-beta.2 1.0.0-beta.11 1.0.0-rc.1 1.0.0"),
    *rising("gem", "5.a 5.0.0.rc2 5.x 5.0.0"),
    *rising("gem", "1.0.0.a.1.0 1.0.0.a.2 1.0.0.b 1 1.0.0.1"),
]
GEM_EQUAL = equal("gem", "1.0 1.0.0 1", "1.2.b1 1.2.b.1", "1.9.3.0 1.9.3", "1.0.a 1.0.a.0")
GEM_INVALID = ["junk", "1.0\n2.0", "1..2", "1.2\\ 3.4", "2.3422222.222.222222222.22222.ads0as.dasd0.ddd2222.2.qd3e.", "1.0.0-rc.1+build.1"]  # fmt: skip  # noqa: E501

# Maven: ComparableVersionTest of Maven 4.
MAVEN_LESS = [
    *rising(
        "maven",
        "1-alpha2snapshot 1-alpha2 1-alpha-123 1-beta-2 1-beta123 1-m2 1-m11 1-rc 1-cr2 1-rc123"
        " 1-SNAPSHOT 1 1-sp 1-sp2 1-sp123 1-abc 1-def 1-pom-1 1-1-snapshot 1-1 1-2 1-123",
    ),
    *rising(
        "maven",
        "2.0 2.0.a 2-1 2.0.2 2.0.123 2.1.0 2.1-a 2.1b 2.1-c 2.1-1 2.1.0.1 2.2 2.123 11.a2 11.a11"
        " 11.b2 11.b11 11.m2 11.m11 11 11.a 11b 11c 11m",
    ),
    *rising("maven", "1.0-alpha-1-SNAPSHOT 1.0-alpha-1 1.0-alpha-2 1.0-beta-1 1.0-SNAPSHOT 1.0"),
    *rising("maven", "1 1.0.0.1"),
    *rising("maven", "2.0.1 2.0.1-klm 2.0.1-lmn 2.0.1-xyz 2.0.1-123"),
    *rising("maven", "0.7 2"),
    *rising("maven", "0.2 1.0.7"),
    *rising("maven", "6.1.0rc3 6.1.0 6.1H.5-beta"),
    *rising("maven", "20190126.230843 1234567890.12345 123456789012345.1H.5-beta"
                     " 12345678901234567890.1H.5-beta"),
    *rising("maven", "1-0.alpha 1-0.beta 1"),
    *rising("maven", "aardvark zebra ζέβρα 7"),
    *rising("maven", "é 1"),
    *rising("maven", "\u0668 1 9"),
]  # fmt: skip
MAVEN_EQUAL = equal(
    "maven",
    "1 1.0 1.0.0 1-0 1.0-0",
    "1a 1-a 1.0-a 1.0.0-a 1.0a 1.0.0a 1A",
    "1x 1-x 1.0-x 1.0.0-x 1.0x 1.0.0x 1X",
    "1cr 1rc 1Cr 1rC",
    "1a1 1-alpha-1",
    "1b2 1-beta-2",
    "1m3 1-milestone-3 1MileStone3 1MILESTONE3",
    "1ga 1release 1final 1 1GA 1RELeaSE 1FINAL",
    "0.x 0-x x",
    "0000000000000000001 000000001 01 1",
    "00000000000000000000 0",
)


# Composer: composer/semver's VersionParserTest and ComparatorTest, PHP's version_compare().
COMPOSER_LESS = [
    *rising("composer", "1.0.0-dev 1.0.0-alpha 1.0.0-alpha1 1.0.0-alpha2 1.0.0-beta 1.0.0-beta2"
                        " 1.0.0-RC1 1.0.0 1.0.0-pl1 1.0.0-pl2 1.0.1"),
    *rising("composer", "1.0.0-beta-dev 1.0.0-beta 1.0.0-beta1-dev 1.0.0-beta1 1.0.0-beta.1.1"),
    *rising("composer", "0.9 1.24.99 1.25.0-beta2.1 1.25.0-b3 1.25.0 1.25.0.1 1.26.0"),
    *rising("composer", "v5.4.9 5.4.20 v6.0.0-BETA1 6.0.0 6.x-dev 7.0"),
    *rising("composer", "2010.1.555 2010.10.200 20100102 20100102-203040 20100102-203040-p1"),
    *rising("composer", "1.0.x-dev 1.1.0 1.x-dev 2.0"),
]  # fmt: skip
COMPOSER_EQUAL = equal(
    "composer",
    "1.0.0 v1.0.0 1.0 1 1.0.0.0 1.0.0+foo 1.0.0-stable 1.0.0@dev",
    "1.0.0RC1dev 1.0.0-rC1-dev 1.0.0.RC.1-dev",
    "10.4.13-b5 10.4.13beta5 10.4.13beta.5 10.4.13-BETA5",
    "1.0.0.pl3-dev 1.0.0-patch3-dev",
    "1.0.0+foo 1.0.0",
)
COMPOSER_INVALID = ["", "a", "1.0.0-meh", "1.0.0.0.0", "feature-foo", "1.0.0+foo bar", "dev-main",
                    "dev-feature/foo", "1.x", "~>1.2"]  # fmt: skip

# NuGet: VersionComparerTests of NuGet.Versioning.
NUGET_LESS = [
    ("nuget", low, high)
    for low, high in (
        ("0.0.0", "1.0.0"), ("1.0.0", "1.1.0"), ("1.0.0", "1.0.1"), ("1.999.9999", "2.1.1"),
        ("1.0.0-BETA", "1.0.0-beta2"), ("1.0.0-beta+AA", "1.0.0+aa"),
        ("1.0.0-BETA", "1.0.0-beta.1+AA"),
        ("1.0.0-BETA.X.y.5.77.0+AA", "1.0.0-beta.x.y.5.79.0+aa"),
        ("1.0.0-BETA.X.y.5.79.0+AA", "1.0.0-beta.x.y.5.790.0+abc"),
        ("1.0.0", "1.0.0.1"), ("1.0.0.1-a", "1.0.0.1"), ("3.1.0-beta-001", "3.1.0-beta-002"),
    )
]  # fmt: skip
NUGET_EQUAL = equal(
    "nuget",
    "1.0.0 1.0.0.0 1.0 1 01.00 1.0.0+AA",
    "1.0.0-BETA 1.0.0-beta 1.0.0-BETA+AA 1.0.0-beta+aa",
    "1.0.0-BETA.X.y.5.77.0+AA 1.0.0-beta.x.y.5.77.0+aa",
)
NUGET_INVALID = ["", "1.0.0.0.0", "v1.0", "1.0.0-", "1.0.0-a..b", "1.*", "[1.0,2.0)"]


@pytest.mark.parametrize(
    ("scheme", "low", "high"),
    [*COMPOSER_LESS, *NUGET_LESS, *DPKG_LESS, *SEMVER_LESS, *PEP440_LESS, *GEM_LESS, *MAVEN_LESS],
)
def test_published_orders_rise(scheme: str, low: str, high: str) -> None:
    assert SCHEMES[scheme].valid(low)
    assert SCHEMES[scheme].valid(high)
    assert compare(scheme, low, high) == LESS
    assert compare(scheme, high, low) == GREATER


@pytest.mark.parametrize(
    ("scheme", "a", "b"),
    [
        *COMPOSER_EQUAL,
        *NUGET_EQUAL,
        *DPKG_EQUAL,
        *SEMVER_EQUAL,
        *PEP440_EQUAL,
        *GEM_EQUAL,
        *MAVEN_EQUAL,
    ],
)
def test_published_equals_are_equal(scheme: str, a: str, b: str) -> None:
    """Equal keys must be equal as dictionary keys too: caches and sets hold them."""
    assert compare(scheme, a, b) == EQUAL
    assert hash(SCHEMES[scheme].parse(a)) == hash(SCHEMES[scheme].parse(b))


@pytest.mark.parametrize(("a", "sign", "b"), APK_CASES)
def test_apk_orders_as_apk_tools_publishes(a: str, sign: str, b: str) -> None:
    assert SCHEMES["apk"].valid(a)
    assert SCHEMES["apk"].valid(b)
    assert compare("apk", a, b) == _SIGNS[sign]
    assert compare("apk", b, a) == -_SIGNS[sign]


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        *(("dpkg", text) for text in DPKG_INVALID),
        *(("apk", text) for text in ("", "1.0bc", "23_foo", "57-1-r2", "1.7.5.-r1", "v1", "1.0-r")),
        *(("semver", text) for text in SEMVER_INVALID),
        *(("pep440", text) for text in PEP440_INVALID),
        *(("gem", text) for text in GEM_INVALID),
        *(("maven", text) for text in ("", " ", "1-" * 200)),
        *(("composer", text) for text in COMPOSER_INVALID),
        *(("nuget", text) for text in NUGET_INVALID),
    ],
)
def test_what_is_no_version_is_refused_and_sorts_below(scheme: str, text: str) -> None:
    """Refused by `parse`, so that nothing is decided on it; `compare` still orders it."""
    with pytest.raises(InvalidVersionError):
        SCHEMES[scheme].parse(text)
    assert compare(scheme, text, "0") == LESS


def test_apk_commit_hash_stands_between_suffix_and_revision() -> None:
    assert compare("apk", "1.2_rc1", "1.2_rc1~abc") == LESS
    assert compare("apk", "1.2~abc-r1", "1.2~abd-r0") == LESS
    assert compare("apk", "1.2-r9", "1.2~abc") == LESS


@pytest.mark.parametrize(
    ("ecosystem", "scheme"),
    [
        ("Debian:12", "dpkg"), ("Ubuntu:22.04:LTS", "dpkg"), ("Alpine:v3.20", "apk"),
        ("Wolfi", "apk"), ("PyPI", "pep440"), ("npm", "semver"), ("crates.io", "semver"),
        ("Go", "semver"), ("RubyGems", "gem"), ("Maven", "maven"),
        ("Packagist", "composer"), ("NuGet", "nuget"),
    ],
)  # fmt: skip
def test_each_ecosystem_has_its_scheme(ecosystem: str, scheme: str) -> None:
    found = scheme_for(ecosystem)
    assert found is not None
    assert found.name == scheme


def test_an_unknown_ecosystem_has_none() -> None:
    assert scheme_for("Planet 9") is None


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("go1.21", "1.21.0"), ("go1.21rc2", "1.21.0-rc.2"), ("1.19.8", "1.19.8"),
        ("go1.22.1 X:rangefunc", "1.22.1"), ("go1.4beta1", "1.4.0-beta.1"), ("devel", "devel"),
        ("v1.2.3", "v1.2.3"),
    ],
)  # fmt: skip
def test_go_releases_read_as_semantic_versions(text: str, version: str) -> None:
    """Go's advisories about `stdlib` use semantic versions; binaries say `go1.21rc2`."""
    assert from_go_toolchain(text) == version
