"""Table objects: what the history holds of a table, and how it leads to the table's files.

An object is `{"kind": "table", "uuid", "metadata_location", "snapshot_id", "schema_id", "rows", "bytes", "files",
"digest", "key"}`. `metadata_location` is relative to the lake's folder, so a workspace can be moved; `digest` is the
identity of the content: equal files and columns have equal digests, whatever way they came.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bascule.errors import InputError
from bascule.lake import engine
from bascule.lake.iceberg import content, scans, schemas
from bascule.lake.iceberg.manifests import DATA, POSITION_DELETES
from bascule.lake.iceberg.tables import Table
from bascule.store import Place
from bascule.store.places import below, place_named

Object = dict[str, Any]

PREFIX = "tables/"
# A table's key, kept with the table so that it survives engines that know nothing of it.
KEY = "bascule.key"
NAME = "bascule.name"
# In which order the days and months of its files were read, as JSON, so that the next file is read in the same.
DATES = "bascule.dates"

_NAME = re.compile(r"^(?:[A-Za-z_][\w-]{0,99}\.){0,5}[A-Za-z_][\w-]{0,99}\Z", re.ASCII)


def checked_name(name: str) -> str:
    """Return a table's name if it can be one: `flights`, or with a namespace `ops.flights`."""
    if not _NAME.match(name):
        raise InputError(
            f"{name[:120]!r} cannot name a table.",
            hint="Use letters, digits, _ and -, not starting with a digit; a namespace ends with a dot.",
        )
    return name


def path_of(name: str) -> str:
    """Return where the history keeps a table's object."""
    return PREFIX + checked_name(name)


def describe(table: Table, lake: Place) -> Object:
    """Return the object that stands for a table in its present state."""
    summary = table.summary
    key = [name for name in table.properties.get(KEY, "").split("\n") if name]
    counted = _counted(table) if table.snapshot is not None else {"rows": 0, "bytes": 0, "files": 0}
    number = content.from_summary(summary)
    if number is None:
        number = content.of_records(entry["data_file"] for entry in table.live(DATA))
    return {
        "kind": "table",
        "uuid": table.metadata["table-uuid"],
        "metadata_location": location_of(table.path, lake),
        "snapshot_id": table.snapshot["snapshot-id"] if table.snapshot else None,
        "schema_id": table.schema["schema-id"],
        **counted,
        "digest": content.digest(number, table.schema, table.deletes()),
        "key": key,
    }


def location_of(path: Place, lake: Place) -> str:
    """Return a metadata document's place as objects write it: relative to the lake when it is in it."""
    return below(path, lake) or str(path)


def load(value: Object, lake: Place, name: str = "") -> Table:
    """Return the table that an object stands for."""
    path = document_of(value, lake)
    table = Table.load(path, name)
    return Table(name or table.properties.get(NAME, ""), table.folder, path, table.metadata)


def document_of(value: Object, lake: Place) -> Place:
    """Return where an object's metadata document is."""
    place = value["metadata_location"].removeprefix("file://")
    return place_named(place) if place.startswith(("/", "s3://")) or Path(place).is_absolute() else lake / place


def folder_of(value: Object, lake: Place) -> Place:
    """Return a table's folder."""
    return document_of(value, lake).parent.parent


def checked_key(key: Sequence[str], schema: schemas.Schema) -> str:
    """Return a key as the table's property holds it, spelt as the columns are; `NotFound` for a column it has not."""
    return "\n".join(schemas.find(schema, name)["name"] for name in key)


def dates_of(table: Table) -> dict[str, str]:
    """Return in which order the days and months of a table's files were read: by column in lower case."""
    found: dict[str, str] = json.loads(table.properties.get(DATES, "{}"))
    return found


def _counted(table: Table) -> dict[str, int]:
    summary = table.summary
    names = ("total-records", "total-files-size", "total-data-files", "total-delete-files")
    if all(name in summary for name in names) and summary["total-delete-files"] == "0":
        rows, size, files, _ = (int(summary[name]) for name in names)
        return {"rows": rows, "bytes": size, "files": files}
    data = table.data_files()
    rows = sum(f.rows for f in data)
    if table.deletes():
        rows = _live_rows(table, rows)
    return {"rows": rows, "bytes": sum(f.bytes for f in data), "files": len(data)}


def _live_rows(table: Table, most: int) -> int:
    try:
        source = scans.scan(table)
    except InputError:  # it is told to whoever reads; here, nobody can know it better than by what deletes say of it
        known = (int(r["record_count"]) for r in table.deletes() if r["content"] == POSITION_DELETES)
        return max(0, most - sum(known))
    with engine.opened() as connection, engine.told(f"Table {table.name!r} cannot be counted"):
        found = connection.execute(f"SELECT count(*) FROM {source}").fetchone()
    return int(found[0]) if found else 0
