"""New snapshots: appending files, and replacing some by others. Both cost what changes, not what there is.

Manifests are kept in a ladder: sixteen that hold up to 15 files are merged into one, sixteen such into one, and so on.
So a table of n files has O(log n) manifests and an append reads none of them but when a rung is full.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bascule.lake.iceberg import content, files, manifests, metadata
from bascule.lake.iceberg.datafiles import Record
from bascule.lake.iceberg.manifests import ADDED, DATA, DELETED, DELETES, EXISTING, Entry, ManifestFile
from bascule.lake.iceberg.partitions import SPEC_ID
from bascule.lake.iceberg.tables import Table
from bascule.store import Place

RUNG = 16
MANIFEST_ENTRIES = RUNG**3

# A snapshot's summary says which one last took rows away; equal ones have lost none since, however files were cut.
ROWS_SINCE = "bascule.rows-since"
NEVER = "0"

_TOTALS = ("data-files", "records", "files-size", "delete-files", "position-deletes", "equality-deletes")


@dataclass(frozen=True, slots=True)
class Rewritten:
    """Files that others stand for from now on.

    Attributes:
        removed: the old files' paths as manifests write them.
        records: what to say of the new ones, which are written already.
        sequence: the first old file's sequence number.
    """

    removed: tuple[str, ...]
    records: tuple[Record, ...]
    sequence: int


def append(table: Table, records: Sequence[Record], facts: Mapping[str, str] | None = None) -> Table:
    """Return the table with some data files more.

    Args:
        records: what to say of the files, which are written already.
        facts: more to say in the snapshot's summary.
    """
    table = table.for_writing()
    with _making(table) as made:
        listed = [m for m in table.manifests() if manifests.holds_files(m)]
        added = [made.added(record) for record in records]
        listed = _climb(made, listed, added) if added else listed
        totals = _totals(table)
        _count(totals, records, 1)
        number = content.changed(_content(table), records, ())
        return made.finish(listed, "append", {**_came(records), **totals}, number, {**(facts or {}), **_since(table)})


def replace(
    table: Table,
    removed: frozenset[str] | None,
    records: Sequence[Record],
    operation: str,
    facts: Mapping[str, str] | None = None,
) -> Table:
    """Return the table without some data files and with others.

    Args:
        removed: the files' paths as manifests write them; None for all, and then position deletes go too.
        records: what to say of the new files, which are written already.
        operation: `overwrite` or `delete`, as Iceberg names them.
        facts: more to say in the snapshot's summary.
    """
    table = table.for_writing()
    gone: list[Record] = []
    with _making(table) as made:
        listed = _keep(made, removed, gone)
        if records:
            listed += made.manifests([made.added(record) for record in records])
        totals = _totals(table)
        _count(totals, gone, -1)
        _count(totals, records, 1)
        if removed is None:
            totals.update({f"total-{name}": 0 for name in _TOTALS[3:]})
        # What is written anew from nothing is what it is, whatever had stood for what before.
        number = content.changed(_content(table), records, gone) if removed is not None else content.of_records(records)
        told = {**(facts or {}), ROWS_SINCE: str(made.number)}
        return made.finish(listed, operation, {**_came(records), **_went(gone), **totals}, number, told)


def rewrite(table: Table, groups: Sequence[Rewritten], *, deletes_too: bool) -> Table:
    """Return the table with the same rows in other files. Their order stays, and so does the identity of the content.

    A new file takes the place of the first of those it stands for: it has that one's sequence number, as Iceberg
    allows when rows are only moved.

    Args:
        groups: files that follow each other, and what stands for them.
        deletes_too: whether all position deletes are in the new files by now; then they go.
    """
    table = table.for_writing()
    records = [record for group in groups for record in group.records]
    with _making(table) as made:
        kept = [
            m
            for m in table.manifests()
            if manifests.holds_files(m) and not (deletes_too and m.get("content") == DELETES)
        ]
        listed, gone = _moved(made, kept, {path: group for group in groups for path in group.removed})
        totals = _totals(table)
        _count(totals, gone, -1)
        _count(totals, records, 1)
        if deletes_too:
            totals.update({f"total-{name}": 0 for name in _TOTALS[3:]})
        counts = {**_came(records), **_went(gone), **totals}
        number = content.applied(_content(table), table.deletes() if deletes_too else ())
        return made.finish(listed, "replace", counts, number, _since(table))


def lost_no_rows(before: Table, after: Table) -> bool:
    """Tell whether a state came from another by nothing but adding rows and moving them to other files."""
    since = rows_since(before)
    return since is not None and since == rows_since(after)


def rows_since(table: Table) -> str | None:
    """Return the snapshot that last took rows away; None when another engine's hides it."""
    return table.summary.get(ROWS_SINCE) if table.snapshot is not None else NEVER


