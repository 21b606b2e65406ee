"""`garrison intel`: the local advisories."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from garrison.cli.output import note, print_json
from garrison.environment import data_directory
from garrison.errors import InvalidSettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from garrison.advisories import AdvisoryStore, EcosystemState, FeedFailure, SourceState
    from garrison.advisories.feeds import Progress, UpdateResult
    from garrison.advisories.sources import Sources
    from garrison.egress import ProxySettings

_EXIT_FAILED = 3
_SHOWN_PROBLEMS = 10

Data = Annotated[
    Path | None,
    typer.Option("--data", envvar="GARRISON_DATA", help="Data directory.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


def register(app: typer.Typer) -> None:
    """Add `intel` with its own commands."""
    intel = typer.Typer(help="Advisories about vulnerable packages.", no_args_is_help=True)
    intel.command("update")(update)
    intel.command("status")(status)
    app.add_typer(intel, name="intel")


def update(
    data: Data = None,
    url: Annotated[
        str | None,
        typer.Option(envvar="GARRISON_INTEL_URL", help="Base address of an OSV bulk export."),
    ] = None,
    ecosystem: Annotated[
        list[str] | None,
        typer.Option(help="Ecosystem to load; repeatable. Others keep what they have."),
    ] = None,
    json: Json = False,
) -> None:
    """Bring the advisories up to date.

    An ecosystem that fails keeps its advisories; the command then exits with 3.
    """
    import asyncio

    from garrison.advisories.feeds import DEFAULT_ECOSYSTEMS, DEFAULT_URL, ecosystems_in
    from garrison.advisories.sources import Sources

    folder = data or data_directory(os.environ)
    base = _base(url or DEFAULT_URL)
    named = ",".join(ecosystem or [os.environ.get("GARRISON_INTEL_ECOSYSTEMS", "")])
    wanted = ecosystems_in(named) or DEFAULT_ECOSYSTEMS
    sources = Sources.from_environment(os.environ, public=base == DEFAULT_URL)
    settings = _egress_settings(folder, os.environ)
    with _shown_progress() as show:
        result = asyncio.run(_update(settings, folder, base, wanted, sources, show))
    if json:
        print_json(_update_document(result))
    else:
        _print_update(result)
    for failure in result.failures:
        note(f"error: {failure.ecosystem}: {failure.message}")
        if failure.hint:
            note(f"hint:  {failure.hint}")
        note(f"code:  {failure.code}")
    if result.failures:
        raise typer.Exit(_EXIT_FAILED)


def status(data: Data = None, json: Json = False) -> None:
    """Show what is loaded, and from when."""
    from garrison.advisories import AdvisoryStore

    store = AdvisoryStore.open(data or data_directory(os.environ))
    if json:
        print_json(_status_document(store))
    elif store is None:
        print("No advisories are loaded.")
        note("hint:  garrison intel update")
    else:
        _print_status(store)


async def _update(
    settings: ProxySettings,
    data: Path,
    url: str,
    ecosystems: Sequence[str],
    sources: Sources,
    progress: Callable[[Progress], None],
) -> UpdateResult:
    from garrison.advisories import feeds
    from garrison.egress.http import EgressClient

    client = EgressClient(settings)
    try:
        return await feeds.update(
            client, data, url=url, ecosystems=ecosystems, sources=sources, progress=progress
        )
    finally:
        await client.aclose()


# --- where things are -------------------------------------------------------------------------


def _base(url: str) -> str:
    if not url.startswith(("https://", "http://")):
        raise InvalidSettingError(
            "url", f"{url!r} is no address of a feed", "Write https://HOST/PATH."
        )
    return url


def _egress_settings(data: Path, environ: Mapping[str, str]) -> ProxySettings:
    """The Console's saved settings where this machine has a Console, else the environment's."""
    from garrison.cli.target import Local
    from garrison.egress import settings_from_environment

    console = Local(data, environ)
    if not console.exists:
        return settings_from_environment(environ)
    from garrison.console import proxy

    with console.state(foreign=True) as state:
        return proxy.current(state).settings


# --- what is shown ----------------------------------------------------------------------------


def _update_document(result: UpdateResult) -> dict[str, Any]:
    return {
        "revision": result.revision,
        "changed": result.changed,
        "ecosystems": [_feed_document(feed) for feed in result.ecosystems],
        "sources": [_source_document(source) for source in result.sources],
        "skipped": [
            {"ecosystem": item.ecosystem, "id": item.id, "reason": item.reason}
            for item in result.skipped
        ],
        "failures": [_failure_document(failure) for failure in result.failures],
    }


def _status_document(store: AdvisoryStore | None) -> dict[str, Any]:
    if store is None:
        return {
            "revision": None,
            "updated_at": None,
            "age": None,
            "ecosystems": [],
            "sources": [],
            "skipped": [],
            "notes": [],
            "failures": [],
        }
    return {
        "revision": store.revision,
        "updated_at": store.updated_at,
        "age": _age(store.updated_at),
        "ecosystems": [_feed_document(feed) for feed in store.ecosystems()],
        "sources": [_source_document(source) for source in store.sources()],
        "skipped": [
            {"ecosystem": item.ecosystem, "id": item.id, "reason": item.reason}
            for item in store.skipped()
        ],
        "notes": [
            {"ecosystem": item.ecosystem, "id": item.id, "reason": item.reason}
            for item in store.notes()
        ],
        "failures": [_failure_document(failure) for failure in store.state.failures],
    }


def _feed_document(feed: EcosystemState) -> dict[str, Any]:
    return {
        "name": feed.name,
        "records": feed.records,
        "withdrawn": feed.withdrawn,
        "skipped": feed.skipped,
        "updated_at": feed.updated_at,
    }


def _source_document(source: SourceState) -> dict[str, Any]:
    return {
        "name": source.kind,
        "records": source.records,
        "skipped": source.skipped,
        "version": source.version or None,
        "updated_at": source.updated_at,
    }


def _failure_document(failure: FeedFailure) -> dict[str, Any]:
    return {
        "ecosystem": failure.ecosystem,
        "code": failure.code,
        "message": failure.message,
        "hint": failure.hint,
        "who": failure.who or None,
        "hop": failure.hop or None,
    }


def _print_update(result: UpdateResult) -> None:
    _print_feeds(result.ecosystems)
    _print_sources(result.sources)
    said = "New revision" if result.changed else "Nothing new; revision"
    print(f"{said} {result.revision}.")
    for item in result.skipped[:_SHOWN_PROBLEMS]:
        note(f"skipped: {item.ecosystem} {item.id}: {item.reason}")
    if len(result.skipped) > _SHOWN_PROBLEMS:
        note(f"skipped: {len(result.skipped) - _SHOWN_PROBLEMS} more; see intel status --json")


def _print_status(store: AdvisoryStore) -> None:
    _print_feeds(store.ecosystems())
    _print_sources(store.sources())
    notes = store.notes()
    if notes:
        count = len({(item.ecosystem, item.id) for item in notes})
        print(f"Parts of {count} records cannot be used; --json lists them with the reason.")
    print(f"Revision {store.revision}, updated {store.updated_at}.")
    for failure in store.state.failures:
        note(f"warning: the last update of {failure.ecosystem} failed: {failure.message}")


def _print_feeds(feeds: Sequence[EcosystemState]) -> None:
    width = max([len(feed.name) for feed in feeds], default=0)
    print(f"{'Ecosystem':{width}}   Records  Withdrawn  Skipped  Updated")
    for feed in feeds:
        print(
            f"{feed.name:{max(width, 9)}}  {feed.records:8,}  {feed.withdrawn:9,}"
            f"  {feed.skipped:7,}  {feed.updated_at}"
        )


def _print_sources(sources: Sequence[SourceState]) -> None:
    whats = {
        "EPSS": "scores of exploitation",
        "KEV": "known exploited vulnerabilities",
        "CVE": "ratings of CVEs",
    }
    for source in sources:
        version = f" ({source.version})" if source.version else ""
        skipped = f", {source.skipped:,} skipped" if source.skipped else ""
        print(
            f"{source.kind}: {source.records:,} {whats[source.kind]}{version}{skipped},"
            f" updated {source.updated_at}"
        )


def _age(updated_at: str) -> int:
    return max(0, int((datetime.now(UTC) - datetime.fromisoformat(updated_at)).total_seconds()))


# --- progress ---------------------------------------------------------------------------------


def _shown_progress() -> AbstractContextManager[Callable[[Progress], None]]:
    """A bar on a terminal; elsewhere one line per ecosystem on stderr."""
    return _bar() if sys.stderr.isatty() else nullcontext(_Lines().show)


class _Lines:
    """Progress for logs."""

    def __init__(self) -> None:
        self._last = ""

    def show(self, progress: Progress) -> None:
        line = f"{progress.ecosystem}: {progress.step}" if progress.ecosystem else progress.step
        if line != self._last:
            self._last = line
            note(line)


@contextmanager
def _bar() -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[amount]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("advisories", total=None, amount="")

        def show(progress: Any) -> None:
            place = f"{progress.ecosystem} ({progress.position}/{progress.count})"
            bar.update(
                task,
                description=f"{progress.step} {place if progress.ecosystem else ''}",
                total=progress.total,
                completed=progress.done,
                amount=_amount(progress),
            )

        yield show


def _amount(progress: Progress) -> str:
    if progress.step == "downloading":
        total = f" of {progress.total / 1e6:,.1f}" if progress.total is not None else ""
        return f"{progress.done / 1e6:,.1f}{total} MB"
    return f"{progress.done:,} records" if progress.step == "reading" else ""
