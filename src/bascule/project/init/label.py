"""The label that a user asks for: which table it is in, and what kind of question it is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import duckdb

from bascule.errors import InputError, NotFound
from bascule.project.init.sql import quoted
from bascule.project.init.tables import WHOLE, Table

Task = Literal["binary", "multiclass", "regression"]
MOST_CLASSES = 50
FEW_VALUES = 10
_SIGNS = {"over": ">", "above": ">", "under": "<", "below": "<", "at_least": ">=", "at_most": "<="}
_SHORTHAND = re.compile(rf"(?P<column>\w+?)_(?P<sign>{'|'.join(_SIGNS)})_(?P<number>\d+(?:_\d+)?)", re.IGNORECASE)
_YES = ("yes", "true", "t", "y", "1", "positive", "churned", "fraud", "default")


@dataclass(frozen=True)
class Label:
    """A label that was found.

    Attributes:
        table: the table whose rows are the examples.
        type: the DuckDB type of the expression.
        expression: the label over that table's columns.
        columns: the columns it reads; they are never features.
        positive: the class whose probability a binary model gives; None for a boolean label.
        unknown: rows whose label is null.
        values: the most frequent values, as texts, with their counts.
        said: what was assumed on the way.
    """

    table: Table
    type: str
    expression: str
    columns: tuple[str, ...]
    task: Task
    positive: str | None
    unknown: int
    values: tuple[tuple[str, int], ...]
    said: tuple[str, ...]

    @property
    def as_number(self) -> str:
        """The label as a number: 1 for the positive class of a binary label, the code of a class, or the value."""
        if self.task == "regression":
            return f"({self.expression})::double"
        if self.positive is None:
            return f"({self.expression})::integer"
        value = self.positive if is_numeric(self.type) else "'" + self.positive.replace("'", "''") + "'"
        return f"(({self.expression}) = {value})::integer"


def is_numeric(kind: str) -> bool:
    """Tell whether a DuckDB type is a number."""
    return kind in WHOLE or kind.startswith(("DOUBLE", "FLOAT", "DECIMAL"))


def find_label(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], asked: str) -> Label:
    """Find the table of a label and what it asks.

    `asked` is a column, an SQL expression over the columns of one table (`arr_delay > 15`, `flights.arr_delay`), or the
    short form `arr_delay_over_15` (also under, above, below, at_least, at_most).

    Raises:
        InputError: it cannot be read, reads no column, more than one table, or a table cannot be told; it is null in
            all rows, has one value only, or is a text with too many values.
        NotFound: a column or a table of it does not exist.
    """
    expression, said = _written_out(connection, tables, asked.strip())
    names = _column_names(connection, expression)
    if not names:
        raise InputError(f"The label {asked!r} reads no column.", hint="Write it as a column or as delay > 15.")
    table = _only_table(tables, names, asked)
    for name in {name[0] for name in names if len(name) == 2}:
        expression = re.sub(rf'(?<![\w."])"?{re.escape(name)}"?\s*\.', "", expression)
    columns = tuple(dict.fromkeys(_column(table, name[-1]) for name in names))
    if re.fullmatch(r"\w+", expression) and expression in table:
        expression = quoted(expression)
    kind, distribution = _values(connection, table, expression, asked)
    unknown = sum(count for value, count in distribution if value is None)
    values = [(_plain(str(value), kind), count) for value, count in distribution if value is not None]
    _refuse_constant(values, asked, table)
    task, why = _task(kind, values, table.rows - unknown, asked)
    positive = _positive(kind, values) if task == "binary" else None
    if positive is not None:
        why += f"; a model gives the probability of {positive!r}"
    shown = tuple(values[:MOST_CLASSES])
    return Label(table, kind, expression, columns, task, positive, unknown, shown, (*said, why))


def _written_out(
    connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], asked: str
) -> tuple[str, tuple[str, ...]]:
    """Return the expression that a short form stands for; anything else as it is."""
    if not asked:
        raise InputError("The label is empty.", hint="Write a column, or an expression such as delay > 15.")
    column = next((one.named(asked) for one in tables if one.named(asked)), None)
    if column is not None:
        return quoted(column.name), ()
    match = _SHORTHAND.fullmatch(asked)
    if match is None:
        return asked, ()
    columns = {column.name for table in tables for column in table.columns}
    named = next((one for one in columns if one.lower() == match["column"].lower()), None)
    if named is None:
        raise NotFound("column", match["column"], columns)
    sign, number = _SIGNS[match["sign"].lower()], match["number"].replace("_", ".")
    expression = f"{quoted(named)} {sign} {number}"
    return expression, (f"{asked} is no column; it was read as {expression}",)


def _column_names(connection: duckdb.DuckDBPyConnection, expression: str) -> list[tuple[str, ...]]:
    """Return the columns that an expression reads, as DuckDB's own parser sees them."""
    node = _parsed(connection, f"select {expression}", expression)
    if len(node["select_list"]) != 1 or node["from_table"]["type"] != "EMPTY":
        raise InputError(
            f"The label {expression!r} is more than one expression.", hint="Write one, such as delay > 15."
        )
    return list(dict.fromkeys(_references(_parsed(connection, f"select ({expression})", expression)["select_list"])))


def _parsed(connection: duckdb.DuckDBPyConnection, query: str, expression: str) -> dict[str, Any]:
    tree = json.loads(connection.execute("select json_serialize_sql(?)", [query]).fetchall()[0][0])
    if tree["error"]:
        message = str(tree.get("error_message", "")).splitlines()[0].rstrip(".")
        hint = "Write it as a column or as delay > 15."
        raise InputError(f"The label {expression!r} is not SQL: {message}.", hint=hint)
    if len(tree["statements"]) != 1:
        raise InputError(
            f"The label {expression!r} is more than one expression.", hint="Write one, such as delay > 15."
        )
    node: dict[str, Any] = tree["statements"][0]["node"]
    return node


