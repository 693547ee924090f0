"""Ingestion: files become rows of a table, each file once, all of them or none."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from bascule.errors import InputError
from bascule.lake import engine, objects, seen, staging
from bascule.lake.guessing import by_guess
from bascule.lake.iceberg import datafiles, files, metadata, schemas
from bascule.lake.iceberg.datafiles import Record
from bascule.lake.iceberg.tables import Table
from bascule.lake.ingested import IngestedFile, IngestReport, noted
from bascule.lake.objects import Object
from bascule.lake.origins.local import CONVERTED
from bascule.lake.origins.origin import Part, Tell
from bascule.lake.rows import Rows
from bascule.lake.sources import Quarantine, Rejected, SourceScan, discovery, read_source
from bascule.lake.sources.meter import Meter
from bascule.lake.sources.moments import Dates
from bascule.lake.sources.scan import NULL_VALUES
from bascule.lake.sources.sifting import Sift
from bascule.lake.tables import Lake

Mode = Literal["append", "replace"]
# Files by path, folder or pattern, or parts that an origin brought.
Given = str | Path | Sequence[Part]


def ingest(
    lake: Lake,
    name: str,
    source: Given,
    *,
    branch: str = "main",
    mode: Mode = "append",
    key: Sequence[str] = (),
    evolve: bool = False,
    null_values: Sequence[str] = NULL_VALUES,
    dates: str = "",
    message: str | None = None,
    author: str | None = None,
    meta: Mapping[str, Any] | None = None,
) -> IngestReport:
    """Take files into a table of a branch and commit: each content once, however often and by whatever name it comes.

    The digests of the files are kept with the table's state (`bascule.lake.seen`), so a merge brings them along and a
    revert takes them back. Two ingests at once, even of the same files, end as if one came after the other.

    Args:
        source: a file, a folder or a glob.
        mode: `append` adds the files that are new; `replace` puts all files in the place of the table, unless they are
            the ones that it holds already.
        key: the key of a table that is made now.
        evolve: let new columns be added, and missing ones be null.
        dates: `day-first` or `month-first`, where the files' days leave it open; as the table's before if empty.

    Raises:
        NotFound, InputError: as `read_source` and `Lake.append` do. Nothing was changed then.
    """
    work = _Ingest(lake, name, mode, key, evolve, tuple(null_values), dates)
    told: dict[str, Any] = {"author": author, "message": message or f"Ingest {source} into {name}", "meta": meta or {}}
    before = lake.workspace.history.read(branch, objects.path_of(name))
    if before is None or mode == "replace":
        return work.replace_and_commit(source, branch, told)
    return work.append_and_commit(before, source, branch, told)


def stage_ingest(
    lake: Lake,
    value: Object | None,
    name: str,
    source: Given,
    *,
    mode: Mode = "append",
    key: Sequence[str] = (),
    evolve: bool = False,
    null_values: Sequence[str] = NULL_VALUES,
    dates: str = "",
    tolerate: float = 0.0,
    tell: Tell = lambda text: None,
) -> IngestReport:
    """Do what `ingest` does, short of committing: `report.value` is the table's next state.

    Args:
        tolerate: the share of a file's records, from 0 to 1, that may be set aside because they cannot be read;
            `report.rejected` has them. A file with more is refused.
        tell: told how far it is.
    """
    aside = Quarantine(tolerate)
    work = _Ingest(lake, name, mode, key, evolve, tuple(null_values), dates, aside, tell)
    return replace(work.stage(value, source), rejected=tuple(aside.records))


def pending(
    lake: Lake, value: Object | None, source: str | Path, *, mode: Mode = "append", dates: str = ""
) -> list[tuple[Path, str]]:
    """Return the files that an ingest would take in now, each with the digest of its content.

    Args:
        value: the table's object, or None when there is no table yet.
        dates: the order of days and months that is wanted now; files that were read in another one are replaced.

    Raises:
        NotFound: there is no such file.
    """
    digests = [(path, digest_of_file(path)) for path in discovery.find(source, CONVERTED)]
    table = lake.table(value) if value is not None else None
    known = seen.sources(table) if table is not None else {}
    known |= {source.version["of"]: source for source in known.values() if "of" in source.version}
    held = {source.version.get("of", digest) for digest, source in known.items()}
    if mode == "replace" and ({digest for _, digest in digests} != held or _is_other_order(table, dates)):
        return digests
    return [(path, digest) for path, digest in digests if digest not in known]


def parts_of(source: Given) -> list[Part]:
    """Return the files of a source as parts, each content once, by the name that it has first.

    Raises:
        NotFound, InputError: as `discovery.find`.
    """
    if not isinstance(source, str | Path):
        return list({part.digest: part for part in reversed(source)}.values())[::-1]
    parts = [Part(path, digest_of_file(path), path.name) for path in discovery.find(source)]
    return parts_of(parts)


def digest_of_file(path: Path) -> str:
    """Return the BLAKE3 of a file's content, as 64 hexadecimal characters."""
    hasher = blake3()
    with files.told(path):
        hasher.update_mmap(path)
    return hasher.hexdigest()


