"""Registries that need a user, a CA of their own, or plain HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from garrison.console.proxy import KEEP, Keep
from garrison.console.state import AppState
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.database.registries import RegistryRow


@dataclass(frozen=True, slots=True)
class RegistryForm:
    """What a person typed. password: a new one, None to remove it, KEEP to leave it."""

    host: str
    user: str = ""
    password: Secret | Keep | None = KEEP
    plain_http: bool = False
    ca: str = ""


def registries(state: AppState) -> list[RegistryRow]:
    """All, by host; passwords never."""
    raise NotImplementedError


def registry(state: AppState, host: str) -> RegistryRow:
    """One of them. Raises NotFoundError."""
    raise NotImplementedError


def put_registry(state: AppState, form: RegistryForm, actor: str) -> RegistryRow:
    """Add or change. Raises InvalidFieldsError (fields `host`, `user`, `password`, `ca`)."""
    raise NotImplementedError


def delete_registry(state: AppState, host: str, actor: str) -> None:
    """Remove. Raises NotFoundError."""
    raise NotImplementedError
