"""Rows of a database that have a value which no column holds: left out of the stream, each with its place and why."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from bascule.errors import InputError
from bascule.lake import cells
from bascule.lake.sources.quarantine import MOST, Rejected, bounded


@dataclass(slots=True)
class Rejects:
    """The rows that were left out of one stream, and how many it had so far."""

    rows: int = 0
    _found: list[Rejected] = field(default_factory=list)

    def left_out(
        self, batch: pa.RecordBatch, wrong: Mapping[int, tuple[str, str]], raw: Callable[[int], Mapping[str, object]]
    ) -> pa.RecordBatch:
        """Return a batch without its wrong rows.

        Args:
            wrong: the column and the reason, by the row's place in the batch.
            raw: returns a row as it came.

        Raises:
            InputError: there are more than anybody will look at.
        """
        for place in sorted(wrong):
            column, why = wrong[place]
            text = bounded(json.dumps(raw(place), default=str, ensure_ascii=False))
            self._found.append(Rejected("", self.rows + place + 1, f"column {column!r} {why}", text, column))
        self.rows += batch.num_rows
        if len(self._found) > MOST:
            raise InputError(
                f"More than {MOST:,} rows cannot be read; the first: {self._found[0]}",
                hint="Say in the query what such a value is, or leave those rows out.",
            )
        if not wrong:
            return batch
        kept = np.ones(batch.num_rows, dtype=bool)
        kept[list(wrong)] = False
        return batch.filter(pa.array(kept))

    def take(self, name: str) -> list[Rejected]:
        """Return what was left out since this was asked, as of a part of that name."""
        found, self._found = self._found, []
        return [replace(one, file=name) for one in found]


def unfit(value: object, kind: pa.DataType) -> str:
    """Return what is said of a value that a column's type does not hold."""
    return f"is {kind} and cannot hold {value!r:.200}."


def record(names: Sequence[str], rows: Sequence[Sequence[object]], place: int) -> dict[str, object]:
    """Return one of some rows by its columns' names."""
    return dict(zip(names, rows[place], strict=True))


def row(columns: Sequence[pa.Array], names: Sequence[str], place: int) -> dict[str, object]:
    """Return a row of some columns."""
    return {name: cells.value(column[place]) for name, column in zip(names, columns, strict=True)}
