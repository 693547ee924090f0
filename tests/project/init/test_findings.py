"""Keys, times, joins and leaks: what one look at tables concludes."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import pytest

from bascule.errors import InputError
from bascule.project.init.findings import Findings, find_all
from bascule.project.init.folder import FileGroup, look
from bascule.project.init.keys import find_key, singulars
from bascule.project.init.label import find_label
from bascule.project.init.tables import Table, describe
from bascule.project.init.times import mark_times, mark_years
from bascule.project.init.views import joined_views

DAY = "timestamptz '2024-01-01' + interval (i) hours"


def _table(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> Table:
    connection.execute(f'create or replace table "{name}" as {query}')
    table = mark_times(connection, describe(connection, FileGroup(name, (Path(f"{name}.csv"),), f"{name}.csv")))
    return mark_years(connection, table.with_key(find_key(connection, table)))


def _found(connection: duckdb.DuckDBPyConnection, label: str, **queries: str) -> Findings:
    tables = [_table(connection, name, query) for name, query in queries.items()]
    return find_all(connection, tables, find_label(connection, tables, label))


@pytest.mark.parametrize(
    ("query", "key"),
    [
        ("select i as customer_id, i % 7 as x from range(100) r(i)", ("customer_id",)),
        ("select 'n' || i as name, 'c' || i as code from range(100) r(i)", ("code",)),
        ("select i // 10 as shop, i % 10 as code, i % 3 as x from range(1000) r(i)", ()),
        ("select 's' || (i // 50) as shop, i % 50 as day_no, i % 3 as x from range(1000) r(i)", ("shop", "day_no")),
        (f"select 's' || s as shop, {DAY} as at, s * i as x from range(4) t(s), range(90) r(i)", ("at", "shop")),
        (
            "select 'a' || (i % 10) as a, 'b' || (i // 10 % 10) as b, 'c' || (i // 100) as c from range(1000) r(i)",
            ("a", "b", "c"),
        ),
        ("select (i * 7919) % 10007 as x, (i * 104729) % 1000003 as y from range(200) r(i)", ()),
        ("select i / 3.0 as x, i * 2.5 as y from range(100) r(i)", ()),
        ("select nullif(i, 3) as customer_id, i % 5 as x from range(100) r(i)", ()),
        ("select i as rownames, i % 5 as x from range(1, 101) r(i)", ()),
        ("select i as \"Unnamed: 0\", 'c' || i as code from range(100) r(i)", ("code",)),
    ],
    ids=[
        "id",
        "shorter",
        "chance",
        "pair",
        "time first",
        "triple",
        "accident",
        "measurements",
        "nulls",
        "row",
        "index",
    ],
)
def test_keys(connection: duckdb.DuckDBPyConnection, query: str, key: tuple[str, ...]) -> None:
    found = _table(connection, "t", query).key
    assert found == key if key else not found or found == ("shop", "code")


def test_what_one_row_is_called() -> None:
    assert {"flight", "country", "box"} <= singulars("flights") | singulars("countries") | singulars("boxes")


@pytest.mark.parametrize(
    ("expression", "is_time"),
    [
        (DAY, True),
        ("date '2024-01-01' + i::integer", True),
        (f"strftime({DAY}, '%Y-%m-%dT%H:%M:%SZ')", True),
        (f"strftime({DAY}, '%b %d %Y')", True),
        (f"strftime({DAY}, '%d.%m.%Y %H:%M')", True),
        ("1700000000 + i * 3600", True),
        ("1700000000000 + i * 3600000", True),
        (f"strftime({DAY}, '%Y%m%d')::bigint", True),
        ("20240101 + i", False),  # 20240132 is no day
        ("i * 3600", False),
        ("'order ' || i", False),
    ],
)
def test_times(connection: duckdb.DuckDBPyConnection, expression: str, is_time: bool) -> None:
    table = _table(connection, "t", f"select {expression} as created_at, i % 3 as x from range(200) r(i)")
    assert [one.name for one in table.times] == (["created_at"] if is_time else [])


def test_a_time_in_parts(connection: duckdb.DuckDBPyConnection) -> None:
    query = (
        "select 2024 as year, 1 + i % 12 as month, 1 + i % 28 as day, i % 24 as hour, i % 5 as x from range(300) r(i)"
    )
    table = _table(connection, "t", query)
    assert [one.time_sql for one in table.times] == ["make_timestamp(year, month, day, hour, 0, 0)::timestamptz"]
    assert not _table(connection, "t", query.replace("i % 28", "i % 31")).times  # 31 February


@pytest.mark.parametrize(
    ("query", "moment"),
    [
        ("select 1990 + i as year, i * 3 % 7 as x from range(30) r(i)", "make_timestamp(year, 1, 1, 0, 0, 0)"),
        (
            "select 'n' || n as land, 1990 + i as \"yearID\", n * i as x from range(9) s(n), range(30) r(i)",
            'make_timestamp("yearID", 1, 1, 0, 0, 0)',
        ),
        (
            "select 1990 + i // 4 as year, 1 + i % 4 as quarter, i * 3 % 7 as x from range(120) r(i)",
            "make_timestamp(year, 3 * quarter - 2, 1, 0, 0, 0)",
        ),
        ("select 'p' || i as plane, 1990 + i % 20 as year from range(90) r(i)", ""),
        ("select i as year, i * 3 % 7 as x from range(30) r(i)", ""),
    ],
    ids=["alone", "with an entity", "with quarters", "describes", "no years"],
)
def test_years_that_name_rows_are_times(connection: duckdb.DuckDBPyConnection, query: str, moment: str) -> None:
    times = _table(connection, "t", query).times
    assert [one.time_sql for one in times] == ([f"{moment}::timestamptz"] if moment else [])


def test_a_year_of_another_table_counts_when_it_is_over(connection: duckdb.DuckDBPyConnection) -> None:
    """How a team did in a year is known after it: in January of the next, not in January of the same."""
    found = _found(
        connection,
        "pay",
        pays="select 1990 + i % 30 as year, 'T' || (i // 30 % 9) as team, 'P' || (i // 270) as player, i % 77 as pay "
        "from range(5400) r(i)",
        teams="select 1990 + i as year, 'T' || t as team, (i * t) % 50 as won from range(9) s(t), range(30) r(i)",
    )
    names = {column.name: column.name for column in found.table.columns}
    views, _ = joined_views(connection, found.joins, names)
    first = connection.sql(f"select min(year)::varchar from ({views[0].sql})").fetchall()[0][0]
    assert [(view.name, view.event_time) for view in views] == [("teams", "year")]
    assert first.startswith("1991-01-01")


def test_a_time_in_parts_makes_a_series(connection: duckdb.DuckDBPyConnection) -> None:
    day = "date '2024-01-01' + i::integer"
    found = _found(
        connection,
        "rain",
        days=f"select year({day}) as year, month({day}) as month, day({day}) as day, i * 7 % 31 as rain "
        "from range(400) r(i)",
    )
    assert found.pace is not None


def test_what_only_looks_like_a_day_is_text(connection: duckdb.DuckDBPyConnection) -> None:
    """Social security numbers and versions have the dashes and dots of days, and nearly none is one."""
    found = _found(
        connection,
        "y",
        people="select printf('%03d-%02d-%04d', 201 + i, 10 + i % 80, 2070 + i) as ssn, "
        "printf('%d.%d.%d', 10 + i % 7, 30 + i % 50, i) as version, i * 7 % 31 as y from range(200) r(i)",
    )
    assert found.times is None


def test_unreadable_times_are_told(connection: duckdb.DuckDBPyConnection) -> None:
    query = f"select case when i = 7 then 'soon, maybe' else strftime({DAY}, '%Y-%m-%d') end as at from range(99) r(i)"
    with pytest.raises(
        InputError, match="looks like a time, but 1 of its 99 values cannot be read, such as 'soon, maybe'"
    ):
        _table(connection, "t", query)


def test_joins_are_by_keys_not_by_chance(connection: duckdb.DuckDBPyConnection) -> None:
    found = _found(
        connection,
        "late",
        trips=f"select i as trip_id, {DAY} as left_at, 'P' || (i % 40) as plane, 'C' || (i % 9) as start, "
        "'C' || (i * 5 % 9) as goal, 2000 + i % 15 as year, i % 40 as seats, (hash(i) % 3 = 0) as late "
        "from range(900) r(i)",
        planes="select 'P' || i as tail, 2000 + i % 15 as year, 100 + i % 3 as size from range(50) r(i)",
        cities="select 'C' || i as code, 'City of ' || i as name, i * 1.5 as north from range(12) r(i)",
        weather=f"select 'C' || c as code, {DAY} as seen_at, hash(i, c) % 30 as heat "
        "from range(12) t(c), range(950) r(i)",
        repairs=f"select i as repair_id, 'P' || (i % 40) as plane, {DAY} as done_at, i % 90 as cost "
        "from range(700) r(i)",
        numbers="select i as number, i % 3 as x from range(40) r(i)",
    )
    joins = {(one.table.name, one.how, one.pairs) for one in found.joins}
    assert joins == {
        ("planes", "reference", (("plane", "tail"),)),
        ("cities", "reference", (("start", "code"),)),
        ("cities", "reference", (("goal", "code"),)),
        ("weather", "state", (("start", "code"),)),
        ("weather", "state", (("goal", "code"),)),
        ("repairs", "events", (("plane", "plane"),)),
    }
    assert [one.table for one in found.apart] == ["numbers"]


def test_each_table_numbers_its_own_rows(connection: duckdb.DuckDBPyConnection) -> None:
    found = _found(
        connection,
        "late",
        orders="select i as id, i * 31 % 90 as customer_id, i % 5 = 0 as late, i % 9 as x from range(900) r(i)",
        customers="select i as id, i % 4 as kind from range(90) r(i)",
        rows="select i as rownames, i % 4 as kind, i % 7 as y from range(90) r(i)",
    )
    assert [(one.table.name, one.pairs) for one in found.joins] == [("customers", (("customer_id", "id"),))]


def test_numbers_with_gaps_between_them_match_under_other_names(connection: duckdb.DuckDBPyConnection) -> None:
    found = _found(
        connection,
        "late",
        trips="select i as trip_id, 3000 + i * 7 % 40 * 53 as origin, i % 3 as gate, i % 5 = 0 as late "
        "from range(900) r(i)",
        airports="select 3000 + i * 53 as airport_id, i % 4 as kind from range(60) r(i)",
        halls="select i as hall_no, i % 4 as kind from range(60) r(i)",
    )
    assert [(one.table.name, one.pairs) for one in found.joins] == [("airports", (("origin", "airport_id"),))]


def test_a_time_may_be_typed_here_and_a_text_there(connection: duckdb.DuckDBPyConnection) -> None:
    found = _found(
        connection,
        "late",
        trips=f"select i as trip_id, strftime({DAY}, '%Y-%m-%d %H:%M:%S') as at, 'C' || (i % 9) as city, "
        "i % 5 = 0 as late from range(900) r(i)",
        weather=f"select {DAY} as at, 'C' || c as city, i * c % 30 as heat from range(9) s(c), range(900) r(i)",
    )
    assert [(one.table.name, one.how) for one in found.joins] == [("weather", "state")]


def test_columns_that_tell_the_label(connection: duckdb.DuckDBPyConnection) -> None:
    found = _found(
        connection,
        "delay > 15",
        trips=f"select {DAY} as left_at, case when i % 10 > 0 then (hash(i) % 60)::bigint end as delay, "
        "case when i % 10 > 0 then i % 50 end as flown, case when i % 17 > 0 then i % 13 end as gate, "
        "coalesce(delay, 0) * 2 + i % 3 as fine, i % 100 as seats, 'x' as same, null::integer as nothing "
        "from range(2000) r(i)",
    )
    assert set(found.left_out) == {"flown", "fine", "same", "nothing"}
    assert "empty in 100% of the rows without a label" in found.left_out["flown"]
    assert "AUC 1.000" in found.left_out["fine"] or "AUC 0.99" in found.left_out["fine"]
    assert [one.name for one in found.request] == ["gate", "seats"]


def test_strong_measurements_are_only_pointed_out_without_a_time(connection: duckdb.DuckDBPyConnection) -> None:
    draw = random.Random(7)
    rows = ", ".join(f"({n % 2}, {n % 2 * 2.6 + draw.gauss(0, 1)})" for n in range(600))
    found = _found(connection, "ill", cases=f"select * from (values {rows}) v(ill, marker)")
    assert [one.column for one in found.leakage.suspicious] == ["marker"]
    assert not found.left_out


def test_a_copy_of_the_label_is_left_out(connection: duckdb.DuckDBPyConnection) -> None:
    query = "select 'k' || (i % 3) as kind, i % 3 as code, i % 7 as x from range(600) r(i)"
    assert "code" in _found(connection, "kind", t=query).left_out
    assert "kind" in _found(connection, "code", t=query).left_out


def test_batches_are_one_table(tmp_path: Path) -> None:
    for name, header in {
        "sales-2024-01.csv": "a,b",
        "sales-2024-02.csv": "a,b",
        "shops.csv": "c,d",
        "logs/2024-01.csv": "x,y",
        "logs/2024-02.csv": "x,y",
        "top10.csv": "e",
        "mixed1.csv": "a",
        "mixed2.csv": "b",
        ".hidden.csv": "z",
        "deep/2023/01.csv": "m,n",
        "deep/2024/01.csv": "m,n",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{header}\n1,2\n")
    assert {one.name: one.pattern for one in look(tmp_path).groups} == {
        "sales": "sales*.csv",
        "shops": "shops.csv",
        "logs": "logs/*.csv",
        "top10": "top10.csv",
        "mixed1": "mixed1.csv",
        "mixed2": "mixed2.csv",
        "deep": "deep/**/*.csv",
    }


def test_names_that_differ_in_case_only_are_told_apart(tmp_path: Path) -> None:
    for name in ("sales.csv", "Sales.csv", "SALES.csv"):
        (tmp_path / name).write_text(f"id,{name[:5]}\n1,2\n", encoding="utf-8")
    if len(list(tmp_path.iterdir())) < 3:
        pytest.skip("this file system does not tell them apart")
    names = [group.name.lower() for group in look(tmp_path).groups]
    assert len(set(names)) == 3


def test_a_column_that_is_empty_for_one_answer_is_left_out(connection: duckdb.DuckDBPyConnection) -> None:
    found = _found(
        connection,
        "late",
        trips=f"select {DAY} as at, i % 5 = 0 as late, i % 13 as gate, if(i % 3 = 0, null, 'y') as often, "
        "case when i % 5 = 0 then 'wrong gate' end as excuse from range(900) r(i)",
    )
    assert found.left_out["excuse"] == "whether it is empty tells the label (AUC 1.000)"
    assert "AUC" not in found.left_out.get("often", "")
