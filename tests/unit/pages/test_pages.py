"""Decisions of single pages."""

from __future__ import annotations

from datetime import timedelta

import pytest

from garrison.console.intel import IntelStatus, LastError, Progress
from garrison.console.pages import access, advisory, defenders, history, proxy, shell, sign_in
from garrison.database.proxy import ProxyRow
from tests.unit.pages.samples import NOW


@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://evil.test/",
        "//evil.test",
        "/\\evil.test",
        "javascript:alert(1)",
        "/ok\n/x",
        "/a\\b",
    ],
)
def test_sign_in_never_leads_elsewhere(address: str) -> None:
    assert sign_in.local_path(address) == "/overview"


def test_sign_in_leads_back() -> None:
    assert sign_in.local_path("/images?q=a&cursor=b") == "/images?q=a&cursor=b"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "ftp://x.test", "http://", "//x", "http://["]
)
def test_records_cannot_send_a_browser_anywhere(url: str) -> None:
    assert advisory.web_address(url) == ""


def status(**changes: object) -> IntelStatus:
    values: dict[str, object] = {
        "revision": "r1",
        "updated_at": NOW - timedelta(minutes=6),
        "url": "https://feed.test",
        "running": False,
        "progress": None,
        "ecosystems": (),
        "sources": (),
        "skipped": (),
        "skipped_total": 0,
        "last_attempt_at": None,
        "last_success_at": None,
        "last_error": None,
        "next_update_at": None,
        "matching": 0,
    }
    return IntelStatus(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "shape", "word"),
    [
        ({}, "ok", "6 min old"),
        ({"updated_at": NOW - timedelta(days=2)}, "warn", "2 d old"),
        ({"running": True, "progress": Progress(62, 100, "npm")}, "run", "fills, 62 %"),
        ({"running": True}, "run", "updates"),
        ({"revision": "", "updated_at": None}, "warn", "is empty"),
        (
            {"revision": "", "updated_at": None, "last_error": LastError("c", "m")},
            "fail",
            "cannot be reached",
        ),
        ({"last_error": LastError("c", "m")}, "fail", "fails, 6 min old"),
    ],
)
def test_stream_is_quiet_while_healthy(changes: dict[str, object], shape: str, word: str) -> None:
    mark = shell.intel_mark(status(**changes), NOW)
    assert (mark.shape, mark.word) == (shape, f"Intelligence Stream {word}")


PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"
OTHER = "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----"


def test_typed_certificates_come_first_so_that_line_numbers_hold() -> None:
    assert proxy.bundle("\r\nnew", f"{PEM}\n{OTHER}", frozenset()) == f"\nnew\n{PEM}\n{OTHER}"
    gone = frozenset({proxy.fingerprint(PEM)})
    assert proxy.bundle("", f"{PEM}\n{OTHER}", gone) == OTHER


def test_names_of_certificates() -> None:
    assert proxy.common_name("CN=ACME\\, Inc. CA 2,O=ACME,C=DE") == "ACME, Inc. CA 2"
    assert proxy.common_name("O=ACME") == "O=ACME"


def test_warnings_stand_beside_their_field() -> None:
    found = proxy.by_field(["No Proxy: a is not needed", "Password: not used without a user", "x"])
    assert found == {
        "no_proxy": ("A is not needed.", "X."),
        "password": ("Not used without a user.",),
    }


def test_join_commands_carry_the_way_out_and_no_password() -> None:
    script = defenders.join_script(
        "wss://console.test:8084",
        "gjt1_abc",
        {
            "http_proxy": "http://proxy.corp.test:8080",
            "no_proxy": [".corp.test", "*.svc"],
            "ca": PEM,
            "user": "svc garrison",
            "password_set": True,
        },
    )
    assert script.splitlines() == [
        "export GARRISON_CONSOLE=wss://console.test:8084",
        "export GARRISON_JOIN_TOKEN=gjt1_abc",
        "export GARRISON_HTTP_PROXY=http://proxy.corp.test:8080",
        "export GARRISON_NO_PROXY='.corp.test,*.svc'",
        "export GARRISON_CA_FILE=/etc/garrison/ca.pem",
        "export GARRISON_PROXY_USER='svc garrison'",
        "export GARRISON_PROXY_PASSWORD_FILE=/etc/garrison/proxy-password",
        "garrison defender",
    ]


def row(revision: int, **changes: object) -> ProxyRow:
    values: dict[str, object] = {
        "revision": revision,
        "http_proxy": "",
        "no_proxy": (),
        "ca": "",
        "user": "",
        "password": None,
        "saved_at": NOW,
        "saved_by": "mira.okafor",
    }
    return ProxyRow(**{**values, **changes})  # type: ignore[arg-type]


def test_history_says_what_each_revision_changed() -> None:
    first = row(1, http_proxy="http://a.test:1", no_proxy=(".corp.test", "10.0.0.0/8"))
    second = row(
        2, http_proxy="http://a.test:1", no_proxy=(".corp.test",), user="svc", password=b"sealed"
    )
    lines = history.revision_lines([second, first], 2)
    assert lines[0].changes == ("No Proxy: without `10.0.0.0/8`.", "User: `svc`.", "Password: set.")
    assert lines[1].changes[0] == "HTTP Proxy: no proxy, now `http://a.test:1`."
    assert [line.current for line in lines] == [True, False]
    assert history.revision_lines([], 0) == ()


def test_audit_details_read_as_a_line() -> None:
    detail = {
        "revision": 2,
        "changed": {"user": ["", "svc"], "no_proxy": [["a"], ["a", "b"]], "password": "set"},
        "plain_http": False,
        "expires_at": "2026-11-24T11:18:12.995938+00:00",
        "config": {"host": "hooks.slack.test"},
        "group": "",
    }
    assert access.describe(detail) == (
        "revision: 2; user: nothing, now svc; no proxy: a, now a, b; password: set; "
        "plain http: no; expires at: 2026-11-24 11:18 UTC; config: host hooks.slack.test"
    )
