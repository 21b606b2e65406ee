"""The forms of the proxy settings, as a browser without script sends them."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio

from garrison.console import proxy
from garrison.console.proxy import ProxyForm
from garrison.console.state import AppState
from garrison.database import contacts
from garrison.egress import ConnectionRecord, ProxySettings
from garrison.secret import Secret
from tests.unit.console.harness import Answer, Client, console, signed_in

PATH = "/manage/system/proxy"
PASSWORD = "s3cret of the second"


@dataclass
class Person:
    """Somebody who is signed in and fills forms."""

    state: AppState
    client: Client
    csrf: str

    async def get(self, path: str) -> str:
        answer = await self.client.call("GET", PATH + path)
        assert answer.status == 200, answer.text
        return html.unescape(answer.text)

    async def post(
        self, path: str, form: Mapping[str, str], *, htmx: bool = False, stale: bool = False
    ) -> Answer:
        revision = proxy.current(self.state).revision - stale
        headers = {"sec-fetch-site": "same-origin", "x-csrf-token": self.csrf}
        if htmx:
            headers["hx-request"] = "true"
        values = {"revision": str(revision), **form}
        return await self.client.call("POST", PATH + path, form=values, headers=headers)

    async def done(self, path: str, form: Mapping[str, str]) -> None:
        answer = await self.post(path, form)
        assert answer.status == 303, said(answer)

    @property
    def more(self) -> dict[str, object]:
        return proxy.current(self.state).settings.as_view()


def said(answer: Answer) -> str:
    """What the page says, without markup."""
    text = html.unescape(re.sub(r"<[^>]+>", "", answer.text))
    return re.sub(r"\s+", " ", text)


@pytest_asyncio.fixture
async def ada(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Person]:
    with console(tmp_path, monkeypatch) as state:
        proxy.save(state, ProxyForm("http://p.test:1", ".corp.test", "", "svc", Secret("x")), "ada")
        session = await signed_in(state)
        client = Client(state, headers={"cookie": f"garrison_session={session.cookie}"})
        page = await client.call("GET", PATH)
        found = re.search(r'name="csrf-token" content="([^"]+)"', page.text)
        assert found, page.text[:500]
        yield Person(state, client, found.group(1))
        await state.egress.aclose()


async def test_a_proxy_is_added_used_renamed_and_removed(ada: Person) -> None:
    """A new name follows into failover and rules; what is used cannot be removed."""
    second = {"name": "second", "address": "https://two.test:8443", "user": "u"}
    await ada.done("/proxies/new", {**second, "password": PASSWORD})
    await ada.done("/proxies", {"failover": "second", "auth": "digest"})
    await ada.done("/rules/new", {"name": "All", "use": "proxy", "proxies": "second, default"})
    await ada.done("/proxies/second", {**second, "name": "backup"})

    settings = proxy.current(ada.state).settings
    assert settings.more.failover == ("backup",)
    assert settings.more.rules[0].proxies == ("backup", "default")
    named = settings.named("backup")
    assert named is not None
    assert named.credentials is not None
    assert named.credentials.password.reveal() == PASSWORD
    assert settings.more.auth == "digest"
    assert PASSWORD not in await ada.get("/proxies/backup")

    refused = await ada.post("/proxies/backup/remove", {})
    assert "backup is still used by failover and rule All." in said(refused)
    await ada.done("/proxies", {"failover": "", "auth": "auto"})
    await ada.done("/rules/1/remove", {})
    await ada.done("/proxies/backup/remove", {})
    assert ada.more["proxies"] == []


async def test_errors_stand_at_their_field_and_what_was_typed_stays(ada: Person) -> None:
    answer = await ada.post("/proxies/new", {"name": "default", "address": "two.test"})
    assert answer.status == 422
    assert re.search(r'id="address"[^>]*value="two.test"[^>]*aria-invalid="true"', answer.text)
    assert re.search(r"write \S+://", said(answer))
    rule = {"name": "R", "use": "proxy", "proxies": "nobody", "destinations": "10.*"}
    answer = await ada.post("/rules/new", rule)
    assert "there is no proxy 'nobody'" in said(answer).lower()
    assert "10.0.0.0/8" in said(answer)
    assert 'id="proxies-e1"' in answer.text


async def test_rules_change_places(ada: Person) -> None:
    for name in ("one", "two"):
        rule = {"name": name, "use": "direct", "destinations": f"{name}.test"}
        await ada.done("/rules/new", rule)
    await ada.done("/rules/2/move", {"to": "up"})
    assert [rule.name for rule in proxy.current(ada.state).settings.more.rules] == ["two", "one"]
    await ada.done("/rules/1/move", {"to": "up"})
    page = re.sub(r"<[^>]+>", " ", await ada.get("/rules"))
    assert page.index("two") < page.index("one")
    assert "Otherwise" in page


async def test_somebody_else_saved_meanwhile(ada: Person) -> None:
    answer = await ada.post("/pac", {"pac_url": "http://w.test/p.pac"}, stale=True)
    assert answer.status == 409
    assert "saved revision 1 while this form was open" in said(answer)
    assert ada.more["pac_url"] == ""
    await ada.done("/pac", {"pac_url": "http://w.test/p.pac", "pac_dns": "1"})
    assert (ada.more["pac_url"], ada.more["pac_dns"]) == ("http://w.test/p.pac", True)


async def test_a_ca_for_one_destination(ada: Person) -> None:
    pem = ada.state.authority.certificate_pem
    bad = await ada.post("/authorities", {"destinations": "", "ca": "nonsense"})
    assert "No destination is named." in said(bad)
    await ada.done("/authorities", {"destinations": "harbor.test", "ca": pem})
    assert "harbor.test" in await ada.get("/authorities")
    await ada.done("/authorities/1/remove", {})
    assert ada.more["destination_ca"] == []


async def test_strict_mode_is_filled_from_what_was_contacted(ada: Person) -> None:
    now = datetime.now(UTC)
    hosts = [("hooks.test", "alerts"), ("fd00::1", "registry"), ("typo.test", "test"),
             ("gateway.test", "fleet"), ("in.corp.test", "intel")]  # fmt: skip
    with ada.state.db.write() as c:
        for host, purpose in hosts:
            record = ConnectionRecord(host, 443, purpose, "direct", True, now)
            contacts.add(c, "console", [record])
    await ada.done("/strict", {"allowed": ".corp.test"})
    assert "2 of 3 hosts that were contacted would be refused." in await ada.get("/strict")
    page = await ada.get("/strict?fill=contacted")
    found = re.search(r"<textarea[^>]*>(.*?)</textarea>", page, re.DOTALL)
    assert found
    listed = found.group(1).split()
    assert listed == [".corp.test", "[fd00::1]:443", "hooks.test:443"]
    assert ada.more["allowed"] == [".corp.test"]
    await ada.done("/strict", {"strict": "1", "allowed": "\n".join(listed)})
    assert ada.more["strict"] is True
    assert "that were contacted" not in await ada.get("/strict")


async def test_names_of_the_cluster_can_go_by_the_proxy(ada: Person) -> None:
    assert ".svc" in await ada.get("/defaults")
    await ada.done("/defaults", {})
    assert ada.more["direct_in_cluster"] is False
    assert ".svc.cluster.local" not in await ada.get("/defaults")


async def test_the_form_is_looked_at_while_one_types(ada: Person) -> None:
    form = {"http_proxy": "http://p.test:1", "user": "svc", "no_proxy": ".corp.test, a.corp.test"}
    good = await ada.post("/check", form, htmx=True)
    assert "Changes No Proxy: the Console at once." in said(good)
    assert "a.corp.test is not needed: .corp.test covers it." in said(good)
    bad = await ada.post("/check", {**form, "no_proxy": "10.*"}, htmx=True)
    assert "Cannot be saved yet: see No Proxy." in said(bad)
    assert "write 10.0.0.0/8" in said(bad)
    assert proxy.current(ada.state).revision == 1
    typed = await ada.post("/check", {**form, "no_proxy": ".corp.test", "password": "new"})
    assert "Changes Password" in said(typed)
    assert "new" not in typed.text.replace("new-password", "")


async def test_a_route_is_explained_with_what_is_typed_and_for_any_purpose(ada: Person) -> None:
    rule = {"name": "Alerts direct", "use": "direct", "purposes": "alerts"}
    await ada.done("/rules/new", rule)
    form = {"http_proxy": "http://p.test:1", "user": "svc", "no_proxy": ".corp.test"}
    saved = await ada.post("/explain", {**form, "explain": "x.test", "purpose": "alerts"})
    assert "Direct. Rule Alerts direct. Purpose: alerts." in said(saved)
    assert "not saved" not in said(saved)
    rule = {"name": "Leipzig", "use": "direct", "groups": "leipzig"}
    await ada.done("/rules/new", rule)
    there = await ada.post("/explain", {**form, "explain": "y.test", "group": "leipzig"})
    assert "leipzigy.test:443Direct. Rule Leipzig. Purpose: registry." in said(there)
    form["no_proxy"] = "x.test"
    typed = await ada.post("/explain", {**form, "explain": "x.test", "purpose": "intel"})
    assert "Direct. Bypass entry x.test. Purpose: intel." in said(typed)
    assert "With what stands in the form, which is not saved." in said(typed)


async def test_a_test_before_saving_uses_what_is_typed(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is saved by it, and the kept password goes along."""
    tried: list[tuple[str, str]] = []

    async def test_with(state: AppState, settings: ProxySettings, *_: object) -> object:
        held = settings.credentials
        tried.append((str(settings.proxy), held.password.reveal() if held else ""))
        return {"ok": True, "url": "https://x.test", "route": {"proxy": None}, "trace": []}

    monkeypatch.setattr(proxy, "test_with", test_with)
    form = {"http_proxy": "http://other.test:2", "user": "svc", "no_proxy": "typed.test"}
    answer = await ada.post("/test-typed", {**form, "url": "https://x.test"})
    assert tried == [("http://other.test:2", "x")]
    assert "Nothing is saved yet." in said(answer)
    assert "typed.test" in answer.text
    assert proxy.current(ada.state).revision == 1
    wrong = await ada.post("/test-typed", {**form, "http_proxy": "other.test"}, htmx=True)
    assert "Nothing was tried: HTTP Proxy cannot be used as typed." in said(wrong)
    assert len(tried) == 1
