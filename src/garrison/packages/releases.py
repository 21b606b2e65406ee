"""Distributions and their releases, as OSV's ecosystems name them. Pure.

A release that no feed knows still gets a name here: it is then reported as missing, by that name,
and never taken for sound.

Source: ossf.github.io/osv-schema, "Defined ecosystems"; os-release(5) of the distributions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from garrison.packages.package import OperatingSystem

_DEBIAN_CODENAMES = {
    "buster": "10",
    "bullseye": "11",
    "bookworm": "12",
    "trixie": "13",
    "forky": "14",
    "duke": "15",
}
# What a SUSE product's `ID` reads in OSV; the version follows.
_SUSE_PRODUCTS = {
    "sles": "Linux Enterprise Server",
    "sled": "Linux Enterprise Desktop",
    "sles_sap": "Linux Enterprise Server for SAP Applications",
}
_RED_HAT = "Red Hat:enterprise_linux:"
_UBUNTU = re.compile(r"Ubuntu:(?:(?P<variant>.+):)?(?P<release>\d\d\.\d\d(?::LTS)?)")
_SUSE = re.compile(r"SUSE:(?P<product>Linux Enterprise .+?) (?P<version>\d+(?: SP\d+)?)")


def distro(os: OperatingSystem | None) -> str:
    """The release in OSV's spelling (`Debian:12`, `Ubuntu:22.04:LTS`), or empty if it has none."""
    if os is None:
        return ""
    named = _RELEASES.get(os.id)
    return named(os) if named else ""


def serving(release: str, loaded: Iterable[str]) -> tuple[str, ...]:
    """Those of the loaded ecosystems whose records are about packages of `release`.

    Red Hat publishes by repository, SUSE by module and support, Ubuntu apart for subscribers: all
    of them are about what is installed in an image of that release.
    """
    fits = _pattern(release)
    if fits is None:
        return tuple(name for name in loaded if name == release)
    return tuple(sorted(name for name in loaded if fits.fullmatch(name)))


def variant_of(ecosystem: str) -> str:
    """The part of an Ubuntu release that has packages of its own (`Pro`, `Pro:FIPS`), or empty."""
    found = _UBUNTU.fullmatch(ecosystem)
    return (found["variant"] or "") if found else ""


def _pattern(release: str) -> re.Pattern[str] | None:
    if release.startswith(_RED_HAT):
        return re.compile(re.escape(release) + r"(?:\.\d+)?(?:::.+)?")
    if release.startswith("Ubuntu:"):
        number = re.escape(release.removeprefix("Ubuntu:"))
        return re.compile(rf"Ubuntu:(?:Pro:(?:[\w-]+:)*)?{number}")
    if release.startswith("openSUSE:"):
        return re.compile(re.escape(release) + r"(?: NonFree)?")
    if found := _SUSE.fullmatch(release):
        product, version = re.escape(found["product"]), re.escape(found["version"])
        return re.compile(
            rf"SUSE:(?:{product} {version}(?:-[A-Z]+)*"
            rf"|Linux Enterprise Module for .+ {version}(?:-[A-Z]+)*)"
        )
    return None


def _debian(os: OperatingSystem) -> str:
    # testing and unstable carry a codename and no number.
    release = os.version_id.partition(".")[0] or _DEBIAN_CODENAMES.get(os.codename, "")
    return f"Debian:{release}" if release.isdigit() else ""


def _ubuntu(os: OperatingSystem) -> str:
    found = re.fullmatch(r"(\d\d)\.(\d\d)(?:\.\d+)?", os.version_id)
    if not found:
        return ""
    long_term = int(found[1]) % 2 == 0 and found[2] == "04"
    return f"Ubuntu:{found[1]}.{found[2]}{':LTS' if long_term else ''}"


def _alpine(os: OperatingSystem) -> str:
    if found := re.match(r"(\d+\.\d+)(?![\d_])", os.version_id):
        return f"Alpine:v{found[1]}"
    # edge is numbered as what it will become: 3.23_alpha20250612.
    return "Alpine:edge" if re.match(r"\d+\.\d+_", os.version_id) else ""


def _suse(os: OperatingSystem) -> str:
    number, dot, service_pack = os.version_id.partition(".")
    if not number.isdigit() or (dot and not service_pack.isdigit()):
        return ""
    if int(number) >= 16:  # from here on without service packs
        version = os.version_id
    else:
        version = f"{number} SP{service_pack}" if int(service_pack or 0) else number
    return f"SUSE:{_SUSE_PRODUCTS[os.id]} {version}"


def _openeuler(os: OperatingSystem) -> str:
    """`VERSION_ID` lacks the service pack; the pretty name has it: `openEuler 22.03 (LTS-SP3)`."""
    if not re.fullmatch(r"\d\d\.\d\d", os.version_id):
        return ""
    found = re.search(r"\(([\w-]+)\)", os.pretty_name)
    return f"openEuler:{os.version_id}{f'-{found[1]}' if found else ''}"


def _major(family: str) -> Callable[[OperatingSystem], str]:
    def named(os: OperatingSystem) -> str:
        number = os.version_id.partition(".")[0]
        return f"{family}{number}" if number.isdigit() else ""

    return named


def _whole(family: str) -> Callable[[OperatingSystem], str]:
    def named(os: OperatingSystem) -> str:
        version = os.version_id
        return f"{family}{version}" if re.fullmatch(r"\w[\w.-]*", version) else ""

    return named


def _always(name: str) -> Callable[[OperatingSystem], str]:
    return lambda os: name


_RELEASES: dict[str, Callable[[OperatingSystem], str]] = {
    "almalinux": _major("AlmaLinux:"),
    "alpaquita": _whole("Alpaquita:"),
    "alpine": _alpine,
    "azurelinux": _major("Azure Linux:"),
    "chainguard": _always("Chainguard"),
    "debian": _debian,
    "echo": _always("Echo"),
    "mageia": _major("Mageia:"),
    "mariner": _major("Azure Linux:"),
    "minimos": _always("MinimOS"),
    "openeuler": _openeuler,
    "opensuse-leap": _whole("openSUSE:Leap "),
    "opensuse-microos": _always("openSUSE:Tumbleweed"),
    "opensuse-tumbleweed": _always("openSUSE:Tumbleweed"),
    "photon": _whole("Photon OS:"),
    "rhel": _major(_RED_HAT),
    "rocky": _major("Rocky Linux:"),
    "sled": _suse,
    "sles": _suse,
    "sles_sap": _suse,
    "sl-micro": _whole("SUSE:Linux Micro "),
    "sle-micro": _whole("SUSE:Linux Enterprise Micro "),
    "suse-microos": _whole("SUSE:Linux Enterprise Micro "),
    "ubuntu": _ubuntu,
    "wolfi": _always("Wolfi"),
    # Nobody publishes these in OSV's form, and what their relatives publish is not about them:
    # CentOS Stream is ahead of Red Hat, Oracle and Amazon build and number their own packages.
    "amzn": _whole("Amazon Linux:"),
    "centos": _whole("CentOS:"),
    "fedora": _whole("Fedora:"),
    "ol": _major("Oracle Linux:"),
}
