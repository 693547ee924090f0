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
_PLAIN = "[+-]?[0-9]*[.]?[0-9]*"
_LONG = rf"^[+-]?0*[.]?0*[1-9][0-9.]{{{SURE},}}$"


def changed(texts: Iterable[str]) -> bool:
    """Tell whether one of some numbers would lose digits as a double."""
    return any(_is_changed(text) for text in texts)


def may_change(texts: pa.Array) -> bool:
    """Tell whether a number of some texts, of the first that are long, would lose digits as a double."""
    if pc.max(pc.binary_length(texts)).as_py() <= SURE:
        return False
    long = texts.filter(pc.match_substring_regex(texts, _LONG))
    return changed(long.slice(0, SAMPLE).to_pylist())


def decimals(connection: duckdb.DuckDBPyConnection, relation: str, names: Sequence[str]) -> dict[str, str]:
    """Return the decimal type of each column of texts whose numbers are not all doubles.

    Args:
        relation: text for FROM.
        names: columns whose texts are numbers.
    """
    if not names:
        return {}
    counts = ", ".join(f"count_if(regexp_matches({quoted(name)}, '{_LONG}'))" for name in names)
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
    query = f"SELECT {quoted(name)} FROM {relation} WHERE regexp_matches({quoted(name)}, '{_LONG}') LIMIT {SAMPLE}"
    return changed(text for (text,) in connection.execute(query).fetchall())


def _is_changed(text: str) -> bool:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return False
    digits = len(number.as_tuple().digits)
    return Decimal(f"{float(text):.{digits}g}") != number