def discard(table: Table, *, data_too: bool, kept: frozenset[str] = frozenset()) -> None:
    """Delete what `append` or `replace` wrote for a table that nobody will refer to.

    Args:
        data_too: also the data files that its snapshot added.
        kept: the paths of data files that stay nevertheless, as manifests write them.
    """
    snapshot = table.snapshot
    if snapshot is not None:
        number = snapshot["snapshot-id"]
        for manifest in table.manifests():
            if manifest["added_snapshot_id"] != number:
                continue
            for entry in table.entries(manifest) if data_too else ():
                path = entry["data_file"]["file_path"]
                if entry["status"] == ADDED and entry["snapshot_id"] == number and path not in kept:
                    table.resolve(path).unlink(missing_ok=True)
            table.resolve(manifest["manifest_path"]).unlink(missing_ok=True)
        table.resolve(snapshot["manifest-list"]).unlink(missing_ok=True)
    table.path.unlink(missing_ok=True)


def expire(before: Table, after: Table) -> None:
    """Delete the metadata of states that the newer of two no longer names. Data files stay.

    Only for tables that no history points into: there, every state that ever was is kept.
    """
    kept = {snapshot["snapshot-id"] for snapshot in after.metadata["snapshots"]}
    named = {m["manifest_path"] for s in after.metadata["snapshots"] for m in after.manifests(s)}
    for snapshot in before.metadata["snapshots"]:
        if snapshot["snapshot-id"] not in kept:
            for manifest in before.manifests(snapshot):
                if manifest["manifest_path"] not in named:
                    before.resolve(manifest["manifest_path"]).unlink(missing_ok=True)
            before.resolve(snapshot["manifest-list"]).unlink(missing_ok=True)
    log = {entry["metadata-file"] for entry in after.metadata["metadata-log"]}
    for entry in before.metadata["metadata-log"]:
        if entry["metadata-file"] not in log:
            before.resolve(entry["metadata-file"]).unlink(missing_ok=True)


@contextmanager
def _making(table: Table) -> Iterator[_Making]:
    made = _Making(table)
    try:
        yield made
    except BaseException:
        for path in made.written:
            path.unlink(missing_ok=True)
        raise
    files.sync_folder(table.folder / "metadata")
    files.sync_folder(table.folder / "data")


