"""OpenTelemetry's protocol: spans as protobuf or JSON become ours, and ours are told as protobuf's JSON.

Bodies may be compressed; what they unpack to is bounded, however small they came.
"""

from __future__ import annotations

import base64
import math
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.protocols.mlflow import protobuf as wire
from bascule.tracking.traces import Span
from bascule.tracking.traces.spans import plain

MOST_UNPACKED = 64 << 20
MOST_SPANS = 50_000
MOST_DEEP = 32
LARGEST_TIME = 2**63 - 1
PROTOBUF, JSON = "application/x-protobuf", "application/json"
STATUSES = ("UNSET", "OK", "ERROR")
_HINT = "See opentelemetry.io/docs/specs/otlp for how it is written."


def unpacked(raw: bytes, coding: str) -> bytes:
    """Return a body without its compression.

    Raises:
        InputError: it is damaged, of another kind, or would be larger than 64 MiB.
    """
    if coding in ("", "identity"):
        return raw
    if coding not in ("gzip", "deflate"):
        raise InputError(f"Content-Encoding {coding[:40]!r} is not understood.", hint="Send gzip, deflate or none.")
    for width in (31,) if coding == "gzip" else (15, -15):
        stream = zlib.decompressobj(width)
        try:
            found = stream.decompress(raw, MOST_UNPACKED + 1)
        except zlib.error:
            continue
        if len(found) > MOST_UNPACKED:
            raise InputError(
                f"The body unpacks to more than {MOST_UNPACKED:,} bytes.", hint="Send the spans in several requests."
            )
        if stream.eof:
            return found
    raise InputError(f"The body is no whole {coding} stream.", hint="Send it again.")


def read_spans(raw: bytes, kind: str) -> list[Span]:
    """Return the spans of an export request.

    Args:
        kind: its content type, `PROTOBUF` or `JSON`.

    Raises:
        InputError: it cannot be read, has no spans or too many.
    """
    if kind == PROTOBUF:
        found = list(_of_bytes(memoryview(raw)))
    elif kind == JSON:
        found = list(_of_json(raw))
    else:
        raise InputError(f"Invalid Content-Type: {kind[:60]!r}.", hint=f"Expected: {PROTOBUF} or {JSON}.")
    if not found:
        raise InputError("Invalid OpenTelemetry format - no spans found.", hint=_HINT)
    return found


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
        "attributes": _pairs(span.attributes),
        "events": [
            {"name": one["name"], "time_unix_nano": str(one["time_ns"]), "attributes": _pairs(one["attributes"])}
            for one in span.events
        ],
        "links": [
            {
                "trace_id": _base64(one["trace"]),
                "span_id": _base64(one["span"]),
                "attributes": _pairs(one["attributes"]),
            }
            for one in span.links
        ],
        "status": {"code": f"STATUS_CODE_{span.status}", "message": span.message},
    }
    return {key: value for key, value in told.items() if value is not None and value != []}


def span_of_server(told: Mapping[str, Any]) -> Span:
    """Read a span as MLflow's servers tell it: ids in base 64, and in its files attributes as a mapping of JSON texts.

    Raises:
        InputError: it is none.
    """
    named = {_snake(str(key)): value for key, value in told.items()}
    for name, digits in (("trace_id", 32), ("span_id", 16), ("parent_span_id", 16)):
        named[name] = _hexadecimal(named.get(name) or "", digits)
    named["links"] = [
        {
            **one,
            "trace_id": _hexadecimal(one.get("trace_id") or one.get("traceId"), 32),
            "span_id": _hexadecimal(one.get("span_id") or one.get("spanId"), 16),
        }
        for one in _list(named, "links")
    ]
    named["events"] = [{**one, "attributes": _listed(one.get("attributes"))} for one in _list(named, "events")]
    return _span_of_json(
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
    return _pairs(read)


def _hexadecimal(held: Any, digits: int) -> str:
    text = str(held or "").removeprefix("0x")
    if len(text) == digits or not text:
        return text
    try:
        return base64.b64decode(text, validate=True).hex()
    except ValueError:
        return text


def _pairs(values: Mapping[str, Any]) -> list[dict[str, Any]]:
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
        return {"kvlist_value": {"values": _pairs(value)}}
    if isinstance(value, list | tuple):
        return {"array_value": {"values": [_any(one) for one in value]}}
    return {}


def _base64(hexadecimal: str) -> str:
    return base64.b64encode(bytes.fromhex(hexadecimal)).decode()


# Protobuf ------------------------------------------------------------------------------------------------------------


def _of_bytes(data: memoryview) -> Iterable[Span]:
    count = 0
    for _, resource in _inside(data, 1):
        for _, scope in _inside(resource, 2):
            for _, span in _inside(scope, 2):
                count += 1
                _counted(count)
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
    return _made(told)


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
    _deep(depth)
    for number, _, value in wire.fields(data):
        if number == 1:
            return plain(wire.text(value))
        if number == 2:
            return bool(wire.number(value))
        if number == 3:
            return wire.signed(value)
        if number == 4:
            return _finite(wire.double(value))
        if number == 5:
            return [_any_of_bytes(one, depth + 1) for _, one in _inside(wire.message(value), 1)]
        if number == 6:
            return dict(_pair_of_bytes(one, depth) for _, one in _inside(wire.message(value), 1))
        if number == 7:
            return base64.b64encode(wire.message(value)).decode()
    return None


# JSON ----------------------------------------------------------------------------------------------------------------


def _of_json(raw: bytes) -> Iterable[Span]:
    try:
        told = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _invalid("the body is no JSON") from None
    count = 0
    for resource in _list(_object(told), "resourceSpans"):
        for scope in _list(resource, "scopeSpans"):
            for span in _list(scope, "spans"):
                count += 1
                _counted(count)
                yield _span_of_json(span)


def _span_of_json(told: Mapping[str, Any]) -> Span:
    status = _object(_of(told, "status") or {})
    code = _of(status, "code")
    if isinstance(code, str):
        code = {f"STATUS_CODE_{name}": place for place, name in enumerate(STATUSES)}.get(code)
    kind = _of(told, "kind")
    return _made(
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
                for e in _list(told, "events")
            ],
            "links": [
                {
                    "trace": _text(one, "traceId").lower(),
                    "span": _text(one, "spanId").lower(),
                    "attributes": _pairs_of_json(one, 0),
                }
                for one in _list(told, "links")
            ],
        }
    )


