"""From the rows of a population to those of a training set: the label evaluated, the times read, the order settled."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import duckdb
import numpy as np
import pyarrow as pa

from bascule.errors import InputError, NotFound, suggestion
from bascule.training.signature import field_type
from bascule.training.spec import TrainingSpec

LABEL, PREDICTION, KNOWN, HASH = "__label", "__prediction_time", "__label_time", "__hash"
RESERVED = ("label", "split")
HASH_RANGE = 1 << 52
ROW = "__row"


class ArrowStream(Protocol):
    """Rows as Arrow: a `pyarrow.Table`, a `RecordBatchReader` or a DuckDB relation."""

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object: ...


@dataclass(frozen=True)
class Frame:
    """The rows in their final order.

    Attributes:
        columns: the features, then the other columns that are kept; times as timestamp[us, UTC].
        features: the names of the features in the order in which the model reads them.
        label: the label as the expression gave it.
        prediction_time: int64 [rows], microseconds UTC, or None.
        label_time: int64 [rows], microseconds UTC; the least value where it is not known yet; None without the column.
        uniform: float64 [rows] in [0, 1), the hash of the row's group; None when the split goes by time.
    """

    columns: pa.Table
    features: tuple[str, ...]
    label: pa.ChunkedArray
    prediction_time: np.ndarray | None
    label_time: np.ndarray | None
    uniform: np.ndarray | None


UNKNOWN_TIME = np.iinfo(np.int64).min


def read_frame(rows: ArrowStream, spec: TrainingSpec, feature_names: Sequence[str] = ()) -> Frame:
    """Evaluate the label and the times, choose the features and settle the order of the rows.

    Rows are ordered by prediction time and then by every column, so the order in which they come does not matter.

    Args:
        rows: the population joined with its features. Columns whose names begin with `__` are dropped.
        spec: the definition.
        feature_names: the features; empty means every usable column that is not part of the label, a time or the group.

    Raises:
        InputError: no rows; a column is missing; a time is null, cannot be read or has no time type; the label cannot
            be evaluated; a feature is part of the label or has a type that a model cannot read.
    """
    table = pa.table(rows)
    if table.num_rows == 0:
        raise InputError(
            "The population has no rows.",
            hint="Look at the population query and at what its tables hold on this branch.",
        )
    table = table.select([name for name in table.column_names if not name.startswith("__")])
    with duckdb.connect(config={"threads": 2, "enable_external_access": False}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.register("rows", table)
        _refuse_unknown_columns(table, spec, feature_names)
        for column, nullable in ((spec.prediction_time, False), (spec.label_time, True)):
            if column is not None:
                _refuse_bad_times(connection, table, column, nullable=nullable)
        read = _label_columns(connection, spec.label)
        used = {name for name in table.column_names if name.casefold() in read}
        _bind_label(connection, spec.label, table.column_names)
        features = _features(table, spec, feature_names, used)
        return _settle(connection, table, spec, features)


def check_label(columns: pa.Schema, label: str) -> None:
    """Look whether a label can be evaluated over rows of these columns, before anything costly is done for it.

    Raises:
        InputError: it is no expression, or reads a column that there is not; the nearest name is offered.
    """
    with duckdb.connect(config={"threads": 1, "enable_external_access": False}) as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.register("rows", columns.empty_table())
        _label_columns(connection, label)
        _bind_label(connection, label, columns.names)


def _settle(
    connection: duckdb.DuckDBPyConnection, table: pa.Table, spec: TrainingSpec, features: tuple[str, ...]
) -> Frame:
    kept = [*features, *(one for one in table.column_names if one not in features and one not in RESERVED)]
    extra = [f"({spec.label}) as {LABEL}"]
    for column, alias in ((spec.prediction_time, PREDICTION), (spec.label_time, KNOWN)):
        if column is not None:
            extra.append(f"epoch_us(try_cast({_quoted(column)} as timestamptz)) as {alias}")
    if spec.prediction_time is None:
        extra.append(f"({_hashed(spec)} >> 12)::bigint as {HASH}")
    times = {spec.prediction_time, spec.label_time}
    chosen = [
        f"try_cast({_quoted(one)} as timestamptz) as {_quoted(one)}" if one in times else _quoted(one) for one in kept
    ]
    order = [PREDICTION] if spec.prediction_time else []
    order += [_quoted(one) for one in sorted(kept)]
    order += [] if spec.prediction_time else [HASH]
    query = f"with prepared as (select {', '.join(chosen)}, {', '.join(extra)} from rows as {ROW})\n"
    query += f"select * from prepared order by {', '.join(f'{one} nulls last' for one in order)}, {LABEL} nulls last"
    try:
        found = connection.sql(query).to_arrow_table()
    except duckdb.Error as error:
        raise _label_error(spec.label, error, table.column_names) from None
    return Frame(
        columns=found.select(kept),
        features=features,
        label=found.column(LABEL),
        prediction_time=_micros(found, PREDICTION),
        label_time=_micros(found, KNOWN),
        uniform=None if spec.prediction_time else found.column(HASH).to_numpy() / HASH_RANGE,
    )


def _hashed(spec: TrainingSpec) -> str:
    """Return SQL for what a row is divided by: its group, or else the row itself.

    Rows that are equal are different observations all the same, so each is counted: were they hashed alike, all young
    men of third class who survived would fall on one side, and the test would ask about those who are not there.
    """
    if spec.split.group:
        return f"md5_number_upper('{spec.seed}:' || coalesce({_quoted(spec.split.group)}::varchar, ''))"
    row = f"md5_number_upper('{spec.seed}:' || coalesce({ROW}::varchar, ''))"
    nth = f"row_number() over (partition by {row})"
    return f"case when {nth} = 1 then {row} else md5_number_upper({row}::varchar || ':' || {nth}) end"


def _micros(found: pa.Table, name: str) -> np.ndarray | None:
    if name not in found.column_names:
        return None
    return np.asarray(found.column(name).fill_null(UNKNOWN_TIME).to_numpy(), dtype=np.int64)


def _features(table: pa.Table, spec: TrainingSpec, names: Sequence[str], used: set[str]) -> tuple[str, ...]:
    apart = {spec.prediction_time, spec.label_time, spec.split.group, *used}
    leaking = [name for name in names if name in used]
    if leaking:
        raise InputError(
            f"The feature {leaking[0]!r} is part of the label {spec.label!r}, so the model would read the answer.",
            hint="Leave it out of the features.",
        )
    if names:
        twice = [name for name in names if list(names).count(name) > 1]
        if twice:
            raise InputError(f"The feature {twice[0]!r} is named twice.", hint="Name each feature once.")
        reserved = [name for name in names if name in RESERVED]
        if reserved:
            raise InputError(
                f"A feature is called {reserved[0]!r}, a name that the training set uses itself.",
                hint=f"Rename it in the population or the feature: {reserved[0]} as {reserved[0]}_value.",
            )
        for name in names:
            field_type(table.schema.field(name).type, name)
        return tuple(names)
    found = tuple(one for one in table.column_names if one not in apart and one not in RESERVED and _usable(table, one))
    if not found:
        raise InputError(
            "No column is left to be a feature: all are part of the label, times, the group or of types that a model "
            "cannot read.",
            hint="Name features in [training] features, or bring further columns.",
        )
    return found


def _usable(table: pa.Table, name: str) -> bool:
    try:
        field_type(table.schema.field(name).type, name)
    except InputError:
        return False
    return True


def _refuse_unknown_columns(table: pa.Table, spec: TrainingSpec, names: Sequence[str]) -> None:
    wanted = [
        ("column for prediction_time", spec.prediction_time),
        ("column for label_time", spec.label_time),
        ("column for split.group", spec.split.group),
        *(("feature", name) for name in names),
    ]
    for kind, name in wanted:
        if name is not None and name not in table.column_names:
            raise NotFound(kind, name, table.column_names)


def _label_columns(connection: duckdb.DuckDBPyConnection, label: str) -> set[str]:
    """The names that an expression reads, from DuckDB's own parser, without regard to case, as DuckDB matches them."""
    statement = f"select ({label})"
    found = connection.execute("select json_serialize_sql(?::varchar)", [statement]).fetchone()
    tree: dict[str, Any] = json.loads(found[0]) if found else {}
    if tree.get("error"):
        raise InputError(
            f"The label {label!r} is not an SQL expression: {_first_line(str(tree.get('error_message')))}.",
            hint="Write a column or an expression over the columns, such as arr_delay > 15.",
        )
    if len(tree["statements"]) != 1 or len(tree["statements"][0]["node"]["select_list"]) != 1:
        raise InputError(f"The label {label!r} is more than one expression.", hint="Write one expression.")
    columns: set[str] = set()
    _walk(tree, columns)
    return columns


