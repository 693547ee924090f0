"""Materialising into every backend: the same answers, killed at any moment, and values of every kind."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from bascule.errors import InputError
from bascule.features import (
    Entity,
    FeatureSet,
    FeatureView,
    OnlineReader,
    bind_view,
    build_feature_set,
    materialise,
    open_online,
    training_rows,
)
from bascule.features.online import OnlineStore
from bascule.features.online.vectors import MISSING, NULL, OLD, PRESENT, VectorReader

HOUR = 3_600_000_000
USER = Entity("user", ("user_id",))


@pytest.fixture(params=["lmdb", "redis"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "online") if request.param == "lmdb" else str(request.getfixturevalue("redis_url"))


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone='UTC'")
        yield opened


def bind(connection: duckdb.DuckDBPyConnection, *views: FeatureView) -> FeatureSet:
    return build_feature_set(
        connection,
        name="test",
        entities=[USER],
        views=views,
        population="select user_id, happened as t from events",
        prediction_time="t",
    )


def load(connection: duckdb.DuckDBPyConnection, rows: str) -> None:
    connection.execute(f"create or replace table events as {rows}")


VIEWS = (
    FeatureView(name="rows", entity="user", sql="select * from events", event_time="happened", fields=("a", "s")),
    FeatureView(
        name="past",
        entity="user",
        sql="select * from events",
        event_time="happened",
        windows=("1h", "1d"),
        aggregates={"n": "count(*)", "total": "sum(a)", "high": "max(a)", "seen": "distinct(s)"},
    ),
)
EVENTS = """select i % 40 as user_id, hash(i) % 1000 as a, 's' || (i % 7) as s,
    timestamp '2024-01-01' + to_minutes(cast(hash(i, 1) % 3000 as integer)) as happened from range({}) r(i)"""


def asked(connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, store: OnlineStore) -> None:
    """Online is offline, for every key at several times."""
    spine = "select k as user_id, timestamp '2024-01-01' + to_hours(h) as t from range(42) a(k), range(0, 60, 7) b(h)"
    examples = connection.sql(spine).to_arrow_table().to_pylist()
    expected = training_rows(connection, feature_set, spine).to_arrow_table().to_pylist()
    at = [int(row["t"].replace(tzinfo=UTC).timestamp()) * 1_000_000 for row in examples]
    found = OnlineReader(feature_set, store).read(examples, at)
    assert found == [[row[name] for name in feature_set.features] for row in expected]


@pytest.mark.slow
def test_late_corrected_and_lost_rows_arrive_on_every_backend(
    connection: duckdb.DuckDBPyConnection, location: str
) -> None:
    load(connection, EVENTS.format(300))
    feature_set, store = bind(connection, *VIEWS), open_online(location)
    for rows in (
        EVENTS.format(300) + " where i % 3 > 0",
        EVENTS.format(400),
        EVENTS.format(400) + " where i % 40 <> 7 and i <> 11",
    ):
        load(connection, rows)
        materialise(connection, feature_set, store)
        asked(connection, feature_set, store)
    again = materialise(connection, feature_set, store)
    assert [(view.written, view.removed) for view in again.views] == [(0, 0), (0, 0)]
    full = materialise(connection, feature_set, store, full=True)
    assert all(view.written == view.removed > 0 for view in full.views)
    asked(connection, feature_set, store)


CHILD = """
import sys, duckdb
from tests.features.test_stores import VIEWS, bind
from bascule.features import materialise, open_online
with duckdb.connect(sys.argv[2], read_only=True) as connection:
    connection.execute("SET TimeZone='UTC'")
    print("ready", flush=True)
    materialise(connection, bind(connection, VIEWS[0]), open_online(sys.argv[1]))
    print("done", flush=True)
