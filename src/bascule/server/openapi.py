"""The OpenAPI document, generated from the route table: what it says is what the server does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, get_origin

import msgspec

from bascule import __version__
from bascule.project.pushing import ARROW, JSON
from bascule.server.access import roles_with
from bascule.server.routes import Call, Route, shape_of

REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"{(\w+)(?::\w+)?}")


class Problem(msgspec.Struct, frozen=True):
    """Every error, from every route."""

    error: str
    kind: str
    hint: str = ""


def openapi_route(table: Sequence[Route]) -> Route:
    """Return the route that serves the document for a table, made when it is first asked for: a start need not wait."""
    document = cache(lambda: build(table))

    def openapi(call: Call[None, None]) -> dict[str, Any]:
        """This API, described in OpenAPI 3.1."""
        return document()

    return Route("GET", "/api/openapi.json", openapi, "public", hidden=True)


def build(table: Sequence[Route]) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document for the routes that are neither pages nor hidden."""
    routes = [route for route in table if not route.page and not route.hidden]
    shapes = [shape_of(route.endpoint) for route in routes]
    wanted: list[Any] = [Problem]
    for shape in shapes:
        wanted += [kind for kind in (shape.body, shape.answer) if _has_schema(kind) and kind is not bytes]
    schemas, components = msgspec.json.schema_components(wanted, schema_hook=lambda _: {}, ref_template=REF)
    known = {_key(kind): schema for kind, schema in zip(wanted, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for route, shape in zip(routes, shapes, strict=True):
        operation = _operation(route, shape.query)
        if shape.body is bytes:
            operation["requestBody"] = {"content": {kind: {} for kind in (*JSON, *ARROW)}, "required": True}
        elif shape.body is not None:
            content = {"application/json": {"schema": known[_key(shape.body)]}}
            operation["requestBody"] = {"content": content, "required": True}
        answer = known[_key(shape.answer)] if _has_schema(shape.answer) else {}
        kind = "application/json" if _has_schema(shape.answer) else "*/*"
        operation["responses"] = {
            "200": {"description": "Done.", "content": {kind: {"schema": answer}}},
            "default": {"description": "An error.", "content": {"application/json": {"schema": known[_key(Problem)]}}},
        }
        paths.setdefault(_PARAMETER.sub(r"{\1}", route.path), {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Bascule",
            "version": __version__,
            "description": "Times are microseconds since 1970-01-01T00:00:00Z. Refs are branches, tags, commit ids, "
            "`main~3` or `main@2026-03-01T00:00Z`.",
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}, {}],
    }


def _operation(route: Route, query: Any) -> dict[str, Any]:
    path = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path)
    ]
    names = re.sub(r"\W+", "_", _PARAMETER.sub(r"\1", route.path)).strip("_")
    return {
        "operationId": f"{route.method.lower()}_{names}",
        "summary": route.summary,
        "x-permission": route.permission,
        "description": f"Roles: {', '.join(roles_with(route.permission))}.",
        "parameters": path + _query_parameters(query),
    }


def _query_parameters(query: Any) -> list[dict[str, Any]]:
    if query is None:
        return []
    _, components = msgspec.json.schema_components([query], ref_template=REF)
    described = components[query.__name__]
    required = described.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in described["properties"].items()
    ]


def _has_schema(kind: Any) -> bool:
    if kind is None or kind is type(None):
        return False
    origin = get_origin(kind) or kind
    return not (isinstance(origin, type) and origin.__module__.startswith("starlette"))


def _key(kind: Any) -> str:
    return repr(kind)
