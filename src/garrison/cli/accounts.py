"""`garrison tokens` and `garrison users`: access without a browser."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, cast

import typer

from garrison.cli.output import note, print_json
from garrison.cli.table import print_table
from garrison.cli.target import (
    ConsoleOption,
    DataOption,
    JsonOption,
    Local,
    Remote,
    actor,
    segment,
    target,
)
from garrison.errors import InvalidSettingError
from garrison.secret import Secret


def register(app: typer.Typer) -> None:
    """Add both commands."""
    tokens = typer.Typer(help="API tokens.", no_args_is_help=True)
    tokens.command("create")(create)
    tokens.command("list")(list_)
    tokens.command("revoke")(revoke)
    app.add_typer(tokens, name="tokens")
    users = typer.Typer(help="People who sign in.", no_args_is_help=True)
    users.command("list")(list_users)
    users.command("reset")(reset)
    app.add_typer(users, name="users")


def create(
    role: Annotated[str, typer.Option(help="admin, operator, auditor or ci.")],
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    expires: Annotated[
        int | None, typer.Option(metavar="DAYS", help="Days it is good for.", min=1, max=3650)
    ] = None,
    console: ConsoleOption = None,
    data: DataOption = None,
    json: JsonOption = False,
) -> None:
    """Create an API token and print it: it is shown this once."""
    chosen = target(console, data)
    named = name or f"{role} token"
    if isinstance(chosen, Remote):
        _check_role(role)
        body = {"name": named, "role": role, "expires_in": expires * 86400 if expires else None}
        item = chosen.call("POST", "/tokens", body)
    else:
        item = _create_local(chosen, named, role, expires)
    if json:
        print_json(item)
    else:
        print(item["token"])


def list_(console: ConsoleOption = None, data: DataOption = None, json: JsonOption = False) -> None:
    """List API tokens, without their secrets."""
    chosen = target(console, data)
    if isinstance(chosen, Remote):
        items = chosen.call("GET", "/tokens")["items"]
    else:
        from garrison.console import accounts
        from garrison.console.api.access import token_view

        with chosen.state() as state:
            items = [token_view(row).model_dump(mode="json") for row in accounts.tokens(state)]
    if json:
        print_json({"items": items})
        return
    print_table(
        ["Id", "Name", "Role", "State", "Expires", "Last used"],
        [
            [
                item["id"],
                item["name"],
                item["role"],
                "revoked" if item["revoked_at"] else "valid",
                item["expires_at"] or "never",
                item["last_used_at"] or "never",
            ]
            for item in items
        ],
        "There are no API tokens.",
    )


def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID")],
    console: ConsoleOption = None,
    data: DataOption = None,
) -> None:
    """Make an API token invalid at once."""
    chosen = target(console, data)
    if isinstance(chosen, Remote):
        chosen.call("DELETE", f"/tokens/{segment(token_id)}")
        return
    from garrison.console import accounts

    with chosen.state() as state:
        accounts.revoke_token(state, token_id, actor=actor(), now=datetime.now(UTC))


def list_users(
    console: ConsoleOption = None, data: DataOption = None, json: JsonOption = False
) -> None:
    """List everybody who can sign in."""
    chosen = target(console, data)
    if isinstance(chosen, Remote):
        items = chosen.call("GET", "/users")["items"]
    else:
        from garrison.console import accounts
        from garrison.console.api.models import UserOut

        with chosen.state() as state:
            rows = accounts.users(state)
        items = [UserOut.model_validate(row).model_dump(mode="json") for row in rows]
    if json:
        print_json({"items": items})
        return
    print_table(
        ["Name", "Role", "Created"],
        [[item["name"], item["role"], item["created_at"]] for item in items],
        "Nobody can sign in: the Console is not set up.",
    )


def reset(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Set a new password; sessions of the user end. On the Console's own machine.

    Without --password-stdin and without a terminal a password is made and printed.
    """
    import asyncio

    from garrison.console import accounts

    chosen = target(None, data)
    if isinstance(chosen, Remote):
        raise InvalidSettingError(
            "data", "passwords are reset on the Console's own machine", "Name it with --data DIR."
        )
    password, made = _password(password_stdin)
    with chosen.state() as state:
        asyncio.run(
            accounts.reset_password(state, name, password, actor=actor(), now=datetime.now(UTC))
        )
    note(f"The password of {name} is changed; all sessions have ended.")
    if made:
        print(password.reveal())


def _create_local(chosen: Local, name: str, role: str, expires: int | None) -> dict[str, Any]:
    from garrison.console import accounts
    from garrison.console.api.access import token_view

    now = datetime.now(UTC)
    with chosen.state(create=True) as state:
        made = accounts.create_token(
            state,
            name,
            cast(accounts.Role, role),
            expires_at=now + timedelta(days=expires) if expires else None,
            actor=actor(),
            now=now,
        )
    return {**token_view(made.row).model_dump(mode="json"), "token": made.secret.reveal()}


def _check_role(role: str) -> None:
    from garrison.console.accounts import ALL_ROLES

    if role not in ALL_ROLES:
        roles = ", ".join(ALL_ROLES)
        raise InvalidSettingError("role", f"there is no role {role}", f"Use {roles}.")


def _password(from_stdin: bool) -> tuple[Secret, bool]:
    """The new password, and whether it was made here."""
    if from_stdin:
        text = sys.stdin.read(4096).rstrip("\r\n")
        if not text:
            raise InvalidSettingError("password", "standard input holds no password")
        return Secret(text), False
    if sys.stdin.isatty():
        import getpass

        first = getpass.getpass("New password: ", stream=sys.stderr)
        if getpass.getpass("Again: ", stream=sys.stderr) != first:
            raise InvalidSettingError("password", "the two passwords differ")
        return Secret(first), False
    import secrets

    return Secret(secrets.token_urlsafe(15)), True
