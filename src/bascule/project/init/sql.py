"""Small pieces of SQL text that `init` writes and runs."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any

import duckdb

_PLAIN = re.compile(r"[a-z_][a-z0-9_]*")
_UNTIDY = re.compile(r"[^A-Za-z0-9_]+")


def quoted(name: str) -> str:
    """Return a column or table name as SQL: as it is when it needs no quotes."""
    if _PLAIN.fullmatch(name) and name not in _reserved():
        return name
    return '"' + name.replace('"', '""') + '"'


def listed(names: Iterable[str]) -> str:
    """Return names as an SQL list."""
    return ", ".join(quoted(name) for name in names)


def tidy(name: str) -> str:
    """Return a column's name as a feature's name: `sepal length (cm)` becomes `sepal_length_cm`."""
    plain = _UNTIDY.sub("_", name).strip("_") or "column"
    return plain if not plain[0].isdigit() else f"c_{plain}"


def selected(columns: Iterable[tuple[str, str]], *, indent: str = "    ") -> str:
    """Return select-list lines for (expression, name) pairs; no `as` where the expression is the name."""
    lines = [text if text == quoted(name) else f"{text} as {quoted(name)}" for text, name in columns]
    return ",\n".join(indent + line for line in lines)


def one_row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    """Return the only row of a query, and leave no result open on the connection."""
    rows: list[tuple[Any, ...]] = connection.execute(query).fetchall()
    return rows[0]


@functools.cache
def _reserved() -> frozenset[str]:
    with duckdb.connect() as connection:
        rows = connection.execute(
            "select keyword_name from duckdb_keywords() where keyword_category in ('reserved', 'type_function')"
        ).fetchall()
    return frozenset(str(row[0]) for row in rows)
