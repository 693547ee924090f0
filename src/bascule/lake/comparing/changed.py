"""Which data files two states do not share: only these hold rows that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.compute as pc
import pyarrow.parquet as pq

from bascule.lake import merging
from bascule.lake.comparing.schemas import same_table
from bascule.lake.iceberg import files, manifests, schemas
from bascule.lake.iceberg.datafiles import DataFile, Record
from bascule.lake.iceberg.tables import Table
from bascule.store import Place


@dataclass(frozen=True, slots=True)
class Changed:
    """The data files to read.

    Attributes:
        went: those that hold rows which the later state may not have.
        came: those that hold rows which the earlier state may not have.
    """

    went: list[DataFile]
    came: list[DataFile]


def changed_files(before: Table, after: Table) -> Changed:
    """Return the files that hold all rows that differ. Files of equal content stand for each other."""
    if same_table(before, after):
        found = files_between(before, after)
        alike = True
    else:
        found = Changed(before.data_files(), after.data_files())
        alike = schemas.same(before.schema, after.schema)
    if not alike or _deletes(before) or _deletes(after):
        return found
    contents = Counter(file.digest for file in found.went), Counter(file.digest for file in found.came)
    return Changed(_more(found.went, contents[0] - contents[1]), _more(found.came, contents[1] - contents[0]))


def files_between(before: Table, after: Table) -> Changed:
    """Return the files by which two states of one table differ: those that one lacks, or has other rows deleted of."""
    came, went = merging.changed(before, after)
    found = Changed([before.data_file(entry) for entry in went], [after.data_file(entry) for entry in came])
    old, new = _deletes(before), _deletes(after)
    touched = _named(before, [old[path] for path in old.keys() - new.keys()])
    touched |= _named(after, [new[path] for path in new.keys() - old.keys()])
    there = {file.path for file in found.went}
    both = {file.path: file for file in before.data_files()} if touched else {}
    shared = [both[path] for path in sorted(touched, key=str) if path in both and path not in there]
    return Changed([*found.went, *shared], [*found.came, *shared])


def _more(files: Sequence[DataFile], wanted: Counter[str]) -> list[DataFile]:
    found = []
    for file in files:
        if wanted[file.digest] > 0:
            wanted[file.digest] -= 1
            found.append(file)
    return found


def _deletes(table: Table) -> dict[tuple[object, ...], Record]:
    """Return what takes rows out of a table's files; several deletion vectors may be in one file."""
    return {(record["file_path"], record.get("content_offset")): record for record in table.deletes()}


def _named(table: Table, records: Sequence[Record]) -> set[Place]:
    """Return the data files of which rows are taken out. What cannot be read so, reading the rows refuses."""
    found: set[Place] = set()
    for record in records:
        if record.get("referenced_data_file"):
            found.add(table.resolve(record["referenced_data_file"]))
        elif record["content"] == manifests.POSITION_DELETES and record["file_format"].upper() == "PARQUET":
            source = files.readable(table.resolve(record["file_path"]))
            places = pc.unique(pq.read_table(source, columns=["file_path"])["file_path"])
            found |= {table.resolve(place) for place in places.to_pylist()}
    return found
