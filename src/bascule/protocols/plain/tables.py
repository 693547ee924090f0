"""Tables as Parquet files, and sets of files as folders."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bascule.history import Commit, Workspace
from bascule.lake import Session, engine
from bascule.lake.filesets import FileSet
from bascule.lake.iceberg.types import quoted
from bascule.protocols.plain.item import Item, item_of

PREFIX = "tables/"
GROUP_ROWS = 122_880


def write_table(session: Session, path: str, name: str, made: Path) -> Item:
    """Write a table as one Parquet file, in the order of its rows; a masked column as the current role reads it."""
    file = made / f"{path}.parquet"
    rows = write_query(session, f"SELECT * FROM {quoted(name)}", file)
    return item_of(path, made, file, rows)


def write_query(session: Session, query: str, file: Path) -> int:
    """Stream the rows of a query into a Parquet file, and return how many there are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with engine.told(f"{file.stem!r} cannot be read"):
        reader: pa.RecordBatchReader = session.sql(query).to_arrow_reader(GROUP_ROWS)
        rows = 0
        with pq.ParquetWriter(file, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
                rows += batch.num_rows
    return rows


def write_files(workspace: Workspace, commit: Commit, path: str, name: str, made: Path) -> Item:
    """Write a set of files as the folder that it was."""
    folder = made / path
    FileSet(workspace, name, at=commit.id).write_out(folder)
    return item_of(path, made, folder)
