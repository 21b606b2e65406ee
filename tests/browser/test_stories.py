"""The pages used as an operator uses them, with script and without."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher
from playwright.sync_api import Browser, Page, expect

from garrison.console import proxy, scans
from garrison.database import accounts as account_rows
from garrison.database import defenders, intel
from garrison.database import scans as scan_rows
from tests.browser import advisories, seed
from tests.browser.conftest import (
    RunningConsole,
    Watched,
    context_of,
    sign_in,
    watched,
)

pytestmark = pytest.mark.long

PROXY = "/manage/system/proxy"


@pytest.fixture
def seen(browser: Browser, empty: RunningConsole) -> Iterator[Watched]:
    """An administrator in front of a Console with nothing in it."""
    with context_of(browser, 1440) as context:
        sign_in(context.new_page(), empty)
        yield watched(context)


@pytest.fixture
def plain(browser: Browser, empty: RunningConsole) -> Iterator[Page]:
    """The same with script turned off."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    sign_in(page, empty)
    yield page
    context.close()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens: bound, so that nobody else takes it meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_first_minute(browser: Browser, fresh: RunningConsole) -> None:
    """From the printed link to the proxy page: a link works once, a short password is refused."""
    with context_of(browser, 1440) as context:
        page = context.new_page()
        page.goto(f"{fresh.url}/images")
        expect(page.get_by_role("heading", name="Set up this Console")).to_be_visible()
        page.goto(f"{fresh.url}/setup?token=wrong")
        expect(page.get_by_role("heading", name="This set-up link is not valid")).to_be_visible()

        page.goto(f"{fresh.url}/setup?token={fresh.token}")
        page.get_by_label("Password", exact=True).fill("correct horse battery")
        page.get_by_label("Password again").fill("correct horse")
        page.get_by_role("button", name="Set up and sign in").click()
        expect(page.get_by_text("The two passwords differ.")).to_be_visible()
        page.get_by_label("Name").fill("mira.okafor")
        page.get_by_label("Password", exact=True).fill("correct horse battery")
        page.get_by_label("Password again").fill("correct horse battery")
        page.get_by_role("button", name="Set up and sign in").click()

        expect(page).to_have_url(fresh.url + PROXY)
        expect(page.get_by_text("mira.okafor")).to_be_visible()
        page.get_by_role("button", name="Sign out").click()
        page.goto(f"{fresh.url}/setup?token={fresh.token}")
        expect(page.get_by_role("heading", name="This Console is set up")).to_be_visible()


def test_wrong_password_keeps_the_name(browser: Browser, empty: RunningConsole) -> None:
    with context_of(browser, 390) as context:
        page = context.new_page()
        page.goto(f"{empty.url}/defenders?cursor=x")
        page.get_by_label("Name").fill("admin")
        page.get_by_label("Password").fill("wrong wrong wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#pe")).to_be_visible()
        expect(page.get_by_label("Name")).to_have_value("admin")
        expect(page.get_by_label("Password")).to_have_value("")


