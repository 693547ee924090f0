"""Training rows: the features of each example as they were known at its prediction time.

The one law: a row counts at t only if it was known at t. One SQL query does it, one common table expression a view,
each an ASOF JOIN, or it is joined in memory; the tests hold both to a double loop in plain Python.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import duckdb
import msgspec

from bascule.errors import InputError, suggestion
from bascule.features.binding import compile_request, output_types
from bascule.features.cells import cell_lengths, example_count, near_sql
from bascule.features.columns import body, cast, describe, family, feature_type, microseconds, quoted, since
from bascule.features.definitions import SEPARATOR, Entity, FeatureSet, FeatureView
from bascule.features.latest import latest_rows
from bascule.features.pairs import few_pairs
from bascule.features.timelines import timeline_sql
from bascule.features.windows import window_sql

SPINE, FOUND = "__spine", "__found"
NO_CELLS: Mapping[str, int] = {}
CHAINED_FIELDS = 32
CHAINED_EXAMPLES = 200_000


def training_rows(
    connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, spine_sql: str
) -> duckdb.DuckDBPyRelation:
    """Join features to examples, each as of its prediction time.

    Args:
        spine_sql: one SELECT with a row per example; it gives at least `feature_set.columns`.

    Returns:
        A relation that streams (`.to_arrow_reader()`); views of rows that fit in memory (`latest.py`) have been joined,
        the others not yet. Exactly one row for each row of the spine, in its order: the spine's columns, then the
        features, in the order and with the types of `feature_set`. A feature without a row that counts is NULL (counts
        are 0); rows of other keys, rows from the future and the order of the rows never change it.

    Raises:
        InputError: the SQL cannot be bound, or a column is missing or of another type than the set was bound to.
    """
    columns = describe(connection, spine_sql, "The examples")
    check_spine(feature_set, columns)
    # DuckDB joins row by row where it expects few examples, and it cannot tell how many a query gives.
    connection.execute("SET asof_loop_join_threshold = 0")
    asked = example_count(connection, spine_sql)
    windows = tuple(view for view in feature_set.views if view.windows)
    found = latest_rows(connection, _of_rows(feature_set), spine_sql, columns, asked)
    if found is not None and not windows:
        return found.project(", ".join(output_columns(feature_set, columns)))
    few = few_pairs(connection, feature_set, spine_sql, asked)
    if found is not None:  # the windows are joined to what was found, which has the examples' columns
        sql = training_sql(feature_set, f"SELECT * EXCLUDE (__row, __at) FROM {FOUND}", columns, few=few, views=windows)
        joined = found.query(FOUND, sql)
        assert joined is not None  # of a SELECT it never is
        return joined
    cells = cell_lengths(connection, feature_set, asked)
    chain = asked is not None and asked <= CHAINED_EXAMPLES
    return connection.sql(training_sql(feature_set, spine_sql, columns, cells, chain, few))


def _of_rows(feature_set: FeatureSet) -> FeatureSet:
    """The set with its views of rows alone."""
    views = tuple(view for view in feature_set.views if not view.windows)
    about = {view.entity for view in views}
    entities = tuple(entity for entity in feature_set.entities if entity.name in about)
    return msgspec.structs.replace(feature_set, views=views, entities=entities)


def check_spine(feature_set: FeatureSet, columns: Mapping[str, str]) -> None:
    """Raise `InputError` unless examples bring what the set needs."""
    for column, wanted in feature_set.columns.items():
        if column not in columns:
            raise InputError(
                f"The examples have no column {column!r}, which feature set {feature_set.name!r} needs.",
                hint=suggestion(column, list(columns), "column"),
            )
        found, bound = feature_type(columns[column]), feature_type(wanted)
        if found is None or bound is None or family(found) != family(bound):
            raise InputError(
                f"Column {column!r} of the examples is {columns[column]}; {feature_set.name!r} was bound to {wanted}.",
                hint=f"CAST({column} AS {wanted}) in the SQL.",
            )
    for column in columns:
        taken = column in feature_set.types and column not in feature_set.columns
        if column.startswith(SEPARATOR) or taken:
            raise InputError(f"The examples have a column {column!r}, a name that is taken.", hint="Rename it with AS.")


def training_sql(
    feature_set: FeatureSet,
    spine_sql: str,
    columns: Mapping[str, str],
    cells: Mapping[str, int] = NO_CELLS,
    chain: bool = False,
    few: Collection[str] = (),
    views: Sequence[FeatureView] | None = None,
) -> str:
    """The query of `training_rows`, for examples with these columns and DuckDB types.

    Args:
        cells: see `cell_lengths`.
        chain: whether views may be joined one after another, which suits few examples.
        few: see `few_pairs`.
        views: those to join, where the query of the examples has the others' features; None: all.
    """
    at = "CAST(NULL AS BIGINT)"
    if feature_set.prediction_time:
        at = microseconds(quoted(feature_set.prediction_time), columns[feature_set.prediction_time])
    numbered = f"SELECT row_number() OVER () - 1 AS __row, *, {at} AS __at FROM (\n{body(spine_sql)}\n)"
    steps = [f"{SPINE} AS MATERIALIZED ({numbered})"]
    views = feature_set.views if views is None else views
    chained = _chained(views, cells) if chain else []
    asof, fields = [f"{SPINE} s"], ["s.*"]
    sources = ["__asof"]
    for place, view in enumerate(views):
        entity = feature_set.entity(view)
        if view in chained:
            asof.append(_joined(view, entity, f"v{place}"))
            fields += _fields(view, f"v{place}")
        else:
            steps.append(f"__view{place} AS ({view_sql(view, entity, cells.get(view.name), view.name in few)})")
            sources.append(f"JOIN __view{place} USING (__row)")
    steps.append(f"__asof AS (SELECT {', '.join(fields)} FROM {' '.join(asof)})")
    steps.append(f"__joined AS (SELECT * FROM {' '.join(sources)})")
    return (
        "WITH " + ",\n".join(steps) + f"\nSELECT {', '.join(output_columns(feature_set, columns))}"
        "\nFROM __joined ORDER BY __row"
    )


def _chained(views: Sequence[FeatureView], cells: Mapping[str, int]) -> list[FeatureView]:
    """The views joined one after another, without putting the examples together again: some, as each sorts them all."""
    found = [view for view in views if not view.windows and view.name not in cells]
    return found if sum(len(view.fields) for view in found) <= CHAINED_FIELDS else []


def view_sql(view: FeatureView, entity: Entity, cell: int | None = None, few: bool = False) -> str:
    """SQL of one view's features over `__spine`: `__row` and `view__field` for each output."""
    if view.windows:
        names = ", ".join(f"{quoted(field)} AS {_feature(view, field)}" for field in output_types(view))
        return f"SELECT __row, {names} FROM {window_sql(view, entity, SPINE, few)}"
    if cell is not None:
        return f"SELECT __row, {', '.join(_fields(view, 's'))} FROM {near_sql(view, entity, SPINE, cell)} s"
    return f"SELECT s.__row, {', '.join(_fields(view, 'v'))} FROM {SPINE} s {_joined(view, entity, 'v')}"


