"""Pieces of SQL, written out: SQLAlchemy puts a search together in more time than the database takes to answer it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, Dialect
from sqlalchemy.dialects import registry

from bascule.tracking.points import dialect


@dataclass(frozen=True, slots=True)
class Sql:
    """A piece of SQL.

    Attributes:
        text: with `?` for each value, and for nothing else.
        values: in that order.
    """

    text: str
    values: tuple[Any, ...] = ()


def joined(parts: Iterable[Sql | str], by: str = " ") -> Sql:
    """Return pieces as one."""
    texts: list[str] = []
    values: list[Any] = []
    for part in parts:
        if isinstance(part, str):
            texts.append(part)
        else:
            texts.append(part.text)
            values += part.values
    return Sql(by.join(texts), tuple(values))


def among(column: str, values: Sequence[Any], *, negated: bool = False) -> Sql:
    """Return the condition that a column is one of some values; of none it is none."""
    if not values:
        return Sql("1 = 1" if negated else "1 = 0")
    return Sql(f"{column} {'NOT ' if negated else ''}IN ({','.join('?' * len(values))})", tuple(values))


def of_clause(conn: Connection, clause: ColumnElement[Any]) -> Sql:
    """Return a condition of SQLAlchemy's as a piece."""
    compiled = clause.compile(dialect=_with_marks(conn.dialect.name), compile_kwargs={"render_postcompile": True})
    return Sql(f"({compiled})", tuple(compiled.params[name] for name in compiled.positiontup or ()))


def asked(conn: Connection, sql: Sql) -> list[Any]:
    """Return the rows that a statement finds."""
    return list(conn.exec_driver_sql(dialect(conn, sql.text), sql.values).all())


def number_of(conn: Connection, sql: Sql) -> int:
    """Return the one number that a statement finds."""
    found: int = conn.exec_driver_sql(dialect(conn, sql.text), sql.values).scalar_one()
    return found


@lru_cache
def _with_marks(name: str) -> Dialect:
    found: Dialect = registry.load(name)(paramstyle="qmark")
    return found
