"""Merging two states of a table that both did nothing but append since a third.

One of the two may have been compacted meanwhile: its rows are the same in other files, and the other's come to them.
"""

from __future__ import annotations

from bascule.lake import objects
from bascule.lake.iceberg import metadata, schemas, snapshots
from bascule.lake.iceberg.manifests import DATA, Entry
from bascule.lake.iceberg.tables import Table
from bascule.lake.seen import SOURCES, joined


def merge(base: Table, ours: Table, theirs: Table) -> Table | None:
    """Return one side's table with the files that the other appended, or None when the two do not go together."""
    if len({table.metadata["table-uuid"] for table in (base, ours, theirs)}) > 1:
        return None
    if ours.properties.get(objects.KEY) != theirs.properties.get(objects.KEY):
        return None
    schema = schemas.merged(base.schema, ours.schema, theirs.schema)
    added, mine = appended(base, theirs), appended(base, ours)
    if added is None and mine is not None and snapshots.lost_no_rows(base, theirs):
        ours, theirs, added, mine = theirs, ours, mine, added
    sources = joined(base, ours, theirs)
    if schema is None or added is None or sources is None:
        return None
    if mine is None and not snapshots.lost_no_rows(base, ours):
        return None
    ours = ours.for_writing()
    last = max(side.metadata[metadata.LAST_COLUMN] for side in (ours, theirs))
    document = metadata.with_schema(ours.metadata, schema, last)
    document = metadata.with_properties({**document, metadata.LAST_COLUMN: last}, {SOURCES: sources or None})
    return snapshots.append(Table(ours.name, ours.folder, ours.path, document), [entry["data_file"] for entry in added])


def appended(before: Table, after: Table) -> list[Entry] | None:
    """Return the entries of the files that came between two states of a table, or None when any went."""
    came, went = changed(before, after)
    if went or {m["manifest_path"] for m in _deletes(before)} != {m["manifest_path"] for m in _deletes(after)}:
        return None
    return came


def changed(before: Table, after: Table) -> tuple[list[Entry], list[Entry]]:
    """Return the entries of the data files that came and that went. Manifests that both have are not read."""
    old = {m["manifest_path"]: m for m in before.manifests() if (m.get("content") or DATA) == DATA}
    new = {m["manifest_path"]: m for m in after.manifests() if (m.get("content") or DATA) == DATA}
    had = _live(before, [m for path, m in old.items() if path not in new])
    has = _live(after, [m for path, m in new.items() if path not in old])
    came = sorted((e for path, e in has.items() if path not in had), key=lambda e: int(e["sequence_number"]))
    return came, [e for path, e in had.items() if path not in has]


def _live(table: Table, manifests: list[dict[str, object]]) -> dict[str, Entry]:
    entries = (entry for manifest in manifests for entry in table.entries(manifest))
    return {entry["data_file"]["file_path"]: entry for entry in entries if entry["status"] != 2}


def _deletes(table: Table) -> list[dict[str, object]]:
    return [m for m in table.manifests() if m.get("content")]