def test_proxy_is_saved_and_refused(seen: Watched, empty: RunningConsole) -> None:
    """Errors stand beside their field with what was typed; a password never comes back."""
    page = seen.page
    seen.open(empty.url + PROXY)
    page.get_by_label("HTTP Proxy").fill("proxy.corp.test:8080")
    page.get_by_label("No Proxy").fill("https://jira.corp.test")
    page.get_by_label("User").fill("svc-garrison")
    page.locator("#password").fill("p@ss:w/rd%")
    page.get_by_text("Add PEM").click()
    page.get_by_label("Certificates to add, in PEM").fill("\n\n-----BEGIN CERTIFICATE-----\nMIIB")
    page.get_by_role("button", name="Save").click()

    expect(page.get_by_text("Nothing was saved.")).to_be_visible()
    expect(page.get_by_label("HTTP Proxy")).to_have_value("proxy.corp.test:8080")
    expect(page.locator("#http_proxy-e1")).to_contain_text(
        "the protocol is missing", ignore_case=True
    )
    expect(page.locator("#no_proxy-e1")).to_contain_text("jira.corp.test")
    expect(page.locator("#ca-e1")).to_contain_text(re.compile(r"Line 3\b"))
    expect(page.get_by_label("Certificates to add, in PEM")).to_have_value(re.compile("MIIB"))
    assert "p@ss" not in page.content()
    assert proxy.current(empty.state).revision == 0

    page.get_by_label("HTTP Proxy").fill("http://proxy.corp.test:8080")
    page.get_by_label("No Proxy").fill(".corp.test, jira.corp.test")
    page.locator("#password").fill("p@ss:w/rd%")
    page.get_by_label("Certificates to add, in PEM").fill(empty.state.authority.certificate_pem)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved revision 1. The Console uses it now.")).to_be_visible()
    expect(page.locator("#no_proxy-w1")).to_contain_text("jira.corp.test")
    expect(page.locator("#password")).to_have_value("")
    saved = proxy.current(empty.state).settings
    assert saved.credentials is not None
    assert saved.credentials.password.reveal() == "p@ss:w/rd%"
    assert len(saved.trust.certificates) == 1

    page.get_by_label("Remove Garrison").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved revision 2.")).to_be_visible()
    saved = proxy.current(empty.state).settings
    assert saved.trust.certificates == ()
    assert saved.credentials is not None
    assert saved.credentials.password.reveal() == "p@ss:w/rd%"
    # 422 is an error to the browser's console, and the only one.
    assert all("422" in line for line in seen.complaints)


def test_proxy_saved_by_somebody_else_meanwhile(seen: Watched, empty: RunningConsole) -> None:
    page = seen.page
    seen.open(empty.url + PROXY)
    form = proxy.ProxyForm("http://other.corp.test:8080", "", "", "")
    proxy.save(empty.state, form, "jun.sato")
    page.get_by_label("HTTP Proxy").fill("http://mine.corp.test:8080")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("jun.sato saved revision 1 while this form was open.")).to_be_visible()
    expect(page.get_by_label("HTTP Proxy")).to_have_value("http://mine.corp.test:8080")
    expect(page.locator("#http_proxy-o")).to_contain_text("other.corp.test:8080")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved revision 2.")).to_be_visible()
    page.get_by_role("link", name="History").click()
    expect(page.get_by_role("row")).to_have_count(3)


def test_route_is_explained_while_typed(seen: Watched, empty: RunningConsole) -> None:
    form = proxy.ProxyForm("http://proxy.corp.test:8080", ".corp.test", "", "")
    proxy.save(empty.state, form, "admin")
    page = seen.page
    seen.open(empty.url + PROXY)
    typed = page.get_by_label("Address to explain")
    typed.press_sequentially("hooks.slack.test")
    expect(page.locator("#explained")).to_contain_text("By proxy.")
    typed.fill("https://vault.corp.test:8200")
    expect(page.locator("#explained")).to_contain_text("Direct.")
    expect(page.locator("#explained")).to_contain_text(".corp.test")
    typed.fill("ftp://files.test")
    expect(page.locator("#explained .error")).to_be_visible()
    assert seen.complaints == []


def test_connection_test_shows_where_it_stopped(
    seen: Watched, empty: RunningConsole, closed_port: int
) -> None:
    """Nobody listens where the proxy should be: the trace ends there and says who acts."""
    form = proxy.ProxyForm(f"http://127.0.0.1:{closed_port}", "", "", "")
    proxy.save(empty.state, form, "admin")
    page = seen.page
    seen.open(empty.url + PROXY)
    page.get_by_label("Address to reach").fill("https://hooks.slack.test/services/x")
    page.get_by_role("button", name="Test", exact=True).click()
    expect(page.get_by_text("The proxy was not reached.")).to_be_visible()
    expect(page.locator(".hop-fail")).to_contain_text("tcp")
    expect(page.locator(".hop-skip")).to_have_count(3)
    expect(page.locator(".hop-fail")).to_contain_text("Do this")
    expect(page.get_by_role("button", name="Test again")).to_be_visible()
    assert seen.complaints == []


