"""Round spans of time, and how the rows of a table follow one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from bascule.durations import parse_duration
from bascule.project.init.sql import listed, one_row
from bascule.project.init.tables import Column, Table

NICE = (
    "1m",
    "5m",
    "15m",
    "1h",
    "3h",
    "6h",
    "12h",
    "1d",
    "2d",
    "7d",
    "14d",
    "30d",
    "31d",
    "60d",
    "90d",
    "92d",
    "180d",
    "365d",
    "366d",
    "730d",
    "1830d",
    "3660d",
)
#: A month, a quarter and a year at their longest, so that a window of one always holds the row before.
LONGEST = ("31d", "92d", "366d")


def at_least(span: float) -> str:
    """Return the shortest round span that is not shorter; the longest one when all are."""
    return next((one for one in NICE if parse_duration(one) >= span), NICE[-1])


def at_most(span: float) -> str | None:
    """Return the longest round span that is not longer; None when all are."""
    return next((one for one in reversed(NICE) if one not in LONGEST and parse_duration(one) <= span), None)


@dataclass(frozen=True)
class Rhythm:
    """How the rows of an entity follow one another, in microseconds.

    Attributes:
        gap: the median gap.
        long_gap: the gap that 95 % do not exceed.
        regular: the share of gaps within a tenth of the median.
    """

    gap: float
    long_gap: float
    regular: float


def rhythm(connection: duckdb.DuckDBPyConnection, table: Table, entity: Sequence[str], time: Column) -> Rhythm | None:
    """Measure the gaps between the rows of each entity; None when no entity has two rows."""
    return _gaps(connection, f"select *, {time.time_sql} as moment_ from {table.sql}", entity)


def beat(connection: duckdb.DuckDBPyConnection, table: Table, time: Column) -> Rhythm | None:
    """Measure the gaps between the different moments of a table, whatever they are about."""
    return _gaps(connection, f"select distinct {time.time_sql} as moment_ from {table.sql}", ())


def _gaps(connection: duckdb.DuckDBPyConnection, relation: str, entity: Sequence[str]) -> Rhythm | None:
    partition = f"partition by {listed(entity)} " if entity else ""
    row = one_row(
        connection,
        f"with gaps as (select epoch_us(moment_) - lag(epoch_us(moment_)) over "
        f"({partition}order by moment_) as gap from ({relation})), "
        f"middle as (select median(gap) as m from gaps) "
        f"select any_value(m), quantile_cont(gap, 0.95), avg((abs(gap - m) <= 0.1 * m)::int) "
        f"from gaps, middle where gap is not null",
    )
    if row is None or not row[0]:
        return None
    return Rhythm(float(row[0]), float(row[1]), float(row[2]))
