"""Window aggregates: `count(*)`, `mean(late)`, `last(price, 3)`, and what has to be kept of the events to answer them.

Counts, and sums and means of whole numbers, can be taken back without loss: the aggregate of [t-w, t) is the difference
of two running ones, so two look-ups answer any window. Doubles cannot: beside one value of 1e15 a running sum has no
digits left for the others. Their sums and means, all variances, min, max, first and last slide over a moving frame, and
no value outside of a window has a part in it. The rest goes through the events of the window. The two approximate ones
need little of each event, so that others can keep them in little room: a distinct count the smallest hashes (K minimum
values, 3 % off at most two times in three), a percentile a rounded value (1 % off).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from bascule.errors import InputError, suggestion
from bascule.features.columns import FLOATS

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
    "first": "first",
    "first_n": "first",
    "last": "last",
    "last_n": "last",
    "distinct": "distinct",
    "count_distinct": "distinct",
    "approx_distinct": "approx_distinct",
    "approx_count_distinct": "approx_distinct",
    "percentile": "percentile",
    "quantile": "percentile",
    "median": "percentile",
    "approx_percentile": "approx_percentile",
    "approx_quantile": "approx_percentile",
    "top_k": "top_k",
}
SUMS = ("sum", "mean")
EXTREMES = ("min", "max")
ENDS = ("first", "last")
SPREADS = ("variance", "stddev")
#: What a few numbers of each set of events tell, however many events there are.
NUMBERS = ("count", *SUMS, *SPREADS, *EXTREMES)
PERCENTILES = ("percentile", "approx_percentile")
#: Aggregates of an empty window are null; these are 0.
COUNTS = ("count", "distinct", "approx_distinct")
#: Aggregates that work on columns of any type, and not only on numbers.
OF_ANYTHING = ("count", *ENDS, "distinct", "approx_distinct", "top_k")
#: Aggregates that give the column's own values.
OF_ITS_TYPE = (*EXTREMES, *ENDS, "top_k")
MOST = 100
#: How many hashes an approximate distinct count rests on; up to so many it is exact.
HASHES = 1024
#: Rounded values grow by this factor, so that each is within 1 % of what it stands for.
GROWTH = 1.02
Taken = Literal["", "hash", "round", "plain"]
_COLUMN = r'(\*|[A-Za-z_]\w*|"(?:[^"]|"")+")'
_CALL = re.compile(rf"\s*(\w+)\s*\(\s*{_COLUMN}\s*(?:,\s*([0-9]*\.?[0-9]+)\s*)?\)\s*")


class Aggregate(msgspec.Struct, frozen=True):
    """One aggregate: a function (canonical name) of one column, or of rows when `column` is None.

    Attributes:
        several: how many values it gives (`last(x, 3)`, `top_k(x, 3)`), one feature each; 0 when it gives one.
        share: which percentile, from 0 to 1.
    """

    function: str
    column: str | None
    several: int = 0
    share: float = 0.0

    def subtractable(self, types: Mapping[str, str]) -> bool:
        """Whether a window is the difference of two running aggregates, to the last digit.

        Args:
            types: of the view's columns.
        """
        return self.function == "count" or (self.function in SUMS and types[str(self.column)] not in FLOATS)

    @property
    def framed(self) -> bool:
        """Whether a moving frame gives it cheaply."""
        return self.function in NUMBERS or (self.function in ENDS and not self.several)

    @property
    def taken(self) -> Taken:
        """What is taken of each value: itself, its hash, itself rounded, or itself with one zero only."""
        if self.function == "approx_distinct":
            return "hash"
        if self.function == "approx_percentile":
            return "round"
        return "plain" if self.function == "top_k" else ""

    def outputs(self, name: str, window: str) -> tuple[str, ...]:
        """The features that it gives for one window: `late_6h`, or `late_6h_1`, `late_6h_2`, …"""
        if not self.several:
            return (f"{name}_{window}",)
        return tuple(f"{name}_{window}_{place}" for place in range(1, self.several + 1))


def parse_aggregate(text: str, where: str) -> Aggregate:
    """Read `count(*)`, `mean(x)`, `last(x)`, `last(x, 3)`, `percentile(x, 0.9)`, `top_k(x, 3)` and so on.

    Raises:
        InputError: anything else; the message begins with `where` and says what is allowed.
    """
    found = _CALL.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise InputError(
            f"{where}: {text!r} is not an aggregate of one column.",
            hint='Write count(*) or FUNCTION(COLUMN), as in "mean(late)"; compute expressions as columns in the SQL.',
        )
    name, argument, number = found[1].lower(), found[2], found[3]
    if name not in FUNCTIONS:
        known = sorted(set(FUNCTIONS.values()))
        raise InputError(f"{where}: there is no aggregate named {name!r}.", hint=suggestion(name, known, "aggregate"))
    if argument == "*":
        if name != "count" or number is not None:
            raise InputError(f"{where}: {name}(*) has no column to work on.", hint=f"Write {name}(COLUMN) or count(*).")
        return Aggregate("count", None)
    column = argument[1:-1].replace('""', '"') if argument.startswith('"') else argument
    several, share = _numbers(name, number, where)
    return Aggregate(FUNCTIONS[name], column, several, share)


def _numbers(name: str, number: str | None, where: str) -> tuple[int, float]:
    function = FUNCTIONS[name]
    if function in PERCENTILES and name != "median":
        if number is None or not 0 <= float(number) <= 1:
            hint = f"Write {name}(COLUMN, 0.9) for the value that nine of ten are below."
            raise InputError(f"{where}: {name} needs a share from 0 to 1.", hint=hint)
        return 0, float(number)
    if function == "top_k" or name in ("first_n", "last_n") or (function in ENDS and number is not None):
        if number is None or not number.isdigit() or not 1 <= int(number) <= MOST:
            hint = f"Write {name}(COLUMN, 3); each value is a feature of its own."
            raise InputError(f"{where}: {name} needs a whole number from 1 to {MOST}.", hint=hint)
        return int(number), 0.0
    if number is not None:
        raise InputError(f"{where}: {name} takes a column and nothing else.", hint=f"Write {name}(COLUMN).")
    return 0, 0.5 if name == "median" else 0.0


def value_columns(aggregates: Iterable[Aggregate]) -> tuple[str, ...]:
    """The columns that some aggregates read, sorted."""
    return tuple(sorted({a.column for a in aggregates if a.column is not None}))


def result_type(aggregate: Aggregate, column_type: str | None) -> str:
    """The DuckDB type of an aggregate over a column of that feature type.

    Counts, and sums of integers and booleans, are BIGINT; what gives values of the column keeps its type; the rest is
    DOUBLE.
    """
    if aggregate.function in COUNTS:
        return "BIGINT"
    if aggregate.function in OF_ITS_TYPE:
        return str(column_type)
    if aggregate.function == "sum" and column_type not in FLOATS:
        return "BIGINT"
    return "DOUBLE"
