"""Which data files two states do not share: only these hold rows that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from bascule.lake import merging
from bascule.lake.comparing.schemas import same_table
from bascule.lake.iceberg import manifests, schemas
from bascule.lake.iceberg.datafiles import DataFile
from bascule.lake.iceberg.tables import Table


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
        files = files_between(before, after)
        alike = True
    else:
        files = Changed(before.data_files(), after.data_files())
        alike = schemas.same(before.schema, after.schema)
    if not alike or _deletes(before) or _deletes(after):
        return files
    contents = Counter(file.digest for file in files.went), Counter(file.digest for file in files.came)
    return Changed(_more(files.went, contents[0] - contents[1]), _more(files.came, contents[1] - contents[0]))


def files_between(before: Table, after: Table) -> Changed:
    """Return the files by which two states of one table differ: those that one lacks, or has other rows deleted of."""
    came, went = merging.changed(before, after)
    files = Changed([before.data_file(entry) for entry in went], [after.data_file(entry) for entry in came])
    old, new = _deletes(before), _deletes(after)
    touched = _named(before, [old[path] for path in old.keys() - new.keys()])
    touched |= _named(after, [new[path] for path in new.keys() - old.keys()])
    there = {file.path for file in files.went}
    both = {file.path: file for file in before.data_files()} if touched else {}
    shared = [both[path] for path in sorted(touched) if path in both and path not in there]
    return Changed([*files.went, *shared], [*files.came, *shared])


def _more(files: Sequence[DataFile], wanted: Counter[str]) -> list[DataFile]:
    found = []
    for file in files:
        if wanted[file.digest] > 0:
            wanted[file.digest] -= 1
            found.append(file)
    return found


def _deletes(table: Table) -> dict[str, dict[str, object]]:
    return {entry["data_file"]["file_path"]: entry["data_file"] for entry in table.live(manifests.DELETES)}


def _named(table: Table, records: Sequence[dict[str, object]]) -> set[Path]:
    """Return the data files of which delete files take rows out. What cannot be read so, reading the rows refuses."""
    found: set[Path] = set()
    for record in records:
        if record["content"] == manifests.POSITION_DELETES and str(record["file_format"]).upper() == "PARQUET":
            places = pq.read_table(table.resolve(str(record["file_path"])), columns=["file_path"])["file_path"]
            found |= {table.resolve(place) for place in pc.unique(places).to_pylist()}
    return found
