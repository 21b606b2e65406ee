"""The proxy settings of the Console: read, save, explain and test them."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from starlette.concurrency import run_in_threadpool

from garrison import egress
from garrison.console import fleet
from garrison.console.problems import ConflictError
from garrison.console.state import AppState
from garrison.database import proxy as rows
from garrison.database.keys import SEAL_PROXY
from garrison.egress import ProxySettings, Purpose
from garrison.fleet.messages import ExplainRequest, TestRequest
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.database import Database
    from garrison.database.proxy import ProxyRow

FIELDS = ("http_proxy", "no_proxy", "ca", "user", "password")
_EXPLAIN_SECONDS = 15.0
TEST_SECONDS = 15.0
"""How long a test may take, unless somebody asks for another limit."""
_ANSWER_SECONDS = 30.0


class _Keep(enum.Enum):
    KEEP = "keep"


KEEP: Final = _Keep.KEEP
"""In `ProxyForm.password`: leave the stored password as it is."""
Keep: TypeAlias = Literal[_Keep.KEEP]
CONSOLE = "console"
"""In `from_`: connect from the Console itself."""


@dataclass(frozen=True, slots=True)
class ProxyForm:
    """What a person typed.

    password: a new one, None to remove it, KEEP to leave it.
    revision: the revision the form was filled from; None saves over whatever is there.
    """

    http_proxy: str
    no_proxy: Sequence[str] | str
    ca: str
    user: str
    password: Secret | Keep | None = KEEP
    revision: int | None = None


@dataclass(frozen=True, slots=True)
class SavedProxy:
    """The settings in force, and who saved them.

    revision: 0 while none were ever saved: then they are the environment's, and `saved_at` is
    None. `settings.sources` says for each value where it came from.
    """

    settings: ProxySettings
    revision: int
    saved_at: datetime | None
    saved_by: str


def load(
    db: Database, environment: ProxySettings, in_force: ProxySettings | None = None
) -> SavedProxy:
    """The settings that hold: the saved ones, all five values of them, else the environment's.

    in_force: used as they are when they have the saved revision already.
    """
    with db.read() as c:
        row = rows.current(c)
    if row is None:
        return SavedProxy(environment, 0, None, "")
    if in_force is not None and in_force.revision == row.revision:
        return _saved(in_force, row)
    return _saved(_built(db, row), row)


def current(state: AppState) -> SavedProxy:
    """The settings in force."""
    return load(state.db, state.settings.environment_proxy, state.egress.settings)


def save(state: AppState, form: ProxyForm, actor: str) -> SavedProxy:
    """Validate, store, and use from the next connection on. Call it in a worker thread.

    The first save takes over what the environment says where the form leaves it, so that
    afterwards there is one source.

    Raises:
        InvalidSettings: `.problems` has one InvalidSettingError for each bad field.
        StaleRevisionError: somebody saved since `form.revision`.
    """
    with state.db.write() as c:
        before = rows.current(c)
        password = _password(state, form, before)
        checked = ProxySettings.build(
            http_proxy=form.http_proxy,
            no_proxy=form.no_proxy,
            ca=form.ca,
            user=form.user.strip(),
            password=password,
        )
        rows.save(
            c,
            http_proxy=str(checked.proxy) if checked.proxy else "",
            no_proxy=[entry.text for entry in checked.bypass.entries],
            ca=checked.trust.pem,
            user=checked.credentials.user if checked.credentials else "",
            password=_sealed(state, form, before, checked),
            expected_revision=form.revision,
            actor=actor,
            now=datetime.now(UTC),
        )
    saved = load(state.db, state.settings.environment_proxy)
    state.use_proxy(saved.settings)
    return saved


def add_ca(state: AppState, pem: str, actor: str) -> SavedProxy:
    """Save the settings in force with one more CA. Raises as `save`."""
    before = current(state)
    view = before.settings.as_view()
    form = ProxyForm(
        http_proxy=view["http_proxy"],
        no_proxy=view["no_proxy"],
        ca=f"{view['ca'].rstrip()}\n{pem}".lstrip(),
        user=view["user"],
        revision=before.revision,
    )
    return save(state, form, actor)


def follow(state: AppState) -> bool:
    """Use what another process saved meanwhile; whether there was something."""
    saved = current(state)
    if saved.settings.revision == state.egress.settings.revision:
        return False
    state.use_proxy(saved.settings)
    return True


async def explain(
    state: AppState, url: str, purpose: Purpose, from_: str = CONSOLE
) -> dict[str, Any]:
    """The route `url` would take from the Console or from a Defender (its id or name).

    Raises: BadUrlError for a scheme we do not speak; NotFoundError for an unknown Defender;
    ConflictError for one that is not connected.
    """
    own = egress.explain(url, state.egress.settings, purpose).as_dict()
    if from_ == CONSOLE:
        return own
    request = ExplainRequest(str(uuid.uuid4()), url, purpose)
    return await _ask(state, from_, request, _EXPLAIN_SECONDS)


async def test(
    state: AppState,
    url: str,
    purpose: Purpose,
    from_: str = CONSOLE,  # noqa: PT028
    timeout: float = TEST_SECONDS,  # noqa: PT028
) -> dict[str, Any]:
    """Connect to `url` and say what each hop did: the form of "A test". Raises as `explain`."""
    if from_ == CONSOLE:
        return (await state.egress.test(url, purpose=purpose, timeout=timeout)).as_dict()
    egress.explain(url, state.egress.settings, purpose)
    request = TestRequest(str(uuid.uuid4()), url, purpose, timeout)
    return await _ask(state, from_, request, timeout + _ANSWER_SECONDS)


async def _ask(
    state: AppState, name: str, request: TestRequest | ExplainRequest, timeout: float
) -> dict[str, Any]:
    view = await run_in_threadpool(fleet.defender, state, name)
    if state.gateway is None or not view.connected:
        raise ConflictError(
            f"{view.row.name} is not connected",
            "Look at Manage > Defenders: it says when it was last seen, and why it left.",
        )
    return await state.gateway.ask(view.row.id, request, timeout)


def _password(state: AppState, form: ProxyForm, before: ProxyRow | None) -> Secret | None:
    if form.password is not KEEP:
        return form.password or None
    if before is None:
        held = state.settings.environment_proxy.credentials
        return held.password if held else None
    return state.db.key.open(SEAL_PROXY, before.password) if before.password else None


def _sealed(
    state: AppState, form: ProxyForm, before: ProxyRow | None, checked: ProxySettings
) -> bytes | None:
    """The password to store; without a user there is nobody it could belong to."""
    held = checked.credentials
    if held is None or not held.password:
        return None
    if form.password is KEEP and before is not None:
        # Sealing again gives other bytes, which the audit row would call a change.
        return before.password
    return state.db.key.seal(SEAL_PROXY, held.password)


def _built(db: Database, row: ProxyRow) -> ProxySettings:
    return ProxySettings.build(
        http_proxy=row.http_proxy,
        no_proxy=row.no_proxy,
        ca=row.ca,
        user=row.user,
        password=db.key.open(SEAL_PROXY, row.password) if row.password else None,
        revision=row.revision,
        sources=dict.fromkeys(FIELDS, "saved"),
    )


def _saved(settings: ProxySettings, row: ProxyRow) -> SavedProxy:
    return SavedProxy(settings, row.revision, row.saved_at, row.saved_by)
