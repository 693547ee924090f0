"""Binding definitions to tables: from views and a population to a feature set with types."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import msgspec

from bascule.errors import InputError, suggestion
from bascule.features.aggregates import result_type
from bascule.features.columns import describe, feature_type, same_name
from bascule.features.definitions import SEPARATOR, Entity, FeatureSet, FeatureView, RequestView, entity_of
from bascule.features.expressions import Input, compile_expression, references


def build_feature_set(
    connection: duckdb.DuckDBPyConnection,
    *,
    name: str,
    entities: tuple[Entity, ...],
    views: tuple[FeatureView, ...],
    request: RequestView | None,
    population: str,
    request_columns: Sequence[str] = (),
    prediction_time: str | None = None,
) -> FeatureSet:
    """Bind views to the columns that their SQL gives, and say what a request must bring.

    Args:
        connection: sees the tables that the SQL reads.
        population: a query with one row for each example.
        request_columns: columns of the population that are features themselves.
        prediction_time: the population's column with the moment as of which features are read.

    Raises:
        InputError: SQL that cannot be bound, a column that is missing or cannot be a feature; names view and column.
    """
    spine = describe(connection, population, "[training] population")
    bound = tuple(bind(connection, view, entity_of(view, entities)) for view in views)
    if prediction_time is None and any(view.event_time for view in bound):
        raise InputError(
            "The views have event times, but no prediction time says as of when they are read.",
            hint='Name the column: [training] prediction_time = "…".',
        )
    types = {f"{view.name}{SEPARATOR}{field}": _output_type(view, field) for view in bound for field in view.outputs}
    columns: dict[str, str] = {}
    used = [entity_of(view, entities) for view in bound]
    for column in [
        *(key for entity in used for key in entity.keys),
        *request_columns,
        *([prediction_time] if prediction_time else []),
    ]:
        columns.setdefault(column, _population_type(spine, column))
    inputs = {
        f"{view.name}.{field}": types[f"{view.name}{SEPARATOR}{field}"] for view in bound for field in view.outputs
    }
    if request is not None:
        for label, text in request.expressions.items():
            where = f"[features.{request.name}] expressions.{label}"
            for read in references(text, where):
                if same_name(read, inputs) is None and "." not in read:
                    columns.setdefault(read, _population_type(spine, read))
            known = {n: Input(t, 0, "NULL") for n, t in {**columns, **inputs}.items()}
            types[f"{request.name}{SEPARATOR}{label}"] = compile_expression(text, known, where).type
    types |= {column: columns[column] for column in request_columns}
    return FeatureSet(
        name=name,
        entities=tuple({entity.name: entity for entity in used}.values()),
        views=bound,
        request=request,
        columns=columns,
        features=tuple(types),
        types=types,
        prediction_time=prediction_time or "",
    )


def bind(connection: duckdb.DuckDBPyConnection, view: FeatureView, entity: Entity) -> FeatureView:
    """Return a view with its fields and types filled in from what its SQL gives."""
    where = f"[features.{view.name}]"
    found = describe(connection, view.sql, f"{where} sql")
    times = [column for column in (view.event_time, view.known_time) if column]
    needed = [*entity.keys, *times, *view.fields, *(a.column for a in view.parsed.values() if a.column)]
    types = {}
    for column in needed:
        actual = same_name(column, found)
        if actual is None:
            raise InputError(
                f"{where}: its SQL gives no column {column!r}.", hint=suggestion(column, list(found), "column")
            )
        types[column] = _usable(found[actual], column, where)
    fields = view.fields
    if not view.windows and not fields:
        taken = {column.lower() for column in (*entity.keys, *times)}
        fields = tuple(column for column in found if column.lower() not in taken and feature_type(found[column]))
        types |= {column: _usable(found[column], column, where) for column in fields}
    return msgspec.structs.replace(view, fields=fields, types=types)


def _usable(kind: str, column: str, where: str) -> str:
    usable = feature_type(kind)
    if usable is None:
        raise InputError(
            f"{where}: column {column!r} is {kind}, which cannot be a feature.", hint="Cast it in the SQL."
        )
    return usable


def _output_type(view: FeatureView, field: str) -> str:
    if not view.windows:
        return view.types[field]
    for name, aggregate in view.parsed.items():
        if field in {f"{name}_{window}" for window in view.windows}:
            return result_type(aggregate, view.types.get(aggregate.column or ""))
    raise KeyError(field)


def _population_type(spine: dict[str, str], column: str) -> str:
    actual = same_name(column, spine)
    if actual is None:
        raise InputError(f"The population gives no column {column!r}.", hint=suggestion(column, list(spine), "column"))
    return _usable(spine[actual], column, "[training] population")
