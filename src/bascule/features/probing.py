"""Proves that a feature knows the future: hides what was not known yet, computes again, and compares.

A cut is a prediction time. What became known after it is hidden from a view's query (the base table is replaced in its
text), and the features of the examples just before the cut are computed as they are and with the future hidden. Nothing
that was known by then is touched, so a value that differs was made from the future.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
from sqlglot import exp, parse_one
from sqlglot.errors import SqlglotError

from bascule.errors import InputError
from bascule.features.binding import output_types
from bascule.features.columns import body, describe, first_line, quoted
from bascule.features.definitions import SEPARATOR, FeatureSet, FeatureView
from bascule.features.expressions import references
from bascule.features.lineage import Origin, origin, tables_of, with_table
from bascule.features.point_in_time import training_rows
from bascule.features.windows import bucket_length

CUTS = 3
PROBES = 100
PROBE_TABLE = "__leak_probes"
KNOWN_TABLE = "__leak_known"
Findings = tuple[list["Finding"], list[str]]


@dataclass(frozen=True)
class Finding:
    """The feature, why, whether that is a proof, and the numbers."""

    view: str
    feature: str
    reason: str
    certain: bool
    message: str
    evidence: dict[str, Any]


@dataclass(frozen=True)
class Probing:
    """What is examined, and what of it is known from the queries' text."""

    connection: duckdb.DuckDBPyConnection
    feature_set: FeatureSet
    rows_sql: str
    label: str
    prediction_time: str | None
    label_time: str | None
    outcomes: tuple[str, ...]
    _columns: dict[str, Mapping[str, str]] = field(default_factory=dict)

    @cached_property
    def label_columns(self) -> tuple[str, ...]:
        """The population's columns that the label reads."""
        return references(self.label, "[training] label")

    @cached_property
    def table(self) -> str | None:
        """The one base table that the label is made from."""
        tables = {found.table if found else None for found in map(self._in_population, self.label_columns)}
        return tables.pop() if len(tables) == 1 else None

    @cached_property
    def hidden(self) -> tuple[str, ...]:
        """The columns of the label's base table that hold the outcome; empty when they cannot be told.

        A column that also makes the prediction time is known by then.
        """
        if self.table is None:
            return ()
        return tuple(sorted((self._made & set(self.outcomes) or self._made) | set(self.outcomes)))

    @cached_property
    def certain(self) -> bool:
        """Whether the hidden columns are outcomes for sure: of several that make a label, some may be known before."""
        return len(self._made) <= 1 or bool(self._made & set(self.outcomes))

    @cached_property
    def _made(self) -> set[str]:
        """The columns of the label's base table that make the label, without those that make the prediction time."""
        origins = map(self._in_population, self.label_columns)
        made = {name for found in origins if found for table, name in found.columns if table == self.table}
        asked = self._in_population(self.prediction_time) if self.prediction_time else None
        return made - {name for table, name in (asked.columns if asked else ()) if table == self.table}

    def tells(self, column: str) -> set[str]:
        """What a column of the population knows of the outcome: columns of base tables, or of the population."""
        source = self._in_population(column)
        found = {name for table, name in source.columns if table == self.table} if source else set()
        unknown = column == self.label_time or (column in self.label_columns and (source is None or not source.table))
        return found & set(self.hidden) or ({column} if unknown else set())

    @cached_property
    def marks(self) -> dict[str, str]:
        """The population's columns that are columns of the label's table as they are, outcomes aside."""
        found = {name: self._in_population(name) for name in describe(self.connection, self.rows_sql, "[training]")}
        return {
            name: column
            for name, source in found.items()
            if source and source.plain and source.table == self.table
            for _, column in source.columns
            if column not in self.hidden
        }

    def without_outcomes(self, cut: int) -> str | None:
        """A query for the label's table in which outcomes that were not known at a cut (µs) are null, or None.

        When the time at which an outcome becomes known is not made from this table alone, its rows are found again by
        the columns that the population passes on, in `settled` as `KNOWN_TABLE`; rows that cannot be told from known
        ones are left as they are.
        """
        known = self._in_population(self.label_time) if self.label_time else None
        if not self.hidden or self.label_time is None:
            return None
        if known is not None and known.table == self.table:
            return f"SELECT * REPLACE ({self._nulls(f'epoch_us({known.sql}) > {cut}')}) FROM {self.table}"
        if not self.marks:
            return None
        same = " AND ".join(
            f"t.{quoted(column)} IS NOT DISTINCT FROM h.{quoted(name)}" for name, column in self.marks.items()
        )
        return (
            f"SELECT t.* REPLACE ({self._nulls('h.__known IS NOT NULL')}) FROM {self.table} t "
            f"LEFT JOIN (SELECT * FROM {KNOWN_TABLE} WHERE __known > {cut}) h ON {same}"
        )

    def settled(self) -> pa.Table:
        """When each row that the population passes on became known: its columns, and `__known` (µs)."""
        names = "".join(f"{quoted(name)}, " for name in self.marks)
        known = f"min(epoch_us({quoted(self.label_time or '')})) AS __known"
        return self.connection.sql(f"SELECT {names}{known} FROM (\n{self.rows_sql}\n) GROUP BY ALL").to_arrow_table()

    def _nulls(self, where: str) -> str:
        return ", ".join(f"CASE WHEN {where} THEN NULL ELSE {quoted(n)} END AS {quoted(n)}" for n in self.hidden)

    def _in_population(self, column: str) -> Origin | None:
        return self.trace(self.rows_sql, column)

    @cached_property
    def cuts(self) -> list[tuple[int, pa.Table]]:
        """Prediction times (µs), evenly spread over the examples, with the examples at and just before each."""
        if self.prediction_time is None:
            return []
        at = f"epoch_us({quoted(self.prediction_time)})"
        places = [(n + 0.5) / CUTS for n in range(CUTS)]
        sql = f"SELECT quantile_disc({at}, {places}) FROM (\n{self.rows_sql}\n)"
        found = self.connection.execute(sql).fetchall()[0][0] or []
        return [
            (
                cut,
                self.connection.sql(
                    f"SELECT * FROM (\n{self.rows_sql}\n) WHERE {at} <= {cut} ORDER BY {at} DESC LIMIT {PROBES}"
                ).to_arrow_table(),
            )
            for cut in sorted(set(found))
        ]

    def trace(self, sql: str, column: str) -> Origin | None:
        """Where a column of a query comes from."""
        return origin(sql, column, self.columns_of)

    def columns_of(self, table: str) -> Mapping[str, str]:
        """The columns of a base table, as named in a query; none when it cannot be read."""
        if table not in self._columns:
            try:
                self._columns[table] = describe(self.connection, f"SELECT * FROM {table}", table)
            except InputError:
                self._columns[table] = {}
        return self._columns[table]


