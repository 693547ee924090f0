"""Binds definitions to data: which columns the queries give, of which types, and whether everything fits together.

All that can be wrong with a feature set is found here, before a row is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from bascule.errors import InputError, suggestion
from bascule.features.aggregates import OF_ANYTHING, result_type, value_columns
from bascule.features.columns import (
    FLOATS,
    INTEGERS,
    body,
    cast,
    describe,
    family,
    feature_type,
    is_wide,
    quoted,
)
from bascule.features.definitions import (
    SEPARATOR,
    Entity,
    FeatureSet,
    FeatureView,
    RequestView,
    entity_of,
    named,
)
from bascule.features.expressions import Expression, Input, compile_expression, references

if TYPE_CHECKING:
    import duckdb


def build_feature_set(
    connection: duckdb.DuckDBPyConnection,
    *,
    name: str,
    entities: Sequence[Entity],
    views: Sequence[FeatureView],
    population: str,
    prediction_time: str | None = None,
    features: Sequence[str] | None = None,
    request: RequestView | None = None,
    request_columns: Sequence[str] = (),
) -> FeatureSet:
    """Choose features and bind them to tables: exactly the views that are needed, with fields and types filled in.

    Args:
        population: one SELECT with a row per example: keys, request columns and the prediction time. It is not run.
        prediction_time: the population's column that says as of when features are read; needed by event times.
        features: views (all fields), `view.field`, the request view or `request.expression`, in order; None: all.
        request_columns: columns of the population that are features themselves; they come last.

    Raises:
        InputError: an unknown view, column or function; a key that is missing or of another type; SQL that fails.
    """
    columns = _population_columns(connection, population, prediction_time)
    chosen = _choose(features, views, request)
    bound = _bind_needed(connection, chosen, tuple(views), tuple(entities), request)
    about = [entity_of(view, tuple(entities)) for view in bound]
    _check_fit(bound, about, columns, prediction_time)
    compiled = _compile_chosen(chosen, request, columns, bound)
    types, used = _outputs(chosen, bound, compiled, request_columns, columns)
    used |= {prediction_time or "", *(key for entity in about for key in entity.keys)}
    return FeatureSet(
        name=name,
        entities=tuple(entity for entity in entities if entity in about),
        views=bound,
        request=_reduced(request, compiled),
        columns={column: columns[column] for column in columns if column in used},
        features=tuple(types),
        types=types,
        prediction_time=prediction_time or "",
    )


def bind_view(connection: duckdb.DuckDBPyConnection, view: FeatureView, entity: Entity) -> FeatureView:
    """Fill in a view's fields and types from its query.

    Raises:
        InputError: a column that is missing, reserved, or of a type that cannot be used; the view and key are named.
    """
    where = f"[features.{view.name}]"
    columns = describe(connection, view.sql, f"{where} sql")
    for column in columns:
        if column.startswith(SEPARATOR):
            raise InputError(f"{where} sql: the column name {column!r} is reserved.", hint="Rename it with AS.")
    for key in entity.keys:
        _need(key, columns, f"{where} sql", f"key of entity {entity.name!r}")
    times = [column for column in (view.event_time, view.known_time) if column is not None]
    for key, time in (("event_time", view.event_time), ("known_time", view.known_time)):
        if time is not None:
            _need_time(time, columns, f"{where} {key}")
    if view.windows:
        fields: tuple[str, ...] = ()
        used = value_columns(view.parsed.values())
        _check_aggregates(view, columns, where)
    else:
        used = fields = view.fields or tuple(c for c in columns if c not in (*entity.keys, *times))
        if not fields:
            raise InputError(
                f"{where} sql: there is no column beside keys and times.", hint="Select what is a feature."
            )
    types = {column: _typed(column, columns, where) for column in (*entity.keys, *times, *used)}
    return msgspec.structs.replace(view, fields=fields, types=types, sql=_exact(view.sql, columns, types, where))


def _exact(sql: str, columns: Mapping[str, str], types: Mapping[str, str], where: str) -> str:
    """The query, with columns of more digits than a feature has looked at value by value."""
    wide = [column for column in types if is_wide(columns[column])]
    if not wide:
        return sql
    replaced = ", ".join(f"{cast(name, columns[name], types[name], where)} AS {quoted(name)}" for name in wide)
    return f"SELECT * REPLACE ({replaced}) FROM (\n{body(sql)}\n)"


def expression_inputs(columns: Mapping[str, str], views: Sequence[FeatureView]) -> dict[str, Input]:
    """What expressions may read: request columns by name, then `view.field`; slots in that order.

    Columns of types that features cannot have are left out.
    """
    inputs: dict[str, Input] = {}
    for column, column_type in columns.items():
        known = feature_type(column_type)
        if known is not None:
            inputs[column] = Input(known, len(inputs), cast(column, column_type, known, "The examples"))
    for view in views:
        for field, field_type in output_types(view).items():
            inputs[f"{view.name}.{field}"] = Input(field_type, len(inputs), quoted(f"{view.name}{SEPARATOR}{field}"))
    return inputs


def compile_request(feature_set: FeatureSet) -> dict[str, Expression]:
    """The compiled expressions of a set, by feature name (`request__hour`)."""
    if feature_set.request is None:
        return {}
    inputs = expression_inputs(feature_set.columns, feature_set.views)
    request = feature_set.request
    return {
        f"{request.name}{SEPARATOR}{name}": compile_expression(text, inputs, _where(request, name))
        for name, text in request.expressions.items()
    }


def output_types(view: FeatureView) -> dict[str, str]:
    """A bound view's outputs and their types, without the view's name."""
    if not view.windows:
        return {field: view.types[field] for field in view.fields}
    return {
        output: result_type(aggregate, view.types.get(aggregate.column or ""))
        for name, aggregate in view.parsed.items()
        for window in view.windows
        for output in aggregate.outputs(name, window)
    }


def _population_columns(
    connection: duckdb.DuckDBPyConnection, population: str, prediction_time: str | None
) -> dict[str, str]:
    columns = describe(connection, population, "[training] population")
    if prediction_time is not None:
        _need_time(prediction_time, columns, "[training] prediction_time")
    for column in columns:
        if column.startswith(SEPARATOR):
            message = f"[training] population: the column name {column!r} is reserved."
            raise InputError(message, hint="Rename it with AS.")
    return columns


def _choose(
    features: Sequence[str] | None, views: Sequence[FeatureView], request: RequestView | None
) -> list[tuple[str, str | None]]:
    """`view`, `view.field` → (view, field or None), checked for existence of the view."""
    known = [view.name for view in views] + ([request.name] if request else [])
    chosen = []
    for item in known if features is None else features:
        name, _, field = item.partition(".")
        if name not in known:
            raise InputError(
                f"[training] features: there is no feature view named {name!r}.",
                hint=suggestion(name, known, "feature view"),
            )
        chosen.append((name, field or None))
    return chosen


def _bind_needed(
    connection: duckdb.DuckDBPyConnection,
    chosen: list[tuple[str, str | None]],
    views: tuple[FeatureView, ...],
    entities: tuple[Entity, ...],
    request: RequestView | None,
) -> tuple[FeatureView, ...]:
    needed = {name for name, _ in chosen}
    if request is not None and request.name in needed:
        selected = {field for name, field in chosen if name == request.name}
        for name, text in request.expressions.items():
            if None in selected or name in selected:
                needed |= {r.split(".")[0] for r in references(text, _where(request, name)) if "." in r}
    return tuple(bind_view(connection, view, entity_of(view, entities)) for view in views if view.name in needed)


def _compile_chosen(
    chosen: list[tuple[str, str | None]],
    request: RequestView | None,
    columns: Mapping[str, str],
    views: tuple[FeatureView, ...],
) -> dict[str, Expression]:
    if request is None:
        return {}
    names: list[str] = []
    for view, field in chosen:
        if view == request.name:
            names.extend([field] if field else request.expressions)
    inputs = expression_inputs(columns, views)
    compiled = {}
    for name in names:
        if name not in request.expressions:
            raise InputError(
                f"[training] features: {request.name!r} has no expression named {name!r}.",
                hint=suggestion(name, list(request.expressions), "expression"),
            )
        compiled[name] = compile_expression(request.expressions[name], inputs, _where(request, name))
    return compiled


def _reduced(request: RequestView | None, compiled: Mapping[str, Expression]) -> RequestView | None:
    if request is None or not compiled:
        return None
    return RequestView(request.name, {name: request.expressions[name] for name in compiled})


def _outputs(
    chosen: list[tuple[str, str | None]],
    views: tuple[FeatureView, ...],
    compiled: Mapping[str, Expression],
    request_columns: Sequence[str],
    columns: Mapping[str, str],
) -> tuple[dict[str, str], set[str]]:
    """Feature to type, in order, and the population's columns that they read."""
    known = {view.name for view in views}
    types: dict[str, str] = {}
    used = {name for expression in compiled.values() for name in expression.names if name in columns}
    for name, field in chosen:
        if name in known:
            given = output_types(named(name, views, "feature view"))
        else:
            given = {n: expression.type for n, expression in compiled.items()}
        if field is not None and field not in given:
            raise InputError(
                f"[training] features: {name!r} has no field named {field!r}.",
                hint=suggestion(field, list(given), "field"),
            )
        types.update({f"{name}{SEPARATOR}{f}": t for f, t in given.items() if field in (None, f)})
    for column in request_columns:
        _need(column, columns, "[training] population", "request column")
        types[column] = _typed(column, columns, "[training] request")
        used.add(column)
    return types, used


