"""CAST and TRY_CAST, which are the same here: what cannot be cast is NULL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlglot import exp

from bascule.features.expressions import scalars as f
from bascule.features.expressions.terms import Compile, Handler, Misuse, Term, as_type, call1, finite_sql

_TIME_PATTERN = (
    "^ *(([1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])-[0-9]{2}-[0-9]{2}"
    "([ T]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?)?)Z? *$"
)


def _matching(pattern: str, type_name: str, group: int = 0) -> str:
    # `format` fills {0} later: braces of the pattern are doubled.
    escaped = pattern.replace("{", "{{").replace("}", "}}")
    return f"TRY_CAST(regexp_extract({{0}}, '{escaped}', {group}) AS {type_name})"


_CASTS: dict[tuple[str, str], tuple[str, Callable[[Any], Any]]] = {
    ("BIGINT", "DOUBLE"): ("CAST({0} AS DOUBLE)", float),
    ("BIGINT", "BOOLEAN"): ("{0} <> 0", bool),
    ("BIGINT", "VARCHAR"): ("CAST({0} AS VARCHAR)", str),
    ("DOUBLE", "BIGINT"): ("TRY_CAST({0} AS BIGINT)", f.to_bigint),
    ("DOUBLE", "BOOLEAN"): ("{0} <> 0", bool),
    ("DOUBLE", "VARCHAR"): ("CAST({0} AS VARCHAR)", repr),
    ("BOOLEAN", "BIGINT"): ("CAST({0} AS BIGINT)", int),
    ("BOOLEAN", "DOUBLE"): ("CAST({0} AS DOUBLE)", float),
    ("BOOLEAN", "VARCHAR"): ("CAST({0} AS VARCHAR)", f.text_of_boolean),
    ("TIMESTAMP", "VARCHAR"): ("CAST({0} AS VARCHAR)", f.text_of_timestamp),
    ("VARCHAR", "BIGINT"): (_matching("^ *[+-]?[0-9]+ *$", "BIGINT"), f.parse_bigint),
    ("VARCHAR", "DOUBLE"): (
        finite_sql(_matching(r"^ *[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)? *$", "DOUBLE")),
        f.parse_double,
    ),
    ("VARCHAR", "TIMESTAMP"): (_matching(_TIME_PATTERN, "TIMESTAMP", 1), f.parse_timestamp),
}
_CAST_TYPES = {
    exp.DType.INT: "BIGINT",
    exp.DType.BIGINT: "BIGINT",
    exp.DType.DOUBLE: "DOUBLE",
    exp.DType.BOOLEAN: "BOOLEAN",
    exp.DType.VARCHAR: "VARCHAR",
    exp.DType.TEXT: "VARCHAR",
    exp.DType.TIMESTAMP: "TIMESTAMP",
    exp.DType.TIMESTAMPNTZ: "TIMESTAMP",
}


def _cast(compiled: Compile, node: exp.Cast) -> Term:
    a, wanted = compiled(node.this), _CAST_TYPES.get(node.to.this)
    if wanted is None:
        allowed = "INTEGER, BIGINT, DOUBLE, BOOLEAN, VARCHAR and TIMESTAMP"
        raise Misuse(f"CAST to {node.to.sql('duckdb')} is not supported, only to {allowed}")
    if a.type in (wanted, "NULL"):
        return as_type(a, wanted)
    if (a.type, wanted) not in _CASTS:
        raise Misuse(f"{a.type} cannot be cast to {wanted}")
    sql, function = _CASTS[a.type, wanted]
    return call1(wanted, sql, function, a)


CASTS: dict[type[exp.Expr], Handler] = {exp.Cast: _cast, exp.TryCast: _cast}
