"""`/registries`: those that need a user, a CA, or plain HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from garrison.console import registries
from garrison.console.api.common import Operator, Reader, State
from garrison.console.api.models import ItemList, RegistryChange, RegistryIn, RegistryOut
from garrison.console.proxy import KEEP, Keep
from garrison.database.registries import RegistryRow
from garrison.secret import Secret

router = APIRouter(tags=["Registries"], prefix="/registries")
Host = Annotated[str, Path(max_length=300)]


@router.get("")
def list_registries(state: State, caller: Reader) -> ItemList[RegistryOut]:
    """All registries with settings of their own."""
    return ItemList(items=[_view(row) for row in registries.registries(state)])


@router.post("", status_code=201)
def add_registry(state: State, caller: Operator, body: RegistryIn) -> RegistryOut:
    """Add a registry; 409 when the host is there already."""
    form = registries.RegistryForm(body.host, body.user, _password(body), body.plain_http, body.ca)
    return _view(registries.add_registry(state, form, caller.actor))


@router.get("/{host}")
def read_registry(state: State, caller: Reader, host: Host) -> RegistryOut:
    """One registry."""
    return _view(registries.registry(state, host))


@router.put("/{host}")
def save_registry(state: State, caller: Operator, host: Host, body: RegistryChange) -> RegistryOut:
    """Add or replace a registry."""
    form = registries.RegistryForm(host, body.user, _password(body), body.plain_http, body.ca)
    return _view(registries.put_registry(state, form, caller.actor))


@router.delete("/{host}", status_code=204)
def delete_registry(state: State, caller: Operator, host: Host) -> Response:
    """Remove a registry."""
    registries.delete_registry(state, host, caller.actor)
    return Response(status_code=204)


def _password(body: RegistryIn | RegistryChange) -> Secret | Keep | None:
    if "password" not in body.model_fields_set:
        return KEEP
    return None if body.password is None else Secret(body.password)


def _view(row: RegistryRow) -> RegistryOut:
    return RegistryOut(
        host=row.host,
        user=row.user,
        password_set=row.password is not None,
        plain_http=row.plain_http,
        ca=row.ca,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
