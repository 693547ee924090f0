"""The plain figures of every column in one scan, and of numbers their distribution in another."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from bascule.contracts.families import family_of, is_float
from bascule.contracts.sql import literal, quoted
from bascule.profiles.results import Bin, Histogram, Numbers, Outliers

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
BINS = 30
FENCE = 3.0
EXTREMES = 5
# Whole numbers with at most so many different values are shown value by value.
FEW_VALUES = 20
COLUMNS_A_SCAN = 40
# Differences of larger numbers may be more than a double holds: they are looked at shrunk.
HUGE = 1e290
SHRINK = 2.0**64

Floats = NDArray[np.float64]


def more(name: str, type_name: str) -> Mapping[str, str]:
    """Return what is measured of a column beside what contracts measure, as SQL aggregates by name."""
    column, family = quoted(name), family_of(type_name)
    if family in ("integer", "number"):
        value = finite(name, type_name)
        number = f"CAST({value} AS DOUBLE)"
        return {
            "zeros": f"count_if({column} = 0)",
            "negatives": f"count_if({value} < 0)",
            "skewness": f"skewness(CASE WHEN abs({number}) < 1e90 THEN {number} END)",  # its cubes must fit
            "least": f"min({number}, {EXTREMES})",
            "greatest": f"max({number}, {EXTREMES})",
        }
    if family == "string":
        text = f"CAST({column} AS VARCHAR)"
        return {
            "empty": f"count_if({text} = '')",
            "padded": f"count_if(length({text}) <> length(trim({text}, ' ' || chr(9) || chr(10) || chr(13))))",
            "mean_length": f"avg(length({text}))",
        }
    return {}


def finite(name: str, type_name: str) -> str:
    """Return a numeric column as SQL in which infinities and what is not a number are null."""
    column = quoted(name)
    return f"CASE WHEN isfinite({column}) THEN {column} END" if is_float(type_name) else column


def sample_numbers(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: Mapping[str, str]
) -> dict[str, Floats]:
    """Return the values of numeric columns of a sample, by name: float64, NaN where there is none.

    Args:
        columns: name to type.
    """
    if not columns:
        return {}
    items = ", ".join(f"CAST({finite(name, type_)} AS DOUBLE) AS {quoted(name)}" for name, type_ in columns.items())
    table = connection.sql(f"SELECT {items} FROM {relation}").to_arrow_table()
    found = {}
    for name in columns:
        values = np.asarray(table.column(name).to_numpy(zero_copy_only=False), dtype=np.float64)
        found[name] = np.where(np.isfinite(values), values, np.nan)
    return found


def quantiles(values: Floats) -> tuple[tuple[float, float], ...]:
    """Return the quantiles at `LEVELS` of the values that there are, by linear interpolation."""
    known = values[~np.isnan(values)]
    if not known.size:
        return ()
    scale = SHRINK if np.abs(known).max() > HUGE else 1.0
    found = np.quantile(known / scale, LEVELS) * scale
    return tuple(zip(LEVELS, (float(one) for one in found), strict=True))


def edges(quantile: Mapping[float, float], low: float, high: float, *, whole: bool) -> tuple[str, list[float]]:
    """Return the scale and the inner edges of a histogram: round numbers that hold the bulk of the values.

    Extremes beyond three times the middle half's width lie in the first and the last bin. When the values are positive
    and run over more than three powers of ten, the bins are of equal ratio.
    """
    if max(abs(low), abs(high)) > HUGE:
        smaller = {level: value / SHRINK for level, value in quantile.items()}
        scale, cuts = edges(smaller, low / SHRINK, high / SHRINK, whole=whole)
        most = sys.float_info.max
        return scale, sorted({min(max(cut * SHRINK, -most), most) for cut in cuts})
    if low > 0 and high / low > 1000 and quantile[0.99] / max(quantile[0.25], low) > 50:
        first, last = math.log10(max(low, quantile[0.01])), math.log10(min(high, 10 * quantile[0.99]))
        return "log", [float(10**one) for one in np.linspace(first, last, BINS + 1)]
    width = (quantile[0.75] - quantile[0.25]) or (quantile[0.99] - quantile[0.01]) or (high - low)
    start, end = max(low, quantile[0.25] - FENCE * width), min(high, quantile[0.75] + FENCE * width)
    start, end = min(start, quantile[0.01]) if start > low else low, max(end, quantile[0.99]) if end < high else high
    step = _round_step((end - start) / BINS, whole=whole)
    # A bin holds its upper bound: what equals the least value needs one of its own below.
    first = math.ceil(start / step) - 1 if start <= low else math.floor(start / step)
    count = min(2 * BINS, max(1, math.ceil(end / step) - first))
    # Where doubles are further apart than bins are wide, some edges fall together.
    return "linear", sorted({float(f"{(first + k) * step:.12g}") for k in range(count + 1)})


def _round_step(rough: float, *, whole: bool) -> float:
    if not rough > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    return max(1.0, math.ceil(step)) if whole else step


def spread(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    columns: Mapping[str, tuple[str, Sequence[float], tuple[float, float]]],
) -> dict[str, tuple[list[int], int, int]]:
    """Count, exactly and in one scan for every forty columns, the rows in bins and those beyond two fences.

    Args:
        columns: name to (type, inner edges, fences).

    Returns:
        By name the rows of each bin (one more than there are edges), those below and those above the fences.
    """
    found: dict[str, tuple[list[int], int, int]] = {}
    names = list(columns)
    for start in range(0, len(names), COLUMNS_A_SCAN):
        part = names[start : start + COLUMNS_A_SCAN]
        items = []
        for name in part:
            type_, cuts, (low, high) = columns[name]
            value = f"CAST({finite(name, type_)} AS DOUBLE)"
            listed = ", ".join(f"{literal(cut)}::DOUBLE" for cut in cuts)
            items += [
                f"histogram({value}, [{listed}])",
                f"count_if({value} < {literal(low)}::DOUBLE)",
                f"count_if({value} > {literal(high)}::DOUBLE)",
            ]
        row = connection.execute(f"SELECT {', '.join(items)} FROM {relation} AS t").fetchall()[0]
        for place, name in enumerate(part):
            known, below, above = row[3 * place : 3 * place + 3]
            cuts, known = columns[name][1], known or {}
            rows = [int(known.get(cut, 0)) for cut in cuts] + [int(known.get(math.inf, 0))]
            found[name] = rows, int(below or 0), int(above or 0)
    return found


def histogram(scale: str, cuts: Sequence[float], counts: Sequence[int], *, whole: bool) -> Histogram:
    """Return counts as a histogram, without empty bins at its open ends."""
    bounds: list[float | None] = [None, *cuts, None]
    bins = [Bin(bounds[k], bounds[k + 1], rows) for k, rows in enumerate(counts)]
    while len(bins) > 1 and not bins[0].rows:
        bins.pop(0)
    while len(bins) > 1 and not bins[-1].rows:
        bins.pop()
    return Histogram(scale="log" if scale == "log" else "linear", bins=tuple(bins), whole=whole and scale != "log")


def fences(quantile: Mapping[float, float]) -> tuple[float, float]:
    """Return Tukey's outer fences. Where the middle half is one value, there are none: everything is within."""
    width = quantile[0.75] - quantile[0.25]
    if not width > 0:
        return -math.inf, math.inf
    return quantile[0.25] - FENCE * width, quantile[0.75] + FENCE * width


