"""A version of a set as a table of its files, for SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from bascule.lake.filesets.entries import EXECUTABLE, LINK
from bascule.lake.filesets.manifest import manifest_of
from bascule.store import BlobStore

SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("bytes", pa.int64(), nullable=False),
        pa.field("digest", pa.string(), nullable=False),
        pa.field("executable", pa.bool_(), nullable=False),
        pa.field("link", pa.bool_(), nullable=False),
    ]
)


def as_table(store: BlobStore, value: Mapping[str, Any], name: str) -> pa.Table:
    """Return the files of an object, in the order of their paths."""
    manifest = manifest_of(store, value, name)
    batches = []
    for segment in manifest.segments():
        entries = manifest.entries_of(segment)
        columns = [
            pa.array([entry.path for entry in entries], pa.string()),
            pa.array([entry.size for entry in entries], pa.int64()),
            pa.array([entry.digest.hex() for entry in entries], pa.string()),
            pa.array([entry.mode == EXECUTABLE for entry in entries], pa.bool_()),
            pa.array([entry.mode == LINK for entry in entries], pa.bool_()),
        ]
        batches.append(pa.record_batch(columns, schema=SCHEMA))
    return pa.Table.from_batches(batches, schema=SCHEMA)
