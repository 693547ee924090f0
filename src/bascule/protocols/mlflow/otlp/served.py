"""Spans as MLflow's servers and files tell them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import msgspec

from bascule.protocols.mlflow.otlp.telling import pairs
from bascule.protocols.mlflow.otlp.text import objects, snake, span_of
from bascule.tracking.traces import Span


def span_of_server(told: Mapping[str, Any]) -> Span:
    """Read a span as MLflow's servers tell it: ids in base 64, and in its files attributes as a mapping of JSON texts.

    Raises:
        InputError: it is none.
    """
    named = {snake(str(key)): value for key, value in told.items()}
    for name, digits in (("trace_id", 32), ("span_id", 16), ("parent_span_id", 16)):
        named[name] = _hexadecimal(named.get(name) or "", digits)
    named["links"] = [
        {
            **one,
            "trace_id": _hexadecimal(one.get("trace_id") or one.get("traceId"), 32),
            "span_id": _hexadecimal(one.get("span_id") or one.get("spanId"), 16),
        }
        for one in objects(named, "links")
    ]
    named["events"] = [{**one, "attributes": _listed(one.get("attributes"))} for one in objects(named, "events")]
    return span_of(
        {
            **{key: value for key, value in named.items() if not key.endswith("_unix_nano")},
            "attributes": _listed(named.get("attributes")),
            "start_time_unix_nano": str(named.get("start_time_unix_nano") or 0),
            "end_time_unix_nano": str(named.get("end_time_unix_nano") or 0),
        }
    )


def _listed(attributes: Any) -> Any:
    """Return attributes as pairs."""
    if not isinstance(attributes, Mapping):
        return attributes or []
    read = {}
    for key, value in attributes.items():
        try:
            read[key] = msgspec.json.decode(value) if isinstance(value, str) else value
        except msgspec.MsgspecError:
            read[key] = value
    return pairs(read)


def _hexadecimal(held: Any, digits: int) -> str:
    text = str(held or "").removeprefix("0x")
    if len(text) == digits or not text:
        return text
    try:
        return base64.b64decode(text, validate=True).hex()
    except ValueError:
        return text
