"""A CA is trusted with one click, after its fingerprint was shown; then the same test passes."""

from __future__ import annotations

import json
import ssl
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from garrison.cli import main
from garrison.console import proxy, trust
from garrison.console.gateway import Gateway
from garrison.console.state import AppState
from garrison.database import audit, defenders
from garrison.egress import TrustBundle, check_connection
from garrison.fleet.join_token import JoinToken
from garrison.secret import Secret
from lab.authority import Authority
from lab.faults import scripted, tunnel_to
from lab.squid import Squid
from tests.integration.egress.conftest import HOST, settings
from tests.integration.egress.destination import Destination, serve
from tests.integration.fleet.harness import Defender
from tests.unit.console import harness


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppState]:
    with harness.console(tmp_path, monkeypatch) as state:
        yield state


def behind(state: AppState, url: str) -> harness.Client:
    """An operator's client of a Console that goes out by this proxy."""
    proxy.save(state, proxy.ProxyForm(url, "", "", ""), "test")
    return harness.Client(state, harness.token_for(state, "operator"))


async def look(client: harness.Client, url: str) -> Any:
    answer = await client.call("POST", "/api/v1/egress/test", {"url": url})
    assert answer.status == 200, answer.text
    return answer.json


async def trusted(client: harness.Client, url: str, fingerprint: str) -> harness.Answer:
    return await client.call(
        "POST", "/api/v1/egress/trust", {"url": url, "fingerprint": fingerprint}
    )


async def test_the_shown_ca_is_trusted_and_the_same_test_passes(
    state: AppState, bump_squid: Squid, secure: Destination, proxy_ca: Authority
) -> None:
    client = behind(state, bump_squid.url)
    first = await look(client, secure.url)
    assert first["error"]["code"] == "egress.tls_intercepted"
    assert first["interception"]["certainty"] == "certain"
    shown = first["trust"]
    assert shown["pem"].strip() == proxy_ca.pem.strip()
    assert shown["fingerprint"] in first["error"]["hint"]

    answer = await trusted(client, secure.url, shown["fingerprint"])

    assert answer.status == 200, answer.text
    assert answer.json["test"]["ok"]
    assert answer.json["test"]["notes"][0]["code"] == "egress.inspected"
    assert answer.json["revision"] == 2
    assert (await look(client, secure.url))["ok"]
    with state.db.read() as c:
        entry = next(one for one in audit.page(c).items if one.action == "egress.trust")
    assert entry.detail["sha256"] == shown["sha256"]
    assert entry.detail["for"] == HOST
    await state.egress.aclose()


async def test_another_ca_than_the_shown_one_is_not_trusted(
    state: AppState, bump_squid: Squid, secure: Destination, other_ca: Authority
) -> None:
    """The person compared one fingerprint; the chain leads elsewhere by now."""
    import hashlib

    client = behind(state, bump_squid.url)
    der = ssl.PEM_cert_to_DER_cert(other_ca.pem)
    answer = await trusted(client, secure.url, hashlib.sha256(der).hexdigest())

    assert answer.status == 409
    assert answer.json["code"] == "egress.other_ca"
    assert proxy.current(state).revision == 1
    assert not (await look(client, secure.url))["ok"]
    await state.egress.aclose()


async def test_nothing_is_trusted_where_that_is_no_remedy(
    state: AppState, squid: Squid, outside_ca: Authority
) -> None:
    client = behind(state, squid.url)
    with serve(HOST, outside_ca.server_context("x.test")) as destination:
        proxy.add_ca(state, outside_ca.pem, "test")
        wrong_name = await look(client, destination.url)
        answer = await trusted(client, destination.url, "00" * 32)

    assert wrong_name["error"]["code"] == "egress.tls_wrong_name"
    assert wrong_name["trust"] is None
    assert (answer.status, answer.json["code"]) == (409, "egress.nothing_to_trust")
    await state.egress.aclose()


async def test_a_defenders_test_leads_to_the_same_click(
    state: AppState, bump_squid: Squid, secure: Destination, proxy_ca: Authority, tmp_path: Path
) -> None:
    """The CA is saved for the next deployment; this Defender keeps what it was deployed with."""
    gateway = Gateway(
        state.db, state.authority, host="127.0.0.1", port=0,
        ingest=lambda *_: None, fail=lambda *_: None,
    )  # fmt: skip
    await gateway.start()
    state.gateway = gateway
    token = JoinToken.create(state.authority)
    with state.db.write() as c:
        defenders.create_join_token(
            c, token_hash=token.secret_hash, group="edge", expires_at=None, uses=1, actor="test",
            now=datetime.now(UTC),
        )  # fmt: skip
    client = harness.Client(state, harness.token_for(state, "operator"))
    defender = Defender(
        f"ws://127.0.0.1:{gateway.port}", tmp_path / "node", token=token,
        settings=settings(bump_squid), name="node-7",
    )  # fmt: skip
    defender.start()
    try:
        await defender.connected()
        body = {"url": secure.url, "from": "node-7"}
        first = await client.call("POST", "/api/v1/egress/test", body)
        shown = first.json["trust"]["fingerprint"]
        answer = await client.call("POST", "/api/v1/egress/trust", {**body, "fingerprint": shown})
    finally:
        await defender.stop()
        await gateway.stop()
    assert answer.status == 200, answer.text
    assert not answer.json["test"]["ok"]
    assert answer.json["test"]["from"] == "node-7"
    assert proxy.current(state).settings.trust.pem.strip() == proxy_ca.pem.strip()


