"""`garrison scan` and `garrison sbom`: an image without a Console.

The way out is what the environment says (GARRISON_HTTP_PROXY, …): the Console's database is not
read here, so that a scan starts without it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from garrison.cli.report_output import now, sinks, write
from garrison.environment import data_directory
from garrison.errors import GarrisonError, InvalidSettingError

if TYPE_CHECKING:
    from garrison.findings.cache import ScanCache
    from garrison.findings.finding import ScanReport, Severity
    from garrison.findings.policy import Waiver
    from garrison.images import ImageSource, Progress

_MAX_FILE = 4 << 20
_LOCAL = ("oci:", "docker-archive:", "rootfs:", "docker:")
_TIMEOUT = 3600.0
_WAIT = 30.0
"""Seconds of one wait for the network, of a scan that may take longer."""

Image = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        help="debian:12, or oci:DIR, docker-archive:FILE, rootfs:DIR, docker:NAME (local engine).",
    ),
]
Platform = Annotated[str, typer.Option(help="For example linux/arm64; else this machine's.")]
User = Annotated[str, typer.Option("--username", help="At the registry; else docker's own.")]
PasswordStdin = Annotated[bool, typer.Option("--password-stdin", help="Read from standard input.")]
PlainHttp = Annotated[bool, typer.Option("--plain-http", help="The registry speaks no TLS.")]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", help="PEM, trusted for the registry alone.")
]
Timeout = Annotated[float, typer.Option(help="Seconds for the whole scan.", min=0.1)]
Data = Annotated[
    Path | None, typer.Option("--data", envvar="GARRISON_DATA", help="Where the advisories are.")
]
NoCache = Annotated[
    bool, typer.Option("--no-cache", help="Read every layer, and remember nothing.")
]
Json = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
Output = Annotated[Path | None, typer.Option("--output", help="Write the report to this file.")]


class IncompleteReportError(GarrisonError):
    """The scan cannot say that an image is clean."""

    code = "scan.incomplete"

    def __init__(self, report: ScanReport) -> None:
        missing = ", ".join(report.missing_ecosystems)
        broken = ", ".join(report.inventory.unreadable)
        reasons = [f"no advisories for {missing} are loaded"] if missing else []
        reasons += [f"a package database cannot be read: {broken}"] if broken else []
        super().__init__("the report is not complete: " + "; ".join(reasons))
        self._missing = bool(missing)

    @property
    def hint(self) -> str:
        if self._missing:
            return "Load them: garrison intel update (GARRISON_INTEL_ECOSYSTEMS names which)."
        return "What was found is shown; packages of that database are missing from it."


class NoAdvisoriesError(GarrisonError):
    """There is nothing to match with."""

    code = "scan.no_advisories"

    def __init__(self, data: Path) -> None:
        super().__init__(f"no advisories are loaded in {data}")

    @property
    def hint(self) -> str:
        return "Load them: garrison intel update. `garrison sbom` lists packages without any."


class UnreadableDatabaseError(GarrisonError):
    """A list of packages that lacks some."""

    code = "scan.unreadable_database"

    def __init__(self, paths: Sequence[str]) -> None:
        super().__init__(f"a package database cannot be read: {', '.join(paths)}")

    @property
    def hint(self) -> str:
        return "What was found is shown; packages of that database are missing from it."


@dataclass(frozen=True, slots=True)
class _Access:
    """How the image is reached."""

    platform: str
    user: str
    password_stdin: bool
    plain_http: bool
    ca_file: Path | None
    timeout: float


def register(app: typer.Typer) -> None:
    """Add `scan` and `sbom`."""
    app.command("scan")(scan)
    app.command("sbom")(sbom)


def scan(
    image: Image,
    format: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="FORMAT[=FILE]",
            help="table, json, sarif, cyclonedx, spdx or csv; several with commas.",
        ),
    ] = None,
    json: Json = False,
    output: Output = None,
    fail_on: Annotated[
        str, typer.Option(help="Exit with 1 for findings from this severity on.")
    ] = "",
    ignore_unfixed: Annotated[
        bool, typer.Option("--ignore-unfixed", help="Leave out findings that nothing fixes.")
    ] = False,
    severity: Annotated[
        str, typer.Option(help="Show only these: low,medium,high,critical,unknown.")
    ] = "",
    ignore_file: Annotated[
        Path | None,
        typer.Option("--ignore-file", help="Waivers: findings accepted until a day."),
    ] = None,
    platform: Platform = "",
    username: User = "",
    password_stdin: PasswordStdin = False,
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
    timeout: Timeout = _TIMEOUT,
    no_cache: NoCache = False,
    data: Data = None,
) -> None:
    """List what is vulnerable in an image.

    Exit codes: 0 done; 1 findings from --fail-on on; 2 wrong usage; 3 not finished or not
    complete: without advisories for what is in the image there is no clean report.
    """
    from garrison.advisories import AdvisoryStore
    from garrison.findings.policy import exceeds
    from garrison.findings.scan import scan_image
    from garrison.reports import FORMATS, render

    wanted = sinks(format or [], json, output, FORMATS)
    threshold = _severities(fail_on, "--fail-on")
    shown = _severities(severity, "--severity")
    waivers = _waivers(ignore_file)
    moment = now(os.environ)
    folder = data or data_directory(os.environ)
    store = AdvisoryStore.open(folder)
    access = _Access(platform, username, password_stdin, plain_http, ca_file, timeout)
    source = _open(image, access)
    with _progress() as progress:
        report = scan_image(
            source,
            store,
            progress=progress,
            seconds=timeout,
            cache=_cache(folder, no_cache),
            today=moment.date(),
        )
    report = _waived(report, waivers)
    report = _filtered(report, shown, ignore_unfixed)
    write(
        wanted,
        lambda format, page: render(report, format, now=moment, width=page.width, color=page.color),
    )
    if store is None:
        raise NoAdvisoriesError(folder)
    if not report.complete:
        raise IncompleteReportError(report)
    if threshold and exceeds(report, min(threshold)):
        raise typer.Exit(1)


def sbom(
    image: Image,
    format: Annotated[
        list[str] | None,
        typer.Option(
            "--format",
            metavar="FORMAT[=FILE]",
            help="table, json, cyclonedx, spdx or csv; several with commas.",
        ),
    ] = None,
    json: Json = False,
    output: Output = None,
    platform: Platform = "",
    username: User = "",
    password_stdin: PasswordStdin = False,
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
    timeout: Timeout = _TIMEOUT,
    no_cache: NoCache = False,
    data: Data = None,
) -> None:
    """List the packages of an image. Needs no advisories."""
    from garrison.findings.scan import read_image
    from garrison.reports import PACKAGE_FORMATS, render_packages

    wanted = sinks(format or [], json, output, PACKAGE_FORMATS)
    moment = now(os.environ)
    access = _Access(platform, username, password_stdin, plain_http, ca_file, timeout)
    source = _open(image, access)
    with _progress() as progress:
        folder = data or data_directory(os.environ)
        inventory = read_image(
            source, progress=progress, seconds=timeout, cache=_cache(folder, no_cache)
        )
    write(
        wanted,
        lambda format, page: render_packages(
            inventory, format, now=moment, width=page.width, color=page.color
        ),
    )
    if inventory.unreadable:
        raise UnreadableDatabaseError(inventory.unreadable)


def _cache(data: Path, off: bool) -> ScanCache | None:
    from garrison.findings.cache import ScanCache

    return None if off else ScanCache(data / "cache")


def _open(image: str, access: _Access) -> ImageSource:
    from garrison.egress import settings_from_environment
    from garrison.images import Access, ImageReference, docker_credentials, open_image

    user, password = access.user, ""
    if access.password_stdin != bool(user):
        raise InvalidSettingError(
            "username", "--username and --password-stdin belong together", "Give both, or none."
        )
    if access.password_stdin:
        password = sys.stdin.readline(_MAX_FILE).rstrip("\r\n")
    elif not image.startswith(_LOCAL):
        found = docker_credentials(ImageReference.parse(image).domain, os.environ)
        if found is not None:
            user, password = found.user, found.password.reveal()
    return open_image(
        image,
        settings_from_environment(os.environ),
        platform=access.platform,
        access=Access(user, password, access.plain_http, _pem(access.ca_file)),
        timeout=min(_WAIT, access.timeout),
        engine=_engine(os.environ),
    )


def _engine(environ: Mapping[str, str]) -> Path:
    """The socket of the local engine: DOCKER_HOST as docker reads it."""
    from garrison.images import ENGINE_SOCKET

    host = environ.get("DOCKER_HOST", "")
    if not host:
        return ENGINE_SOCKET
    kind, _, path = host.partition("://")
    if kind != "unix" or not path.startswith("/"):
        raise InvalidSettingError(
            "DOCKER_HOST", "DOCKER_HOST is not a Unix socket", "Use unix:///PATH, or a registry."
        )
    return Path(path)


def _pem(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_MAX_FILE)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise InvalidSettingError("ca_file", f"cannot read {path}: {reason}") from error


def _severities(text: str, option: str) -> frozenset[Severity]:
    from garrison.findings.finding import Severity

    try:
        return frozenset(Severity.parse(word) for word in text.split(",") if word.strip())
    except ValueError as error:
        raise InvalidSettingError(
            option, str(error), "Use low, medium, high, critical, or unknown."
        ) from error


def _waivers(path: Path | None) -> tuple[Waiver, ...]:
    from garrison.findings.policy import MAX_FILE, parse_waivers

    if path is None:
        return ()
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_FILE + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not text"
        raise InvalidSettingError("ignore_file", f"cannot read {path}: {reason}") from error
    if len(text) > MAX_FILE:
        raise InvalidSettingError("ignore_file", f"{path} has more than {MAX_FILE} characters")
    return parse_waivers(text, path.name)


def _waived(report: ScanReport, waivers: Sequence[Waiver]) -> ScanReport:
    from datetime import UTC, datetime

    from garrison.findings.policy import apply_waivers

    return apply_waivers(report, waivers, datetime.now(UTC)) if waivers else report


def _filtered(report: ScanReport, shown: frozenset[Severity], ignore_unfixed: bool) -> ScanReport:
    from dataclasses import replace

    kept = tuple(
        finding
        for finding in report.findings
        if (not shown or finding.match.severity in shown)
        and (finding.match.fixed_in or not ignore_unfixed)
    )
    return replace(report, findings=kept)


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TransferSpeedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("layers", total=None)

        def moved(done: int, total: int, step: str) -> None:
            if total:
                bar.update(task, completed=done, total=total, description=step)
            else:
                bar.update(task, description=step)

        yield moved