def test_scan_is_watched_to_its_end(seen: Watched, empty: RunningConsole) -> None:
    """Waiting, numbers, then the image: without a reload by hand."""
    state, now = empty.state, datetime.now(UTC)
    advisories.write(state.data, now)
    node = seed.nodes(state, now)[0]
    page = seen.page
    seen.open(f"{empty.url}/images")
    page.get_by_label("Image", exact=True).fill("harbor.corp.test/pay/checkout:4.12.0")
    page.get_by_role("button", name="Scan").click()
    expect(page.get_by_text("A connected Defender takes it")).to_be_visible()
    scan_id = page.url.rpartition("/")[2]
    lease = now + timedelta(minutes=5)
    with state.db.write() as c:
        scan_rows.claim(c, node, limit=1, lease_until=lease, now=now)
        scan_rows.progress(
            c, scan_id, defender_id=node, done=1_000_000, total=4_000_000, step="Reading layers",
            lease_until=lease,
        )  # fmt: skip
    expect(page.get_by_text("1.0 MB of 4.0 MB")).to_be_visible()

    with page.context.expect_page() as opened:
        page.evaluate("open('/images')")
    other = opened.value
    expect(other.locator("#jobs")).to_contain_text("1 scan under way")
    scans.ingest(state, node, scan_id, seed.fleet_images()[0])
    page.wait_for_url("**/images/sha256*")
    expect(page.get_by_role("heading", name="What to change")).to_be_visible()
    expect(other.locator("#list")).to_contain_text("pay/checkout")
    expect(other.locator("#jobs")).to_be_hidden()
    assert seen.complaints == []


def test_update_is_followed(seen: Watched, empty: RunningConsole) -> None:
    """The button answers at once, and numbers move while the update runs."""
    state, page = empty.state, seen.page
    seen.open(f"{empty.url}/manage/system/intelligence")
    page.get_by_role("button", name="Update now").click()
    now = datetime.now(UTC)
    lease = now + timedelta(minutes=1)
    with state.db.write() as c:
        intel.start(c, lease_until=lease, now=now)
        intel.progress(c, done=166_400, total=268_410, step="Reading npm", lease_until=lease)
    expect(page.get_by_text("166,400 of 268,410")).to_be_visible()
    with state.db.write() as c:
        intel.failed(c, seed.REFUSED)
    expect(page.get_by_text("The last update failed")).to_be_visible()
    expect(page.locator("main").get_by_text("refused the user svc-garrison")).to_be_visible()
    expect(page.get_by_role("link", name="Open proxy settings")).to_be_visible()
    assert seen.complaints == []


def test_defender_is_added_with_a_token_shown_once(seen: Watched, empty: RunningConsole) -> None:
    form = proxy.ProxyForm("http://proxy.corp.test:8080", "", "", "svc-garrison")
    proxy.save(empty.state, form, "admin")
    state, page = empty.state, seen.page
    seen.open(f"{empty.url}/defenders")
    page.get_by_role("link", name="Add a Defender").click()
    page.get_by_label("Group").fill("eu-west-prod")
    page.get_by_role("button", name="Make the token").click()
    commands = page.locator("#join")
    expect(commands).to_contain_text("export GARRISON_JOIN_TOKEN=gjt1_")
    expect(commands).to_contain_text("GARRISON_HTTP_PROXY=http://proxy.corp.test:8080")
    expect(page.locator("#arrivals")).to_contain_text("Waiting for a Defender to join")
    now = datetime.now(UTC)
    with state.db.write() as c:
        row = defenders.add(
            c, name="node-eu-001", group="eu-west-prod", labels={}, fingerprint="0" * 64,
            serial="1", not_after=now + timedelta(days=30), version="0.1.0",
            platform="linux/amd64", join_token_id=None, now=now,
        )  # fmt: skip
        defenders.connected(
            c, row.id, name=row.name, version="0.1.0", platform="linux/amd64",
            settings_revision=1, proxy="", route="direct", now=now,
        )  # fmt: skip
    expect(page.locator("#arrivals")).to_contain_text("node-eu-001 joined and is connected")
    page.goto(f"{empty.url}/defenders/add")
    assert "gjt1_" not in page.content()
    page.goto(f"{empty.url}/defenders")
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_role("button", name="Remove node-eu-001").click()
    expect(page.get_by_text("Removed node-eu-001.")).to_be_visible()
    assert seen.complaints == []


