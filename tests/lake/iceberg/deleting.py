"""Position deletes as other engines write them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bascule.lake.iceberg import manifests, metadata
from bascule.lake.iceberg.tables import Table


def delete_file(table: Table, rows: list[tuple[str, int]], kind: int = manifests.POSITION_DELETES) -> dict[str, Any]:
    ids = [pa.field("file_path", pa.string(), False, {"PARQUET:field_id": "2147483546"})]
    ids.append(pa.field("pos", pa.int64(), False, {"PARQUET:field_id": "2147483545"}))
    path = table.folder / "data" / "deletes.parquet"
    pq.write_table(pa.table([[p for p, _ in rows], [n for _, n in rows]], schema=pa.schema(ids)), path)
    empty = dict.fromkeys(
        ("column_sizes", "value_counts", "null_value_counts", "nan_value_counts", "lower_bounds", "upper_bounds")
    )
    return {
        "content": kind,
        "file_path": str(path),
        "file_format": "PARQUET",
        "partition": {},
        "record_count": len(rows),
        "file_size_in_bytes": path.stat().st_size,
        **empty,
        "key_metadata": None,
        "split_offsets": None,
        "equality_ids": [1] if kind == manifests.EQUALITY_DELETES else None,
        "sort_order_id": None,
    }


def with_deletes(table: Table, record: dict[str, Any]) -> Table:
    """Another engine's snapshot: ours with a delete file more."""
    snapshot = dict(table.snapshot or {})
    number = snapshot["sequence-number"] + 1
    entry = {"status": 1, "snapshot_id": 77, "data_file": record}
    path = table.folder / "metadata" / "deletes.avro"
    added = manifests.write_manifest(
        path, [entry], table=table.metadata, snapshot_id=77, sequence_number=number, content=manifests.DELETES
    )
    listed = table.folder / "metadata" / "snap-77.avro"
    manifests.write_list(listed, [*table.manifests(), added], snapshot_id=77, parent_id=None, sequence_number=number)
    snapshot |= {
        "snapshot-id": 77,
        "sequence-number": number,
        "manifest-list": str(listed),
        "timestamp-ms": metadata.next_time(table.metadata),
        "summary": {"operation": "delete", "total-delete-files": "1"},
    }
    return table.written(metadata.with_snapshot(table.metadata, snapshot))
