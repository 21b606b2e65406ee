"""Whether a version is affected. Pure: the evaluation that the OSV schema describes.

Rules where that description is silent are in docs/reference/matching.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from garrison.advisories.advisory import Affected, Event, Range
from garrison.packages.versions import InvalidVersionError, Scheme
from garrison.packages.versions import pep440 as python_versions

_LOWEST = (0,)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an entry says about one version.

    because: the range or list that decided, as text; empty when not affected.
    undecided: why a part of the entry could not be evaluated, or empty.
    """

    affected: bool
    because: str = ""
    undecided: str = ""


class _Bound(NamedTuple):
    """place: where it stands in the order. key: what an installed version is compared with."""

    place: tuple[Any, ...]
    key: tuple[Any, ...]
    event: Event


def check(affected: Affected, version: str, scheme: Scheme | None) -> Verdict:
    """Whether `affected` applies to `version`, whose ecosystem is ordered by `scheme`.

    A range is evaluated by the ecosystem's own order, whatever its type says. A range with a
    bound that is no version is not used, then the version list decides alone.
    """
    listed = version in affected.versions
    if scheme is None:
        return _by_list(version, listed, "" if listed else _no_order(affected))
    try:
        installed = scheme.parse(version)
    except InvalidVersionError as error:
        return _by_list(version, listed, "" if listed or not affected.ranges else str(error))
    undecided = ""
    for span in affected.ranges:
        try:
            bounds = _bounds(span, scheme)
        except InvalidVersionError as error:
            undecided = str(error)
            continue
        if because := _inside(bounds, _comparable(installed, version, span, scheme)):
            return Verdict(True, because)
    if listed or _equal_listed(affected, installed, scheme):
        return Verdict(True, f"version {version} is listed")
    return Verdict(False, undecided=undecided)


def fixes(affected: Affected, version: str, scheme: Scheme) -> list[str]:
    """The fixed versions above `version` that the entry names, smallest first.

    Those of ranges with an unusable bound too: a fix is a fix.
    """
    try:
        parsed = scheme.parse(version)
    except InvalidVersionError:
        return []
    found = {}
    for span in affected.ranges:
        installed = _comparable(parsed, version, span, scheme)
        for event in span.events:
            if event.kind == "fixed" and event.version != "0" and scheme.valid(event.version):
                key = (1, scheme.parse(event.version))
                if key > installed:
                    found[key] = event.version
    return [found[key] for key in sorted(found)]


def unusable_bound(span: Range, scheme: Scheme) -> str:
    """The first bound of `span` that is no version of `scheme`, or empty."""
    for event in span.events:
        if event.version not in {"0", "*"} and not scheme.valid(event.version):
            return event.version
    return ""


def _by_list(version: str, listed: bool, undecided: str) -> Verdict:
    return Verdict(listed, f"version {version} is listed" if listed else "", undecided)


def _no_order(affected: Affected) -> str:
    return f"versions of {affected.ecosystem} cannot be ordered" if affected.ranges else ""


def _bounds(span: Range, scheme: Scheme) -> list[_Bound]:
    """Events in version order; equal versions keep the order in which they are written.

    Sorting is stable on purpose: `fixed 2.0, introduced 2.0` goes on at 2.0, the other order ends
    there.
    """
    bounds = []
    for event in span.events:
        place = key = _bound_key(event, scheme)
        if event.kind == "last_affected" and event.version == "0":
            # Stands before every version elsewhere; the last affected one is a version itself.
            key = (1, scheme.parse("0"))
        bounds.append(_Bound(place, key, event))
    return sorted(bounds, key=lambda bound: bound.place)


def _bound_key(event: Event, scheme: Scheme) -> tuple[Any, ...]:
    if event.version == "0":
        return _LOWEST
    if event.kind == "limit" and event.version == "*":
        return (2,)
    return (1, scheme.parse(event.version))


def _comparable(installed: Any, version: str, span: Range, scheme: Scheme) -> tuple[Any, ...]:
    """The installed version's key, as far as the bounds say something of it.

    A Python version loses its local label (`2.0.1+cu118`) unless a bound has one, as PEP 440 has
    it for specifiers. An rpm version loses its epoch unless a bound has one: some distributions
    publish none, and taken for 0 it would make every package with an epoch sound.
    """
    if scheme.name == "pep440" and not any("+" in event.version for event in span.events):
        return (1, python_versions.public(installed))
    if scheme.name == "rpm" and not any(":" in event.version for event in span.events):
        return (1, scheme.parse(without_epoch(version)))
    return (1, installed)


def without_epoch(version: str) -> str:
    """An rpm version without its epoch: `1:3.0.7-24.el9` is `3.0.7-24.el9`."""
    epoch, colon, rest = version.partition(":")
    return rest if colon and epoch.isdigit() else version


def _inside(bounds: list[_Bound], installed: tuple[Any, ...]) -> str:
    """The part of the range that `installed` lies in, as text; empty when outside."""
    limits = [bound.key for bound in bounds if bound.event.kind == "limit"]
    if limits and not any(installed < limit for limit in limits):
        return ""
    opened: Event | None = None
    for _, key, event in bounds:
        if event.kind == "introduced" and installed >= key:
            opened = event
        elif (event.kind == "fixed" and installed >= key) or (
            event.kind == "last_affected" and installed > key
        ):
            opened = None
    if opened is None:
        return ""
    return f"introduced {opened.version}, {_end(bounds, installed)}"


def _end(bounds: list[_Bound], installed: tuple[Any, ...]) -> str:
    for _, key, event in bounds:
        if event.kind == "fixed" and key > installed:
            return f"fixed {event.version}"
        if event.kind == "last_affected" and key >= installed:
            return f"last affected {event.version}"
    return "no fix named"


def _equal_listed(affected: Affected, installed: Any, scheme: Scheme) -> bool:
    """Whether a listed version is the same in another spelling (`1.0` and `1.0.0`).

    Lists run to many hundred entries: only those whose first number is that of the installed
    version can be equal, and only those are parsed.
    """
    if not affected.versions:
        return False
    first = _first_number(str(installed.release[0]) if scheme.name == "pep440" else "")
    if scheme.name == "pep440":
        installed = python_versions.public(installed)
    size = len(first)
    for text in affected.versions:
        if first:
            if "1" <= text[:1] <= "9" and "!" not in text:  # as nearly all are
                if not text.startswith(first) or text[size : size + 1].isdigit():
                    continue
            elif _first_number(text) != first:
                continue
        try:
            if scheme.parse(text) == installed:
                return True
        except InvalidVersionError:
            continue
    return False


def _first_number(text: str) -> str:
    """The digits that a Python version starts with, after an epoch or `v`, without zeros."""
    text = text.strip().lstrip("vV").rpartition("!")[2]
    end = next((at for at, char in enumerate(text) if not char.isdigit()), len(text))
    return text[:end].lstrip("0") or "0"
