"""Row groups: a stream of rows cut where their number and size say, however it was cut into batches before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pyarrow as pa

ROWS_PER_GROUP = 122_880  # what DuckDB gives one thread
CHUNK = 8_192
FEW = 16  # pieces
GROUP_BYTES = 64 << 20


def grouped(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """Cut a stream of rows into row groups.

    Cut at multiples of `CHUNK` rows and copied into one piece: where batches happened to end must not show in the file.

    Args:
        batches: the rows.
        schema: their columns and types.

    Yields:
        Tables of one chunk a column, each of `ROWS_PER_GROUP` rows or about `GROUP_BYTES`; the last may be shorter.
    """
    waiting, chunks = schema.empty_table(), _Chunks()
    for rows in _gathered(batches, schema):
        waiting = pa.concat_tables([waiting, rows])
        while waiting.num_rows:
            if not chunks.rows and _is_light(waiting):
                if waiting.num_rows < ROWS_PER_GROUP:
                    break
                yield waiting.slice(0, ROWS_PER_GROUP).combine_chunks()
                waiting = waiting.slice(ROWS_PER_GROUP)
                continue
            if waiting.num_rows < CHUNK:
                break
            chunks.add(waiting.slice(0, CHUNK))
            waiting = waiting.slice(CHUNK)
            if chunks.are_enough:
                yield chunks.taken()
    if waiting.num_rows or chunks.rows:
        chunks.add(waiting)
        yield chunks.taken()


def _gathered(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    # At least CHUNK rows at once, in a few pieces: a look at each of very many small batches would cost more than they.
    coming: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        coming.append(batch)
        rows += batch.num_rows
        if rows >= CHUNK:
            table = pa.Table.from_batches(coming, schema)
            yield table if len(coming) <= FEW else table.combine_chunks()
            coming, rows = [], 0
    if coming:
        yield pa.Table.from_batches(coming, schema)


def _is_light(rows: pa.Table) -> bool:
    # Whether rows are far from GROUP_BYTES, however they are copied: then their number alone says where to cut.
    return bool(2 * rows.nbytes + rows.num_rows * rows.num_columns < GROUP_BYTES)


class _Chunks:
    # Rows that may be many bytes, copied chunk by chunk: the size of what is in one piece says nothing of cuts.

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []
        self.rows = self._size = 0

    def add(self, rows: pa.Table) -> None:
        chunk = rows.combine_chunks()
        self._tables.append(chunk)
        self.rows += chunk.num_rows
        self._size += chunk.nbytes

    @property
    def are_enough(self) -> bool:
        return self.rows >= ROWS_PER_GROUP or self._size >= GROUP_BYTES

    def taken(self) -> pa.Table:
        group = pa.concat_tables(self._tables).combine_chunks()
        self._tables, self.rows, self._size = [], 0, 0
        return group
