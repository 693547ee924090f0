"""Values that leave a table's rows wherever they stand: in texts of any column, whole or as a part.

A row stays, with something else in the value's place; one that is the subject's own goes. Nothing of it knows what a
subject is: whoever forgets says which texts change, and how.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bascule.lake.forgetting.folder import Folder
from bascule.lake.iceberg import files
from bascule.store import Place

NO_UUID, UUID_LETTERS = UUID(int=0), 36
BATCH = 8_192
AT_ONCE = 200
Row = Mapping[str, Any]


@dataclass(slots=True)
class Replacing:
    """How values leave a table.

    Attributes:
        needles: what stands in a text that may have to change; a text without one is not looked at.
        clean: gives a text without them.
        goes: tells of a row, by its columns in lower case, whether it goes; else its texts change.
        columns: the columns in lower case that `goes` looks at.
        passed: gives the rows, by file, that another step has.
        changes: the rows whose texts change, by file, as the last look found them.
    """

    needles: Sequence[str]
    clean: Callable[[str], str]
    goes: Callable[[Row], bool]
    columns: frozenset[str]
    passed: Callable[[Folder], Mapping[Place, np.ndarray]]
    changes: dict[Place, list[int]] = field(default_factory=dict)

    def find(self, folder: Folder) -> dict[Place, np.ndarray]:
        """Return the rows that go, by file; files of which only texts change have none."""
        found: dict[Place, np.ndarray] = {}
        passed = self.passed(folder)
        for file in folder.data_files():
            apart = set(passed[file.path].tolist()) if file.path in passed else set()
            rows = [(number, goes) for number, goes in self._of_file(file.path) if number not in apart]
            self.changes[file.path] = [number for number, goes in rows if not goes]
            if rows:
                found[file.path] = np.array([number for number, goes in rows if goes], dtype=np.int64)
        return found

    def change(self, path: Place, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Give a file's rows with the texts of those that were found cleaned."""
        wanted, start = np.array(self.changes.get(path, ()), dtype=np.int64), 0
        for batch in batches:
            low, high = np.searchsorted(wanted, [start, start + batch.num_rows])
            columns = list(batch.columns)
            for row in (wanted[low:high] - start).tolist():
                for at, column in enumerate(columns):
                    old = column[row].as_py() if _may_hold(column.type) else None
                    new = self._value(old, batch.schema.field(at).nullable)
                    if new != old:
                        columns[at] = _with(column, row, new)
            yield pa.RecordBatch.from_arrays(columns, schema=batch.schema)
            start += batch.num_rows

    def batch(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """Return rows without those that go and with the texts of others cleaned; None when nothing changes."""
        columns, gone, changed = list(batch.columns), set[int](), False
        for row in sorted({row for column in columns for row in self._hits(column)}):
            old = [column[row].as_py() if _may_hold(column.type) else None for column in batch.columns]
            new = [self._value(cell, True) for cell in old]
            if new == old:
                continue
            changed = True
            told = (_told(cell, column.type) for cell, column in zip(old, batch.columns, strict=True))
            if self.goes(dict(zip((name.casefold() for name in batch.schema.names), told, strict=True))):
                gone.add(row)
                continue
            for at, (before, after) in enumerate(zip(old, new, strict=True)):
                if before != after:
                    columns[at] = _with(columns[at], row, after)
        if not changed:
            return None
        fresh = pa.RecordBatch.from_arrays(columns, names=batch.schema.names)
        return fresh.filter(pa.array([row not in gone for row in range(batch.num_rows)])) if gone else fresh

    def document(self, value: Any) -> Any:
        """Return a JSON document, or the values of a partition, with their texts cleaned."""
        if isinstance(value, dict):
            return {name: self.document(one) for name, one in value.items()}
        return [self.document(one) for one in value] if isinstance(value, list) else self._value(value, True)

    # Inside ----------------------------------------------------------------------------------------------------------

    def _of_file(self, path: Place) -> Iterator[tuple[int, bool]]:
        """Iterate over the rows of a file that have such a text, with whether they go."""
        with pq.ParquetFile(files.readable(path)) as source:
            wanted = [f.name for f in source.schema_arrow if _may_hold(f.type) or f.name.casefold() in self.columns]
            start = 0
            for batch in source.iter_batches(batch_size=BATCH, columns=wanted) if wanted else ():
                for row in sorted({row for column in batch.columns for row in self._hits(column)}):
                    cells = [column[row].as_py() for column in batch.columns]
                    if any(self._value(cell, True) != cell for cell in cells):
                        told = (_told(cell, column.type) for cell, column in zip(cells, batch.columns, strict=True))
                        names = (name.casefold() for name in batch.schema.names)
                        yield start + row, self.goes(dict(zip(names, told, strict=True)))
                start += batch.num_rows

    def _hits(self, column: pa.Array) -> list[int]:
        """Return the rows of a column that have one of the needles in them."""
        if not _may_hold(column.type) or not self._is_in(column):
            return []
        if pa.types.is_nested(column.type):
            return [row for row in range(len(column)) if self._is_in(column.slice(row, 1))]
        return [row for row, hit in enumerate(self._mask(column).to_pylist()) if hit]

    def _is_in(self, column: pa.Array) -> bool:
        if pa.types.is_nested(column.type):
            return any(self._is_in(part) for part in _parts(column) if _may_hold(part.type))
        return bool(pc.any(self._mask(column)).as_py())

    def _mask(self, column: pa.Array) -> pa.Array:
        if _is_uuid(column.type):
            wanted = {needle.lower() for needle in self.needles if len(needle) == UUID_LETTERS}
            return pa.array([bool(wanted) and _as_uuid(cell) in wanted for cell in column.to_pylist()], pa.bool_())
        found = pa.array([False] * len(column), pa.bool_())
        for start in range(0, len(self.needles), AT_ONCE):
            some = self.needles[start : start + AT_ONCE]
            pattern = "|".join(re.escape(needle) for needle in some)
            told = pc.match_substring_regex(column, pattern) if some[1:] else pc.match_substring(column, some[0])
            found = pc.or_(found, pc.fill_null(told, False))
        return found

    def _value(self, value: Any, nullable: bool) -> Any:
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, UUID) or (isinstance(value, bytes) and len(value) == 16 and self._is_one(value)):
            return value if not self._is_one(value) else None if nullable else NO_UUID
        if isinstance(value, bytes):
            for needle in self.needles:
                value = value.replace(needle.encode(), b"*" * len(needle.encode()))
            return value
        if isinstance(value, dict):
            return {name: self._value(one, True) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._value(one, False) for one in value)
        return value

    def _is_one(self, value: UUID | bytes) -> bool:
        return _as_uuid(value) in {needle.lower() for needle in self.needles}


