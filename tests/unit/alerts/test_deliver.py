"""What an answer means, and when it is tried again."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, cast

import pytest

from garrison.alerts import Outcome, Rejected, Retry, Sent, next_attempt, send_slack
from garrison.alerts.deliver import Backoff, slack_outcome
from garrison.egress import EgressError, Fetched, Headers
from garrison.secret import Secret
from tests.unit.alerts.samples import NOW

WEBHOOK = Secret("https://hooks.slack.test/services/T0/B0/c4n4ry")


def outcome(status: int, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Outcome:
    return slack_outcome(status, headers or {}, body, "hooks.slack.test", NOW)


@pytest.mark.parametrize(
    ("status", "body", "kind", "code"),
    [
        (200, b"ok", Sent, ""),
        (200, b"<html>Sign in to the network</html>", Retry, "alerts.unexpected_answer"),
        (302, b"", Retry, "alerts.unexpected_answer"),
        (400, b"invalid_payload", Rejected, "alerts.rejected"),
        (403, b"invalid_token", Rejected, "alerts.rejected"),
        (403, b"action_prohibited", Rejected, "alerts.rejected"),
        (404, b"no_service", Rejected, "alerts.rejected"),
        (404, b"channel_not_found", Rejected, "alerts.rejected"),
        (410, b"channel_is_archived", Rejected, "alerts.rejected"),
        (429, b"", Retry, "alerts.rate_limited"),
        (408, b"", Retry, "alerts.service_error"),
        (500, b"rollup_error", Retry, "alerts.service_error"),
        (503, b"<html>" + b"x" * 10_000, Retry, "alerts.service_error"),
    ],
)
def test_answers(status: int, body: bytes, kind: type, code: str) -> None:
    result = outcome(status, body)

    assert isinstance(result, kind)
    if not isinstance(result, Sent):
        assert result.failure["code"] == code
        assert result.failure["message"]
        assert len(result.failure["message"]) < 200


def test_a_known_refusal_says_what_to_do() -> None:
    result = outcome(404, b"no_service")

    assert isinstance(result, Rejected)
    assert "make a new one" in result.failure["hint"]
    assert result.failure["who"] == "you"


@pytest.mark.parametrize(
    ("header", "after"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("Mon, 04 May 2026 12:01:00 GMT", 60.0),
        ("Mon, 04 May 2026 11:00:00 GMT", 0.0),
        ("1e999", None),
        ("nan", None),
        ("soon", None),
        ("99999999", 86400.0),
    ],
)
def test_retry_after(header: str, after: float | None) -> None:
    result = outcome(429, headers={"Retry-After": header})

    assert isinstance(result, Retry)
    assert result.after == after


def test_waits_double_with_jitter_and_end() -> None:
    backoff = Backoff(first=10, longest=100, give_up=1000, rng=random.Random(7))

    def wait(attempts: int) -> float:
        at = next_attempt(attempts, NOW, NOW, None, backoff)
        assert at is not None
        return (at - NOW).total_seconds()

    for attempts, step in ((1, 10), (2, 20), (3, 40), (4, 80), (5, 100), (50, 100)):
        waits = {wait(attempts) for _ in range(50)}
        assert all(step / 2 <= each <= step for each in waits)
        assert len(waits) > 40
    assert next_attempt(9, NOW - timedelta(seconds=999), NOW, None, backoff) is None


def test_retry_after_is_a_lower_bound() -> None:
    at = next_attempt(1, NOW, NOW, 7200.0)

    assert at is not None
    assert (at - NOW).total_seconds() >= 7200


class FakeClient:
    """Answers with what it was given, or raises it."""

    def __init__(self, answer: Fetched | EgressError) -> None:
        self.answer, self.sent = answer, dict[str, Any]()

    async def request(self, method: str, url: str, **given: Any) -> Fetched:
        self.sent = {"method": method, "url": url, **given}
        if isinstance(self.answer, EgressError):
            raise self.answer
        return self.answer


async def send(answer: Fetched | EgressError) -> tuple[Outcome, FakeClient]:
    client = FakeClient(answer)
    return await send_slack(cast(Any, client), WEBHOOK, {"text": "x"}, NOW), client


async def test_messages_leave_by_egress_for_alerts() -> None:
    result, client = await send(Fetched(200, Headers([]), b"ok"))

    assert isinstance(result, Sent)
    assert client.sent["purpose"] == "alerts"
    assert client.sent["url"] == WEBHOOK.reveal()
    assert client.sent["json"] == {"text": "x"}


async def test_a_failed_connection_is_retried_and_hides_the_webhook() -> None:
    result, _ = await send(EgressError(f"cannot open {WEBHOOK.reveal()}"))

    assert isinstance(result, Retry)
    assert result.failure["code"] == "egress.failed"
    assert result.failure["who"] == "network"
    assert "c4n4ry" not in str(result.failure)
