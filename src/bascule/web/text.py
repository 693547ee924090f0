"""How values are written on the pages: times, numbers, sizes and ids."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec
from markupsafe import Markup, escape

from bascule.catalog import now
from bascule.counting import counted

SECOND = 1_000_000
DAY = 86_400 * SECOND
NOTHING = "–"


def when(at: int | None, seconds: bool = False) -> Markup | str:
    """A time as `2026-11-21 04:32`, UTC, with the exact one in its `datetime`."""
    if at is None:
        return NOTHING
    moment = datetime.fromtimestamp(at / SECOND, UTC)
    shown = moment.strftime("%Y-%m-%d %H:%M:%S" if seconds else "%Y-%m-%d %H:%M")
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), shown)


def day(at: int | None) -> Markup | str:
    """A day as `2026-11-21`, UTC."""
    if at is None:
        return NOTHING
    moment = datetime.fromtimestamp(at / SECOND, UTC)
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(), moment.strftime("%Y-%m-%d"))


def ago(at: int | None) -> str:
    """How long ago: `3 min ago`."""
    if at is None:
        return NOTHING
    passed = now() - at
    for size, unit in ((DAY, "d"), (3600 * SECOND, "h"), (60 * SECOND, "min"), (SECOND, "s")):
        if passed >= size:
            return f"{passed // size} {unit} ago"
    return "just now"


def duration(span: int | float | None) -> str:
    """A span of microseconds in its largest fitting unit: `870 µs`, `12.4 ms`, `3.2 s`, `4 min`, `5 h`, `12 d`."""
    if span is None:
        return NOTHING
    for size, unit in ((DAY, "d"), (3600 * SECOND, "h"), (60 * SECOND, "min")):
        if span >= 2 * size:
            return f"{span // size:.0f} {unit}"
    if span >= SECOND:
        return f"{span / SECOND:.1f} s"
    return f"{span / 1000:.1f} ms" if span >= 1000 else f"{span:.0f} µs"


def number(value: Any) -> str:
    """A count with its thousands apart."""
    if value is None:
        return NOTHING
    return f"{value:,}" if isinstance(value, int) else metric(value)


def metric(value: float | None) -> str:
    """A measured value with four digits that count."""
    if value is None or not math.isfinite(value):
        return NOTHING
    if value == int(value) and abs(value) < 1e6:
        return str(int(value))
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def percent(share: float | None) -> str:
    """A share as `12.5 %`."""
    return NOTHING if share is None or not math.isfinite(share) else f"{100 * share:.3g} %"


def size(count: int | None) -> str:
    """A number of bytes as `12.4 MB`."""
    if count is None:
        return NOTHING
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.3g} {unit}"
        value /= 1000
    return f"{value:.3g} TB"


def short(digest: str | None, length: int = 10) -> str:
    """The start of a digest, as people write it. Ids with a prefix keep it: `run_06f3k8…` becomes `run_06f3k8…` cut."""
    if not digest:
        return NOTHING
    prefix, underscore, rest = digest.partition("_")
    return f"{prefix}_{rest[:length]}" if underscore else digest[:length]


def plural(count: int, one: str, many: str = "") -> str:
    """`1 row`, `3 rows`."""
    return counted(count, one, many)


def cell(value: Any) -> str:
    """Any value of a table's row, as text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.10g}"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    return str(value)


def words(name: str) -> str:
    """`prediction_drift` as `Prediction drift`."""
    spaced = name.replace("_", " ").strip()
    return spaced[:1].upper() + spaced[1:]


def plain(value: Any) -> str:
    """A value of a record as text: traffic as people say it, other lists and maps as JSON."""
    if (
        isinstance(value, list)
        and value
        and all(isinstance(one, dict) and {*one} == {"version", "weight"} for one in value)
    ):
        return ", ".join(f"version {one['version']} {one['weight']} %" for one in value)
    return msgspec.json.encode(value).decode() if isinstance(value, (list, dict)) else cell(value)


def values_of(row: dict[str, Any]) -> list[Any]:
    """The values of a row that came by column name."""
    return list(row.values())


def is_number(value: Any) -> bool:
    """Whether a cell is to be set to the right."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def numeric_columns(rows: list[list[Any]]) -> list[bool]:
    """For each column of some rows, whether it holds numbers: at least one, and nothing else but nulls."""
    return [
        any(is_number(value) for value in column) and all(value is None or is_number(value) for value in column)
        for column in zip(*rows, strict=True)
    ]


def short_name(person: object) -> str:
    """A person's short name: the part of a mail address before its host."""
    name = str(person or "")
    return name.partition("@")[0] or name or NOTHING


def who(person: str | None) -> Markup:
    """A person's short name in a list, with the whole one on request; lists repeat it row by row."""
    name = short_name(person)
    if name == (person or NOTHING):
        return escape(name)
    return Markup('<span class="who" title="{}">{}</span>').format(person, name)


def breakable(text: str) -> Markup:
    """A long name that may break after its separators."""
    escaped = str(escape(text))
    for mark in ("/", "_", ".", "@", ":"):
        escaped = escaped.replace(mark, f"{mark}<wbr>")
    return Markup(escaped) if "&" not in escaped else escape(text)


FILTERS = {
    function.__name__: function
    for function in (
        when, day, ago, duration, number, metric, percent, size, short, plural, cell, words, is_number,
        breakable, plain, values_of, who, numeric_columns,
    )
}  # fmt: skip
