"""A real Console on loopback, and a real browser that looks at it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from garrison.console import accounts
from garrison.console.app import create_app
from garrison.console.assemble import build_state, open_database
from garrison.console.contacts import ContactLog
from garrison.console.settings import ConsoleSettings, ListenAddress
from garrison.console.state import AppState
from garrison.egress import ProxySettings
from garrison.secret import Secret
from tests.browser import seed

CHROMIUM = Path("/usr/bin/chromium")
AXE = Path(__file__).with_name("axe.min.js")
SHOTS = Path(__file__).resolve().parents[2] / ".cache" / "shots"
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]


@dataclass
class RunningConsole:
    """A Console that serves its pages in a thread of this process. Nothing else of it runs."""

    data: Path
    url: str = ""
    token: str = ""
    filled: seed.Filled | None = None
    _server: uvicorn.Server = field(init=False)
    _thread: threading.Thread = field(init=False)
    state: AppState = field(init=False)

    def start(self) -> None:
        listen = ListenAddress("127.0.0.1", 0)
        settings = ConsoleSettings(
            data=self.data,
            listen=listen,
            gateway_listen=ListenAddress("127.0.0.1", 8084),
            environment_proxy=ProxySettings.build(),
            intel_url="https://feed.osv.test",
        )
        db = open_database(settings)
        self.state = build_state(settings, db, ContactLog(db))
        config = uvicorn.Config(
            create_app(self.state), host="127.0.0.1", port=0, log_level="warning", lifespan="off",
            loop="asyncio",
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        deadline = time.monotonic() + 20
        while not self._server.started:
            assert time.monotonic() < deadline, "the Console did not start"
            time.sleep(0.02)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        link = accounts.new_setup_link(self.state, datetime.now(UTC))
        self.token = (link or "").partition("token=")[2]

    def _run(self) -> None:
        async def serve() -> None:
            await self._server._serve()
            await self.state.egress.aclose()

        asyncio.run(serve())

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)
        self.state.db.close()

    def set_up(self) -> None:
        """Create the administrator, as the password file does."""
        accounts.ensure_admin(self.state, Secret(seed.PASSWORD), datetime.now(UTC))


@dataclass
class Watched:
    """A page, and everything a browser complained about on it."""

    page: Page
    complaints: list[str]

    def open(self, url: str) -> None:
        response = self.page.goto(url)
        assert response is not None
        assert response.ok, f"{url}: {response.status}"


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Not longer than this package: its loop must not be there for tests that have their own."""
    if not CHROMIUM.exists():
        pytest.skip("chromium is not installed")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[RunningConsole]:
    """A Console that was just started for the first time."""
    console = RunningConsole(tmp_path)
    console.start()
    yield console
    console.stop()


@pytest.fixture
def empty(fresh: RunningConsole) -> RunningConsole:
    """Set up, and nothing in it."""
    fresh.set_up()
    return fresh


@pytest.fixture(scope="package")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """With a fleet in it. Tests that change something use `empty`."""
    console = RunningConsole(tmp_path_factory.mktemp("full"))
    console.start()
    console.set_up()
    console.filled = seed.fill(console.state, datetime.now(UTC))
    yield console
    console.stop()


def context_of(browser: Browser, width: int, theme: str = "light") -> BrowserContext:
    height = 1000 if width > 800 else 844
    return browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
        timezone_id="Europe/Berlin",
    )


def watched(context: BrowserContext) -> Watched:
    """A page whose console errors, broken requests and policy violations are kept."""
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))

    def said(message: Any) -> None:
        if message.type in {"error", "warning"}:
            complaints.append(f"{message.type}: {message.text}")

    page.on("console", said)
    return Watched(page, complaints)


def sign_in(page: Page, console: RunningConsole) -> None:
    page.goto(f"{console.url}/sign-in")
    page.get_by_label("Name").fill("admin")
    page.get_by_label("Password").fill(seed.PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/overview")
