"""A table's state in parts that never change: its data files, and the rows of those that deletes touch."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from bascule.lake.iceberg import bounds, scans
from bascule.lake.iceberg.datafiles import DataFile, is_own
from bascule.lake.iceberg.tables import Table
from bascule.store import digest_of

SAID = ("null_value_counts", "nan_value_counts", "lower_bounds", "upper_bounds")
NUMBERS = frozenset({"int", "long", "float", "double"})


class FileFacts:
    """What a manifest says of the rows of a data file that Bascule wrote: its counts are exact, its ends are met.

    Attributes:
        rows: how many there are.
    """

    def __init__(self, table: Table, file: DataFile) -> None:
        self.rows = file.rows
        self._kinds = {f["name"]: (f["id"], f["type"]) for f in table.schema["fields"]}
        self._said = {which: {p["key"]: p["value"] for p in file.record.get(which) or ()} for which in SAID}

    def missing(self, column: str) -> int | None:
        """How many rows have no value of a column, NaN being none; None when it is not told."""
        number, kind = self._kinds.get(column, (-1, ""))
        nulls, nans = self._of("null_value_counts", number), self._of("nan_value_counts", number)
        if nulls is None or (nans is None and kind in ("float", "double")):
            return None
        return int(nulls) + int(nans or 0)

    def ends(self, column: str) -> tuple[Any, Any] | None:
        """The least and the greatest number; a pair of None when there is none, None when it is not told."""
        number, kind = self._kinds.get(column, (-1, ""))
        if not isinstance(kind, str) or not (kind in NUMBERS or kind.startswith("decimal")):
            return None
        if self.missing(column) == self.rows:
            return None, None
        low, high = self._of("lower_bounds", number), self._of("upper_bounds", number)
        return None if low is None or high is None else (bounds.decode(kind, low), bounds.decode(kind, high))

    def _of(self, which: str, number: int) -> Any:
        return self._said[which].get(number)


class FileParts:
    """The rows of a table, file by file.

    A part's id stands for a file's content and for the columns that are read from it. A file that position deletes or
    deletion vectors touch is no part, because its rows are not what the file alone says.

    Attributes:
        scope: the table's uuid.
        ids: the parts, in the order in which their files came.
        rest: text usable after FROM with the rows of files that deletes touch; None when there are none.
    """

    def __init__(self, table: Table, without: Collection[str] = ()) -> None:
        """Look at a table's files.

        Args:
            without: leave out the files with these paths: what is left of the table is what came since.

        Raises:
            InputError: the table holds what cannot be read rightly here; see `scans.scan`.
        """
        data, deletes = [f for f in table.data_files() if str(f.path) not in without], table.deletes()
        hit = scans.touched(table, data, deletes)
        self._table = table
        self.scope: str = table.metadata["table-uuid"]
        read = json.dumps([(f["id"], f["name"], f["type"]) for f in table.schema["fields"]], sort_keys=True)
        whole = [file for file in data if file.path not in hit]
        self._files: dict[str, DataFile] = {}
        for file in whole:  # a file that is listed twice has its rows twice
            part = digest_of(f"{self.scope}\n{file.digest}\n{read}".encode())[:32]
            self._files[f"{part}-{len(self._files)}" if part in self._files else part] = file
        self.ids: list[str] = list(self._files)
        touched = [file for file in data if file.path in hit]
        self.rest: str | None = scans.scan(table, only=touched) if touched else None

    def rows(self, ids: Collection[str]) -> int:
        """How many rows some parts have."""
        return sum(self._files[part].rows for part in ids)

    def facts(self, part: str) -> FileFacts | None:
        """What a manifest says of a part; None of a file that Bascule did not write."""
        return FileFacts(self._table, self._files[part]) if is_own(self._files[part].record) else None

    def relation(self, ids: Collection[str]) -> str:
        """Text usable after FROM with the rows of some parts."""
        return scans.scan(self._table, only=[self._files[part] for part in ids], deleted_too=True)

    def labelled(self, ids: Collection[str]) -> tuple[str, Mapping[str, str]]:
        """The same with the columns `__file` and `__row` more, and which part each value of `__file` means."""
        files = {part: self._files[part] for part in ids}
        source = scans.scan(self._table, only=list(files.values()), positions=True, deleted_too=True)
        return source, {str(file.path): part for part, file in files.items()}