def _pairs_of_json(told: Mapping[str, Any], depth: int, name: str = "attributes") -> dict[str, Any]:
    return {
        plain(_text(one, "key")): _any_of_json(_object(_of(one, "value") or {}), depth + 1) for one in _list(told, name)
    }


def _any_of_json(told: Mapping[str, Any], depth: int) -> Any:
    _deep(depth)
    for name, held in told.items():
        kind = _snake(name)
        if kind in ("string_value", "bytes_value") and isinstance(held, str):
            return plain(held)
        if kind == "bool_value" and isinstance(held, bool):
            return held
        if kind == "int_value":
            return _integer(held)
        if kind == "double_value":
            return _double(held)
        if kind == "array_value":
            return [_any_of_json(one, depth + 1) for one in _list(_object(held), "values")]
        if kind == "kvlist_value":
            return _pairs_of_json(_object(held), depth, "values")
    return None


def _integer(held: Any) -> int:
    try:
        found = int(held)
    except (TypeError, ValueError, OverflowError):
        raise _invalid(f"{str(held)[:40]!r} is no integer") from None
    if not -(2**63) <= found < 2**63:
        raise _invalid(f"{str(held)[:40]} is no integer of 64 bits")
    return found


def _double(held: Any) -> Any:
    try:
        return _finite(float(held))
    except (TypeError, ValueError, OverflowError):
        raise _invalid(f"{str(held)[:40]!r} is no number") from None


def _finite(value: float) -> float | str:
    """JSON has no NaN: such are kept as the text that protobuf's JSON has for them."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _time(told: Mapping[str, Any], name: str) -> int:
    held = _of(told, name)
    return 0 if held is None else _integer(held)


def _of(told: Mapping[str, Any], name: str) -> Any:
    found = told.get(name)
    return told.get(_snake(name)) if found is None else found


def _text(told: Mapping[str, Any], name: str) -> str:
    found = _of(told, name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise _invalid(f"{name!r} is no text")
    return found


def _list(told: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = _of(told, name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise _invalid(f"{name!r} is no list")
    return [_object(one) for one in found]


def _object(told: Any) -> Mapping[str, Any]:
    if not isinstance(told, dict):
        raise _invalid("an object is missing")
    return told


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower()


# Both ----------------------------------------------------------------------------------------------------------------


def _made(told: dict[str, Any]) -> Span:
    trace, span, parent = told.get("trace", ""), told.get("id", ""), told.get("parent", "")
    for found, digits, what in ((trace, 32, "trace_id"), (span, 16, "span_id"), (parent or "1" * 16, 16, "parent")):
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", found) or not int(found, 16):
            raise _invalid(f"{what} is {found[:40]!r}, not {digits} hexadecimal digits")
    started, ended, status = told.get("started", 0), told.get("ended", 0), told.get("status", 0)
    times = [started, ended, *(one["time_ns"] for one in told["events"])]
    if not all(0 <= one <= LARGEST_TIME for one in times):
        raise _invalid("a time is out of range")
    links = [one for one in told["links"] if _is_link(one)]
    return Span(
        trace=trace,
        id=span,
        parent=parent,
        name=plain(told.get("name", "")),
        started_ns=started,
        ended_ns=ended or None,
        status=STATUSES[status] if isinstance(status, int) and 0 <= status < 3 else "UNSET",
        message=plain(told.get("message", "")),
        kind=told.get("kind", 0),
        state=plain(told.get("state", "")),
        attributes=told["attributes"],
        events=tuple({**one, "name": plain(one["name"])} for one in told["events"]),
        links=tuple(links),
    )


def _is_link(one: Mapping[str, Any]) -> bool:
    return bool(re.fullmatch(r"[0-9a-f]{32}", one["trace"]) and re.fullmatch(r"[0-9a-f]{16}", one["span"]))


def _deep(depth: int) -> None:
    if depth > MOST_DEEP:
        raise _invalid(f"an attribute is nested more than {MOST_DEEP} deep")


def _counted(count: int) -> None:
    if count > MOST_SPANS:
        raise InputError(f"A request has at most {MOST_SPANS:,} spans.", hint="Send them in several requests.")


def _invalid(why: str) -> InputError:
    return InputError(f"Invalid OpenTelemetry format: {why}.", hint=_HINT)