class _Making:
    """One snapshot while it is being made: its numbers, and the files it has written so far."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.number = secrets.randbits(62) + 1
        self.sequence = table.metadata["last-sequence-number"] + 1
        self.key = uuid.uuid4().hex
        self.written: list[Place] = []

    def added(self, record: Record) -> Entry:
        return {"status": ADDED, "snapshot_id": self.number, "data_file": _placed(record, self.table)}

    def manifests(self, entries: Sequence[Entry]) -> list[ManifestFile]:
        """Write manifests of entries, one for each spec by which their files are divided."""
        return [self.manifest(group) for group in _by_spec(entries).values()]

    def manifest(self, entries: Sequence[Entry]) -> ManifestFile:
        path = self._path(f"{self.key}-m{len(self.written)}.avro")
        return manifests.write_manifest(
            path, entries, table=self.table.metadata, snapshot_id=self.number, sequence_number=self.sequence
        )

    def finish(
        self,
        listed: Sequence[ManifestFile],
        operation: str,
        counts: Mapping[str, int],
        number: int,
        facts: Mapping[str, str],
    ) -> Table:
        parent = self.table.snapshot
        parent_id = parent["snapshot-id"] if parent else None
        path = self._path(f"snap-{self.number}-1-{self.key}.avro")
        manifests.write_list(path, listed, snapshot_id=self.number, parent_id=parent_id, sequence_number=self.sequence)
        told = {name: str(count) for name, count in counts.items() if count or name.startswith("total-")}
        snapshot = {
            "snapshot-id": self.number,
            "sequence-number": self.sequence,
            "timestamp-ms": metadata.next_time(self.table.metadata),
            "manifest-list": str(path),
            "summary": {"operation": operation, **told, **content.to_summary(number), **facts},
            "schema-id": self.table.schema["schema-id"],
        }
        if parent_id is not None:
            snapshot["parent-snapshot-id"] = parent_id
        return self.table.written(metadata.with_snapshot(self.table.metadata, snapshot))

    def _path(self, name: str) -> Place:
        path = self.table.folder / "metadata" / name
        self.written.append(path)
        return path


def _climb(made: _Making, listed: list[ManifestFile], added: list[Entry]) -> list[ManifestFile]:
    groups = _by_spec(added)
    entries = groups.pop(made.table.metadata["default-spec-id"], [])
    rest = [*listed, *(made.manifest(group) for group in groups.values())]
    if not entries:
        return rest
    while True:
        level = _level(len(entries))
        run = 0
        for manifest in reversed(rest):
            if not _mergeable(manifest, made.table) or _level(_live(manifest)) > level:
                break
            run += 1
        if run + 1 < RUNG:
            return [*rest, made.manifest(entries)]
        merged = [entry for manifest in rest[-run:] for entry in made.table.entries(manifest)]
        entries = [_existing(e) for e in merged if e["status"] != DELETED] + entries
        rest = rest[:-run]


def _keep(made: _Making, removed: frozenset[str] | None, gone: list[Record]) -> list[ManifestFile]:
    listed: list[ManifestFile] = []
    for manifest in made.table.manifests():
        if manifests.holds_files(manifest) and not (removed is None and manifest.get("content") == DELETES):
            listed += _without(made, manifest, removed, gone)
    return listed


def _without(
    made: _Making, manifest: ManifestFile, removed: frozenset[str] | None, gone: list[Record]
) -> list[ManifestFile]:
    if (manifest.get("content") or DATA) != DATA:
        return [manifest]
    entries = [e for e in made.table.entries(manifest) if e["status"] != DELETED]
    out = [e["data_file"] for e in entries if removed is None or e["data_file"]["file_path"] in removed]
    if not out:
        return [manifest]
    gone += out
    paths = {record["file_path"] for record in out}
    changed = [
        {**e, "status": DELETED, "snapshot_id": made.number} if e["data_file"]["file_path"] in paths else _existing(e)
        for e in entries
    ]
    return [made.manifest(changed)]


def _by_spec(entries: Sequence[Entry]) -> dict[int, list[Entry]]:
    groups: dict[int, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry["data_file"][SPEC_ID], []).append(entry)
    return groups


def _placed(record: Record, table: Table) -> Record:
    """Return a record with its spec; of a file that knows none, because it is of all rows, one without fields."""
    if SPEC_ID in record:
        return record
    specs = table.metadata["partition-specs"]
    plain = [spec["spec-id"] for spec in specs if not spec["fields"]]
    default = table.metadata["default-spec-id"]
    return {**record, SPEC_ID: default if default in plain or not plain else plain[0]}


def _moved(
    made: _Making, kept: Sequence[ManifestFile], instead: Mapping[str, Rewritten]
) -> tuple[list[ManifestFile], list[Record]]:
    """Write the manifests anew that name files which others stand for, and return all, with the files that went."""
    listed: list[ManifestFile] = []
    entries: list[Entry] = []
    dropped: list[Entry] = []
    first = len(kept)
    for manifest in kept:
        is_data = (manifest.get("content") or DATA) == DATA
        found = [e for e in made.table.entries(manifest) if e["status"] != DELETED] if is_data else []
        if not any(entry["data_file"]["file_path"] in instead for entry in found):
            listed.append(manifest)
            continue
        first = min(first, len(listed))
        for entry in found:
            group = instead.get(entry["data_file"]["file_path"])
            if group is None:
                entries.append(_existing(entry))
                continue
            if entry["data_file"]["file_path"] == group.removed[0]:
                entries += [{**made.added(record), "sequence_number": group.sequence} for record in group.records]
            dropped.append({**entry, "status": DELETED, "snapshot_id": made.number})
    cut = [entries[at : at + MANIFEST_ENTRIES] for at in range(0, len(entries), MANIFEST_ENTRIES)]
    listed[first:first] = [manifest for part in cut for manifest in made.manifests(part)]
    listed += made.manifests(dropped)
    return listed, [entry["data_file"] for entry in dropped]


def _existing(entry: Entry) -> Entry:
    return {**entry, "status": EXISTING}


def _level(count: int) -> int:
    level = 0
    while count >= RUNG:
        count //= RUNG
        level += 1
    return level


def _live(manifest: ManifestFile) -> int:
    return int(manifest.get("added_files_count") or 0) + int(manifest.get("existing_files_count") or 0)


def _mergeable(manifest: ManifestFile, table: Table) -> bool:
    same_spec = manifest.get("partition_spec_id") == table.metadata["default-spec-id"]
    return same_spec and (manifest.get("content") or DATA) == DATA and not manifest.get("deleted_files_count")


def _since(table: Table) -> dict[str, str]:
    since = rows_since(table)
    return {ROWS_SINCE: since} if since is not None else {}


def _content(table: Table) -> int:
    known = content.from_summary(table.summary)
    if known is not None:
        return known
    return content.of_records(entry["data_file"] for entry in table.live(DATA))


def _totals(table: Table) -> dict[str, int]:
    if table.snapshot is None:
        return {f"total-{name}": 0 for name in _TOTALS}
    summary = table.summary
    if all(f"total-{name}" in summary for name in _TOTALS):
        return {f"total-{name}": int(summary[f"total-{name}"]) for name in _TOTALS}
    return _counted(table)


def _counted(table: Table) -> dict[str, int]:
    totals = {f"total-{name}": 0 for name in _TOTALS}
    for entry in table.live():
        record = entry["data_file"]
        if record["content"] == DATA:
            _count(totals, [record], 1)
        else:
            kind = "position" if record["content"] == manifests.POSITION_DELETES else "equality"
            totals["total-delete-files"] += 1
            totals[f"total-{kind}-deletes"] += record["record_count"]
    return totals


def _count(totals: dict[str, int], records: Sequence[Record], sign: int) -> None:
    totals["total-data-files"] += sign * len(records)
    totals["total-records"] += sign * _rows(records)
    totals["total-files-size"] += sign * _size(records)


def _came(records: Sequence[Record]) -> dict[str, int]:
    size = _size(records)
    return {"added-data-files": len(records), "added-records": _rows(records), "added-files-size": size}


def _went(records: Sequence[Record]) -> dict[str, int]:
    size = _size(records)
    return {"deleted-data-files": len(records), "deleted-records": _rows(records), "removed-files-size": size}


def _rows(records: Sequence[Record]) -> int:
    return sum(record["record_count"] for record in records)


def _size(records: Sequence[Record]) -> int:
    return sum(record["file_size_in_bytes"] for record in records)
