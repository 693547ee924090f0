"""Table metadata: the JSON document at the top of an Iceberg table, as a plain dict.

Facts that this module does not know stay in the document. Every function returns a new document and leaves its argument
alone. Only a few snapshots are kept in it: the history keeps the past, by pointing each commit at its own document.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import msgspec

from bascule.errors import EnvironmentProblem, InputError
from bascule.lake.iceberg import files, schemas
from bascule.store import Place

Metadata = dict[str, Any]
Snapshot = dict[str, Any]

KEPT_SNAPSHOTS = 3
# In a table that other engines write, more of them: one that was overtaken looks for the snapshot that it began at.
SHARED = "bascule.shared"
KEPT_FOR_OTHERS = 50
FORMAT_VERSION = 2
LAST_COLUMN = "last-column-id"

# `gc.enabled=false` makes foreign engines refuse to delete files: a branch's files are also the other branches'.
ENFORCED = {"gc.enabled": "false"}
DEFAULTS = {"write.parquet.compression-codec": "zstd"}


def new(location: str, schema: schemas.Schema, last_column: int, properties: Mapping[str, str]) -> Metadata:
    """Return the document of an empty, unpartitioned table.

    Args:
        location: the table's folder.
        last_column: the greatest field id in the schema.
        properties: more table properties.
    """
    return {
        "format-version": FORMAT_VERSION,
        "table-uuid": str(uuid.uuid4()),
        "location": location,
        "last-sequence-number": 0,
        "last-updated-ms": _now(),
        LAST_COLUMN: last_column,
        "current-schema-id": schema["schema-id"],
        "schemas": [schema],
        "default-spec-id": 0,
        "partition-specs": [{"spec-id": 0, "fields": []}],
        "last-partition-id": 999,
        "default-sort-order-id": 0,
        "sort-orders": [{"order-id": 0, "fields": []}],
        "properties": {**DEFAULTS, **properties, **ENFORCED},
        "snapshots": [],
        "snapshot-log": [],
        "metadata-log": [],
        "refs": {},
        "statistics": [],
        "partition-statistics": [],
    }


def schema_of(metadata: Metadata) -> schemas.Schema:
    """Return the current schema."""
    if "schemas" not in metadata:  # format 1 allows a single one under another name
        old: schemas.Schema = {"schema-id": 0, **metadata["schema"]}
        return old
    found: schemas.Schema = next(s for s in metadata["schemas"] if s["schema-id"] == metadata["current-schema-id"])
    return found


def snapshot_of(metadata: Metadata) -> Snapshot | None:
    """Return the current snapshot, or None for a table that never had a row."""
    current = metadata.get("current-snapshot-id")
    if current is None or current == -1:
        return None
    found: Snapshot = next(s for s in metadata["snapshots"] if s["snapshot-id"] == current)
    return found


def with_properties(metadata: Metadata, changes: Mapping[str, str | None]) -> Metadata:
    """Set and remove (None) table properties. What Bascule enforces cannot be changed."""
    kept = {**metadata.get("properties", {}), **changes, **ENFORCED}
    return {**metadata, "properties": {key: value for key, value in kept.items() if value is not None}}


def with_schema(metadata: Metadata, schema: schemas.Schema, last_column: int) -> Metadata:
    """Make a schema the current one; a schema that the table had before gets its old id back."""
    for known in metadata["schemas"]:
        if schemas.same(known, schema):
            return {**metadata, "current-schema-id": known["schema-id"]}
    number = 1 + max(known["schema-id"] for known in metadata["schemas"])
    return {
        **metadata,
        LAST_COLUMN: max(metadata[LAST_COLUMN], last_column),
        "current-schema-id": number,
        "schemas": [*metadata["schemas"], {**schema, "schema-id": number}],
    }


def with_snapshot(metadata: Metadata, snapshot: Snapshot) -> Metadata:
    """Make a snapshot the current one and let go of the oldest, except those that a foreign branch or tag names."""
    number = snapshot["snapshot-id"]
    main = {**metadata.get("refs", {}).get("main", {}), "snapshot-id": number, "type": "branch"}
    refs = {**metadata.get("refs", {}), "main": main}
    named = {ref["snapshot-id"] for ref in refs.values()}
    every = [*metadata.get("snapshots", []), snapshot]
    most = KEPT_FOR_OTHERS if SHARED in metadata.get("properties", {}) else KEPT_SNAPSHOTS
    recent = {s["snapshot-id"] for s in every[-most:]}
    kept = [s for s in every if s["snapshot-id"] in named | recent]
    numbers = {s["snapshot-id"] for s in kept}
    log = [*metadata.get("snapshot-log", []), {"snapshot-id": number, "timestamp-ms": snapshot["timestamp-ms"]}]
    return {
        **metadata,
        "last-sequence-number": snapshot["sequence-number"],
        "last-updated-ms": snapshot["timestamp-ms"],
        "current-snapshot-id": number,
        "snapshots": kept,
        "snapshot-log": [entry for entry in log if entry["snapshot-id"] in numbers],
        "refs": refs,
        "statistics": [s for s in metadata.get("statistics", []) if s["snapshot-id"] in numbers],
    }


def next_time(metadata: Metadata) -> int:
    """Return the time for a new snapshot, milliseconds since the epoch: now, and later than the last one."""
    return max(_now(), int(metadata["last-updated-ms"]) + 1)


def read(path: Place) -> Metadata:
    """Read a document.

    Raises:
        EnvironmentProblem: when the file is missing or damaged.
        InputError: when it is of a format version that Bascule does not know.
    """
    try:
        found: Metadata = msgspec.json.decode(path.read_bytes())
        version = found["format-version"]
    except (OSError, msgspec.DecodeError, KeyError, TypeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise EnvironmentProblem(
            f"The table metadata {path} cannot be read: {reason}.",
            hint="`bascule doctor` lists what is damaged, and the way back.",
        ) from error
    if version not in (1, 2, 3):
        raise InputError(
            f"{path} is an Iceberg table of format version {version}; Bascule reads 1, 2 and 3.",
            hint="Write the table in version 2 with the engine that owns it.",
        )
    return found


def write(path: Place, metadata: Metadata) -> None:
    """Write a document durably. Equal documents have equal bytes."""
    files.write(path, encode(metadata))


def encode(metadata: Metadata) -> bytes:
    """Return a document's bytes. Equal documents have equal bytes."""
    return json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode()


def _now() -> int:
    return time.time_ns() // 1_000_000