def test_trusting_keeps_every_other_setting(state: AppState, outside_ca: Authority) -> None:
    more = {
        "proxies": [
            {"name": "b", "address": "http://b.test:1", "user": "u", "password": Secret("canary")}
        ],
        "rules": [{"name": "r", "destinations": ["x.test"], "use": "proxy", "proxies": ["b"]}],
    }
    form = proxy.ProxyForm("http://a.test:1", ["10.0.0.0/8"], "", "alice", Secret("p"), more=more)
    before = proxy.save(state, form, "test").settings
    after = proxy.add_ca(state, outside_ca.pem, "test").settings
    assert after.trust.pem.strip() == outside_ca.pem.strip()
    assert (after.proxy, after.bypass, after.credentials) == (
        before.proxy, before.bypass, before.credentials,
    )  # fmt: skip
    assert after.more == before.more


def test_no_second_certificate_comes_along(outside_ca: Authority, other_ca: Authority) -> None:
    """A Defender reports what it was shown; its word is not taken for what a person compared."""
    shown = TrustBundle.parse(outside_ca.pem).certificates[0]
    found = {"ok": False, "trust": {"pem": outside_ca.pem + other_ca.pem}}
    with pytest.raises(trust.NothingToTrustError):
        trust.checked_offer(found, shown.sha256)
    with pytest.raises(trust.OtherCaError):
        trust.checked_offer({"ok": False, "trust": {"pem": other_ca.pem}}, shown.sha256)
    taken = trust.checked_offer({"ok": False, "trust": {"pem": outside_ca.pem}}, shown.sha256)
    assert taken["sha256"] == shown.sha256


async def test_fingerprint_must_be_one(state: AppState) -> None:
    client = harness.Client(state, harness.token_for(state, "operator"))
    answer = await trusted(client, "https://a.test/", "trust me")
    assert answer.status == 422


async def test_a_ca_that_only_lies_in_the_chain_is_not_offered(
    state: AppState, outside_ca: Authority, other_ca: Authority, tmp_path: Path
) -> None:
    """A server may send any CA's certificate along; only the one that signed is offered."""
    pair = outside_ca.issue(HOST, directory=tmp_path, until=datetime(2099, 1, 1, tzinfo=UTC))
    leaf = pair.certificate.read_text().split("-----END CERTIFICATE-----")[0]
    chain = tmp_path / "chain.pem"
    chain.write_text(leaf + "-----END CERTIFICATE-----\n" + outside_ca.pem + other_ca.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, pair.key)
    with serve(HOST, context) as destination, scripted(tunnel_to(destination.port)) as port:
        found = await look(behind(state, f"http://127.0.0.1:{port}"), destination.url)

    assert found["error"]["code"] == "egress.tls_unknown_ca"
    assert found["trust"]["subject"] == "ACME Corp, Outside CA"
    await state.egress.aclose()


def test_command_line_trusts_by_fingerprint(
    tmp_path: Path,
    bump_squid: Squid,
    secure: Destination,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def run(*words: str) -> tuple[int, str]:
        argv = ["garrison", "egress", *words, "--data", str(tmp_path)]
        monkeypatch.setattr(sys, "argv", argv)
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), capsys.readouterr().out

    assert run("set", "--http-proxy", bump_squid.url)[0] == 0
    code, shown = run("test", secure.url, "--json")
    assert code == 1
    fingerprint = json.loads(shown)["trust"]["fingerprint"]

    assert run("test", secure.url, "--trust-ca", "00" * 32)[0] == 3
    assert run("test", secure.url, "--trust-ca", fingerprint)[0] == 0
    code, text = run("test", secure.url)
    assert code == 0
    assert "verified certificates:" in text


def minting(authority: Authority, folder: Path) -> ssl.SSLContext:
    """Shows a certificate for whatever name it is greeted with, of a key of its own."""

    def choose(sock: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        sock.context = authority.server_context(name or "nobody.test")

    context = authority.server_context("nobody.test")
    context.sni_callback = choose
    return context


async def test_a_proxy_that_makes_certificates_gives_itself_away(
    proxy_ca: Authority, tmp_path: Path
) -> None:
    """No key is reused, and the host is nobody's; it answers to an invented name as well."""
    with (
        serve(HOST, minting(proxy_ca, tmp_path)) as destination,
        scripted(tunnel_to(destination.port)) as port,
    ):
        found = check_connection(
            destination.url, settings(f"http://127.0.0.1:{port}"), purpose="registry"
        ).as_dict()
    assert found["error"]["code"] == "egress.tls_intercepted"
    assert found["interception"]["certainty"] == "certain"
    assert "whatever name is asked" in found["interception"]["evidence"]
    assert destination.seen == []


async def test_a_public_service_of_a_private_ca_is_intercepted(outside_ca: Authority) -> None:
    """And from then on that CA is known: the next host is recognised by it."""
    with (
        serve("hooks.slack.com", outside_ca.server_context("hooks.slack.com")) as slack,
        serve(HOST, outside_ca.server_context(HOST)) as other,
        scripted(tunnel_to(slack.port)) as first,
        scripted(tunnel_to(other.port)) as second,
    ):
        for url, port, evidence in (
            ("https://hooks.slack.com/services/x", first, "has a certificate of a public CA"),
            (other.url, second, "the same CA stands in for hooks.slack.com"),
        ):
            found = check_connection(url, settings(f"http://127.0.0.1:{port}"), purpose="alerts")
            assert found.error is not None
            assert found.error["code"] == "egress.tls_intercepted"
            assert evidence in found.error["message"]
