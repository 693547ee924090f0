"""Databases: whole, and beyond a cursor; what was brought stays apart from what comes, whatever is killed when."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import EnvironmentProblem, InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Lake, seen
from bascule.lake.origins import Options, databases
from bascule.project.batches import bring_in

Rows = Callable[..., list[tuple[Any, ...]]]
SHOP = """
create table orders (id bigint primary key, amount numeric(9, 2), at timestamptz, day date, note text, ok boolean);
insert into orders select n, n + 0.25, timestamptz '2025-01-01 00:00:00+00' + n * interval '1 hour', date '2025-01-01',
    case when n % 2 = 0 then 'even' end, n % 3 = 0 from generate_series(1, 100) as n;
"""


@pytest.fixture
def shop(database: str) -> Iterator[tuple[str, Any]]:
    """A PostgreSQL database with orders: its address, and a way to change it."""
    import psycopg

    pytest.importorskip("adbc_driver_postgresql")
    address = database.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(address, autocommit=True) as admin:
        admin.execute(SHOP)  # type: ignore[arg-type]
        yield address, admin.execute


@pytest.mark.slow
def test_postgresql_comes_with_its_types(shop: Any, bring: Any, rows: Rows) -> None:
    address, _ = shop
    batch = bring(address, query="select * from orders")
    assert batch.report.rows == 100
    first = rows("select * from t order by id limit 2")
    at = dt.datetime(2025, 1, 1, 1, tzinfo=dt.UTC)
    assert first[0] == (1, Decimal("1.250000000"), at, dt.date(2025, 1, 1), None, False)
    assert first[1][4] == "even"


@pytest.mark.slow
def test_types_of_postgresql_s_own_come_in_a_form_that_all_read(shop: Any, bring: Any, rows: Rows) -> None:
    address, change = shop
    one = "0f8fad5b-d9cb-469f-a165-70867728950e"
    change("create type mood as enum ('sad', 'ok')")
    query = f"""select '{one}'::uuid as u, array['{one}'::uuid] as us, '{{"k": 1}}'::jsonb as j, 'ok'::mood as m,
        array[1, 2] as a, array['x', null] as t, '10.0.0.1'::inet as ip, int4range(1, 5) as r, point(1, 2) as p,
        money '1.5' as c, row(1, 'x') as w, array[1.5] as n, timestamptz '2024-01-01 00:00+02' as at,
        '\\x01'::bytea as b, time '10:00' as h, null::uuid as none"""
    bring(address, query=query)
    at = dt.datetime(2023, 12, 31, 22, tzinfo=dt.UTC)
    assert rows("select * from t") == [
        (
            *(one, [one], '{"k": 1}', "ok", [1, 2], ["x", None], "10.0.0.1/32", "[1,5)", "(1,2)"),
            *(Decimal("1.500000000"), "(1,x)", ["1.5"], at, b"\x01", dt.time(10), None),
        )
    ]
    for bad, words in (
        ("select xmlparse(content '<a/>') as x", "refuses the query"),
        ("select 'infinity'::date as x", "infinite"),
        ("select 'NaN'::numeric as x", "cannot hold nan"),
    ):
        with pytest.raises(InputError, match=words):
            bring(address, query=bad, table="bad")


@pytest.mark.slow
def test_the_same_rows_in_another_order_change_nothing(shop: Any, bring: Any) -> None:
    address, _ = shop
    bring(address, query="select * from orders order by id", mode="replace")
    assert bring(address, query="select * from orders order by id", mode="replace").commit is None
    assert bring(address, more={"table": "orders"}, mode="replace").commit is not None  # another query
    assert bring(address, more={"table": "orders"}, mode="replace").commit is None


@pytest.mark.slow
def test_a_cursor_brings_what_is_beyond_its_last_value(
    shop: Any, bring: Any, rows: Rows, local_workspace: Workspace
) -> None:
    address, change = shop
    told: dict[str, Any] = {"query": "select * from orders", "cursor": "at"}
    assert bring(address, **told).report.rows == 100
    assert bring(address, **told).commit is None
    change("insert into orders values (101, 5, '2025-02-01 00:00:00.000001+00', null, null, null)")
    change("insert into orders values (102, 5, null, null, null, null)")
    said: list[str] = []
    assert bring(address, **told, tell=said.append).report.rows == 1
    assert any("1 rows have no 'at'" in text for text in said)
    assert rows("select count(*), max(id) from t") == [(101, 101)]
    history = local_workspace.history
    meta = history.resolve("main").meta["ingest"][0]
    assert meta["version"]["to"] == "2025-02-01 00:00:00.000001+00:00"
    assert "postgres:" not in meta["origin"]
    assert "@" not in meta["origin"]
    # The cursor belongs to the table's state: what is taken back comes again.
    history.create_branch("before", history.resolve("main~1").id)
    again = bring_in(local_workspace, "t", address, "before", options=Options(**told))
    assert again.report.rows == 1


@pytest.mark.slow
def test_two_branches_that_read_on_from_one_place_do_not_double_rows(
    shop: Any, bring: Any, local_workspace: Workspace
) -> None:
    address, change = shop
    from bascule.lake.merging import sources_of

    told: dict[str, Any] = {"query": "select * from orders", "cursor": "id"}
    bring(address, **told)
    lake, history = Lake(local_workspace), local_workspace.history
    base = lake.table(history.get("main", "tables/t"))
    change("insert into orders (id) values (101)")
    bring(address, **told)
    ours = lake.table(history.get("main", "tables/t"))
    history.create_branch("other", history.resolve("main~1").id)
    from bascule.lake.origins import Options
    from bascule.project.batches import bring_in

    change("insert into orders (id) values (102)")
    bring_in(local_workspace, "t", address, "other", options=Options(**told))
    theirs = lake.table(history.get("other", "tables/t"))
    assert len(sources_of(theirs)) == 2
    assert seen.joined(base, ours, theirs) is None


@pytest.mark.slow
def test_a_query_that_writes_is_refused(shop: Any, bring: Any) -> None:
    address, change = shop
    with pytest.raises(InputError, match="refuses the query"):
        bring(address, query="with gone as (delete from orders returning *) select * from gone")
    assert change("select count(*) from orders").fetchone() == (100,)
    with pytest.raises(InputError, match="refuses the query"):
        bring(address, query="select * from order")


@pytest.mark.slow
def test_numbers_keep_all_their_decimals_or_are_set_aside(
    shop: Any, bring: Any, rows: Rows, quarantine: Callable[[], list[dict[str, Any]]]
) -> None:
    bring(shop[0], query="select 1, 1.00000000000000001::numeric as x union all select 2, 0.1")
    assert rows("select typeof(x), x::varchar from t order by all") == [
        ("DECIMAL(38,17)", "0.10000000000000000"),
        ("DECIMAL(38,17)", "1.00000000000000001"),
    ]
    other = """select n as "?column?", case when n = 7 then 1e-20 else n end::numeric as x
        from generate_series(1, 20) as n order by n"""
    with pytest.raises(InputError, match=r"column 'x' is DECIMAL\(38, 17\) and cannot hold '1E-20'"):
        bring(shop[0], query=other)
    bring(shop[0], query=other, tolerate=0.1)
    assert [(one["line"], one["column"]) for one in quarantine()] == [(7, "x")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "value", ["'infinity'::timestamptz", "'-infinity'::timestamp", "'infinity'::date", "'-infinity'::date"]
)
def test_infinite_times_are_set_aside_and_do_not_become_others(
    shop: Any, bring: Any, rows: Rows, quarantine: Callable[[], list[dict[str, Any]]], value: str
) -> None:
    query = f"select n as id, case when n = 4 then {value} end as x from generate_series(1, 20) as n order by n"
    with pytest.raises(InputError, match=r"1 of 20 records cannot be read .*\n.*:4: column 'x' is infinite"):
        bring(shop[0], query=query)
    for told in ({}, {"cursor": "id"}):
        bring(shop[0], query=query, tolerate=0.1, **told)
        assert rows("select count(*), max(x) from t") == [(19 * (1 + len(told)), None)]
    first, second = quarantine()
    assert (first["line"], first["column"], first["raw"]) == (4, "x", json.dumps({"id": 4, "x": value.split("'")[1]}))
    assert (second["line"], second["column"]) == (4, "x")
    assert first["source"].startswith("postgresql://")
    assert second["source"] == first["source"]


@pytest.mark.slow
def test_a_row_that_was_repaired_comes(shop: Any, bring: Any, rows: Rows) -> None:
    address, change = shop
    change("update orders set day = 'infinity' where id = 7")
    told: dict[str, Any] = {"query": "select * from orders", "cursor": "id"}
    with pytest.raises(InputError, match="cannot be read"):
        bring(address, **told)
    change("update orders set day = '2025-01-02' where id = 7")
    assert bring(address, **told).report.rows == 100


@pytest.mark.slow
def test_spans_of_time_are_texts_that_sql_reads(shop: Any, bring: Any, rows: Rows) -> None:
    query = """select interval '14 months 3 days -04:05:06.5' as x, null::interval as none,
        array[interval '1 day'] as l,
        '4714-11-24 BC'::date as day"""
    bring(shop[0], query=query)
    assert rows("select x, none, l, year(day), x::interval = interval '14 months 3 days -04:05:06.5' from t") == [
        ("1 year 2 months 3 days -04:05:06.5", None, ["1 day"], -4713, True)
    ]


def test_a_database_that_is_not_there(bring: Any) -> None:
    with pytest.raises(EnvironmentProblem) as refused:
        bring("postgresql://etl:secret@127.0.0.1:1/shop", query="select 1 as a")
    assert "secret" not in str(refused.value.message)
    with pytest.raises(EnvironmentProblem) as refused:
        bring("mysql://etl:secret@127.0.0.1:1/shop", query="select 1 as a")
    assert "secret" not in str(refused.value.message)
    with pytest.raises(NotFound, match=r"no SQLite database named"):
        bring("sqlite:///none.db", query="select 1")


@pytest.mark.slow
def test_secrets_come_from_the_environment(bring: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs the environment variable NO_SUCH"):
        bring("postgresql://etl:${NO_SUCH}@db/shop", query="select 1")
    monkeypatch.setenv("WHERE", str(sqlite_file(tmp_path)))
    assert bring("sqlite:///${WHERE}", query="select * from things").report.rows == 5


def sqlite_file(folder: Path) -> Path:
    path = folder / "shop.db"
    with sqlite3.connect(path) as made:
        made.execute("create table things (id integer, price, word text, data blob)")
        values = [(1, 1, "a", None), (2, 2.5, "b", None), (3, None, "c", None), (4, 4, None, None), (5, 5, "05", None)]
        made.executemany("insert into things values (?, ?, ?, ?)", values)
    made.close()
    return path


@pytest.mark.slow
def test_sqlite_columns_have_the_type_of_all_their_values(tmp_path: Path, bring: Any, rows: Rows) -> None:
    address = f"sqlite:///{sqlite_file(tmp_path)}"
    bring(address, more={"table": "things"}, cursor="id")
    assert rows("select typeof(id), typeof(price), typeof(word), count(*) from t group by all") == [
        ("BIGINT", "DOUBLE", "VARCHAR", 5)
    ]
    with sqlite3.connect(tmp_path / "shop.db") as made:
        made.execute("insert into things values (6, 6, 'new', null)")
    made.close()
    assert bring(address, more={"table": "things"}, cursor="id").report.rows == 1
    with pytest.raises(InputError, match="refuses the query"):
        bring(address, query="select * from nothing")
    with pytest.raises(InputError, match="neither a query nor a table"):
        bring(address)
    with pytest.raises(InputError, match="no table's name"):
        bring(address, more={"table": "things; drop table things"})
    with pytest.raises(InputError, match="only new rows come"):
        bring(address, more={"table": "things"}, cursor="id", mode="replace")


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.slow
def test_a_cursor_goes_on_behind_the_last_whole_segment(
    tmp_path: Path, bring: Any, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "long.db"
    with sqlite3.connect(path) as made:
        made.execute("create table events (at integer, n integer)")
        # Three rows of each moment: a segment must not end between them.
        made.executemany("insert into events values (?, ?)", [(n // 3, n) for n in range(1000)])
    made.close()
    monkeypatch.setattr(databases, "SEGMENT_ROWS", 100)
    monkeypatch.setattr("bascule.lake.origins.sqlite.ROWS_AT_ONCE", 40)
    real, written = databases.write_arrow, []

    def dies(*arguments: Any, **named: Any) -> int:
        written.append(arguments[2])
        if len(written) == 5:
            raise Killed
        return real(*arguments, **named)

    told: dict[str, Any] = {"more": {"table": "events"}, "cursor": "at"}
    monkeypatch.setattr(databases, "write_arrow", dies)
    with pytest.raises(Killed):
        bring(f"sqlite:///{path}", **told)
    monkeypatch.setattr(databases, "write_arrow", real)
    said: list[str] = []
    batch = bring(f"sqlite:///{path}", **told, tell=said.append)
    assert any("rows beyond 1" in text for text in said)  # not from the beginning
    assert rows("select count(*), count(distinct n) from t") == [(1000, 1000)]
    assert len(batch.report.files) > 5
    assert bring(f"sqlite:///{path}", **told).commit is None


@pytest.fixture
def mysql() -> Iterator[str]:
    """The address of a server that speaks MySQL's protocol."""
    mimic = pytest.importorskip("mysql_mimic")
    errors = pytest.importorskip("mysql_mimic.errors")

    class Session(mimic.Session):  # type: ignore[name-defined,misc]
        async def query(self, expression: Any, sql: str, attrs: Any) -> Any:
            if "max(" in sql:
                return [(2,)], ["m"]
            if "count(" in sql:
                return [(0,)], ["c"]
            if "nothing" in sql:
                raise errors.MysqlError("no such table", errors.ErrorCode.PARSE_ERROR)
            moment = dt.datetime(2025, 1, 1, 12)
            return [(1, "a", 1.5, moment), (2, None, 2.5, None)], ["id", "word", "share", "at"]

    loop = asyncio.new_event_loop()
    server = mimic.MysqlServer(session_factory=Session)
    loop.run_until_complete(server.start_server(host="127.0.0.1", port=0))
    port = server._server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    yield f"mysql://root@127.0.0.1:{port}/shop"
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    server._server.close()
    left = asyncio.all_tasks(loop)  # of clients that went: thrown away later, they would be errors of another test
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.close()


@pytest.mark.slow
def test_mysql_comes_with_its_types(mysql: str, bring: Any, rows: Rows) -> None:
    bring(mysql, query="select * from orders", cursor="id")
    assert rows() == [(1, "a", 1.5, dt.datetime(2025, 1, 1, 12)), (2, None, 2.5, None)]
    assert bring(mysql, query="select * from orders", cursor="id").commit is None
    with pytest.raises(InputError, match="refuses the query"):
        bring(mysql, query="select * from nothing")
