"""Window aggregates: `count(*)`, `mean(late)`, and what has to be kept of the events to answer them.

count, sum, mean, variance and stddev can be taken back: the aggregate of [t-w, t) is the difference of two running
ones, so two look-ups answer any window. min and max cannot.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from bascule.errors import InputError, suggestion

FUNCTIONS = {
    "count": "count",
    "sum": "sum",
    "mean": "mean",
    "avg": "mean",
    "min": "min",
    "max": "max",
    "variance": "variance",
    "var": "variance",
    "var_samp": "variance",
    "stddev": "stddev",
    "std": "stddev",
    "stddev_samp": "stddev",
}
EXTREMES = ("min", "max")
SPREADS = ("variance", "stddev")
_CALL = re.compile(r'\s*(\w+)\s*\(\s*(\*|[A-Za-z_]\w*|"(?:[^"]|"")+")\s*\)\s*')


class Aggregate(msgspec.Struct, frozen=True):
    """One aggregate: a function (canonical name) of one column, or of rows when `column` is None."""

    function: str
    column: str | None

    @property
    def subtractable(self) -> bool:
        """Whether a window is the difference of two running aggregates."""
        return self.function not in EXTREMES


def parse_aggregate(text: str, where: str) -> Aggregate:
    """Read `count(*)`, `count(x)`, `sum(x)`, `mean(x)`, `min(x)`, `max(x)`, `variance(x)` or `stddev(x)`.

    Raises:
        InputError: anything else; the message begins with `where` and says what is allowed.
    """
    found = _CALL.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise InputError(
            f"{where}: {text!r} is not an aggregate of one column.",
            hint='Write count(*) or FUNCTION(COLUMN), as in "mean(late)"; compute expressions as columns in the SQL.',
        )
    name, argument = found[1].lower(), found[2]
    if name not in FUNCTIONS:
        known = sorted(set(FUNCTIONS.values()))
        raise InputError(f"{where}: there is no aggregate named {name!r}.", hint=suggestion(name, known, "aggregate"))
    if argument == "*":
        if name != "count":
            raise InputError(f"{where}: {name}(*) has no column to work on.", hint=f"Write {name}(COLUMN) or count(*).")
        return Aggregate("count", None)
    column = argument[1:-1].replace('""', '"') if argument.startswith('"') else argument
    return Aggregate(FUNCTIONS[name], column)


def value_columns(aggregates: Iterable[Aggregate]) -> tuple[str, ...]:
    """The columns that some aggregates read, sorted."""
    return tuple(sorted({a.column for a in aggregates if a.column is not None}))


def result_type(aggregate: Aggregate, column_type: str | None) -> str:
    """The DuckDB type of an aggregate over a column of that feature type.

    Counts, and sums of integers and booleans, are BIGINT; minimum and maximum keep the column's type; the rest is
    DOUBLE.
    """
    if aggregate.function == "count":
        return "BIGINT"
    if aggregate.function in EXTREMES:
        return str(column_type)
    if aggregate.function == "sum" and column_type not in ("FLOAT", "DOUBLE"):
        return "BIGINT"
    return "DOUBLE"
