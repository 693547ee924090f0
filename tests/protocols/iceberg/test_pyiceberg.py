"""pyiceberg, unmodified, over a socket: everything that it can ask of a catalog."""

from __future__ import annotations

import threading
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    BadRequestError,
    CommitFailedException,
    NamespaceNotEmptyError,
    NoSuchNamespaceError,
    NoSuchTableError,
    NoSuchViewError,
    TableAlreadyExistsError,
)
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DoubleType, LongType
from pyiceberg.view.metadata import SQLViewRepresentation, ViewVersion

from bascule.history import Workspace
from bascule.lake import Lake, Session, doctor

# pyiceberg leaves Arrow's files and its connections to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Delete operation did not match any records"),
]


def rows(*numbers: int) -> pa.Table:
    return pa.table({"id": pa.array(numbers, pa.int64()), "name": [f"n{n}" for n in numbers]})


def opened(address: str, ref: str = "main", **more: str) -> Catalog:
    return load_catalog("bascule", type="rest", uri=address, warehouse=ref, **more)


@pytest.fixture
def catalog(address: str) -> Catalog:
    """A client at `main`."""
    found = opened(address)
    found.create_namespace("ops")
    return found


def ids(workspace: Workspace, name: str = "ops.t", ref: str = "main") -> list[int]:
    with Session(workspace, ref) as session:
        found: list[int] = session.arrow(f"select id from {name} order by id").column("id").to_pylist()
        return found


@pytest.mark.slow
def test_rows_in_and_out(catalog: Catalog, local_workspace: Workspace) -> None:
    table = catalog.create_table("ops.t", rows(1).schema, properties={"owner": "ann"})
    table.append(rows(1, 2, 3))
    table.append(rows(4, 5))
    table.delete("id = 2")
    table.overwrite(rows(30), overwrite_filter="id = 3")
    table.upsert(rows(4, 6), join_cols=["id"])
    assert ids(local_workspace) == [1, 4, 5, 6, 30]
    assert sorted(table.scan().to_arrow().column("id").to_pylist()) == [1, 4, 5, 6, 30]
    assert catalog.load_table("ops.t").properties["owner"] == "ann"
    Lake(local_workspace).append("ops.t", rows(7))
    assert table.refresh().scan().to_arrow().num_rows == 6
    value = local_workspace.history.get("main", "tables/ops.t")
    assert value["rows"] == 6
    assert doctor.check(local_workspace).problems == ()


@pytest.mark.slow
def test_columns_partitions_order_and_refs(catalog: Catalog, local_workspace: Workspace) -> None:
    table = catalog.create_table("ops.t", rows(1).schema)
    table.append(rows(1))
    with table.update_schema() as schema:
        schema.add_column("score", DoubleType())
        schema.rename_column("name", "title")
        schema.move_first("name")
    with table.update_spec() as spec:
        spec.add_identity("title")
    with table.update_sort_order() as order:
        order.asc("id", IdentityTransform())
    table.append(pa.table({"title": ["a", "b"], "id": pa.array([2, 3], pa.int64()), "score": [0.5, None]}))
    with table.manage_snapshots() as manage:
        manage.create_tag(table.metadata.snapshots[0].snapshot_id, "first")
    assert table.scan(snapshot_id=table.metadata.refs["first"].snapshot_id).to_arrow().num_rows == 1
    assert ids(local_workspace) == [1, 2, 3]
    table.append(pa.table({"title": ["z"], "id": pa.array([9], pa.int64()), "score": [0.0]}))
    table.maintenance.expire_snapshots().by_id(table.metadata.snapshots[1].snapshot_id).commit()
    assert len(table.metadata.snapshots) == 2
    with table.transaction() as many:
        many.set_properties({"a": "b"})
        many.append(pa.table({"title": ["c"], "id": pa.array([4], pa.int64()), "score": [1.0]}))
    with table.update_schema(allow_incompatible_changes=True) as schema:
        schema.delete_column("score")
        schema.add_column("n", LongType())
    assert table.scan().to_arrow().num_rows == len(ids(local_workspace)) == 5


@pytest.mark.slow
def test_names(catalog: Catalog, local_workspace: Workspace) -> None:
    table = catalog.create_table("ops.t", rows(1).schema)
    with pytest.raises(TableAlreadyExistsError):
        catalog.create_table("ops.t", rows(1).schema)
    with pytest.raises(NoSuchNamespaceError):
        catalog.create_table("no.t", rows(1).schema)
    with pytest.raises(NamespaceNotEmptyError):
        catalog.drop_namespace("ops")
    with pytest.raises(BadRequestError, match="cannot name a table"):
        catalog.create_table(("ops", "a b"), rows(1).schema)
    catalog.rename_table("ops.t", "ops.u")
    with pytest.raises(NoSuchTableError):
        catalog.load_table("ops.t")
    assert catalog.list_tables("ops") == [("ops", "u")]
    place = table.metadata_location
    catalog.purge_table("ops.u")
    assert not catalog.table_exists("ops.u")
    catalog.register_table("ops.again", place)
    assert catalog.table_exists("ops.again")
    catalog.create_namespace(("a", "b"))
    assert catalog.list_namespaces("a") == [("a", "b")]
    catalog.create_table(("a", "b", "t"), rows(1).schema).append(rows(9))
    assert ids(local_workspace, '"a.b".t') == [9]
    catalog.update_namespace_properties("ops", removals={"x"}, updates={"k": "v"})
    assert catalog.load_namespace_properties("ops")["k"] == "v"


