"""Rewriting a table's files without some rows: data files under new names, the metadata that names them in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bascule.lake.forgetting.folder import Folder, partition_fields, spec_id
from bascule.lake.forgetting.replacing import Replacing
from bascule.lake.iceberg import content, datafiles, files, manifests, metadata, partitions
from bascule.lake.iceberg.datafiles import Record, content_of
from bascule.lake.iceberg.manifests import AvroFile, Entry
from bascule.lake.iceberg.tables import FORGOTTEN, Table
from bascule.lake.journal import Journal, Rewritten, begin, staging_folder
from bascule.store import Place
from bascule.store.places import below, place_named

# What a manifest says of a file that follows from its content.
_MEASURED = (
    "file_path",
    "record_count",
    "file_size_in_bytes",
    "column_sizes",
    "value_counts",
    "null_value_counts",
    "nan_value_counts",
    "lower_bounds",
    "upper_bounds",
    "split_offsets",
)


@dataclass(slots=True)
class Rewriting:
    """A rewriting while it is prepared. `prepare` writes everything that is new and ends with a durable journal.

    Attributes:
        folder: the table's files.
        positions: the rows to leave out, by data file.
        id: the forgetting's.
        replacing: what is put in the place of values in the rows that stay.
    """

    folder: Folder
    positions: Mapping[Place, np.ndarray]
    id: str
    replacing: Replacing | None = None
    _staged: Place = field(init=False)
    _records: dict[Place, Record] = field(init=False, default_factory=dict)
    _filled: set[tuple[int, str]] = field(init=False, default_factory=set)
    _renames: list[tuple[str, str]] = field(init=False, default_factory=list)

    def prepare(self, documents: list[str]) -> None:
        """Write all new files, then the journal.

        Args:
            documents: the metadata documents whose state has such rows, for the journal.
        """
        self._staged = staging_folder(self.folder.path)
        done = []
        try:
            for path in sorted(self.positions, key=str):
                done.append(self._data_file(path))
            for path in self.folder.delete_files:
                self._delete_file(path)
            self._filled = set(self._partitions())
            lengths = {path: self._manifest(path, file) for path, file in self.folder.manifests.items()}
            for path, file in self.folder.lists.items():
                self._list(path, file, lengths)
            for document in self.folder.documents:
                self._document(document)
            old = [self._relative(path) for path in sorted(self.positions, key=str)]
            begin(self.folder.path, Journal(self.id, self._renames, old, done, documents))
        except BaseException:
            datafiles.remove(record for record in self._records.values() if "file_path" in record)
            raise

    def _data_file(self, path: Place) -> Rewritten:
        rows = self.positions[path]
        with files.working(self._staged, path.name) as working:
            change = partial(self.replacing.change, path) if self.replacing else iter
            record = datafiles.rewrite_without(path, rows, working, "", change)
            # Not beside the old one: other engines name folders by the values of a partition.
            record["file_path"] = datafiles.named_by_content(working, self.folder.path / "data")
            files.publish(working, place_named(record["file_path"]))
        self._records[path] = record
        before = content_of({"file_path": str(path), "file_size_in_bytes": path.stat().st_size})
        count = len(rows) + (len(self.replacing.changes.get(path, ())) if self.replacing else 0)
        return Rewritten(f"{self.folder.path.name}/data/{path.name}", count, before, content_of(record))

    def _partitions(self) -> Iterator[tuple[int, str]]:
        """Iterate over the partitions that rows are left in: the values of any other are those of the subject alone."""
        for file in self.folder.manifests.values():
            for entry in file.records:
                record = entry["data_file"]
                place = self.folder.newest.resolve(record["file_path"])
                left = self._records.get(place, record)["record_count"]
                if not record.get("content") and left and place.exists():
                    yield spec_id(file), repr(record["partition"])

    def _delete_file(self, path: Place) -> None:
        with pq.ParquetFile(files.readable(path)) as source:
            schema, old = source.schema_arrow, source.read(columns=["file_path", "pos"])
        places = [self.folder.newest.resolve(place) for place in old["file_path"].to_pylist()]
        if not any(place in self._records for place in places) and "row" not in schema.names:
            return
        # Both the old and the new names: until all manifests have changed, some states still read the old file.
        named, numbers = old["file_path"].to_pylist(), old["pos"].to_pylist()
        for place, number in zip(places, list(numbers), strict=True):
            record, gone = self._records.get(place), self.positions.get(place)
            if record is None or gone is None or number in gone:
                continue
            named.append(record["file_path"])
            numbers.append(int(number - np.searchsorted(gone, number)))
        ordered = sorted(zip(named, numbers, strict=True))
        wanted = pa.schema([schema.field("file_path"), schema.field("pos")])
        table = pa.table([[name for name, _ in ordered], [number for _, number in ordered]], schema=wanted)
        target = self._target(path)
        with files.creating(target) as working:
            pq.write_table(table, working, compression="zstd", store_schema=False)
        self._records[path] = {"record_count": len(ordered), "file_size_in_bytes": target.stat().st_size}

    def _manifest(self, path: Place, file: AvroFile) -> int | None:
        changed = False
        for entry in file.records:
            changed |= self._entry(entry)
            changed |= self._partition(entry["data_file"], spec_id(file))
        if not changed:
            return None
        data = manifests.encode(file.schema, file.metadata, file.records)
        files.write(self._target(path), data)
        return len(data)

    def _partition(self, record: Record, spec: int) -> bool:
        values = record["partition"]
        if all(value is None for value in values.values()):
            return False
        if (spec, repr(values)) not in self._filled:
            record["partition"] = dict.fromkeys(values)
            return True
        cleaned = self.replacing.document(values) if self.replacing else values
        record["partition"] = cleaned
        return bool(cleaned != values)

    def _entry(self, entry: Entry) -> bool:
        record = entry["data_file"]
        place = self.folder.newest.resolve(record["file_path"])
        new = self._records.get(place)
        if new is not None and record.get("content"):
            # A delete file: its counts change, and bounds that name one data file would name too few.
            record.update(new, lower_bounds=None, upper_bounds=None)
            return True
        if new is not None:
            record.update({name: new[name] for name in _MEASURED if name in record})
            return True
        if not place.exists() and (record.get("lower_bounds") or record.get("upper_bounds")):
            record.update(lower_bounds=None, upper_bounds=None)  # nobody can tell any more whose values they are
            return True
        return False

    def _list(self, path: Place, file: AvroFile, lengths: Mapping[Place, int | None]) -> None:
        changed = False
        for record in file.records:
            place = self.folder.newest.resolve(record["manifest_path"])
            length = lengths.get(place)
            if place not in self.folder.manifests and record.get("partitions"):
                record["partitions"], changed = None, True  # nobody can tell any more whose values they are
            if length is None:
                continue
            if record.get("partitions"):
                record["partitions"] = self._summaries(self.folder.manifests[place])
            counted = manifests.counts(self.folder.manifests[place].records)
            record["manifest_length"] = length
            record.update({name: count for name, count in counted.items() if name.endswith("rows_count")})
            changed = True
        if changed:
            files.write(self._target(path), manifests.encode(file.schema, file.metadata, file.records))

    def _summaries(self, file: AvroFile) -> list[dict[str, Any]]:
        fields = partition_fields(file)
        found = [{"partition": partitions.from_avro(e["data_file"]["partition"], fields)} for e in file.records]
        return partitions.summaries(found, partitions.parts(self.folder.newest.metadata, spec_id(file)))

    def _document(self, table: Table) -> None:
        document = table.metadata
        snapshots = [self._snapshot(table, snapshot) for snapshot in document.get("snapshots", [])]
        known = table.properties.get(FORGOTTEN, "").split("\n")
        noted = "\n".join([*(one for one in known if one), self.id])
        changed = metadata.with_properties({**document, "snapshots": snapshots}, {FORGOTTEN: noted})
        changed = self.replacing.document(changed) if self.replacing else changed
        metadata.write(self._target(table.path), changed)

    def _snapshot(self, table: Table, snapshot: metadata.Snapshot) -> metadata.Snapshot:
        # Some engines tell of each partition, by its values.
        told = {key: text for key, text in (snapshot.get("summary") or {}).items() if not key.startswith("partitions.")}
        snapshot = {**snapshot, "summary": told}
        listed = self.folder.lists.get(table.resolve(snapshot.get("manifest-list", "")))
        if listed is None:
            return snapshot
        summary = dict(snapshot["summary"])
        new_names = {record["file_path"]: path for path, record in self._records.items() if "file_path" in record}
        gone: list[Record] = []
        come: list[Record] = []
        for manifest in listed.records:
            file = self.folder.manifests.get(table.resolve(manifest["manifest_path"]))
            for entry in file.records if file else ():
                old = new_names.get(entry["data_file"]["file_path"])
                if old is None:
                    continue
                before = {"file_path": str(old), "file_size_in_bytes": old.stat().st_size}
                before["record_count"] = entry["data_file"]["record_count"] + len(self.positions[old])
                _recount(summary, entry, snapshot["snapshot-id"], before)
                if entry["status"] != manifests.DELETED:
                    gone.append(before)
                    come.append(entry["data_file"])
        number = content.from_summary(summary)
        if number is not None and gone:
            summary.update(content.to_summary(content.changed(number, come, gone)))
        return {**snapshot, "summary": summary}

    def _target(self, path: Place) -> Place:
        target = self._staged / path.name
        self._renames.append((self._relative(target), self._relative(path)))
        return target

    def _relative(self, path: Place) -> str:
        way = below(path, self.folder.path)
        assert way is not None
        return way


def _recount(summary: dict[str, Any], entry: Entry, snapshot_id: int, before: Record) -> None:
    after = entry["data_file"]
    rows = before["record_count"] - after["record_count"]
    size = before["file_size_in_bytes"] - after["file_size_in_bytes"]
    names = []
    if entry["status"] != manifests.DELETED:
        names += [("total-records", rows), ("total-files-size", size)]
    if entry["status"] == manifests.ADDED and entry.get("snapshot_id") in (None, snapshot_id):
        names += [("added-records", rows), ("added-files-size", size)]
    if entry["status"] == manifests.DELETED and entry.get("snapshot_id") == snapshot_id:
        names += [("deleted-records", rows), ("removed-files-size", size)]
    for name, less in names:
        if name in summary:
            summary[name] = str(int(summary[name]) - less)
