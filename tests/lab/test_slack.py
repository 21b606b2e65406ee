"""The stand-in refuses what Slack refuses."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from lab.authority import Authority
from lab.http import request
from lab.network import Network
from lab.slack import Slack

pytestmark = pytest.mark.network

HEADER = {"type": "header", "text": {"type": "plain_text", "text": "Critical"}}


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def context(count: int) -> dict[str, Any]:
    return {"type": "context", "elements": [{"type": "mrkdwn", "text": "x"}] * count}


def button(**more: str) -> dict[str, Any]:
    text = {"type": "plain_text", "text": more.pop("text", "Open")}
    return {"type": "actions", "elements": [{"type": "button", "text": text, **more}]}


@pytest.fixture(scope="module")
def slack(net: Network, public_ca: Authority) -> Iterator[Slack]:
    with Slack(net, public_ca) as running:
        yield running


def post(
    slack: Slack, body: object, *, url: str | None = None, kind: str = "application/json"
) -> tuple[int, str]:
    answer = request(
        slack.net,
        "outside",
        "POST",
        url or slack.webhook,
        trust=slack.authority.certificate,
        headers={"Content-Type": kind},
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
    )
    return answer.status, answer.body.decode()


@pytest.mark.parametrize(
    "payload",
    [
        {"text": "hello"},
        {"text": "x" * 40_000},
        {"blocks": [HEADER, section("*bold* <https://console.test|Open>"), {"type": "divider"}]},
        {"text": "hello", "blocks": [context(10), button(url="https://console.test/i/1")]},
        {"blocks": [section("x" * 3000)] * 50},
    ],
)
def test_takes_what_is_right(slack: Slack, payload: dict[str, Any]) -> None:
    assert post(slack, payload) == (200, "ok")
    assert slack.messages()[-1].payload == payload


@pytest.mark.parametrize(
    ("payload", "word"),
    [
        ({}, "no_text"),
        ({"text": ""}, "no_text"),
        ({"text": "x" * 40_001}, "invalid_payload"),
        ([], "invalid_payload"),
        (b"{", "invalid_payload"),
        ({"blocks": [HEADER] * 51}, "invalid_blocks"),
        ({"blocks": [{"type": "headline"}]}, "invalid_blocks"),
        ({"blocks": [section("x" * 3001)]}, "invalid_blocks"),
        ({"blocks": [section("")]}, "invalid_blocks"),
        ({"blocks": [{"type": "section"}]}, "invalid_blocks"),
        ({"blocks": [{**HEADER, "text": {"type": "mrkdwn", "text": "x"}}]}, "invalid_blocks"),
        (
            {"blocks": [{**HEADER, "text": {"type": "plain_text", "text": "x" * 151}}]},
            "invalid_blocks",
        ),
        (
            {"blocks": [{"type": "section", "fields": [section("x")["text"]] * 11}]},
            "invalid_blocks",
        ),
        (
            {"blocks": [{"type": "section", "fields": [section("x" * 2001)["text"]]}]},
            "invalid_blocks",
        ),
        ({"blocks": [context(11)]}, "invalid_blocks"),
        ({"blocks": [button(text="x" * 76)]}, "invalid_blocks"),
        ({"blocks": [button(url="https://" + "x" * 3000)]}, "invalid_blocks"),
        ({"blocks": [button(colour="red")]}, "invalid_blocks"),
        ({"blocks": [{**HEADER, "block_id": "a"}] * 2}, "invalid_blocks"),
    ],
)
def test_refuses_what_breaks_a_limit(slack: Slack, payload: object, word: str) -> None:
    before = len(slack.messages())
    assert post(slack, payload) == (400, word)
    assert len(slack.messages()) == before
    assert slack.refusals()[-1]["reason"]


def test_refuses_other_addresses_and_forms(slack: Slack) -> None:
    hello = {"text": "hello"}
    assert post(slack, hello, url=slack.url + "/services/T1/B1/x") == (404, "no_service")
    assert post(slack, hello, url=slack.webhook + "x") == (403, "invalid_token")
    assert post(slack, hello, kind="text/plain") == (400, "invalid_payload")


def test_can_be_out_of_order_for_a_while(slack: Slack) -> None:
    slack.answer(429, body="rate_limited", headers={"Retry-After": "1"})
    slack.answer(500, body="rollup_error")
    answers = [post(slack, {"text": "again"}) for _ in range(3)]
    assert answers == [(429, "rate_limited"), (500, "rollup_error"), (200, "ok")]


def test_shows_messages_on_a_page_without_trusting_them(slack: Slack) -> None:
    post(slack, {"blocks": [HEADER, section("*3 findings* <script>alert(1)</script>")]})
    message = slack.wait_message(lambda message: "3 findings" in message.text)
    assert "Critical" in message.text
    page = request(
        slack.net, "outside", "GET", slack.url, trust=slack.authority.certificate
    ).body.decode()
    assert "<b>3 findings</b>" in page
    assert "<script>" not in page
