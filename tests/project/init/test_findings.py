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
from bascule.project.init.times import mark_times

DAY = "timestamptz '2024-01-01' + interval (i) hours"


def _table(connection: duckdb.DuckDBPyConnection, name: str, query: str) -> Table:
    connection.execute(f'create or replace table "{name}" as {query}')
    table = mark_times(connection, describe(connection, FileGroup(name, (Path(f"{name}.csv"),), f"{name}.csv")))
    return table.with_key(find_key(connection, table))


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
    ],
    ids=["id", "shorter", "chance", "pair", "time first", "triple", "accident", "measurements", "nulls"],
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
