"""The API describes itself: valid OpenAPI 3.1, and a page that loads nothing from outside."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from openapi_spec_validator import validate

from garrison.console.state import AppState
from tests.unit.console.harness import Client

DOCS = Path(__file__).parents[3] / "docs" / "reference"


async def document(state: AppState) -> dict[str, Any]:
    found: dict[str, Any] = (await Client(state).call("GET", "/api/v1/openapi.json")).json
    return found


async def test_the_document_is_valid(state: AppState) -> None:
    found = await document(state)

    validate(found)
    assert found["openapi"].startswith("3.1")


async def test_every_operation_is_described(state: AppState) -> None:
    """With a summary, a unique name, a typed answer, and problems as errors."""
    found = await document(state)
    names = []
    for path, methods in found["paths"].items():
        assert path.startswith("/api/v1/")
        for method, operation in methods.items():
            where = f"{method} {path}"
            names.append(operation["operationId"])
            assert operation["description"], where
            assert operation["tags"], where
            assert operation["responses"]["4XX"], where
            assert "422" not in operation["responses"], where
            good = [code for code in operation["responses"] if code.startswith("2")]
            assert len(good) == 1, where
            if good != ["204"]:
                content = operation["responses"][good[0]]["content"]
                assert "$ref" in content["application/json"]["schema"], where
    assert len(names) == len(set(names))


async def test_lists_take_limit_and_cursor(state: AppState) -> None:
    found = await document(state)
    for path in ("images", "findings", "scans", "defenders", "deliveries", "audit"):
        parameters = {p["name"] for p in found["paths"][f"/api/v1/{path}"]["get"]["parameters"]}
        assert {"limit", "cursor"} <= parameters, path


async def test_secrets_are_write_only(state: AppState) -> None:
    """No answer has a field for a password or webhook."""
    schemas = (await document(state))["components"]["schemas"]
    for name, schema in schemas.items():
        for field in schema.get("properties", {}):
            if field in {"password", "webhook"}:
                assert "Out" not in name, (name, field)


async def test_the_page_loads_nothing_from_outside(state: AppState) -> None:
    answer = await Client(state).call("GET", "/api/docs")

    assert answer.headers["content-type"].startswith("text/html")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', answer.text)
    assert "<script" not in answer.text
    assert "style=" not in answer.text
    for path in ("/api/v1/images/{digest}", "/api/v1/settings/proxy"):
        assert path in answer.text


async def test_the_reference_names_every_operation(state: AppState) -> None:
    """docs/reference/api.md is written by hand; this keeps it complete."""
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    for path, methods in (await document(state))["paths"].items():
        short = path.removeprefix("/api/v1")
        for method in methods:
            assert f"`{method.upper()} {short}`" in text, f"{method.upper()} {short}"
