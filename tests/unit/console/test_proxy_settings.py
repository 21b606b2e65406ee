"""Manage > System > Proxy: what is saved, what is in force, and what is never told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from garrison.console import accounts, proxy
from garrison.console.problems import ConflictError, NotFoundError
from garrison.console.proxy import KEEP, ProxyForm
from garrison.console.state import AppState
from garrison.database.errors import StaleRevisionError
from garrison.egress import BadUrlError, InvalidSettings
from garrison.errors import GarrisonError
from garrison.secret import Secret
from tests.unit.console.harness import Client, console

CANARY = "c4n4ry-p@ss:w/rd%"
URL = "/api/v1/settings/proxy"


def form(**changes: Any) -> ProxyForm:
    values: dict[str, Any] = {"http_proxy": "", "no_proxy": (), "ca": "", "user": ""}
    return ProxyForm(**{**values, **changes})


def test_a_saved_setting_is_used_at_once(state: AppState) -> None:
    told = []
    state.on_proxy.append(lambda: told.append(state.egress.settings.revision))

    saved = proxy.save(state, form(http_proxy="http://proxy.test:3128"), "ada")

    assert saved.revision == 1
    assert saved.saved_by == "ada"
    assert str(state.egress.settings.proxy) == "http://proxy.test:3128"
    assert state.egress.settings.revision == 1
    assert told == [1]
    assert proxy.current(state) == saved


def test_all_bad_fields_are_told_and_nothing_changes(state: AppState) -> None:
    with pytest.raises(InvalidSettings) as error:
        proxy.save(
            state, form(http_proxy="proxy", no_proxy="http://x/y", ca="nonsense", user="a:b"), "ada"
        )

    assert {p.field for p in error.value.problems} == {"http_proxy", "no_proxy", "ca", "user"}
    assert proxy.current(state).revision == 0


def test_the_password_is_kept_replaced_and_removed(state: AppState) -> None:
    def password() -> str | None:
        held = state.egress.settings.credentials
        return held.password.reveal() if held else None

    address = "http://proxy.test:3128"
    proxy.save(state, form(http_proxy=address, user="svc", password=Secret(CANARY)), "ada")
    assert password() == CANARY
    proxy.save(state, form(http_proxy=address, user="svc", password=KEEP), "ada")
    assert password() == CANARY
    proxy.save(state, form(http_proxy=address, user="svc", password=Secret("other")), "ada")
    assert password() == "other"
    proxy.save(state, form(http_proxy=address, user="svc", password=None), "ada")
    assert password() == ""
    assert not proxy.current(state).settings.as_view()["password_set"]


def test_without_a_user_the_password_goes_too(state: AppState) -> None:
    """Left behind it would come back with the next user, who may be somebody else."""
    address = "http://proxy.test:3128"
    proxy.save(state, form(http_proxy=address, user="svc", password=Secret(CANARY)), "ada")
    proxy.save(state, form(http_proxy=address), "ada")
    proxy.save(state, form(http_proxy=address, user="other"), "ada")

    assert not proxy.current(state).settings.as_view()["password_set"]


def test_a_stale_form_is_refused(state: AppState) -> None:
    proxy.save(state, form(http_proxy="http://a.test:1", revision=0), "ada")

    with pytest.raises(StaleRevisionError):
        proxy.save(state, form(http_proxy="http://b.test:1", revision=0), "bob")
    assert str(state.egress.settings.proxy) == "http://a.test:1"


def test_the_audit_tells_what_changed_and_no_password(state: AppState) -> None:
    address = "http://proxy.test:3128"
    proxy.save(state, form(http_proxy=address, user="svc", password=Secret(CANARY)), "ada")
    proxy.save(state, form(http_proxy=address, user="svc", no_proxy=["10.0.0.0/8"]), "bob")

    second, first = accounts.audit(state, 10, None, action="proxy").items
    assert first.detail["changed"]["password"] == "set"
    assert second.actor == "bob"
    assert list(second.detail["changed"]) == ["no_proxy"]
    assert CANARY not in str([first, second])


def test_the_environment_holds_until_something_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the first save there is one source: the form showed the environment's values."""
    password = tmp_path / "password"
    password.write_text(CANARY)
    environ = {
        "GARRISON_HTTP_PROXY": "http://env.test:3128",
        "GARRISON_PROXY_USER": "svc",
        "GARRISON_PROXY_PASSWORD_FILE": str(password),
    }
    with console(tmp_path, monkeypatch, **environ) as state:
        before = proxy.current(state)
        assert before.revision == 0
        assert before.settings.sources["http_proxy"] == "GARRISON_HTTP_PROXY"

        proxy.save(state, form(http_proxy="http://saved.test:1", user="svc"), "ada")

        after = proxy.current(state)
        assert after.settings.sources["http_proxy"] == "saved"
        assert state.egress.settings.credentials is not None
        assert state.egress.settings.credentials.password.reveal() == CANARY

    with console(tmp_path, monkeypatch, **environ) as state:
        assert str(state.egress.settings.proxy) == "http://saved.test:1"


