"""The whole chain through each kind of proxy, where nothing else joins the networks.

Neither the Console's nor the Defender's namespace has a route or a name beyond the proxy, so
whatever arrives went through Squid; its log is asserted on as well.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lab.scene import DEFENDER_NAME, Kind, Scene
from lab.wait import until
from tests.integration.scenario.product import Product

pytestmark = [pytest.mark.network, pytest.mark.timeout(280)]

REFUSALS: dict[Kind, tuple[str, str]] = {
    "plain": ("egress.proxy_denied", "tunnel"),
    "basic": ("egress.proxy_auth_refused", "proxy-auth"),
    "tls": ("egress.proxy_tls_unknown_ca", "proxy-tls"),
    "intercept": ("egress.tls_intercepted", "tls"),
}


@pytest.fixture(params=REFUSALS)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    with Scene(request.param) as scene:
        yield scene


def test_an_image_is_scanned_and_an_alert_arrives(scene: Scene) -> None:
    """Feed, enrolment, session, scan and alert, each through the proxy; each refusal is named."""
    with Product(scene) as product:
        _direct_fails(product)
        _refusal_is_named(product)
        _feed_arrives(product)
        _defender_connects(product)
        _scan_and_alert(product)
        _console_restarts(product)


def _direct_fails(product: Product) -> None:
    product.update("egress.destination_unknown")
    assert product.scene.squid.log == []


def _refusal_is_named(product: Product) -> None:
    scene = product.scene
    if scene.kind == "plain":
        scene.squid.deny_ports([443])
        product.save_proxy()
    elif scene.kind == "basic":
        product.save_proxy(password="wrong")
    else:
        product.save_proxy(ca="")
    code, hop = REFUSALS[scene.kind]
    error = product.update(code)["last_error"]
    assert error["hint"]
    words = product.page("/manage/system/intelligence")
    for said in (error["message"], error["hint"], code):
        assert said.lower() in words.lower()
    tested = product.ok("POST", "/egress/test", {"url": scene.feed.url, "purpose": "intel"})
    assert not tested["ok"]
    assert tested["error"]["code"] == code
    assert [step["hop"] for step in tested["trace"] if not step["ok"]] == [hop]
    scene.squid.deny_ports([])


def _feed_arrives(product: Product) -> None:
    product.save_proxy()
    state = product.update("done")
    assert {each["name"] for each in state["ecosystems"]} == {"PyPI", "npm", "Debian"}
    _went_through(product, "feed.test")


def _defender_connects(product: Product) -> None:
    product.scene.trust_console(product.authority())
    product.start_defender()
    defender = product.wait_connected()
    assert defender["name"] == DEFENDER_NAME
    assert defender["route"] != "direct"
    _went_through(product, "console.test")


def _scan_and_alert(product: Product) -> None:
    scene = product.scene
    product.ok(
        "POST",
        "/alert-profiles",
        {"name": "security", "threshold": "high", "webhook": scene.slack.webhook},
    )
    scan = product.scan(scene.reference)
    assert scan["state"] == "done", scan
    image = product.ok("GET", f"/images/{scan['digest']}")
    assert _counts(image)["critical"] > 0
    assert _counts(image)["unknown"] > 0
    message = scene.slack.wait_message()
    assert "team/shop" in message.text
    _went_through(product, "registry.test")
    _went_through(product, "hooks.slack.test")

    assert product.scan(scene.docker_reference)["state"] == "done"
    assert product.scan(scene.reference)["state"] == "done"
    assert scene.slack.refusals() == []
    references = [each.text for each in scene.slack.messages()]
    assert len(references) == len(set(references)), "a finding was sent twice"


def _console_restarts(product: Product) -> None:
    """The Defender comes back by itself, and nothing that was known is lost."""
    images = product.ok("GET", "/images")["items"]
    product.restart_console()
    product.wait_connected()
    assert product.ok("GET", "/images")["items"] == images


def _went_through(product: Product, host: str) -> None:
    """Squid has let a connection to `host` pass: one that is open, or one in its log."""
    squid = product.scene.squid

    def passed() -> bool:
        logged = [each.target for each in squid.log if each.status < 400]
        return any(host in target for target in logged + squid.open_tunnels())

    until(passed, timeout=10, what=f"a connection of Squid to {host}")


def _counts(image: dict[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = image["findings"]
    return counts
