"""Manifests and manifest lists: the Avro files that say which data files a snapshot has.

Records are plain dicts with Iceberg's own names. A file is written with the field ids and key-value metadata that the
specification asks for; facts that this module does not know are kept when a record passes through, because a record
that was read is written again with the schema it was read with.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import fastavro

from bascule.errors import EnvironmentProblem
from bascule.lake.iceberg import files, partitions
from bascule.lake.iceberg.metadata import schema_of
from bascule.lake.iceberg.partitions import Part
from bascule.store import Place

Entry = dict[str, Any]
ManifestFile = dict[str, Any]

EXISTING, ADDED, DELETED = 0, 1, 2
DATA, DELETES = 0, 1
POSITION_DELETES, EQUALITY_DELETES = 1, 2


def _field(number: int, name: str, kind: Any, optional: bool = False) -> dict[str, Any]:
    if optional:
        return {"name": name, "type": ["null", kind], "default": None, "field-id": number}
    return {"name": name, "type": kind, "field-id": number}


def _map(key: int, value: int, kind: str) -> dict[str, Any]:
    pair = {
        "type": "record",
        "name": f"k{key}_v{value}",
        "fields": [_field(key, "key", "int"), _field(value, "value", kind)],
    }
    return {"type": "array", "logicalType": "map", "items": pair}


# Without the partition, which is another record for every spec.
_DATA_FILE: list[dict[str, Any]] = [
    _field(134, "content", "int"),
    _field(100, "file_path", "string"),
    _field(101, "file_format", "string"),
    _field(103, "record_count", "long"),
    _field(104, "file_size_in_bytes", "long"),
    _field(108, "column_sizes", _map(117, 118, "long"), True),
    _field(109, "value_counts", _map(119, 120, "long"), True),
    _field(110, "null_value_counts", _map(121, 122, "long"), True),
    _field(137, "nan_value_counts", _map(138, 139, "long"), True),
    _field(125, "lower_bounds", _map(126, 127, "bytes"), True),
    _field(128, "upper_bounds", _map(129, 130, "bytes"), True),
    _field(131, "key_metadata", "bytes", True),
    _field(132, "split_offsets", {"type": "array", "element-id": 133, "items": "long"}, True),
    _field(135, "equality_ids", {"type": "array", "element-id": 136, "items": "int"}, True),
    _field(140, "sort_order_id", "int", True),
]

_SUMMARY = {
    "type": "record",
    "name": "r508",
    "fields": [
        _field(509, "contains_null", "boolean"),
        _field(518, "contains_nan", "boolean", True),
        _field(510, "lower_bound", "bytes", True),
        _field(511, "upper_bound", "bytes", True),
    ],
}

MANIFEST_LIST = {
    "type": "record",
    "name": "manifest_file",
    "fields": [
        _field(500, "manifest_path", "string"),
        _field(501, "manifest_length", "long"),
        _field(502, "partition_spec_id", "int"),
        _field(517, "content", "int"),
        _field(515, "sequence_number", "long"),
        _field(516, "min_sequence_number", "long"),
        _field(503, "added_snapshot_id", "long"),
        _field(504, "added_files_count", "int"),
        _field(505, "existing_files_count", "int"),
        _field(506, "deleted_files_count", "int"),
        _field(512, "added_rows_count", "long"),
        _field(513, "existing_rows_count", "long"),
        _field(514, "deleted_rows_count", "long"),
        _field(507, "partitions", {"type": "array", "element-id": 508, "items": _SUMMARY}, True),
        _field(519, "key_metadata", "bytes", True),
    ],
}

_PARTITION_PLACE = 3

_COUNTS = {
    EXISTING: ("existing_files_count", "existing_rows_count"),
    ADDED: ("added_files_count", "added_rows_count"),
    DELETED: ("deleted_files_count", "deleted_rows_count"),
}


class AvroFile:
    """An Avro file that was read: records, schema and key-value metadata, so that it can be written again."""

    def __init__(self, path: Place, mark: str | None = None) -> None:
        try:
            with io.BytesIO(files.read_unless(path, mark)) as source:
                reader = fastavro.reader(source)
                self.records = cast(list[dict[str, Any]], list(reader))
                self.schema = cast(dict[str, Any], reader.writer_schema)
                self.metadata = {k: v for k, v in reader.metadata.items() if not k.startswith("avro.")}
        except FileNotFoundError as error:
            raise EnvironmentProblem(
                f"{path} is missing: a table needs it.", hint="`bascule doctor` lists everything that is missing."
            ) from error
        except (ValueError, EOFError, IndexError, KeyError, TypeError) as error:
            raise EnvironmentProblem(
                f"{path} is damaged and cannot be read ({error}).", hint="`bascule doctor` lists all such files."
            ) from error


def read_manifest(manifest: ManifestFile, path: Place, mark: str | None = None) -> list[Entry]:
    """Return a manifest's entries, with what they inherit from its record in the manifest list filled in.

    Args:
        manifest: the record.
        path: where the file is.
        mark: see `files.read_unless`.
    """
    file = AvroFile(path, mark)
    entries, parts = file.records, _partition_fields(file.schema)
    for entry in entries:
        record = entry["data_file"]
        record["partition"] = partitions.from_avro(record.get("partition") or {}, parts)
        record[partitions.SPEC_ID] = manifest.get("partition_spec_id") or 0
        if entry.get("snapshot_id") is None:
            entry["snapshot_id"] = manifest["added_snapshot_id"]
        for key in ("sequence_number", "file_sequence_number"):
            # Format 1 has no sequence numbers; there, and for entries it added itself, the manifest's counts.
            if entry.get(key) is None:
                entry[key] = manifest.get("sequence_number") or 0
        record.setdefault("content", DATA)
    return entries


def write_manifest(
    path: Place,
    entries: Sequence[Entry],
    *,
    table: dict[str, Any],
    snapshot_id: int,
    sequence_number: int,
    content: int = DATA,
) -> ManifestFile:
    """Write a manifest and return its record for a manifest list.

    Args:
        entries: of files that one spec divides.
        table: the table's metadata.
        snapshot_id: the snapshot that adds this manifest.
        sequence_number: that snapshot's.
    """
    spec = partitions.spec_of(table, entries[0]["data_file"].get(partitions.SPEC_ID) if entries else None)
    parts = partitions.parts(table, spec["spec-id"])
    schema = schema_of(table)
    metadata = {
        "schema": json.dumps(schema),
        "schema-id": str(schema["schema-id"]),
        "partition-spec": json.dumps(spec["fields"]),
        "partition-spec-id": str(spec["spec-id"]),
        "format-version": "2",
        "content": "data" if content == DATA else "deletes",
    }
    size = _write(path, manifest_schema(parts), metadata, [_as_written(entry, parts) for entry in entries])
    told = describe(entries, path, size, spec["spec-id"], snapshot_id, sequence_number, content)
    return {**told, "partitions": partitions.summaries([entry["data_file"] for entry in entries], parts)}


def describe(
    entries: Sequence[Entry],
    path: Place | str,
    size: int,
    spec_id: int,
    snapshot_id: int,
    sequence_number: int,
    content: int = DATA,
) -> ManifestFile:
    """Return a manifest's record for a manifest list."""
    live = [
        sequence_number if e.get("sequence_number") is None else e["sequence_number"]
        for e in entries
        if e["status"] != DELETED
    ]
    return {
        "manifest_path": str(path),
        "manifest_length": size,
        "partition_spec_id": spec_id,
        "content": content,
        "sequence_number": sequence_number,
        "min_sequence_number": min(live, default=sequence_number),
        "added_snapshot_id": snapshot_id,
        **counts(entries),
        "partitions": [],
        "key_metadata": None,
    }