def test_what_another_process_saved_is_followed(
    state: AppState, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`garrison egress set --data` beside a running Console."""
    with console(tmp_path, monkeypatch) as other:
        proxy.save(other, form(http_proxy="http://other.test:1"), "command line")

    assert proxy.follow(state)
    assert str(state.egress.settings.proxy) == "http://other.test:1"
    assert not proxy.follow(state)


async def test_api_round_trip(client: Client) -> None:
    """What GET gives may be changed and sent back: read-only fields are ignored."""
    body = {
        "http_proxy": "http://proxy.test:3128",
        "no_proxy": [".corp.test", "10.0.0.0/8"],
        "user": "svc",
        "password": CANARY,
    }
    first = await client.call("PUT", URL, body)
    assert first.status == 200, first.text
    assert first.json["password_set"]
    assert first.json["revision"] == 1

    again = await client.call("PUT", URL, {**first.json, "http_proxy": "http://proxy.test:8080"})
    assert again.status == 200, again.text
    assert again.json["no_proxy"] == [".corp.test", "10.0.0.0/8"]
    assert again.json["password_set"]

    stale = await client.call("PUT", URL, first.json)
    assert (stale.status, stale.json["code"]) == (409, "settings.stale")

    removed = await client.call("PUT", URL, {"http_proxy": "", "user": "svc", "password": None})
    assert not removed.json["password_set"]

    for answer in (first, again, stale, removed, await client.call("GET", "/api/v1/audit")):
        assert CANARY not in answer.text


async def test_api_names_every_bad_field(client: Client) -> None:
    answer = await client.call(
        "PUT", URL, {"http_proxy": "http://u:p@proxy.test:1", "no_proxy": ["http://a/b"]}
    )

    assert answer.status == 422
    assert [e["field"] for e in answer.json["errors"]] == ["http_proxy", "no_proxy"]
    assert all(e["code"] == "settings.invalid" for e in answer.json["errors"])


async def test_explain_needs_no_network(client: Client) -> None:
    await client.call(
        "PUT", URL, {"http_proxy": "http://proxy.test:3128", "no_proxy": [".corp.test"]}
    )

    outside = await client.call("POST", "/api/v1/egress/explain", {"url": "https://hub.test/"})
    inside = await client.call(
        "POST", "/api/v1/egress/explain", {"url": "https://a.corp.test/", "purpose": "alerts"}
    )
    bad = await client.call("POST", "/api/v1/egress/explain", {"url": "ftp://a.test"})

    assert outside.json["route"] == "proxy"
    assert outside.json["proxy"] == "http://proxy.test:3128"
    assert inside.json["route"] == "direct"
    assert ".corp.test" in inside.json["because"]
    assert inside.json["purpose"] == "alerts"
    assert (bad.status, bad.json["code"]) == (422, "egress.bad_url")
    assert bad.json["errors"][0]["field"] == "url"


async def test_a_test_that_fails_is_an_answer(client: Client) -> None:
    answer = await client.call("POST", "/api/v1/egress/test", {"url": "http://127.0.0.1:1/"})

    assert answer.status == 200
    assert not answer.json["ok"]
    assert answer.json["from"] == "console"
    assert answer.json["error"]["who"] == "destination"
    assert [step["hop"] for step in answer.json["trace"]] == ["resolve", "tcp"]


async def test_unknown_and_absent_defenders(state: AppState) -> None:
    with pytest.raises(NotFoundError):
        await proxy.test(state, "https://a.test", "registry", "nobody")
    with pytest.raises(BadUrlError):
        await proxy.explain(state, "ftp://a.test", "registry", "nobody")

    from garrison.database import defenders

    with state.db.write() as c:
        row = defenders.add(
            c,
            name="node",
            group="",
            labels={},
            fingerprint="f",
            serial="1",
            not_after=datetime.now(UTC),
            version="1",
            platform="linux/amd64",
            join_token_id=None,
            now=datetime.now(UTC),
        )
    with pytest.raises(ConflictError, match="node is not connected"):
        await proxy.explain(state, "https://a.test", "registry", row.id)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("http_proxy", "not an address"),
        ("no_proxy", ["10.*"]),
        ("ca", "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"),
        ("password", b"sealed with another key"),
        ("more", {"pac_url": "gopher://x"}),
    ],
)
def test_saved_settings_that_cannot_be_read_stop_the_console(
    state: AppState, column: str, value: Any
) -> None:
    """Never a silent direct connection."""
    from garrison.console.assemble import build_state
    from garrison.console.contacts import ContactLog
    from garrison.database.tables import proxy_settings

    row: dict[str, Any] = {
        "revision": 1, "http_proxy": "http://proxy.test:1", "no_proxy": [], "ca": "",
        "user": "u", "password": None, "more": {}, "saved_at": datetime.now(UTC), "saved_by": "x",
    }  # fmt: skip
    with state.db.write() as c:
        c.execute(proxy_settings.insert().values({**row, column: value}))
    with pytest.raises(GarrisonError) as error:
        build_state(state.settings, state.db, ContactLog(state.db))
    assert error.value.message
