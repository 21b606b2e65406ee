"""`/settings/proxy`."""

from __future__ import annotations

from fastapi import APIRouter

from garrison.console import proxy
from garrison.console.api.common import Operator, Reader, State
from garrison.console.api.models import ProxySettingsIn, ProxySettingsOut
from garrison.secret import Secret

router = APIRouter(tags=["Proxy settings"])


@router.get("/settings/proxy")
def read_proxy_settings(state: State, caller: Reader) -> ProxySettingsOut:
    """The proxy settings in force."""
    return proxy_view(proxy.current(state))


@router.put("/settings/proxy")
def save_proxy_settings(state: State, caller: Operator, body: ProxySettingsIn) -> ProxySettingsOut:
    """Save proxy settings; the Console's next connection uses them."""
    form = proxy.ProxyForm(
        http_proxy=body.http_proxy,
        no_proxy=body.no_proxy,
        ca=body.ca,
        user=body.user,
        password=_password(body),
        revision=body.revision,
        more=body.more(),
    )
    return proxy_view(proxy.save(state, form, caller.actor))


def _password(body: ProxySettingsIn) -> Secret | proxy.Keep | None:
    if "password" not in body.model_fields_set:
        return proxy.KEEP
    return None if body.password is None else Secret(body.password)


def proxy_view(saved: proxy.SavedProxy) -> ProxySettingsOut:
    """Saved settings as the API shows them."""
    return ProxySettingsOut(
        **{
            **saved.settings.as_view(),
            "revision": saved.revision,
            "saved_at": saved.saved_at,
            "saved_by": saved.saved_by,
            "warnings": list(saved.settings.warnings),
        }
    )
