"""/defenders: the fleet, and how another Defender joins it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from starlette.responses import Response
from starlette.routing import Route

from garrison.console import fleet as operations
from garrison.console import proxy as routing
from garrison.console.accounts import OPERATORS
from garrison.console.pages.view import Choice, Crumb, Mark, choices, crumbs, link
from garrison.console.pages.visit import Visit, field_errors, go, page
from garrison.console.problems import InvalidFieldsError

if TYPE_CHECKING:
    from garrison.console.fleet import DefenderView
    from garrison.console.settings import ConsoleSettings
    from garrison.database.defenders import JoinTokenRow

PATH = "/defenders"
LIMIT = 100
LIFETIMES = (("1", "1 hour"), ("24", "1 day"), ("168", "7 days"), ("", "Until revoked"))
USES = (("1", "1 Defender"), ("10", "10 Defenders"), ("100", "100 Defenders"), ("", "Any number"))


@dataclass(frozen=True, slots=True)
class DefenderLine:
    """One Defender. settings: the proxy settings it runs, as shape and word."""

    id: str
    name: str
    group: str
    state: Mark
    since: datetime | None
    settings: Mark
    route: str
    version: str
    other_version: bool
    platform: str
    heard: datetime | None
    enrolled_at: datetime


@dataclass(frozen=True, slots=True)
class DefendersPage:
    defenders: tuple[DefenderLine, ...]
    total: int
    connected: int
    outdated: int
    may_change: bool
    here: str
    first_page: str
    next_page: str


@dataclass(frozen=True, slots=True)
class TokenLine:
    id: str
    group: str
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    uses: str
    state: Mark
    open: bool


@dataclass(frozen=True, slots=True)
class Commands:
    """What to run where the Defender shall live. token: shown this once."""

    token: str
    script: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AddPage:
    """new: the token just made, with its commands. unreachable: why others cannot dial in."""

    crumbs: tuple[Crumb, ...]
    lifetimes: tuple[Choice, ...]
    uses: tuple[Choice, ...]
    group: str
    tokens: tuple[TokenLine, ...]
    address: str
    unreachable: str = ""
    new: Commands | None = None
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Defenders that enrolled since a moment."""

    since: str
    lines: tuple[DefenderLine, ...]


def routes() -> list[Route]:
    return [
        page(PATH, show),
        page(f"{PATH}/add", show_add, roles=OPERATORS),
        page(f"{PATH}/add", create_token, methods=("POST",), roles=OPERATORS),
        page(f"{PATH}/arrivals", arrivals, roles=OPERATORS),
        page(f"{PATH}/tokens/{{id}}/revoke", revoke, methods=("POST",), roles=OPERATORS),
        page(f"{PATH}/{{id}}/remove", remove, methods=("POST",), roles=OPERATORS),
    ]


def show(visit: Visit) -> Response:
    """The fleet."""
    cursor = visit.query.get("cursor") or None
    found = operations.defenders(visit.state, LIMIT, cursor)
    counts = operations.counts(visit.state)
    context = DefendersPage(
        defenders=tuple(defender_line(view) for view in found.items),
        total=counts.total,
        connected=counts.connected,
        outdated=counts.out_of_date,
        may_change=visit.may(*OPERATORS),
        here=link(PATH, cursor=cursor),
        first_page=PATH if cursor else "",
        next_page=link(PATH, cursor=found.next_cursor) if found.next_cursor else "",
    )
    if visit.partial:
        return visit.part("_defenders.html", page=context)
    return visit.page("defenders.html", context, title="Defenders", here="defenders")


def show_add(visit: Visit) -> Response:
    """The form for a join token, and the tokens there are."""
    return _answer(visit, _add(visit))


def create_token(visit: Visit) -> Response:
    """Make a join token; it is shown in this answer and never again."""
    group, hours = visit.form.text("group"), visit.form.text("lifetime")
    uses = visit.form.text("uses")
    limited, counted = hours in dict(LIFETIMES[:-1]), uses in dict(USES[:-1])
    try:
        created = operations.create_join_token(
            visit.state,
            group=group,
            expires_at=visit.now + timedelta(hours=int(hours)) if limited else None,
            uses=int(uses) if counted else None,
            actor=visit.actor,
        )
    except InvalidFieldsError as error:
        wrong = field_errors(error.problems)
        return _answer(visit, _add(visit, group=group, errors=wrong), status=422)
    token = created.text.reveal()
    settings = routing.current(visit.state).settings.as_view()
    script = join_script(visit.state.settings.defender_url, token, settings)
    return _answer(visit, _add(visit, new=Commands(token, script, created.row.created_at)))


def revoke(visit: Visit) -> Response:
    """Nobody joins with the token any more."""
    operations.revoke_join_token(visit.state, visit.path("id"), visit.actor)
    return go(f"{PATH}/add", say="Revoked the join token. Defenders that joined with it stay.")


