"""Which sources a table has ingested, so that no file is taken in twice.

The list belongs to the table's state and so follows it through branches, merges and reverts. It is kept in small JSON
files beside the metadata, each of up to 256 sources and never changed; the table's property `bascule.sources` names
them. So an ingest writes one small file, however many sources there were before. Deleting rows does not touch the list:
what was deleted or forgotten does not come back when its file is met again.
"""

from __future__ import annotations

import uuid
from collections.abc import Container, Sequence

import msgspec

from bascule.errors import EnvironmentProblem
from bascule.lake.iceberg import files
from bascule.lake.iceberg.tables import Table

SOURCES = "bascule.sources"
PART = 256
SPARE_PARTS = 8
STREAM_PARTS = 16


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was ingested at once: a file, or a piece of something that grows.

    Attributes:
        digest: the BLAKE3 of its content, or of what names it for ever (the rows of a query between two values).
        file: its name then.
        rows: how many rows came of it.
        origin: the address that it came from, without secrets.
        version: what the origin said of it then: `etag`, `mtime`, `query`, `from` and `to` of a cursor or an offset.
    """

    digest: str
    file: str
    rows: int
    origin: str = ""
    version: dict[str, str] = {}


def sources(table: Table) -> dict[str, Source]:
    """Return the sources of a table by digest, in the order in which they came."""
    return {source.digest: source for part in _parts(table) for source in _read(table, part)}


def note(table: Table, new: Sequence[Source], *, afresh: bool = False) -> str:
    """Write down more sources of a table, or with `afresh` only these, and return the property's new value."""
    parts = [] if afresh else _parts(table)
    known = [] if afresh else list(sources(table).values())
    if len(parts) > SPARE_PARTS + len(known) // PART:  # merges leave parts that are not full
        parts, tail = [], known
    else:
        last = list(_read(table, parts[-1])) if parts else []
        parts, tail = (parts[:-1], last) if len(last) < PART else (parts, [])
    tail = _folded([*tail, *new])
    for start in range(0, len(tail), PART):
        name = f"sources-{uuid.uuid4()}.json"
        files.write(table.folder / "metadata" / name, msgspec.json.encode(tail[start : start + PART]))
        parts = [*parts, name]
    return "\n".join(parts)


def _folded(sources: list[Source]) -> list[Source]:
    """Leave out parts of a stream's log that newer ones stand for: they come by the minute, each reads on."""
    streams: dict[str, list[Source]] = {}
    for source in sources:
        if "log" in source.version:
            streams.setdefault(source.origin, []).append(source)
    old = {source.digest for found in streams.values() for source in found[:-STREAM_PARTS]}
    return [source for source in sources if source.digest not in old]


def joined(base: Table, ours: Table, theirs: Table, *, picked: bool = False) -> str | None:
    """Return the property's value for both sides' sources, or None when both ingested the same one since `base`.

    With `picked` one side has what both have from the other.
    """
    old, mine, other = (sources(table) for table in (base, ours, theirs))
    fresh = [[source for digest, source in side.items() if digest not in old] for side in (mine, other)]
    if not picked and (_marks(fresh[0]) & _marks(fresh[1])):
        return None
    parts = _parts(ours)
    return "\n".join([*parts, *(part for part in _parts(theirs) if part not in parts)])


def combined(base: Table, ours: Table, theirs: Table) -> str:
    """Return the property's value for our sources, with what they added since `base` and without what they took out."""
    old, mine, other = (sources(table) for table in (base, ours, theirs))
    if old.keys() <= mine.keys() and old.keys() <= other.keys():
        parts = _parts(ours)
        return "\n".join([*parts, *(part for part in _parts(theirs) if part not in parts)])
    kept = [source for digest, source in mine.items() if digest not in old or digest in other]
    kept += [source for digest, source in other.items() if digest not in old and digest not in mine]
    return note(ours, kept, afresh=True)


def without(table: Table, gone: Container[str]) -> str:
    """Return the property's value without the sources of some digests."""
    return note(table, [source for digest, source in sources(table).items() if digest not in gone], afresh=True)


def fresh(table: Table, *others: Table) -> list[dict[str, str]]:
    """Return the files of a table's list that other states do not have, as records of files that were written."""
    known = {part for other in others for part in _parts(other)}
    return [{"file_path": str(table.folder / "metadata" / part)} for part in _parts(table) if part not in known]


def paths(table: Table) -> list[str]:
    """Return the names of the files that hold the list, below the table's `metadata` folder."""
    return _parts(table)


def _marks(new: Sequence[Source]) -> set[str]:
    """Return what two sides may not both have: contents, and the origins that were read on from where one had ended."""
    return {source.digest for source in new} | {source.origin for source in new if "to" in source.version}


def _parts(table: Table) -> list[str]:
    return [part for part in table.properties.get(SOURCES, "").split("\n") if part]


def _read(table: Table, part: str) -> list[Source]:
    path = table.folder / "metadata" / part
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Source])
    except (OSError, msgspec.DecodeError) as error:
        raise EnvironmentProblem(
            f"{path}, which lists the sources of table {table.name!r}, cannot be read.",
            hint="`bascule doctor` lists what is damaged, and the way back.",
        ) from error
