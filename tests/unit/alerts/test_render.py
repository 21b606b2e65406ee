"""Messages read well and stay inside what Slack takes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from garrison.alerts import Alert, alert_for, slack_message, slack_test_message
from garrison.findings.finding import Finding, Severity
from lab.slack import check
from tests.unit.alerts.samples import IMAGE, NOW, finding

URL = "https://garrison.test"


def alert(findings: list[Finding], **image: Any) -> Alert:
    counts = dict.fromkeys(Severity, 0) | {
        Severity.HIGH: len(findings),
        Severity.UNKNOWN: 41,
    }
    made = alert_for(replace(IMAGE, **image), Severity.HIGH, findings, counts, NOW)
    assert made is not None
    return made


def texts(message: dict[str, Any]) -> str:
    return json.dumps(message, ensure_ascii=False)


def test_a_message_says_what_where_how_bad_and_what_fixes_it() -> None:
    message = slack_message(alert([finding()]), URL)

    check(message)
    text = texts(message)
    assert message["blocks"][0]["text"]["text"] == (
        "1 high finding in registry.test/pay/checkout:4.12.0"
    )
    assert "CVE-2026-0001" in text
    assert "`openssl` `3.0.1`, fixed in `3.0.13`" in text
    assert "Debian GNU/Linux 12 (bookworm), linux/amd64" in text
    assert "41 unknown" in text
    assert f"<{URL}/images/{IMAGE.digest}|Open the image in Garrison>" in text
    assert message["text"].startswith("Garrison: 1 high finding in ")


def test_ten_thousand_findings_are_one_message() -> None:
    many = [finding(f"CVE-2026-{n}", Severity.CRITICAL) for n in range(10_000)]

    message = slack_message(alert(many), URL)

    check(message)
    assert "10000 critical findings in " in message["text"]
    assert "and 9990 more" in texts(message)
    assert len(json.dumps(message)) < 10_000


HOSTILE = [
    "<!channel> & <https://evil.test|click>",
    "`*_~`" * 200,
    "x" * 100_000,
    "\U0001f600" * 5000,
    "a\nb\r\n\x00\x1b[31m",
    "&amp;" * 3000,
]


@pytest.mark.parametrize("text", HOSTILE)
def test_names_from_images_cannot_break_the_message(text: str) -> None:
    """Package names, versions and references are chosen by whoever built the image."""
    many = [
        finding(text, Severity.HIGH, package=text, fixed_in=text, url=f"https://a.test/{text}")
        for _ in range(40)
    ]

    message = slack_message(alert(many, reference=text, os=text), URL)

    check(message)
    assert "<!channel>" not in texts(message)
    assert "<https://evil.test|" not in texts(message)


def test_only_web_addresses_become_links() -> None:
    message = slack_message(alert([finding(url="javascript:alert(1)")]), URL)

    assert "javascript" not in texts(message)


def test_the_test_message_says_that_nothing_is_wrong() -> None:
    message = slack_test_message("<!here> security & co", URL)

    check(message)
    assert "&lt;!here&gt; security &amp; co" in texts(message)
    assert "Nothing is wrong" in texts(message)


def test_warnings_are_said() -> None:
    warned = replace(alert([finding()]), warnings=("No advisories are loaded for Debian:12.",))

    message = slack_message(warned, URL)

    check(message)
    assert "No advisories are loaded for Debian:12." in texts(message)
