"""How far the distribution of a column's values lies from what it was: one number from 0 to 1.

Both statistics are the largest difference in the share of rows that one can find by asking a question of the values.

    Kolmogorov-Smirnov, for numbers and times: of all questions "is it at most x?". Kolmogorov, Sulla determinazione
    empirica di una legge di distribuzione, Giornale dell'Istituto Italiano degli Attuari 1933; Smirnov, 1939.
    Total variation distance, for all else: of all questions "is it one of these?", that is half the sum of the
    differences in share. Levin, Peres & Wilmer, Markov Chains and Mixing Times, AMS 2009, section 4.1.

They were chosen because rows that both states have cancel: a shift of s among n rows that differ on each side is one of
s * n / N in the whole table of N, exactly. The Jensen-Shannon distance, by which monitors judge, has no such rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from bascule.lake.comparing.profiles import LONGEST, from_number, scale
from bascule.lake.comparing.schemas import Column
from bascule.lake.iceberg import types

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
MOST_MOVED = 5


@dataclass(frozen=True, slots=True)
class Moved:
    """A value whose share of the rows changed: from 0 to 1, None being the rows without a value."""

    value: str | None
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class Shift:
    """How far two distributions of one column are apart.

    Attributes:
        statistic: `kolmogorov_smirnov` (values that are missing have no say) or `total_variation` (they are a value).
        value: 0 when they are equal to 1 when they have nothing in common.
        moved: the values whose shares changed most, for `total_variation` of texts and truths.
    """

    statistic: Literal["kolmogorov_smirnov", "total_variation"]
    value: float
    moved: tuple[Moved, ...] = ()


def of_numbers(before: NDArray[Any], after: NDArray[Any]) -> float | None:
    """Return the Kolmogorov-Smirnov statistic of two sorted samples; None when one of them is empty."""
    if not before.size or not after.size:
        return None
    values = np.concatenate([before, after])
    shares = [np.searchsorted(side, values, side="right") / side.size for side in (before, after)]
    return float(np.abs(shares[0] - shares[1]).max())


def quantiles(ordered: NDArray[Any], column: Column) -> tuple[Any, ...]:
    """Return the quantiles of a sorted sample (the inverse of its distribution function), in the column's own type."""
    if not ordered.size:
        return ()
    at = np.maximum(np.ceil(np.array(QUANTILES) * ordered.size).astype(int) - 1, 0)
    picked = ordered[at].tolist()
    if scale(column) == "number":
        return tuple(picked)
    kind = types.to_arrow(column.field["type"])
    return tuple(from_number(number, kind) for number in picked)


def ordered(values: pa.ChunkedArray) -> NDArray[Any]:
    """Return the values of a number or time column that there are, sorted: times as whole numbers, NaN left out."""
    kind = values.type
    if pa.types.is_decimal(kind):
        values = values.cast(pa.float64())
    elif pa.types.is_date32(kind):
        values = values.cast(pa.int32())
    elif pa.types.is_temporal(kind):
        values = values.cast(pa.int64())
    found: NDArray[Any] = values.drop_null().to_numpy()
    if found.dtype.kind == "f":
        found = found[~np.isnan(found)]
    return np.sort(found)


def of_categories(connection: duckdb.DuckDBPyConnection, before: str, after: str, column: Column) -> Shift | None:
    """Return the total variation distance of a column between two relations; None when one of them has no row.

    Args:
        before, after: SQL for FROM, with the column under `v` and its place.
    """
    value = f"left(v::VARCHAR, {LONGEST})" if scale(column) == "category" else "NULL"
    found = connection.execute(
        "WITH counted AS (SELECT v, sum(old) AS old, sum(new) AS new FROM ("
        f"SELECT v{column.place} AS v, 1 AS old, 0 AS new FROM {before} "
        f"UNION ALL SELECT v{column.place}, 0, 1 FROM {after}"
        ") GROUP BY v), "
        "shares AS (SELECT v, old / (sum(old) OVER ()) AS was, new / (sum(new) OVER ()) AS now FROM counted)"
        f" SELECT {value}, was, now, sum(abs(was - now)) OVER () / 2 FROM shares"
        f" ORDER BY abs(was - now) DESC, 1 LIMIT {MOST_MOVED}"
    ).fetchall()
    if not found or found[0][3] is None:
        return None
    moved = [Moved(text, was, now) for text, was, now, _ in found if was != now] if scale(column) == "category" else []
    return Shift("total_variation", min(float(found[0][3]), 1.0), tuple(moved))
