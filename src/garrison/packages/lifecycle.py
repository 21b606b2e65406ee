"""How long a release of a distribution gets updates. Pure.

The dates stand in `lifecycle.json`, for each distribution with where they come from and as of
when: a list that is not fetched, so that a scan without a network knows it too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from functools import cache
from importlib.resources import files
from typing import Literal, TypeAlias

import msgspec

from garrison.packages.package import OperatingSystem

State: TypeAlias = Literal[
    "supported", "extended", "paid", "ended", "rolling", "development", "unknown"
]


@dataclass(frozen=True, slots=True)
class Support:
    """What is known about updates for a release.

    state: `extended` after regular support, still for everyone (Debian LTS); `paid` when only
        subscribers get updates; `ended` when nobody does; `unknown` where no dates are known.
    phase, until: the phase in force and its last day; where all have ended, the last one.
    ended: the day on which updates for everyone ended, or empty.
    as_of: the day of the list, or empty where it does not know the release.
    """

    state: State
    phase: str = ""
    until: str = ""
    ended: str = ""
    as_of: str = ""

    @property
    def over(self) -> bool:
        """Whether updates for everyone have ended: new vulnerabilities stay."""
        return self.state in ("paid", "ended")

    @property
    def label(self) -> str:
        """A few words for a place beside the release's name; empty where all is well."""
        match self.state:
            case "paid" | "ended":
                return "End of life"
            case "extended":
                return f"{self.phase} until {self.until}"
            case "development":
                return "not released"
            case "unknown":
                return "end of updates not known"
            case _:
                return ""


class _Family(msgspec.Struct):
    """A distribution. key: parts of the version that name a release; 0: all of it.

    phases: name, and whether it is paid for. releases: the last day of each phase.
    development: code names and the like of what is not released yet.
    """

    as_of: str
    origin: str
    key: int = 0
    phases: list[tuple[str, bool]] = []
    releases: dict[str, list[str]] = {}
    development: list[str] = []
    rolling: bool = False


def support_of(os: OperatingSystem, today: date) -> Support:
    """How far updates for `os` go, by the shipped list."""
    family = _families().get(os.id)
    if family is None:
        return Support("unknown")
    if family.rolling:
        return Support("rolling", as_of=family.as_of)
    release = os.version_id
    if os.codename in family.development or re.search(r"_alpha|_pre|edge", release):
        return Support("development", as_of=family.as_of)
    if family.key:
        release = ".".join(release.split(".")[: family.key])
    ends = family.releases.get(release)
    if ends is None:
        return Support("unknown", as_of=family.as_of)
    return _phase(family, ends, today)


def sentence(os: OperatingSystem, support: Support) -> str:
    """What people should know of it, in one sentence; empty where all is well."""
    name = os.pretty_name or f"{os.id} {os.version_id}".strip()
    known = f" (dates as of {support.as_of})" if support.as_of else ""
    match support.state:
        case "ended":
            return (
                f"{name} gets no updates any more: {support.phase} ended on {support.until}{known}"
            )
        case "paid":
            return (
                f"{name} gets updates for subscribers only: support for everyone ended on"
                f" {support.ended}, {support.phase} runs until {support.until}{known}"
            )
        case "extended":
            return (
                f"{name} is past regular support: {support.phase} runs until {support.until}{known}"
            )
        case "development":
            return f"{name} is not released: its updates are not those of a release"
        case "unknown":
            return f"how long {name} gets updates is not known{known}"
        case _:
            return ""


def _phase(family: _Family, ends: list[str], today: date) -> Support:
    everyone = [end for end, (_, paid) in zip(ends, family.phases, strict=False) if not paid]
    for number, (end, (phase, paid)) in enumerate(zip(ends, family.phases, strict=False)):
        if date.fromisoformat(end) >= today:
            if paid:
                return Support("paid", phase, end, everyone[-1], family.as_of)
            return Support("extended" if number else "supported", phase, end, "", family.as_of)
    phase = family.phases[len(ends) - 1][0]
    return Support("ended", phase, ends[-1], everyone[-1], family.as_of)


@cache
def _families() -> dict[str, _Family]:
    text = files("garrison.packages").joinpath("lifecycle.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, _Family])
