"""What an aggregate takes of a column, and gives of the values that it took, as SQL over a frame or with a filter."""

from __future__ import annotations

from bascule.features.aggregates import EXTREMES, GROWTH, SPREADS, Aggregate
from bascule.features.columns import FLOATS, family, microseconds, quoted
from bascule.features.definitions import FeatureView
from bascule.features.sums import grown, mean_sql, parts, shrunk, spread_sql


def taken_sql(aggregate: Aggregate, view: FeatureView, source: str = "") -> str:
    """SQL of what an aggregate takes of its column: offline and online the same, and computed here alone."""
    column = f"{source}{quoted(str(aggregate.column))}"
    floating = view.types[str(aggregate.column)] in FLOATS
    if floating and aggregate.taken in ("plain", "hash"):
        column = f"CASE WHEN {column} = 0 THEN 0.0 ELSE {column} END"  # 0.0 and -0.0 are one value
    if aggregate.taken == "hash":
        known = view.types[str(aggregate.column)]
        # A moment's text depends on the session's time zone.
        text = microseconds(column, known) if family(known) == "time" else column
        return f"md5_number_upper(CAST({text} AS VARCHAR))"
    if aggregate.taken != "round":
        return column
    number = f"CAST({column} AS DOUBLE)"
    grown = f"pow({GROWTH}, ceil(ln(abs({number})) / ln({GROWTH}))) * {2 / (1 + GROWTH)!r}"
    return f"CASE WHEN {number} = 0 THEN 0.0 ELSE sign({number}) * {grown} END"


def numeric_sql(aggregate: Aggregate, view: FeatureView, column: str, over: str) -> str:
    """SQL of a count, a sum, a mean, a variance, a least or a greatest value over a frame, or with a filter."""
    function, double = aggregate.function, f"CAST({column} AS DOUBLE)"
    if function == "count" or function in EXTREMES:
        return f"{function}({column}) {over}"
    if function in SPREADS:
        return spread_sql(f"{'var_samp' if function == 'variance' else 'stddev_samp'}({double}) {over}")
    if view.types[str(aggregate.column)] in FLOATS:
        whole, *others = parts(double)
        rest = " + ".join(others)  # of which one is 0
        # The rest is compensated, so that it hardly depends on how the engine cuts the rows into pieces.
        if function == "sum":
            return f"CAST(sum({whole}) {over} AS DOUBLE) + {grown(f'fsum({shrunk(rest)}) {over}')}"
        return mean_sql(f"avg({whole}) {over} + {grown(f'favg({shrunk(rest)}) {over}')}")
    total = f"sum(CAST({column} AS HUGEINT)) {over}"
    if function == "sum":
        return f"CAST({total} AS BIGINT)"
    return f"CAST({total} AS DOUBLE) / nullif(count({column}) {over}, 0)"


def end_sql(aggregate: Aggregate, time: str, column: str, over: str) -> list[str]:
    """SQL of the first or last value, or values, by time, then by value; null where there are no more."""
    placed = f"CASE WHEN {column} IS NOT NULL THEN {{'t': {time}, 'v': {column}}} END"
    best = "max" if aggregate.function == "last" else "min"
    if not aggregate.several:
        return [f"struct_extract({best}({placed}) {over}, 'v')"]
    found = f"({best}({placed}, {aggregate.several}) {over})"
    return [f"{found}[{place}].v" for place in range(1, aggregate.several + 1)]


def percentile_sql(aggregate: Aggregate, count: str, nth: str) -> str:
    """SQL of a percentile of so many values: between the two nearest, of rounded ones the nearest; null of none.

    Args:
        nth: SQL of the value at a place, from 1 on, in sorted order, with `{}` for the place.
    """
    share = f"CAST({aggregate.share!r} AS DOUBLE)"
    if aggregate.function == "approx_percentile":
        return nth.format(f"greatest(CAST(ceil({count} * {share}) AS BIGINT), 1)")
    place = f"(greatest({count} - 1, 0) * {share})"
    low, high = (nth.format(f"CAST({side}({place}) AS BIGINT) + 1") for side in ("floor", "ceil"))
    return f"{low} + ({high} - {low}) * ({place} - floor({place}))"