def test_slack_is_added_and_tried(seen: Watched, empty: RunningConsole, closed_port: int) -> None:
    """A test that fails shows its way, in place; the webhook is never shown again."""
    form = proxy.ProxyForm(f"http://127.0.0.1:{closed_port}", "", "", "")
    proxy.save(empty.state, form, "admin")
    page = seen.page
    seen.open(f"{empty.url}/alerts")
    page.get_by_role("link", name="Add Slack").click()
    page.get_by_label("Name").fill("Security channel")
    page.get_by_label("Webhook address").fill("ftp://hooks.slack.test/services/secret")
    page.get_by_role("button", name="Add Slack").click()
    expect(page.locator("#webhook-e")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("Security channel")
    assert "services/secret" not in page.content()
    page.get_by_label("Webhook address").fill("https://hooks.slack.test/services/secret")
    page.get_by_role("button", name="Add Slack").click()
    expect(page.get_by_text("Added Security channel.")).to_be_visible()
    page.get_by_role("button", name="Send a test").click()
    expect(page.get_by_text("The proxy was not reached.")).to_be_visible()
    page.get_by_role("link", name="Edit").click()
    assert "services/secret" not in page.content()
    page.get_by_label("Tell about").select_option("medium")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Medium and above")).to_be_visible()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_role("button", name="Remove profile").click()
    expect(page.get_by_role("heading", name="No alerts yet")).to_be_visible()
    assert all("422" in line for line in seen.complaints)


def test_registry_and_token(seen: Watched, empty: RunningConsole) -> None:
    page = seen.page
    seen.open(f"{empty.url}/manage/registries")
    page.get_by_role("link", name="Add a registry").click()
    page.get_by_label("Host").fill("harbor.corp.test:5000")
    page.get_by_label("User").fill("robot$garrison")
    page.get_by_label("Password or token").fill("hunter2hunter2")
    page.get_by_role("button", name="Add registry").click()
    page.get_by_role("link", name="harbor.corp.test:5000").click()
    expect(page.get_by_label("User")).to_have_value("robot$garrison")
    assert "hunter2" not in page.content()
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Remove", exact=True).click()
    page.get_by_role("button", name="Remove registry").click()
    expect(page.get_by_role("heading", name="No registry needs anything")).to_be_visible()

    page.goto(f"{empty.url}/manage/access")
    page.get_by_label("Name").fill("ci-pipeline")
    page.get_by_role("button", name="Create token").click()
    expect(page.locator("#secret")).not_to_be_empty()
    secret = page.locator("#secret").inner_text()
    page.goto(f"{empty.url}/manage/access")
    assert secret not in page.content()
    page.get_by_role("button", name="Revoke", exact=True).click()
    page.get_by_role("button", name="Revoke token").click()
    expect(page.get_by_role("row", name="ci-pipeline")).to_contain_text("Revoked")
    page.get_by_role("link", name="Audit log").click()
    expect(page.get_by_role("row", name="token.revoke")).to_be_visible()
    assert seen.complaints == []


def test_keyboard_finds_everything(browser: Browser, full: RunningConsole) -> None:
    """Skip link, search by `/`, and every page and image by Ctrl K."""
    with context_of(browser, 1440) as context:
        sign_in(context.new_page(), full)
        seen = watched(context)
        page = seen.page
        seen.open(f"{full.url}/images")
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        page.keyboard.press("/")
        expect(page.get_by_label("Search images")).to_be_focused()
        page.keyboard.type("checkout")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(r"q=checkout"))
        expect(page.locator("#list tbody tr")).to_have_count(1)

        page.wait_for_load_state()
        page.keyboard.press("Control+k")
        palette = page.get_by_role("dialog")
        expect(palette.get_by_role("option", name="Proxy")).to_be_visible()
        page.keyboard.type("postgres")
        expect(palette.get_by_role("option", selected=True)).to_contain_text("library/postgres")
        page.keyboard.press("Enter")
        page.wait_for_url("**/images/sha256*")
        page.wait_for_load_state()
        page.keyboard.press("Control+k")
        page.keyboard.type("nothing like it")
        expect(palette).to_contain_text("Nothing here is called that.")
        page.keyboard.press("Escape")
        expect(palette).to_be_hidden()
        assert seen.complaints == []


