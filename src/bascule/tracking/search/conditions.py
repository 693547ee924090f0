"""A comparison as SQL, or asked of one value."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, not_

from bascule.errors import InputError
from bascule.tracking.search.grammar import Comparison
from bascule.tracking.search.pieces import Sql, among

TEXTS = ("=", "!=", "LIKE", "ILIKE")
LISTS = ("IN", "NOT IN")
NULLS = ("IS NULL", "IS NOT NULL")
NUMBERS = (">", ">=", "!=", "=", "<", "<=")
_SIGNS: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


def demand(one: Comparison, allowed: tuple[str, ...], *, text: bool) -> None:
    """Refuse an operator or a kind of value that a key does not take.

    Raises:
        InputError: with what it takes.
    """
    if one.operator not in allowed:
        raise InputError(
            f"Invalid comparator '{one.operator}' for {one.entity} {one.key!r}.",
            hint=f"Valid comparators are {', '.join(allowed)}.",
        )
    if one.value is None:
        return
    if text and not one.quoted:
        raise InputError(
            f"Expected a quoted string value for {one.entity} {one.key!r} (e.g. 'my-value'). Got {one.value}.",
            hint="Put the text into quotes.",
        )
    if not text and (one.quoted or isinstance(one.value, str | tuple)):
        raise InputError(
            f"Expected numeric value type for {one.entity} {one.key!r}. Found {str(one.value)[:60]!r}.",
            hint="Write the number without quotes.",
        )


def of_text(conn: Connection, column: ColumnElement[Any], one: Comparison) -> ColumnElement[bool]:
    """Return a comparison of a text column as SQL. LIKE heeds case, ILIKE does not."""
    if one.operator == "LIKE":
        if conn.dialect.name == "sqlite":
            return column.op("GLOB", is_comparison=True)(_glob(str(one.value)))
        return column.like(_like(conn, str(one.value)))
    if one.operator == "ILIKE":
        return func.lower(column).like(func.lower(_like(conn, str(one.value))))  # SQLite's lower knows ASCII only
    if one.operator == "IN":
        return column.in_(one.value)  # type: ignore[arg-type]
    if one.operator == "NOT IN":
        return not_(column.in_(one.value))  # type: ignore[arg-type]
    found: ColumnElement[bool] = _SIGNS[one.operator](column, one.value)
    return found


def of_number(column: ColumnElement[Any], one: Comparison, scale: int = 1) -> ColumnElement[bool]:
    """Return a comparison of a number column as SQL; the value is given in `scale` of the column's units."""
    found: ColumnElement[bool] = _SIGNS[one.operator](column, _scaled(one, scale))
    return found


def text_sql(conn: Connection, column: str, one: Comparison) -> Sql:
    """Return what `of_text` does, written out."""
    if one.operator in LISTS:
        return among(column, one.value, negated=one.operator == "NOT IN")  # type: ignore[arg-type]
    value = str(one.value)
    if one.operator == "LIKE" and conn.dialect.name == "sqlite":
        return Sql(f"{column} GLOB ?", (_glob(value),))
    if one.operator in ("LIKE", "ILIKE"):
        value = _like(conn, value)
    if one.operator == "ILIKE":
        return Sql(f"lower({column}) LIKE lower(CAST(? AS TEXT))", (value,))
    return Sql(f"{column} {one.operator} ?", (value,))


def number_sql(column: str, one: Comparison, scale: int = 1) -> Sql:
    """Return what `of_number` does, written out."""
    return Sql(f"{column} {one.operator} ?", (_scaled(one, scale),))


def _scaled(one: Comparison, scale: int) -> float:
    assert isinstance(one.value, int | float)
    value = max(-(2.0**62), min(2.0**62, one.value * scale)) if scale != 1 else one.value
    return float(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def holds(one: Comparison, value: Any) -> bool:
    """Tell whether a comparison holds for a value; None is a missing one, for which only IS NULL does."""
    if one.operator in NULLS:
        return (value is None) == (one.operator == "IS NULL")
    if value is None:
        return False
    if one.operator in LISTS:
        return (value in (one.value or ())) == (one.operator == "IN")  # type: ignore[operator]
    if one.operator in ("LIKE", "ILIKE"):
        return _pattern(str(one.value), one.operator == "ILIKE").fullmatch(str(value)) is not None
    if isinstance(value, float) and math.isnan(value):
        return one.operator == "!="
    return bool(_SIGNS[one.operator](value, one.value))


@lru_cache(256)
def _pattern(like: str, fold: bool) -> re.Pattern[str]:
    # Runs of % are one: what a pattern costs grows with its length, not with its power.
    parts = re.split(r"(%+|_)", like)
    text = "".join(".*" if p.startswith("%") else "." if p == "_" else re.escape(p) for p in parts)
    return re.compile(text, re.DOTALL | (re.IGNORECASE if fold else 0))


def _like(conn: Connection, like: str) -> str:
    """Return a pattern in which a backslash is itself: for PostgreSQL it would be what makes the next sign plain."""
    return like if conn.dialect.name == "sqlite" else like.replace("\\", "\\\\")


def _glob(like: str) -> str:
    return "".join({"%": "*", "_": "?", "*": "[*]", "?": "[?]", "[": "[[]"}.get(c, c) for c in like)
