"""Drift of inputs and scores: one scan for all columns and all windows, then arithmetic on cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np

from bascule.monitoring.monitors import DriftRules
from bascule.monitoring.reference import Column, Numeric, cell_names, cells, literal, quoted
from bascule.monitoring.statistics import Counts, Difference, compare, false_discovery

# Columns in one SELECT: beyond some thousand aggregates planning costs more than another narrow scan.
COLUMNS_PER_SCAN = 150


@dataclass(frozen=True, slots=True)
class WindowCounts:
    """A window's rows in the reference's cells.

    Attributes:
        start: microseconds since the epoch, included.
        end: microseconds since the epoch, not included.
        cells: column name to counts, the last cell being the rows without a value.
    """

    start: int
    end: int
    rows: int
    cells: Mapping[str, Counts]


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """How far one column has drifted in one window.

    Attributes:
        difference: effect, interval, distance and p-value.
        q: the p-value adjusted for the window's columns.
        drifted: whether effect and adjusted p-value both say so.
        nulls: share of rows without a value.
        reference_nulls: the same in the reference.
        moved: the cell whose share changed most: its name, its share in the reference, its share now.
    """

    column: str
    rows: int
    difference: Difference
    q: float
    drifted: bool
    nulls: float
    reference_nulls: float
    moved: tuple[str, float, float]


def count_windows(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    columns: Sequence[Column],
    *,
    by: str,
    time: str = "event_time",
    expressions: Mapping[str, str] | None = None,
) -> list[WindowCounts]:
    """Count all columns into their cells, window by window, in one scan of the relation.

    Comparisons are summed (`x <= edge`, cumulated over the edges) rather than a histogram function called: the sums
    run on vectors and cost about half.

    Args:
        relation: SQL usable in FROM.
        by: hour, day, week or month, in UTC.
        time: the relation's column that says to which window a row belongs.
        expressions: column name to SQL over the relation, where it is not the column itself.

    Returns:
        The windows that have rows, by time.
    """
    found: dict[int, tuple[int, int, dict[str, Counts]]] = {}
    for first in range(0, max(1, len(columns)), COLUMNS_PER_SCAN):
        part = columns[first : first + COLUMNS_PER_SCAN]
        for start, end, rows, counted in _scan(connection, relation, part, by, time, expressions or {}):
            found.setdefault(start, (end, rows, {}))[2].update(counted)
    return [WindowCounts(start, end, rows, counted) for start, (end, rows, counted) in sorted(found.items())]


def joined(windows: Sequence[WindowCounts]) -> WindowCounts:
    """Return the counts of several windows as those of the last one."""
    last = windows[-1]
    together: dict[str, Counts] = {
        name: np.asarray(np.sum([window.cells[name] for window in windows], axis=0)) for name in last.cells
    }
    return WindowCounts(last.start, last.end, sum(window.rows for window in windows), together)


def measure_drift(window: WindowCounts, columns: Sequence[Column], rules: DriftRules) -> list[ColumnDrift]:
    """Compare a window with the reference, column by column.

    Returns:
        One entry for each column, in the order of `columns`; none when the window has fewer rows than the rules ask.
    """
    if window.rows < max(1, rules.minimum_rows):
        return []
    differences = [compare(window.cells[column.name], cells(column)) for column in columns]
    adjusted = false_discovery([difference.p for difference in differences])
    return [
        _column_drift(column, window, difference, q, rules)
        for column, difference, q in zip(columns, differences, adjusted, strict=True)
    ]


def drift_share(columns: Sequence[ColumnDrift]) -> float:
    """The share of columns that have drifted."""
    return sum(column.drifted for column in columns) / len(columns) if columns else 0.0


def _column_drift(
    column: Column, window: WindowCounts, difference: Difference, q: float, rules: DriftRules
) -> ColumnDrift:
    now = window.cells[column.name] / window.rows
    then = np.asarray(cells(column), dtype=np.float64)
    then = then / then.sum()
    most = int(np.abs(now - then).argmax())
    return ColumnDrift(
        column=column.name,
        rows=window.rows,
        difference=difference,
        q=q,
        drifted=q <= rules.alpha and difference.effect >= rules.effect,
        nulls=float(now[-1]),
        reference_nulls=float(then[-1]),
        moved=(cell_names(column)[most], float(then[most]), float(now[most])),
    )


def _scan(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    columns: Sequence[Column],
    by: str,
    time: str,
    expressions: Mapping[str, str],
) -> list[tuple[int, int, int, dict[str, Counts]]]:
    inner, outer = [], ["epoch_us(w)", f"epoch_us(w + interval 1 {by})", "count(*)"]
    for place, column in enumerate(columns):
        kind = "double" if isinstance(column, Numeric) else "varchar"
        inner.append(f"cast({expressions.get(column.name, quoted(column.name))} as {kind}) as c{place}")
        outer.extend(_aggregates(column, f"c{place}"))
    source = ", ".join([f"date_trunc('{by}', cast({quoted(time)} as timestamp)) as w", *inner])
    query = f"select {', '.join(outer)} from (select {source} from {relation}) where w is not null group by w"
    found = []
    for start, end, rows, *counts in connection.execute(query).fetchall():
        at, counted = 0, {}
        for column in columns:
            width = len(_aggregates(column, ""))
            counted[column.name] = _cells(column, rows, [count or 0 for count in counts[at : at + width]])
            at += width
        found.append((int(start), int(end), int(rows), counted))
    return found


def _aggregates(column: Column, name: str) -> list[str]:
    if isinstance(column, Numeric):
        steps = [f"count_if({name} <= {literal(edge)})" for edge in column.edges]
        return [f"count({name})", f"count_if(isnan({name}))", *steps]
    return [f"count({name})", *(f"count_if({name} = {literal(value)})" for value in column.categories)]


def _cells(column: Column, rows: int, counts: Sequence[int]) -> Counts:
    """Turn a window's aggregates into counts by cell."""
    present, *rest = counts
    if isinstance(column, Numeric):
        missing, *upto = rest
        present -= missing  # NaN is no value
        return np.array([*np.diff([0, *upto, present]), rows - present], dtype=np.float64)
    return np.array([*rest, present - sum(rest), rows - present], dtype=np.float64)
