"""Bringing what was appended between two states of a table to another state of it, or taking it out of that again.

No data file is copied. A state that was compacted has the same rows in other files: what is appended elsewhere comes to
them, and what they stand for does not come a second time.
"""

from __future__ import annotations

from collections.abc import Iterable

from bascule.lake import moved, objects
from bascule.lake.iceberg import metadata, partitions, schemas, snapshots
from bascule.lake.iceberg.manifests import DATA, Entry
from bascule.lake.iceberg.tables import Table
from bascule.lake.seen import SOURCES, joined, note, without
from bascule.lake.seen import sources as sources_of


def merge(base: Table, ours: Table, theirs: Table) -> Table | None:
    """Return one side's table with the files that the other appended, or None when the two do not go together."""
    if len({table.metadata["table-uuid"] for table in (base, ours, theirs)}) > 1:
        return None
    if ours.properties.get(objects.KEY) != theirs.properties.get(objects.KEY):
        return None
    schema = schemas.merged(base.schema, ours.schema, theirs.schema)
    added, mine = appended(base, theirs), appended(base, ours)
    if added is None and mine is not None and snapshots.lost_no_rows(base, theirs):
        ours, theirs, added, mine = theirs, ours, mine, None
    if mine is None and snapshots.lost_no_rows(base, ours):  # it was compacted: the same rows, in other files
        mine = changed(base, ours)[0]
    if schema is None or added is None or mine is None:
        return None
    # A commit that was picked before has brought its files, and their sources, already.
    there = {moved.mark(_path(entry)) for entry in mine} | moved.marks(ours)
    both = {_path(entry) for entry in added if moved.mark(_path(entry)) in there}
    added = [entry for entry in added if _path(entry) not in both]
    once = not both or _contents(added).isdisjoint(_contents(entry for entry in mine if _path(entry) not in both))
    sources = joined(base, ours, theirs, picked=bool(both) and once)
    return None if sources is None else _with(base, ours, theirs, added, schema, sources)


def pick(base: Table, ours: Table, theirs: Table) -> Table | None:
    """Return our table with the files that came between the two others, whatever else was done to ours.

    None when something went between the two, when the columns do not go together, or when ours has ingested one of the
    sources by itself.
    """
    schema, added = schemas.merged(base.schema, ours.schema, theirs.schema), appended(base, theirs)
    if len({table.metadata["table-uuid"] for table in (base, ours, theirs)}) > 1 or schema is None or added is None:
        return None
    wanted, live = {moved.mark(_path(entry)) for entry in added}, {moved.mark(_path(e)) for e in ours.live(DATA)}
    if wanted <= live | moved.marks(ours, surely=True):
        return ours
    known, old = sources_of(ours), sources_of(base)
    new = [source for digest, source in sources_of(theirs).items() if digest not in old]
    if any(source.digest in known for source in new) or not wanted.isdisjoint(live | moved.marks(ours)):
        return None
    listed = note(ours, new) if new else ours.properties.get(SOURCES)
    return _with(base, ours, theirs, added, schema, listed)


def _with(
    base: Table, ours: Table, theirs: Table, added: list[Entry], schema: schemas.Schema, sources: str | None
) -> Table | None:
    ours = ours.for_writing()
    last = max(side.metadata[metadata.LAST_COLUMN] for side in (ours, theirs))
    divided = partitions.merged(base.metadata, ours.metadata, theirs.metadata)
    if divided is None:
        return None
    document = metadata.with_schema(divided, schema, last)
    document = metadata.with_properties({**document, metadata.LAST_COLUMN: last}, {SOURCES: sources or None})
    return snapshots.append(Table(ours.name, ours.folder, ours.path, document), [entry["data_file"] for entry in added])


def without_append(before: Table, after: Table, now: Table) -> Table | None:
    """Return a table without the files that were appended between two states of it, and without their sources.

    Args:
        before, after: the states around the append.
        now: a later state, from which the files are taken out; all else stays, also columns that came with them.

    Returns:
        None when something else than an append happened between the two, or not all of its files are there any more.
    """
    if len({table.metadata["table-uuid"] for table in (before, after, now)}) > 1:
        return None
    added = appended(before, after)
    there = {entry["data_file"]["file_path"] for entry in now.live(DATA)}
    gone = frozenset(entry["data_file"]["file_path"] for entry in added or ())
    if not gone or not gone <= there:
        return None
    taken = sources_of(after).keys() - sources_of(before).keys()
    now = now.for_writing()
    if taken:
        document = metadata.with_properties(now.metadata, {SOURCES: without(now, taken) or None})
        now = Table(now.name, now.folder, now.path, document)
    return snapshots.replace(now, gone, [], "delete")


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


def _path(entry: Entry) -> str:
    return str(entry["data_file"]["file_path"])


def _contents(entries: Iterable[Entry]) -> set[str]:
    """What the names of data files say of their content; see `datafiles.named_by_content`."""
    return {_path(entry).rpartition("/")[2].partition("-")[0] for entry in entries}


def _live(table: Table, manifests: list[dict[str, object]]) -> dict[str, Entry]:
    entries = (entry for manifest in manifests for entry in table.entries(manifest))
    return {entry["data_file"]["file_path"]: entry for entry in entries if entry["status"] != 2}


def _deletes(table: Table) -> list[dict[str, object]]:
    return [m for m in table.manifests() if m.get("content")]
