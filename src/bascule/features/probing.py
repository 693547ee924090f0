"""Proves that a feature knows the future: hides what was not known yet, computes again, and compares.

A cut is a prediction time. What became known after it is hidden from a view's query (the base table is replaced in its
text), and the features of the examples just before the cut are computed as they are and with the future hidden. Nothing
that was known by then is touched, so a value that differs was made from the future.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

CUTS = 4
PROBES = 100
PROBE_TABLE = "__leak_probes"
Findings = tuple[list["Finding"], list[str]]


@dataclass(frozen=True)
class Finding:
    """A proof: the feature, why, and the numbers."""

    view: str
    feature: str
    reason: str
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

    @cached_property
    def label_columns(self) -> tuple[str, ...]:
        """The population's columns that the label reads."""
        return references(self.label, "[training] label")

    @cached_property
    def known(self) -> Origin | None:
        """When a row's outcome becomes known, over the label's base table."""
        return self.trace(self.rows_sql, self.label_time) if self.label_time else None

    @cached_property
    def hidden(self) -> tuple[str, ...]:
        """The columns of the label's base table that hold the outcome; empty when they cannot be told."""
        origins = [self.trace(self.rows_sql, column) for column in self.label_columns]
        if self.known is None or not all(found and found.table == self.known.table for found in origins):
            return ()
        return tuple(sorted({*self.outcomes, *(name for found in origins if found for name in found.columns)}))

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
        try:
            return describe(self.connection, f"SELECT * FROM {table}", table)
        except InputError:
            return {}


def request_findings(probing: Probing) -> Findings:
    """Request columns that are the outcome, or are computed from it, by their origin in the population's query."""
    found = []
    known = probing.known
    for feature in probing.feature_set.features:
        if feature not in probing.feature_set.columns:
            continue
        source = probing.trace(probing.rows_sql, feature)
        shared = (
            set(source.columns) & set(probing.hidden) if source and known and source.table == known.table else set()
        )
        if feature in probing.label_columns or shared:
            columns = sorted(shared) or [feature]
            message = f"The request column {feature} is made from the outcome ({', '.join(columns)})."
            found.append(Finding("", feature, "outcome", message, {"columns": columns}))
    return found, []


def outcome_findings(probing: Probing) -> Findings:
    """Features that change when outcomes that were not known yet are hidden."""
    known, hidden = probing.known, probing.hidden
    if known is None or not hidden or probing.prediction_time is None:
        reason = "label and label_time do not come from one table"
        if not probing.label_time or not probing.prediction_time:
            reason = f"no {'prediction_time' if probing.label_time else 'label_time'} is given"
        return [], [f"Outcomes not known yet: {reason}, so they cannot be hidden."]
    found, missed = [], []
    for view in probing.feature_set.views:
        tables = tables_of(body(view.sql))
        if not tables:
            missed.append(f"View {view.name}: its SQL is not understood, so outcomes cannot be hidden from it.")
        if known.table not in tables:
            continue

        what = f"outcomes ({', '.join(hidden)}) that were not known yet"
        hide = partial(_hidden_outcomes, known, hidden)
        result, problem = _examine(probing, view, known.table, hide, "outcome", what)
        found += result
        missed += problem
    return found, missed


def _hidden_outcomes(known: Origin, hidden: tuple[str, ...], cut: int) -> str:
    parts = ", ".join(
        f"CASE WHEN epoch_us({known.sql}) > {cut} THEN NULL ELSE {quoted(name)} END AS {quoted(name)}"
        for name in hidden
    )
    return f"SELECT * REPLACE ({parts}) FROM {known.table}"


def future_findings(probing: Probing) -> Findings:
    """Features that change when rows are hidden that their own view dates after the example."""
    found, missed = [], []
    for view in probing.feature_set.views:
        if view.event_time is None or not _looks_around(view):
            continue
        times = [view.event_time, *([view.known_time] if view.known_time else [])]
        origins = [probing.trace(body(view.sql), name) for name in times]
        event = origins[0]
        if event is None:
            missed.append(f"View {view.name}: {view.event_time} does not come from one table, so it may look ahead.")
            continue
        table = event.table
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
    """Whether a query can see other rows than the one it makes a row of."""
    try:
        tree = parse_one(body(view.sql), dialect="duckdb")
    except SqlglotError:
        return True
    return tree.find(exp.Window, exp.AggFunc, exp.Join, exp.Subquery, exp.With, exp.SetOperation) is not None


def _examine(
    probing: Probing, view: FeatureView, table: str, hide: Callable[[int], str], reason: str, what: str
) -> Findings:
    """Compute a view's features at each cut as they are and with something hidden, and report what changes."""
    changed: dict[str, dict[str, Any]] = {}
    examined = 0
    for cut, examples in probing.cuts:
        try:
            plain, hidden = (
                _features(probing, view, with_table(body(view.sql), table, shown), examples)
                for shown in (f"SELECT * FROM {table}", hide(cut))
            )
        except (duckdb.Error, SqlglotError, InputError) as error:
            return [], [f"View {view.name}: hiding {what} failed: {first_line(error)}"]
        examined += len(plain)
        for before, after in zip(plain, hidden, strict=True):
            for field in output_types(view):
                name = f"{view.name}{SEPARATOR}{field}"
                if not _same(before[name], after[name]):
                    example = _example(probing, view, before, after, name)
                    changed.setdefault(name, {"changed": 0, "example": example})["changed"] += 1
    return [
        Finding(
            view.name,
            name,
            reason,
            f"{name} is made from {what}: hiding them changes {entry['changed']} of {examined} examples.",
            {"examined": examined, **entry},
        )
        for name, entry in changed.items()
    ], []


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
    probing.connection.register(PROBE_TABLE, examples)
    try:
        rows: list[dict[str, Any]] = (
            training_rows(probing.connection, alone, f"SELECT * FROM {PROBE_TABLE}").to_arrow_table().to_pylist()
        )
        return rows
    finally:
        probing.connection.unregister(PROBE_TABLE)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        # Sums in another order differ in their last bits.
        return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) or (math.isnan(a) and math.isnan(b))
    return bool(a == b)


def _example(
    probing: Probing, view: FeatureView, before: Mapping[str, Any], after: Mapping[str, Any], name: str
) -> dict[str, Any]:
    keys = probing.feature_set.entity(view).keys
    row = {key: str(before[key]) for key in (*keys, probing.feature_set.prediction_time) if key}
    return {"row": row, "value": str(before[name]), "with the future hidden": str(after[name])}
