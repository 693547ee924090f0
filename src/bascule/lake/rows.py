"""Rows on their way into a table, whatever they come as."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from typing import Any

import pyarrow as pa

from bascule.errors import InputError, suggestion
from bascule.lake import engine
from bascule.lake.ahead import ahead
from bascule.lake.iceberg import schemas
from bascule.lake.inputs import reader


class Rows:
    """A stream of record batches with its schema. It can be read once; `count` is told the rows of each batch.

    Args:
        data: an Arrow table, batch or reader, a DuckDB relation, a pandas or Polars frame (a lazy one too), anything
            that speaks Arrow's C stream, or several of these or of dicts, one after the other.
        expected: returns the columns of the table that they are for, which say what the values of dicts are.
        read_ahead: read them in a thread, while those that came are written.

    Raises:
        InputError: for anything else.
    """

    def __init__(self, data: Any, expected: Callable[[], pa.Schema] | None = None, *, read_ahead: bool = False) -> None:
        with engine.told("The rows cannot be read"):
            self.reader = reader(data, expected)
        self.schema: pa.Schema = self.reader.schema
        self.read_ahead = read_ahead
        self.count: Callable[[int], None] = lambda rows: None

    def __iter__(self) -> Generator[pa.RecordBatch]:
        return ahead(self._batches()) if self.read_ahead else self._batches()

    def _batches(self) -> Generator[pa.RecordBatch]:
        while True:
            # The disk that rows come from is not the disk they go to: neither's failure may be told as the other's.
            with engine.told("The rows cannot be read"):
                try:
                    batch = self.reader.read_next_batch()
                except StopIteration:
                    return
                except OSError as error:
                    raise InputError(f"The rows cannot be read: {error}") from error
            self.count(batch.num_rows)
            yield batch


def compared(incoming: pa.Schema, schema: schemas.Schema, table: str, *, evolve: bool) -> list[pa.Field]:
    """Compare the columns that come with those that a table has, and return those to add.

    Raises:
        InputError: when a column is missing or new and `evolve` is not set, or a missing one must have a value.
    """
    known = {name.casefold(): name for name in schemas.names(schema)}
    coming = {name.casefold() for name in incoming.names}
    new = [field for field in incoming if field.name.casefold() not in known]
    missing = [name for key, name in known.items() if key not in coming]
    needed = [f["name"] for f in schema["fields"] if f.get("required") and f["name"] in missing]
    if needed or ((new or missing) and not evolve):
        raise InputError(_difference(table, [f.name for f in new], needed or missing), hint=_hint(new, missing))
    return new


def renamed(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Give columns the table's spelling of their names: SQL does not tell `Origin` from `origin`."""
    spelling = {name.casefold(): name for name in schema.names}
    for batch in batches:
        yield batch.rename_columns([spelling.get(name.casefold(), name) for name in batch.schema.names])


def _difference(table: str, new: list[str], missing: list[str]) -> str:
    said = []
    if missing:
        said.append(f"lack {_listed(missing)}")
    if new:
        said.append(f"have {_listed(new)}, which the table does not")
    return f"The rows for table {table!r} {' and '.join(said)}."


def _hint(new: list[pa.Field], missing: list[str]) -> str:
    for field in new:
        near = suggestion(field.name, missing)
        if near.startswith("Did you mean"):
            return (
                f"Column {field.name!r}: {near[0].lower()}{near[1:]} If it was renamed, rename it back or in the table."
            )
    return "If this is meant, let the table's columns change with the rows (evolve)."


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    word = "column" if len(names) == 1 else "columns"
    return f"the {word} {shown}{', …' if len(names) > 8 else ''}"
