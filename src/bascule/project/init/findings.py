"""What the data show, before anything is decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from bascule.project.init.joins import Apart, Join, find_joins
from bascule.project.init.keys import is_hinted
from bascule.project.init.label import Label
from bascule.project.init.leakage import Leakage, find_leakage
from bascule.project.init.spans import Rhythm, beat, rhythm
from bascule.project.init.sql import one_row, quoted
from bascule.project.init.tables import Column, Table
from bascule.project.init.times import Times, find_times, restates

MOST_NAMES = 1_000
FEW_NUMBERS = 50
FEW_ROWS = 20
# With a sign of money, a percent sign or separators: figures alone would have been read as a number.
_AMOUNT = r"[-+]?\s?(\p{Sc}|[A-Z]{3})?\s?[-+]?\d{1,3}([., ]?\d{3})*([.,]\d+)?\s?(\p{Sc}|[A-Z]{3}|%)?"


@dataclass(frozen=True)
class Findings:
    """What a look at the label's table and at the others has shown.

    Attributes:
        tables: all tables, keys known.
        label: what is learned.
        leakage: columns that tell the answer.
        times: when it is asked and answered; None when the data have no time.
        pace: the rhythm of the rows when they are a time series; None when they are not.
        left_out: columns of the examples that are no features, with the reason.
        joins: how other tables belong to the examples.
        apart: tables that don't.
    """

    tables: tuple[Table, ...]
    label: Label
    leakage: Leakage
    times: Times | None
    pace: Rhythm | None
    left_out: Mapping[str, str]
    joins: tuple[Join, ...]
    apart: tuple[Apart, ...]

    @property
    def table(self) -> Table:
        """The table whose rows are the examples."""
        return self.label.table

    @property
    def request(self) -> list[Column]:
        """The columns of the examples that can be features themselves."""
        columns = [one for one in self.table.columns if one.name not in {*self.left_out, *self.label.columns}]
        return [one for one in columns if one.is_text or one.is_number or one.type == "BOOLEAN"]


def find_all(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], label: Label) -> Findings:
    """Look at everything that a project is decided from."""
    table = label.table
    leakage = find_leakage(connection, label)
    times = find_times(connection, table, label.expression, leakage.names | set(label.columns))
    pace = _series_pace(connection, label, times)
    usable = {one.name for one in table.columns} - leakage.names - set(label.columns)
    others = [one for one in tables if one.name != table.name]
    joins, apart = find_joins(connection, table, others, usable)
    left_out = _left_out(connection, label, leakage, times)
    return Findings(tuple(tables), label, leakage, times, pace, left_out, tuple(joins), tuple(apart))


def _series_pace(connection: duckdb.DuckDBPyConnection, label: Label, times: Times | None) -> Rhythm | None:
    """Return the rhythm of a time series: rows named by a time and few entities, all at regular moments."""
    table = label.table
    if times is None or times.label is not None or times.prediction.name not in table.key or len(table.key) > 3:
        return None
    if label.task == "multiclass" or not all(table[one].is_number for one in label.columns):
        return None
    entity = table.entity_key(times.prediction)
    pace, all_moments = rhythm(connection, table, entity, times.prediction), beat(connection, table, times.prediction)
    if pace is None or all_moments is None or pace.gap > 1.5 * all_moments.gap:
        return None  # each entity comes back now and then, but not at every moment
    # Months differ by a tenth in length, and daily data may have no weekends.
    return pace if pace.regular > 0.7 else None


def _left_out(
    connection: duckdb.DuckDBPyConnection, label: Label, leakage: Leakage, times: Times | None
) -> dict[str, str]:
    reasons = {one.column: one.reason for one in leakage.left_out}
    for column in label.table.columns:
        if column.name in label.columns or column.name in reasons or column.is_time:
            continue
        reason = "it counts the rows" if _counts(connection, label.table, column) else _unfit(label.table, column)
        if reason and column.is_text and (shown := _written_number(connection, label.table, column)):
            reason = f"its texts look like numbers, as {shown!r} does; a number has digits and one decimal sign alone"
        if not reason and times is not None and restates(connection, label.table, column, times.prediction):
            reason = "it repeats the time of the question; what a month brought says nothing about the next"
        if reason:
            reasons[column.name] = reason
    return reasons


def _written_number(connection: duckdb.DuckDBPyConnection, table: Table, column: Column) -> str | None:
    """Return a value of a text column that holds amounts as people write them, such as `1,234.50 €`; else None."""
    text = f"trim({quoted(column.name)})"
    amount = rf"regexp_full_match({text}, '{_AMOUNT}')"
    least, shown = one_row(connection, f"select bool_and({amount}), min({text}) from {table.sql}")
    return str(shown) if least else None


def _counts(connection: duckdb.DuckDBPyConnection, table: Table, column: Column) -> bool:
    """Tell whether a whole-number column grows from row to row, as a counter does."""
    if not column.is_whole or column.distinct != table.rows or table.rows < FEW_ROWS:
        return False
    steps = f"select {quoted(column.name)} - lag({quoted(column.name)}) over () as step from {table.sql}"
    return bool(one_row(connection, f"select bool_and(step > 0) from ({steps})")[0])


def _unfit(table: Table, column: Column) -> str:
    """Return why a column cannot be a feature as it is; empty when it can."""
    if not column.filled:
        return "it is empty"
    if column.is_constant:
        return "it has one value"
    if column.is_nested:
        return f"it is nested ({column.type.split('(')[0].lower()})"
    if column.is_prose:
        return "it is free text, which has no default features yet"
    is_name = column.is_text and (column.distinct > MOST_NAMES or column.distinct > max(FEW_NUMBERS, column.filled / 2))
    is_number_of = column.is_whole and is_hinted(column, table) and column.distinct > FEW_NUMBERS
    if is_name or is_number_of or table.key == (column.name,):
        return f"it names things ({column.distinct:,} different values)"
    return ""
