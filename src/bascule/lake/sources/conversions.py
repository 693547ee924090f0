"""Reading a column as another type than it seems to have, without losing anything.

DuckDB's casts round `1.5` to the integer 2, cut the time off a date and drop a time's offset; a batch with a changed
unit or clock would slip through. Here each such step has a test that finds the first value it would change.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bascule.lake.iceberg.types import literal, quoted
from bascule.lake.sources.moments import Format

WHOLE = ("BIGINT", "INTEGER", "HUGEINT", "UBIGINT", "SMALLINT", "TINYINT", "UINTEGER", "USMALLINT", "UTINYINT")
ZONED = "TIMESTAMP WITH TIME ZONE"
NAIVE = "TIMESTAMP"
MOMENTS = ("DATE", NAIVE, ZONED)
FLOATING = ("DOUBLE", "FLOAT")
# How the error of DuckDB begins that names a column whose value is refused.
UNFIT = "bascule: unfit: "
# The greatest integer up to which a double holds every integer.
EXACT = 9_007_199_254_740_992


@dataclass(frozen=True, slots=True)
class Conversion:
    """How one column is read.

    Attributes:
        name: the column.
        read: the DuckDB type in which it is read from the file.
        wanted: the type that it becomes.
        expression: SQL that makes the one of the other.
        lossy: SQL that is true for a value that would change; empty when none can.
        format: how a moment is written that is not ISO 8601.
        refused: SQL that is true for a value which stands for another one, tested as it is read.
    """

    name: str
    read: str
    wanted: str
    expression: str
    lossy: str = ""
    format: Format | None = None
    refused: str = ""

    @property
    def checked(self) -> str:
        """The expression, which fails with the column's name for a value that is refused."""
        if not self.refused:
            return self.expression
        return f"CASE WHEN {self.refused} THEN error({literal(UNFIT + self.name)}) ELSE {self.expression} END"


def convert(name: str, seems: str, wanted: str, *, from_text: bool, decimal: str = ".") -> Conversion:
    """Return how to read a column that seems to be of one type as another.

    Args:
        decimal: what stands before the decimals of a number in a text.
        from_text: the file holds text, which can be parsed as any type; JSON holds values that have types.
    """
    column = quoted(name)
    if wanted in FLOATING and (from_text or seems == wanted):
        # 1e400 becomes infinite without a word.
        return Conversion(name, wanted, wanted, column, refused=f"isinf({column})")
    if wanted in (NAIVE, ZONED, "DATE") and (seems in (NAIVE, ZONED) or (from_text and seems == "VARCHAR")):
        return _moment(name, column, seems, wanted, from_text)
    if seems == "DATE" and wanted in (NAIVE, ZONED):
        zone = " AT TIME ZONE 'UTC'" if wanted == ZONED else ""
        return Conversion(name, seems, wanted, f"({column}::TIMESTAMP{zone})")
    is_fraction = seems == "DOUBLE" or (from_text and seems.startswith("DECIMAL"))
    if wanted in WHOLE and (is_fraction or (from_text and seems == "VARCHAR")):
        lossy = f"{column} <> trunc({column}) OR abs({column}) > {EXACT} OR isnan({column})"
        return Conversion(name, "DOUBLE", wanted, f"TRY_CAST({column} AS {wanted})", lossy)
    if wanted.startswith("DECIMAL") and (from_text or seems == "VARCHAR"):
        # The cast of a text rounds: behind its scale may be zeros only, and an exponent must not move digits there.
        text = f"replace({column}, ',', '.')" if decimal == "," else column
        made, scale = f"TRY_CAST({text} AS {wanted})", int(wanted.rstrip(")").rpartition(",")[2])
        rounded = f"regexp_matches({text}, '[.][0-9]{{{scale}}}[0-9]*[1-9]')"
        moved = f"regexp_matches({text}, '[eE]') AND {made}::DOUBLE IS DISTINCT FROM TRY_CAST({text} AS DOUBLE)"
        lossy = f"{column} IS NOT NULL AND ({made} IS NULL OR {rounded} OR {moved})"
        return Conversion(name, "VARCHAR", wanted, made, lossy)
    if from_text or seems == wanted:
        return Conversion(name, wanted, wanted, column)
    made = f"TRY_CAST({column} AS {wanted})"
    return Conversion(name, seems, wanted, made, f"{column} IS NOT NULL AND ({_changes(column, made, seems, wanted)})")


