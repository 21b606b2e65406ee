"""The feed through a real proxy that asks for a password, and through one that says no."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from garrison.advisories import AdvisoryStore, feeds
from garrison.egress import EgressError, ProxySettings
from garrison.egress.http import EgressClient
from garrison.secret import Secret
from lab.errors import MissingProgramError
from lab.process import program
from lab.squid import Squid
from tests.integration.intel.server import Feed
from tests.integration.intel.test_update import many

USER, PASSWORD = "agent", "p@ss:w/rd%"


@pytest.fixture(scope="module")
def squid() -> Iterator[Squid]:
    """Asks for USER and PASSWORD; it alone knows where `feed.test` is."""
    try:
        program("squid")
    except MissingProgramError as error:
        pytest.skip(str(error))
    with tempfile.TemporaryDirectory(prefix="intel-hosts-") as name:
        Path(name).chmod(0o755)
        hosts = Path(name) / "hosts"
        hosts.write_text("127.0.0.1 localhost feed.test\n")
        hosts.chmod(0o644)
        directives = [f"hosts_file {hosts}"]
        with Squid(name="intel", users={USER: PASSWORD}, directives=directives) as running:
            yield running


def address(feed: Feed) -> str:
    return feed.url.replace("127.0.0.1", "feed.test")


async def test_an_update_crosses_the_proxy(squid: Squid, feed: Feed, tmp_path: Path) -> None:
    """Also when the transfer breaks on the way."""
    size = len(feed.put("PyPI", *many(300)))
    feed.cuts = [size // 2]
    start = squid.mark()
    client = EgressClient(
        ProxySettings.build(http_proxy=squid.url, user=USER, password=Secret(PASSWORD))
    )
    try:
        result = await feeds.update(client, tmp_path, url=address(feed), ecosystems=["PyPI"])
    finally:
        await client.aclose()
    assert result.ecosystems[0].records == 300
    entry = squid.wait_for(
        lambda item: "feed.test" in str(item) and item.status != 407, since=start
    )
    assert USER in str(entry)


async def test_a_refusal_names_the_proxy_and_keeps_the_old_advisories(
    squid: Squid, feed: Feed, tmp_path: Path
) -> None:
    feed.put("PyPI", *many(3))
    client = EgressClient(
        ProxySettings.build(http_proxy=squid.url, user=USER, password=Secret("wrong"))
    )
    try:
        with pytest.raises(EgressError) as caught:
            await feeds.update(client, tmp_path, url=address(feed), ecosystems=["PyPI"])
    finally:
        await client.aclose()
    assert caught.value.who == "you"
    assert caught.value.hop == "proxy-auth"
    assert feed.log() == []
    assert AdvisoryStore.open(tmp_path) is None