def test_navigation_on_a_phone(browser: Browser, full: RunningConsole) -> None:
    with context_of(browser, 390) as context:
        sign_in(context.new_page(), full)
        seen = watched(context)
        page = seen.page
        seen.open(f"{full.url}/images")
        page.get_by_role("button", name="Menu").click()
        page.get_by_role("link", name="Proxy").click()
        expect(page.get_by_role("heading", name="Proxy", exact=True)).to_be_visible()
        assert seen.complaints == []


def test_theme_is_kept(browser: Browser, full: RunningConsole) -> None:
    """The server writes it into the page, so that nothing flashes."""
    with context_of(browser, 1440, "light") as context:
        page = context.new_page()
        sign_in(page, full)
        page.get_by_role("button", name="Switch between light and dark").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        page.goto(f"{full.url}/defenders")
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_times_are_the_readers(browser: Browser, full: RunningConsole) -> None:
    with context_of(browser, 1440) as context:
        page = context.new_page()
        sign_in(page, full)
        page.goto(f"{full.url}/images")
        at = page.locator("#list time").first
        assert re.fullmatch(r"\d\d:\d\d|\d+ \w{3}", at.inner_text())
        title = at.get_attribute("title") or ""
        assert re.search(r"UTC\+0[12]:00\n.* UTC$", title)


def test_forms_work_without_script(plain: Page, empty: RunningConsole, closed_port: int) -> None:
    """Save, explain, test, filter, scan, the theme: all by the browser alone."""
    plain.goto(empty.url + PROXY)
    plain.get_by_label("HTTP Proxy").fill(f"http://127.0.0.1:{closed_port}")
    plain.get_by_role("button", name="Save").click()
    expect(plain.get_by_text("Saved revision 1.")).to_be_visible()
    plain.get_by_label("Address to explain").fill("https://hooks.slack.test")
    plain.get_by_role("button", name="Explain").click()
    expect(plain.locator("#explained")).to_contain_text("By proxy.")
    plain.get_by_role("button", name="Test", exact=True).click()
    expect(plain.get_by_text("The proxy was not reached.")).to_be_visible()
    plain.goto(f"{empty.url}/defenders")
    plain.get_by_role("button", name="Switch between light and dark").click()
    expect(plain.locator("html")).to_have_attribute("data-theme", "dark")
    expect(plain).to_have_url(f"{empty.url}/defenders")
    plain.goto(f"{empty.url}/images")
    plain.get_by_label("Image", exact=True).fill("debian:12")
    plain.get_by_role("button", name="Scan").click()
    expect(plain.get_by_text("No Defender is connected, so nobody can take it.")).to_be_visible()
    plain.get_by_role("link", name="Search").first.click()
    plain.get_by_role("searchbox", name="Search").fill("proxy")
    plain.get_by_role("button", name="Search").click()
    expect(plain.locator("main").get_by_role("link", name="Proxy", exact=True)).to_be_visible()


def test_every_link_leads_somewhere(browser: Browser, full: RunningConsole) -> None:
    """Crawled from the first page; forms are left alone."""
    with context_of(browser, 1440) as context:
        page = context.new_page()
        sign_in(page, full)
        seen: set[str] = set()
        todo = ["/images", "/search?q=e"]
        while todo and len(seen) < 400:
            path = todo.pop()
            if path in seen:
                continue
            seen.add(path)
            answer = context.request.get(full.url + path, max_redirects=0)
            assert answer.status == 200, f"{path}: {answer.status}"
            for link in re.findall(r'href="(/[^"#]*)"', answer.text().replace("&amp;", "&")):
                if not link.startswith("/static/") and len(seen) + len(todo) < 400:
                    todo.append(link)
        assert len(seen) > 60


