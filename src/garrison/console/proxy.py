"""The proxy settings of the Console: read, save, explain and test them."""

from __future__ import annotations

import base64
import enum
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
from garrison.egress.rules import more_document
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
    more: by field (egress.MORE_FIELDS) the plain form of what goes beyond the five; what is absent
    stays as it is, and so does the password of a proxy without `password`; None removes it.
    """

    http_proxy: str
    no_proxy: Sequence[str] | str
    ca: str
    user: str
    password: Secret | Keep | None = KEEP
    revision: int | None = None
    more: Mapping[str, Any] = field(default_factory=dict)


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
        checked = _checked(state, form, before)
        rows.save(
            c,
            http_proxy=str(checked.proxy) if checked.proxy else "",
            no_proxy=[entry.text for entry in checked.bypass.entries],
            ca=checked.trust.pem,
            user=checked.credentials.user if checked.credentials else "",
            password=_sealed(state, form, before, checked),
            more=_stored(state, checked, before),
            expected_revision=form.revision,
            actor=actor,
            now=datetime.now(UTC),
        )
    saved = load(state.db, state.settings.environment_proxy)
    state.use_proxy(saved.settings)
    return saved


def preview(state: AppState, form: ProxyForm) -> ProxySettings:
    """What `save` would put in force; nothing is stored. Raises InvalidSettings."""
    with state.db.read() as c:
        before = rows.current(c)
    return _checked(state, form, before)


def save_more(
    state: AppState, more: Mapping[str, Any], revision: int | None, actor: str
) -> SavedProxy:
    """Save the settings in force with other values beyond the five. Raises as `save`."""
    view = current(state).settings.as_view()
    form = ProxyForm(
        http_proxy=view["http_proxy"],
        no_proxy=view["no_proxy"],
        ca=view["ca"],
        user=view["user"],
        revision=revision,
        more=more,
    )
    return save(state, form, actor)


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
    state: AppState,
    url: str,
    purpose: Purpose,
    from_: str = CONSOLE,
    group: str | None = None,
) -> dict[str, Any]:
    """The route `url` would take from the Console or from a Defender (its id or name).

    group: as a Defender of that group would be told now, decided here.

    Raises: BadUrlError for a scheme we do not speak; NotFoundError for an unknown Defender;
    ConflictError for one that is not connected.
    """
    settings = state.egress.settings
    if group is not None:
        settings = settings.for_group(group)
    own = (await run_in_threadpool(egress.explain, url, settings, purpose)).as_dict()
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
    egress.Target.parse(url)
    request = TestRequest(str(uuid.uuid4()), url, purpose, timeout)
    return await _ask(state, from_, request, timeout + _ANSWER_SECONDS)


async def test_with(
    state: AppState, settings: ProxySettings, url: str, purpose: Purpose
) -> dict[str, Any]:
    """The same from the Console with settings that are not saved."""
    client = state.egress.beside(settings)
    try:
        return (await client.test(url, purpose=purpose, timeout=TEST_SECONDS)).as_dict()
    finally:
        await client.aclose()


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


def _checked(state: AppState, form: ProxyForm, before: ProxyRow | None) -> ProxySettings:
    return ProxySettings.build(
        http_proxy=form.http_proxy,
        no_proxy=form.no_proxy,
        ca=form.ca,
        user=form.user.strip(),
        password=_password(state, form, before),
        more=_merged(state, form, before),
    )


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


def _merged(state: AppState, form: ProxyForm, before: ProxyRow | None) -> dict[str, Any]:
    """The plain form with secrets of what will hold: what the form leaves is as before."""
    held = (
        _opened(state.db, before.more)
        if before is not None
        else more_document(state.settings.environment_proxy.more, secrets=True)
    )
    kept = {one["name"]: one.get("password") for one in held.get("proxies", ())}
    merged = {**held, **form.more}
    if isinstance(given := form.more.get("proxies"), list | tuple):
        merged["proxies"] = [
            {"password": kept.get(one.get("name")), **one} if isinstance(one, Mapping) else one
            for one in given
        ]
    return merged


def _opened(db: Database, more: Mapping[str, Any]) -> dict[str, Any]:
    """A row's `more` with its passwords opened."""
    opened = dict(more)
    if proxies := more.get("proxies"):
        opened["proxies"] = [{**one, "password": _open(db, one.get("password"))} for one in proxies]
    return opened


def _open(db: Database, sealed: str | None) -> Secret | None:
    return db.key.open(SEAL_PROXY, base64.b64decode(sealed)) if sealed else None


def _stored(state: AppState, checked: ProxySettings, before: ProxyRow | None) -> dict[str, Any]:
    """What goes into the row: a password that stayed the same stays the same bytes."""
    old = {
        one["name"]: one.get("password")
        for one in (before.more if before else {}).get("proxies", ())
    }
    document = more_document(checked.more)
    for one in document["proxies"]:
        del one["password_set"]
        proxy = checked.more.proxy(one["name"])
        held = proxy.credentials.password if proxy and proxy.credentials else Secret("")
        if not held:
            continue
        sealed = old.get(one["name"])
        same = sealed is not None and _open(state.db, sealed) == held
        one["password"] = (
            sealed if same else base64.b64encode(state.db.key.seal(SEAL_PROXY, held)).decode()
        )
    return document


def _built(db: Database, row: ProxyRow) -> ProxySettings:
    return ProxySettings.build(
        http_proxy=row.http_proxy,
        no_proxy=row.no_proxy,
        ca=row.ca,
        user=row.user,
        password=db.key.open(SEAL_PROXY, row.password) if row.password else None,
        revision=row.revision,
        sources=dict.fromkeys((*FIELDS, *egress.MORE_FIELDS), "saved"),
        more=_opened(db, row.more),
    )


def _saved(settings: ProxySettings, row: ProxyRow) -> SavedProxy:
    return SavedProxy(settings, row.revision, row.saved_at, row.saved_by)
