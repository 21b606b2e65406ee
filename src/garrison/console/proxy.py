"""The proxy settings of the Console: read, save, explain and test them."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from garrison.console.state import AppState
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.egress import ProxySettings, Purpose


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


def current(state: AppState) -> SavedProxy:
    """The settings in force."""
    raise NotImplementedError


def save(state: AppState, form: ProxyForm, actor: str) -> SavedProxy:
    """Validate, store, and use from the next connection on. Call it in a worker thread.

    Raises:
        InvalidSettings: `.problems` has one InvalidSettingError for each bad field.
        StaleRevisionError: somebody saved since `form.revision`.
    """
    raise NotImplementedError


async def explain(
    state: AppState, url: str, purpose: Purpose, from_: str = CONSOLE
) -> dict[str, Any]:
    """The route `url` would take from the Console or from a Defender (its id or name).

    Raises: EgressUrlError for a scheme we do not speak; NotFoundError for an unknown Defender;
    ConflictError for one that is not connected.
    """
    raise NotImplementedError


async def test(state: AppState, url: str, purpose: Purpose, from_: str = CONSOLE) -> dict[str, Any]:
    """Connect to `url` and say what each hop did: the form of "A test". Raises as `explain`."""
    raise NotImplementedError
