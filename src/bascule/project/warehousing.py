"""`features sql`: the query of a training set, in the words of another engine, over that engine's own tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.features.columns import describe, quoted
from bascule.features.portable import training_plan, written
from bascule.project.gathering import (
    bound_features,
    chosen_features,
    entity_rows_of,
    moment_of,
    state_of,
    tables_of,
    time_of,
)
from bascule.project.place import Place
from bascule.project.tables import opened_for
from bascule.project.untyped import typed_rows

NOT_EQUAL = (
    "sums, means and variances of doubles may differ in their last digits",
    "approx_distinct of doubles is another estimate beyond 1,024 values, and approx_percentile may be one step off",
)


class FeatureSql(msgspec.Struct, frozen=True, kw_only=True):
    """The query of a training set for one engine.

    Attributes:
        dialect: the engine.
        sql: one SELECT: a row for each entity row, in any order.
        columns: what it gives, in order.
        tables: the tables that it reads, as the engine has them.
        notes: what its reader should know, one sentence each.
    """

    dialect: str
    sql: str
    columns: tuple[str, ...]
    tables: tuple[str, ...]
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return dict(msgspec.to_builtins(self))


def features_sql(
    place: Place,
    rows: str,
    features: Sequence[str] = (),
    *,
    dialect: str,
    prediction_time: str | None = None,
    known_at: str | datetime | None = None,
    schema: str = "",
) -> FeatureSql:
    """Write the query of a training set for another engine; `OpenProject` says more.

    Raises:
        InputError, NotFound: something cannot be used, is not there, or has no words in that engine.
    """
    project, moment = place.file, moment_of(known_at)
    entity_rows = entity_rows_of(place, rows)
    if entity_rows.given is not None:
        message = f"{rows} is a file of this machine, which no other engine sees."
        raise InputError(message, hint="Give a SELECT, or the name of a table.")
    commit, _ = state_of(place, None, None)
    chosen = chosen_features(project, features)
    read = sorted(entity_rows.tables | {table for one in chosen for table in tables_of(project, one)})
    with opened_for(project, place.workspace, commit, read) as connection:
        own = typed_rows(project, connection, entity_rows.sql, chosen, prediction_time)
        columns = describe(connection, own, "The entity rows")
        time = time_of(project, columns, prediction_time)
        bound = bound_features(project, connection, own, time, chosen, "", moment)
        known = {name: describe(connection, f"SELECT * FROM {_quoted(name)}", f"Table {name}") for name in read}
    plan = training_plan(bound, own, columns)
    names = {name: f"{schema}.{name}" if schema else name for name in read}
    sql, trusted = written(plan, dialect, known.get, names.__getitem__)
    notes = [] if dialect == "duckdb" else list(NOT_EQUAL)
    if trusted:
        notes.append(f"{', '.join(trusted)}: written as they are; look whether {dialect} has them and means the same")
    if dialect in ("spark", "databricks", "snowflake"):
        notes.append("the session's time zone must be UTC")
    return FeatureSql(dialect=dialect, sql=sql, columns=plan.outputs, tables=tuple(names.values()), notes=tuple(notes))


def _quoted(name: str) -> str:
    return ".".join(quoted(part) for part in name.rsplit(".", 1))
