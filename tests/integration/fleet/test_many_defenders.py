"""Two hundred Defenders on one gateway: all enrol, all work, all come back."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from garrison.console.gateway import GatewayLimits
from tests.integration.fleet.harness import Defender, running_console

MANY = 200


async def test_two_hundred_defenders_work_and_come_back(tmp_path: Path) -> None:
    """No scan is lost or done twice over a restart of the Console in the middle of the work."""
    limits = GatewayLimits(poll=0.2)
    async with running_console(tmp_path / "console", limits=limits) as console:
        token = console.join_token()
        fleet = [
            Defender(console.url, tmp_path / f"node-{n}", token=token, name=f"node-{n}", seed=n)
            for n in range(MANY)
        ]
        for defender in fleet:
            defender.start()
        try:
            ids = await asyncio.gather(*(each.connected(timeout=60) for each in fleet))
            assert len(set(ids)) == MANY
            assert console.gateway.connected() == set(ids)

            asked = [console.request_scan(f"registry.test/app:{n}") for n in range(2 * MANY)]
            await console.until(lambda: len(console.taken) >= MANY, timeout=60)
            await console.stop()
            await asyncio.gather(
                *(each.until(lambda state: not state.connected, timeout=30) for each in fleet)
            )
            await console.start()
            await asyncio.gather(*(each.connected(timeout=60) for each in fleet))
            await console.until(lambda: len(console.taken) >= len(asked), timeout=60)
        finally:
            await asyncio.gather(*(each.stop() for each in fleet))

        done = Counter(scan for _, scan, _ in console.taken)
        assert done == Counter(asked)
        workers = Counter(defender for defender, _, _ in console.taken)
        assert len(workers) > MANY // 2
