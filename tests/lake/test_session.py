"""SQL over the lake at any ref and over the records, and nothing else."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from sqlalchemy import insert
from tests.lake.samples import everywhere, people, state

from bascule.catalog import new_id, now
from bascule.catalog.schema import runs
from bascule.errors import InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Lake, RecordTable, Session, cells
from bascule.lake.iceberg import files
from bascule.tracking import resume


@pytest.fixture
def session(lake: Lake) -> Iterator[Session]:
    lake.append("people", people("ann", "bob"))
    lake.workspace.history.tag("v1")
    lake.append("people", people("cyd", start=2))
    lake.append("ops.weather", pa.table({"x": [1.5]}))
    with Session(lake.workspace) as opened:
        yield opened


@pytest.mark.slow
@everywhere
def test_tables_at_any_ref_in_one_query(session: Session) -> None:
    found = session.arrow(
        "select (select count(*) from people) n, (select count(*) from people@v1) o, "
        "(select count(*) from people@main~2) p, (select x from ops.weather) w, (select x from ops.weather@main) v"
    )
    assert found.to_pylist() == [{"n": 3, "o": 2, "p": 2, "w": 1.5, "v": 1.5}]
    moment = dt.datetime.now(dt.UTC).isoformat()
    assert session.arrow(f"select count(*) n from people@main@{moment}")["n"].to_pylist() == [3]
    assert session.arrow("select count(*) n from PEOPLE")["n"].to_pylist() == [3]


def test_the_session_stays_at_its_state_and_other_refs_move(session: Session, lake: Lake) -> None:
    lake.append("people", people("dot"))
    assert session.arrow("select count(*) n from people")["n"].to_pylist() == [3]
    assert session.arrow("select count(*) n from people@main")["n"].to_pylist() == [4]
    with Session(lake.workspace, "v1") as old:
        assert old.arrow("select count(*) n from people")["n"].to_pylist() == [2]
        assert old.tables() == ["people"]


def test_times_are_in_utc(session: Session, lake: Lake) -> None:
    moment = dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC)
    lake.append("events", pa.table({"at": pa.array([moment], pa.timestamp("us", "UTC"))}))
    with Session(lake.workspace) as fresh:
        assert fresh.arrow("select at, hour(at) h from events").to_pylist() == [{"at": moment, "h": 5}]


def test_times_that_python_has_no_value_for_are_texts(session: Session) -> None:
    table = session.arrow("""
        select date '12000-01-01' a, timestamptz 'infinity' b,
            [date '-infinity', null] c, {'d': date '2020-01-01'} d, 1 e
    """)
    day = dt.date(2020, 1, 1)
    assert cells.rows(table) == [
        {"a": "12000-01-01", "b": "infinity", "c": ["-infinity", None], "d": {"d": day}, "e": 1}
    ]


def test_records_are_tables_with_times(session: Session, lake: Lake) -> None:
    run = {"id": new_id("run"), "name": "r", "kind": "step", "status": "done", "user_name": "me", "started_at": now()}
    with lake.workspace.catalog.write() as conn:
        conn.execute(insert(runs).values(**run, code_dirty=True))
    resume(lake.workspace, run["id"]).metrics([("auc", 0.5, 0), ("loss", float("nan"), 0)])
    row = session.arrow("select r.*, m.value from runs r join metrics m on m.run_id = r.id order by key").to_pylist()[0]
    assert (row["code_dirty"], row["value"], row["finished_at"]) == (True, 0.5, None)
    assert abs((row["started_at"] - dt.datetime.now(dt.UTC)).total_seconds()) < 600
    assert session.arrow("select max(at) t from audit")["t"][0].as_py().tzinfo is not None
    assert len(session.arrow("select * from commits")) == 4
    lake.append("runs", people("mine"))
    with Session(lake.workspace) as fresh:
        assert fresh.arrow("select name from runs")["name"].to_pylist() == ["mine"]  # a table hides a record
        assert fresh.arrow("select name from records.runs")["name"].to_pylist() == ["r"]


@pytest.mark.slow
@everywhere
def test_record_tables_and_what_has_not_been_moved_yet(session: Session, lake: Lake) -> None:
    schema = pa.schema([("id", pa.string()), ("at", pa.timestamp("us", "UTC"))])
    table = RecordTable(lake.workspace, "predictions", schema)
    live = pa.table({"id": ["live"], "at": pa.array([2], schema.field("at").type)})
    extra = {"predictions": lambda: live, "ground_truth": lambda: live.to_reader()}
    with Session(lake.workspace, extra=extra) as opened:
        assert opened.arrow("select id from predictions")["id"].to_pylist() == ["live"]
        table.append(pa.table({"id": ["moved"], "at": pa.array([1], schema.field("at").type)}))
        assert sorted(opened.arrow("select id from predictions")["id"].to_pylist()) == ["live", "moved"]
        assert opened.arrow("select count(*) n from ground_truth")["n"].to_pylist() == [1]
        assert "ground_truth" in opened.records()


def test_a_segment_that_is_moved_while_it_is_read_is_seen_once(lake: Lake) -> None:
    schema = pa.schema([("id", pa.string())])
    table = RecordTable(lake.workspace, "predictions", schema)
    waiting = [pa.table({"id": ["x"]})]

    def unmoved() -> pa.Table:
        if waiting:
            rows = waiting.pop()
            table.move_segment("s", rows)  # the mover comes in between
            return rows
        return schema.empty_table()

    with Session(lake.workspace, extra={"predictions": unmoved}) as opened:
        assert opened.arrow("select id from predictions")["id"].to_pylist() == ["x"]


def test_show_describe_summarize_explain_and_parameters(session: Session) -> None:
    listed = session.arrow("show tables").to_pylist()
    assert {"name": "people", "kind": "table"} in listed
    assert {"name": "audit", "kind": "record"} in listed
    assert session.arrow("describe people@v1")["column_name"].to_pylist() == ["id", "name", "score"]
    assert len(session.arrow("summarize people")) == 3
    assert len(session.arrow("explain select * from people")) >= 1
    assert session.arrow("select name from people where id = ?", [1])["name"].to_pylist() == ["bob"]
    assert session.arrow("select name from people where id = $id", {"id": 1})["name"].to_pylist() == ["bob"]
    assert session.arrow("with people as (select 7 as x) select * from people")["x"].to_pylist() == [7]


@pytest.mark.parametrize(
    ("query", "missing", "hint"),
    [
        ("from peple", "peple", "Did you mean 'people'?"),
        ("from metrcs", "metrcs", "Did you mean 'metrics'?"),
        ("from weather@v1", "weather", "At v1"),
        ("from people@v2", "v2", "v1"),
        ("from tokens", "tokens", "At "),
        ("from settings", "settings", "At "),
        ("from '/etc/passwd'", "/etc/passwd", "At "),
        ("from information_schema.tables", "information_schema.tables", "At "),
    ],
)
def test_what_does_not_exist_is_named_with_the_nearest(session: Session, query: str, missing: str, hint: str) -> None:
    with pytest.raises(NotFound, match=f"named '{missing}'") as raised:
        session.arrow(query)
    assert hint in raised.value.hint


@pytest.mark.parametrize(
    ("query", "what"),
    [
        ("select nope from people", 'column "nope" not found'),
        ("select name::int from people", r"Could not convert string '(ann|bob|cyd)'"),
        ("select error('boom') from people", "boom"),
        ("drop table people", "something else than read"),
        ("select * from read_parquet('x')", "read_parquet"),
    ],
)
def test_errors_are_told_in_words(session: Session, query: str, what: str) -> None:
    with pytest.raises(InputError, match=what) as raised:
        session.arrow(query)
    assert "Traceback" not in raised.value.message


@everywhere
def test_the_connection_reads_the_workspace_and_nothing_else(session: Session, lake: Lake, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    run = session.connection.execute
    for statement in (
        f"select * from read_csv('{secret}')",
        f"select * from read_text('{lake.workspace.folder}/lake/../catalog.db')",
        f"copy (select 1) to '{tmp_path}/out.csv'",
        f"attach '{tmp_path}/x.db'",
        "set enable_external_access = true",
        "set lock_configuration = false",
        "install httpfs",
    ):
        with pytest.raises(Exception, match=r"disabled by configuration|locked"):
            run(statement)
    source = lake.scan(state(lake, "people"))
    assert run(f"select count(*) from {source}").fetchall() == [(3,)]  # rooms above use it so


def test_a_ref_that_does_not_exist_opens_no_session(lake: Lake) -> None:
    with pytest.raises(NotFound, match="mian"):
        Session(lake.workspace, "mian")


@pytest.mark.slow
def test_on_postgresql_too(workspace: Workspace) -> None:
    Lake(workspace).append("people", people("ann"))
    with Session(workspace) as opened:
        assert opened.arrow("select count(*) n from people")["n"].to_pylist() == [1]
        assert opened.arrow("select protected from refs")["protected"].to_pylist() == [True]
        assert opened.arrow("select at from audit")["at"].type == pa.timestamp("us", "UTC")
        assert len(opened.arrow("from commits")) == 2


def test_only_what_is_named_is_loaded(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    from bascule.lake import views

    loaded: list[str] = []
    load = views.load
    monkeypatch.setattr(views, "load", lambda catalog, name: loaded.append(name) or load(catalog, name))
    session.arrow("select 1 from people, refs")
    assert loaded == ["refs"]
    assert files.UNFINISHED not in session.arrow("from refs").to_string()


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) from people",
        "select count(*) as n from people",
        "select count(*) from people@main",
        "from people select count(*)",
        "select count(*) filter (name = 'anna') from people",
        "select count(distinct name) from people",
        "select count(*), 1 from people",
        "select count(*) from people where name = 'anna'",
        "select count(*) from people group by name",
        "select count(*) from people tablesample 1 rows",
        "select count(*) from people limit 0",
        "select count(*) from people having count(*) > 100",
        "select count(*) from people qualify row_number() over () > 100",
        "with people as (select 1) select count(*) from people",
        "select count(*) from (select * from people limit 1)",
        "select count(*) from people, people other",
        "select count(*) from refs",
        "explain select count(*) from people",
    ],
)
def test_a_count_of_rows_is_what_counting_says(session: Session, query: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = session.arrow(query)
    monkeypatch.setattr(Session, "_counted", lambda self, name: None)
    counted = session.arrow(query)
    if not query.startswith("explain"):
        assert (known.column_names, known.to_pylist()) == (counted.column_names, counted.to_pylist())


def test_rows_are_counted_without_a_look_at_them(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.append("people", people("anna", "bob"))
    with Session(lake.workspace) as session:
        before = session.arrow("select count(*) from people")["count_star()"][0].as_py()
        for file in lake.files(lake.workspace.history.get("main", "tables/people")):
            assert isinstance(file.path, Path)
            file.path.rename(file.path.with_suffix(".away"))
        assert session.arrow("select count(*) from people").to_pylist() == [{"count_star()": before}]
        for path in lake.workspace.folder.rglob("*.away"):
            path.rename(path.with_suffix(".parquet"))
    lake.append("people", people("dora"))
    with Session(lake.workspace) as session:
        assert session.arrow("select count(*) n from people").to_pylist() == [{"n": before + 1}]
