"""`garrison scan` and `garrison sbom`: what is in an image, and what is wrong with it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from garrison.cli import ci, console_report, image_input
from garrison.cli.console_report import console_for
from garrison.cli.image_input import (
    CaFile,
    Data,
    Image,
    ImageAccess,
    NoCache,
    PasswordStdin,
    PlainHttp,
    Platform,
    Timeout,
    User,
)
from garrison.cli.report_output import now, sinks, write
from garrison.environment import data_directory
from garrison.errors import GarrisonError, InvalidSettingError

if TYPE_CHECKING:
    from garrison.findings.finding import Finding, ScanReport, Severity
    from garrison.findings.policy import Waiver
    from garrison.findings.vex import Statement

Json = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
Output = Annotated[
    Path | None, typer.Option("--output", metavar="FILE", help="Write the report to this file.")
]


class IncompleteReportError(GarrisonError):
    """The scan cannot say that an image is clean."""

    code = "scan.incomplete"

    def __init__(self, report: ScanReport) -> None:
        missing = ", ".join(report.missing_ecosystems)
        broken = ", ".join(report.inventory.unreadable)
        reasons = [f"no advisories for {missing} are loaded"] if missing else []
        reasons += [f"a package database cannot be read: {broken}"] if broken else []
        super().__init__("the report is not complete: " + "; ".join(reasons))
        self._missing = report.missing_ecosystems

    @property
    def hint(self) -> str:
        if self._missing:
            return load_hint(self._missing)
        return "What was found is shown; packages of that database are missing from it."


def load_hint(missing: Sequence[str]) -> str:
    """What to do about ecosystems without advisories: load them, where anybody publishes any."""
    from garrison.packages.versions import scheme_for

    bases = dict.fromkeys(name.partition(":")[0] for name in missing)
    loadable = [name for name in bases if scheme_for(name) is not None]
    if not loadable:
        return "No feed in OSV's form is about them, so this image cannot be judged."
    options = " ".join(f"--ecosystem {shlex.quote(name)}" for name in loadable)
    return f"Load them: garrison intel update {options} (or GARRISON_INTEL_ECOSYSTEMS)."


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
            help="table, json, sarif, cyclonedx, spdx, csv or openvex; several with commas.",
        ),
    ] = None,
    json: Json = False,
    output: Output = None,
    fail_on: Annotated[
        str,
        typer.Option(metavar="SEVERITY", help="Exit with 1 for findings from this severity on."),
    ] = "",
    ignore_unfixed: Annotated[
        bool, typer.Option("--ignore-unfixed", help="Leave out findings that nothing fixes.")
    ] = False,
    severity: Annotated[
        str, typer.Option(metavar="LIST", help="Show only these: low,medium,high,critical,unknown.")
    ] = "",
    ignore_file: Annotated[
        Path | None,
        typer.Option(
            "--ignore-file", metavar="FILE", help="Waivers: findings accepted until a day."
        ),
    ] = None,
    vex: Annotated[
        list[Path] | None,
        typer.Option("--vex", metavar="FILE", help="OpenVEX or CycloneDX; may be repeated."),
    ] = None,
    hide_suppressed: Annotated[
        bool,
        typer.Option("--hide-suppressed", help="Leave out what VEX and waivers take out."),
    ] = False,
    platform: Platform = "",
    username: User = "",
    password_stdin: PasswordStdin = False,
    plain_http: PlainHttp = False,
    ca_file: CaFile = None,
    timeout: Timeout = image_input.TIMEOUT,
    no_cache: NoCache = False,
    console: Annotated[
        str | None,
        typer.Option(
            "--console",
            metavar="URL",
            help="Judge by a Console's advisories and report there. [env: GARRISON_CONSOLE, with "
            "GARRISON_TOKEN]",
        ),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="NAME=VALUE", help="For the Console; may be repeated."),
    ] = None,
    data: Data = None,
) -> None:
    """List what is vulnerable in an image.

    Exit codes: 0 done; 1 findings from --fail-on on; 2 wrong usage; 3 not finished or not
    complete: without advisories for what is in the image there is no clean report.
    """
    from garrison.advisories import AdvisoryStore
    from garrison.findings.policy import exceeds
    from garrison.findings.scan import judge
    from garrison.reports import FORMATS, render

    wanted = sinks(format or [], json, output, FORMATS)
    threshold = _severities(fail_on, "--fail-on")
    shown = _severities(severity, "--severity")
    statements = _statements(vex or [])
    waivers = _waivers(ignore_file)
    moment = now(os.environ)
    remote = console_for(console, os.environ)
    labels = ci.labels(label or [], os.environ)
    folder = data or data_directory(os.environ)
    store = None if remote else AdvisoryStore.open(folder)
    cache = None if no_cache else folder / "cache"
    access = ImageAccess(platform, username, password_stdin, plain_http, ca_file, timeout, cache)
    inventory = image_input.read(image, access)
    if remote:
        report = console_report.report(remote, inventory, labels, moment.date())
    else:
        report = judge(inventory, store, moment.date())
    report = _decided(report, statements)
    report = _waived(report, waivers)
    report = _filtered(report, shown, ignore_unfixed, hide_suppressed)
    write(
        wanted,
        lambda format, page: render(report, format, now=moment, width=page.width, color=page.color),
    )
    if store is None and not remote:
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
    timeout: Timeout = image_input.TIMEOUT,
    no_cache: NoCache = False,
    data: Data = None,
) -> None:
    """List the packages of an image. Needs no advisories."""
    from garrison.reports import PACKAGE_FORMATS, render_packages

    wanted = sinks(format or [], json, output, PACKAGE_FORMATS)
    moment = now(os.environ)
    cache = None if no_cache else (data or data_directory(os.environ)) / "cache"
    access = ImageAccess(platform, username, password_stdin, plain_http, ca_file, timeout, cache)
    inventory = image_input.read(image, access)
    write(
        wanted,
        lambda format, page: render_packages(
            inventory, format, now=moment, width=page.width, color=page.color
        ),
    )
    if inventory.unreadable:
        raise UnreadableDatabaseError(inventory.unreadable)


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


def _statements(paths: Sequence[Path]) -> tuple[Statement, ...]:
    from garrison.findings.vex import MAX_BYTES, parse_vex

    return tuple(
        statement
        for path in paths
        for statement in parse_vex(image_input.read_bytes(path, MAX_BYTES, "vex"), path.name)
    )


def _decided(report: ScanReport, statements: Sequence[Statement]) -> ScanReport:
    from garrison.findings.vex import apply_vex
    from garrison.reports.subject import image_purl

    return apply_vex(report, statements, image_purl(report.inventory)) if statements else report


def _waived(report: ScanReport, waivers: Sequence[Waiver]) -> ScanReport:
    from datetime import UTC, datetime

    from garrison.findings.policy import apply_waivers

    return apply_waivers(report, waivers, datetime.now(UTC)) if waivers else report


def _filtered(
    report: ScanReport, shown: frozenset[Severity], ignore_unfixed: bool, hide_suppressed: bool
) -> ScanReport:
    from dataclasses import replace

    def kept(findings: Sequence[Finding]) -> tuple[Finding, ...]:
        return tuple(
            finding
            for finding in findings
            if (not shown or finding.match.severity in shown)
            and (finding.match.fixed_in or not ignore_unfixed)
        )

    suppressed = () if hide_suppressed else kept(report.suppressed)
    return replace(report, findings=kept(report.findings), suppressed=suppressed)
