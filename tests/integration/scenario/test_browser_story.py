"""A first user's way, from the printed link to a message in Slack, in a browser.

Chromium and `garrison up` are in the namespace `console`, which only Squid joins with the outside
and with the far Defender. Screenshots of every step are left in `.cache/shots/story`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from lab.process import Process
from lab.scene import PROGRAM, PROXY_PASSWORD, PROXY_USER, ROOT, Scene
from lab.wait import until

pytestmark = [pytest.mark.network, pytest.mark.timeout(200)]

SHOTS = ROOT / ".cache" / "shots" / "story"
CHROMIUM = ["/usr/bin/chromium", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
PASSWORD = "correct horse battery"


@pytest.fixture
def scene() -> Iterator[Scene]:
    with Scene("basic") as scene:
        yield scene


@pytest.fixture
def up(scene: Scene) -> Process:
    """What `make run` starts."""
    return scene.start(
        "console",
        [*PROGRAM, "up", "--data", scene.directory / "data"],
        name="up",
        env=scene.console_settings,
    )


@pytest.fixture
def page(scene: Scene) -> Iterator[Page]:
    program = scene.net.script("console", CHROMIUM, scene.directory / "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(program))
        page = browser.new_page(viewport={"width": 1440, "height": 1000}, reduced_motion="reduce")
        page.set_default_timeout(20_000)
        expect.set_options(timeout=20_000)
        yield page
        browser.close()


def test_from_the_printed_link_to_a_message(scene: Scene, up: Process, page: Page) -> None:
    link = up.wait_line("^Set-up: (http.*)$", timeout=30).group(1)
    base = link.partition("/setup")[0]
    _set_up(page, link)
    _wrong_password_is_named(scene, page, base)
    _proxy_works(scene, page, base)
    _advisories_load(page, base)
    _slack_is_added(scene, page, base)
    _image_is_scanned(scene, page, base)
    message = scene.slack.wait_message(lambda each: "team/shop" in each.text)
    assert "Critical" in message.text or "critical" in message.text
    page.goto(f"{base}/alerts")
    expect(page.get_by_role("rowheader", name="Sent").first).to_be_visible()
    _shot(page, "9-alerts")
    _everything_went_through_squid(scene)


def _set_up(page: Page, link: str) -> None:
    page.goto(link)
    _shot(page, "1-set-up")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    page.get_by_role("button", name="Set up and sign in").click()
    expect(page.get_by_role("heading", name="Proxy", exact=True)).to_be_visible()


def _wrong_password_is_named(scene: Scene, page: Page, base: str) -> None:
    page.get_by_label("HTTP Proxy").fill(scene.squid.url)
    page.get_by_label("User").fill(PROXY_USER)
    _save(page, "wrong", 1)
    page.get_by_label("Address to reach").fill(scene.feed.url)
    page.get_by_role("button", name="Test", exact=True).click()
    failed = page.locator(".hop-fail")
    expect(failed).to_contain_text("proxy-auth")
    expect(failed).to_contain_text("407")
    expect(failed).to_contain_text(PROXY_USER)
    expect(failed).to_contain_text("Do this")
    _shot(page, "2-wrong-password")
    page.goto(f"{base}/manage/system/intelligence")
    expect(page.get_by_text("egress.proxy_auth_refused").first).to_be_visible()
    _shot(page, "3-stream-refused")


def _proxy_works(scene: Scene, page: Page, base: str) -> None:
    page.goto(f"{base}/manage/system/proxy")
    _save(page, PROXY_PASSWORD, 2)
    page.get_by_label("Address to reach").fill(scene.feed.url)
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_role("button", name="Test again")).to_be_visible()
    expect(page.locator(".hop-fail")).to_have_count(0)
    _shot(page, "4-proxy-works")


def _save(page: Page, password: str, revision: int) -> None:
    page.locator("#password").fill(password)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text(f"Saved revision {revision}.")).to_be_visible()
    # The Defender of this machine follows at once.
    expect(page.get_by_text("Defenders with older settings")).to_have_count(0)


def _advisories_load(page: Page, base: str) -> None:
    """By themselves: the save tries the failed update again."""
    page.goto(f"{base}/manage/system/intelligence")
    expect(page.get_by_text("7,082").first).to_be_visible()
    _shot(page, "5-stream")


def _slack_is_added(scene: Scene, page: Page, base: str) -> None:
    page.goto(f"{base}/alerts/new")
    page.get_by_label("Name").fill("security")
    page.get_by_label("Webhook address").fill(scene.slack.webhook)
    page.get_by_role("button", name="Add Slack").click()
    expect(page.get_by_text("Added security.")).to_be_visible()
    page.get_by_role("button", name="Send a test").click()
    scene.slack.wait_message()
    _shot(page, "6-slack")


def _image_is_scanned(scene: Scene, page: Page, base: str) -> None:
    page.goto(f"{base}/scans/new")
    page.get_by_label("Image", exact=True).fill(scene.reference)
    _shot(page, "7-scan")
    page.get_by_role("button", name="Scan", exact=True).click()
    page.wait_for_url("**/images/sha256*")
    expect(page.get_by_role("heading", name="What to change")).to_be_visible()
    expect(page.get_by_text("minimist").first).to_be_visible()
    _shot(page, "8-image")


def _everything_went_through_squid(scene: Scene) -> None:
    for host in ("feed.test", "hooks.slack.test", "registry.test"):
        until(
            functools.partial(_reached, scene, host),
            timeout=10,
            what=f"a connection of Squid to {host}, signed in",
        )
    refused = [each for each in scene.squid.log if each.status == 407]
    assert refused, "the wrong password was never tried"
    assert scene.slack.refusals() == []


def _reached(scene: Scene, host: str) -> bool:
    logged = [each.target for each in scene.squid.log if each.user == PROXY_USER]
    return any(host in target for target in logged + scene.squid.open_tunnels())


def _shot(page: Page, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=Path(SHOTS, f"{name}.png"), full_page=True)
