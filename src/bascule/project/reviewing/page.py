"""Comparisons as one HTML file: it needs nothing else, opens without a network, and prints."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time
from functools import cache
from typing import Any

from bascule.lake import ColumnDiff, Sides, TableDiff
from bascule.project.comparing import Comparison
from bascule.project.reviewing import words
from bascule.project.standalone import templates

MOST_COLUMNS = 100


def html(
    found: Sequence[Comparison], before: str, after: str, *, columns: bool = True, written: datetime | None = None
) -> str:
    """Return comparisons as a page.

    Args:
        before, after: what the two states are called.
        columns: also hold the columns of a table whose values tell nothing, folded away.
        written: when it was made, if that is to be said.
    """
    notes = words.SHIFT_NOTE, words.SAMPLE_NOTE
    page = _template().render(found=found, before=before, after=after, columns=columns, written=written, notes=notes)
    return str(page)


@cache
def _template() -> Any:
    filters: dict[str, Any] = {"cell": words.cell, "spelt": words.spelt, "figure": words.figure, "share": words.share}
    known = {
        "words": words,
        "shown": _shown,
        "others": _others,
        "strip": strip,
        "scopes": _scopes,
        "rows_of": lambda diff, kind: [row for row in diff.sample if row.kind == kind],
        "names_of": lambda diff, rows: words.first_columns(rows, diff.matched_by, MOST_COLUMNS)[0],
        "signs": words.SIGNS,
    }
    return templates("bascule.project.reviewing", filters, known).get_template("page.html")


def strip(both: Sides) -> list[dict[str, Any]] | None:
    """Return where each side's quantiles lie between 0 and 100, on one scale; None when there is nothing to draw.

    The scale goes from the least to the greatest 5 % and 95 % quantile, so that a few extremes do not hide the rest.
    """
    sides = [_numbers(profile.quantiles) for profile in (both.before, both.after)]
    known = [numbers for numbers in sides if numbers]
    if not known:
        return None
    low, high = min(numbers[0] for numbers in known), max(numbers[-1] for numbers in known)
    if not low < high:
        return None
    names = ("low", "first", "middle", "third", "high")
    return [
        {"side": side, **{n: round(100 * (q - low) / (high - low), 2) for n, q in zip(names, numbers, strict=True)}}
        for side, numbers in zip(("before", "after"), sides, strict=True)
        if numbers
    ]


def _scopes(one: ColumnDiff, diff: TableDiff) -> list[tuple[str, Sides]]:
    """Return a column's figures of the rows that differ, and of the whole table."""
    both = [("rows that differ", one.rows), ("whole table", one.table)]
    return both[:1] if one.rows == one.table else both


def _shown(diff: TableDiff) -> list[ColumnDiff]:
    return words.telling(diff)[:MOST_COLUMNS]


def _others(diff: TableDiff) -> list[ColumnDiff]:
    shown = {one.column for one in _shown(diff)}
    return [one for one in diff.values if one.column not in shown][:MOST_COLUMNS]


def _numbers(quantiles: Sequence[Any]) -> list[float]:
    found = [_number(quantile) for quantile in quantiles]
    return [number for number in found if number is not None] if None not in found else []


def _number(value: Any) -> float | None:
    if isinstance(value, datetime):
        return (value.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
    if isinstance(value, date):
        return float(value.toordinal())
    if isinstance(value, time):
        return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6
    return float(value) if isinstance(value, int | float) and abs(value) != float("inf") else None
