"""Saved settings decide from the next connection on."""

from __future__ import annotations

import pytest

from lab.scene import Scene
from lab.squid import Squid
from lab.wait import until
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
        opened = scene.squid.open_tunnels()
        assert any("feed.test" in each for each in opened)
        finished = len(scene.squid.tunnels())

        product.save_proxy(http_proxy=other.url)
        product.update("done")
        assert product.ok("POST", "/egress/test", test)["route"]["proxy"] == other.url

        until(
            lambda: any("feed.test" in each for each in other.open_tunnels() + other.tunnels()),
            timeout=10,
            what="a tunnel through the new proxy",
        )
        # The old one closed what was open, and was asked for nothing new.
        until(lambda: scene.squid.open_tunnels() == [], timeout=10, what="the old tunnels to close")
        expected = finished + len(opened)
        until(lambda: len(scene.squid.tunnels()) >= expected, timeout=10, what="their entries")
        assert len(scene.squid.tunnels()) == expected
