"""Addresses of webhooks: which work, and that none is ever repeated."""

from __future__ import annotations

import pytest

from garrison.alerts import check_webhook
from garrison.alerts.webhook import webhook_host
from garrison.errors import InvalidSettingError
from garrison.secret import Secret


@pytest.mark.parametrize(
    "text",
    [
        "https://hooks.slack.com/services/T0/B0/x",
        "https://hooks.slack.test:8443/services/T0/B0/x",
        "http://127.0.0.1:9999/services/T0/B0/x",
        "http://localhost/x",
        "http://[::1]:1/x",
    ],
)
def test_taken(text: str) -> None:
    check_webhook(Secret(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "c4n4ry",
        "hooks.slack.com/services/c4n4ry",
        "http://hooks.slack.com/services/c4n4ry",
        "ftp://hooks.slack.com/c4n4ry",
        "https://u:c4n4ry@hooks.slack.com/",
        "https:///c4n4ry",
        "https://hooks.slack.com:99999/c4n4ry",
        "https://hooks.slack.com/c4n4ry\nHost: evil.test",
        "https://hooks.slack.com/c4n4ry<x>",
        "https://hööks.test/c4n4ry",
        "https://[::1/c4n4ry",
        "https://a/" + "c4n4ry" * 1000,
    ],
)
def test_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(InvalidSettingError) as error:
        check_webhook(Secret(text))

    assert error.value.field == "webhook"
    assert error.value.hint
    assert "c4n4ry" not in str(error.value) + error.value.hint


def test_the_host_may_be_shown() -> None:
    assert webhook_host(Secret("https://Hooks.slack.com/services/secret")) == "hooks.slack.com"
