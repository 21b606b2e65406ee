"""Every page, light and dark, wide and narrow: a quiet browser, no sideways scroll, axe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.conftest import (
    AXE,
    SHOTS,
    RunningConsole,
    Watched,
    context_of,
    sign_in,
    watched,
)

WIDTHS = (1440, 390)
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


def look(seen: Watched, name: str, width: int) -> None:
    """What holds for every page, in both themes; leaves a picture of each."""
    page = seen.page
    axe = AXE.read_text()
    for theme in ("light", "dark"):
        page.evaluate("theme => document.documentElement.dataset.theme = theme", theme)
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{name}-{theme}-{width}.png", full_page=True)
        if theme == "light":
            page.evaluate(axe)
            assert violations(page, {"type": "tag", "values": RULES}) == []
        else:
            # Only colours differ between the themes.
            assert violations(page, {"type": "rule", "values": ["color-contrast"]}) == []
    wider = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert wider <= 0, f"{name} scrolls sideways by {wider} px at {width}"
    assert seen.complaints == []


def violations(page: Page, run: dict[str, Any]) -> list[str]:
    """What axe finds, one line each."""
    found = page.evaluate(
        """async (run) => (await axe.run(document, {runOnly: run})).violations.map(
            (v) => `${v.id}: ${v.nodes.map((n) => `${n.target} ${n.failureSummary}`)}`)""",
        run,
    )
    assert isinstance(found, list)
    return [str(line) for line in found]


@pytest.fixture(scope="module", params=WIDTHS)
def eye(request: pytest.FixtureRequest, browser: Browser, full: RunningConsole) -> Iterator[Eye]:
    """Somebody who is signed in and looks at the full Console."""
    context = context_of(browser, request.param)
    sign_in(context.new_page(), full)
    yield Eye(context, request.param)
    context.close()


class Eye:
    def __init__(self, context: BrowserContext, width: int) -> None:
        self.context, self.width = context, width


@pytest.mark.parametrize("name", PAGES)
def test_page_is_sound(name: str, eye: Eye, full: RunningConsole) -> None:
    """Console errors would be a blocked inline style, a dead file, a script that broke."""
    assert full.filled is not None
    names = {field: getattr(full.filled, field) for field in full.filled.__slots__}
    seen = watched(eye.context)
    seen.open(full.url + PAGES[name].format(**names))
    look(seen, name, eye.width)
    seen.page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_empty_pages_are_sound(width: int, browser: Browser, empty: RunningConsole) -> None:
    """What a person sees in the first minute: each page says what to do first."""
    with context_of(browser, width) as context:
        sign_in(context.new_page(), empty)
        for name, path in EMPTY.items():
            seen = watched(context)
            seen.open(empty.url + path)
            look(seen, f"empty-{name}", width)
            seen.page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_pages_before_sign_in_are_sound(
    width: int, browser: Browser, fresh: RunningConsole
) -> None:
    with context_of(browser, width) as context:
        for name, path in {
            "setup": f"/setup?token={fresh.token}",
            "setup-without-link": "/setup",
        }.items():
            seen = watched(context)
            seen.open(fresh.url + path)
            look(seen, name, width)
            seen.page.close()
        fresh.set_up()
        seen = watched(context)
        seen.open(f"{fresh.url}/sign-in")
        look(seen, "sign-in", width)
