"""A person meets an inspecting proxy, compares a fingerprint, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from garrison.console import proxy
from lab.authority import Authority
from lab.faults import scripted, tunnel_to
from tests.browser.conftest import AXE, RunningConsole, context_of, sign_in, watched
from tests.integration.egress.destination import Destination, serve

pytestmark = pytest.mark.long


@pytest.fixture
def inspected(tmp_path: Path) -> Iterator[tuple[Destination, Authority]]:
    """A public service, shown with a certificate of the company's own."""
    authority = Authority(tmp_path / "ca", "ACME TLS Inspection CA")
    with serve("hooks.slack.com", authority.server_context("hooks.slack.com")) as destination:
        yield destination, authority


def test_the_ca_is_trusted_with_one_click(
    browser: Browser, empty: RunningConsole, inspected: tuple[Destination, Authority]
) -> None:
    destination, authority = inspected
    with scripted(tunnel_to(destination.port)) as port:
        proxy.save(empty.state, proxy.ProxyForm(f"http://127.0.0.1:{port}", "", "", ""), "test")
        for width, theme in ((1440, "light"), (390, "dark")):
            seen = watched(context_of(browser, width, theme))
            page = seen.page
            sign_in(page, empty)
            page.goto(f"{empty.url}/manage/system/proxy")
            page.get_by_label("Address to reach").fill("https://hooks.slack.com/services/x")
            page.get_by_role("button", name="Test", exact=True).click()
            expect(page.locator("#trust")).to_contain_text("has a certificate of a public CA")
            page.get_by_text("Presented certificates").click()
            expect(page.locator(".chain-list")).to_contain_text("for hooks.slack.com")
            page.evaluate(AXE.read_text())
            found = page.evaluate(
                "async () => (await axe.run('#test')).violations.map(one => one.id)"
            )
            assert found == []
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
            assert seen.complaints == []
            if theme == "dark":
                page.get_by_role("button", name="The fingerprint is right").click()
                expect(page.locator("#test")).to_contain_text("is trusted now")
                expect(page.locator("#test")).to_contain_text("hooks.slack.com answers")
                assert seen.complaints == []
            page.context.close()
    assert proxy.current(empty.state).settings.trust.pem.strip() == authority.pem.strip()