"""


@pytest.mark.slow
def test_a_killed_run_shows_nothing_half_and_the_next_one_completes_it(location: str, tmp_path: Path) -> None:
    file = tmp_path / "events.db"
    with duckdb.connect(str(file)) as connection:
        connection.execute("SET TimeZone='UTC'")
        rows = EVENTS.replace("i % 40", "i")
        load(connection, rows.format(60_000))
        feature_set = bind(connection, VIEWS[0])
    store = open_online(location)
    seen = set()
    for delay in (0.1, 0.3, 0.5, 0.8):
        command = [sys.executable, "-c", CHILD, location, str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(delay)
            os.kill(child.pid, signal.SIGKILL)
        with store.snapshot() as snapshot:
            records = snapshot.views()
            held = sum(1 for _ in snapshot.prefixes(store.track(_digest(feature_set), "rows")))
        assert (held, len(records)) in {(0, 0), (60_000, 1)}
        seen.add(held)
        if held:
            break
    with duckdb.connect(str(file), read_only=True) as connection:
        connection.execute("SET TimeZone='UTC'")
        materialise(connection, feature_set, store)
        assert materialise(connection, feature_set, store).written == 0
    reader = VectorReader(store, ["rows"])
    found = reader.read({"user_id": [0, 59_999, 60_000]}, 4 * 10**15)
    assert found.statuses[0] == [PRESENT, PRESENT, MISSING]


def _digest(feature_set: FeatureSet) -> str:
    from bascule.features import definition_digest

    return definition_digest(feature_set.views[0], USER)


def test_statuses_are_true(connection: duckdb.DuckDBPyConnection, location: str) -> None:
    load(
        connection,
        "select * from (values (1, 5, timestamp '2024-01-01 10:00'), (2, null, timestamp '2024-01-01 10:00'), "
        "(3, 7, timestamp '2024-01-01 01:00')) v(user_id, a, happened)",
    )
    fresh = FeatureView(
        name="fresh", entity="user", sql="select * from events", event_time="happened", ttl_us=2 * HOUR, fields=("a",)
    )
    past = FeatureView(
        name="past",
        entity="user",
        sql="select * from events",
        event_time="happened",
        windows=("1h",),
        aggregates={"n": "count(*)", "low": "min(a)"},
    )
    store = open_online(location)
    materialise(connection, bind(connection, fresh, past), store)
    reader = VectorReader(store, ["fresh:a", "past"], full_names=True)
    noon = int(datetime(2024, 1, 1, 12, tzinfo=UTC).timestamp()) * 1_000_000
    found = reader.read({"user_id": [1, 2, 3, 4, None]}, noon)
    assert found.values == [[5, None, None, None, None], [0] * 5, [None] * 5]
    assert found.statuses[0] == [PRESENT, NULL, OLD, MISSING, MISSING]
    assert found.statuses[1] == [PRESENT, PRESENT, PRESENT, MISSING, MISSING]
    assert found.statuses[2] == [NULL, NULL, NULL, MISSING, MISSING]
    assert found.times[0] == [noon - 2 * HOUR, noon - 2 * HOUR, None, None, None]
    assert reader.read({"user_id": []}, noon).values == [[], [], []]


EAST = datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
KINDS = pa.table(
    {
        "user_id": [1, 2, 3],
        "happened": [datetime(2024, 1, 1)] * 3,
        "x": pa.array([math.nan, math.inf, -math.inf]),
        "single": pa.array([1 / 3, None, -0.0], pa.float32()),
        "big": pa.array([2**63, 2**64 - 1, 0], pa.uint64()),
        "small": pa.array([-128, 127, None], pa.int8()),
        "zoned": pa.array(
            [datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), None, None], pa.timestamp("us", "UTC")
        ),
        "plain": pa.array([datetime(1901, 1, 1, 0, 0, 0, 1), None, None], pa.timestamp("us")),
        "day": pa.array([date(1969, 12, 31), None, date(2024, 2, 29)]),
        "yes": pa.array([True, False, None]),
        "text": pa.array(["é\0\u20ac", "", "x" * 1000]),
        "money": pa.array([None, Decimal("1.25"), Decimal("-2.50")], pa.decimal128(10, 2)),
        "cents": pa.array([None, Decimal("9007199254740.93"), Decimal("0.10")], pa.decimal128(38, 2)),
    }
)


def test_values_of_every_kind_are_unchanged(connection: duckdb.DuckDBPyConnection, location: str) -> None:
    connection.register("events", KINDS)
    view = FeatureView(name="v", entity="user", sql="select * from events", event_time="happened")
    feature_set, store = bind(connection, view), open_online(location)
    materialise(connection, feature_set, store)
    expected = training_rows(connection, feature_set, "select user_id, happened as t from events").to_arrow_table()
    reader = VectorReader(store, ["v"])
    found = reader.read({"user_id": [1, 2, 3]}, 10**16).to_arrow()
    for name in reader.names:
        ours, theirs = found.column(name), expected.column(f"v__{name}")
        assert ours.type == theirs.type, name
        assert repr(ours.to_pylist()) == repr(theirs.to_pylist()), name
    assert found.column("x").to_pylist()[1:] == [math.inf, -math.inf]
    assert found.column("money").to_pylist() == [None, 1.25, -2.5]
    assert found.column("cents").to_pylist() == [None, 9007199254740.93, 0.1]


@pytest.mark.parametrize(
    ("kind", "value"),
    [("DECIMAL(38,2)", "90071992547409930.25"), ("HUGEINT", "9007199254740993"), ("UHUGEINT", "9" * 30)],
)
def test_numbers_that_would_become_others_are_refused_by_name(
    connection: duckdb.DuckDBPyConnection, location: str, kind: str, value: str
) -> None:
    connection.register("events", KINDS)
    rows = f"select 1 as user_id, timestamp '2024-01-01' as happened, '{value}'::{kind} as odd"
    named = r"\[features.v\]: column 'odd' has a value of more digits than a DOUBLE holds: " + value
    row = FeatureView(name="v", entity="user", sql=rows, event_time="happened")
    counted = FeatureView(
        name="v", entity="user", sql=rows, event_time="happened", windows=("1d",), aggregates={"most": "max(odd)"}
    )
    for view in (row, counted):
        feature_set = bind(connection, view)
        spine = "select 1 as user_id, timestamp '2024-01-01 12:00:00' as t"
        with pytest.raises(duckdb.Error, match=named):
            training_rows(connection, feature_set, spine).to_arrow_table()
        with pytest.raises(InputError, match=named):
            materialise(connection, feature_set, open_online(location))


@pytest.mark.parametrize(
    ("kind", "value"), [("timestamp", "infinity"), ("timestamptz", "12000-01-01"), ("date", "-infinity")]
)
def test_times_that_a_reader_could_not_tell_are_refused_by_name(
    connection: duckdb.DuckDBPyConnection, location: str, kind: str, value: str
) -> None:
    seen = "t::timestamp::date" if kind == "date" else f"(t || '+00')::{kind}"
    connection.execute(
        f"CREATE TABLE events AS SELECT n AS user_id, timestamp '2024-01-01' AS happened, {seen} AS seen "
        "FROM (VALUES (1, '9999-12-31 23:59:59.999999'), (2, '0001-01-01 00:00:00'), (3, NULL)) v(n, t)"
    )
    view = FeatureView(name="v", entity="user", sql="SELECT * FROM events", event_time="happened")
    feature_set, store = bind(connection, view), open_online(location)
    materialise(connection, feature_set, store)
    found = VectorReader(store, ["v"]).read({"user_id": [1, 2, 3]}, 10**16).to_arrow().column("seen")
    joined = training_rows(connection, feature_set, "SELECT user_id, happened AS t FROM events").to_arrow_table()
    assert found.to_pylist() == joined.column("v__seen").to_pylist()
    connection.execute(f"INSERT INTO events VALUES (4, '2024-01-01', '{value}'::{kind})")
    joined = training_rows(connection, feature_set, "SELECT user_id, happened AS t FROM events")
    assert joined.filter(f"v__seen = '{value}'::{kind}").fetchall(), "a training set keeps it"
    with pytest.raises(InputError, match=f"column 'seen' has a time beyond the years 1 to 9999: {value}"):
        materialise(connection, feature_set, store)
    assert VectorReader(store, ["v"]).read({"user_id": [1]}, 10**16).statuses[0] == [PRESENT]


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_nanoseconds_are_kept_whole_or_refused_by_name(
    connection: duckdb.DuckDBPyConnection, location: str, zone: str | None
) -> None:
    """A cast would round them up: an event half a microsecond after an example would be known before it."""
    noon, kind = 1704110400 * 10**9, pa.timestamp("ns", zone)

    def rows(times: list[int], seen: int) -> pa.Table:
        return pa.table(
            {
                "user_id": [1] * len(times),
                "happened": pa.array(times, kind),
                "seen": pa.array([seen] * len(times), kind),
            }
        )

    def load(name: str, table: pa.Table) -> None:
        connection.register("given", table)
        connection.execute(f"CREATE OR REPLACE TABLE {name} AS FROM given")

    view = FeatureView(name="v", entity="user", sql="SELECT * FROM nanos", event_time="happened")
    asked, store = "SELECT user_id, happened AS t FROM events", open_online(location)
    load("events", rows([noon + 999, noon + 1000, noon - 1], 0))
    load("nanos", rows([noon, noon + 1000], noon + 2000))
    feature_set = bind(connection, view)
    found = training_rows(connection, feature_set, asked).to_arrow_table()
    assert found.column("t").to_pylist() == connection.sql(asked).to_arrow_table().column("t").to_pylist()
    seen = datetime(2024, 1, 1, 12, 0, 0, 2, UTC if zone else None)
    assert found.column("v__seen").to_pylist() == [seen, seen, None], "rounded down, an example sees nothing later"
    materialise(connection, feature_set, store)
    read = VectorReader(store, ["v"]).read({"user_id": [1]}, 10**16)
    assert read.to_arrow().column("seen").to_pylist() == [seen]
    for times, odd, column in (([noon + 1], noon, "happened"), ([noon], noon + 1, "seen")):
        load("nanos", rows(times, odd))
        named = f"column '{column}' has a time that is not a whole microsecond: 2024-01-01 12:00:00.000000001"
        with pytest.raises(duckdb.Error, match=named):
            training_rows(connection, bind(connection, view), asked).to_arrow_table()
        with pytest.raises(InputError, match=named):
            materialise(connection, bind(connection, view), store)


@pytest.mark.parametrize(
    ("sql", "kind"), [("[1, 2]", "INTEGER"), ("{'a': 1}", "STRUCT"), ("'x'::blob", "BLOB"), ("map {'a': 1}", "MAP")]
)
def test_what_cannot_be_a_feature_is_refused_by_name(
    connection: duckdb.DuckDBPyConnection, sql: str, kind: str
) -> None:
    view = FeatureView(
        name="v", entity="user", sql=f"select 1 as user_id, now() as happened, {sql} as odd", event_time="happened"
    )
    with pytest.raises(InputError, match="column 'odd'") as refused:
        bind_view(connection, view, USER)
    assert kind in refused.value.message


def test_ties_of_a_key_that_is_nan_are_settled_as_in_training(
    connection: duckdb.DuckDBPyConnection, location: str
) -> None:
    load(
        connection,
        """select 'nan'::double as user_id, (hash(i) % 50)::integer as a,
        timestamp '2024-01-01' + to_hours(i // 20) as happened from range(100) r(i)""",
    )
    view = FeatureView(name="rows", entity="user", sql="select * from events", event_time="happened")
    feature_set, store = bind(connection, view), open_online(location)
    materialise(connection, feature_set, store)
    spine = "select 'nan'::double as user_id, timestamp '2024-01-01' + to_hours(h) as t from range(5) r(h)"
    expected = training_rows(connection, feature_set, spine).project("rows__a").fetchall()
    at = [(1_704_067_200 + 3600 * hour) * 1_000_000 for hour in range(5)]
    found = OnlineReader(feature_set, store).read([{"user_id": math.nan}] * 5, at)
    assert [tuple(row) for row in found] == expected
