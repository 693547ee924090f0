"""Rows that are tied on keys and time, settled while they are streamed in order: the best one of each stays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.features.columns import quoted

_PLACE, _RUN = "__place", "__run"


class Ties:
    """Settles ties.

    Args:
        connection: compares what is tied, as it does for the join.
        keys: the entity's key columns.
        best: an ORDER BY that puts the row first that is the answer.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, keys: Sequence[str], best: str) -> None:
        self._connection = connection
        self._keys = tuple(keys)
        self._best = best

    def settled(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Give batches without the rows that lose. `batches` are in the order of keys and time."""
        carried: pa.RecordBatch | None = None
        for batch in batches:
            if batch.num_rows == 0:
                continue
            if carried is not None:
                batch = pa.Table.from_batches([carried, batch]).combine_chunks().to_batches()[0]
            follows = self._follows(batch)
            last = batch.num_rows - 1 - int(np.argmin(follows[::-1]))  # where the last run begins
            carried = batch.slice(last)
            if last:
                yield self._without(batch.slice(0, last), follows[:last])
        if carried is not None:
            yield self._without(carried, self._follows(carried))

    def _follows(self, batch: pa.RecordBatch) -> np.ndarray:
        """For each row whether the one before has the same keys and time."""
        found = np.zeros(batch.num_rows, dtype=bool)
        times = batch.column("__time").to_numpy()
        found[1:] = times[1:] == times[:-1]
        for key in self._keys:
            if found.any():
                column = batch.column(key)
                found[1:] &= _same(column.slice(1), column.slice(0, len(column) - 1)).to_numpy(zero_copy_only=False)
        return found

    def _without(self, batch: pa.RecordBatch, follows: np.ndarray) -> pa.RecordBatch:
        if not follows.any():
            return batch
        tied = follows.copy()
        tied[:-1] |= follows[1:]
        places = np.flatnonzero(tied)
        runs = np.cumsum(~follows)[places]
        table = pa.Table.from_batches([batch.take(pa.array(places))])
        table = table.append_column(_PLACE, pa.array(places)).append_column(_RUN, pa.array(runs))
        with self._connection.cursor() as cursor:
            cursor.register("__ties", table)
            order = f"PARTITION BY {quoted(_RUN)} ORDER BY {self._best}"
            lost = cursor.execute(f"SELECT {_PLACE} FROM __ties QUALIFY row_number() OVER ({order}) > 1").fetchnumpy()[
                _PLACE
            ]
        kept = np.ones(batch.num_rows, dtype=bool)
        kept[lost] = False
        return batch.filter(pa.array(kept))


def _same(a: pa.Array, b: pa.Array) -> pa.Array:
    """Whether values are equal, as DuckDB compares: NaN is NaN."""
    same = pc.equal(a, b)
    return pc.or_(same, pc.and_(pc.is_nan(a), pc.is_nan(b))) if pa.types.is_floating(a.type) else same