def _changes(column: str, made: str, seems: str, wanted: str) -> str:
    """Return SQL that tells whether a value with a type becomes another one: the casts round, and cut."""
    if seems == "VARCHAR" and wanted in WHOLE:
        return f"{made} IS NULL OR NOT regexp_full_match({column}, '-?(0|[1-9][0-9]*)([.]0+)?')"
    if seems == "VARCHAR" and wanted == "DATE":
        return f"{made} IS NULL OR length({column}) > 10"
    if seems == "VARCHAR" and wanted in FLOATING:
        return f"{made} IS NULL OR isinf({made})"
    if seems in (*WHOLE, "BOOLEAN", *FLOATING) or (seems == "VARCHAR" and wanted == "BOOLEAN"):
        return f"{made} IS NULL OR TRY_CAST({made} AS {seems}) IS DISTINCT FROM {column}"
    return f"{made} IS NULL"


def convert_written(name: str, how: Format, wanted: str) -> Conversion:
    """Return how to read a column of moments that are written in a format of their own: each of them, or none."""
    column = quoted(name)
    moment = how.sql(column)
    lossy = f"{column} IS NOT NULL AND {moment} IS NULL"
    if wanted == "DATE":
        lossy = f"{column} IS NOT NULL AND ({moment})::DATE::TIMESTAMP IS DISTINCT FROM {moment} OR {lossy}"
        return Conversion(name, "VARCHAR", wanted, f"({moment})::DATE", lossy, how)
    expression = f"(({moment}) AT TIME ZONE 'UTC')" if wanted == ZONED else f"({moment})"
    return Conversion(name, "VARCHAR", wanted, expression, lossy, how)


def common(types: list[str]) -> str:
    """Return a type that holds the values of columns of several types: the same column in several files."""
    kinds = set(types)
    if len(kinds) == 1:
        return types[0]
    if kinds <= {"DOUBLE", *WHOLE}:
        return "DOUBLE" if "DOUBLE" in kinds else "HUGEINT" if kinds & {"HUGEINT", "UBIGINT"} else "BIGINT"
    if all(kind in WHOLE or kind.startswith("DECIMAL") for kind in kinds):
        return _decimal(types)
    if kinds <= {"DATE", NAIVE}:
        return NAIVE
    if kinds <= {"DATE", NAIVE, ZONED}:
        return ZONED
    return "VARCHAR"


def _decimal(types: list[str]) -> str:
    """Return the decimal type for numbers of several, which loses no digit of either; text if there is none."""
    found = [re.findall(r"\d+", kind) if kind.startswith("DECIMAL") else ["19", "0"] for kind in types]
    whole, scale = max(int(p) - int(s) for p, s in found), max(int(s) for _, s in found)
    # Of 38 digits, which are all that there are, nobody said that so many stand before the point.
    wide = any(int(p) == 38 for p, _ in found)
    return f"DECIMAL({min(whole + scale, 38)}, {scale})" if whole + scale <= 38 or wide else "VARCHAR"


def _moment(name: str, column: str, seems: str, wanted: str, from_text: bool) -> Conversion:
    # Text is read with its offset even where most values have none: what has none is UTC, what has one is moved to it.
    read = ZONED if from_text else seems
    naive = f"({column} AT TIME ZONE 'UTC')" if read == ZONED else column
    if wanted == "DATE":
        return Conversion(name, read, wanted, f"{naive}::DATE", f"{naive} <> date_trunc('day', {naive})")
    if wanted == NAIVE:
        return Conversion(name, read, wanted, naive)
    return Conversion(name, read, wanted, column if read == ZONED else f"({column} AT TIME ZONE 'UTC')")
