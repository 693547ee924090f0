"""Spans of time as texts: tables have no type for them, and SQL reads these as INTERVAL.

`1 year 2 months 3 days 04:05:06.5` is how DuckDB writes such a value, to the last digit; `x::INTERVAL` is the value
again. A span that has no months and days of its own is hours, minutes and seconds, however many: `49:00:00`.
"""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa

_PARTS = np.dtype([("months", "<i4"), ("days", "<i4"), ("nanoseconds", "<i8")])
_NANOSECONDS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}


def is_span(kind: pa.DataType) -> bool:
    """Tell whether values of a type are spans of time."""
    return bool(pa.types.is_duration(kind) or pa.types.is_interval(kind))


def texts(spans: pa.Array) -> pa.Array:
    """Return spans of time as texts, nulls as nulls."""
    if pa.types.is_duration(spans.type):
        unit = _NANOSECONDS[spans.type.unit]
        parts = [(0, 0, one * unit) for one in spans.fill_null(0).view(pa.int64()).to_pylist()]
    else:
        _, data = spans.buffers()
        held = np.frombuffer(data, _PARTS, len(spans), spans.offset * _PARTS.itemsize) if data else ()
        parts = [one.tolist() for one in held]
    known = spans.is_valid().to_pylist()
    told = [words(*one) if is_known else None for one, is_known in zip(parts, known, strict=True)]
    return pa.array(told, pa.string())


def text(span: dt.timedelta) -> str:
    """Return one span of time as text."""
    return words(0, 0, span // dt.timedelta(microseconds=1) * 1_000)


def words(months: int, days: int, nanoseconds: int) -> str:
    """Return a span of time of several parts as text."""
    years, rest = divmod(abs(months), 12)
    sign = -1 if months < 0 else 1
    named = ((years * sign, "year"), (rest * sign, "month"), (days, "day"))
    told = [f"{count} {word}{'s' if abs(count) != 1 else ''}" for count, word in named if count]
    if nanoseconds or not told:
        seconds, fraction = divmod(abs(nanoseconds), 1_000_000_000)
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        decimals = f".{fraction:09}".rstrip("0") if fraction else ""
        told.append(f"{'-' if nanoseconds < 0 else ''}{clock}{decimals}")
    return " ".join(told)
