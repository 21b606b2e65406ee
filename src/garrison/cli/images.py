"""`garrison images` and `garrison findings`: what the Console knows."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from garrison.cli.output import note, print_json
from garrison.cli.table import print_table
from garrison.cli.target import (
    ConsoleOption,
    DataOption,
    JsonOption,
    Local,
    Remote,
    all_items,
    segment,
    target,
)
from garrison.errors import InvalidSettingError
from garrison.findings.finding import Severity

SeverityOption = Annotated[
    str | None,
    typer.Option("--severity", help="At or above: low, medium, high or critical."),
]
LimitOption = Annotated[int, typer.Option(help="Items at most.", min=1)]
_WORDS = ("critical", "high", "medium", "low", "unknown")


def register(app: typer.Typer) -> None:
    """Add both commands."""
    app.command("images")(images)
    app.command("findings")(findings)


def images(
    search: Annotated[str, typer.Option(help="Part of a reference.")] = "",
    severity: SeverityOption = None,
    limit: LimitOption = 100,
    console: ConsoleOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List images with their counters, the worst first."""
    worst = _severity(severity)
    chosen = target(console, data)
    if isinstance(chosen, Remote):
        items = chosen.items("/images", limit, search=search, min_severity=worst and worst.label)
    else:
        items = _local_images(chosen, search, worst, limit)
    if json:
        print_json({"items": items})
        return
    print_table(
        ["Image", "C", "H", "M", "L", "U", "Packages", "Digest"],
        [
            [
                item["reference"],
                *(str(item["findings"][word]) for word in _WORDS),
                str(item["packages"]),
                item["digest"][:19],
            ]
            for item in items
        ],
        "No image was scanned.",
    )


def findings(
    image: Annotated[str, typer.Option(metavar="DIGEST", help="Of this image alone.")] = "",
    severity: SeverityOption = None,
    package: Annotated[str, typer.Option(help="Exact name.")] = "",
    advisory: Annotated[str, typer.Option(metavar="ID", help="Id or alias.")] = "",
    limit: LimitOption = 100,
    console: ConsoleOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List findings of all images or of one, the worst first."""
    worst = _severity(severity)
    chosen = target(console, data)
    warnings: list[str] = []
    if isinstance(chosen, Remote):
        path = f"/images/{segment(image)}" if image else ""
        if image:
            warnings = chosen.call("GET", path)["warnings"]
        items = chosen.items(
            f"{path}/findings",
            limit,
            min_severity=worst and worst.label,
            package=package,
            advisory=advisory,
        )
    else:
        items, warnings = _local_findings(chosen, image, worst, package, advisory, limit)
    if json:
        print_json({"items": items, "warnings": warnings})
    else:
        print_table(
            ["Advisory", "Severity", "Package", "Version", "Fixed in", "Image"],
            [
                [
                    item["id"],
                    item["severity"],
                    item["package"]["name"],
                    item["package"]["version"],
                    item["fixed_in"] or "no fix",
                    item["image"]["reference"],
                ]
                for item in items
            ],
            "Nothing was found." if not warnings else "Nothing was found; that means nothing:",
        )
    for warning in warnings:
        note(f"warning: {warning}")


def _local_images(
    chosen: Local, search: str, worst: Severity | None, limit: int
) -> list[dict[str, Any]]:
    from garrison.console import images as operations
    from garrison.console.api.images import image_view
    from garrison.database.images import ImageQuery

    with chosen.state() as state:
        rows = all_items(
            lambda n, cursor: operations.page(
                state, ImageQuery(limit=n, cursor=cursor, search=search, min_severity=worst)
            ),
            limit,
        )
        return [image_view(row).model_dump(mode="json") for row in rows]


def _local_findings(
    chosen: Local, image: str, worst: Severity | None, package: str, advisory: str, limit: int
) -> tuple[list[dict[str, Any]], list[str]]:
    from garrison.console import images as operations
    from garrison.console.api.images import finding_view
    from garrison.database.matches import FindingQuery

    with chosen.state() as state:
        view = operations.detail(state, image) if image else None
        number = view.image.image.id if view else None
        rows = all_items(
            lambda n, cursor: operations.findings(
                state,
                FindingQuery(
                    image_id=number,
                    min_severity=worst,
                    package=package,
                    advisory=advisory,
                    limit=n,
                    cursor=cursor,
                ),
            ),
            limit,
        )
        items = [finding_view(row).model_dump(mode="json") for row in rows]
        return items, list(view.warnings) if view else []


def _severity(text: str | None) -> Severity | None:
    if text is None:
        return None
    try:
        return Severity.parse(text)
    except ValueError:
        raise InvalidSettingError(
            "severity", f"{text} is not a severity", f"Use one of: {', '.join(_WORDS)}."
        ) from None
