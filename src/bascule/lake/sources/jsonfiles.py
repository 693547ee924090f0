"""JSON files: one array of objects, or one object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from bascule.errors import InputError
from bascule.lake import engine
from bascule.lake.iceberg.types import literal, quoted
from bascule.lake.sources import text
from bascule.lake.sources.conversions import Conversion, convert


@dataclass(frozen=True, slots=True)
class JsonFile:
    """One JSON file, looked through once: its columns with the type that all values have."""

    path: Path
    types: Mapping[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names in order."""
        return tuple(self.types)

    def conversions(self, wanted: Mapping[str, str]) -> list[Conversion]:
        """Return how to read each column, as the type wanted for its name or else as what it is."""
        return [
            convert(name, kind, wanted.get(name.casefold(), kind), from_text=False) for name, kind in self.types.items()
        ]

    def relation(self, columns: Sequence[Conversion], rejects: str = "") -> str:
        """Return SQL for FROM that reads the columns, in their order. JSON has no rejects: it fails as a whole."""
        chosen = ", ".join(f"{c.expression} AS {quoted(c.name)}" for c in columns)
        listed = ", ".join(f"{literal(name)}: {literal(kind)}" for name, kind in self.types.items())
        source = f"read_json({literal(str(self.path))}, columns = {{{listed}}}, maximum_object_size = 67108864)"
        return f"(SELECT {chosen} FROM {source})"


def look(connection: duckdb.DuckDBPyConnection, path: Path) -> JsonFile:
    """Look a JSON file through.

    Raises:
        InputError: when it is empty, is not JSON, or is not made of objects; with the line where that shows.
    """
    with text.opened(path) as source:
        if not source.read(1 << 16).strip():
            raise InputError(f"{path} is empty.", hint="Give a file with rows.")
    query = f"SELECT * FROM read_json({literal(str(path))}, sample_size = -1, maximum_object_size = 67108864) LIMIT 0"
    try:
        described = connection.sql(query)
    except duckdb.Error as error:
        raise told(path, error) from error
    # What is of several types is text, as JSON writes it.
    types = {
        name: "VARCHAR" if str(kind) == "JSON" else str(kind)
        for name, kind in zip(described.columns, described.types, strict=True)
    }
    if list(types) == ["json"]:
        raise InputError(f"{path} does not hold objects, so it has no columns.", hint='Write rows as {"name": value}.')
    return JsonFile(path, types)


def told(path: Path, error: duckdb.Error) -> InputError:
    """Return the error for a JSON file that cannot be read, with the first line that is wrong."""
    line, what = _first_bad(path)
    if line:
        return InputError(f"{path}:{line}: {what}.", hint="Repair the line; nothing of the file was taken.")
    return InputError(
        f"{path} cannot be read as JSON: {engine.message(error).splitlines()[0]}",
        hint="Write one object a line, or one list of objects.",
    )


def _first_bad(path: Path) -> tuple[int, str]:
    if found := text.first_not_utf8(path):
        return found[0], f"this is not UTF-8 text (byte 0x{found[1].hex()})"
    with text.opened(path) as source:
        whole = source.read().decode("utf-8-sig")
    if whole.lstrip().startswith("["):
        try:
            json.loads(whole)
        except json.JSONDecodeError as error:
            return error.lineno, f"this is not JSON: {error.msg}"
        return 0, ""
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            json.loads(line or "null")
        except json.JSONDecodeError as error:
            return number, f"this is not JSON: {error.msg}"
    return 0, ""
