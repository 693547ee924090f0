"""Spans as they are made of what was read: the rules that hold in whichever form they came."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from bascule.errors import InputError
from bascule.tracking.traces import Span
from bascule.tracking.traces.spans import plain

MOST_SPANS = 50_000
MOST_DEEP = 32
LARGEST_TIME = 2**63 - 1
STATUSES = ("UNSET", "OK", "ERROR")
HINT = "See opentelemetry.io/docs/specs/otlp for how it is written."


def made(told: dict[str, Any]) -> Span:
    """Return the span that was read, whatever it was written in.

    Raises:
        InputError: an id is none, or a time is out of range.
    """
    trace, span, parent = told.get("trace", ""), told.get("id", ""), told.get("parent", "")
    for found, digits, what in ((trace, 32, "trace_id"), (span, 16, "span_id"), (parent or "1" * 16, 16, "parent")):
        if not re.fullmatch(f"[0-9a-f]{{{digits}}}", found) or not int(found, 16):
            raise invalid(f"{what} is {found[:40]!r}, not {digits} hexadecimal digits")
    started, ended, status = told.get("started", 0), told.get("ended", 0), told.get("status", 0)
    times = [started, ended, *(one["time_ns"] for one in told["events"])]
    if not all(0 <= one <= LARGEST_TIME for one in times):
        raise invalid("a time is out of range")
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


def check_depth(depth: int) -> None:
    """Refuse an attribute that is nested too deep."""
    if depth > MOST_DEEP:
        raise invalid(f"an attribute is nested more than {MOST_DEEP} deep")


def check_count(count: int) -> None:
    """Refuse a request of too many spans."""
    if count > MOST_SPANS:
        raise InputError(f"A request has at most {MOST_SPANS:,} spans.", hint="Send them in several requests.")


def invalid(why: str) -> InputError:
    """Return the error for what is no span."""
    return InputError(f"Invalid OpenTelemetry format: {why}.", hint=HINT)


def finite(value: float) -> float | str:
    """JSON has no NaN: such are kept as the text that protobuf's JSON has for them."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