def counts(entries: Iterable[Entry]) -> dict[str, int]:
    """Return how many files and rows of each status some entries have, by the names of the manifest list."""
    found = dict.fromkeys([name for pair in _COUNTS.values() for name in pair], 0)
    for entry in entries:
        file_count, row_count = _COUNTS[entry["status"]]
        found[file_count] += 1
        found[row_count] += entry["data_file"]["record_count"]
    return found


def holds_files(manifest: ManifestFile) -> bool:
    """Tell whether a manifest names files that are there, and not only what an older snapshot deleted."""
    counted = manifest.get("added_files_count"), manifest.get("existing_files_count")
    return None in counted or any(counted)  # format 1 may not count


def read_list(path: Place, mark: str | None = None) -> list[ManifestFile]:
    """Return a manifest list's records; `mark` is that of `files.read_unless`."""
    return AvroFile(path, mark).records


def write_list(
    path: Place, manifests: Sequence[ManifestFile], *, snapshot_id: int, parent_id: int | None, sequence_number: int
) -> None:
    """Write a manifest list."""
    metadata = {
        "snapshot-id": str(snapshot_id),
        "parent-snapshot-id": str(parent_id) if parent_id is not None else "null",
        "sequence-number": str(sequence_number),
        "format-version": "2",
    }
    _write(path, MANIFEST_LIST, metadata, manifests)


def manifest_schema(parts: Sequence[Part]) -> dict[str, Any]:
    """Return the schema of a manifest of files that a spec divides."""
    fields = list(_DATA_FILE)
    fields.insert(_PARTITION_PLACE, _field(102, "partition", partitions.avro_record(parts)))
    return {
        "type": "record",
        "name": "manifest_entry",
        "fields": [
            _field(0, "status", "int"),
            _field(1, "snapshot_id", "long", True),
            _field(3, "sequence_number", "long", True),
            _field(4, "file_sequence_number", "long", True),
            _field(2, "data_file", {"type": "record", "name": "r2", "fields": fields}),
        ],
    }


def _as_written(entry: Entry, parts: Sequence[Part]) -> Entry:
    record = entry["data_file"]
    return {**entry, "data_file": {**record, "partition": partitions.to_avro(record["partition"], parts)}}


def _partition_fields(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the fields of the partition in a manifest's schema, whoever wrote it."""
    found: Any = schema
    for name in ("data_file", "partition"):
        fields = found["fields"] if isinstance(found, dict) else []
        kind = next((f["type"] for f in fields if f["name"] == name), None)
        found = next((k for k in kind if isinstance(k, dict)), None) if isinstance(kind, list) else kind
    return list(found["fields"]) if isinstance(found, dict) else []


def encode(schema: dict[str, Any], metadata: Mapping[str, str], records: Sequence[dict[str, Any]]) -> bytes:
    """Return an Avro file's bytes."""
    out = io.BytesIO()
    parsed = _parsed(json.dumps(schema))
    fastavro.writer(out, parsed, records, codec="deflate", metadata=dict(metadata))
    return out.getvalue()


def _write(path: Place, schema: dict[str, Any], metadata: Mapping[str, str], records: Sequence[dict[str, Any]]) -> int:
    data = encode(schema, metadata, records)
    files.write(path, data)
    return len(data)


@lru_cache(maxsize=32)
def _parsed(schema: str) -> Any:
    return fastavro.parse_schema(json.loads(schema))
