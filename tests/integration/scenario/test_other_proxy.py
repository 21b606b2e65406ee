"""Saved settings decide from the next connection on."""

from __future__ import annotations

import pytest

from lab.scene import Scene
from lab.squid import Squid
from tests.integration.scenario.product import Product

pytestmark = [pytest.mark.network, pytest.mark.timeout(120)]


def test_the_next_request_leaves_by_the_new_proxy() -> None:
    """A kept-alive connection through the old proxy is open when the new one is saved."""
    with (
        Scene("plain", image="tiny") as scene,
        Squid(net=scene.net, name="other") as other,
        Product(scene) as product,
    ):
        test = {"url": scene.feed.url, "purpose": "intel"}
        product.save_proxy()
        product.update("done")
        assert any("feed.test" in each for each in scene.squid.open_tunnels())
        seen = len(scene.squid.tunnels())

        product.save_proxy(http_proxy=other.url)
        product.update("done")
        assert product.ok("POST", "/egress/test", test)["route"]["proxy"] == other.url

        passed = other.open_tunnels() + other.tunnels()
        assert any("feed.test" in each for each in passed)
        # The old one closed what it had, and was asked for nothing new.
        old = [each for each in scene.squid.log if each.method == "CONNECT"]
        assert len(old) - seen <= 1
        assert scene.squid.open_tunnels() == []