def _walk(node: Any, columns: set[str]) -> None:
    if isinstance(node, dict):
        if node.get("type") == "COLUMN_REF":
            columns.add(node["column_names"][-1].casefold())
        node = list(node.values())
    if isinstance(node, list):
        for one in node:
            _walk(one, columns)


def _bind_label(connection: duckdb.DuckDBPyConnection, label: str, names: list[str]) -> None:
    try:
        connection.execute(f"select ({label}) from rows limit 0")
    except duckdb.Error as error:
        raise _label_error(label, error, names) from None


def _label_error(label: str, error: duckdb.Error, names: list[str]) -> InputError:
    text = str(error)
    missing = re.search(r'Referenced (?:column|table) "([^"]+)"', text)
    if missing:
        return InputError(
            f"The label {label!r} reads the column {missing[1]!r}, which the population does not have.",
            hint=suggestion(missing[1], names, "column"),
        )
    return InputError(
        f"The label {label!r} cannot be evaluated: {_first_line(text)}.",
        hint=f"Columns of the population: {', '.join(names[:12])}{', …' if len(names) > 12 else ''}.",
    )


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0].rstrip(".") if text.strip() else "unknown error"


def _refuse_bad_times(connection: duckdb.DuckDBPyConnection, table: pa.Table, column: str, *, nullable: bool) -> None:
    kind = table.schema.field(column).type
    textual = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    if not (textual or pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind)):
        raise InputError(
            f"The time column {column!r} has the type {kind}, which is not a time.",
            hint=f"Cast it in the population, such as make_timestamp({column}) for microseconds since 1970.",
        )
    name = _quoted(column)
    nulls, unread, example = connection.execute(
        f"select count(*) filter ({name} is null), "
        f"count(*) filter ({name} is not null and try_cast({name} as timestamptz) is null), "
        f"any_value({name}::varchar) filter ({name} is not null and try_cast({name} as timestamptz) is null) from rows"
    ).fetchall()[0]
    if unread:
        raise InputError(
            f"{unread:,} of {table.num_rows:,} values of the time column {column!r} cannot be read as a time, "
            f"such as {example!r}.",
            hint="Write times as 2013-07-01T14:00:00Z, or parse them in the population with strptime().",
        )
    if nulls and not nullable:
        raise InputError(
            f"{nulls:,} of {table.num_rows:,} rows have no prediction time: {column!r} is null.",
            hint="A prediction is asked for at some moment: leave those rows out of the population or give them one.",
        )


def _quoted(name: str | None) -> str:
    return '"' + str(name).replace('"', '""') + '"'