@dataclass(frozen=True, slots=True)
class _Group:
    """A file and the data files that its rows became."""

    file: IngestedFile
    records: list[Record]
    dates: Dates
    columns: Sequence[str]
    assumed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Taken:
    """What became of one file's rows: its data files, and what was found in it."""

    written: staging.Written
    dates: Dates
    rejected: list[Rejected]
    columns: Sequence[str]
    assumed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Ingest:
    lake: Lake
    name: str
    mode: Mode
    key: Sequence[str]
    evolve: bool
    null_values: tuple[str, ...]
    dates: str = ""
    aside: Quarantine = field(default_factory=Quarantine)
    tell: Tell = lambda text: None

    def stage(self, value: Object | None, source: Given) -> IngestReport:
        if value is None:
            return self._stage_new(source)
        with self.lake.writing(value, self.name) as table:
            fresh, skipped = self.split(table, source)
            if not fresh:
                return IngestReport(self.name, skipped, 0, value)
            return self._finish(table, self.write(table, fresh), skipped)

    def replace_and_commit(self, source: Given, branch: str, told: dict[str, Any]) -> IngestReport:
        history, path = self.lake.workspace.history, objects.path_of(self.name)
        digest = history.digest(branch, path)
        before = history.object(digest) if digest else None
        report = self.stage(before, source)
        if not report.changed:
            return report
        told = _with_files(told, report.files)
        with self.lake.discarded_on_conflict(report.value, before):
            commit = history.commit(branch, {path: report.value}, expect={path: digest}, **told)
        return replace(report, commit=commit)

    def append_and_commit(self, before: Object, source: Given, branch: str, told: dict[str, Any]) -> IngestReport:
        path = objects.path_of(self.name)
        with self.lake.writing(before, self.name) as table:
            fresh, skipped = self.split(table, source)
            if not fresh:
                return IngestReport(self.name, skipped, 0, before)
            groups, schema, last = self.write(table, fresh)

            def stage(now: Table) -> Table:
                known = seen.sources(now)  # another ingest may have taken some of the files meanwhile
                left = [group for group in groups if group.file.digest not in known]
                if not left:
                    return now
                written = staging.Written(table, schema, last, [r for group in left for r in group.records])
                with staging.kept_if_done(written):
                    return staging.append(_dated(now, left), written, {}, _noted(now, left))

            done = tuple(group.file for group in groups)
            commit = self.lake.land(branch, path, stage, _with_files(told, done), data_too=False)
        value = self.lake.workspace.history.get(commit, path)
        taken = (*skipped, *done)
        return IngestReport(self.name, taken, sum(file.rows for file in done), value, commit, _assumed(groups))

    def split(self, table: Table, source: Given) -> tuple[list[Part], tuple[IngestedFile, ...]]:
        """Return the parts to take in, and what is said of the others."""
        known = seen.sources(table)
        parts = parts_of(source)
        other = {part.digest for part in parts} != set(known) or _is_other_order(table, self.dates)
        if self.mode == "replace" and other:
            return parts, ()
        skipped = [IngestedFile(p.path, p.digest, known[p.digest].rows, "skipped") for p in parts if p.digest in known]
        return [part for part in parts if part.digest not in known], tuple(skipped)

    def write(self, table: Table, fresh: Sequence[Part]) -> tuple[list[_Group], schemas.Schema, int]:
        """Write the files' rows as data files of a table; return them with the schema that they were written with."""
        with engine.opened(self.temporary) as connection:
            return self._write(table, fresh, partial(self._read_one, connection))

    def _write(
        self, table: Table, fresh: Sequence[Part], read: Callable[[Table, Part, Meter], _Taken]
    ) -> tuple[list[_Group], schemas.Schema, int]:
        groups: list[_Group] = []
        current = table.for_writing()
        self.aside.names.update({part.path: part.name for part in fresh})
        meter = Meter([part.path for part in fresh], self.tell)
        try:
            for part in fresh:
                taken = read(current, part, meter)
                written = taken.written
                document = metadata.with_schema(current.metadata, written.schema, written.last_column)
                rows = sum(record["record_count"] for record in written.records)
                told = (part.name, len(taken.rejected), part.origin, part.version)
                file = IngestedFile(part.path, part.digest, rows, "ingested", *told)
                groups.append(_Group(file, written.records, taken.dates, taken.columns, taken.assumed))
                current = _dated(Table(current.name, current.folder, current.path, document), groups[-1:])
                self.aside.add(taken.rejected)
                self.aside.refuse_beyond(part.name, len(taken.rejected), rows)
                if not rows:
                    raise InputError(f"{part.path} has a header and no rows.", hint="Give a file with rows.")
        except BaseException:
            datafiles.remove(record for group in groups for record in group.records)
            raise
        return groups, current.schema, current.metadata[metadata.LAST_COLUMN]

    def _read_one(self, connection: duckdb.DuckDBPyConnection, table: Table, part: Part, meter: Meter) -> _Taken:
        """Take in a file of a table that is there: its types are held to."""
        known = objects.dates_of(table)
        if self.mode == "append":
            _refuse_other_order(table, known, self.dates)
        with TemporaryDirectory(dir=self.temporary) as spool:
            look = partial(self._look, Path(spool), [part.path], schemas.to_arrow(table.schema), known)
            return by_guess([part.path], look, partial(self._take, table, part, meter), connection, self.temporary)

    def _look(
        self,
        spool: Path,
        paths: Sequence[Path],
        expected: pa.Schema | None,
        known: Mapping[str, str] | None,
        connection: duckdb.DuckDBPyConnection,
        *,
        sample: int = 0,
    ) -> SourceScan:
        return read_source(
            paths,
            connection,
            expected=expected,
            evolve=self.evolves,
            null_values=self.null_values,
            checked=False,
            dates=self.dates,
            known=known,
            quarantine=self.aside,
            spool=spool,
            sample=sample,
        )

    @property
    def temporary(self) -> Path:
        return self.lake.workspace.temporary_folder

    @property
    def evolves(self) -> bool:
        return self.evolve or self.mode == "replace"

    def _take(
        self,
        table: Table,
        part: Part,
        meter: Meter,
        connection: duckdb.DuckDBPyConnection,
        scan: SourceScan,
    ) -> _Taken:
        written: staging.Written | None = None
        try:
            with scan.told(connection):
                rows = Rows(scan.rows_of(connection, part.path), read_ahead=True)
                counted, sift = meter.counted(rows, part.path), self._sift(part, scan)
                written = staging.write_rows(table, counted, evolve=self.evolves, sift=sift.sifted if sift else None)
                rejected = [*part.rejected, *(scan.aside(part.path) if scan.aside else ())]
                rejected += sift.rejected if sift else []
        except BaseException:
            # Lines that cannot be read show only when all are read.
            datafiles.remove(written.records if written else ())
            raise
        columns = [column.name for column in scan.columns]
        return _Taken(written, scan.dates, rejected, columns, (*part.assumed, *scan.dates.assumed))

    def _sift(self, part: Part, scan: SourceScan) -> Sift | None:
        """Return what takes out rows that do not fit; texts are held to types as they are read."""
        if scan.format != "parquet":
            return None
        return Sift(part.name, pq.read_metadata(part.path).num_rows, self.aside.share)

    def _stage_new(self, source: Given) -> IngestReport:
        fresh = parts_of(source)
        paths = [part.path for part in fresh]
        self.aside.names.update({part.path: part.name for part in fresh})
        # All files at once, so that a column that is whole in the first and fractional in the last is a double.
        with engine.opened(self.temporary) as connection, TemporaryDirectory(dir=self.temporary) as spool:
            look, begin = partial(self._look, Path(spool), paths, None, None), partial(self._begin, fresh)
            return by_guess(paths, look, begin, connection, self.temporary)

    def _begin(self, fresh: Sequence[Part], connection: duckdb.DuckDBPyConnection, scan: SourceScan) -> IngestReport:
        def read(table: Table, part: Part, meter: Meter) -> _Taken:
            return self._take(table, part, meter, connection, scan)

        with scan.told(connection):
            schema = scan.schema(connection)

        with staging.created(self.lake.folder, self.name, schema, self.key) as table:
            return self._finish(table, self._write(table, fresh, read), ())

    def _finish(
        self,
        table: Table,
        result: tuple[list[_Group], schemas.Schema, int],
        skipped: tuple[IngestedFile, ...],
    ) -> IngestReport:
        groups, schema, last = result
        written = staging.Written(table, schema, last, [record for group in groups for record in group.records])
        with staging.kept_if_done(written):
            if self.mode == "replace":
                after = staging.overwrite(
                    _dated(table, groups, afresh=True), written, {}, _noted(table, groups, afresh=True)
                )
            else:
                after = staging.append(_dated(table, groups), written, {}, _noted(table, groups))
            value = objects.describe(after, self.lake.folder)
        done = tuple(group.file for group in groups)
        rows = sum(file.rows for file in done)
        columns = tuple(dict.fromkeys(name for group in groups for name in group.columns))
        return IngestReport(self.name, (*skipped, *done), rows, value, assumed=_assumed(groups), columns=columns)