def request_findings(probing: Probing) -> Findings:
    """Request columns that are the outcome, or are computed from it, by their origin in the population's query."""
    feature_set, found = probing.feature_set, []
    reads: dict[str, tuple[str, ...]] = {name: (name,) for name in feature_set.features if name in feature_set.columns}
    if feature_set.request is not None:
        for name, text in feature_set.request.expressions.items():
            reads[f"{feature_set.request.name}{SEPARATOR}{name}"] = references(text, name)
    for feature, columns in reads.items():
        told = sorted({name for column in columns if "." not in column for name in probing.tells(column)})
        if told:
            view = "" if feature in feature_set.columns else feature.split(SEPARATOR)[0]
            message = f"it is made from the outcome ({', '.join(told)})"
            found.append(Finding(view, feature, "outcome", probing.certain, message, {"columns": told}))
    return found, []


def outcome_findings(probing: Probing) -> Findings:
    """Features that change when outcomes that were not known yet are hidden."""
    if probing.label_time is None or probing.prediction_time is None:
        reason = f"no {'prediction_time' if probing.label_time else 'label_time'} is given"
        return [], [f"Outcomes not known yet: {reason}, so they cannot be hidden."]
    if probing.without_outcomes(0) is None:
        reason = "the population does not say which rows of one table the label and label_time are made from"
        return [], [f"Outcomes not known yet: {reason}, so they cannot be hidden."]
    found, missed = [], []
    what = f"outcomes ({', '.join(probing.hidden)}) that were not known yet"
    try:
        settled = probing.settled()
    except duckdb.Error as error:
        return [], [f"Outcomes not known yet: {probing.label_time} is no time: {first_line(error)}"]
    with _registered(probing.connection, KNOWN_TABLE, settled):
        for view in probing.feature_set.views:
            tables = tables_of(body(view.sql))
            if not tables:
                missed.append(f"View {view.name}: its SQL is not understood, so outcomes cannot be hidden from it.")
            if str(probing.table).lower() not in {table.lower() for table in tables}:
                continue
            result, problem = _examine(probing, view, str(probing.table), probing.without_outcomes, "outcome", what)
            found += result
            missed += problem
    return found, missed


def future_findings(probing: Probing) -> Findings:
    """Features that change when rows are hidden that their own view dates after the example."""
    found, missed = [], []
    for view in probing.feature_set.views:
        if view.event_time is None or not _looks_around(view):
            continue
        times = [view.event_time, *([view.known_time] if view.known_time else [])]
        origins = [probing.trace(body(view.sql), name) for name in times]
        event = origins[0]
        table = event.table if event else None
        if table is None:
            missed.append(f"View {view.name}: {view.event_time} does not come from one table, so it may look ahead.")
            continue
        conditions = [f"epoch_us({o.sql})" for o in origins if o is not None and o.table == table]
        what = f"rows of {table} that the view itself dates later"
        hide = partial(_hidden_rows, table, conditions)
        result, problem = _examine(probing, view, table, hide, "future", what)
        found += result
        missed += problem
    return found, missed


