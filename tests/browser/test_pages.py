"""Every page, light and dark, wide and narrow: a quiet browser, no sideways scroll, axe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from garrison.database import contacts
from tests.browser import seed
from tests.browser.conftest import (
    AXE,
    SHOTS,
    RunningConsole,
    Watched,
    context_of,
    sign_in,
    watched,
)

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

PAGES = {
    "overview": "/overview",
    "images": "/images",
    "images-search": "/images?q=CVE-2024-5535",
    "images-none": "/images?q=nothing-is-called-that",
    "image": "/images/{image}",
    "image-package": "/images/{image}?group=package",
    "image-layer": "/images/{image}?group=layer",
    "image-flat": "/images/{image}?group=none&severity=high&layer=1",
    "image-exploited": "/images/{image}?group=none&exploited=1",
    "image-waived": "/images/{image}?group=none&waived=1",
    "waivers": "/manage/waivers",
    "waivers-ended": "/manage/waivers?state=ended",
    "waiver-new": "/manage/waivers/new?advisory=CVE-2024-5535&package=openssl",
    "image-filtered-away": "/images/{image}?q=nothing-is-called-that",
    "image-packages": "/images/{image}/packages",
    "image-skipped": "/images/{image}/skipped",
    "image-clean": "/images/{clean}",
    "image-incomplete": "/images/{incomplete}",
    "advisory": "/advisories/CVE-2024-5535",
    "scans": "/scans",
    "scan-new": "/scans/new?reference=debian:12",
    "scan-running": "/scans/{scan_running}",
    "scan-failed": "/scans/{scan_failed}",
    "alerts": "/alerts",
    "alert-new": "/alerts/new",
    "alert-edit": "/alerts/{profile}",
    "alert-delivery": "/alerts/deliveries/{delivery}",
    "connections": "/network/connections",
    "connections-none": "/network/connections?q=nothing&new=7d",
    "connection": "/network/connections/2",
    "map": "/network/map",
    "map-node": "/network/map?node=proxy.corp.test:8080&failing=1",
    "map-route": "/network/map?route={route}",
    "defenders": "/defenders",
    "defender-add": "/defenders/add",
    "registries": "/manage/registries",
    "registry-new": "/manage/registries/new",
    "registry-edit": "/manage/registries/harbor.corp.test",
    "proxy": "/manage/system/proxy?explain=https://hooks.slack.test/services/T02/B7",
    "proxy-proxies": "/manage/system/proxy/proxies",
    "proxy-edit": "/manage/system/proxy/proxies/second",
    "proxy-rules": "/manage/system/proxy/rules",
    "proxy-rule": "/manage/system/proxy/rules/1",
    "proxy-pac": "/manage/system/proxy/pac",
    "proxy-authorities": "/manage/system/proxy/authorities",
    "proxy-strict": "/manage/system/proxy/strict?fill=contacted",
    "proxy-defaults": "/manage/system/proxy/defaults",
    "proxy-history": "/manage/system/proxy/history",
    "intelligence": "/manage/system/intelligence",
    "access": "/manage/access",
    "audit": "/manage/access/audit",
    "search": "/search?q=checkout",
}
EMPTY = {
    "overview": "/overview",
    "images": "/images",
    "scans": "/scans",
    "scan-new": "/scans/new",
    "alerts": "/alerts",
    "connections": "/network/connections",
    "map": "/network/map",
    "defenders": "/defenders",
    "defender-add": "/defenders/add",
    "registries": "/manage/registries",
    "waivers": "/manage/waivers",
    "waivers-expired": "/manage/waivers?state=expired",
    "proxy": "/manage/system/proxy",
    "proxy-history": "/manage/system/proxy/history",
    "intelligence": "/manage/system/intelligence",
    "access": "/manage/access",
    "audit": "/manage/access/audit",
    "search": "/search",
}


def look(seen: Watched, name: str, width: int, themes: tuple[str, ...] = ("light", "dark")) -> None:
    """What holds for every page, in both themes. With GARRISON_SHOTS set, leaves a picture of
    each in .cache/shots."""
    page = seen.page
    for theme in themes:
        page.evaluate("theme => document.documentElement.dataset.theme = theme", theme)
        if "GARRISON_SHOTS" in os.environ:
            SHOTS.mkdir(parents=True, exist_ok=True)
            page.screenshot(path=SHOTS / f"{name}-{theme}-{width}.png", full_page=True)
        if theme == "light":
            if not page.evaluate("'axe' in window"):
                page.evaluate(AXE.read_text())
            assert violations(page, {"type": "tag", "values": RULES}) == []
        else:
            # Only colours differ between the themes.
            assert violations(page, {"type": "rule", "values": ["color-contrast"]}) == []
    wider = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert wider <= 0, f"{name} scrolls sideways by {wider} px at {width}"
    assert seen.complaints == []


def look_at_both(seen: Watched, name: str) -> None:
    """Wide and narrow, from one load: style sheets alone make the difference. What is dark on a
    phone has the colours of what is dark on a desk."""
    seen.page.set_viewport_size({"width": 1440, "height": 1000})
    look(seen, name, 1440)
    seen.page.set_viewport_size({"width": 390, "height": 844})
    look(seen, name, 390, ("light",))


def violations(page: Page, run: dict[str, Any]) -> list[str]:
    """What axe finds, one line each."""
    found = page.evaluate(
        """async (run) => (await axe.run(document, {
            runOnly: run, resultTypes: ["violations"], preload: false,
        })).violations.map(
            (v) => `${v.id}: ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`)}`)""",
        run,
    )
    assert isinstance(found, list)
    return [str(line) for line in found]


def with_axe(browser: Browser) -> BrowserContext:
    """A window whose pages have axe from the start, which is faster than adding it to each."""
    context = context_of(browser, 1440)
    context.add_init_script(path=AXE)
    return context


@pytest.fixture(scope="module")
def eye(browser: Browser, full: RunningConsole) -> Iterator[BrowserContext]:
    """Somebody who is signed in and looks at the full Console."""
    context = with_axe(browser)
    sign_in(context.new_page(), full)
    yield context
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_is_sound(name: str, eye: BrowserContext, full: RunningConsole) -> None:
    """Console errors would be a blocked inline style, a dead file, a script that broke."""
    assert full.filled is not None
    names = {field: getattr(full.filled, field) for field in full.filled.__slots__}
    # A window of its own: to leave a page that asks for news breaks off its request.
    seen = watched(eye)
    seen.open(full.url + PAGES[name].format(**names))
    look_at_both(seen, name)
    seen.page.close()


def test_empty_pages_are_sound(browser: Browser, empty: RunningConsole) -> None:
    """What a person sees in the first minute: each page says what to do first."""
    with with_axe(browser) as context:
        sign_in(context.new_page(), empty)
        for name, path in EMPTY.items():
            seen = watched(context)
            seen.open(empty.url + path)
            look(seen, f"empty-{name}", 1440)
            # What axe could find on a phone it finds on the full pages.
            seen.page.set_viewport_size({"width": 390, "height": 844})
            look(seen, f"empty-{name}", 390, ())
            seen.page.close()


def test_pages_before_sign_in_are_sound(browser: Browser, fresh: RunningConsole) -> None:
    with with_axe(browser) as context:
        seen = watched(context)
        for name, path in {
            "setup": f"/setup?token={fresh.token}",
            "setup-without-link": "/setup",
        }.items():
            seen.open(fresh.url + path)
            look_at_both(seen, name)
        fresh.set_up()
        seen.open(f"{fresh.url}/sign-in")
        look_at_both(seen, "sign-in")


@pytest.mark.long
def test_five_hundred_defenders_are_readable(browser: Browser, empty: RunningConsole) -> None:
    """By group, with what fails in a place of its own; a click leads to its routes and a trace."""
    seed.crowd(empty.state, datetime.now(UTC))
    with with_axe(browser) as context:
        sign_in(context.new_page(), empty)
        seen = watched(context)
        seen.open(f"{empty.url}/network/map")
        page = seen.page
        nodes = page.locator("svg.map .n")
        assert 15 < nodes.count() < 32
        expect(page.locator("svg.map .lab-warn").first).to_contain_text(" of 4")
        look_at_both(seen, "map-crowd")
        page.set_viewport_size({"width": 1440, "height": 1000})
        page.get_by_role("link", name="plant-leipzig-prod").first.focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Routes of plant-leipzig-prod")).to_be_visible()
        page.get_by_role("link", name="gcr.io:443").last.click()
        expect(page.get_by_text("Stopped at the proxy.")).to_be_visible()


@pytest.mark.long
def test_the_map_follows_what_happens(browser: Browser, empty: RunningConsole) -> None:
    """Without a reload: a route appears, fails, and works again."""
    now = datetime.now(UTC)
    with with_axe(browser) as context:
        sign_in(context.new_page(), empty)
        page = context.new_page()
        for code, word, later in (("", "Works", 0), ("egress.proxy_denied", "Fails", 1),
                                  ("", "Works", 2)):  # fmt: skip
            record = seed.contact("feed.test", "intel", "p.test:1", now, code)
            with empty.state.db.write() as c:
                contacts.add(c, "console", [replace(record, at=now + timedelta(seconds=later))])
            if not later:
                page.goto(f"{empty.url}/network/map")
            expect(page.locator("tbody tr").first).to_contain_text(word, timeout=15_000)
