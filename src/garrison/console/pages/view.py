"""Templates: one environment for all pages; everything is escaped, an unknown name is an error."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from garrison import __version__
from garrison.console.pages import text
from garrison.console.pages.static import StaticFiles

TEMPLATES = Path(__file__).resolve().parent.parent / "templates"


@cache
def static_files() -> StaticFiles:
    """The static files of this installation."""
    return StaticFiles()


@cache
def environment() -> Environment:
    """The templates. Context types are frozen dataclasses, so a template cannot change anything."""
    result = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    result.globals.update(
        static=static_files().url,
        version=__version__,
        link=link,
        plural=text.plural,
        share=text.share,
        age=text.age,
        severity_mark=text.severity,
    )
    result.filters.update(
        iso=text.iso,
        exact=text.exact,
        clock=text.clock,
        moment=text.moment,
        day=text.day,
        duration=text.duration,
        ms=text.milliseconds,
        size=text.size,
        number=text.number,
        digest=text.digest,
        fingerprint=text.fingerprint,
        image_name=text.image_name,
        sentence=text.sentence,
        listed=text.words,
    )
    return result


def link(path: str, **query: object) -> str:
    """An address: `path` with the query's values that are not empty, in the order given."""
    given = [(name, str(value)) for name, value in query.items() if value not in (None, "", False)]
    return f"{path}?{urlencode(given)}" if given else path


def segment(value: str) -> str:
    """`value` as one segment of a path."""
    return quote(value, safe=":@")


@dataclass(frozen=True, slots=True)
class Mark:
    """A state: shape, word, and where it is explained."""

    shape: str
    word: str
    href: str = ""


@dataclass(frozen=True, slots=True)
class Flash:
    """What was just done, said once in a toast. Errors never stand here."""

    text: str


@dataclass(frozen=True, slots=True)
class Shell:
    """What surrounds every page of a signed-in person.

    here: key of the current entry of the navigation. path: where the person is, to come back to.
    images, defenders: counts beside their entries, None where unknown.
    """

    user: str
    role: str
    csrf: str
    theme: str
    here: str
    intel: Mark
    now: datetime
    path: str = ""
    images: int | None = None
    defenders: int | None = None
    flash: Flash | None = None

    def may_change(self) -> bool:
        """Whether the person may start scans and change settings; else forms are not shown."""
        return self.role in {"admin", "operator"}

    @property
    def admin(self) -> bool:
        return self.role == "admin"


def html(template: str, page: object, *, shell: Shell, title: str) -> str:
    """A page inside the shell."""
    return (
        environment()
        .get_template(template)
        .render(page=page, shell=shell, title=title, now=shell.now, theme=shell.theme)
    )


def bare(
    template: str, page: object, *, title: str, theme: str = "", now: datetime | None = None
) -> str:
    """A page without the shell: sign-in, set-up, errors before either."""
    return (
        environment()
        .get_template(template)
        .render(page=page, title=title, theme=theme, now=now or datetime.now(UTC))
    )


def fragment(template: str, *, shell: Shell, **context: Any) -> str:
    """A part of a page, for htmx; templates beginning with `_`."""
    return environment().get_template(template).render(shell=shell, now=shell.now, **context)


@dataclass(frozen=True, slots=True)
class Crumb:
    """One step of the breadcrumbs; without an address it is only a word."""

    name: str
    href: str = ""


def crumbs(*steps: str | tuple[str, str]) -> tuple[Crumb, ...]:
    """Breadcrumbs from names and (name, address) pairs; the last is the page itself."""
    return tuple(Crumb(step) if isinstance(step, str) else Crumb(*step) for step in steps)


@dataclass(frozen=True, slots=True)
class Choice:
    """One entry of a select, a segmented control or tabs."""

    value: str
    name: str
    chosen: bool = False
    count: int | None = None
    href: str = ""


def choices(
    options: Iterable[tuple[str, str]], chosen: str, *, counts: dict[str, int] | None = None
) -> tuple[Choice, ...]:
    """Choices of a control, with the current one marked."""
    known = counts or {}
    return tuple(Choice(v, name, v == chosen, known.get(v)) for v, name in options)
