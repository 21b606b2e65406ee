"""A scan or an update that failed on its way keeps the trace, and pages and API show it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from garrison.console import proxy
from garrison.console.gateway import Gateway
from garrison.console.security import SESSION_COOKIE
from garrison.console.state import AppState
from garrison.database import defenders, scans
from garrison.defender.work import read_image
from garrison.fleet.join_token import JoinToken
from lab.faults import answers, scripted
from tests.integration.egress.conftest import settings
from tests.integration.fleet.harness import Defender
from tests.unit.console import harness

DENIES = "HTTP/1.1 403 Forbidden\nServer: gate\nContent-Length: 14\n\n<p>blocked</p>"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppState]:
    environ = {"GARRISON_INTEL_URL": "https://feed.test"}
    with harness.console(tmp_path, monkeypatch, **environ) as state:
        yield state


def checked(evidence: Any, port: int, host: str) -> None:
    assert evidence["target"] == f"{host}:443"
    assert evidence["proxy"] == f"http://127.0.0.1:{port}"
    assert [(step["hop"], step["ok"]) for step in evidence["trace"]] == [
        ("resolve", True),
        ("tcp", True),
        ("tunnel", False),
    ]
    assert evidence["answer"]["status"] == 403
    assert evidence["answer"]["body"] == "<p>blocked</p>"


async def pages(state: AppState, *paths: str) -> list[str]:
    signed = await harness.signed_in(state)
    client = harness.Client(state, headers={"cookie": f"{SESSION_COOKIE}={signed.cookie}"})
    found = []
    for path in paths:
        answer = await client.call("GET", path)
        assert answer.status == 200, answer.text
        found.append(answer.text)
    return found


async def test_a_failed_scan_keeps_its_trace(state: AppState, tmp_path: Path) -> None:
    failed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail(defender: str, scan_id: str, error: dict[str, Any]) -> None:
        with state.db.write() as c:
            scans.fail(c, scan_id, error, datetime.now(UTC), defender_id=defender)
        loop.call_soon_threadsafe(failed.set)

    gateway = Gateway(
        state.db, state.authority, host="127.0.0.1", port=0, ingest=lambda *_: None, fail=fail
    )
    await gateway.start()
    token = JoinToken.create(state.authority)
    with state.db.write() as c:
        defenders.create_join_token(
            c, token_hash=token.secret_hash, group="edge", expires_at=None, uses=1, actor="test",
            now=datetime.now(UTC),
        )  # fmt: skip
        scan = scans.enqueue(
            c, reference="registry.test/app:1", platform="", defender_id=None,
            requested_by="test", now=datetime.now(UTC),
        )  # fmt: skip
    with scripted(answers(DENIES)) as port:
        defender = Defender(
            f"ws://127.0.0.1:{gateway.port}",
            tmp_path / "defender",
            token=token,
            settings=settings(f"http://127.0.0.1:{port}"),
        )
        defender.scanner = read_image  # type: ignore[assignment]
        defender.start()
        try:
            async with asyncio.timeout(20):
                await failed.wait()
        finally:
            await defender.stop()
            await gateway.stop()

        client = harness.Client(state, harness.token_for(state, "auditor"))
        answer = await client.call("GET", f"/api/v1/scans/{scan.id}")
        assert answer.json["error"]["code"] == "egress.proxy_denied"
        checked(answer.json["error"]["evidence"], port, "registry.test")
        listed = await client.call("GET", "/api/v1/scans")
        assert listed.json["items"][0]["error"]["evidence"] is None
    (shown,) = await pages(state, f"/scans/{scan.id}")
    assert 'class="hop hop-fail"' in shown
    assert "&lt;p&gt;blocked&lt;/p&gt;" in shown


async def test_a_failed_update_keeps_its_trace(state: AppState) -> None:
    with scripted(answers(DENIES)) as port:
        await asyncio.to_thread(
            proxy.save, state, proxy.ProxyForm(f"http://127.0.0.1:{port}", "", "", ""), "test"
        )
        state.intel.request_update("test")
        running = asyncio.create_task(state.intel.run())
        try:
            async with asyncio.timeout(20):
                while not (status := await asyncio.to_thread(state.intel.status)).last_error:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await state.egress.aclose()
        assert status.last_error is not None
        checked(status.last_error.evidence, port, "feed.test")
        client = harness.Client(state, harness.token_for(state, "auditor"))
        answer = await client.call("GET", "/api/v1/intel")
        checked(answer.json["last_error"]["evidence"], port, "feed.test")
    (shown,) = await pages(state, "/manage/system/intelligence")
    assert 'class="hop hop-fail"' in shown
