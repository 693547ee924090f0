"""Arrow IPC files and streams, and Feather files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from bascule.errors import InputError
from bascule.lake.origins.origin import Asked
from bascule.lake.origins.spool import as_schema, checked_schema, write_arrow

MAGIC = b"ARROW1"


def convert(path: Path, spool: Path, asked: Asked) -> list[Path]:
    """Write an Arrow file or stream as Parquet.

    Raises:
        InputError: it is damaged, empty, or none.
    """
    target = spool / f"{path.name}.parquet"
    with path.open("rb") as source:
        write(source, path.name, target, str(path))
    return [target]


def write(source: BinaryIO, name: str, target: Path, what: str) -> int:
    """Write Arrow IPC, a file or a stream, as Parquet, and return how many rows it has.

    Raises:
        InputError: it is damaged, empty, or none.
    """
    try:
        batches, schema = _opened(source)
        wanted = checked_schema(schema, what)
        rows = write_arrow((as_schema(batch, wanted, what) for batch in batches), wanted, target)
    except (pa.ArrowException, OSError, ValueError) as error:
        target.unlink(missing_ok=True)
        raise InputError(
            f"{what} cannot be read as Arrow IPC: {str(error).splitlines()[0]}",
            hint="It is damaged or cut off, or no Arrow file (Feather version 1 is not): bring it again.",
        ) from error
    if not rows:
        target.unlink(missing_ok=True)
        raise InputError(f"{what} has no rows.", hint="Give a file with rows.")
    return rows


def _opened(source: BinaryIO) -> tuple[Iterator[pa.RecordBatch], pa.Schema]:
    start = source.read(len(MAGIC))
    source.seek(0)
    if start == MAGIC:
        file = pa.ipc.open_file(source)
        return (file.get_batch(number) for number in range(file.num_record_batches)), file.schema
    # A stream may end without saying so; then nobody can tell it from one that was cut off between two batches.
    source.seek(-4, io.SEEK_END)
    if source.read(4) != b"\x00\x00\x00\x00":
        raise ValueError("it does not end as a finished stream does")
    source.seek(0)
    stream = pa.ipc.open_stream(source)
    return iter(stream), stream.schema
