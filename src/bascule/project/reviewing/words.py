"""Values, figures and sentences as all forms of a comparison show them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from bascule.lake import ColumnDiff, RowChange, Sides, TableDiff

LONGEST = 60
SIGNS = {"added": "+", "removed": "-", "changed": "~"}
# A column whose distribution moved by less than this, and of which no value changed, is not worth a line.
LEAST_SHIFT = 0.01

SHIFT_NOTE = (
    "Shift is the largest difference in the share of rows that any question about the value can show, from 0 (equal) "
    "to 1 (nothing in common): Kolmogorov-Smirnov for numbers and times, total variation for all else."
)
SAMPLE_NOTE = "Quantiles and shifts marked ≈ are taken from about 50,000 rows of each side, drawn by a hash."


def cell(value: Any, longest: int = LONGEST) -> str:
    """Return a value in one line: nothing in it is hidden, and what is cut off is said."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        shown = spelt(value[:longest])
        plain = value not in ("", "null", "true", "false") and value == value.strip()
        shown = shown if plain else f'"{shown}"'
        return shown if len(value) <= longest else f"{shown}… ({len(value):,} characters)"
    if isinstance(value, bytes):
        head = f"0x{value[: longest // 2].hex()}"
        return head if len(value) <= longest // 2 else f"{head}… ({len(value):,} bytes)"
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else repr(value)
    if isinstance(value, datetime):
        text = value.isoformat(sep=" ")
        return text.removesuffix("+00:00") + "Z" if value.tzinfo is not None else text
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return _cut("{" + ", ".join(f"{spelt(str(k))}: {cell(v)}" for k, v in value.items()) + "}", longest)
    if isinstance(value, Sequence):
        return _cut("[" + ", ".join(cell(one) for one in value[:longest]) + "]", longest)
    return spelt(str(value))


def spelt(text: str) -> str:
    """Return a text with control, formatting and unpaired characters written out: no bell, no right-to-left trick."""
    if text.isprintable():
        return text
    return "".join(c if _harmless(c) else _code(c) for c in text)


def figure(value: Any) -> str:
    """Return a statistic with about four digits; a value that is no number as itself, and None as a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return cell(value, 24)
    if isinstance(value, int) or not math.isfinite(value) or value == 0:
        return f"{value + 0:,.0f}"
    if 1e-3 <= abs(value) < 1e9:
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
        text = f"{value:,.{min(digits, 6)}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return f"{value:.3g}"


def share(value: float | None) -> str:
    """Return a share as a percentage: never 0 % for a few, nor 100 % for almost all."""
    if value is None:
        return "–"
    percent = 100 * value
    if 0 < percent < 0.01:
        return "<0.01 %"
    if 99.99 < percent < 100:
        return ">99.99 %"
    return f"{percent:.2f}".rstrip("0").rstrip(".") + " %"


def change(before: str, after: str) -> str:
    """Return both values, or one when they are shown equally."""
    return after if before == after else f"{before} → {after}"


def scope(diff: TableDiff) -> str:
    """Return of which rows a table's figures are told."""
    return "the whole table" if diff.whole else "the rows that differ"


def sides(one: ColumnDiff, diff: TableDiff) -> Sides:
    """Return a column's figures, in `scope`."""
    return one.table if diff.whole else one.rows


def telling(diff: TableDiff) -> list[ColumnDiff]:
    """Return the columns whose values tell something: those that changed most first."""

    def shifted(one: ColumnDiff) -> float:
        found = sides(one, diff).shift
        return found.value if found is not None else 0.0

    found = [c for c in diff.values if c.changed or shifted(c) >= LEAST_SHIFT or _nulls_differ(sides(c, diff))]
    return sorted(found, key=lambda one: (-one.changed, -shifted(one))) if found else list(diff.values)


