"""Sifting: rows of typed files, such as Parquet, that have a value which the table's types do not hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import InputError
from bascule.lake import cells
from bascule.lake.iceberg.aligning import column_for
from bascule.lake.iceberg.fitting import Unlike, misfits
from bascule.lake.iceberg.types import primitive_from_arrow, to_duckdb
from bascule.lake.sources.quarantine import SHOWN, Rejected, bounded


@dataclass(slots=True)
class Sift:
    """Leaves out, of the rows of one file, those that do not fit, and keeps why.

    Attributes:
        name: what the file is called.
        rows: how many rows it has.
        share: the greatest share of them, from 0 to 1, that may be left out.
        rejected: those that were, by their rows from 1.
    """

    name: str
    rows: int
    share: float
    rejected: list[Rejected] = field(default_factory=list)

    def sifted(self, batches: Iterator[pa.RecordBatch], arrow: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Iterate over batches without the rows that do not fit.

        Raises:
            InputError: these are more than is tolerated.
        """
        start = 0
        for batch in batches:
            kept = self._kept(batch, arrow, start)
            start += batch.num_rows
            if len(self.rejected) > self.share * self.rows:
                raise self._too_many(start)
            yield batch if kept is None else batch.filter(kept)

    def _kept(self, batch: pa.RecordBatch, arrow: pa.Schema, start: int) -> pa.Array | None:
        most = int(self.share * self.rows) + SHOWN
        wrong: dict[int, pa.Field] = {}
        for one in arrow:
            for place in self._misfits(column_for(batch, one), one, most):
                wrong.setdefault(place, one)
        if not wrong:
            return None
        for place in sorted(wrong):
            self._reject(batch, place, start, wrong[place])
        kept = np.ones(batch.num_rows, dtype=bool)
        kept[list(wrong)] = False
        return pa.array(kept)

    def _misfits(self, values: pa.Array, wanted: pa.Field, most: int) -> list[int]:
        found: list[int] = []
        if not wanted.nullable and values.null_count:
            found = np.flatnonzero(pc.is_null(values).to_numpy(zero_copy_only=False)).tolist()[:most]
        if values.type == wanted.type:
            return found
        try:
            return found + misfits(values, wanted.type, most)
        except Unlike as error:
            raise InputError(
                f"{self.name}: column {wanted.name!r} is {values.type}, and {wanted.type} in the table: {error}.",
                hint="If the column's meaning changed, give it a new name; if the file is wrong, repair it.",
            ) from error

    def _reject(self, batch: pa.RecordBatch, place: int, start: int, wanted: pa.Field) -> None:
        row = {name: cells.value(batch.column(at)[place]) for at, name in enumerate(batch.schema.names)}
        value = row.get(wanted.name)
        held = f"is {_told(wanted.type)} and cannot hold {str(value)[:200]!r}."
        why = held if value is not None else "must have a value."
        text = bounded(json.dumps(row, default=str, ensure_ascii=False))
        self.rejected.append(Rejected(self.name, start + place + 1, f"column {wanted.name!r} {why}", text, wanted.name))

    def _too_many(self, read: int) -> InputError:
        count = len(self.rejected)
        some = "at least " if read < self.rows else ""
        first = "\n".join(str(one) for one in self.rejected[:SHOWN])
        return InputError(
            f"{self.name}: {some}{count:,} of {self.rows:,} records cannot be read "
            f"({100 * count / self.rows:.3g} %), tolerated are {100 * self.share:.3g} %:\n{first}",
            hint="Repair them, or tolerate more; nothing of the file was taken.",
        )


def _told(kind: pa.DataType) -> str:
    try:
        return to_duckdb(primitive_from_arrow(kind, ""))
    except InputError:
        return str(kind)
