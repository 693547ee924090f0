"""How a relation varies over time: the same statistics for each of its past blocks.

A range of plausible means for the next batch cannot come from a standard error: days, weeks and seasons differ far more
than chance within a batch. So the past is cut into blocks and the spread between them is what the next one may show.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import duckdb

from bascule.contracts.profiling import Profile
from bascule.contracts.sql import quoted, value_of

FEWEST_BLOCKS = 8
_ROWS_A_BLOCK = 200
_FEWEST_ROWS = 30
_MOST_BLOCKS = 2_000
_WIDTHS = ((86_400, "day"), (7 * 86_400, "week"), (30 * 86_400, "30 days"), (365 * 86_400, "year"))


@dataclass(frozen=True, slots=True)
class Blocks:
    """The past in blocks.

    Attributes:
        unit: what a block is: `day`, `week`, … or `part` when rows were cut in their order.
        column: the time column that orders them, or None.
        rows: rows of each block, in order.
        days: how many days they span; 0 when time does not order them.
        means: by numeric column, each block's mean (NaN without values).
        missing: by column, each block's share of rows without a value.
    """

    unit: str
    column: str | None
    rows: tuple[int, ...]
    days: float = 0.0
    means: dict[str, tuple[float, ...]] = field(default_factory=dict)
    missing: dict[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return len(self.rows)

    @property
    def least_rows(self) -> int:
        """How many rows a batch needs to be compared with these blocks: half of what one usually has."""
        return max(_FEWEST_ROWS, int(statistics.median(self.rows) / 2))

    def each(self) -> str:
        """`each of 181 days`."""
        return f"each of {self.plural()}"

    def plural(self) -> str:
        """`181 days`, `26 weeks`."""
        unit = "periods of 30 days" if self.unit == "30 days" else f"{self.unit}s"
        return f"{self.count} {unit}"


@dataclass(frozen=True, slots=True)
class Grouping:
    """How rows are put into blocks: the relation to read, the expression that names a row's block, and its length."""

    unit: str
    column: str | None
    relation: str
    block: str
    days: float = 0.0


