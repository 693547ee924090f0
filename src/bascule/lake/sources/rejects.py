"""Lines of CSV files that DuckDB cannot read: where they are, and what is wrong with them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from bascule.errors import InputError
from bascule.lake.iceberg.types import quoted
from bascule.lake.sources import text
from bascule.lake.sources.quarantine import MOST
from bascule.lake.sources.text import NOT_UTF8

_VALUE = re.compile(r'Could not convert string "(?P<value>.*)" to', re.DOTALL)
SHOWN = 5


def refuse_rejected(connection: duckdb.DuckDBPyConnection, rejects: str, types: Mapping[str, str]) -> None:
    """Raise `InputError` when reading put anything into a rejects table, naming file, line, column and value.

    Args:
        types: the columns' types as the user knows them.
    """
    found = take_rejected(connection, rejects)
    if found:
        found = by_line(found)
        told = list(dict.fromkeys(_told(row, types) for row in found[:SHOWN]))
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        raise InputError("\n".join(told) + more, hint=_hint(found[0]["error_type"]))


def take_rejected(connection: duckdb.DuckDBPyConnection, rejects: str) -> list[dict[str, Any]]:
    """Return what reading put into a rejects table, in the order of the files, and drop the table."""
    listed = connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE table_name = ? AND temporary", [rejects]
    ).fetchall()
    if not listed[0][0]:
        return []
    query = (
        f"SELECT s.file_path, r.line_byte_position, r.column_name, r.error_type, r.csv_line, r.error_message "
        f"FROM {quoted(rejects)} AS r JOIN (SELECT DISTINCT scan_id, file_id, file_path FROM "
        f"{quoted(rejects + '_scans')}) AS s USING (scan_id, file_id) ORDER BY ALL LIMIT {2 * MOST}"
    )
    found: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    for name in (rejects, rejects + "_scans"):
        connection.execute(f"DROP TABLE IF EXISTS {quoted(name)}")
    return found


def by_line(rejected: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return one of what was said of each line. Of fields too many or too few each is told: the last says the count."""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rejected:
        place = row["file_path"], row["line_byte_position"]
        if place not in found or _further(row, found[place]):
            found[place] = row
    return list(found.values())


def _further(row: dict[str, Any], other: dict[str, Any]) -> bool:
    kind = row["error_type"]
    if kind != other["error_type"] or kind not in ("TOO MANY COLUMNS", "MISSING COLUMNS"):
        return False
    many, before = (int(re.findall(r"\d+", one["error_message"])[1]) for one in (row, other))
    return many > before if kind == "TOO MANY COLUMNS" else many < before


def reason(row: dict[str, Any], types: Mapping[str, str]) -> str:
    """Return what is wrong with a line, as a sentence.

    Args:
        types: the columns' types as the user knows them.
    """
    kind, column, shown = row["error_type"], row["column_name"], str(row["csv_line"])[:200]
    if kind == "CAST":
        match = _VALUE.search(row["error_message"])
        value = match["value"] if match else shown
        wanted = types.get(column) or row["error_message"].rpartition(" to ")[2].strip("'")
        return f"column {column!r} is {wanted} and cannot hold {value!r}."
    if kind in ("MISSING COLUMNS", "TOO MANY COLUMNS"):
        numbers = re.findall(r"\d+", row["error_message"])
        return f"the header names {numbers[0]} columns, this line has {numbers[1]}: {shown}"
    if kind == "INVALID ENCODING":
        return f"this is not UTF-8 text: {shown}"
    if kind == "UNQUOTED VALUE":
        return f"a quote in column {column!r} is not closed or not escaped: {shown}"
    return str(row["error_message"])


def _told(row: dict[str, Any], types: Mapping[str, str]) -> str:
    path = Path(row["file_path"])
    return f"{path}:{text.line_at(path, row['line_byte_position'] - 1)}: {reason(row, types)}"


def _hint(kind: str) -> str:
    hints: Mapping[str, str] = {
        "INVALID ENCODING": NOT_UTF8,
        "CAST": "If the column's meaning changed, give it a new name; if the file is wrong, repair it.",
    }
    return hints.get(kind, "Repair the lines; nothing of the file was taken.")
