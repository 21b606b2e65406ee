"""A proxy that closes idle tunnels (fault 36): the Defender finds out, and pings often enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from garrison.egress import ProxySettings
from lab.faults import idles, scripted
from tests.integration.fleet.harness import running_console, running_defender

LIMIT = 2.0


@pytest.mark.long
async def test_idle_tunnels_are_kept_alive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The Console wants a ping every 25 s, the proxy a word every two. After two cuts the session
    outlives three of the proxy's limits."""
    async with running_console(tmp_path / "console") as console:
        with scripted(idles(console.port, LIMIT), timeout=60) as port:
            async with running_defender(
                f"ws://console.test:{console.port}",
                tmp_path / "node",
                token=console.join_token(),
                settings=ProxySettings.build(http_proxy=f"http://127.0.0.1:{port}"),
            ) as defender:
                for _ in range(2):
                    await defender.connected()
                    await defender.until(lambda state: not state.connected)
                await defender.connected()
                with pytest.raises(TimeoutError):
                    await defender.until(lambda state: not state.connected, 3 * LIMIT)
    assert "idle sessions are closed on the way" in capsys.readouterr().out
