"""What a table's profile says beyond its columns: keys, times, joins, what could be learned, and what would tell it.

All of it by what `init` knows; a profile has the counts that it goes by.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from bascule.contracts.sql import quoted
from bascule.errors import BasculeError, InputError, NotFound
from bascule.profiles.duplicates import repeats
from bascule.profiles.results import Join, Key, LabelCandidate, Leak, TableProfile
from bascule.profiles.source import SAMPLE_TABLE, Source
from bascule.project.init.folder import FileGroup
from bascule.project.init.joins import find_joins
from bascule.project.init.keys import find_key, is_hinted
from bascule.project.init.label import Label, find_label
from bascule.project.init.leakage import find_leakage
from bascule.project.init.tables import WHOLE, Column, Table, describe
from bascule.project.init.times import mark_times

MOST_LABELS = 6
FEW_CLASSES = 20
LEAK_ROWS = 20_000
LEAK_TABLE = "bascule leakage"
NEARLY = 0.95
_LABEL_NAME = re.compile(
    r"(^|_)(label|target|outcome|churn(ed)?|fraud|default(ed)?|survived|success|response|diagnosis|species|class|clicked|converted|cancell?ed|delay(ed)?|late|return(ed)?|sales|y)($|_)|^is_|^has_",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Marked:
    """The sample as `init` describes a table, with its times; `trouble` says why they could not be told."""

    table: Table
    trouble: str = ""

    @property
    def times(self) -> dict[str, str]:
        """The SQL that reads each column of texts or numbers that are moments; what it cannot read is null."""
        typed = ("DATE", "TIME")
        return {
            one.name: f"TRY({one.time_sql})"
            for one in self.table.columns
            if one.is_time and not one.type.startswith(typed)
        }


def mark(connection: duckdb.DuckDBPyConnection, rows: int) -> Marked:
    """Describe the sample that was drawn, and find the columns that are moments."""
    if not rows:
        return Marked(Table(SAMPLE_TABLE, _group(SAMPLE_TABLE), 0, ()))
    table = describe(connection, _group(SAMPLE_TABLE))
    try:
        return Marked(mark_times(connection, table))
    except InputError as error:
        return Marked(table, error.message.replace(f" of {SAMPLE_TABLE}", ""))


def whole_table(connection: duckdb.DuckDBPyConnection, source: Source, found: TableProfile, sample: Marked) -> Table:
    """Return the table as `init` describes one, from its profile, under a view of its name."""
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(source.name)} AS SELECT * FROM {source.selected}")
    marks = {one.name: one for one in sample.table.columns}
    columns = []
    for one in found.columns:
        whole = one.type in WHOLE and one.numbers is not None and one.numbers.minimum is not None
        low, high = (one.numbers.minimum, one.numbers.maximum) if whole and one.numbers else (None, None)
        length = (one.texts.mean or 0.0) if one.texts else 0.0
        seen = marks.get(one.name)
        columns.append(
            Column(
                one.name,
                one.type,
                found.rows_read,
                found.rows_read - one.missing,
                one.distinct or 0,
                int(low) if low is not None else None,
                int(high) if high is not None else None,
                float(length),
                seen.time_sql if seen else None,
                seen.parts if seen else (),
            )
        )
    return Table(source.name, _group(source.name), found.rows_read, tuple(columns))


def keys(connection: duckdb.DuckDBPyConnection, table: Table, declared: Sequence[str]) -> tuple[Key, ...]:
    """Return the declared key, one that is found, and single columns that are nearly unique, with what breaks them."""
    found: list[Key] = []
    if declared and all(name in table for name in declared):
        shared, missing = repeats(connection, table.sql, declared)
        found.append(Key(columns=tuple(declared), how="declared", repeats=shared, missing=missing))
    tried = find_key(connection, table) if table.rows else ()
    if tried and set(tried) != set(declared):
        found.append(Key(columns=tried, how="found", repeats=0))
    for one in table.columns:
        near = NEARLY * one.filled <= one.distinct < one.filled or (one.distinct == one.filled < one.rows)
        named = one.is_text or one.is_whole
        if (
            near
            and named
            and is_hinted(one, table)
            and one.filled >= NEARLY * one.rows
            and (one.name,) != tuple(declared)
        ):
            shared, missing = repeats(connection, table.sql, (one.name,))
            found.append(Key(columns=(one.name,), how="nearly", repeats=shared, missing=missing))
    return tuple(found)


def joins(
    connection: duckdb.DuckDBPyConnection, table: Table, sample: Table, others: Iterable[Table]
) -> tuple[Join, ...]:
    """Return how other tables, loaded by `load_other`, can be joined to this one, and this one to them."""
    found: list[Join] = []
    mine = replace(sample, key=table.key)
    usable = {one.name for one in table.columns if one.is_text or one.is_whole or one.is_time}
    for other in others:
        ways, _ = find_joins(connection, mine, [other], usable)
        for one in ways:
            time = one.time.name if one.time else None
            found.append(Join(table=other.name, pairs=one.pairs, how=one.how, share=one.share, time=time))
        back, _ = find_joins(connection, other, [table], {one.name for one in other.columns})
        for one in back:
            if one.how == "reference":
                pairs = tuple((right, left) for left, right in one.pairs)
                found.append(Join(table=other.name, pairs=pairs, how="referenced by", share=one.share))
    return tuple(found)


def labels(
    connection: duckdb.DuckDBPyConnection, sample: Table, found: TableProfile, asked: str, *, declared: bool
) -> tuple[tuple[LabelCandidate, ...], Label | None]:
    """Return what could be learned from the table, the likeliest first, and the label that leakage is judged by.

    Args:
        asked: a label that is known, as a column or an expression; empty when none is.
        declared: whether the project says so; then one that this table does not have is no mistake.

    Raises:
        InputError, NotFound: the label that was asked for cannot be found or learned.
    """
    few = _few(connection, sample)
    asked = re.sub(rf"\b{re.escape(found.name)}\s*\.", "", asked)  # `flights.arr_delay` is said of this table
    candidates: list[tuple[int, LabelCandidate, Label]] = []
    if asked and sample.rows:
        try:
            chosen = find_label(connection, [few], asked)
        except (InputError, NotFound):
            if not declared:
                raise
        else:
            candidates.append(
                (0, LabelCandidate(column=asked, task=chosen.task, why=_why(chosen), declared=True), chosen)
            )
    keyed = {name for key in found.keys for name in key.columns}
    for one in sample.columns:
        rank = _label_rank(one, found, keyed)
        if not rank or one.name == asked:
            continue
        try:
            label = find_label(connection, [few], quoted(one.name))
        except BasculeError:
            continue
        if rank > 1 and label.task == "regression":
            continue
        candidates.append((rank, LabelCandidate(column=one.name, task=label.task, why=_why(label)), label))
    candidates.sort(key=lambda one: one[0])
    sure = candidates[0][2] if candidates and candidates[0][0] <= 1 else None
    return tuple(one for _, one, _ in candidates[:MOST_LABELS]), sure


def leaks(connection: duckdb.DuckDBPyConnection, label: Label, name: str) -> tuple[Leak, ...]:
    """Return the columns that tell a label too well, judged by at most 20,000 rows of the sample."""
    found = find_leakage(connection, label)
    return tuple(Leak(column=one.column, label=name, reason=one.reason) for one in (*found.left_out, *found.suspicious))


def load_other(connection: duckdb.DuckDBPyConnection, name: str, relation: str, key: Collection[str]) -> Table | None:
    """Make another table known under its name, with its key and times; None when it has no rows or cannot be read."""
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(name)} AS SELECT * FROM {relation}")
    try:
        table = describe(connection, _group(name))
    except InputError:
        return None
    with suppress(InputError):  # it has no usable time then
        table = mark_times(connection, table)
    return table.with_key(key or find_key(connection, table))


def _few(connection: duckdb.DuckDBPyConnection, sample: Table) -> Table:
    if not sample.rows:
        return sample
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {quoted(LEAK_TABLE)} AS SELECT * FROM {quoted(SAMPLE_TABLE)} LIMIT {LEAK_ROWS}"
    )
    rows = min(sample.rows, LEAK_ROWS)
    scaled = rows / sample.rows
    columns = (replace(one, rows=rows, filled=round(one.filled * scaled)) for one in sample.columns)
    return replace(sample, name=LEAK_TABLE, rows=rows, columns=tuple(columns))


def _label_rank(one: Column, found: TableProfile, keyed: Collection[str]) -> int:
    """Return how likely a column is what is to be learned: 1 by its name, 2 by its values, 0 not at all."""
    column = found.column(one.name)
    if column is None or column.private or one.name in keyed or one.is_time or one.is_nested or one.distinct < 2:
        return 0
    if _LABEL_NAME.search(one.name) and (one.is_number or one.distinct <= FEW_CLASSES):
        return 1
    few = one.distinct <= FEW_CLASSES and column.meaning in ("yes or no", "category")
    return 2 if few and (one.distinct == 2 or one.name == found.columns[-1].name) else 0


def _why(label: Label) -> str:
    return label.said[-1].removeprefix("the label has ").removeprefix("the label is ")


def _group(name: str) -> FileGroup:
    return FileGroup(name, (Path(name),), name)