def test_strangers_see_nothing(browser: Browser, full: RunningConsole) -> None:
    """Every page and part of one leads to sign-in; nothing changes without a session."""
    from garrison.console import pages

    open_to_all = {"/sign-in", "/setup"}
    with context_of(browser, 1440) as context:
        for route in pages.routes():
            if route.path in open_to_all:
                continue
            path = re.sub(r"\{\w+\}", "x", re.sub(r"\{\w+:int\}", "1", route.path))
            for method in sorted((route.methods or set()) - {"HEAD"}):
                answer = context.request.fetch(full.url + path, method=method, max_redirects=0)
                assert answer.status == 303, f"{method} {path}: {answer.status}"
                assert answer.headers["location"].startswith("/sign-in")
        part = context.request.get(
            f"{full.url}/images/jobs", headers={"HX-Request": "true"}, max_redirects=0
        )
        assert part.status == 401
        assert part.headers["hx-redirect"].startswith("/sign-in")


def test_forms_from_elsewhere_are_refused(browser: Browser, full: RunningConsole) -> None:
    """Without the page's token nothing changes, on any route that changes something."""
    from garrison.console import pages

    before = proxy.current(full.state).revision
    with context_of(browser, 1440) as context:
        sign_in(context.new_page(), full)
        for route in pages.routes():
            if "POST" not in (route.methods or ()) or route.path in {"/sign-in", "/setup"}:
                continue
            path = re.sub(r"\{\w+\}", "x", re.sub(r"\{\w+:int\}", "1", route.path))
            answer = context.request.post(full.url + path, form={"http_proxy": "http://evil:1"})
            assert answer.status == 403, f"{path}: {answer.status}"
            assert "access.csrf" in answer.text()
    assert proxy.current(full.state).revision == before


def test_auditors_look_and_change_nothing(browser: Browser, empty: RunningConsole) -> None:
    """Forms that would be refused are not shown; the route refuses them all the same."""
    with empty.state.db.write() as c:
        account_rows.create_user(
            c, name="ines", password_hash=PasswordHasher().hash(seed.PASSWORD), role="auditor",
            actor="test", now=datetime.now(UTC),
        )  # fmt: skip
    with context_of(browser, 1440) as context:
        page = context.new_page()
        page.goto(f"{empty.url}/sign-in")
        page.get_by_label("Name").fill("ines")
        page.get_by_label("Password").fill(seed.PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url("**/overview")
        page.goto(empty.url + "/images")
        expect(page.get_by_role("button", name="Scan")).to_have_count(0)
        page.goto(empty.url + PROXY)
        expect(page.get_by_text("Your role, auditor, can look and test.")).to_be_visible()
        token = page.locator("meta[name=csrf-token]").get_attribute("content") or ""
        answer = context.request.post(
            empty.url + PROXY, form={"csrf_token": token, "http_proxy": "http://x:1"}
        )
        assert answer.status == 403
        page.goto(f"{empty.url}/defenders/add")
        expect(page.get_by_role("heading", name="This is not yours to see or do")).to_be_visible()


def test_what_is_not_there(browser: Browser, full: RunningConsole) -> None:
    """A page, not a document for programs; inside the shell for somebody signed in."""
    with context_of(browser, 1440) as context:
        page = context.new_page()
        sign_in(page, full)
        for path in ("/nothing", "/images/sha256:00", "/scans/none", "/advisories/CVE-1999-0001"):
            response = page.goto(full.url + path)
            assert response is not None
            assert response.status == 404
            expect(page.get_by_role("heading", name="There is nothing here")).to_be_visible()
            expect(page.get_by_role("navigation", name="Main")).to_be_visible()


def test_static_files_are_kept_for_good(browser: Browser, full: RunningConsole) -> None:
    with context_of(browser, 1440) as context:
        page = context.new_page()
        page.goto(f"{full.url}/sign-in")
        href = page.locator("link[rel=stylesheet]").first.get_attribute("href") or ""
        answer = context.request.get(full.url + href)
        assert answer.headers["content-type"] == "text/css; charset=utf-8"
        assert "immutable" in answer.headers["cache-control"]
        old = context.request.get(re.sub(r"/static/\w+/", "/static/0ld/", full.url + href))
        assert old.headers["cache-control"] == "no-cache"
        again = context.request.get(
            full.url + href, headers={"If-None-Match": answer.headers["etag"]}
        )
        assert again.status == 304
        assert context.request.get(f"{full.url}/static/x/../view.py").status == 404
