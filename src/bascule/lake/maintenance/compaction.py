"""Compaction: small files that follow each other become one; deleted rows go; the rows and their order stay.

The content's identity stays too, so nothing that was derived from the table is out of date. Rows that others append
meanwhile are kept; a file that somebody else rewrote meanwhile is left to the next compaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bascule.counting import counted
from bascule.errors import EnvironmentProblem, InputError
from bascule.lake import engine, moved, objects, staging
from bascule.lake.iceberg import datafiles, files, manifests, metadata, rowgroups, scans, schemas, snapshots
from bascule.lake.iceberg.aligning import aligned
from bascule.lake.iceberg.datafiles import DataFile, Record
from bascule.lake.iceberg.manifests import Entry
from bascule.lake.iceberg.partitions import SPEC_ID
from bascule.lake.iceberg.snapshots import Rewritten
from bascule.lake.iceberg.tables import Table
from bascule.lake.iceberg.types import quoted
from bascule.lake.inputs import BATCH_ROWS
from bascule.lake.maintenance.telling import Tell, quiet
from bascule.lake.tables import Lake
from bascule.store import Place

TARGET = 128 << 20
# A file that is nearly as large as wished is left alone: rewriting it would gain little.
NEARLY = 0.75


@dataclass(frozen=True, slots=True)
class Compaction:
    """What the compaction of a table did, or would do.

    Attributes:
        table: its name.
        files_before, files_after: how many data files the state has.
        rewritten_files, rewritten_bytes: what was read and written anew.
        deletes: how many files with deleted rows went, as their rows are gone now.
        commit: the commit that it made; empty when there was nothing to do, or it was only asked for.
        skipped: why nothing can be done; empty when it can.
    """

    table: str
    files_before: int
    files_after: int
    rewritten_files: int = 0
    rewritten_bytes: int = 0
    deletes: int = 0
    commit: str = ""
    skipped: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


def compact(
    lake: Lake,
    name: str,
    *,
    branch: str = "main",
    target: int = TARGET,
    dry_run: bool = False,
    author: str | None = None,
    tell: Tell = quiet,
) -> Compaction:
    """Rewrite the small files of a branch's table as large ones, and commit.

    Memory is bounded by a few row groups, whatever the table holds.

    Args:
        target: about how large a file becomes, in bytes.
        tell: is told how many rows were written, and of how many.

    Raises:
        NotFound: when there is no such table.
        InputError: for a target of nothing, or a table that Bascule cannot rewrite.
        Conflict: when others kept changing the table.
    """
    _checked(target)
    value = lake.workspace.history.get(branch, objects.path_of(name))
    with lake.writing(value, name) as table:
        table = table.for_writing()
        work = _Compacting(lake, table, target, tell)
        groups = work.groups()
        found = sum(len(group.files) for group in groups)
        size = sum(file.bytes for group in groups for file in group.files)
        before, deletes = value["files"], len(work.deletes)
        if dry_run or not groups:
            after = before - found + sum(max(1, -(-group.bytes // target)) for group in groups)
            return Compaction(name, before, after, found, size, deletes if groups else 0)
        return work.run(groups, branch, author, before)


def compact_tables(
    lake: Lake,
    names: Sequence[str],
    branch: str,
    target: int | None = None,
    *,
    dry_run: bool = False,
    tell: Tell | None = None,
) -> list[Compaction]:
    """Compact some tables of a branch, or all of them; of all, one that cannot be rewritten is left and says why."""
    history, told = lake.workspace.history, tell or quiet
    size = _checked(TARGET if target is None else target)
    wanted = list(names) or [path.removeprefix(objects.PREFIX) for path in history.digests(branch, objects.PREFIX)]
    done = []
    for name in wanted:
        try:
            done.append(compact(lake, name, branch=branch, target=size, dry_run=dry_run, tell=told))
        except InputError as error:
            if names:
                raise
            files = history.get(branch, objects.path_of(name))["files"]
            done.append(Compaction(name, files, files, skipped=error.message))
    return done


def _checked(target: int) -> int:
    if target < 1:
        raise InputError(f"Files of {target} bytes cannot be made.", hint="Give a size such as 128MB.")
    return target


@contextmanager
def _reading(file: DataFile) -> Iterator[None]:
    """Name a data file that is damaged or missing, and the way back."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise EnvironmentProblem(f"The data file {file.path} cannot be read: {error}.", hint=engine.DAMAGED) from error


