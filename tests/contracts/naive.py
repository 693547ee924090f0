"""The verdicts of checks by a loop over rows: slow, plain, and the reference for the compiled ones.

A value is missing when it is None or NaN. Everything else follows the words of the rules in `bascule.contracts.checks`.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bascule.contracts import checks as c

Row = Mapping[str, Any]
CONDITIONS: dict[str, Callable[[Row], bool]] = {
    "i > 0": lambda row: row["i"] is not None and row["i"] > 0,
    "s = 'a'": lambda row: row["s"] == "a",
    "i IS NOT NULL OR s IS NULL": lambda row: row["i"] is not None or row["s"] is None,
}
EXPRESSIONS: dict[str, Callable[[Row], bool]] = {
    "i < 2": lambda row: row["i"] is None or row["i"] < 2,
    "i <= length(s)": lambda row: row["i"] is None or row["s"] is None or row["i"] <= len(row["s"]),
    "s IS NOT NULL AND i = 1": lambda row: row["s"] is not None and row["i"] in (None, 1),
}


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def verdict(
    check: c.Check, rows: Sequence[Row], other: Sequence[Row], existing: Sequence[Row]
) -> tuple[str, int | None]:
    """The status of a check, and the number of failing rows where there is one."""
    looked = [row for row in rows if check.where is None or CONDITIONS[check.where](row)]
    if len(looked) < check.minimum_rows:
        return "passed", None
    failing = count_failing(check.rule, looked, other, existing)
    if failing is not None:
        measured = 100 * failing / len(looked) if check.bound.unit == "percent" and looked else failing
        return ("passed" if holds(check.bound, measured) else "failed"), failing
    value = measure(check.rule, looked)
    if value is None:
        return ("failed" if looked else "passed"), None
    return ("passed" if holds(check.bound, value) else "failed"), None


def holds(bound: c.Bound, value: float) -> bool:
    if math.isnan(value):
        return False
    between = bound.low <= value <= bound.high
    return {
        "=": value == bound.low,
        "!=": value != bound.low,
        "<": value < bound.low,
        "<=": value <= bound.low,
        ">": value > bound.low,
        ">=": value >= bound.low,
        "between": between,
        "not between": not between,
    }[bound.operator]


def count_failing(rule: c.Rule, rows: Sequence[Row], other: Sequence[Row], existing: Sequence[Row]) -> int | None:
    match rule:
        case c.Unique():
            seen = {key for row in existing if (key := key_of(row, rule.columns)) is not None}
            surplus = 0
            for row in rows:
                key = key_of(row, rule.columns)
                surplus += key is not None and key in seen
                seen |= {key} if key is not None else set()
            return surplus
        case c.References():
            keys = {key for row in other if (key := key_of(row, rule.to)) is not None}
            found = (key_of(row, rule.columns) for row in rows)
            return sum(key is not None and key not in keys for key in found)
        case c.Outliers():
            values = sorted(row[rule.column] for row in rows if not missing(row[rule.column]))
            if not values:
                return 0
            first, last = (quantile_of(values, at) for at in (0.25, 0.75))
            reach = rule.fences * (last - first)
            return sum(value < first - reach or value > last + reach for value in values)
        case c.NoRowsFrom() | c.Declared() | c.NoOthers() | c.Called():
            return None
        case c.RowCount() | c.Aggregate() | c.Contains() | c.Differs() | c.Freshness() | c.Answer():
            return None
        case _:
            return sum(not row_passes(rule, row) for row in rows)


def key_of(row: Row, columns: Sequence[str]) -> tuple[Any, ...] | None:
    values = tuple(row[column] for column in columns)
    return None if any(missing(value) for value in values) else values


def row_passes(rule: c.RowRule, row: Row) -> bool:
    if isinstance(rule, c.Holds):
        return EXPRESSIONS[rule.sql](row)
    value = row[rule.column]
    if isinstance(rule, c.NotNull):
        return not missing(value)
    if isinstance(rule, c.NotMissing):
        return not missing(value) and value not in [item for item in rule.stand_ins if item is not None]
    if missing(value):
        return True
    match rule:
        case c.OneOf():
            return value in rule.values
        case c.NoneOf():
            return value not in rule.values
        case c.Between():
            low = (rule.minimum is None or value >= rule.minimum) and (rule.above is None or value > rule.above)
            return (
                low and (rule.maximum is None or value <= rule.maximum) and (rule.below is None or value < rule.below)
            )
        case c.Matches():
            return re.search(rule.pattern, value) is not None
        case c.Length():
            return (rule.minimum is None or len(value) >= rule.minimum) and (
                rule.maximum is None or len(value) <= rule.maximum
            )
        case c.MultipleOf():
            return math.isfinite(value) and float(value / rule.of).is_integer()


def measure(rule: c.Rule, rows: Sequence[Row]) -> float | None:
    if isinstance(rule, c.RowCount):
        return len(rows)
    if isinstance(rule, c.Contains):
        return sum(all(row[rule.column] != value for row in rows) for value in rule.values) if rows else None
    if isinstance(rule, c.Differs):
        return difference_of(rule, [row[rule.column] for row in rows if not missing(row[rule.column])])
    assert isinstance(rule, c.Aggregate)
    values = [row[rule.column] for row in rows if not missing(row[rule.column])]
    if rule.function == "distinct":
        return len(set(values))
    if not values or (rule.function == "std" and len(values) < 2):
        return None
    ordered = sorted(values)
    computed: dict[str, Callable[[], float]] = {
        "mean": lambda: math.fsum(values) / len(values),
        "min": lambda: ordered[0],
        "max": lambda: ordered[-1],
        "sum": lambda: math.fsum(values),
        "std": lambda: statistics.stdev(values),
        "median": lambda: statistics.median(values),
        "quantile": lambda: quantile_of(ordered, rule.at),
    }
    return float(computed[rule.function]())


def quantile_of(ordered: Sequence[float], at: float) -> float:
    place = at * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def difference_of(rule: c.Differs, values: Sequence[Any]) -> float | None:
    """How far values are from stated shares, by the two measures that take no chance off."""
    if not values:
        return None
    wanted = dict(rule.shares)
    others = 1 - sum(wanted.values())
    found = {value: sum(one == value for one in values) / len(values) for value in wanted}
    gaps = [abs(found[value] - wanted[value]) for value in wanted] + [abs(1 - sum(found.values()) - others)]
    return max(gaps) if rule.measure == "linf" else sum(gaps) / 2