def choose_groupings(
    connection: duckdb.DuckDBPyConnection, relation: str, profile: Profile, key: Sequence[str]
) -> list[Grouping]:
    """Blocks of time by the table's main time column, or of rows in their order; none when there are too few rows.

    The first has the shortest blocks with enough rows to have a mean; a second has the longest of which there are still
    enough, because large batches differ less than small ones.
    """
    if profile.rows < FEWEST_BLOCKS * _FEWEST_ROWS:
        return []
    times = [column for column in profile.columns if column.family in ("timestamp", "date")]
    whole = [column.name for column in times if column.missing <= 0.01 * profile.rows]
    for name in sorted(whole, key=lambda name: name not in key):
        seconds = f"epoch(CAST(t.{quoted(name)} AS TIMESTAMP))"
        low, high = connection.execute(f"SELECT min({seconds}), max({seconds}) FROM {relation} AS t").fetchall()[0]
        for wanted in (_ROWS_A_BLOCK, _FEWEST_ROWS):
            fitting = [
                Grouping(unit, name, relation, f"CAST(floor({seconds} / {width}) AS BIGINT)", width / 86_400)
                for width, unit in _WIDTHS
                if FEWEST_BLOCKS <= (high - low) / width <= _MOST_BLOCKS
                and profile.rows * width / (high - low) >= wanted
            ]
            if fitting:
                return fitting[:1] if len(fitting) == 1 else [fitting[0], fitting[-1]]
    size = max(_FEWEST_ROWS, profile.rows // 24)
    numbered = f"(SELECT *, row_number() OVER () - 1 AS bascule_row FROM {relation} AS t)"
    return [Grouping("part", None, numbered, f"t.bascule_row // {size}")]


def measure_blocks(connection: duckdb.DuckDBPyConnection, grouping: Grouping, profile: Profile) -> Blocks | None:
    """Every block's row count, means and missing shares in one scan; None when too few blocks are whole.

    A block with under half of the usual rows, such as the day on which a file begins, is left out.
    """
    numeric = [column for column in profile.columns if column.family in ("integer", "number")]
    values = {column.name: value_of(column.name, column.type) for column in profile.columns}
    means = ", ".join(f"avg(CAST({values[column.name]} AS DOUBLE))" for column in numeric)
    present = ", ".join(f"count({values[column.name]})" for column in profile.columns)
    query = (
        f"SELECT {grouping.block} AS b, count(*), {present}{', ' if means else ''}{means} "
        f"FROM {grouping.relation} AS t WHERE {grouping.block} IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    found = connection.execute(query).fetchall()
    usual = statistics.median(row[1] for row in found) if found else 0
    whole = [row for row in found if row[1] >= usual / 2]
    if len(whole) < FEWEST_BLOCKS:
        return None
    days = (whole[-1][0] - whole[0][0] + 1) * grouping.days
    blocks = Blocks(grouping.unit, grouping.column, tuple(int(row[1]) for row in whole), days)
    for i, column in enumerate(profile.columns):
        blocks.missing[column.name] = tuple(1 - row[2 + i] / row[1] for row in whole)
    for i, column in enumerate(numeric):
        cells = (row[2 + len(profile.columns) + i] for row in whole)
        blocks.means[column.name] = tuple(math.nan if cell is None else float(cell) for cell in cells)
    return blocks


def count_blocks_of_values(
    connection: duckdb.DuckDBPyConnection, grouping: Grouping, name: str, type_name: str
) -> list[tuple[str, int, int]]:
    """Each value of a column as text, its rows, and in how many blocks it occurs."""
    value = value_of(name, type_name)
    query = (
        f"SELECT CAST({value} AS VARCHAR) AS v, count(*), count(DISTINCT {grouping.block}) "
        f"FROM {grouping.relation} AS t WHERE {value} IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    return [(str(v), int(n), int(b)) for v, n, b in connection.execute(query).fetchall()]


def widened(values: Sequence[float], count: int, least: float = 0.0) -> tuple[float, float]:
    """A band in which the next block's value is expected: what was seen, and half of its spread more on each side.

    With few blocks the seen spread is an underestimate, so the margin grows: half the spread with hundreds of blocks,
    the whole spread with eight. It is never under `least` nor under 2 % of the value.
    """
    low, high = min(values), max(values)
    margin = (0.5 + 4 / count) * (high - low)
    margin = max(margin, least, 0.02 * max(abs(low), abs(high)))
    return low - margin, high + margin


def follows_time(means: Sequence[float], std: float | None) -> bool:
    """Whether a column rises or falls with time, so that its past gives no range for its future.

    True when the blocks' means are ordered by time (Spearman's rank correlation at least 0.8 in size) and time explains
    a good part of the variance (correlation ratio at least 0.2). A counter or a season seen half is such a column.
    """
    known = [mean for mean in means if mean == mean]
    return explained(known, std) >= 0.2 and abs(_rank_correlation(known)) >= 0.8


def explained(means: Sequence[float], std: float | None) -> float:
    """The share of a column's variance that lies between blocks (the correlation ratio), 0 to about 1."""
    known = [mean for mean in means if mean == mean]
    return statistics.pvariance(known) / (std * std) if std and len(known) >= FEWEST_BLOCKS else 0.0


def _rank_correlation(values: Sequence[float]) -> float:
    """Spearman's correlation of values with their position; ties share their mean rank."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks = [0.0] * len(values)
    start = 0
    while start < len(order):
        stop = start
        while stop + 1 < len(order) and values[order[stop + 1]] == values[order[start]]:
            stop += 1
        for i in order[start : stop + 1]:
            ranks[i] = (start + stop) / 2
        start = stop + 1
    if len(set(ranks)) < 2:
        return 0.0
    return statistics.correlation(ranks, range(len(ranks)))
