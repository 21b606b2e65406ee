"""`garrison alerts`: who is told, and what was sent."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from garrison.cli.output import print_json
from garrison.cli.table import print_table
from garrison.cli.target import (
    ConsoleOption,
    DataOption,
    JsonOption,
    Local,
    Remote,
    all_items,
    target,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("alerts")(alerts)


def alerts(
    limit: Annotated[int, typer.Option(help="Messages at most.", min=1)] = 50,
    console: ConsoleOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List alert profiles, and messages: sent, waiting and given up."""
    chosen = target(console, data)
    if isinstance(chosen, Remote):
        document = {
            "profiles": chosen.call("GET", "/alert-profiles")["items"],
            "deliveries": chosen.items("/deliveries", limit),
        }
    else:
        document = _local(chosen, limit)
    if json:
        print_json(document)
        return
    print_table(
        ["Profile", "Service", "From severity", "Enabled"],
        [
            [item["name"], item["webhook_host"], item["threshold"], str(item["enabled"]).lower()]
            for item in document["profiles"]
        ],
        "There are no alert profiles: nobody is told of findings.",
    )
    print()
    print_table(
        ["Created", "Profile", "State", "Tries", "Findings", "Image", "Error"],
        [
            [
                item["created_at"],
                item["profile"],
                item["state"],
                str(item["attempts"]),
                str(item["findings"]),
                item["reference"],
                item["error"]["message"] if item["error"] else "",
            ]
            for item in document["deliveries"]
        ],
        "No message was written.",
    )


def _local(chosen: Local, limit: int) -> dict[str, Any]:
    from garrison.console import alerting
    from garrison.console.api.alerts import delivery_view, profile_view

    with chosen.state() as state:
        profiles = alerting.profiles(state)
        rows = all_items(lambda n, cursor: alerting.deliveries(state, n, cursor), limit)
    return {
        "profiles": [profile_view(row).model_dump(mode="json") for row in profiles],
        "deliveries": [delivery_view(row).model_dump(mode="json") for row in rows],
    }