def places(values: Floats) -> int | None:
    """Return how many decimal places the values have, up to six; None when some have more, or there are none."""
    known = values[~np.isnan(values)][:5_000]
    if not known.size:
        return None
    for count in range(7):
        if np.allclose(np.round(known, count), known, rtol=1e-12, atol=1e-12):
            return count
    return None


def numbers(
    base: Any, quantile: Sequence[tuple[float, float]], outliers: Outliers | None, decimals: int | None
) -> Numbers:
    """Return the figures of a numeric column: `base` is its profile by contracts, with `more` of this module."""
    whole = base.family == "integer"
    skewness = base.more.get("skewness")
    return Numbers(
        minimum=base.minimum,
        maximum=base.maximum,
        mean=base.mean,
        std=base.std,
        skewness=float(skewness) if skewness is not None and math.isfinite(skewness) else None,
        zeros=int(base.more.get("zeros") or 0),
        negatives=int(base.more.get("negatives") or 0),
        decimals=decimals,
        infinite=base.infinite,
        quantiles=tuple(quantile),
        least=_extremes(base.more.get("least"), whole=whole),
        greatest=_extremes(base.more.get("greatest"), whole=whole),
        outliers=outliers,
    )


def _extremes(values: Sequence[float] | None, *, whole: bool) -> tuple[float | int, ...]:
    return tuple(int(one) if whole else float(one) for one in values or ())
