"""Tables that are divided and sorted: written, read, pruned, rewritten, evolved, and read by pyiceberg."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.table import StaticTable
from tests.lake.samples import everything_in, everywhere, names_in

from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Lake, engine
from bascule.lake.doctor import check
from bascule.lake.iceberg import files

Read = Callable[[str], list[dict[str, Any]]]
DAYS = [dt.datetime(2024, 3, day, hour, tzinfo=dt.UTC) for day in (1, 2, 2, 5) for hour in (0, 23)]


def orders(start: int = 0) -> pa.Table:
    """Eight orders of three days and two regions, one without a region."""
    return pa.table(
        {
            "id": pa.array(range(start, start + 8), pa.int64()),
            "region": ["north", "south", "north", None, "south", "north", "south", "north"],
            "at": pa.array(DAYS, pa.timestamp("us", "UTC")),
            "amount": pa.array([8, 7, 6, 5, 4, 3, 2, None], pa.int32()),
        }
    )


@pytest.mark.slow
def test_rows_are_divided_and_each_file_says_where_it_belongs(lake: Lake, read: Read) -> None:
    value = lake.stage_create("o", orders().schema, ["id"], partition_by=["region", "day(at)"])
    value = lake.stage_append(value, orders(), name="o")
    held = {tuple(f.record["partition"].values()): f.rows for f in lake.files(value)}
    first = (dt.date(2024, 3, 1) - dt.date(1970, 1, 1)).days
    assert held == {
        (None, first + 1): 1,
        ("north", first): 1,
        ("north", first + 1): 2,
        ("north", first + 4): 1,
        ("south", first): 1,
        ("south", first + 1): 1,
        ("south", first + 4): 1,
    }
    assert read(lake.scan(value)) == sorted(orders().to_pylist(), key=repr)


@pytest.mark.slow
@everywhere
def test_pyiceberg_reads_the_same_rows_and_partitions(lake: Lake, client: dict[str, str], read: Read) -> None:
    layout = ["truncate(2, region)", "bucket(4, id)", "month(at)", "amount"]
    value = lake.stage_create("o", orders().schema, partition_by=layout, sort_by=["amount desc"])
    for start in (0, 8):
        value = lake.stage_append(value, orders(start), name="o")
    value = lake.stage_delete(value, "amount = 8")
    theirs = StaticTable.from_metadata(str(lake.location(value)), client)
    assert sorted(theirs.scan().to_arrow().to_pylist(), key=repr) == read(lake.scan(value))
    names = [field.name for field in theirs.spec().fields]
    assert names == ["region_trunc_2", "id_bucket_4", "at_month", "amount"]
    told = {str(task.file.file_path): [task.file.partition[i] for i in range(4)] for task in theirs.scan().plan_files()}
    assert told == {str(f.path): list(f.record["partition"].values()) for f in lake.files(value)}
    some = theirs.scan(row_filter="region = 'north' and id > 9").to_arrow().to_pylist()
    assert {row["id"] for row in some} == {10, 13, 15}


@pytest.mark.slow
@everywhere
def test_only_partitions_that_may_hold_it_are_opened(lake: Lake, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    value = lake.stage_create("o", orders().schema, partition_by=["bucket(8, id)"])
    for start in (0, 8, 16):
        value = lake.stage_append(value, orders(start), name="o")
    source = lake.scan(value, between={"id": (9, 9)})
    assert [row["id"] for row in read(source)] == [9]
    assert source.count(".parquet") == 1
    by_day = lake.stage_create("d", orders().schema, partition_by=["day(at)"])
    for day in range(1, 6):
        rows = orders().set_column(2, "at", pa.array([dt.datetime(2024, 3, day, tzinfo=dt.UTC)] * 8))
        by_day = lake.stage_append(by_day, rows, name="d")
    asked: list[str] = []
    whole = files.read_unless
    monkeypatch.setattr(files, "read_unless", lambda path, mark: asked.append(str(path)) or whole(path, mark))
    wanted = dt.datetime(2024, 3, 4, 12, tzinfo=dt.UTC)
    source = lake.scan(by_day, between={"at": (dt.datetime(2024, 3, 4, tzinfo=dt.UTC), wanted)})
    assert len(read(source)) == 8
    assert sum("-m" in path for path in asked) == 1  # of five manifests


def test_rows_of_a_file_are_sorted_and_equal_ones_stay_in_order(lake: Lake) -> None:
    rows = pa.table({"n": [3, 1, None, 2, 1, 3], "s": list("abcdef")})
    for order, wanted in [
        (["n"], "cbedaf"),
        (["n desc"], "afdbec"),
        (["n desc nulls first", "s desc"], "cfadeb"),
        (["truncate(2, n)", "s desc"], "cebfda"),
    ]:
        value = lake.stage_append(lake.stage_create("t", rows.schema, sort_by=order), rows, name="t")
        (file,) = lake.files(value)
        assert "".join(names_in(lake, value, "s")) == wanted, order
        assert file.record["sort_order_id"] == 1


@pytest.mark.slow
def test_a_layout_may_change_and_files_keep_theirs(lake: Lake, read: Read, client: dict[str, str]) -> None:
    value = lake.stage_append(None, orders(), name="o", key=["id"])
    value = lake.stage_layout(value, partition_by=["region"])
    value = lake.stage_append(value, orders(8), name="o")
    value = lake.stage_layout(value, partition_by=["day(at)"], sort_by=["amount"])
    value = lake.stage_append(value, orders(16), name="o")
    assert Counter(f.record["spec-id"] for f in lake.files(value)) == {0: 1, 1: 3, 2: 3}
    value = lake.stage_delete(value, "id % 8 = 2")
    done = lake.stage_upsert(value, orders(4), name="o")
    assert (done.added, done.replaced, done.unchanged) == (0 + 1, 7, 0)
    value = done.value
    wanted = {row["id"]: row for row in (*orders().to_pylist(), *orders(8).to_pylist(), *orders(16).to_pylist())}
    wanted = {number: row for number, row in wanted.items() if number % 8 != 2} | {
        row["id"]: row for row in orders(4).to_pylist()
    }
    assert read(lake.scan(value)) == sorted(wanted.values(), key=repr)
    theirs = StaticTable.from_metadata(str(lake.location(value)), client)
    assert sorted(theirs.scan().to_arrow().to_pylist(), key=repr) == read(lake.scan(value))
    assert lake.stage_layout(value, partition_by=["day(at)"], sort_by=["amount"]) is value
    back = lake.stage_layout(value, partition_by=[], sort_by=[])
    back = lake.stage_append(back, orders(40), name="o")
    assert lake.files(back)[-1].record["spec-id"] == 0
    assert sorted(row["id"] for row in read(lake.scan(back, between={"id": (40, None)}))) == list(range(40, 48))


def test_a_partition_goes_on_when_its_column_is_renamed(lake: Lake, read: Read) -> None:
    value = lake.stage_create("o", orders().schema, partition_by=["region"])
    value = lake.stage_columns(value, rename={"region": "area"})
    value = lake.stage_append(value, orders().rename_columns(["id", "area", "at", "amount"]), name="o")
    assert len(lake.files(value)) == 3
    gone = lake.stage_columns(value, drop=["area"])
    assert len(read(lake.scan(gone))) == 8
    with pytest.raises(InputError, match="column that was dropped") as raised:
        lake.stage_append(gone, orders().drop_columns(["region"]), name="o")
    assert "layout" in raised.value.hint
    assert (
        len(
            lake.files(
                lake.stage_append(lake.stage_layout(gone, partition_by=[]), orders().drop_columns(["region"]), name="o")
            )
        )
        == 4
    )


@pytest.mark.parametrize(
    ("layout", "what"),
    [
        ("bucket(id)", "says no way"),
        ("bucket(0, id)", "transform|bucket"),
        ("weekday(at)", "says no way"),
        ("day(id)", "Invalid source type long"),
        ("region desc", "partitions have none"),
        ("hour(regon)", "regon"),
        ("", "says no way"),
    ],
)
def test_layouts_that_no_table_has_are_refused(lake: Lake, layout: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        lake.stage_create("o", orders().schema, partition_by=[layout])
    with pytest.raises(NotFound, match="amuont"):
        lake.stage_create("o", orders().schema, sort_by=["amuont desc"])
    assert everything_in(lake.folder) == {}


@pytest.mark.slow
@everywhere
def test_rows_that_fail_on_the_way_leave_nothing(lake: Lake) -> None:
    history = lake.workspace.history
    made = lake.stage_create("o", pa.schema([("id", pa.int64()), ("v", pa.int32())]), partition_by=["bucket(3, id)"])
    history.commit("main", {"tables/o": made}, message="m")
    before = everything_in(lake.folder)
    with engine.opened() as connection:
        rows = connection.sql(
            "SELECT range AS id, CASE WHEN range < 150000 THEN 1 ELSE 1::BIGINT << 40 END AS v FROM range(200000)"
        )
        with pytest.raises(InputError, match="Column 'v'"):
            lake.append("o", rows)
    assert everything_in(lake.folder) == before
    lake.append("o", pa.table({"id": [1], "v": pa.array([1], pa.int32())}))
    assert not check(lake.workspace).orphans


@pytest.mark.slow
def test_many_partitions_are_written_one_file_at_a_time(lake: Lake) -> None:
    value = lake.stage_create("t", pa.schema([("k", pa.int64()), ("v", pa.int64())]), partition_by=["k"])
    with engine.opened() as connection:
        rows = connection.sql("SELECT range % 300 AS k, range AS v FROM range(100000)")
        value = lake.stage_append(value, rows, name="t")
        found = connection.execute(f"SELECT count(*), sum(v)::BIGINT FROM {lake.scan(value)}").fetchall()
    assert found == [(100_000, sum(range(100_000)))]
    assert len(lake.files(value)) == 300
    assert all(
        pq.read_table(str(f.path))["k"].unique().to_pylist() == [f.record["partition"][1000]]
        for f in lake.files(value)[:5]
    )


def test_appends_of_two_sides_that_are_divided_alike_are_both_kept(lake: Lake, read: Read) -> None:
    base = lake.stage_append(lake.stage_create("o", orders().schema, partition_by=["region"]), orders(), name="o")
    ours, theirs = (lake.stage_append(base, orders(start), name="o") for start in (8, 16))
    merged = lake.merge_appends(base, ours, theirs)
    assert merged is not None
    assert sorted(row["id"] for row in read(lake.scan(merged))) == list(range(24))
    assert len(lake.files(merged)) == 9
    moved = lake.stage_append(lake.stage_layout(base, partition_by=["day(at)"]), orders(16), name="o")
    both = lake.merge_appends(base, ours, moved)
    assert both is not None
    assert Counter(f.record["spec-id"] for f in lake.files(both)) == {1: 6, 2: 3}
    assert lake.files(lake.stage_append(both, orders(32), name="o"))[-1].record["spec-id"] == 2
    other = lake.stage_append(lake.stage_layout(base, partition_by=["bucket(2, id)"]), orders(24), name="o")
    assert lake.merge_appends(base, other, moved) is None


VALUES: dict[str, tuple[pa.DataType, Any, list[str]]] = {
    "i": (pa.int32(), st.integers(-50, 50), ["i", "bucket(3, i)", "truncate(7, i)"]),
    "s": (pa.string(), st.text("aé/= %😀", max_size=4), ["s", "bucket(2, s)", "truncate(1, s)"]),
    "d": (pa.date32(), st.dates(dt.date(1960, 1, 1), dt.date(1975, 1, 1)), ["d", "year(d)", "month(d)", "day(d)"]),
    "t": (
        pa.timestamp("us"),
        st.datetimes(dt.datetime(1969, 12, 30), dt.datetime(1970, 1, 2)),
        ["hour(t)", "bucket(2, t)"],
    ),
    "m": (pa.decimal128(5, 2), st.decimals(-99, 99, places=2), ["m", "bucket(2, m)", "truncate(50, m)"]),
    "f": (pa.float64(), st.sampled_from([0.5, -1.5, float("nan"), float("inf")]), ["f"]),
    "b": (pa.binary(), st.binary(max_size=3), ["b", "truncate(1, b)", "bucket(2, b)"]),
    "y": (pa.bool_(), st.booleans(), ["y"]),
}


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_layout_holds_any_rows(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    workspace = Workspace.create(tmp_path_factory.mktemp("w") / "w")
    lake = Lake(workspace)
    every = [term for _, _, terms in VALUES.values() for term in terms]
    layout = data.draw(st.lists(st.sampled_from(every), min_size=1, max_size=2, unique=True))
    sort_by = data.draw(st.lists(st.sampled_from(every), max_size=2, unique=True))
    schema = pa.schema([(name, kind) for name, (kind, _, _) in VALUES.items()])
    rows = st.lists(st.fixed_dictionaries({n: st.none() | v for n, (_, v, _) in VALUES.items()}), max_size=6)
    value = lake.stage_create("t", schema, partition_by=layout, sort_by=sort_by)
    model: list[dict[str, Any]] = []
    for batch in data.draw(st.lists(rows, min_size=1, max_size=3)):
        value = lake.stage_append(value, pa.Table.from_pylist(batch, schema), name="t")
        model += batch
    theirs = StaticTable.from_metadata(str(lake.location(value))).scan()
    assert sorted(map(plain, theirs.to_arrow().to_pylist())) == sorted(map(plain, model))
    name = data.draw(st.sampled_from(["i", "s", "d", "m"]))
    low, high = (data.draw(st.none() | VALUES[name][1]) for _ in range(2))
    with engine.opened() as connection:
        found = connection.sql(f"SELECT * FROM {lake.scan(value, between={name: (low, high)})}").to_arrow_table()
    wanted = [r for r in model if _within(r[name], low, high)]
    assert sorted(map(plain, found.to_pylist())) == sorted(map(plain, wanted))
    workspace.close()


def plain(row: dict[str, Any]) -> str:
    return "\n".join(
        str(Decimal(v).quantize(Decimal("0.01")) if isinstance(v, Decimal) else v) for v in map(row.get, VALUES)
    )


def _within(value: Any, low: Any, high: Any) -> bool:
    if low is None and high is None:
        return True
    return value is not None and (low is None or low <= value) and (high is None or value <= high)