def _references(node: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(node, list):
        for one in node:
            yield from _references(one)
    elif isinstance(node, dict):
        if node.get("class") == "COLUMN_REF":
            yield tuple(node["column_names"])
        for one in node.values():
            yield from _references(one)


def _only_table(tables: Sequence[Table], names: list[tuple[str, ...]], asked: str) -> Table:
    for name in names:
        _refuse_unknown(tables, name)
    having = [one for one in tables if all(_has(one, name) for name in names)]
    if len(having) == 1:
        return having[0]
    columns = _quoted_list(name[-1] for name in names)
    if having:
        where = _quoted_list(one.name for one in having)
        first = having[0].name
        hint = f"Say which: --label '{first}.{names[0][-1]}…'. Qualified names are understood."
        raise InputError(f"The label {asked!r} could be about the tables {where}: each has {columns}.", hint=hint)
    places = "; ".join(
        f"{name[-1]} is in {_quoted_list(one.name for one in tables if _has(one, name))}" for name in names
    )
    raise InputError(
        f"No table has all columns of the label {asked!r}: {places}.",
        hint="A label reads the columns of one table. Join the files first, or choose another label.",
    )


def _refuse_unknown(tables: Sequence[Table], name: tuple[str, ...]) -> None:
    if len(name) > 2:
        raise InputError(f"{'.'.join(name)} is not a column.", hint="Write COLUMN or TABLE.COLUMN.")
    if len(name) == 2 and not any(one.name.lower() == name[0].lower() for one in tables):
        raise NotFound("table", name[0], [one.name for one in tables])
    if not any(_has(one, name) for one in tables):
        fitting = [one for one in tables if len(name) == 1 or one.name.lower() == name[0].lower()]
        raise NotFound("column", name[-1], {column.name for one in fitting for column in one.columns})


def _has(table: Table, name: tuple[str, ...]) -> bool:
    return (len(name) == 1 or table.name.lower() == name[0].lower()) and table.named(name[-1]) is not None


def _column(table: Table, name: str) -> str:
    column = table.named(name)
    assert column is not None
    return column.name


def _values(
    connection: duckdb.DuckDBPyConnection, table: Table, expression: str, asked: str
) -> tuple[str, list[tuple[str | None, int]]]:
    """Return the label's type and its values with their counts, most frequent first."""
    try:
        rows = connection.execute(
            f"select typeof({expression}), ({expression})::varchar, count(*) from {table.sql} "
            f"group by all order by 3 desc, 2"
        ).fetchall()
    except duckdb.Error as error:
        message = str(error).splitlines()[0].split("Error: ", 1)[-1].rstrip(".")
        hint = "Write it as a column or as delay > 15."
        raise InputError(f"The label {asked!r} cannot be computed from {table.name}: {message}.", hint=hint) from None
    return str(rows[0][0]), [(row[1], int(row[2])) for row in rows]


def _plain(value: str, kind: str) -> str:
    """Return a value as training writes it: a whole number without a point, whatever its type."""
    return str(int(float(value))) if is_numeric(kind) and float(value).is_integer() else value


def _refuse_constant(values: list[tuple[str, int]], asked: str, table: Table) -> None:
    if not values:
        raise InputError(
            f"The label {asked!r} is null in all {table.rows:,} rows of {table.name}.",
            hint="Choose a column that is filled, or bring the rows whose outcome is known.",
        )
    if len(values) == 1:
        raise InputError(
            f"The label {asked!r} has one value only: {values[0][0]!r} in all {values[0][1]:,} rows where it is known.",
            hint="Nothing can be learned from a constant. Choose another column or another threshold.",
        )


def _task(kind: str, values: list[tuple[str, int]], rows: int, asked: str) -> tuple[Task, str]:
    """Return what kind of question a label is, and how that is said."""
    shown = ", ".join(f"{value} {count:,}" for value, count in values[:5])
    shown += ", …" if len(values) > 5 else ""
    if len(values) == 2:
        return "binary", f"the label has two values ({shown}): a binary classification"
    if kind == "VARCHAR":
        if len(values) > MOST_CLASSES or len(values) > rows / 2:
            raise InputError(
                f"The label {asked!r} is a text with {len(values):,} different values in {rows:,} rows.",
                hint=f"At most {MOST_CLASSES} classes can be learned. Write it as a comparison, such as x = 'yes'.",
            )
        return "multiclass", f"the label has {len(values)} classes ({shown}): a multiclass classification"
    if kind.startswith(("DATE", "TIME", "INTERVAL")):
        hint = "Write what should be predicted as a number, such as date_diff('day', ordered_at, delivered_at)."
        raise InputError(f"The label {asked!r} is a time.", hint=hint)
    if not is_numeric(kind):
        raise InputError(f"The label {asked!r} has the type {kind}, which cannot be learned.", hint="Choose a column.")
    if len(values) <= FEW_VALUES and all(float(value).is_integer() for value, _ in values):
        said = f"the label is one of {len(values)} whole numbers ({shown}): a multiclass classification"
        return "multiclass", f"{said}; set task to regression if their size matters"
    return "regression", f"the label is a number with {len(values):,} different values: a regression"


def _positive(kind: str, values: list[tuple[str, int]]) -> str | None:
    """Return the class that a binary model gives the probability of: the one that says yes, or else the rarer."""
    if kind == "BOOLEAN":
        return None
    named = next((value for value, _ in values if value.lower() in _YES), None)
    return named or min(values, key=lambda one: (one[1], one[0]))[0]


def _quoted_list(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
