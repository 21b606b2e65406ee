"""Other settings do not drop what is under way, and settings that cannot be read change nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

from garrison.egress import ProxySettings
from garrison.errors import InvalidSettingError
from tests.integration.fleet.harness import Defender, running_console, running_defender


async def test_a_scan_under_way_survives_other_settings(tmp_path: Path) -> None:
    """The session is opened again by the new route; the scan goes on by the old one, once."""
    async with running_console(tmp_path / "console") as console:
        async with running_defender(
            console.url, tmp_path / "node", token=console.join_token()
        ) as defender:
            await defender.connected()
            defender.scanner.gate.clear()
            scan_id = console.request_scan("registry.test/app:1")
            await defender.scanner.begun()
            defender.settings = ProxySettings.build(http_proxy="http://proxy.test:1", revision=7)
            defender.agent.settings_changed()
            await console.until_row(lambda: console.defenders()[0].settings_revision == 7)
            await defender.connected()
            defender.scanner.gate.set()
            await console.until(lambda: bool(console.taken))
        assert [scan for _, scan, _ in console.taken] == [scan_id]
        assert [one.revision for one in defender.scanner.settings] == [0]


class Unreadable(Defender):
    """Its settings cannot be read once `broken` is set."""

    broken = False

    @property
    def settings(self) -> ProxySettings:
        if self.broken:
            raise InvalidSettingError("http_proxy", "cannot be read")
        return self._settings

    @settings.setter
    def settings(self, value: ProxySettings) -> None:
        self._settings = value


async def test_unreadable_settings_leave_the_old_ones_in_force(tmp_path: Path) -> None:
    """Never a silent direct connection: the test still goes by the proxy, and a scan that would
    need the settings fails with the reason."""
    async with running_console(tmp_path / "console") as console:
        token = console.join_token()
        by_proxy = ProxySettings.build(http_proxy="http://127.0.0.1:9", revision=3)
        defender = Unreadable(console.url, tmp_path / "node", token=token, settings=by_proxy)
        defender.start()
        try:
            await defender.connected()
            defender.broken = True
            defender.agent.settings_changed()
            scan_id = console.request_scan("registry.test/app:1")
            await console.until(lambda: bool(console.failed))
            found = await asyncio.wait_for(defender.agent._egress.test(  # type: ignore[union-attr]
                "https://dest.test/", purpose="registry"), 10)  # fmt: skip
        finally:
            await defender.stop()
    assert [(scan, error["code"]) for _, scan, error in console.failed] == [
        (scan_id, "settings.invalid")
    ]
    assert found.route["proxy"] == "http://127.0.0.1:9"
    assert defender.scanner.requests == []