@dataclass(frozen=True, slots=True)
class _Group:
    """Files that follow each other and become one, or few: with deleted rows a single one is a group too."""

    files: tuple[DataFile, ...]
    sequence: int

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(file.record["file_path"] for file in self.files)


@dataclass(slots=True)
class _Compacting:
    lake: Lake
    table: Table
    target: int
    tell: Tell
    deletes: tuple[Record, ...] = field(init=False)
    _touched: set[Place] = field(init=False)
    _done: int = 0

    def __post_init__(self) -> None:
        self.deletes = tuple(entry["data_file"] for entry in self.table.live(manifests.DELETES))
        self._touched = scans.touched(self.table, self.table.data_files(), self.deletes) if self.deletes else set()

    def groups(self) -> list[_Group]:
        """Return what is worth a rewriting."""
        found: list[_Group] = []
        for entries in self._partitions():
            run: list[DataFile] = []
            sequence = size = 0
            for entry in entries:
                file = self.table.data_file(entry)
                is_small = file.bytes < self.target * NEARLY or file.path in self._touched
                if run and (not is_small or size + file.bytes > self.target):
                    found.append(_Group(tuple(run), sequence))
                    run, size = [], 0
                if is_small:
                    sequence = sequence if run else int(entry["sequence_number"])
                    run.append(file)
                    size += file.bytes
            if run:
                found.append(_Group(tuple(run), sequence))
        return [g for g in found if len(g.files) > 1 or g.files[0].path in self._touched]

    def _partitions(self) -> list[list[Entry]]:
        """Return the entries in the order in which they came, apart by partition: a file is in one."""
        apart: dict[tuple[int, str], list[Entry]] = {}
        for entry in sorted(self.table.live(manifests.DATA), key=lambda entry: int(entry["sequence_number"])):
            record = entry["data_file"]
            apart.setdefault((record[SPEC_ID], repr(record["partition"])), []).append(entry)
        return list(apart.values())

    def run(self, groups: Sequence[_Group], branch: str, author: str | None, before: int) -> Compaction:
        written = self._write(groups)
        landed: list[Rewritten] = []
        old = sum(len(group.files) for group in groups)
        told = {
            "message": f"Compact {self.table.name}: {counted(old, 'file')}",
            "author": author,
            "meta": {"compacts": old},
        }

        def stage(now: Table) -> Table:
            landed[:] = self._fitting(now, groups, written)
            if not landed:
                return now
            deletes_too = self._all_applied(now, landed, written)
            listed = moved.note(now, (path for one in landed for path in one.removed))
            document = metadata.with_properties(now.for_writing().metadata, {moved.MOVED: listed})
            now = Table(now.name, now.folder, now.path, document)
            return snapshots.rewrite(now, landed, deletes_too=deletes_too)

        path = objects.path_of(self.table.name)
        commit = self.lake.land(branch, path, stage, told, data_too=False)
        here = {one.removed for one in landed}
        datafiles.remove(record for one in written if one.removed not in here for record in one.records)
        after = self.lake.workspace.history.get(commit, path)
        done = [group for group in groups if group.paths in here]
        return Compaction(
            self.table.name,
            before,
            after["files"],
            sum(len(group.files) for group in done),
            sum(group.bytes for group in done),
            len(self.deletes) if len(done) == len(groups) else 0,
            commit.id if landed else "",
        )

    # Inside ----------------------------------------------------------------------------------------------------------

    def _write(self, groups: Sequence[_Group]) -> list[Rewritten]:
        written: list[Rewritten] = []
        total = sum(group.rows for group in groups)
        try:
            for group in groups:
                rows = self._counted(self._rows(group), total)
                records = datafiles.write(rows, self.table.schema, self.table.folder / "data", self.target)
                place = {name: group.files[0].record[name] for name in ("partition", SPEC_ID)}
                written.append(Rewritten(group.paths, tuple({**one, **place} for one in records), group.sequence))
        except BaseException:
            datafiles.remove(record for one in written for record in one.records)
            raise
        return written

    def _rows(self, group: _Group) -> Iterator[pa.RecordBatch]:
        """Stream a group's rows in their order, in the table's columns of today."""
        arrow = schemas.to_arrow(self.table.schema)
        others: list[DataFile] = []
        for file in group.files:
            with _reading(file), pq.ParquetFile(files.readable(file.path)) as source:
                if not source.schema_arrow.remove_metadata().equals(arrow, check_metadata=True):
                    others.append(file)
                    continue
                yield from self._by_engine(others, arrow)
                others = []
                yield from datafiles.without(source.iter_batches(batch_size=rowgroups.CHUNK), self._deleted(file))
        yield from self._by_engine(others, arrow)

    def _deleted(self, file: DataFile) -> np.ndarray:
        none = np.empty(0, dtype=np.int64)
        if file.path not in self._touched:
            return none
        return staging.with_deleted(self.table, file, none, self.lake.workspace.temporary_folder)

    def _by_engine(self, wanted: Sequence[DataFile], arrow: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Stream the rows of files whose columns were renamed, added, dropped or widened since."""
        if not wanted:
            return
        temporary = self.lake.workspace.temporary_folder
        with engine.opened(temporary) as connection, engine.told(f"{self.table.name!r} cannot be rewritten"):
            # A scan keeps the order of its rows, but for files that deletes touch: those come one by one, and sorted.
            for touched, same in groupby(wanted, key=lambda file: file.path in self._touched):
                for part in ([one] for one in same) if touched else [list(same)]:
                    source = scans.scan(self.table, only=part, positions=touched)
                    columns = ", ".join(quoted(name) for name in schemas.names(self.table.schema))
                    order = " ORDER BY __row" if touched else ""
                    relation = connection.sql(f"SELECT {columns} FROM {source}{order}")
                    yield from aligned(relation.to_arrow_reader(BATCH_ROWS), arrow, self.table.name)

    def _counted(self, rows: Iterator[pa.RecordBatch], total: int) -> Iterator[pa.RecordBatch]:
        for batch in rows:
            yield batch
            self._done += batch.num_rows
            self.tell(f"rewriting {self.table.name}", self._done, total)

    def _fitting(self, now: Table, groups: Sequence[_Group], written: Sequence[Rewritten]) -> list[Rewritten]:
        """Return the groups whose files are there as they were: nobody deleted or rewrote rows of them meanwhile."""
        there = {entry["data_file"]["file_path"] for entry in now.live(manifests.DATA)}
        known = {record["file_path"] for record in self.deletes}
        new = [e["data_file"] for e in now.live(manifests.DELETES) if e["data_file"]["file_path"] not in known]
        hit = scans.touched(now, [file for group in groups for file in group.files], new) if new else set()
        return [
            one
            for group, one in zip(groups, written, strict=True)
            if there.issuperset(one.removed) and not any(file.path in hit for file in group.files)
        ]

    def _all_applied(self, now: Table, landed: Sequence[Rewritten], written: Sequence[Rewritten]) -> bool:
        known = {record["file_path"] for record in self.deletes}
        here = {entry["data_file"]["file_path"] for entry in now.live(manifests.DELETES)}
        return len(landed) == len(written) and here <= known
