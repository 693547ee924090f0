"""The SQL that contracts speak: quoting, a guard for SQL that people wrote, and values that a report can hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import duckdb

from bascule.contracts.families import family_of, is_float
from bascule.errors import InputError

# Scalar functions that change something, wait, or tell of the machine; everything else only computes.
_REFUSED_FUNCTIONS = (
    "getenv",
    "current_setting",
    "getvariable",
    "nextval",
    "currval",
    "setval",
    "setseed",
    "sleep_ms",
    "write_log",
)


def quoted(name: str) -> str:
    """A name as a SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str | int | float | bool | None) -> str:
    """A value as a SQL literal."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return f"'{value!r}'::DOUBLE" if value != value or value in (_INF, -_INF) else repr(value)
        case _:
            return "'" + value.replace("'", "''") + "'"


_INF = float("inf")


def value_of(column: str, type_name: str, table: str = "t") -> str:
    """A column as an expression in which a floating-point NaN is NULL: in contracts NaN is a missing value."""
    name = f"{table}.{quoted(column)}"
    return f"nullif({name}, 'nan')" if is_float(type_name) else name


def columns_of(connection: duckdb.DuckDBPyConnection, relation: str) -> dict[str, str]:
    """Column names and SQL types of a relation, in order."""
    rows = connection.execute(f"DESCRIBE SELECT * FROM {relation} AS t").fetchall()
    return {str(row[0]): str(row[1]) for row in rows}


def unforetold(connection: duckdb.DuckDBPyConnection, relation: str, types: Mapping[str, str]) -> str:
    """The same rows, of whose floats DuckDB takes nothing that the footers of Parquet files tell for all there is.

    Footers tell the least and the greatest number and nothing of NaN: by them no value is NaN, and none is missing.

    Args:
        types: the SQL types of its columns.
    """
    floats = [quoted(name) for name, kind in types.items() if is_float(kind)]
    if not floats:
        return relation
    plan = connection.execute(f"EXPLAIN (FORMAT json) SELECT * FROM {relation} AS t").fetchall()[0][1]
    if "PARQUET" not in plan.upper():
        return relation
    same = ", ".join(f"nextafter({name}, {name}) AS {name}" for name in floats)  # the value itself, in each row
    return f"(SELECT * REPLACE ({same}) FROM {relation} AS t)"


def check_expression(connection: duckdb.DuckDBPyConnection, text: str) -> set[str]:
    """The names that a SQL expression over a row reads.

    Raises:
        InputError: it is not one expression, or holds a subquery or a function with side effects.
    """
    select = _parsed(connection, f"SELECT (\n{text}\n)")
    plain = len(select["select_list"]) == 1 and select["from_table"]["type"] == "EMPTY" and not select["modifiers"]
    if not plain or any(select[part] for part in ("where_clause", "group_expressions", "having", "qualify", "sample")):
        raise InputError(
            f"{_short(text)!r} is more than one SQL expression.", hint="Write one condition; join several with AND."
        )
    for node in _nodes(select):
        if node.get("class") == "SUBQUERY":
            raise InputError(
                f"{_short(text)!r} holds a subquery.",
                hint="Use `check: query` with a query that selects the failing rows.",
            )
        _refuse_side_effects(node)
    return {name for node in _nodes(select) if node.get("class") == "COLUMN_REF" for name in node["column_names"]}


# They look at the clock although DuckDB calls them consistent.
_CLOCKS = frozenset({"age"})


def lasting(connection: duckdb.DuckDBPyConnection, text: str, columns: Iterable[str]) -> bool:
    """Whether a SQL expression over a row with some columns says the same of that row whenever it is asked.

    It does not when it looks at a clock, at chance or at the session. When in doubt it does not.
    """
    select = _parsed(connection, f"SELECT (\n{text}\n)")
    known = {name.casefold() for name in columns}
    functions: set[str] = set()
    for node in _nodes(select):
        if node.get("class") == "COLUMN_REF" and node["column_names"][-1].casefold() not in known:
            return False  # such as current_date, which is written like a column
        if node.get("class") == "FUNCTION":
            functions.add(str(node["function_name"]).lower())
    return functions <= _lasting_functions(connection)


def _lasting_functions(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """The functions that compute the same from the same, by DuckDB's own word; asked once in a process."""
    if not _lasting:
        rows = connection.execute(
            "SELECT function_name FROM duckdb_functions() GROUP BY function_name "
            "HAVING bool_and(stability IS NOT DISTINCT FROM 'CONSISTENT')"
        ).fetchall()
        _lasting.update({str(row[0]) for row in rows} - _CLOCKS | _OPERATORS)
    return frozenset(_lasting)


