"""The types of columns, as features see them.

A feature has one of a few DuckDB types, the same offline and online. Wider ones are cast once, in both: DECIMAL and
128-bit integers to DOUBLE, ENUM and UUID to VARCHAR, all timestamps to microseconds. A DECIMAL or 128-bit integer that
is not exactly the DOUBLE's (15 digits always are), or a time between two microseconds, is refused where it is met, by
its column: see `cast`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bascule.errors import InputError

if TYPE_CHECKING:  # who serves features has no other use of it
    import duckdb

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
FLOATS = ("FLOAT", "DOUBLE")
EXACT_DIGITS = 15  # of a decimal that a DOUBLE gives back as it was
TIMES = ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "DATE")
KEPT = (*INTEGERS, *FLOATS, *TIMES, "BOOLEAN", "VARCHAR")
NANOSECONDS = ("TIMESTAMP_NS", "TIMESTAMPTZ_NS", "TIMESTAMP_NS WITH TIME ZONE")
_CAST = {
    "DECIMAL": "DOUBLE",
    "HUGEINT": "DOUBLE",
    "UHUGEINT": "DOUBLE",
    "ENUM": "VARCHAR",
    "UUID": "VARCHAR",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
    "TIMESTAMP_NS": "TIMESTAMP",
    "TIMESTAMPTZ_NS": "TIMESTAMP WITH TIME ZONE",
    "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE",
    "TIMESTAMP_NS WITH TIME ZONE": "TIMESTAMP WITH TIME ZONE",
}


def feature_type(column_type: str) -> str | None:
    """Return the type that a column has as a feature, or None when it cannot be one (lists, structs, blobs)."""
    if column_type in KEPT:
        return column_type
    return _CAST.get(column_type.split("(")[0].strip())


def is_wide(column_type: str) -> bool:
    """Tell whether the feature type of a column cannot hold every value of it."""
    if column_type.startswith("DECIMAL("):
        return int(column_type[len("DECIMAL(") :].partition(",")[0]) > EXACT_DIGITS
    return column_type in ("DECIMAL", "HUGEINT", "UHUGEINT") or column_type in NANOSECONDS


def cast(column: str, column_type: str, wanted: str, where: str) -> str:
    """SQL for a column in a feature type. A value that would become another one ends the query, with its column.

    Args:
        where: whose column it is, for the message.
    """
    name = quoted(column)
    if wanted == column_type:
        return name
    if wanted not in ("DOUBLE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE") or not is_wide(column_type):
        return f"CAST({name} AS {wanted})"
    fine = column_type in NANOSECONDS
    problem = "a time that is not a whole microsecond" if fine else "a value of more digits than a DOUBLE holds"
    told = f"{where}: column '{column}' has {problem}: ".replace("'", "''")
    whole = not column_type.startswith("DECIMAL") or column_type.endswith(",0)")
    better = "TIMESTAMP" if fine else "UBIGINT, DOUBLE or VARCHAR" if whole else "DOUBLE or VARCHAR"
    hint = f" (CAST it in the SQL to {better})"
    same = f"TRY_CAST(CAST({name} AS {wanted}) AS {column_type}) IS NOT DISTINCT FROM {name}"
    return f"CASE WHEN {same} THEN CAST({name} AS {wanted}) ELSE error('{told}' || {name} || '{hint}') END"


def family(type_name: str) -> str:
    """Return what a feature type is compared as: integer, number, boolean, time, date or text."""
    if type_name in INTEGERS:
        return "integer"
    if type_name in FLOATS:
        return "number"
    return {"BOOLEAN": "boolean", "VARCHAR": "text", "DATE": "date"}.get(type_name, "time")


def quoted(name: str) -> str:
    """Quote a name for SQL."""
    return '"' + name.replace('"', '""') + '"'


def microseconds(expression: str, type_name: str) -> str:
    """SQL for a time as microseconds since 1970 UTC (BIGINT), rounded down; infinite times become NULL.

    It does not depend on the session's time zone.
    """
    if type_name in NANOSECONDS:  # a cast would round up, and let an example see what is later
        nanoseconds = f"epoch_ns({expression})"
        return f"(({nanoseconds} - ({nanoseconds} % 1000 + 1000) % 1000) // 1000)"
    known = feature_type(type_name) or type_name
    # A cast to its own type costs nothing; nanoseconds with a zone have no epoch_us().
    return f"epoch_us(CAST({expression} AS {'TIMESTAMP' if known == 'DATE' else known}))"


def since(time: str, length: int) -> str:
    """SQL of the time (µs) so long before another one, or of the first that there is."""
    # What began before any time is as old as the oldest: a difference of 64 bits would go beyond them.
    return f"(greatest({time}, {length - 2**63}) - {length})" if length < 2**63 else str(1 - 2**63)


def describe(connection: duckdb.DuckDBPyConnection, sql: str, where: str) -> dict[str, str]:
    """Return the columns of a query and their DuckDB types, in order, without running it.

    Raises:
        InputError: the SQL cannot be bound, or names a column twice; the message begins with `where`.
    """
    import duckdb

    if not body(sql):
        raise InputError(f"{where}: the SQL is empty.", hint="Write one SELECT.")
    try:
        rows = connection.execute(f"SELECT column_name, column_type FROM (DESCRIBE (\n{body(sql)}\n))").fetchall()
    except duckdb.Error as error:
        raise InputError(f"{where}: the SQL cannot be used: {first_line(error)}", hint="Correct the SQL.") from None
    columns: dict[str, str] = {}
    for name, column_type in rows:
        if name in columns:
            raise InputError(f"{where}: the SQL gives two columns named {name!r}.", hint="Rename one of them with AS.")
        columns[name] = column_type
    return columns


def body(sql: str) -> str:
    """A query without its closing semicolon, so that it can stand in parentheses on lines of its own."""
    import duckdb

    text = sql.encode()
    end = len(text)
    for offset, kind in reversed(duckdb.tokenize(sql)):
        if kind == duckdb.token_type.comment:
            continue
        if text[offset : offset + 1] != b";":
            break
        end = offset
    return text[:end].decode().rstrip()


def first_line(error: BaseException) -> str:
    """The first line of an engine's message, which says what is wrong; the rest repeats the query."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def same_name(name: str, columns: Mapping[str, str]) -> str | None:
    """The column that SQL means by a name: names are compared without regard to case."""
    if name in columns:
        return name
    folded = name.lower()
    return next((column for column in columns if column.lower() == folded), None)
