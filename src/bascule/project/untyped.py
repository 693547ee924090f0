"""Columns of entity rows that have no type because nothing is in them: keys and the time get those that they stand for.

Python gives such columns: a frame's of None, or Arrow's null type. They match nothing, and each row stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import duckdb

from bascule.features import bind_view
from bascule.features.columns import body, describe, quoted
from bascule.features.definitions import entity_of
from bascule.project.definitions import entities, views
from bascule.project.file import ProjectFile

UNTYPED = '"NULL"'  # how DuckDB describes such a column


def typed_rows(
    project: ProjectFile, connection: duckdb.DuckDBPyConnection, sql: str, chosen: Sequence[str], time: str | None
) -> str:
    """Return the query of entity rows with types for keys, and for the prediction time, where they have none.

    Args:
        connection: sees the tables that the views read.
        chosen: views, or `view.field`.
        time: the prediction time's column that was asked for; the project's when there is none.

    Raises:
        InputError: the query, or one of the views, cannot be bound.
    """
    columns = describe(connection, sql, "The entity rows")
    if UNTYPED not in columns.values():
        return sql
    about = entities(project)
    named = {one.partition(".")[0] for one in chosen}
    usual = project.training.prediction_time if project.training else None
    types = {column: "TIMESTAMP" for column in (time or usual,) if column is not None}
    for view in views(project):
        if view.name in named:
            entity = entity_of(view, about)
            bound = bind_view(connection, view, entity)
            types |= {key: bound.types[key] for key in entity.keys}
    given = [
        f"CAST({quoted(column)} AS {types[column]}) AS {quoted(column)}"
        for column, kind in columns.items()
        if kind == UNTYPED and column in types
    ]
    return f"SELECT * REPLACE ({', '.join(given)}) FROM (\n{body(sql)}\n)" if given else sql
