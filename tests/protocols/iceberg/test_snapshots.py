"""Snapshots that a client brings: what their files may be, and what stays of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from bascule.errors import InputError
from bascule.history import Workspace
from bascule.lake import Lake, Session, doctor
from bascule.lake.iceberg import content, datafiles, manifests, metadata
from bascule.lake.iceberg.tables import Table
from tests.protocols.iceberg.conftest import Catalog

TABLE = "namespaces/ns/tables/t"


def rows(*numbers: int) -> pa.Table:
    return pa.table({"id": pa.array(numbers, pa.int64()), "name": [f"n{n}" for n in numbers]})


class Engine:
    """Writes a table's files as an engine does that knows nothing of Bascule."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.metadata: dict[str, Any] = catalog.get(TABLE)["metadata"]
        self.folder = Path(self.metadata["location"])
        self.table = Table("t", self.folder, self.folder / "metadata" / "none", self.metadata)

    def files(self, *numbers: int) -> list[dict[str, Any]]:
        written = datafiles.write(iter(rows(*numbers).to_batches()), self.table.schema, self.folder / "data")
        for record in written:  # no engine but Bascule names files by their content
            plain = self.folder / "data" / f"{os.urandom(8).hex()}.parquet"
            os.rename(record["file_path"], plain)
            record["file_path"] = str(plain)
        return written

    def snapshot(self, records: list[dict[str, Any]], number: int, **changes: Any) -> dict[str, Any]:
        sequence = self.metadata["last-sequence-number"] + 1
        entries = [{"status": 1, "snapshot_id": number, "data_file": record} for record in records]
        manifest = self.folder / "metadata" / f"m{number}.avro"
        kind = manifests.DATA if records[0]["content"] == manifests.DATA else manifests.DELETES
        listed = manifests.write_manifest(
            manifest, entries, table=self.metadata, snapshot_id=number, sequence_number=sequence, content=kind
        )
        listed = {**listed, **changes.pop("manifest", {})}
        place = self.folder / "metadata" / f"snap-{number}.avro"
        parent = self.metadata.get("current-snapshot-id")
        before = self.table.manifests() if parent else []
        manifests.write_list(place, [*before, listed], snapshot_id=number, parent_id=parent, sequence_number=sequence)
        return {
            "snapshot-id": number,
            "sequence-number": sequence,
            "timestamp-ms": self.metadata["last-updated-ms"] + 1,
            "manifest-list": str(place),
            "summary": {"operation": "append", "added-records": str(sum(r["record_count"] for r in records))},
            "schema-id": 0,
            **({"parent-snapshot-id": parent} if parent else {}),
            **changes,
        }


def body(snapshot: dict[str, Any]) -> dict[str, Any]:
    ref = {"ref-name": "main", "type": "branch", "snapshot-id": snapshot["snapshot-id"]}
    updates = [{"action": "add-snapshot", "snapshot": snapshot}, {"action": "set-snapshot-ref", **ref}]
    return {"requirements": [], "updates": updates}


def test_rows_that_an_engine_brings(catalog: Catalog, local_workspace: Workspace) -> None:
    catalog.table()
    for number in (101, 102):
        engine = Engine(catalog)
        catalog.post(TABLE, body(engine.snapshot(engine.files(number), number)))
    value = local_workspace.history.get("main", "tables/ns.t")
    assert (value["rows"], value["files"], value["snapshot_id"]) == (2, 2, 102)
    with Session(local_workspace) as session:
        assert session.arrow("select id from ns.t order by id").column("id").to_pylist() == [101, 102]
    table = Lake(local_workspace).table(value)
    # The number of the content is kept up commit by commit, and is what looking at all files gives.
    whole = content.of_records(entry["data_file"] for entry in table.live(manifests.DATA))
    assert content.from_summary(table.summary) == whole
    assert doctor.check(local_workspace).problems == ()


@pytest.mark.slow
def test_a_lie_about_the_content_is_not_believed(catalog: Catalog, local_workspace: Workspace) -> None:
    catalog.table()
    engine = Engine(catalog)
    lie = {"operation": "append", content.KEY: "abc"}
    catalog.post(TABLE, body(engine.snapshot(engine.files(1), 101, summary=lie)))
    table = Lake(local_workspace).table(local_workspace.history.get("main", "tables/ns.t"))
    assert table.summary[content.KEY] != "abc"


OUTSIDE = [
    "/etc/passwd",
    "LOCATION/../../../x",
    "LOCATION/%2e%2e/x",
    "s3://other/x",
    "file:///etc/passwd",
    "x",
    "OTHER/x",
]


