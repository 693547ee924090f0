"""The catalog of a workspace whose tables lie in object storage: real clients, and an S3 server over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import load_catalog
from starlette.testclient import TestClient

from bascule.history import Workspace
from bascule.lake import Lake, Session, doctor
from bascule.protocols.iceberg.endpoints import storage_of
from bascule.web import create_app
from tests.protocols.iceberg.conftest import Catalog, served
from tests.protocols.iceberg.test_duckdb import Client, opened, python  # noqa: F401

# pyiceberg leaves Arrow's files and its connections to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture
def remote(tmp_path: Path, s3: str) -> Iterator[Workspace]:
    """An empty workspace with its tables in object storage."""
    made = Workspace.create(tmp_path / "project", storage=s3)
    yield made
    made.close()


@pytest.fixture
def address(remote: Workspace) -> Iterator[str]:
    """The address of its catalog."""
    with served(remote) as found:
        yield found


def rows(*numbers: int) -> pa.Table:
    return pa.table({"id": pa.array(numbers, pa.int64()), "name": [f"n{n}" for n in numbers]})


def ids(workspace: Workspace, name: str, ref: str = "main") -> list[int]:
    with Session(workspace, ref) as session:
        found: list[int] = session.arrow(f"select id from {name} order by id").column("id").to_pylist()
        return found


@pytest.mark.slow
def test_pyiceberg_writes_and_reads(remote: Workspace, address: str) -> None:
    """It is told of no endpoint: the catalog says where the storage is, and the keys are its own."""
    client = load_catalog("b", type="rest", uri=address, warehouse="main")
    client.create_namespace("ops")
    table = client.create_table("ops.t", rows(1).schema)
    assert table.location().startswith("s3://lake/")
    table.append(rows(1, 2, 3))
    table.delete("id = 2")
    table.upsert(rows(3, 4), join_cols=["id"])
    with client.create_table_transaction("ops.u", rows(1).schema) as made:
        made.append(rows(7, 8))
    assert sorted(table.scan().to_arrow().column("id").to_pylist()) == ids(remote, "ops.t") == [1, 3, 4]
    assert ids(remote, "ops.u") == [7, 8]
    remote.history.create_branch("dev")
    load_catalog("d", type="rest", uri=address, warehouse="dev").load_table("ops.u").append(rows(9))
    assert (ids(remote, "ops.u"), ids(remote, "ops.u", "dev")) == ([7, 8], [7, 8, 9])
    Lake(remote).append("ops.t", rows(10))
    assert table.refresh().scan().to_arrow().num_rows == 4
    place = client.load_table("ops.u").metadata_location
    client.purge_table("ops.u")
    assert client.register_table("ops.again", place).scan().to_arrow().num_rows == 2
    assert doctor.check(remote, deep=True).problems == ()


@pytest.mark.slow
def test_files_of_other_places_are_refused(remote: Workspace) -> None:
    catalog = Catalog(TestClient(create_app(remote), base_url="http://127.0.0.1:7400"))
    location = catalog.table()["metadata"]["location"]
    other = catalog.table("other")["metadata-location"]
    head = remote.history.resolve("main")
    for place in (
        f"{location}/../other/metadata/x.avro",
        f"{location}-more/metadata/x.avro",
        "s3://elsewhere/metadata/x.avro",
        "file:///etc/passwd",
        "/etc/passwd",
        other,
    ):
        snapshot = {"snapshot-id": 1, "sequence-number": 1, "timestamp-ms": 1, "manifest-list": place}
        ref = {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 1}
        updates = [{"action": "add-snapshot", "snapshot": {**snapshot, "summary": {"operation": "append"}}}, ref]
        code, kind, said = catalog.error("POST", "namespaces/ns/tables/t", {"requirements": [], "updates": updates})
        assert (code, kind) == (400, "BadRequestException")
        assert "outside of the table's location" in said
    for place in ("s3://lake/x.metadata.json", "s3://elsewhere/t/metadata/x.metadata.json", "/etc/passwd"):
        body = {"name": "r", "metadata-location": place}
        assert catalog.error("POST", "namespaces/ns/register", body)[0] == 400
    assert remote.history.resolve("main") == head


@pytest.mark.slow
def test_what_a_client_is_told_of_the_storage(remote: Workspace, s3_server: str, tmp_path: Path) -> None:
    assert storage_of(remote.lake_folder) == {
        "s3.endpoint": s3_server,
        "s3.path-style-access": "true",
        "s3.region": "us-east-1",
        "client.region": "us-east-1",
    }
    plain = f"s3://key:secret@lake/x?endpoint_override={s3_server.removeprefix('http://')}&scheme=http"
    named = Workspace.create(tmp_path / "named", storage=plain)
    told = storage_of(named.lake_folder)
    named.close()
    region = {"s3.region": "us-east-1", "client.region": "us-east-1"}  # as the environment says
    assert told == {"s3.endpoint": s3_server, "s3.path-style-access": "true"} | region
    assert "secret" not in str(told)
    local = Workspace.create(tmp_path / "local")
    assert storage_of(local.lake_folder) == {}
    local.close()


@pytest.mark.slow
def test_duckdb_writes_and_reads(remote: Workspace, opened: Callable[..., Client], s3_server: str) -> None:  # noqa: F811
    sql: Any = opened(ice="main")
    place = f"ENDPOINT '{s3_server.removeprefix('http://')}', USE_SSL false, URL_STYLE 'path'"
    sql(f"CREATE SECRET (TYPE s3, KEY_ID 'key', SECRET 'secret', REGION 'us-east-1', {place})")
    sql("CREATE SCHEMA ice.ops", "CREATE TABLE ice.ops.t (id BIGINT, name VARCHAR)")
    sql("INSERT INTO ice.ops.t VALUES (1, 'a'), (2, 'b'), (3, 'c')", "UPDATE ice.ops.t SET name = 'bb' WHERE id = 2")
    sql("DELETE FROM ice.ops.t WHERE id = 1", "CREATE TABLE ice.ops.u AS SELECT 5::BIGINT AS id")
    sql("BEGIN", "INSERT INTO ice.ops.t VALUES (6, 'x')", "INSERT INTO ice.ops.u VALUES (6)", "COMMIT")
    assert sql("SELECT id FROM ice.ops.t ORDER BY id") == [[2], [3], [6]]
    assert (ids(remote, "ops.t"), ids(remote, "ops.u")) == ([2, 3, 6], [5, 6])
    assert doctor.check(remote, deep=True).problems == ()
