"""`garrison defenders` and `garrison join-tokens`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from garrison.cli.output import print_json
from garrison.cli.table import print_table
from garrison.cli.target import (
    ConsoleOption,
    DataOption,
    JsonOption,
    Remote,
    actor,
    segment,
    target,
)

if TYPE_CHECKING:
    from pydantic import BaseModel

LimitOption = Annotated[int, typer.Option(help="Items at most.", min=1)]


def register(app: typer.Typer) -> None:
    """Add both commands."""
    app.command("defenders")(defenders)
    tokens = typer.Typer(help="Tokens with which Defenders enrol.", no_args_is_help=True)
    tokens.command("create")(create)
    tokens.command("list")(list_)
    tokens.command("revoke")(revoke)
    app.add_typer(tokens, name="join-tokens")


def defenders(
    limit: LimitOption = 1000,
    console: ConsoleOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """List the fleet."""
    chosen = target(console, data)
    if isinstance(chosen, Remote):
        items = chosen.items("/defenders", limit)
    else:
        from garrison.cli.target import all_items
        from garrison.console import fleet
        from garrison.console.api.fleet import defender_view

        with chosen.state() as state:
            views = all_items(lambda n, cursor: fleet.defenders(state, n, cursor), limit)
            items = [_plain(defender_view(view)) for view in views]
    if json:
        print_json({"items": items})
        return
    print_table(
        ["Name", "State", "Version", "Settings", "Proxy", "Last seen", "Id"],
        [
            [
                item["name"],
                "connected" if item["connected"] else "not connected",
                item["version"],
                f"{item['settings_revision']}{' (old)' if item['outdated'] else ''}",
                item["proxy"] or "none",
                item["last_seen"] or "never",
                item["id"],
            ]
            for item in items
        ],
        "No Defender has enrolled.",
    )


def create(
    group: Annotated[str, typer.Option(help="Group of the Defenders that use it.")] = "",
    expires: Annotated[
        int | None, typer.Option(metavar="DAYS", help="Days it is good for.", min=1, max=3650)
    ] = None,
    uses: Annotated[int | None, typer.Option(help="How many may enrol with it.", min=1)] = None,
    console: ConsoleOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Create a join token and print it: it is shown this once."""
    chosen = target(console, data)
    if isinstance(chosen, Remote):
        body = {"group": group, "uses": uses, "expires_in": expires * 86400 if expires else None}
        item = chosen.call("POST", "/join-tokens", body)
    else:
        from garrison.console import fleet
        from garrison.console.api.fleet import token_view

        end = datetime.now(UTC) + timedelta(days=expires) if expires else None
        with chosen.state(create=True) as state:
            made = fleet.create_join_token(
                state, group=group, expires_at=end, uses=uses, actor=actor()
            )
        item = {**_plain(token_view(made.row)), "token": made.text.reveal()}
    if json:
        print_json(item)
    else:
        print(item["token"])


def list_(console: ConsoleOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """List join tokens, without their secrets."""
    chosen = target(console, data)
    if isinstance(chosen, Remote):
        items = chosen.call("GET", "/join-tokens")["items"]
    else:
        from garrison.console import fleet
        from garrison.console.api.fleet import token_view

        with chosen.state() as state:
            items = [_plain(token_view(row)) for row in fleet.join_tokens(state)]
    if json:
        print_json({"items": items})
        return
    print_table(
        ["Id", "Group", "State", "Uses left", "Expires", "Created by"],
        [
            [
                item["id"],
                item["group"],
                "revoked" if item["revoked_at"] else "valid",
                "any" if item["uses_left"] is None else str(item["uses_left"]),
                item["expires_at"] or "never",
                item["created_by"],
            ]
            for item in items
        ],
        "There are no join tokens.",
    )


def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID")],
    console: ConsoleOption = None,
    data: DataOption = None,
) -> None:
    """Let nobody enrol with a token any more; enrolled Defenders stay."""
    chosen = target(console, data)
    if isinstance(chosen, Remote):
        chosen.call("DELETE", f"/join-tokens/{segment(token_id)}")
    else:
        from garrison.console import fleet

        with chosen.state() as state:
            fleet.revoke_join_token(state, token_id, actor())


def _plain(model: BaseModel) -> dict[str, Any]:
    return model.model_dump(mode="json")
