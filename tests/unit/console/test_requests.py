"""What holds for every request: hosts, sizes, tokens, roles, headers, and how errors read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from garrison.console import app as console_app
from garrison.console import proxy
from garrison.console.middleware import BODY_LIMIT, host_name
from garrison.console.state import AppState
from tests.unit.console.harness import Client, console, token_for

PROBES = {"/healthz", "/readyz", "/metrics"}


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8083", "localhost"),
        ("LOCALHOST", "localhost"),
        ("[::1]:8083", "::1"),
        ("garrison.test.", "garrison.test"),
        ("", ""),
    ],
)
def test_host_names(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8083", 200),
        ("localhost:8083", 200),
        ("[::1]:8083", 200),
        ("evil.test", 421),
        ("127.0.0.1.evil.test:8083", 421),
        ("", 421),
    ],
)
async def test_a_rebound_name_is_refused_on_loopback(
    client: Client, host: str, status: int
) -> None:
    """A web site could point its own name at 127.0.0.1 and read what is there."""
    answer = await client.call("GET", "/api/docs", headers={"host": host})

    assert answer.status == status


async def test_the_public_name_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"GARRISON_PUBLIC_URL": "https://garrison.corp.test"}
    with console(tmp_path, monkeypatch, **environ) as state:
        answer = await Client(state).call(
            "GET", "/api/docs", headers={"host": "garrison.corp.test"}
        )

    assert answer.status == 200
    assert "max-age" in answer.headers["strict-transport-security"]


async def test_every_answer_has_the_security_headers(client: Client) -> None:
    for path in ("/healthz", "/api/docs", "/api/v1/nothing", "/nothing", "/sign-in", "/"):
        answer = await client.call("GET", path, headers={"accept": "text/html"})

        assert answer.headers["content-security-policy"].startswith("default-src 'none'"), path
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert "strict-transport-security" not in answer.headers


@pytest.mark.parametrize("chunked", [False, True])
async def test_large_bodies_are_refused(client: Client, chunked: bool) -> None:
    """Announced or not; a chunked one is cut off where the limit is passed."""
    part = b" " * (BODY_LIMIT // 4 + 1)
    answer = (
        await client.call(
            "PUT",
            "/api/v1/settings/proxy",
            headers={"content-type": "application/json"},
            chunks=[part] * 40,
        )
        if chunked
        else await client.call("PUT", "/api/v1/settings/proxy", part * 4)
    )

    assert answer.status == 413
    assert answer.json["code"] == "request.too_large"


def operations(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (method.upper(), path) for path, methods in document["paths"].items() for method in methods
    ]


async def test_every_operation_needs_a_token(state: AppState) -> None:
    """Also paths that do not exist, and bodies that are no JSON: nothing is told before."""
    client = Client(state)
    document = (await client.call("GET", "/api/v1/openapi.json")).json
    assert len(operations(document)) > 30

    for method, path in [*operations(document), ("GET", "/api/v1/nothing"), ("GET", "/api/v1")]:
        for headers in ({}, {"authorization": "Bearer grt_wrong"}, {"authorization": "Basic eA"}):
            answer = await client.call(method, path, b"{not json", headers=headers)

            assert answer.status == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json["code"] == "access.token"


async def test_probes_and_descriptions_need_none(state: AppState) -> None:
    client = Client(state)

    for path in (*PROBES, "/api/docs", "/api/docs/style.css", "/api/v1/openapi.json"):
        assert (await client.call("GET", path)).status == 200, path


CHANGES = {
    ("PUT", "/api/v1/settings/proxy"): {"admin", "operator"},
    ("POST", "/api/v1/egress/test"): {"admin", "operator"},
    ("POST", "/api/v1/intel/update"): {"admin", "operator"},
    ("POST", "/api/v1/registries"): {"admin", "operator"},
    ("POST", "/api/v1/join-tokens"): {"admin", "operator"},
    ("POST", "/api/v1/alert-profiles"): {"admin", "operator"},
    ("DELETE", "/api/v1/defenders/x"): {"admin", "operator"},
    ("POST", "/api/v1/tokens"): {"admin"},
    ("GET", "/api/v1/tokens"): {"admin"},
    ("GET", "/api/v1/users"): {"admin"},
    ("GET", "/api/v1/audit"): {"admin", "operator", "auditor"},
    ("GET", "/api/v1/settings/proxy"): {"admin", "operator", "auditor"},
    ("GET", "/api/v1/images"): {"admin", "operator", "auditor", "ci"},
    ("POST", "/api/v1/scans"): {"admin", "operator", "auditor", "ci"} - {"auditor"},
}


@pytest.mark.parametrize("role", ["admin", "operator", "auditor", "ci"])
async def test_roles(state: AppState, role: Any) -> None:
    client = Client(state, token_for(state, role))

    for (method, path), allowed in CHANGES.items():
        answer = await client.call(method, path, {"unknown": 1} if method != "GET" else None)

        assert (answer.status != 403) == (role in allowed), (method, path, answer.text)


async def test_errors_of_the_framework_are_problems_too(client: Client) -> None:
    missing = await client.call("GET", "/api/v1/nothing")
    method = await client.call("PATCH", "/api/v1/images")
    broken = await client.call("POST", "/api/v1/scans", b"{not json")
    cursor = await client.call("GET", "/api/v1/images?cursor=nonsense")

    assert (missing.status, missing.json["code"]) == (404, "request.not_found")
    assert (method.status, method.json["code"]) == (405, "request.method")
    assert "GET" in method.headers["allow"]
    assert (broken.status, broken.json["code"]) == (400, "request.json")
    assert (cursor.status, cursor.json["code"]) == (400, "request.bad_cursor")
    for answer in (missing, method, broken, cursor):
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json["status"] == answer.status
        assert {"title", "detail", "hint"} <= set(answer.json)


async def test_all_wrong_fields_are_named_at_once(client: Client) -> None:
    answer = await client.call(
        "POST", "/api/v1/tokens", {"role": "king", "expires_in": 1, "nmae": "x"}
    )

    assert answer.status == 422
    assert {e["field"] for e in answer.json["errors"]} == {"name", "role", "expires_in", "nmae"}
    assert all(e["code"] and e["message"] for e in answer.json["errors"])


async def test_a_value_that_was_sent_is_not_repeated(client: Client) -> None:
    """A validation message must not echo what may be a password in the wrong field."""
    answer = await client.call(
        "PUT", "/api/v1/settings/proxy", {"password": {"canary": "s3cr3t-canary"}}
    )

    assert answer.status == 422
    assert "s3cr3t-canary" not in answer.text


async def test_a_bug_shows_nothing_of_itself(
    client: Client, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(state: AppState) -> None:
        raise RuntimeError("s3cr3t-canary")

    monkeypatch.setattr(proxy, "current", broken)

    answer = await client.call("GET", "/api/v1/settings/proxy")

    assert answer.status == 500
    assert answer.json["code"] == "internal"
    assert "canary" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_readiness_follows_the_database(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from garrison.database.errors import DatabaseUnavailableError

    def gone() -> None:
        raise DatabaseUnavailableError("no database")

    monkeypatch.setattr(client.state.db, "read", gone)

    assert (await client.call("GET", "/readyz")).status == 503
    assert (await client.call("GET", "/healthz")).status == 200


async def test_metrics_count_endpoints_and_not_paths(client: Client) -> None:
    """A label for every path would let anybody fill the memory."""
    for number in range(20):
        await client.call("GET", f"/api/v1/scans/{number}")
        await client.call("GET", f"/nothing/{number}")

    text = (await client.call("GET", "/metrics")).text

    assert 'endpoint="scans.read_scan",method="GET",status="404"} 20.0' in text
    assert 'endpoint="other",method="GET",status="404"} 20.0' in text
    assert "/nothing/1" not in text
    assert "garrison_proxy_settings_revision 0.0" in text


def test_known_hosts_are_any_behind_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with console(tmp_path, monkeypatch, GARRISON_LISTEN="0.0.0.0:8083") as state:
        assert console_app.known_hosts(state) is None
