"""Spans as protobuf's JSON, told."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from typing import Any

from bascule.tracking.traces import Span


def span_json(span: Span) -> dict[str, Any]:
    """Return a span as protobuf's JSON has it: ids in base 64, numbers of 64 bits as texts."""
    told: dict[str, Any] = {
        "trace_id": _base64(span.trace),
        "span_id": _base64(span.id),
        "parent_span_id": _base64(span.parent) if span.parent else None,
        "trace_state": span.state or None,
        "name": span.name,
        "kind": span.kind or None,
        "start_time_unix_nano": str(span.started_ns),
        "end_time_unix_nano": str(span.ended_ns) if span.ended_ns is not None else None,
        "attributes": pairs(span.attributes),
        "events": [
            {"name": one["name"], "time_unix_nano": str(one["time_ns"]), "attributes": pairs(one["attributes"])}
            for one in span.events
        ],
        "links": [
            {
                "trace_id": _base64(one["trace"]),
                "span_id": _base64(one["span"]),
                "attributes": pairs(one["attributes"]),
            }
            for one in span.links
        ],
        "status": {"code": f"STATUS_CODE_{span.status}", "message": span.message},
    }
    return {key: value for key, value in told.items() if value is not None and value != []}


def pairs(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return attributes as protobuf's JSON has them."""
    return [{"key": key, "value": _any(value)} for key, value in values.items()]


def _any(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"string_value": value}
    if isinstance(value, bool):
        return {"bool_value": value}
    if isinstance(value, int):
        return {"int_value": str(value)} if -(2**63) <= value < 2**63 else {"string_value": str(value)}
    if isinstance(value, float):
        return {"double_value": value if math.isfinite(value) else str(value)}
    if isinstance(value, Mapping):
        return {"kvlist_value": {"values": pairs(value)}}
    if isinstance(value, list | tuple):
        return {"array_value": {"values": [_any(one) for one in value]}}
    return {}


def _base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()