def _hidden_rows(table: str, times: list[str], cut: int) -> str:
    later = " OR ".join(f"{time} > {cut}" for time in times)
    return f"SELECT * FROM {table} WHERE NOT coalesce({later}, FALSE)"


def _looks_around(view: FeatureView) -> bool:
    """Whether a query can see other rows of a table than the one it makes a row of."""
    try:
        tree = parse_one(body(view.sql), dialect="duckdb")
    except SqlglotError:
        return True
    named = [table.name.lower() for table in tree.find_all(exp.Table)]
    return len(set(named)) < len(named) or tree.find(exp.Window, exp.AggFunc, exp.SetOperation) is not None


def _examine(
    probing: Probing, view: FeatureView, table: str, hide: Callable[[int], str | None], reason: str, what: str
) -> Findings:
    """Compute a view's features at each cut as they are and with something hidden, and report what changes."""
    try:
        pairs = _compared(probing, view, table, hide)
    except (duckdb.Error, SqlglotError, InputError) as error:
        return [], [f"View {view.name}: hiding {what} failed: {first_line(error)}"]
    found = []
    for output in output_types(view):
        name = f"{view.name}{SEPARATOR}{output}"
        changed = [pair for pair in pairs if not _same(pair[0][name], pair[1][name])]
        if changed:
            example = _example(probing, view, name, *changed[0])
            shown = ", ".join(f"{key} {value}" for key, value in example["row"].items())
            message = (
                f"it is made from {what}: hiding them changes {len(changed)} of {len(pairs)} examples, such as {shown} "
                f"from {example['value']} to {example['with the future hidden']}"
            )
            evidence = {"examined": len(pairs), "changed": len(changed), "example": example}
            certain = reason != "outcome" or probing.certain
            found.append(Finding(view.name, name, reason, certain, message, evidence))
    return found, []


def _compared(
    probing: Probing, view: FeatureView, table: str, hide: Callable[[int], str | None]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The features of each example as they are, and with something hidden."""
    sql = body(view.sql)
    examples = [rows for _, rows in probing.cuts]
    plain = with_table(sql, table, f"SELECT * FROM {table}")
    before = _features(probing, view, plain, pa.concat_tables(examples)) if examples else []
    after = [
        row
        for cut, rows in probing.cuts
        for row in _features(probing, view, with_table(sql, table, str(hide(cut))), rows)
    ]
    return list(zip(before, after, strict=True))


def _features(probing: Probing, view: FeatureView, sql: str, examples: pa.Table) -> list[dict[str, Any]]:
    feature_set = probing.feature_set
    entity = feature_set.entity(view)
    keys = ", ".join(map(quoted, entity.keys))
    narrowed = f"SELECT v.* FROM (\n{sql}\n) v SEMI JOIN {PROBE_TABLE} USING ({keys})"
    if view.event_time is not None:
        event, at = (f"epoch_us({quoted(name)})" for name in (view.event_time, feature_set.prediction_time))
        narrowed += f" WHERE {event} <= (SELECT max({at}) FROM {PROBE_TABLE})"
        if view.windows:
            # Whole buckets, or running aggregates would begin in the middle of one.
            narrowed += f" AND {event} > (SELECT min({at}) FROM {PROBE_TABLE}) - {3 * bucket_length(view)}"
    types = {f"{view.name}{SEPARATOR}{field}": known for field, known in output_types(view).items()}
    alone = msgspec.structs.replace(
        feature_set,
        entities=(entity,),
        views=(msgspec.structs.replace(view, sql=narrowed),),
        request=None,
        features=tuple(types),
        types=types,
    )
    with _registered(probing.connection, PROBE_TABLE, examples):
        rows = training_rows(probing.connection, alone, f"SELECT * FROM {PROBE_TABLE}").to_arrow_table()
    found: list[dict[str, Any]] = rows.to_pylist()
    return found


@contextmanager
def _registered(connection: duckdb.DuckDBPyConnection, name: str, table: pa.Table) -> Iterator[None]:
    connection.register(name, table)
    try:
        yield
    finally:
        connection.unregister(name)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        # Sums in another order differ in their last bits.
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


def _example(
    probing: Probing, view: FeatureView, name: str, before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, Any]:
    keys = probing.feature_set.entity(view).keys
    row = {key: str(before[key]) for key in (*keys, probing.feature_set.prediction_time) if key}
    return {"row": row, "value": str(before[name]), "with the future hidden": str(after[name])}
