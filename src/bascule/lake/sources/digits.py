"""Numbers of more digits than a double has: they are decimals, and keep every digit.

A double that somebody wrote with twenty digits is still a double: what counts is whether the nearest double, written
with as many digits, is the text again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from bascule.lake.iceberg.types import quoted

MOST = 38  # digits of a decimal
SURE = 15  # digits that every double has
SAMPLE = 1_000
# Doubles are written with 17 digits, so shorter texts, with a point among the first signs, are not looked at.
POINT, LENGTH = 13, 20
_PLAIN = "[+-]?[0-9]*[.]?[0-9]*"
_LONG = rf"^[+-]?0*[.]?0*[1-9][0-9.]{{{SURE},}}$"


def changed(texts: Iterable[str]) -> bool:
    """Tell whether one of some numbers would lose digits as a double."""
    return any(_is_changed(text) for text in texts)


def may_change(texts: pa.Array, doubles: pa.Array) -> bool:
    """Tell whether a number of some texts, of the first long ones, would lose digits as its double."""
    lengths = pc.binary_length(texts)
    if pc.max(lengths).as_py() <= SURE:
        return False
    some = pc.greater_equal(lengths, LENGTH)
    if pc.max(pc.abs(doubles)).as_py() >= 10 ** (POINT - 1):
        points = pc.find_substring(texts, ".")
        is_late = pc.or_(pc.less(points, 0), pc.greater_equal(points, POINT))
        some = pc.or_(some, pc.and_(pc.greater(lengths, SURE), is_late))
    places = pc.indices_nonzero(some)[:SAMPLE]
    few, held = texts.take(places), doubles.take(places)
    other = few.filter(pc.not_equal(few, pc.cast(held, pa.string())))  # most doubles are written as Arrow does
    return changed(other.filter(pc.match_substring_regex(other, _LONG)).to_pylist())


def decimals(connection: duckdb.DuckDBPyConnection, relation: str, names: Sequence[str]) -> dict[str, str]:
    """Return the decimal type of each column of texts whose numbers are not all doubles.

    Args:
        relation: text for FROM.
        names: columns whose texts are numbers.
    """
    if not names:
        return {}
    counts = ", ".join(f"count_if({_is_long(quoted(name))})" for name in names)
    found = connection.execute(f"SELECT {counts} FROM {relation}").fetchall()[0]
    some = [name for name, count in zip(names, found, strict=True) if count]
    kinds = {name: fit(connection, relation, name) for name in some if _loses(connection, relation, name)}
    return {name: kind for name, kind in kinds.items() if kind}


def fit(connection: duckdb.DuckDBPyConnection, relation: str, name: str) -> str:
    """Return the decimal type that holds all numbers of a column of texts; empty if none does."""
    column = quoted(name)
    number = f"ltrim(ltrim({column}, '+-'), '0')"
    whole, part = f"length(split_part({number}, '.', 1))", f"length(rtrim(split_part({number}, '.', 2), '0'))"
    query = f"SELECT bool_and(regexp_full_match({column}, '{_PLAIN}')), max({whole}), max({part}) FROM {relation}"
    is_plain, before, behind = connection.execute(query).fetchall()[0]
    return f"DECIMAL({MOST}, {behind})" if is_plain and before + behind <= MOST else ""


def _loses(connection: duckdb.DuckDBPyConnection, relation: str, name: str) -> bool:
    query = f"SELECT {quoted(name)} FROM {relation} WHERE {_is_long(quoted(name))} LIMIT {SAMPLE}"
    return changed(text for (text,) in connection.execute(query).fetchall())


def _is_long(column: str) -> str:
    late = f"length({column}) > {SURE} AND instr({column}, '.') NOT BETWEEN 1 AND {POINT}"
    return f"(length({column}) >= {LENGTH} OR {late}) AND regexp_matches({column}, '{_LONG}')"


def _is_changed(text: str) -> bool:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return False
    digits = len(number.as_tuple().digits)
    return Decimal(f"{float(text):.{digits}g}") != number
