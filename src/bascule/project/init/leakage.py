"""Columns that tell the answer: known only with it, or too good to be true."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

from bascule.project.init.label import Label
from bascule.project.init.sql import one_row, quoted
from bascule.project.init.tables import Column

SUSPICIOUS = 0.95
CERTAIN = 0.995
SAMPLE = 200_000
FEW_ROWS = 20


@dataclass(frozen=True)
class LeftOut:
    """A column of the examples that is no feature, and why."""

    column: str
    reason: str


@dataclass(frozen=True)
class Leakage:
    """What was found: columns that are left out, and columns that are kept but should be looked at."""

    left_out: tuple[LeftOut, ...]
    suspicious: tuple[LeftOut, ...]

    @property
    def names(self) -> set[str]:
        """The columns that are left out."""
        return {one.column for one in self.left_out}


def find_leakage(connection: duckdb.DuckDBPyConnection, label: Label) -> Leakage:
    """Look at every column of the label's table for signs that it is known only after the label.

    Two signs. *Missing together*: it is empty in most rows without a label and in next to none with one. *Too good*:
    the column alone, or only whether it is empty, separates the label: an area under the ROC curve above 0.95 (binary),
    a rank correlation above 0.95 (regression), or 99 % of the rows in parts of the column with one class (multiclass).
    Above 0.95 a column is left out of tables that have a time, where values written down after the event are common; in
    a table without times, where strong measurements are, it is left out above 0.995 and only pointed out below.
    """
    table = label.table
    left_out, suspicious = [], []
    for column in table.columns:
        if column.name in label.columns or column.is_nested or not column.filled:
            continue
        together = _missing_together(connection, label, column)
        if together:
            left_out.append(LeftOut(column.name, together))
            continue
        most = SUSPICIOUS if table.times else CERTAIN
        absence = _strength_of_absence(connection, label, column)
        if absence > most:
            told = f"whether it is empty tells the label ({_measure(label)} {absence:.3f})"
            left_out.append(LeftOut(column.name, told))
            continue
        strength = _strength(connection, label, column)
        if strength > most:
            left_out.append(LeftOut(column.name, f"it alone tells the label ({_measure(label)} {strength:.3f})"))
        elif strength > SUSPICIOUS:
            suspicious.append(LeftOut(column.name, f"{_measure(label)} {strength:.3f} by itself"))
    return Leakage(tuple(left_out), tuple(suspicious))


def _missing_together(connection: duckdb.DuckDBPyConnection, label: Label, column: Column) -> str:
    if not label.unknown or column.filled == column.rows:
        return ""
    name = quoted(column.name)
    without, with_label = one_row(
        connection,
        f"select avg(({name} is null)::int) filter (({label.expression}) is null), "
        f"avg(({name} is null)::int) filter (({label.expression}) is not null) from {label.table.sql}",
    )
    if without < 0.5 or with_label > 0.01:
        return ""
    return f"it is empty in {without:.0%} of the rows without a label and in {with_label:.1%} of those with one"


def _strength_of_absence(connection: duckdb.DuckDBPyConnection, label: Label, column: Column) -> float:
    """Return how well it tells the label whether a column is empty, as `_strength` does."""
    if column.filled == column.rows:
        return 0.0
    y = label.expression if label.task == "multiclass" else label.as_number
    absent = f"({quoted(column.name)} is null)::int as x"
    known = f"({label.expression}) is not null"
    pairs = f"(select {absent}, {y} as y from {label.table.sql} where {known} limit {SAMPLE})"
    if label.task == "multiclass":
        return _purity(connection, pairs, True)
    return _correlation(connection, pairs) if label.task == "regression" else _area(connection, pairs)


def _strength(connection: duckdb.DuckDBPyConnection, label: Label, column: Column) -> float:
    """Return how well one column alone tells the label, 0.5 or 0 (not at all) to 1 (wholly)."""
    if column.is_time:
        return 0.0
    if column.is_text or column.type == "BOOLEAN":
        if column.distinct > max(2, column.filled / FEW_ROWS):
            return 0.0
    elif not column.is_number or column.is_constant:
        return 0.0
    x, y = quoted(column.name), label.expression if label.task == "multiclass" else label.as_number
    known = f"({label.expression}) is not null and {x} is not null"
    pairs = f"(select {x} as x, {y} as y from {label.table.sql} where {known} limit {SAMPLE})"
    is_name = not column.is_number
    if label.task == "multiclass":
        return _purity(connection, pairs, is_name)
    if is_name:  # a name becomes the mean label of its rows
        pairs = f"(select avg(y) over (partition by x) as x, y from {pairs})"
    return _correlation(connection, pairs) if label.task == "regression" else _area(connection, pairs)


def _area(connection: duckdb.DuckDBPyConnection, pairs: str) -> float:
    """Return the area under the ROC curve of x for y in {0, 1}, or of -x, by the rank sum (Mann and Whitney, 1947)."""
    ranks, ones, zeros = one_row(
        connection,
        f"with ranked as (select y, {_rank('x')} as r from {pairs}) "
        f"select sum(r) filter (y = 1), count(*) filter (y = 1), count(*) filter (y = 0) from ranked",
    )
    if not ones or not zeros:
        return 0.0
    area = float((ranks - ones * (ones + 1) / 2) / (ones * zeros))
    return max(area, 1 - area)


def _correlation(connection: duckdb.DuckDBPyConnection, pairs: str) -> float:
    """Return the absolute rank correlation (Spearman, 1904)."""
    correlation, rows = one_row(
        connection,
        f"with ranked as (select {_rank('x')} as a, {_rank('y')} as b from {pairs}) "
        f"select abs(corr(a, b)), count(*) from ranked",
    )
    if rows < FEW_ROWS or correlation is None or correlation != correlation:
        return 0.0
    return float(correlation)


def _purity(connection: duckdb.DuckDBPyConnection, pairs: str, is_name: bool) -> float:
    """Return the share of rows that have the most frequent class of their part of x, at least 20 rows a part."""
    parts = f"greatest(1, least(50, (select count(*) from {pairs}) // {FEW_ROWS}))"
    part = "x" if is_name else f"ntile({parts}) over (order by x)"
    row = one_row(
        connection,
        f"with parts as (select {part} as part, y from {pairs}), "
        f"counted as (select part, y, count(*) as n from parts group by all) "
        f"select sum(best) / sum(total) from (select max(n) as best, sum(n) as total from counted group by part)",
    )
    purity = float(row[0] or 0.0)
    return purity if purity > 0.99 else 0.0


def _rank(column: str) -> str:
    """Return SQL for the rank of a value; equal values share the mean of their ranks."""
    return f"rank() over (order by {column}) + (count(*) over (partition by {column}) - 1) / 2.0"


def _measure(label: Label) -> str:
    return {"binary": "AUC", "regression": "rank correlation", "multiclass": "purity"}[label.task]
