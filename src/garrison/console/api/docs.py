"""The API's own description: OpenAPI 3.1, and a page made of it that needs no script."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from garrison import __version__
from garrison.console.api.models import ProblemOut

_HERE = Path(__file__).parent
_METHODS = ("get", "post", "put", "patch", "delete")
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_ABOUT = """\
Everything the Console's pages can do. Send `Authorization: Bearer TOKEN`; `garrison tokens create`
makes a token. Errors are `application/problem+json` with a stable `code` and a `hint`. Lists take
`limit` and `cursor` and answer `items` and `next_cursor`; a `next_cursor` of null ends the list.
Times are UTC."""


def install(app: FastAPI) -> None:
    """Serve `/api/v1/openapi.json` and `/api/docs`."""
    document = openapi_document(app)
    page = render_page(document)
    style = (_HERE / "docs.css").read_text(encoding="utf-8")

    async def openapi(request: Request) -> Response:
        return JSONResponse(document)

    async def docs(request: Request) -> Response:
        return HTMLResponse(page)

    async def css(request: Request) -> Response:
        return Response(style, media_type="text/css")

    app.add_route("/api/v1/openapi.json", openapi, include_in_schema=False)
    app.add_route("/api/docs", docs, include_in_schema=False)
    app.add_route("/api/docs/style.css", css, include_in_schema=False)


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The document for the API's routes, with problems as the answer to every error."""
    document = copy.deepcopy(
        get_openapi(
            title="Garrison Console",
            version=__version__,
            openapi_version="3.1.0",
            description=_ABOUT,
            routes=app.routes,
        )
    )
    schemas = document["components"]["schemas"]
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    shape = ProblemOut.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(shape.pop("$defs", {}))
    schemas["Problem"] = {**shape, "title": "Problem"}
    document["components"]["responses"] = {
        "Problem": {
            "description": "The error",
            "content": {"application/problem+json": {"schema": _PROBLEM}},
        }
    }
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    for operations in document["paths"].values():
        for method in _METHODS:
            if operation := operations.get(method):
                operation["responses"].pop("422", None)
                operation["responses"]["4XX"] = {"$ref": "#/components/responses/Problem"}
                operation["responses"]["5XX"] = {"$ref": "#/components/responses/Problem"}
    return document


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    type: str
    required: bool
    text: str


@dataclass(frozen=True, slots=True)
class _Operation:
    anchor: str
    method: str
    path: str
    summary: str
    text: str
    parameters: list[_Row]
    body: str
    answer: str
    status: str


def render_page(document: dict[str, Any]) -> str:
    """`document` as HTML."""
    groups: dict[str, list[_Operation]] = {}
    for path, operations in document["paths"].items():
        for method in _METHODS:
            if operation := operations.get(method):
                tag = (operation.get("tags") or ["Other"])[0]
                groups.setdefault(tag, []).append(_operation(path, method, operation))
    schemas = {
        name: _Schema(name, schema.get("description", ""), _properties(schema))
        for name, schema in sorted(document["components"]["schemas"].items())
    }
    page: str = (
        _environment()
        .get_template("docs.html")
        .render(
            title=document["info"]["title"],
            version=document["info"]["version"],
            about=document["info"]["description"],
            groups=groups,
            schemas=schemas,
        )
    )
    return page


@dataclass(frozen=True, slots=True)
class _Schema:
    name: str
    text: str
    properties: list[_Row]


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )


def _operation(path: str, method: str, operation: dict[str, Any]) -> _Operation:
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    status, answer = next(
        (code, response)
        for code, response in operation["responses"].items()
        if code.startswith("2")
    )
    content = answer.get("content", {}).get("application/json", {})
    return _Operation(
        anchor=operation["operationId"],
        method=method.upper(),
        path=path,
        summary=operation.get("summary", ""),
        text=operation.get("description", ""),
        parameters=[
            _Row(p["name"], type_name(p["schema"]), p.get("required", False), _note(p))
            for p in operation.get("parameters", [])
        ],
        body=type_name(body["schema"]) if body else "",
        answer=type_name(content["schema"]) if content.get("schema") else "",
        status=status,
    )


def _properties(schema: dict[str, Any]) -> list[_Row]:
    required = schema.get("required", [])
    return [
        _Row(name, type_name(value), name in required, _note(value))
        for name, value in schema.get("properties", {}).items()
    ]


def _note(value: dict[str, Any]) -> str:
    parts = [value.get("description", "")]
    if value.get("writeOnly"):
        parts.append("Write only.")
    if "enum" in value:
        parts.append("One of: " + ", ".join(str(v) for v in value["enum"]) + ".")
    return " ".join(part for part in parts if part)


def type_name(schema: dict[str, Any]) -> str:
    """A schema in a word or two: `string`, `array of Finding`, `integer or null`."""
    if ref := schema.get("$ref"):
        return str(ref).rpartition("/")[2]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(type_name(each) for each in schema[several])
    if "const" in schema:
        return repr(schema["const"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"array of {type_name(schema.get('items', {}))}"
    return f"{kind} ({schema['format']})" if "format" in schema else kind
