"""Reading a table as a stream of record batches, however large it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from bascule.errors import InputError
from bascule.lake import engine
from bascule.lake.iceberg import schemas
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.types import quoted
from bascule.lake.inputs import BATCH_ROWS


def read(table: Table, source: str, columns: Sequence[str], where: str, temporary: Path) -> pa.RecordBatchReader:
    """Return a reader of a table's rows; see `Lake.read`.

    Args:
        source: SQL text for FROM that yields them.
        temporary: where DuckDB may spill.
    """
    names = [schemas.find(table.schema, name)["name"] for name in columns] or schemas.names(table.schema)
    query = f"SELECT {', '.join(map(quoted, names))} FROM {source}"
    if where:  # on lines of its own, so that a comment in the condition ends where the condition does
        query += f" WHERE (\n{where}\n)"
    connection = engine.connect(temporary)
    try:
        with engine.told(f"Table {table.name!r} cannot be read"):
            if not where:  # each thread would hold a row group of all columns, and wait for who reads: one is as fast
                connection.execute("SET threads = 1")
            engine.confine(connection, [table.folder])
            if len(connection.extract_statements(query)) != 1:
                raise InputError(
                    f"{where!r} is not one condition.",
                    hint="Write it as after WHERE, such as: amount < 0 and depot = 'north'",
                )
            found = connection.sql(query).to_arrow_reader(BATCH_ROWS)
    except BaseException:
        connection.close()
        raise

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            with engine.told(f"Table {table.name!r} cannot be read"):
                yield from found
        finally:
            connection.close()

    return pa.RecordBatchReader.from_batches(found.schema, batches())