@pytest.mark.slow
@pytest.mark.parametrize("place", OUTSIDE)
@pytest.mark.parametrize("what", ["manifest list", "manifest", "data file", "statistics"])
def test_files_outside_of_the_table_are_refused(
    catalog: Catalog, local_workspace: Workspace, place: str, what: str
) -> None:
    catalog.table()
    other = catalog.table("other")["metadata"]["location"]
    engine = Engine(catalog)
    hostile = place.replace("LOCATION", str(engine.folder)).replace("OTHER", other)
    records = engine.files(1)
    if what == "data file":
        records[0]["file_path"] = hostile
    changes: dict[str, Any] = {
        "manifest list": {"manifest-list": hostile},
        "manifest": {"manifest": {"manifest_path": hostile}},
    }
    sent = body(engine.snapshot(records, 101, **changes.get(what, {})))
    if what == "statistics":
        file = {"snapshot-id": 101, "statistics-path": hostile}
        sent["updates"].append({"action": "set-statistics", "statistics": file})
    head = local_workspace.history.resolve("main")
    code, kind, said = catalog.error("POST", TABLE, sent)
    assert (code, kind) == (400, "BadRequestException")
    assert "outside of the table's location" in said
    assert local_workspace.history.resolve("main") == head


def test_files_that_are_missing_or_no_manifests(catalog: Catalog) -> None:
    catalog.table()
    engine = Engine(catalog)
    snapshot = engine.snapshot(engine.files(1), 101)
    missing = {**snapshot, "manifest-list": str(engine.folder / "metadata" / "gone.avro")}
    assert "is missing" in catalog.error("POST", TABLE, body(missing))[2]
    Path(snapshot["manifest-list"]).write_bytes(b"Obj\x01nonsense")
    code, _, said = catalog.error("POST", TABLE, body(snapshot))
    assert code == 400
    assert "is damaged" in said


def test_refs_and_snapshots_of_engines_survive(catalog: Catalog, local_workspace: Workspace) -> None:
    catalog.table()
    engine = Engine(catalog)
    catalog.post(TABLE, body(engine.snapshot(engine.files(1), 101)))
    catalog.commit(TABLE, {"action": "set-snapshot-ref", "ref-name": "keep", "type": "tag", "snapshot-id": 101})
    lake = Lake(local_workspace)
    for number in range(2, 8):
        lake.append("ns.t", rows(number))
    found = catalog.get(TABLE)["metadata"]
    assert found["refs"]["keep"]["snapshot-id"] == 101
    assert 101 in [s["snapshot-id"] for s in found["snapshots"]]
    catalog.commit(TABLE, {"action": "remove-snapshot-ref", "ref-name": "keep"})
    catalog.commit(TABLE, {"action": "remove-snapshots", "snapshot-ids": [101]})
    assert 101 not in [s["snapshot-id"] for s in catalog.get(TABLE)["metadata"]["snapshots"]]
    # What is expired in the table is still there at the commits that had it.
    first = local_workspace.history.log("main", path="tables/ns.t")[-2]
    past = Catalog(catalog.http, first.id)
    assert past.get(TABLE)["metadata"]["current-snapshot-id"] == 101
    assert doctor.check(local_workspace).problems == ()


@pytest.mark.slow
def test_engines_find_many_snapshots_but_not_all(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "KEPT_FOR_OTHERS", 4)
    catalog.table()
    for number in range(101, 108):
        engine = Engine(catalog)
        catalog.post(TABLE, body(engine.snapshot(engine.files(number), number)))
        if number == 101:
            catalog.commit(TABLE, {"action": "set-snapshot-ref", "ref-name": "v", "type": "tag", "snapshot-id": 101})
    found = catalog.get(TABLE)["metadata"]
    assert [s["snapshot-id"] for s in found["snapshots"]] == [101, 104, 105, 106, 107]
    assert [entry["snapshot-id"] for entry in found["snapshot-log"]] == [104, 105, 106, 107]
    asked = {"action": "set-properties", "updates": {"history.expire.min-snapshots-to-keep": "9"}}
    catalog.commit(TABLE, asked)
    for number in range(108, 112):
        engine = Engine(catalog)
        catalog.post(TABLE, body(engine.snapshot(engine.files(number), number)))
    assert len(catalog.get(TABLE)["metadata"]["snapshots"]) == 9


def test_equality_deletes_are_kept_and_told(catalog: Catalog, local_workspace: Workspace) -> None:
    catalog.table()
    engine = Engine(catalog)
    catalog.post(TABLE, body(engine.snapshot(engine.files(1, 2, 3), 101)))
    engine = Engine(catalog)
    (deletes,) = engine.files(2)
    deletes |= {"content": manifests.EQUALITY_DELETES, "equality_ids": [1]}
    before = local_workspace.history.get("main", "tables/ns.t")
    catalog.post(TABLE, body(engine.snapshot([deletes], 102)))
    after = local_workspace.history.get("main", "tables/ns.t")
    assert after["digest"] != before["digest"]
    with Session(local_workspace) as session, pytest.raises(InputError, match="has equality deletes, which Bascule"):
        session.arrow("select * from ns.t")
    # The commit before it is read as ever.
    with Session(local_workspace) as session:
        assert session.arrow('select count(*) from ns.t@"main~1"').to_pylist() == [{"count_star()": 3}]
    assert doctor.check(local_workspace).problems == ()


def test_damaged_metadata_is_named(catalog: Catalog) -> None:
    made = catalog.table()
    Path(made["metadata-location"]).write_text("{")
    code, kind, said = catalog.error("GET", TABLE)
    assert (code, kind) == (500, "InternalServerError")
    assert made["metadata-location"] in said
    assert "bascule doctor" in said
    Path(made["metadata-location"]).unlink()
    assert made["metadata-location"] in catalog.error("GET", TABLE)[2]