def _parts(column: pa.Array) -> list[pa.Array]:
    if pa.types.is_struct(column.type):
        return list(column.flatten())
    if pa.types.is_map(column.type):
        start, end = column.offsets[0].as_py(), column.offsets[-1].as_py()
        return [column.keys.slice(start, end - start), column.items.slice(start, end - start)]
    return [column.flatten()]


def _may_hold(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_may_hold(kind.field(n).type) for n in range(kind.num_fields))
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or _is_bytes(kind) or _is_uuid(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_uuid(kind: pa.DataType) -> bool:
    plain = kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind
    return bool(pa.types.is_fixed_size_binary(plain) and plain.byte_width == 16)


def _as_uuid(cell: Any) -> str:
    return str(cell if isinstance(cell, UUID) else UUID(bytes=cell)) if cell is not None else ""


def _told(cell: Any, kind: pa.DataType) -> Any:
    return _as_uuid(cell) if _is_uuid(kind) else cell


def _with(column: pa.Array, row: int, value: Any) -> pa.Array:
    kind = column.type
    if _is_uuid(kind):
        plain = pa.array([value.bytes if isinstance(value, UUID) else value], pa.binary(16))
        one = pa.ExtensionArray.from_storage(kind, plain) if isinstance(kind, pa.BaseExtensionType) else plain
    else:
        one = pa.array([value], kind)
    return pa.concat_arrays([column.slice(0, row), one, column.slice(row + 1)])
