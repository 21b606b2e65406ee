"""The address of an incoming webhook: whoever knows it can post, so it is a secret."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from garrison.errors import InvalidSettingError
from garrison.secret import Secret

_LIMIT = 2048


def check_webhook(webhook: Secret, field: str = "webhook") -> None:
    """Refuse an address that cannot work or would leak; the message never repeats it.

    Plain http is taken for this machine alone: elsewhere the address itself would be readable
    on the way.

    Raises: InvalidSettingError.
    """
    text = webhook.reveal()
    example = "Copy it from Slack: https://hooks.slack.com/services/…"
    if not text or len(text) > _LIMIT or not text.isascii() or not text.isprintable():
        raise InvalidSettingError(field, "the webhook is not an address", example)
    if any(character in text for character in ' "<>\\'):
        raise InvalidSettingError(field, "the webhook is not an address", example)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        raise InvalidSettingError(field, "the webhook is not an address", example) from None
    if parts.scheme not in {"https", "http"} or not host:
        raise InvalidSettingError(field, "the webhook is not an https address", example)
    if parts.username is not None or parts.password is not None:
        raise InvalidSettingError(field, "the webhook has a user or password in it", example)
    if parts.scheme == "http" and not _is_loopback(host):
        raise InvalidSettingError(
            field, "the webhook would be sent unencrypted", "Use its https:// address."
        )


def webhook_host(webhook: Secret) -> str:
    """The host part, which may be shown."""
    return urlsplit(webhook.reveal()).hostname or ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