@pytest.mark.slow
def test_a_table_made_with_its_first_rows(catalog: Catalog, local_workspace: Workspace) -> None:
    with catalog.create_table_transaction("ops.t", rows(1).schema) as made:
        made.append(rows(1, 2))
    assert ids(local_workspace) == [1, 2]
    assert local_workspace.history.resolve("main").message == "Create table ops.t (2 rows)"


@pytest.mark.slow
def test_views(catalog: Catalog) -> None:
    version = ViewVersion(
        version_id=1,
        schema_id=0,
        timestamp_ms=1,
        summary={},
        representations=[SQLViewRepresentation(type="sql", sql="select 1", dialect="spark")],
        default_namespace=["ops"],
    )
    catalog.create_view("ops.v", rows(1).schema, version)
    assert catalog.list_views("ops") == [("ops", "v")]
    assert catalog.view_exists("ops.v")
    assert catalog.load_view("ops.v").metadata.versions[0].representations[0].root.sql == "select 1"
    catalog.drop_view("ops.v")
    assert not catalog.view_exists("ops.v")
    with pytest.raises(NoSuchViewError):
        catalog.drop_view("ops.v")


@pytest.mark.slow
@pytest.mark.parametrize("way", ["warehouse", "address"])
def test_branches_and_past_states(address: str, catalog: Catalog, local_workspace: Workspace, way: str) -> None:
    catalog.create_table("ops.t", rows(1).schema).append(rows(1))
    first = local_workspace.history.resolve("main")
    local_workspace.history.create_branch("feat/x+y")
    ref = "feat/x+y"
    dev = opened(address, ref) if way == "warehouse" else load_catalog("d", type="rest", uri=f"{address}/feat%2Fx%2By")
    dev.load_table("ops.t").append(rows(2))
    catalog.load_table("ops.t").append(rows(3))
    assert ids(local_workspace, ref=ref) == [1, 2]
    assert ids(local_workspace) == [1, 3]
    past = opened(address, f"main@{first.id[:12]}")
    table = past.load_table("ops.t")
    assert table.scan().to_arrow().num_rows == 1
    with pytest.raises(BadRequestError, match="takes no writes"):
        table.append(rows(4))
    assert ids(local_workspace) == [1, 3]


@pytest.mark.slow
def test_a_stale_client_s_append_is_repeated_by_it(catalog: Catalog, local_workspace: Workspace) -> None:
    table = catalog.create_table("ops.t", rows(1).schema)
    stale, other = catalog.load_table("ops.t"), catalog.load_table("ops.t")
    other.append(rows(1))
    Lake(local_workspace).append("ops.t", rows(2))
    stale.append(rows(3))
    assert ids(local_workspace) == [1, 2, 3]
    late = catalog.load_table("ops.t")
    with table.update_schema() as schema:
        schema.add_column("x", LongType())
    with (
        pytest.raises(CommitFailedException, match="Requirement failed: current schema changed"),
        late.update_schema() as schema,
    ):
        schema.add_column("y", LongType())


@pytest.mark.slow
def test_writers_at_once_lose_nothing(address: str, catalog: Catalog, local_workspace: Workspace) -> None:
    retries = {"commit.retry.num-retries": "30", "commit.retry.min-wait-ms": "5", "commit.retry.max-wait-ms": "50"}
    catalog.create_table("ops.t", rows(1).schema, properties=retries)
    failed: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            table = opened(address).load_table("ops.t")
            for number in range(5):
                table.append(rows(writer * 10 + number))
        except BaseException as error:
            failed.append(error)

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for one in writers:
        one.start()
    for number in range(5):
        Lake(local_workspace).append("ops.t", rows(100 + number))
    for one in writers:
        one.join()
    assert failed == []
    wanted = sorted([writer * 10 + number for writer in range(4) for number in range(5)] + list(range(100, 105)))
    assert ids(local_workspace) == wanted
    assert doctor.check(local_workspace).problems == ()


# It would rather plan with a package of its own, and falls back to pyiceberg.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Iceberg scan planning")
def test_polars_reads_and_writes(catalog: Catalog, local_workspace: Workspace) -> None:
    polars: Any = pytest.importorskip("polars")
    table = catalog.create_table("ops.t", rows(1).schema)
    polars.DataFrame({"id": [1, 2], "name": ["a", "b"]}).write_iceberg(table, mode="append")
    assert polars.scan_iceberg(table.refresh()).filter(polars.col("id") > 1).collect().height == 1
    assert ids(local_workspace) == [1, 2]