_lasting: set[str] = set()
_OPERATORS = frozenset({"~~", "!~~", "~~*", "!~~*", "||", "+", "-", "*", "/", "//", "%", "^", "**", "&", "|", "~"})


def tables_of(connection: duckdb.DuckDBPyConnection, text: str) -> set[str]:
    """The tables that a query names. Raise InputError unless it is one SELECT over tables, without side effects."""
    select = _parsed(connection, text)
    common: set[str] = set()
    tables: set[str] = set()
    for node in _nodes(select):
        _refuse_side_effects(node)
        if node.get("type") == "TABLE_FUNCTION":
            name = node["function"]["function_name"]
            raise InputError(
                f"The query reads {name}(…); a contract's query may read tables only.",
                hint="Bring the file in as a table, and name the table.",
            )
        if "cte_map" in node:
            common |= {entry["key"] for entry in node["cte_map"]["map"]}
        if node.get("type") == "BASE_TABLE":
            tables.add(".".join(filter(None, (node["catalog_name"], node["schema_name"], node["table_name"]))))
    return tables - common


def _parsed(connection: duckdb.DuckDBPyConnection, text: str) -> dict[str, Any]:
    row = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchone()
    parsed: Any = json.loads(row[0]) if row else {"error": True, "error_message": "no answer"}
    if parsed["error"]:
        raise InputError(
            f"{_short(text)!r} is not SQL that only reads: {parsed['error_message']}",
            hint="Write one SELECT, as in: select * from orders where amount < 0",
        )
    if len(parsed["statements"]) != 1:
        raise InputError(
            f"{_short(text)!r} is more than one SQL statement.", hint="Write one SELECT; leave the semicolon out."
        )
    node: dict[str, Any] = parsed["statements"][0]["node"]
    if parsed["statements"][0].get("named_param_map"):
        raise InputError(f"{_short(text)!r} holds a parameter; write the value.")
    return node


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield node
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def _refuse_side_effects(node: dict[str, Any]) -> None:
    if node.get("class") == "FUNCTION" and str(node.get("function_name", "")).lower() in _REFUSED_FUNCTIONS:
        raise InputError(
            f"{node['function_name']}() is not allowed in a contract; its SQL may only read rows.",
            hint="Write the value into the contract, or compute it in a view.",
        )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 80 else line[:79] + "…"


def error_text(error: Exception) -> str:
    """What DuckDB said, in one line, without its echo of the query."""
    first = str(error).split("\n\nLINE ")[0].split("\nLINE ")[0]
    return " ".join(first.split())[:300]


def rows_of(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    columns: Sequence[str],
    masked: frozenset[str],
    limit: int,
    types: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """At most `limit` rows of a query as plain JSON-able values, in the given order of columns.

    Numbers, booleans and NULL stay what they are; everything else is text of at most 200 characters. A masked column
    shows only whether it holds a value, because failing rows travel into reports, logs and chats.

    Args:
        types: the columns of the query and their SQL types, when they are known.
    """
    types = types or columns_of(connection, f"({query})")
    shown = [name for name in columns if name in types] + [name for name in types if name not in columns]
    items = ", ".join(f"{_plain(name, types[name], name in masked)} AS {quoted(name)}" for name in shown)
    rows = connection.execute(f"SELECT {items} FROM ({query}) AS t LIMIT {limit}").fetchall()
    return [{name: _jsonable(value) for name, value in zip(shown, row, strict=True)} for row in rows]


MASK = "•••"


def _plain(name: str, type_name: str, masked: bool) -> str:
    column = quoted(name)
    if masked:
        return f"CASE WHEN {column} IS NULL THEN NULL ELSE {literal(MASK)} END"
    if family_of(type_name) in ("integer", "boolean") or is_float(type_name):
        return column
    if family_of(type_name) == "number":
        return f"CAST({column} AS DOUBLE)"
    text = f"CAST({column} AS VARCHAR)"
    return f"CASE WHEN length({text}) > 200 THEN left({text}, 199) || '…' ELSE {text} END"


def _jsonable(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (_INF, -_INF)):
        return str(value)
    return value