def remove(visit: Visit) -> Response:
    """Forget a Defender."""
    view = operations.defender(visit.state, visit.path("id"))
    operations.remove_defender(visit.state, view.row.id, visit.actor)
    return go(PATH, say=f"Removed {view.row.name}. What it scanned stays.")


def arrivals(visit: Visit) -> Response:
    """Who enrolled since `?since=`: asked while the commands are shown."""
    since = visit.query.get("since", "")
    try:
        moment = datetime.fromisoformat(since)
    except ValueError:
        moment = visit.now
    views = operations.defenders(visit.state, 1000).items
    new = [v for v in views if moment.tzinfo is not None and v.row.enrolled_at >= moment]
    found = Arrivals(since, tuple(defender_line(view) for view in new))
    return visit.part("_arrivals.html", arrivals=found)


def defender_line(view: DefenderView) -> DefenderLine:
    """One Defender in the words of the page."""
    from garrison import __version__

    row = view.row
    if view.connected:
        state, since = Mark("ok", "Connected"), row.connected_at
    elif row.connected_at is None:
        state, since = Mark("idle", "Never connected"), None
    else:
        state, since = Mark("fail", "Silent"), row.disconnected_at or row.last_seen
    if view.outdated:
        word = f"{row.settings_revision}, older" if row.settings_revision else "Its own"
        settings = Mark("warn", word)
    else:
        settings = Mark("done", str(row.settings_revision or "None saved"))
    return DefenderLine(
        id=row.id,
        name=row.name,
        group=row.group,
        state=state,
        since=since,
        settings=settings,
        route=row.route,
        version=row.version,
        other_version=bool(row.version) and row.version != __version__,
        platform=row.platform,
        heard=row.last_seen,
        enrolled_at=row.enrolled_at,
    )


def join_script(address: str, token: str, settings: Mapping[str, Any]) -> str:
    """The commands that start a Defender, with the way out it needs.

    The proxy's password is never on a command line: it is read from a file.
    """
    lines = [f"export GARRISON_CONSOLE={shell_word(address)}"]
    lines.append(f"export GARRISON_JOIN_TOKEN={shell_word(token)}")
    if settings["http_proxy"]:
        lines.append(f"export GARRISON_HTTP_PROXY={shell_word(settings['http_proxy'])}")
    if settings["no_proxy"]:
        lines.append(f"export GARRISON_NO_PROXY={shell_word(','.join(settings['no_proxy']))}")
    if settings["ca"]:
        lines.append("export GARRISON_CA_FILE=/etc/garrison/ca.pem")
    if settings["user"]:
        lines.append(f"export GARRISON_PROXY_USER={shell_word(settings['user'])}")
    if settings["password_set"]:
        lines.append("export GARRISON_PROXY_PASSWORD_FILE=/etc/garrison/proxy-password")
    lines.append("garrison defender")
    return "\n".join(lines)


def shell_word(value: str) -> str:
    """`value` as one word of a shell command."""
    import shlex

    return shlex.quote(value)


def unreachable(settings: ConsoleSettings) -> str:
    """Why Defenders on other machines cannot dial this Console; empty where they can."""
    if settings.gateway_url or not settings.gateway_listen.is_loopback:
        return ""
    return (
        f"The gateway listens on {settings.gateway_listen}, which only this machine reaches. "
        "Start the Console with `--gateway-listen 0.0.0.0:8084`, and set `GARRISON_GATEWAY_URL` "
        "to what Defenders dial."
    )


def token_line(row: JoinTokenRow, now: datetime) -> TokenLine:
    """One join token, and whether anybody still joins with it."""
    if row.revoked_at is not None:
        state = Mark("idle", "Revoked")
    elif row.expires_at is not None and row.expires_at <= now:
        state = Mark("idle", "Expired")
    elif row.uses_left == 0:
        state = Mark("done", "Used")
    else:
        state = Mark("ok", "Open")
    uses = "any number" if row.uses_left is None else str(row.uses_left)
    return TokenLine(
        id=row.id,
        group=row.group,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        uses=uses,
        state=state,
        open=state.word == "Open",
    )


def _add(
    visit: Visit,
    *,
    group: str = "",
    new: Commands | None = None,
    errors: Mapping[str, str] | None = None,
) -> AddPage:
    settings = visit.state.settings
    return AddPage(
        crumbs=crumbs(("Defenders", PATH), "Add a Defender"),
        lifetimes=choices(LIFETIMES, visit.form.text("lifetime") or "1"),
        uses=choices(USES, visit.form.text("uses") or "1"),
        group=group,
        tokens=tuple(token_line(row, visit.now) for row in operations.join_tokens(visit.state)),
        address=settings.defender_url,
        unreachable=unreachable(settings),
        new=new,
        errors=errors or {},
    )


def _answer(visit: Visit, context: AddPage, *, status: int = 200) -> Response:
    return visit.page(
        "defender-add.html", context, title="Add a Defender", here="defenders", status=status
    )
