"""Send one message, and say whether to try again."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from garrison.alerts.webhook import webhook_host
from garrison.egress import EgressError
from garrison.errors import GarrisonError
from garrison.secret import Secret

if TYPE_CHECKING:
    from garrison.egress.http import EgressClient

FIRST_RETRY = 5.0
LONGEST_RETRY = 3600.0
GIVE_UP = 24 * 3600.0
SEND_TIMEOUT = 20.0
_ANSWER_LIMIT = 64 << 10

# What Slack answers when the message or the webhook is wrong: sending it again changes nothing.
# Source: docs.slack.dev/messaging/sending-messages-using-incoming-webhooks, "Handling errors".
_SLACK_HINTS = {
    "no_service": "The webhook was removed or is wrong: make a new one in Slack.",
    "no_active_hooks": "The webhook was disabled: enable it in Slack or make a new one.",
    "invalid_token": "The webhook's address is wrong: copy it again from Slack.",
    "no_team": "The webhook's workspace does not exist: copy the address again from Slack.",
    "team_disabled": "The workspace was disabled.",
    "channel_not_found": "The channel was removed: make a webhook for another one.",
    "channel_is_archived": "The channel was archived: make a webhook for another one.",
    "action_prohibited": "A workspace administrator has restricted this webhook.",
    "posting_to_general_channel_denied": "The webhook may not post to #general.",
}


Steps: TypeAlias = tuple[Mapping[str, Any], ...]
"""The steps of a connection, as in a test; empty where nothing is known of them."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The service has it."""

    trace: Steps = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """It may work later. after: seconds the service asked for. failure: for people."""

    failure: Mapping[str, str]
    after: float | None = None
    trace: Steps = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """Trying again changes nothing: somebody has to change something first."""

    failure: Mapping[str, str]
    trace: Steps = ()


Outcome: TypeAlias = Sent | Retry | Rejected


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait between attempts; all in seconds."""

    first: float = FIRST_RETRY
    longest: float = LONGEST_RETRY
    give_up: float = GIVE_UP
    rng: random.Random = field(default_factory=random.SystemRandom)


async def send_slack(
    client: EgressClient, webhook: Secret, message: Mapping[str, Any], now: datetime
) -> Outcome:
    """Post `message` to an incoming webhook. Never raises for what the network or Slack does."""
    try:
        answer = await client.request(
            "POST",
            webhook.reveal(),
            purpose="alerts",
            json=dict(message),
            timeout=SEND_TIMEOUT,
            limit=_ANSWER_LIMIT,
        )
    except EgressError as error:
        steps = tuple(error.trace.as_list()) if error.trace else ()
        return Retry(_public(error.as_failure(), webhook), trace=steps)
    except GarrisonError as error:
        # An address that egress does not take stays so.
        found = {"code": error.code, "message": error.message, "hint": error.hint, "who": "you"}
        return Rejected(_public({**found, "hop": ""}, webhook))
    return slack_outcome(answer.status, answer.headers, answer.body, webhook_host(webhook), now)


def slack_outcome(
    status: int, headers: Mapping[str, str], body: bytes, host: str, now: datetime
) -> Outcome:
    """What an answer of Slack means."""
    text = body[:200].decode("utf-8", "replace").strip()
    if status == 200 and text == "ok":
        return Sent()
    if 200 <= status < 400:
        # Slack answers "ok" and nothing else; a page with status 200 is somebody else's.
        return Retry(
            _failure(
                "alerts.unexpected_answer",
                f"{host} answered {status} with something that is not Slack's",
                "A proxy or portal may have answered instead: test the route under Egress.",
                "network",
            )
        )
    if status in {408, 425, 429} or status >= 500:
        return Retry(
            _failure(
                "alerts.rate_limited" if status == 429 else "alerts.service_error",
                f"{host} answered {status}{_quoted(text)}",
                "Nothing to do: it is tried again.",
                "destination",
            ),
            _retry_after(headers, now),
        )
    word = text.split()[0] if text and len(text) < 80 else ""
    return Rejected(
        _failure(
            "alerts.rejected",
            f"{host} refused the message: {status}{_quoted(text)}",
            _SLACK_HINTS.get(word, "Check the webhook of this profile."),
            "you" if word in _SLACK_HINTS else "destination",
        )
    )


def pause(attempts: int, after: float | None, backoff: Backoff) -> timedelta:
    """How long to leave a destination alone after `attempts` failures.

    Doubles from `first` to `longest`, its upper half random; `after` (Retry-After) is a lower
    bound, even where it is longer than we would wait.
    """
    step = min(backoff.first * 2.0 ** min(max(attempts - 1, 0), 30), backoff.longest)
    wait = step / 2 + backoff.rng.uniform(0, step / 2)
    return timedelta(seconds=wait if after is None else max(wait, after))


def next_attempt(
    attempts: int,
    created_at: datetime,
    now: datetime,
    after: float | None,
    backoff: Backoff | None = None,
) -> datetime | None:
    """When to try a message again after `attempts` failures; None: it is too old, give up."""
    backoff = backoff or Backoff()
    at = now + pause(attempts, after, backoff)
    return None if (at - created_at).total_seconds() > backoff.give_up else at


def _retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Seconds of a Retry-After header: a number or a date (RFC 9110 section 10.2.3)."""
    text = headers.get("Retry-After", headers.get("retry-after", "")).strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            at = parsedate_to_datetime(text)
        except ValueError:
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), GIVE_UP)


def _quoted(text: str) -> str:
    short = text if len(text) <= 80 and text.isprintable() else ""
    return f" ({short})" if short else ""


def _failure(code: str, message: str, hint: str, who: str) -> dict[str, str]:
    return {"code": code, "message": message, "hint": hint, "who": who, "hop": "http"}


def _public(failure: Mapping[str, Any], webhook: Secret) -> dict[str, str]:
    """The failure without the webhook's path, should an error text ever repeat the address."""
    path = _secret_part(webhook)
    return {
        key: str(value or "").replace(path, "/…") if len(path) > 1 else str(value or "")
        for key, value in failure.items()
    }


def _secret_part(webhook: Secret) -> str:
    """Everything after the host, which is the secret part."""
    return "/" + webhook.reveal().partition("://")[2].partition("/")[2]