def _noted(table: Table, groups: Sequence[_Group], *, afresh: bool = False) -> str:
    new = [
        seen.Source(file.digest, file.name, file.rows, file.origin, dict(file.version))
        for file in (group.file for group in groups)
    ]
    return seen.note(table, new, afresh=afresh)


def _dated(table: Table, groups: Sequence[_Group], *, afresh: bool = False) -> Table:
    """Return the table with the order that its days and months were read in, so that the next file is read alike."""
    held = {} if afresh else objects.dates_of(table)
    orders = held | {name: order for group in groups for name, order in group.dates.orders.items()}
    if orders == objects.dates_of(table):
        return table
    value = json.dumps(orders, sort_keys=True) if orders else None
    document = metadata.with_properties(table.metadata, {objects.DATES: value})
    return Table(table.name, table.folder, table.path, document)


def _is_other_order(table: Table | None, wanted: str) -> bool:
    return table is not None and bool(wanted) and set(objects.dates_of(table).values()) - {wanted} != set()


def _refuse_other_order(table: Table, known: Mapping[str, str], wanted: str) -> None:
    """Raise `InputError` when days are to be read in another order than those that the table holds were."""
    other = next((name for name, order in known.items() if wanted and order != wanted), None)
    if other:
        raise InputError(
            f"The dates of column {other!r} in table {table.name!r} were read {known[other]}, not {wanted}.",
            hint=f"Undo what brought them (bascule log --path tables/{table.name}, then bascule revert COMMIT) and "
            "bring the files again, or take `dates` back.",
        )


def _assumed(groups: Sequence[_Group]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(told for group in groups for told in group.assumed))


def _with_files(told: dict[str, Any], done: Sequence[IngestedFile]) -> dict[str, Any]:
    taken = [file for file in done if file.status == "ingested"]
    return {**told, "meta": {**told["meta"], "ingest": [noted(file) for file in taken]}}