def figures(one: ColumnDiff, diff: TableDiff) -> tuple[str, str, str, str, str]:
    """Return a column's changed values, missing ones, mean, median and shift."""
    both = sides(one, diff)
    changed = f"{one.changed:,} ({share(one.changed / diff.changed)})" if diff.changed else "–"
    return (
        changed if one.changed or diff.changed else "–",
        pair(share(both.before.null_share), share(both.after.null_share), both),
        pair(figure(both.before.mean), figure(both.after.mean), both),
        pair(median(both.before.quantiles), median(both.after.quantiles), both),
        shift(both),
    )


def pair(before: str, after: str, both: Sides) -> str:
    """Return a figure before and after, of the sides that have rows."""
    if not both.before.rows or not both.after.rows:
        return after if both.after.rows else before
    return change(before, after)


def shift(both: Sides) -> str:
    """Return a shift with three digits, marked when it is from a sample."""
    if both.shift is None:
        return "–"
    return f"{'' if both.exact else '≈ '}{both.shift.value:.3f}"


def moved(one: ColumnDiff, diff: TableDiff) -> str:
    """Return the values whose shares changed most, in a line; "" when none is known."""
    return ", ".join(f"{value} {before} → {after}" for value, before, after in moves(sides(one, diff)))


def moves(both: Sides) -> list[tuple[str, str, str]]:
    """Return the three values whose shares changed most: the value, its share before and after."""
    found = both.shift.moved if both.shift is not None else ()
    telling = [m for m in found if abs(m.before - m.after) >= LEAST_SHIFT]
    return [(cell(m.value, 24), share(m.before), share(m.after)) for m in telling[:3]]


def cells(row: RowChange, key: Sequence[str]) -> list[tuple[str, str, str]]:
    """Return the cells of a changed row that differ: column, value before, value after."""
    before, after = row.before or {}, row.after or {}
    return [(name, *_two(before.get(name), after.get(name))) for name in row.columns if name not in key]


def matched(diff: TableDiff) -> str:
    """Return how rows were matched."""
    return f"matched by {', '.join(diff.matched_by)}" if diff.matched_by else "matched by all their values"


def first_columns(rows: Sequence[RowChange], key: Sequence[str], most: int) -> tuple[list[str], int]:
    """Return the columns to show of rows that came or went, the key's first, and how many more there are."""
    names = list(rows[0].after or rows[0].before or {})
    ordered = [*key, *(name for name in names if name not in key)]
    return ordered[:most], max(0, len(ordered) - most)


def more_columns(diff: TableDiff, shown: int) -> str:
    """Return how many columns are not shown, and how to see them; "" when all are."""
    rest = len(diff.values) - shown
    return f"{rest} more column{'' if rest == 1 else 's'} with --columns" if rest else ""


def counts(rows: Sequence[RowChange], total: int, kind: str) -> str:
    """Return how many rows of a kind are shown."""
    noun = "row" if total == 1 else "rows"
    return f"{total:,} {noun} {kind}" if len(rows) >= total else f"{len(rows):,} of {total:,} rows {kind}"


def _two(before: Any, after: Any) -> tuple[str, str]:
    """Two values that differ look different: cut where they do."""
    old, new = cell(before), cell(after)
    if old != new or not (isinstance(before, str) and isinstance(after, str)):
        return (old, new) if old != new else (f"{old} ({type(before).__name__})", f"{new} ({type(after).__name__})")
    at = next((i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b), min(len(before), len(after)))
    start = max(0, at - LONGEST // 3)
    return tuple(f"…{cell(text[start:])}" for text in (before, after))  # type: ignore[return-value]


def median(quantiles: Sequence[Any]) -> str:
    """Return the middle one of the quantiles, as a figure."""
    return figure(quantiles[len(quantiles) // 2]) if quantiles else "–"


def _nulls_differ(both: Sides) -> bool:
    old, new = both.before.null_share, both.after.null_share
    return old is not None and new is not None and abs(old - new) >= LEAST_SHIFT


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[:longest]}…"


def _harmless(character: str) -> bool:
    return character.isprintable() or (character == " " or unicodedata.category(character) == "Zs")


def _code(character: str) -> str:
    number = ord(character)
    short = {9: "\\t", 10: "\\n", 13: "\\r"}.get(number)
    return short or (
        f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"
    )
