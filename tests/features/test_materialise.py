"""Online = offline: the store gives at t what the point-in-time join gives at t, however rows arrived."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.errors import InputError, NotFound
from bascule.features import (
    Entity,
    FeatureSet,
    FeatureView,
    LmdbStore,
    OnlineReader,
    RequestView,
    build_feature_set,
    materialise,
    training_rows,
)

Row = dict[str, Any]
START = datetime(1970, 1, 1, 2)
HOUR = timedelta(hours=1)
US = timedelta(microseconds=1)
PAIR = Entity("pair", ("k1", "k2"))
SOURCE = "select k1, k2, happened, known, a, b, x, s, moment, day from events"
FIELDS = ("a", "b", "x", "s", "moment", "day")
AGGREGATES = {
    "rows": "count(*)",
    "known": "count(a)",
    "sum": "sum(a)",
    "mean": "mean(b)",
    "total": "sum(x)",
    "spread": "stddev(x)",
    "low": "min(x)",
    "high": "max(a)",
}
GATHERED = {
    "newest": "last(moment)",
    "oldest": "first(s)",
    "recent": "last(x, 2)",
    "kinds": "distinct(day)",
    "about": "approx_distinct(moment)",
    "ninth": "percentile(a, 0.9)",
    "rough": "approx_percentile(x, 0.3)",
    "common": "top_k(s, 2)",
}


def view(name: str, **settings: Any) -> FeatureView:
    return FeatureView(name=name, entity="pair", sql=SOURCE, **settings)


WINDOWS: dict[str, Any] = {"windows": ("1h", "3h"), "aggregates": AGGREGATES}
VIEWS = (
    view("fresh", event_time="happened", ttl_us=7_200_000_000, fields=FIELDS),
    view("told", event_time="happened", known_time="known", fields=FIELDS),
    view("table", fields=FIELDS),
    view("past", event_time="happened", **WINDOWS),
    view("heard", event_time="happened", known_time="known", **WINDOWS),
)
REQUEST = RequestView(
    "request",
    {
        "hour": "hour(t)",
        "next": "told.a + note",
        "since": "date_diff('minute', told.moment, t)",
        "much": "past.sum_3h / note",
    },
)
EVENTS = pa.schema(
    {
        "k1": pa.int64(),
        "k2": pa.string(),
        "happened": pa.timestamp("us"),
        "known": pa.timestamp("us", "UTC"),
        "a": pa.int32(),
        "b": pa.bool_(),
        "x": pa.float64(),
        "s": pa.string(),
        "moment": pa.timestamp("us", "UTC"),
        "day": pa.date32(),
    }
)
SPINE = pa.schema({"k1": pa.int64(), "k2": pa.string(), "t": pa.timestamp("us"), "note": pa.int64()})
GRID = [START + h * HOUR + us * US for h in range(-3, 4) for us in (-1, 0, 0, 1)]
PAIRS = [(1, "11"), (11, "1"), (1, "1")]
KEYS = st.sampled_from([*PAIRS * 3, (1, None), (None, "1")])
TIMES = st.sampled_from([*GRID, None])
EVENT = st.tuples(
    KEYS,
    TIMES,
    TIMES.map(lambda t: t and t.replace(tzinfo=UTC)),
    st.sampled_from([None, -2, 1, 5]),
    st.sampled_from([None, True, False]),
    st.sampled_from([None, 0.1, -2.5, 1e6, math.nan, math.inf]),
    st.sampled_from(["", "a", "ü", None]),
    TIMES.map(lambda t: t and t.replace(tzinfo=UTC)),
    st.sampled_from([None, date(1969, 12, 31), date(2013, 1, 1)]),
).map(lambda e: dict(zip(EVENTS.names, (*e[0], *e[1:]), strict=True)))
EXAMPLES = st.lists(
    st.tuples(KEYS, st.sampled_from(GRID), st.integers(0, 2)).map(
        lambda e: dict(zip(SPINE.names, (*e[0], *e[1:]), strict=True))
    ),
    min_size=1,
    max_size=20,
)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone='UTC'")
        yield connection


def load(connection: duckdb.DuckDBPyConnection, events: list[Row], examples: list[Row]) -> None:
    connection.register("events", pa.Table.from_pylist(events, EVENTS))
    connection.register("spine", pa.Table.from_pylist(examples, SPINE))


def bind(connection: duckdb.DuckDBPyConnection, views: tuple[FeatureView, ...] = VIEWS, **more: Any) -> FeatureSet:
    load(connection, [], [])
    request = more.pop("request", None)
    return build_feature_set(
        connection,
        name="test",
        entities=[PAIR],
        views=views,
        population="select * from spine",
        prediction_time="t",
        features=[view.name for view in views] + ([request.name] if request else []),
        request=request,
        **more,
    )


@pytest.fixture(scope="module")
def feature_set(connection: duckdb.DuckDBPyConnection) -> FeatureSet:
    return bind(connection, request=REQUEST, request_columns=["note", "k2"])


def micros(t: datetime) -> int:
    return (t.replace(tzinfo=None) - datetime(1970, 1, 1)) // US


def offline(connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet) -> list[Row]:
    rows = training_rows(connection, feature_set, "select * from spine").to_arrow_table().to_pylist()
    return [{name: row[name] for name in feature_set.features} for row in rows]


def online(feature_set: FeatureSet, store: LmdbStore, examples: list[Row]) -> list[Row]:
    rows = OnlineReader(feature_set, store).read(examples, [micros(example["t"]) for example in examples])
    return [dict(zip(feature_set.features, row, strict=True)) for row in rows]


def assert_same(found: list[Row], expected: list[Row]) -> None:
    for row, other in zip(found, expected, strict=True):
        for name, value in other.items():
            if isinstance(value, float) and isinstance(row[name], float):
                loose = 1e-6 if "spread" in name else 2e-9
                close = math.isclose(row[name], value, rel_tol=1e-9, abs_tol=loose)
                assert close or (math.isnan(value) and math.isnan(row[name])), (name, row[name], value)
            else:
                assert type(row[name]) is type(value), (name, row[name], value)
                assert row[name] == value, (name, row[name], value)


def contents(store: LmdbStore) -> dict[bytes, bytes]:
    with store.snapshot() as snapshot:
        return {key: value for key, value in snapshot._transaction.cursor() if key[:1] == b"e"}


@pytest.mark.slow
@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EVENT, min_size=5, max_size=30), EXAMPLES)
def test_what_is_gathered_of_a_window_is_served_as_it_was_learned(
    connection: Any, tmp_path_factory: Any, events: list[Row], examples: list[Row]
) -> None:
    gathered: dict[str, Any] = {"event_time": "happened", "windows": ("1h", "3h"), "aggregates": GATHERED}
    views = (view("seen", **gathered), view("learned", known_time="known", **gathered))
    feature_set = bind(connection, views)
    store = LmdbStore(tmp_path_factory.mktemp("online"), map_size=1 << 16)
    for arrived in (events[::2], events):
        load(connection, arrived, examples)
        materialise(connection, feature_set, store)
    found, expected = online(feature_set, store, examples), offline(connection, feature_set)
    assert [list(row.values()) for row in found] == [list(row.values()) for row in expected]


def test_a_distinct_count_that_is_not_exact_is_the_same_online_and_near(connection: Any, tmp_path: Path) -> None:
    happened = "timestamp '2020-01-01' + to_seconds(i) as happened"
    sql = f"select 1 as k1, '1' as k2, {happened}, i // 2 as n from range(9000) t(i)"
    windows: dict[str, Any] = {"windows": ("3h",), "aggregates": {"n": "approx_distinct(n)"}}
    about = FeatureView(name="seen", entity="pair", sql=sql, event_time="happened", **windows)
    feature_set, store = bind(connection, (about,)), LmdbStore(tmp_path, map_size=1 << 20)
    asked = {"k1": 1, "k2": "1", "t": datetime(2020, 1, 1, 2, 30), "note": 0}
    load(connection, [], [asked])
    materialise(connection, feature_set, store)
    (row,) = offline(connection, feature_set)
    assert row == online(feature_set, store, [asked])[0]
    assert row["seen__n_3h"] != 4500
    assert row["seen__n_3h"] == pytest.approx(4500, rel=0.1)


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(EVENT, min_size=5, max_size=30), EXAMPLES, st.randoms(use_true_random=False))
def test_online_is_offline_however_rows_arrive(
    connection: Any, feature_set: FeatureSet, tmp_path_factory: Any, events: list[Row], examples: list[Row], chance: Any
) -> None:
    store = LmdbStore(tmp_path_factory.mktemp("online"), map_size=1 << 16)
    arrived: list[Row] = []
    waiting = list(events)
    chance.shuffle(waiting)
    while waiting:
        batch = chance.randint(1, 10)
        arrived, waiting = arrived + waiting[:batch], waiting[batch:]
        if chance.random() < 0.3:
            arrived.pop(chance.randrange(len(arrived)))  # a row is corrected away
        load(connection, arrived, examples)
        through = chance.choice([None, None, micros(START)])
        materialise(connection, feature_set, store, through)
    materialise(connection, feature_set, store)
    assert_same(online(feature_set, store, examples), offline(connection, feature_set))
    fresh = LmdbStore(tmp_path_factory.mktemp("fresh"))
    materialise(connection, feature_set, fresh)
    assert contents(store) == contents(fresh)
    store.close()
    fresh.close()


def event(hour: int, a: int, key: tuple[int, str] = PAIRS[0], known: int | None = None) -> Row:
    at = START + hour * HOUR
    told = (START + (hour if known is None else known) * HOUR).replace(tzinfo=UTC)
    values = {"happened": at, "known": told, "a": a, "b": True, "x": 1.5, "s": "s", "moment": None, "day": None}
    return {"k1": key[0], "k2": key[1], **values}


def ask(hour: int, key: tuple[int, str] = PAIRS[0]) -> Row:
    return {"k1": key[0], "k2": key[1], "t": START + hour * HOUR, "note": 1}


def test_a_second_run_writes_nothing(connection: Any, feature_set: FeatureSet, tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    load(connection, [event(n, n) for n in range(5)], [])
    first = materialise(connection, feature_set, store)
    before = contents(store)
    again = materialise(connection, feature_set, store)
    assert first.written > 0
    assert [(view.written, view.removed, view.changed_keys) for view in again.views] == [(0, 0, 0)] * len(VIEWS)
    assert contents(store) == before


@pytest.mark.slow
def test_new_rows_are_appended_and_late_ones_rewrite_their_key(
    connection: Any, feature_set: FeatureSet, tmp_path: Path
) -> None:
    store = LmdbStore(tmp_path)
    events = [event(n, n, key) for n in range(10) for key in PAIRS]
    load(connection, events, [])
    materialise(connection, feature_set, store)
    load(connection, [*events, event(10, 10)], [])
    fresh = {view.view: view for view in materialise(connection, feature_set, store).views}
    assert (fresh["fresh"].written, fresh["fresh"].removed) == (1, 0)
    assert fresh["past"].removed == 0
    load(connection, [*events, event(10, 10), event(-5, 1, PAIRS[1])], [])
    late = {view.view: view for view in materialise(connection, feature_set, store).views}
    assert (late["fresh"].changed_keys, late["fresh"].removed, late["fresh"].written) == (1, 10, 11)
    load(connection, events, [])
    lost = materialise(connection, feature_set, store).views[0]
    assert lost.rows == len(events)


def test_a_key_without_rows_is_gone(connection: Any, feature_set: FeatureSet, tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    load(connection, [event(0, 1), event(0, 2, PAIRS[1])], [])
    materialise(connection, feature_set, store)
    load(connection, [event(0, 2, PAIRS[1])], [])
    report = materialise(connection, feature_set, store)
    assert [view.changed_keys for view in report.views] == [1] * len(VIEWS)
    found = online(feature_set, store, [ask(1), ask(1, PAIRS[1])])
    assert [row["told__a"] for row in found] == [None, 2]
    assert [row["past__rows_3h"] for row in found] == [0, 1]


@pytest.mark.slow
def test_a_version_that_is_held_is_not_read_again(connection: Any, feature_set: FeatureSet, tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    load(connection, [event(0, 1), event(1, 2)], [])
    materialise(connection, feature_set, store, micros(START), version="one")
    assert online(feature_set, store, [ask(2)])[0]["told__a"] == 1
    materialise(connection, feature_set, store, version="one")
    assert online(feature_set, store, [ask(2)])[0]["told__a"] == 2
    load(connection, [event(0, 1), event(1, 3)], [])
    assert materialise(connection, feature_set, store, version="one").written == 0
    assert materialise(connection, feature_set, store, version="two").written > 0


@pytest.mark.slow
def test_through_holds_rows_back_and_never_takes_back(connection: Any, feature_set: FeatureSet, tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    load(connection, [event(0, 1), event(1, 2), event(2, 3, known=9)], [])
    materialise(connection, feature_set, store, micros(START))
    assert online(feature_set, store, [ask(3)])[0]["told__a"] == 1
    materialise(connection, feature_set, store, micros(START + 4 * HOUR))
    assert online(feature_set, store, [ask(3), ask(10)])[1]["told__a"] == 2
    report = materialise(connection, feature_set, store, micros(START))
    assert report.written == 0
    materialise(connection, feature_set, store)
    assert [row["told__a"] for row in online(feature_set, store, [ask(3), ask(10)])] == [2, 3]


def test_progress_and_freshness(connection: Any, feature_set: FeatureSet, tmp_path: Path) -> None:
    store, seen = LmdbStore(tmp_path), []
    load(connection, [event(n, n) for n in range(5)], [])
    materialise(connection, feature_set, store, progress=lambda view, done, most: seen.append((view, done <= most)))
    assert {name for name, _ in seen} == {view.name for view in VIEWS}
    assert all(fine for _, fine in seen)
    freshness = OnlineReader(feature_set, store).freshness()
    assert freshness["fresh"] == micros(START + 4 * HOUR)
    assert freshness["table"] is None


def test_a_view_that_was_never_materialised_is_named(connection: Any, feature_set: FeatureSet, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="'fresh'"):
        OnlineReader(feature_set, LmdbStore(tmp_path))


def test_sql_that_fails_on_the_data_leaves_the_store_as_it_was(connection: Any, tmp_path: Path) -> None:
    load(connection, [event(0, 1)], [])
    sql = "select k1, k2, happened, cast(s as integer) as n from events"
    feature_set = bind(connection, (FeatureView(name="bad", entity="pair", sql=sql, event_time="happened"),))
    load(connection, [{**event(0, 1), "s": "1"}], [])
    store = LmdbStore(tmp_path)
    materialise(connection, feature_set, store)
    before = contents(store)
    load(connection, [{**event(0, 1), "s": "1"}, {**event(1, 1), "s": "one"}], [])
    with pytest.raises(InputError, match=r"\[features.bad\] sql failed on the data"):
        materialise(connection, feature_set, store)
    assert contents(store) == before
    assert online(feature_set, store, [ask(1)])[0]["bad__n"] == 1


@pytest.mark.parametrize(
    ("column", "value"), [("k1", "1"), ("k1", True), ("k1", 1.5), ("k2", 1), ("note", "x"), ("note", [1]), ("k2", {})]
)
def test_a_wrong_value_is_refused_with_row_and_column(
    connection: Any, feature_set: FeatureSet, tmp_path: Path, column: str, value: Any
) -> None:
    store = LmdbStore(tmp_path)
    load(connection, [event(0, 1)], [])
    materialise(connection, feature_set, store)
    with pytest.raises(InputError, match=f"Row 1: column {column!r}"):
        online(feature_set, store, [ask(1), {**ask(1), column: value}])


def test_what_requests_may_leave_out(connection: Any, feature_set: FeatureSet, tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    load(connection, [event(0, 1)], [])
    materialise(connection, feature_set, store)
    (row,) = OnlineReader(feature_set, store).read([{"k1": 1.0, "more": 1}], [0])
    found = dict(zip(feature_set.features, row, strict=True))
    assert found["told__a"] is None
    assert found["past__rows_1h"] == 0
    assert found["request__hour"] == 0


def test_feature_sets_are_json(connection: Any, feature_set: FeatureSet) -> None:
    import msgspec

    text = msgspec.json.encode(feature_set)
    assert msgspec.json.decode(text, type=FeatureSet) == feature_set
    assert msgspec.json.encode(msgspec.json.decode(text, type=FeatureSet)) == text
