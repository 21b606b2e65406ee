"""What a page turns into after an act: refusals, traces, questions, things shown once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, Page, expect

from garrison.console import proxy
from garrison.console.alerting import ProfileForm, create_profile
from garrison.database import intel
from garrison.findings import Severity
from garrison.secret import Secret
from tests.browser import seed
from tests.browser.conftest import RunningConsole, context_of, sign_in, watched
from tests.browser.test_pages import look

pytestmark = pytest.mark.long

PROXY = "/manage/system/proxy"


@pytest.fixture(scope="module")
def stuck(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningConsole]:
    """A Console whose proxy is not there, so that everything it tries fails."""
    console = RunningConsole(tmp_path_factory.mktemp("stuck"))
    console.start()
    console.set_up()
    # Port 9 is discard: nobody listens there.
    form = proxy.ProxyForm("http://127.0.0.1:9", ".corp.test", "", "svc-garrison", Secret("x"))
    proxy.save(console.state, form, "admin")
    hook = Secret("https://hooks.slack.test/services/T02/B7/x")
    create_profile(
        console.state, ProfileForm("Security channel", Severity.HIGH, hook), "mira.okafor"
    )
    now = datetime.now(UTC)
    with console.state.db.write() as c:
        intel.start(c, lease_until=now, now=now)
        intel.failed(c, seed.REFUSED)
    yield console
    console.stop()


def refused(page: Page) -> None:
    page.get_by_label("HTTP Proxy").fill("proxy.corp.test:8080")
    page.get_by_text("Add PEM").click()
    page.get_by_label("Certificates to add, in PEM").fill("-----BEGIN CERTIFICATE-----\nMIIB")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Nothing was saved.")).to_be_visible()


def trace_shown(page: Page) -> None:
    page.get_by_label("Address to reach").fill("https://hooks.slack.test/services/x")
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.locator(".hop-fail")).to_be_visible()


def saved(page: Page) -> None:
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".toast").first).to_be_visible()


def slack_tested(page: Page) -> None:
    page.get_by_role("button", name="Send a test").click()
    expect(page.locator(".hop-fail")).to_be_visible()


def asked(page: Page) -> None:
    page.get_by_role("button", name="Remove", exact=True).click()
    expect(page.get_by_role("button", name="Remove profile")).to_be_visible()


def token_made(page: Page) -> None:
    page.get_by_role("button", name="Make the token").click()
    expect(page.locator("#join")).to_be_visible()


def api_token_made(page: Page) -> None:
    page.get_by_label("Name").fill("ci-pipeline")
    page.get_by_role("button", name="Create token").click()
    expect(page.locator("#secret")).to_be_visible()


def bad_reference(page: Page) -> None:
    page.get_by_label("Image", exact=True).fill("oci:/srv/image")
    page.get_by_role("button", name="Scan", exact=True).click()
    expect(page.locator("#reference-e")).to_be_visible()


def palette(page: Page) -> None:
    page.keyboard.press("Control+k")
    expect(page.locator("#pal-list [role=option]").first).to_be_visible()


def nothing(page: Page) -> None:
    pass


STATES: dict[str, tuple[str, Callable[[Page], None]]] = {
    "proxy-refused": (PROXY, refused),
    "proxy-tested": (PROXY, trace_shown),
    "proxy-saved": (PROXY, saved),
    "alert-tested": ("/alerts", slack_tested),
    "alert-asked": ("/alerts", asked),
    "defender-token": ("/defenders/add", token_made),
    "api-token": ("/manage/access", api_token_made),
    "scan-refused": ("/scans/new", bad_reference),
    "intelligence-failed": ("/manage/system/intelligence", nothing),
    "palette": ("/images", palette),
    "not-found": ("/nothing", nothing),
}


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize("name", STATES)
def test_state_is_sound(name: str, width: int, browser: Browser, stuck: RunningConsole) -> None:
    path, act = STATES[name]
    with context_of(browser, width) as context:
        sign_in(context.new_page(), stuck)
        seen = watched(context)
        seen.page.goto(stuck.url + path)
        seen.page.wait_for_load_state()
        act(seen.page)
        # The browser notes every answer above 399; these were meant.
        seen.complaints[:] = [c for c in seen.complaints if "422" not in c and "404" not in c]
        look(seen, f"state-{name}", width)
