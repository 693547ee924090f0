"""Copies of a lake: what holds addresses holds the new ones, everything else is the same bytes."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from tests.lake.iceberg.test_vectors import blob
from tests.lake.samples import everywhere, names_in, people, state

from bascule.lake import Lake
from bascule.lake.iceberg import files, manifests, metadata
from bascule.lake.iceberg.manifests import AvroFile
from bascule.lake.iceberg.tables import Table
from bascule.lake.moving import contents, copy_lake
from bascule.lake.objects import describe
from bascule.store.places import sizes

VECTOR = [
    {"name": "referenced_data_file", "type": ["null", "string"], "default": None, "field-id": 143},
    {"name": "content_offset", "type": ["null", "long"], "default": None, "field-id": 144},
    {"name": "content_size_in_bytes", "type": ["null", "long"], "default": None, "field-id": 145},
]


def with_vector(table: Table) -> Table:
    """Another engine's snapshot in format version 3: the second row of the first file is gone."""
    data, bits = table.data_files()[0], blob([1])
    place = table.folder / "data" / "bits.puffin"
    files.write(place, b"PFA1" + bits)
    empty = dict.fromkeys(name for name in data.record if name not in ("partition", "file_format"))
    record = {
        **data.record,
        **empty,
        "content": manifests.POSITION_DELETES,
        "file_path": str(place),
        "file_format": "PUFFIN",
        "record_count": 1,
        "file_size_in_bytes": 4 + len(bits),
        "referenced_data_file": str(data.path),
        "content_offset": 4,
        "content_size_in_bytes": len(bits),
    }
    schema = copy.deepcopy(manifests.manifest_schema([]))
    schema["fields"][-1]["type"]["fields"] += VECTOR
    snapshot = dict(table.snapshot or {})
    number = snapshot["sequence-number"] + 1
    entry = {"status": manifests.ADDED, "snapshot_id": 77, "data_file": record}
    written = table.folder / "metadata" / "bits-m0.avro"
    packed = manifests.encode(schema, {"content": "deletes", "format-version": "3"}, [entry])
    files.write(written, packed)
    added = manifests.describe([entry], written, len(packed), 0, 77, number, manifests.DELETES)
    listed = table.folder / "metadata" / "snap-77.avro"
    manifests.write_list(listed, [*table.manifests(), added], snapshot_id=77, parent_id=None, sequence_number=number)
    snapshot |= {
        "snapshot-id": 77,
        "sequence-number": number,
        "manifest-list": str(listed),
        "timestamp-ms": metadata.next_time(table.metadata),
        "summary": {"operation": "delete", "total-delete-files": "1"},
    }
    return table.written({**metadata.with_snapshot(table.metadata, snapshot), "format-version": 3})


@pytest.mark.slow
@everywhere
def test_deletion_vectors_go_along(lake: Lake, tmp_path: Path) -> None:
    lake.append("people", people("ann", "bob", "cyd"))
    value = describe(with_vector(lake.table(state(lake, "people"))), lake.folder)
    assert names_in(lake, value) == ["ann", "cyd"]
    there = tmp_path / "there"
    told: list[int] = []
    copy_lake(lake.folder, there, told.append)
    assert sum(told) == sum(contents(lake.folder).values())
    assert contents(there).keys() == contents(lake.folder).keys()
    for path, _ in sizes(lake.folder):
        assert path.name.endswith(".lock") or path.exists()
    lake.folder = there
    assert names_in(lake, value) == ["ann", "cyd"]
    found = AvroFile(next(there.rglob("bits-m0.avro"))).records[0]["data_file"]
    assert found["referenced_data_file"].startswith(f"{there}/people-")
    assert Path(found["referenced_data_file"]).exists()


def test_a_copy_that_is_there_is_not_made_again_but_for_what_holds_addresses(lake: Lake, tmp_path: Path) -> None:
    lake.append("people", people("ann"))
    there = tmp_path / "there"
    copy_lake(lake.folder, there, lambda size: None)
    before = {path: path.stat().st_ino for path, _ in sizes(there)}  # type: ignore[union-attr]
    stray = there / state(lake, "people")["metadata_location"].partition("/")[0] / "data" / "stray.parquet"
    stray.write_bytes(b"of an earlier attempt")
    copy_lake(lake.folder, there, lambda size: None)
    after = {path: path.stat().st_ino for path, _ in sizes(there)}  # type: ignore[union-attr]
    assert before.keys() == after.keys()
    assert {path.suffix for path in before if before[path] == after[path]} == {".parquet"}
