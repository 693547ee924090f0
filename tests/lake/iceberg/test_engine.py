"""The Iceberg engine, held against pyiceberg: what we write it reads, what it writes we read."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from tests.lake.iceberg.deleting import delete_file, with_deletes

from bascule.errors import InputError
from bascule.lake import engine
from bascule.lake.iceberg import content, datafiles, manifests, metadata, rowgroups, scans, schemas, snapshots, tables
from bascule.lake.iceberg.aligning import aligned
from bascule.lake.iceberg.tables import Table

pyiceberg = pytest.importorskip("pyiceberg")
from pyiceberg.catalog.sql import SqlCatalog  # noqa: E402
from pyiceberg.expressions import EqualTo, GreaterThan, IsNaN, IsNull  # noqa: E402
from pyiceberg.table import StaticTable  # noqa: E402
from pyiceberg.types import DoubleType, LongType  # noqa: E402

EVERY_TYPE = pa.table(
    {
        "small": pa.array([1, 2, None], pa.int8()),
        "int": pa.array([1, 2, None], pa.int32()),
        "unsigned": pa.array([1, 2**32 - 1, None], pa.uint32()),
        "long": pa.array([1, -(2**63), None], pa.int64()),
        "real": pa.array([1.5, None, -2.5], pa.float32()),
        "double": pa.array([1.0, float("nan"), 2.5]),
        "yes": pa.array([True, False, None]),
        "text": pa.array(["x" * 30, "b", None]),
        "large": pa.array(["x", "", None], pa.large_string()),
        "kind": pa.array(["x", "y", None]).dictionary_encode(),
        "data": pa.array([b"\xff" * 20, b"a", None], pa.binary()),
        "day": pa.array([dt.date(2013, 1, 1), None, dt.date(1969, 12, 31)]),
        "clock": pa.array([dt.time(23, 59, 59, 999999), None, dt.time(0)]),
        "local": pa.array([dt.datetime(2013, 1, 1, 5), None, dt.datetime(1960, 1, 1)], pa.timestamp("ms")),
        "moment": pa.array([0, None, 10**15], pa.timestamp("us", "UTC")),
        "money": pa.array([Decimal("1.25"), Decimal("-99999999999999999999999999.99"), None], pa.decimal128(30, 2)),
        "items": pa.array([[1, None], [], None], pa.list_(pa.int64())),
        "part": pa.array([{"a": 1, "b": {"c": "q"}}, {"a": None, "b": None}, None]),
        "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
    }
)


def new_table(folder: Path, schema: pa.Schema, name: str = "t") -> Table:
    columns, last = schemas.from_arrow(schema)
    return tables.create(name, folder, columns, last, {})


def append(table: Table, rows: pa.Table) -> Table:
    batches = aligned(rows.to_batches(), schemas.to_arrow(table.schema), table.name)
    return snapshots.append(table, datafiles.write(batches, table.schema, table.folder / "data"))


def rows_of(table: Table) -> list[dict[str, Any]]:
    with engine.opened() as connection:
        return connection.sql(f"SELECT * FROM {scans.scan(table)}").to_arrow_table().to_pylist()


def oracle(table: Table) -> StaticTable:
    return StaticTable.from_metadata(str(table.path))


def test_pyiceberg_reads_every_type_that_we_write(tmp_path: Path) -> None:
    table = append(new_table(tmp_path / "t", EVERY_TYPE.schema), EVERY_TYPE)
    theirs, ours = oracle(table).scan().to_arrow().to_pylist(), rows_of(table)
    expected = EVERY_TYPE.set_column(9, "kind", EVERY_TYPE["kind"].cast(pa.string())).to_pylist()
    assert len(theirs) == len(ours) == 3
    for mine, other, wanted in zip(ours, theirs, expected, strict=True):
        for column, value in wanted.items():
            if column == "map":
                value = None if value is None else list(value)
            same = value != value and mine[column] != mine[column] and other[column] != other[column]  # NaN
            assert same or (mine[column] == other[column] == value), column


def test_pyiceberg_prunes_by_our_bounds(tmp_path: Path) -> None:
    table = new_table(tmp_path / "t", pa.schema([("n", pa.int64()), ("f", pa.float64()), ("s", pa.string())]))
    for start in (0, 100, 200):
        numbers = list(range(start, start + 100))
        floats = [float("nan") if start == 100 else float(n) for n in numbers]
        texts = [None if start == 200 else f"{n:05d}" + "é" * 20 for n in numbers]
        table = append(table, pa.table({"n": numbers, "f": floats, "s": texts}))
    scan = oracle(table).scan
    assert len(list(scan(row_filter=EqualTo("n", 150)).plan_files())) == 1
    assert len(list(scan(row_filter=GreaterThan("n", 150)).plan_files())) == 2
    assert len(list(scan(row_filter=EqualTo("s", "00007" + "é" * 20)).plan_files())) == 1
    assert len(list(scan(row_filter=IsNaN("f")).plan_files())) == 1
    assert len(list(scan(row_filter=IsNull("s")).plan_files())) == 1
    assert scan(row_filter=EqualTo("s", "00007" + "é" * 20)).to_arrow().num_rows == 1
    found = scans.pruned(table, table.data_files(), {"n": (120, 180)})
    assert [f.rows for f in found] == [100]


def test_statistics_are_those_of_the_rows(tmp_path: Path) -> None:
    table = append(new_table(tmp_path / "t", EVERY_TYPE.schema), EVERY_TYPE)
    metrics = oracle(table).inspect.files().to_pylist()[0]["readable_metrics"]
    assert metrics["int"]["lower_bound"] == 1
    assert metrics["int"]["null_value_count"] == 1
    assert metrics["double"]["nan_value_count"] == 1
    assert (metrics["double"]["lower_bound"], metrics["double"]["upper_bound"]) == (1.0, 2.5)
    assert metrics["text"]["upper_bound"] == "x" * 15 + "y"  # cut to 16 and raised, so that it stays above
    assert metrics["data"]["upper_bound"] is None  # there is no greater value of 16 bytes
    assert metrics["money"]["lower_bound"] == Decimal("-99999999999999999999999999.99")
    assert metrics["moment"]["upper_bound"] == dt.datetime(2001, 9, 9, 1, 46, 40, tzinfo=dt.UTC)
    assert metrics["long"]["lower_bound"] == -(2**63)


def test_we_read_what_pyiceberg_writes_and_it_reads_what_we_add(tmp_path: Path) -> None:
    catalog = SqlCatalog("c", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("n")
    theirs = catalog.create_table(
        "n.t", pa.schema([("a", pa.int32()), ("b", pa.string()), ("s", pa.struct([("x", pa.int64())]))])
    )
    theirs.append(pa.table({"a": pa.array([1, 2], pa.int32()), "b": ["x", "y"], "s": [{"x": 1}, None]}))
    with theirs.update_schema() as update:
        update.rename_column("b", "bb")
        update.add_column("c", DoubleType())
        update.update_column("a", LongType())
    theirs.append(pa.table({"a": pa.array([3], pa.int64()), "bb": ["z"], "s": [{"x": 5}], "c": [1.5]}))
    theirs.delete("a = 1")
    table = Table.load(Path(theirs.metadata_location.removeprefix("file://")), "t")
    wanted = [{"a": 2, "bb": "y", "s": None, "c": None}, {"a": 3, "bb": "z", "s": {"x": 5}, "c": 1.5}]
    assert sorted(rows_of(table), key=repr) == wanted
    after = append(table, pa.table({"a": [9], "bb": ["n"], "s": [{"x": 2}], "c": [2.0]}))
    assert after.summary["total-records"] == "3"
    assert sorted(oracle(after).scan().to_arrow()["a"].to_pylist()) == [2, 3, 9]
    catalog.close()


def test_files_that_were_adopted_without_ids_are_read_by_the_name_mapping(tmp_path: Path) -> None:
    catalog = SqlCatalog("c", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("n")
    theirs = catalog.create_table("n.t", pa.schema([("a", pa.int64()), ("b", pa.string())]))
    theirs.append(pa.table({"a": [1], "b": ["own"]}))
    pq.write_table(pa.table({"b": ["adopted"], "a": pa.array([2], pa.int64())}), tmp_path / "old.parquet")
    theirs.add_files([str(tmp_path / "old.parquet")])
    with theirs.update_schema() as update:
        update.rename_column("b", "label")
    table = Table.load(Path(theirs.metadata_location.removeprefix("file://")), "t")
    assert sorted(rows_of(table), key=repr) == [{"a": 1, "label": "own"}, {"a": 2, "label": "adopted"}]
    catalog.close()


def test_nan_in_a_file_of_another_engine_is_found(tmp_path: Path) -> None:
    """Its footer tells of no NaN, and DuckDB would leave out by it what a condition asks for."""
    schema = pa.schema([("x", pa.float64()), ("s", pa.struct([("y", pa.float32())]))])
    nan = float("nan")
    rows = pa.Table.from_pylist([{"x": x, "s": {"y": x}} for x in (1.0, nan, 3.0)], schema)
    catalog = SqlCatalog("c", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("n")
    theirs = catalog.create_table("n.t", schema)
    theirs.append(rows)
    pq.write_table(rows, tmp_path / "old.parquet")
    adopted = catalog.create_table("n.u", schema)
    adopted.add_files([str(tmp_path / "old.parquet")])
    for their in (theirs, adopted):
        table = Table.load(Path(their.metadata_location.removeprefix("file://")), "t")
        with engine.opened() as connection:
            for condition in ("isnan(x)", "x > 5", "x = 'nan'", "isnan(s.y)", "s.y > 5", "x IS NOT NULL AND NOT x < 5"):
                query = f"SELECT count(*), count_if({condition}) FROM {scans.scan(table)} WHERE {condition}"
                assert connection.sql(query).fetchall() == [(1, 1)], condition
            assert connection.sql(f"SELECT x FROM {scans.scan(table)} WHERE x < 2").fetchall() == [(1.0,)]
    catalog.close()


def two_files(folder: Path) -> Table:
    table = new_table(folder, pa.schema([("n", pa.int64()), ("filename", pa.string())]))
    table = append(table, pa.table({"n": [0, 1, 2, 3], "filename": list("abcd")}))
    return append(table, pa.table({"n": [10, 11], "filename": list("ef")}))


def numbers(table: Table) -> list[int]:
    return sorted(row["n"] for row in rows_of(table))


def test_position_deletes_are_taken_out_as_pyiceberg_does(tmp_path: Path) -> None:
    table = two_files(tmp_path / "t")
    first, second = table.data_files()
    gone = [(str(first.path), 1), (str(first.path), 3), (str(second.path), 0)]
    deleted = with_deletes(table, delete_file(table, gone))
    assert numbers(deleted) == [0, 2, 11]
    assert oracle(deleted).scan().to_arrow()["n"].to_pylist() == [0, 2, 11]
    assert numbers(append(deleted, pa.table({"n": [1], "filename": ["g"]}))) == [0, 1, 2, 11]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"content": 2, "equality_ids": [1]}, "equality deletes"),
        ({"file_format": "ORC"}, "deletes in ORC files"),
        ({"file_format": "PUFFIN"}, "a deletion vector that names no data file"),
        (
            {"file_format": "PUFFIN", "record_count": 2_000_000},
            "a deletion vector of 2,000,000 rows",
        ),
    ],
)
def test_deletes_that_cannot_be_read_are_refused(tmp_path: Path, change: dict[str, Any], what: str) -> None:
    table = two_files(tmp_path / "t")
    record = delete_file(table, [(str(table.data_files()[0].path), 1)]) | change
    with pytest.raises(InputError, match=what):
        scans.scan(with_deletes(table, record))


def test_a_field_renamed_inside_a_struct_is_refused_and_not_read_as_null(tmp_path: Path) -> None:
    rows = pa.table({"s": [{"old": 1}]})
    table = append(new_table(tmp_path / "t", rows.schema), rows)
    schema = json.loads(json.dumps(table.schema))
    schema["fields"][0]["type"]["fields"][0]["name"] = "new"
    renamed = table.written(metadata.with_schema(table.metadata, schema, 2))
    with pytest.raises(InputError, match="'old' inside a struct"):
        scans.scan(renamed)


def test_columns_follow_their_ids_through_every_change(tmp_path: Path) -> None:
    rows = pa.table({"a": pa.array([1], pa.int32()), "b": ["x"], "f": pa.array([0.5], pa.float32())})
    table = append(new_table(tmp_path / "t", rows.schema), rows)
    schema, last = table.schema, table.metadata["last-column-id"]
    schema = schemas.rename_column(schema, "b", "c")
    schema = schemas.widen_column(schemas.widen_column(schema, "a", "long"), "f", "double")
    schema, last = schemas.add_columns(schema, [pa.field("b", pa.int64(), nullable=False)], last)
    table = table.written(metadata.with_schema(table.metadata, schema, last))
    table = append(table, pa.table({"a": [2**40], "c": ["y"], "f": [0.25], "b": [7]}))
    wanted = [{"a": 1, "c": "x", "f": 0.5, "b": None}, {"a": 2**40, "c": "y", "f": 0.25, "b": 7}]
    assert rows_of(table) == wanted
    assert oracle(table).scan().to_arrow().to_pylist() == wanted
    dropped = table.written(metadata.with_schema(table.metadata, schemas.drop_column(schema, "b"), last))
    again, last = schemas.add_columns(dropped.schema, [pa.field("b", pa.int64())], last)
    back = dropped.written(metadata.with_schema(dropped.metadata, again, last))
    assert [row["b"] for row in rows_of(back)] == [None, None]  # another column of the same name
    assert scans.pruned(back, back.data_files(), {"a": (2**39, None)})[0].record == back.data_files()[1].record


@pytest.mark.parametrize(
    ("column", "kind"), [("a", "int"), ("s", "double"), ("d", "decimal(8,2)"), ("d", "decimal(12,3)")]
)
def test_narrowing_is_refused(column: str, kind: str) -> None:
    schema, _ = schemas.from_arrow(pa.schema([("a", pa.int64()), ("s", pa.string()), ("d", pa.decimal128(10, 2))]))
    with pytest.raises(InputError, match="cannot become"):
        schemas.widen_column(schema, column, kind)


def test_twins_in_case_are_refused() -> None:
    with pytest.raises(InputError, match="differ in nothing but case"):
        schemas.from_arrow(pa.schema([("a", pa.int64()), ("A", pa.int64())]))
    with pytest.raises(InputError, match="is there twice"):
        schemas.from_arrow(pa.schema([("a", pa.int64()), ("a", pa.int64())]))


def test_a_type_that_no_table_holds_is_refused_with_its_column() -> None:
    with pytest.raises(InputError, match="'gap'"):
        schemas.from_arrow(pa.schema([("gap", pa.duration("s"))]))


@pytest.mark.slow
def test_metadata_stays_small_and_manifests_few(tmp_path: Path) -> None:
    table = new_table(tmp_path / "t", pa.schema([("n", pa.int64())]))
    for number in range(300):
        table = append(table, pa.table({"n": [number]}))
    assert len(table.metadata["snapshots"]) == metadata.KEPT_SNAPSHOTS
    assert table.path.stat().st_size < 20_000
    assert len(table.manifests()) <= 2 * snapshots.RUNG + 2
    assert [row["n"] for row in rows_of(table)] == list(range(300))  # in the order in which they came
    assert oracle(table).scan().to_arrow().num_rows == 300
    assert table.summary["total-records"] == "300"


@pytest.mark.slow
def test_an_append_reads_no_old_manifest_but_when_a_rung_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = new_table(tmp_path / "t", pa.schema([("n", pa.int64())]))
    reads: list[int] = []
    original = manifests.read_manifest
    monkeypatch.setattr(manifests, "read_manifest", lambda *args: reads.append(1) or original(*args))
    costs = []
    for number in range(256):
        before = len(reads)
        table = append(table, pa.table({"n": [number]}))
        costs.append(len(reads) - before)
    assert sum(cost > 0 for cost in costs) == 256 // snapshots.RUNG
    assert sum(costs) <= 2 * 256


def test_unknown_facts_stay_and_enforced_ones_cannot_go(tmp_path: Path) -> None:
    table = append(new_table(tmp_path / "t", pa.schema([("n", pa.int64())])), pa.table({"n": [1]}))
    document = {**table.metadata, "from-the-future": {"x": 1}}
    document["schemas"][0]["fields"][0]["doc"] = "kept"
    document = metadata.with_properties(document, {"gc.enabled": "true", "owner": "me"})
    after = append(table.written(document), pa.table({"n": [2]}))
    assert after.metadata["from-the-future"] == {"x": 1}
    assert after.schema["fields"][0]["doc"] == "kept"
    assert after.properties["gc.enabled"] == "false"
    assert after.properties["owner"] == "me"
    assert after.properties["write.parquet.compression-codec"] == "zstd"


@pytest.mark.slow
def test_equal_rows_make_equal_files_however_they_are_cut(tmp_path: Path) -> None:
    rows = pa.table({"n": pa.array(range(300_000)), "s": pa.array([f"{n % 977}" for n in range(300_000)])})
    schema, _ = schemas.from_arrow(rows.schema)
    arrow = schemas.to_arrow(schema)
    digests = []
    for size in (300_000, 8_192, 1_000, 77_777):
        folder = tmp_path / str(size)
        folder.mkdir()
        batches = aligned(rows.to_batches(max_chunksize=size), arrow, "t")
        digests.append([datafiles.content_of(r) for r in datafiles.write(batches, schema, folder)])
    assert digests.count(digests[0]) == len(digests)
    path = next((tmp_path / "1000").glob("*.parquet"))
    footer = pq.read_metadata(path)
    assert footer.row_group(0).num_rows == rowgroups.ROWS_PER_GROUP
    assert footer.row_group(0).column(0).compression == "ZSTD"
    assert [pq.read_schema(path).field(i).metadata[b"PARQUET:field_id"] for i in (0, 1)] == [b"1", b"2"]


def test_large_results_are_cut_into_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datafiles, "FILE_BYTES", 100_000)
    rows = pa.table({"n": pc.random(300_000)})
    table = append(new_table(tmp_path / "t", rows.schema), rows)
    assert len(table.data_files()) > 1
    assert sum(f.rows for f in table.data_files()) == 300_000
    assert oracle(table).scan().to_arrow()["n"].to_pylist() == rows["n"].to_pylist()


@pytest.mark.slow
def test_a_stream_that_breaks_leaves_no_file(tmp_path: Path) -> None:
    schema, _ = schemas.from_arrow(pa.schema([("n", pa.int64())]))

    def broken() -> Any:
        for _ in range(200):
            yield pa.record_batch({"n": pa.array(range(8192))})
        raise InputError("the source broke")

    with pytest.raises(InputError, match="the source broke"):
        datafiles.write(aligned(broken(), schemas.to_arrow(schema), "t"), schema, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_values_that_do_not_fit_are_refused_with_their_column(tmp_path: Path) -> None:
    schema, _ = schemas.from_arrow(pa.schema([pa.field("n", pa.int32(), nullable=False), ("t", pa.timestamp("us"))]))
    arrow = schemas.to_arrow(schema)
    bad = [
        pa.table({"n": [2**40], "t": pa.array([0], pa.timestamp("us"))}),
        pa.table({"n": [1.5], "t": pa.array([0], pa.timestamp("us"))}),
        pa.table({"n": [1], "t": pa.array([1], pa.timestamp("ns"))}),
        pa.table({"n": [1], "t": ["soon"]}),
    ]
    for rows, column in zip(bad, ("n", "n", "t", "t"), strict=True):
        with pytest.raises(InputError, match=f"Column '{column}' of table 't'"):
            datafiles.write(aligned(rows.to_batches(), arrow, "t"), schema, tmp_path)
    with pytest.raises(InputError, match="must have a value"):
        datafiles.write(
            aligned(pa.table({"n": pa.array([None], pa.int32())}).to_batches(), arrow, "t"), schema, tmp_path
        )
    assert list(tmp_path.iterdir()) == []


def test_content_is_the_same_by_whatever_way_it_came(tmp_path: Path) -> None:
    schema = pa.schema([("n", pa.int64())])
    a, b, c = (pa.table({"n": [n]}) for n in (1, 2, 3))
    straight = append(append(new_table(tmp_path / "x", schema), a), b)
    winding = append(append(append(new_table(tmp_path / "y", schema), c), b), a)
    gone = winding.data_files()[0].record["file_path"]
    winding = snapshots.replace(winding, frozenset([gone]), [], "delete")
    assert content.from_summary(straight.summary) == content.from_summary(winding.summary)
    assert content.from_summary(straight.summary) == content.of_records(f.record for f in straight.data_files())
    assert content.from_summary(append(straight, a).summary) != content.from_summary(straight.summary)


def test_a_table_is_read_and_written_after_its_folder_was_moved(tmp_path: Path) -> None:
    table = two_files(tmp_path / "old")
    first = table.data_files()[0]
    table = with_deletes(table, delete_file(table, [(str(first.path), 0)]))
    (tmp_path / "old").rename(tmp_path / "new")
    moved = Table.load(tmp_path / "new" / "metadata" / table.path.name, "t")
    assert numbers(moved) == [1, 2, 3, 10, 11]
    after = append(moved, pa.table({"n": [12], "filename": ["g"]}))
    assert numbers(after) == [1, 2, 3, 10, 11, 12]
    (tmp_path / "new").rename(tmp_path / "third")
    again = Table.load(tmp_path / "third" / "metadata" / after.path.name, "t")
    assert numbers(append(again, pa.table({"n": [13], "filename": ["h"]})))[-1] == 13


def test_tables_that_we_do_not_write_are_refused(tmp_path: Path) -> None:
    table = two_files(tmp_path / "t")
    spec = {"spec-id": 1, "fields": [{"name": "n", "transform": "zorder", "source-id": 1, "field-id": 1000}]}
    partitioned = {
        **table.metadata,
        "partition-specs": [*table.metadata["partition-specs"], spec],
        "default-spec-id": 1,
    }
    with pytest.raises(InputError, match="divided or sorted by 'zorder'"):
        append(table.written(partitioned), pa.table({"n": [1], "filename": ["x"]}))
    with pytest.raises(InputError, match="version 3"):
        append(table.written({**table.metadata, "format-version": 3}), pa.table({"n": [1], "filename": ["x"]}))
