"""Spans as protobuf's JSON, read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bascule.protocols.mlflow.otlp.spans import STATUSES, check_count, check_depth, finite, invalid, made
from bascule.tracking.traces import Span
from bascule.tracking.traces.spans import plain


def spans_of(raw: bytes) -> Iterable[Span]:
    """Read the spans of an export request in JSON.

    Raises:
        InputError: it is none, or has too many spans.
    """
    try:
        told = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise invalid("the body is no JSON") from None
    count = 0
    for resource in objects(_object(told), "resourceSpans"):
        for scope in objects(resource, "scopeSpans"):
            for span in objects(scope, "spans"):
                count += 1
                check_count(count)
                yield span_of(span)


def span_of(told: Mapping[str, Any]) -> Span:
    """Read one span; its fields may be named as protobuf's JSON or as protobuf names them.

    Raises:
        InputError: it is none.
    """
    status = _object(_of(told, "status") or {})
    code = _of(status, "code")
    if isinstance(code, str):
        code = {f"STATUS_CODE_{name}": place for place, name in enumerate(STATUSES)}.get(code)
    kind = _of(told, "kind")
    return made(
        {
            "trace": _text(told, "traceId").lower(),
            "id": _text(told, "spanId").lower(),
            "parent": _text(told, "parentSpanId").lower(),
            "state": _text(told, "traceState"),
            "name": _text(told, "name"),
            "kind": kind if isinstance(kind, int) else 0,
            "started": _time(told, "startTimeUnixNano"),
            "ended": _time(told, "endTimeUnixNano"),
            "status": code or 0,
            "message": _text(status, "message"),
            "attributes": _pairs_of_json(told, 0),
            "events": [
                {"name": _text(e, "name"), "time_ns": _time(e, "timeUnixNano"), "attributes": _pairs_of_json(e, 0)}
                for e in objects(told, "events")
            ],
            "links": [
                {
                    "trace": _text(one, "traceId").lower(),
                    "span": _text(one, "spanId").lower(),
                    "attributes": _pairs_of_json(one, 0),
                }
                for one in objects(told, "links")
            ],
        }
    )


def _pairs_of_json(told: Mapping[str, Any], depth: int, name: str = "attributes") -> dict[str, Any]:
    return {
        plain(_text(one, "key")): _any_of_json(_object(_of(one, "value") or {}), depth + 1)
        for one in objects(told, name)
    }


def _any_of_json(told: Mapping[str, Any], depth: int) -> Any:
    check_depth(depth)
    for name, held in told.items():
        kind = snake(name)
        if kind in ("string_value", "bytes_value") and isinstance(held, str):
            return plain(held)
        if kind == "bool_value" and isinstance(held, bool):
            return held
        if kind == "int_value":
            return _integer(held)
        if kind == "double_value":
            return _double(held)
        if kind == "array_value":
            return [_any_of_json(one, depth + 1) for one in objects(_object(held), "values")]
        if kind == "kvlist_value":
            return _pairs_of_json(_object(held), depth, "values")
    return None


def _integer(held: Any) -> int:
    try:
        found = int(held)
    except (TypeError, ValueError, OverflowError):
        raise invalid(f"{str(held)[:40]!r} is no integer") from None
    if not -(2**63) <= found < 2**63:
        raise invalid(f"{str(held)[:40]} is no integer of 64 bits")
    return found


def _double(held: Any) -> Any:
    try:
        return finite(float(held))
    except (TypeError, ValueError, OverflowError):
        raise invalid(f"{str(held)[:40]!r} is no number") from None


def _time(told: Mapping[str, Any], name: str) -> int:
    held = _of(told, name)
    return 0 if held is None else _integer(held)


def _of(told: Mapping[str, Any], name: str) -> Any:
    found = told.get(name)
    return told.get(snake(name)) if found is None else found


def _text(told: Mapping[str, Any], name: str) -> str:
    found = _of(told, name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise invalid(f"{name!r} is no text")
    return found


def objects(told: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects in a field that is a list; none when it is missing.

    Raises:
        InputError: it is no list, or what it holds are no objects.
    """
    found = _of(told, name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise invalid(f"{name!r} is no list")
    return [_object(one) for one in found]


def _object(told: Any) -> Mapping[str, Any]:
    if not isinstance(told, dict):
        raise invalid("an object is missing")
    return told


def snake(name: str) -> str:
    """Return a field's name as protobuf has it."""
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()