def _check_fit(
    views: Sequence[FeatureView], about: Sequence[Entity], columns: Mapping[str, str], prediction_time: str | None
) -> None:
    """Whether the population has each view's keys, in their types, and a time where a view has one."""
    for view, entity in zip(views, about, strict=True):
        if view.event_time is not None and prediction_time is None:
            raise InputError(
                f"[features.{view.name}] has an event time, but nothing says as of when features are read.",
                hint='Name the population\'s column: [training] prediction_time = "COLUMN".',
            )
        for key in entity.keys:
            _need(key, columns, "[training] population", f"key of feature view {view.name!r}")
            ours, theirs = view.types[key], feature_type(columns[key])
            if theirs is None or family(ours) != family(theirs):
                raise InputError(
                    f"[features.{view.name}] key {key!r} is {ours}, and {columns[key]} in the population.",
                    hint=f"Give it as the view has it: CAST({key} AS {ours}).",
                )


def _check_aggregates(view: FeatureView, columns: Mapping[str, str], where: str) -> None:
    for name, aggregate in view.parsed.items():
        if aggregate.column is None:
            continue
        _need(aggregate.column, columns, f"{where} sql", f"column of aggregates.{name}")
        known = feature_type(columns[aggregate.column])
        if aggregate.function not in OF_ANYTHING and known not in (*INTEGERS, *FLOATS, "BOOLEAN"):
            raise InputError(
                f"{where} aggregates.{name}: {aggregate.column!r} is {columns[aggregate.column]}, not a number.",
                hint="Aggregate numbers or booleans; CAST in the SQL.",
            )


def _typed(column: str, columns: Mapping[str, str], where: str) -> str:
    _need(column, columns, f"{where} sql", "field")
    known = feature_type(columns[column])
    if known is None:
        raise InputError(
            f"{where}: column {column!r} has type {columns[column]}, which cannot be a feature.",
            hint="CAST it in the SQL to a number, a text, a boolean or a time.",
        )
    return known


def _need(column: str, columns: Mapping[str, str], where: str, role: str) -> None:
    if column not in columns:
        raise InputError(
            f"{where} gives no column {column!r} ({role}); it gives {', '.join(columns)}.",
            hint=suggestion(column, list(columns), "column"),
        )


def _need_time(column: str, columns: Mapping[str, str], where: str) -> None:
    _need(column, columns, f"{where}: the SQL", "time")
    known = feature_type(columns[column])
    if known is None or family(known) not in ("time", "date"):
        raise InputError(
            f"{where}: column {column!r} is {columns[column]}, not a time.",
            hint=f"CAST({column} AS TIMESTAMP) in the SQL.",
        )


def _where(request: RequestView, name: str) -> str:
    return f"[features.{request.name}] expressions.{name}"
