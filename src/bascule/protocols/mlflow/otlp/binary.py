"""Spans as protobuf."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from bascule.protocols.mlflow import protobuf as wire
from bascule.protocols.mlflow.otlp.spans import check_count, check_depth, finite, made
from bascule.tracking.traces import Span
from bascule.tracking.traces.spans import plain


def spans_of(data: memoryview) -> Iterable[Span]:
    """Read the spans of an `ExportTraceServiceRequest`.

    Raises:
        InputError: it is damaged, or has too many spans.
    """
    count = 0
    for _, resource in _inside(data, 1):
        for _, scope in _inside(resource, 2):
            for _, span in _inside(scope, 2):
                count += 1
                check_count(count)
                yield _span_of_bytes(span)


def _inside(data: memoryview, wanted: int) -> Iterable[tuple[int, memoryview]]:
    return [(n, wire.message(value)) for n, _, value in wire.fields(data) if n == wanted]


def _span_of_bytes(data: memoryview) -> Span:
    told: dict[str, Any] = {"attributes": {}, "events": [], "links": []}
    for number, _, value in wire.fields(data):
        if number in (1, 2, 4):
            told[{1: "trace", 2: "id", 4: "parent"}[number]] = wire.message(value).hex()
        elif number in (3, 5):
            told["state" if number == 3 else "name"] = wire.text(value)
        elif number in (6, 7, 8):
            told[{6: "kind", 7: "started", 8: "ended"}[number]] = wire.number(value)
        elif number == 9:
            key, held = _pair_of_bytes(wire.message(value), 0)
            told["attributes"][key] = held
        elif number == 11:
            told["events"].append(_event_of_bytes(wire.message(value)))
        elif number == 13:
            told["links"].append(_link_of_bytes(wire.message(value)))
        elif number == 15:
            for inner, _, one in wire.fields(wire.message(value)):
                if inner == 2:
                    told["message"] = wire.text(one)
                elif inner == 3:
                    told["status"] = wire.number(one)
    return made(told)


def _event_of_bytes(data: memoryview) -> dict[str, Any]:
    told: dict[str, Any] = {"name": "", "time_ns": 0, "attributes": {}}
    for number, _, value in wire.fields(data):
        if number == 1:
            told["time_ns"] = wire.number(value)
        elif number == 2:
            told["name"] = wire.text(value)
        elif number == 3:
            key, held = _pair_of_bytes(wire.message(value), 0)
            told["attributes"][key] = held
    return told


def _link_of_bytes(data: memoryview) -> dict[str, Any]:
    told: dict[str, Any] = {"trace": "", "span": "", "attributes": {}}
    for number, _, value in wire.fields(data):
        if number in (1, 2):
            told["trace" if number == 1 else "span"] = wire.message(value).hex()
        elif number == 4:
            key, held = _pair_of_bytes(wire.message(value), 0)
            told["attributes"][key] = held
    return told


def _pair_of_bytes(data: memoryview, depth: int) -> tuple[str, Any]:
    key, held = "", None
    for number, _, value in wire.fields(data):
        if number == 1:
            key = wire.text(value)
        elif number == 2:
            held = _any_of_bytes(wire.message(value), depth + 1)
    return plain(key), held


def _any_of_bytes(data: memoryview, depth: int) -> Any:
    check_depth(depth)
    for number, _, value in wire.fields(data):
        if number == 1:
            return plain(wire.text(value))
        if number == 2:
            return bool(wire.number(value))
        if number == 3:
            return wire.signed(value)
        if number == 4:
            return finite(wire.double(value))
        if number == 5:
            return [_any_of_bytes(one, depth + 1) for _, one in _inside(wire.message(value), 1)]
        if number == 6:
            return dict(_pair_of_bytes(one, depth) for _, one in _inside(wire.message(value), 1))
        if number == 7:
            return base64.b64encode(wire.message(value)).decode()
    return None