def _joined(view: FeatureView, entity: Entity, alias: str) -> str:
    same = " AND ".join(f"s.{quoted(key)} = {alias}.{quoted(key)}" for key in entity.keys)
    if view.event_time is None:
        return f"LEFT JOIN {timeline_sql(view, entity)} {alias} ON {same}"
    return f"ASOF LEFT JOIN {timeline_sql(view, entity)} {alias} ON {same} AND s.__at >= {alias}.__from"


def _fields(view: FeatureView, alias: str) -> list[str]:
    return [f"{_held(view, field, alias)} AS {_feature(view, field)}" for field in view.fields]


def _held(view: FeatureView, field: str, alias: str) -> str:
    # The time to live masks after the join: an older row never stands in for one that has run out.
    if view.ttl_us is None:
        return f"{alias}.{quoted(field)}"
    return f"CASE WHEN {alias}.__event >= {since('s.__at', view.ttl_us)} THEN {alias}.{quoted(field)} END"


def _feature(view: FeatureView, field: str) -> str:
    return quoted(f"{view.name}{SEPARATOR}{field}")


def output_columns(feature_set: FeatureSet, columns: Mapping[str, str]) -> list[str]:
    """SQL of what joined examples and views give: the examples' columns, then the features, each AS its name."""
    compiled = compile_request(feature_set)
    outputs = []
    for column, column_type in columns.items():
        wanted = feature_set.types.get(column, column_type)
        outputs.append(
            quoted(column)
            if wanted == column_type
            else f"{cast(column, column_type, wanted, 'The examples')} AS {quoted(column)}"
        )
    for feature in feature_set.features:
        if feature in compiled:
            outputs.append(f"{compiled[feature].sql} AS {quoted(feature)}")
        elif feature not in columns:
            outputs.append(quoted(feature))
    return outputs
