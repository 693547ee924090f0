"""Point-in-time joins against a double loop in plain Python, on inputs made to be awkward."""

from __future__ import annotations

import math
import random
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.errors import InputError
from bascule.features import Entity, FeatureSet, FeatureView, RequestView, build_feature_set, training_rows

pytestmark = pytest.mark.slow

Row = dict[str, Any]
HOUR = timedelta(hours=1)
START = datetime(1970, 1, 1, 2)  # near the epoch, so that buckets on both sides of it are met
PAIR = Entity("pair", ("k1", "k2"))
WINDOWS = ("1h", "3h")
AGGREGATES = {
    "rows": "count(*)",
    "known": "count(a)",
    "sum": "sum(a)",
    "mean": "mean(a)",
    "low": "min(a)",
    "high": "max(a)",
    "flag": "mean(b)",
    "total": "sum(x)",
    "average": "mean(x)",
    "spread": "variance(x)",
    "deviation": "stddev(x)",
    "least": "min(x)",
}
GATHERED = {
    "newest": "last(s)",
    "oldest": "first(a)",
    "recent": "last(x, 2)",
    "earliest": "first_n(a, 2)",
    "kinds": "distinct(s)",
    "about": "approx_distinct(x)",
    "middle": "median(a)",
    "ninth": "percentile(x, 0.9)",
    "rough": "approx_percentile(x, 0.5)",
    "common": "top_k(a, 2)",
}
EVENTS = "select k1, k2, happened, known, a, b, x, s from events"
VIEWS = (
    FeatureView(name="latest", entity="pair", sql=EVENTS, event_time="happened", fields=("a", "x", "s")),
    FeatureView(
        name="fresh", entity="pair", sql=EVENTS, event_time="happened", fields=("a", "x", "s"), ttl_us=7_200_000_000
    ),
    FeatureView(
        name="told", entity="pair", sql=EVENTS, event_time="happened", known_time="known", fields=("a", "x", "s")
    ),
    FeatureView(
        name="brief",
        entity="pair",
        sql=EVENTS,
        event_time="happened",
        known_time="known",
        fields=("a", "x", "s"),
        ttl_us=3_600_000_000,
    ),
    FeatureView(name="table", entity="pair", sql=EVENTS, fields=("a", "x", "s")),
    FeatureView(name="past", entity="pair", sql=EVENTS, event_time="happened", windows=WINDOWS, aggregates=AGGREGATES),
    FeatureView(
        name="heard",
        entity="pair",
        sql=EVENTS,
        event_time="happened",
        known_time="known",
        windows=WINDOWS,
        aggregates=AGGREGATES,
    ),
)
GATHERED_IN: dict[str, Any] = {"event_time": "happened", "windows": WINDOWS, "aggregates": GATHERED}
GATHERING = tuple(
    FeatureView(name=name, entity="pair", sql=EVENTS, known_time=known, **GATHERED_IN)
    for name, known in (("seen", None), ("learned", "known"))
)
EVENT_SCHEMA = pa.schema(
    {
        "k1": pa.int64(),
        "k2": pa.string(),
        "happened": pa.timestamp("us"),
        "known": pa.timestamp("us"),
        "a": pa.int32(),
        "b": pa.bool_(),
        "x": pa.float64(),
        "s": pa.string(),
    }
)
SPINE_SCHEMA = pa.schema({"k1": pa.int64(), "k2": pa.string(), "t": pa.timestamp("us"), "note": pa.int64()})


# The oracle: for each example, in order, look at every row.


def oracle(view: FeatureView, events: Sequence[Row], example: Row) -> Row:
    eligible = [row for row in events if eligible_row(view, row, example)]
    if view.windows:
        return windowed(view, eligible, example["t"])
    best = max(eligible, key=lambda row: rank(view, row), default=None)
    if best is not None and view.ttl_us is not None:
        late = best["happened"] < example["t"] - timedelta(microseconds=view.ttl_us)
        best = None if late else best
    return {field: best[field] if best else None for field in view.fields}


def eligible_row(view: FeatureView, row: Row, example: Row) -> bool:
    if any(row[key] is None or row[key] != example[key] for key in PAIR.keys):
        return False
    if view.event_time is None:
        return True
    if row["happened"] is None or example["t"] is None:
        return False
    if view.known_time is not None and (row["known"] is None or row["known"] > example["t"]):
        return False
    return bool(row["happened"] < example["t"] if view.windows else row["happened"] <= example["t"])


def rank(view: FeatureView, row: Row) -> Any:
    times = [row["happened"] if view.event_time else START, row["known"] if view.known_time else START]
    return (*times, *(ordered(row[field]) for field in view.fields))


def ordered(value: Any) -> Any:
    if value is None:
        return (0, 0, 0)
    if isinstance(value, float) and math.isnan(value):
        return (1, 1, 0.0)
    return (1, 0, value)


def windowed(view: FeatureView, events: Sequence[Row], at: datetime | None) -> Row:
    answer = {}
    for name, text in view.aggregates.items():
        function, column, *rest = re.split(r"[(,)]", text)[:-1]
        for window in view.windows:
            length = timedelta(hours=int(window[:-1]))
            inside = [row for row in events if at is not None and row["happened"] >= at - length]
            placed = [(row["happened"], 1 if column == "*" else row[column]) for row in inside]
            placed = [(t, v) for t, v in placed if v is not None and (not isinstance(v, float) or math.isfinite(v))]
            if function in ("first_n", "top_k") or (function == "last" and rest):
                found = [*several(function, placed), None, None]
                answer |= {f"{name}_{window}_{place + 1}": found[place] for place in range(2)}
            elif function in ("first", "last"):
                answer[f"{name}_{window}"] = next(iter(several(function, placed)), None)
            else:
                answer[f"{name}_{window}"] = aggregate(function, [v for _, v in placed], *map(float, rest))
    return answer


def several(function: str, placed: list[Any]) -> list[Any]:
    """By time, then by value; or by how often, then by value."""
    if function == "top_k":
        values = [v for _, v in placed]
        return sorted(set(values), key=lambda v: (-values.count(v), v))
    return [v for _, v in sorted(placed, reverse=function == "last")]


def aggregate(function: str, numbers: list[Any], share: float = 0.5) -> Any:
    if function == "count":
        return len(numbers)
    if function in ("distinct", "approx_distinct"):
        return len(set(numbers))
    if not numbers or (function in ("variance", "stddev") and len(numbers) < 2):
        return None
    if function in ("percentile", "median"):
        return float(np.quantile([float(n) for n in numbers], share))
    if function == "approx_percentile":
        exact = sorted(numbers)[max(math.ceil(len(numbers) * share), 1) - 1]
        return pytest.approx(exact, rel=0.0101)
    functions: dict[str, Callable[[list[Any]], Any]] = {
        "sum": lambda n: math.fsum(n) if isinstance(n[0], float) else sum(n),
        "mean": lambda n: math.fsum(n) / len(n),
        "min": min,
        "max": max,
        "variance": lambda n: float(statistics.variance(n)),
        "stddev": lambda n: float(statistics.stdev(n)),
    }
    return functions[function](numbers)


# Inputs: few keys, few times, one microsecond more or less, nulls everywhere.

GRID = [START + h * HOUR + us * timedelta(microseconds=1) for h in range(-3, 4) for us in (-1, 0, 0, 1)]
TIMES = st.sampled_from([*GRID, None, START + timedelta(minutes=17)])
PAIRS = [(1, "11"), (11, "1"), (1, "1")]
KEYS = st.sampled_from([*PAIRS * 3, (1, None), (None, "1"), (None, None)])
NUMBERS = st.one_of(
    st.none(), st.sampled_from([0.0, -0.0, 1e6, math.nan, math.inf]), st.floats(-100, 100, allow_subnormal=False)
)
EVENT = st.tuples(
    KEYS, TIMES, TIMES, st.one_of(st.none(), st.integers(-3, 3)), st.booleans(), NUMBERS, st.sampled_from("abc")
)
EVENT_LISTS = st.lists(
    EVENT.map(lambda e: dict(zip(EVENT_SCHEMA.names, (*e[0], *e[1:]), strict=True))), min_size=5, max_size=25
).flatmap(lambda rows: st.integers(0, 3).map(lambda again: rows + rows[:again]))
EXAMPLES = st.lists(
    st.tuples(KEYS, TIMES, st.integers(0, 2)).map(
        lambda e: dict(zip(SPINE_SCHEMA.names, (*e[0], *e[1:]), strict=True))
    ),
    max_size=15,
)


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone='UTC'")
        yield connection


@pytest.fixture(scope="module")
def feature_set(connection: duckdb.DuckDBPyConnection) -> FeatureSet:
    load(connection, [], [])
    return bind(connection, VIEWS)


def bind(connection: duckdb.DuckDBPyConnection, views: Sequence[FeatureView], **more: Any) -> FeatureSet:
    features = [view.name for view in views] + ([more["request"].name] if "request" in more else [])
    return build_feature_set(
        connection,
        name="test",
        entities=[PAIR],
        views=views,
        population="select * from spine",
        prediction_time="t",
        features=features,
        **more,
    )


def load(connection: duckdb.DuckDBPyConnection, events: Sequence[Row], examples: Sequence[Row]) -> None:
    connection.register("events", pa.Table.from_pylist(list(events), EVENT_SCHEMA))
    connection.register("spine", pa.Table.from_pylist(list(examples), SPINE_SCHEMA))


def joined(
    connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, events: Sequence[Row], examples: Sequence[Row]
) -> list[Row]:
    load(connection, events, examples)
    rows: list[Row] = training_rows(connection, feature_set, "select * from spine").to_arrow_table().to_pylist()
    return rows


def assert_same(found: Row, expected: Row, where: Any) -> None:
    for name, value in expected.items():
        other = found[name]
        if isinstance(value, float) and isinstance(other, float):
            loose = "spread" in name or "deviation" in name
            # Numbers up to 1e6 are summed, of both signs: what is left of them is accurate to 1e6 * 2^-52.
            close = math.isclose(value, other, rel_tol=1e-9, abs_tol=1e-6 if loose else 2e-9)
            assert close or (math.isnan(value) and math.isnan(other)), (where, name, other, value)
        elif isinstance(value, type(pytest.approx(0))):
            assert other == value, (where, name, other, value)
        else:
            assert type(other) is type(value), (where, name, other, value)
            assert other == value, (where, name, other, value)


SLOW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@settings(SLOW, max_examples=40)
@given(EVENT_LISTS, EXAMPLES)
def test_every_row_is_what_the_double_loop_says(
    connection: Any, feature_set: FeatureSet, events: list[Row], examples: list[Row]
) -> None:
    found = joined(connection, feature_set, events, examples)
    assert len(found) == len(examples)
    for row, example in zip(found, examples, strict=True):
        assert {name: row[name] for name in SPINE_SCHEMA.names} == example
        for view in VIEWS:
            expected = {f"{view.name}__{field}": v for field, v in oracle(view, events, example).items()}
            if view.windows:
                assert row[f"{view.name}__flag_1h"] == pytest.approx(expected.pop(f"{view.name}__flag_1h"))
            assert_same(row, expected, example)


@pytest.mark.parametrize(
    ("dense", "hashes"),
    [
        pytest.param(10_000, 1024, id="events of each example"),
        pytest.param(1, 1024, id="frames"),
        pytest.param(3, 2, id="both"),  # and of what frames cannot estimate the events again
    ],
)
@settings(SLOW, max_examples=20)
@given(EVENT_LISTS, EXAMPLES)
def test_what_is_gathered_of_a_window_is_what_the_double_loop_says(
    connection: Any, dense: int, hashes: int, events: list[Row], examples: list[Row]
) -> None:
    load(connection, [], [])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bascule.features.windows.DENSE", dense)
        patch.setattr("bascule.features.frames.HASHES", hashes)
        patch.setattr("bascule.features.point_in_time.few_pairs", lambda *_: frozenset())
        found = joined(connection, bind(connection, GATHERING), events, examples)
    for row, example in zip(found, examples, strict=True):
        for view in GATHERING:
            expected = {f"{view.name}__{field}": v for field, v in oracle(view, events, example).items()}
            assert {name for name in row if name.startswith(f"{view.name}__")} == set(expected)
            assert_same(row, expected, example)


def test_percentiles_of_many_examples_hold_no_events_of_each() -> None:
    """400 events for each of 20,000 examples are 8 million values where they are gathered; frames hold each once."""
    aggregates = {"middle": "median(v)", "kinds": "distinct(v)"}
    view = FeatureView(name="busy", entity="k", sql="from busy", event_time="t", windows=("1d",), aggregates=aggregates)
    columns = "1 as k, make_timestamp(i * 216000000) as t, i as v"
    with duckdb.connect() as connection:
        connection.execute(f"create table busy as select {columns} from range(20000) r(i)")
        about: dict[str, Any] = {"name": "busy", "entities": [Entity("k", ("k",))], "views": [view]}
        features = build_feature_set(connection, population="from busy", prediction_time="t", **about)
        connection.execute("SET memory_limit = '100MB'; SET max_temp_directory_size = '0B'")
        rows = training_rows(connection, features, "from busy").to_arrow_table().to_pylist()
    assert (rows[1000]["busy__middle_1d"], rows[1000]["busy__kinds_1d"]) == (799.5, 400)


@settings(SLOW, max_examples=10)
@given(EVENT_LISTS, EXAMPLES, st.randoms(use_true_random=False))
def test_what_must_not_matter_does_not(
    connection: Any, feature_set: FeatureSet, events: list[Row], examples: list[Row], chance: random.Random
) -> None:
    expected = joined(connection, feature_set, events, examples)
    shuffled = list(events)
    chance.shuffle(shuffled)
    others = [{**row, "k1": 5} for row in events]
    # Rows that hold only from the end of time on; a reference table has no time, so it is left out below.
    future = [{**row, "happened": datetime(2200, 1, 1), "known": datetime(2200, 1, 1)} for row in events]
    for changed, skipped in ((shuffled + others, ""), (events + future, "table__")):
        found = joined(connection, feature_set, changed, examples)
        for row, other in zip(found, expected, strict=True):
            names = [name for name in row if not skipped or not name.startswith(skipped)]
            assert_same({name: row[name] for name in names}, {name: other[name] for name in names}, row)
    for place, example in enumerate(examples[:2]):
        (alone,) = joined(connection, feature_set, events, [example])
        assert_same(alone, expected[place], "one at a time")


@settings(SLOW, max_examples=12)
@given(EVENT_LISTS, EXAMPLES, st.sampled_from([timedelta(days=400), timedelta(days=-3, hours=5)]))
def test_shifting_all_times_changes_nothing(
    connection: Any, feature_set: FeatureSet, events: list[Row], examples: list[Row], shift: timedelta
) -> None:
    def moved(rows: list[Row]) -> list[Row]:
        return [{n: v + shift if isinstance(v, datetime) else v for n, v in row.items()} for row in rows]

    before = joined(connection, feature_set, events, examples)
    after = joined(connection, feature_set, moved(events), moved(examples))
    for row, other in zip(before, after, strict=True):
        assert_same({**other, "t": row["t"]}, row, "shifted")


def one(at: datetime, a: int | None, known: datetime | None = None, x: float | None = None) -> Row:
    return {"k1": 1, "k2": "1", "happened": at, "known": known or at, "a": a, "b": True, "x": x, "s": "a"}


def ask(t: datetime) -> Row:
    return {"k1": 1, "k2": "1", "t": t, "note": 0}


US = timedelta(microseconds=1)


def test_the_time_to_live_includes_both_ends(connection: Any, feature_set: FeatureSet) -> None:
    asked = [ask(START - US), ask(START), ask(START + 2 * HOUR), ask(START + 2 * HOUR + US)]
    found = joined(connection, feature_set, [one(START, 7)], asked)
    assert [row["fresh__a"] for row in found] == [None, 7, 7, None]
    assert [row["latest__a"] for row in found] == [None, 7, 7, 7]


def test_a_window_is_half_open(connection: Any, feature_set: FeatureSet) -> None:
    asked = [ask(START), ask(START + US), ask(START + HOUR), ask(START + HOUR + US)]
    found = joined(connection, feature_set, [one(START, 7)], asked)
    assert [row["past__rows_1h"] for row in found] == [0, 1, 1, 0]
    assert [row["past__low_1h"] for row in found] == [None, 7, 7, None]
    assert [row["past__sum_1h"] for row in found] == [None, 7, 7, None]


def test_a_row_counts_only_once_it_is_known(connection: Any, feature_set: FeatureSet) -> None:
    events = [one(START, 1), one(START + HOUR, 2, known=START + 3 * HOUR)]
    asked = [ask(START + 2 * HOUR), ask(START + 3 * HOUR)]
    found = joined(connection, feature_set, events, asked)
    assert [row["told__a"] for row in found] == [1, 2]
    assert [row["latest__a"] for row in found] == [2, 2]
    assert [row["heard__sum_3h"] for row in found] == [1, 3]


def test_old_news_does_not_replace_newer(connection: Any, feature_set: FeatureSet) -> None:
    events = [one(START + HOUR, 2), one(START, 1, known=START + 2 * HOUR)]
    (row,) = joined(connection, feature_set, events, [ask(START + 3 * HOUR)])
    assert row["told__a"] == 2


def test_a_null_value_in_the_newest_row_stays_null(connection: Any, feature_set: FeatureSet) -> None:
    (row,) = joined(connection, feature_set, [one(START, 1), one(START + HOUR, None)], [ask(START + HOUR)])
    assert row["latest__a"] is None


def test_large_means_do_not_drown_the_variance(connection: Any, feature_set: FeatureSet) -> None:
    events = [one(START + n * US, 0, x=1e9 + n % 2) for n in range(1000)]
    (row,) = joined(connection, feature_set, events, [ask(START + HOUR / 2)])
    assert row["past__spread_1h"] == pytest.approx(statistics.variance([n % 2 for n in range(1000)]), rel=1e-6)


def test_types_never_change(connection: Any, feature_set: FeatureSet) -> None:
    load(connection, [], [ask(START)])
    relation = training_rows(connection, feature_set, "select * from spine")
    types = dict(zip(relation.columns, map(str, relation.types), strict=True))
    assert {name: types[name] for name in feature_set.features} == feature_set.types
    assert types["latest__a"] == "INTEGER"
    assert types["past__sum_1h"] == "BIGINT"
    assert types["past__low_1h"] == "INTEGER"


def test_wide_types_become_features(connection: Any) -> None:
    load(connection, [], [])
    sql = """select 1 as k1, '1' as k2, timestamptz '2013-01-01' as happened, 1.50 as price, 7::hugeint as big,
             'x'::enum('x') as kind, date '2013-01-01' as day, uuid() as id, '2013-01-01'::timestamp_ns as fine"""
    view = FeatureView(name="wide", entity="pair", sql=sql, event_time="happened")
    feature_set = bind(connection, [view])
    assert list(feature_set.types.values()) == ["DOUBLE", "DOUBLE", "VARCHAR", "DATE", "VARCHAR", "TIMESTAMP"]
    load(connection, [], [ask(datetime(2014, 1, 1))])
    row = training_rows(connection, feature_set, "select * from spine").fetchall()[0]
    assert row[4:7] == (1.5, 7.0, "x")


def test_times_in_nanoseconds(connection: Any) -> None:
    fine = pa.array([datetime(2020, 1, 1, 5)], pa.timestamp("ns", "UTC"))
    connection.register("fine", pa.table({"k1": [1], "k2": ["1"], "t": fine, "a": [7]}))
    view = FeatureView(name="latest", entity="pair", sql="select k1, k2, t, a from fine", event_time="t")
    feature_set = build_feature_set(
        connection, name="fine", entities=[PAIR], views=[view], population="select * from fine", prediction_time="t"
    )
    asked = "select k1, k2, t from fine"
    assert training_rows(connection, feature_set, asked).to_arrow_table().column("latest__a").to_pylist() == [7]


def test_request_expressions_see_requests_and_views(connection: Any) -> None:
    load(connection, [], [])
    request = RequestView("request", {"hour": "hour(t)", "next": "latest.a + note", "half": "note / 0"})
    feature_set = bind(connection, VIEWS[:1], request=request, request_columns=["note"])
    assert feature_set.features[-4:] == ("request__hour", "request__next", "request__half", "note")
    (row,) = joined(connection, feature_set, [one(START, 7)], [{**ask(START + HOUR), "note": 2}])
    assert (row["request__hour"], row["request__next"], row["request__half"]) == (3, 9, None)


def test_a_view_used_only_by_an_expression_is_joined_and_not_given(connection: Any) -> None:
    load(connection, [], [])
    request = RequestView("request", {"next": "latest.a + 1", "other": "fresh.a"})
    feature_set = build_feature_set(
        connection,
        name="test",
        entities=[PAIR],
        views=VIEWS,
        population="select * from spine",
        prediction_time="t",
        features=["request.next"],
        request=request,
    )
    assert [view.name for view in feature_set.views] == ["latest"]
    (row,) = joined(connection, feature_set, [one(START, 7)], [ask(START)])
    assert list(row) == ["k1", "k2", "t", "note", "request__next"]
    assert row["request__next"] == 8


def test_the_sql_may_end_in_a_semicolon_and_a_comment(connection: Any) -> None:
    load(connection, [], [])
    view = FeatureView(name="latest", entity="pair", sql=f"{EVENTS}; -- “all”;\n", event_time="happened", fields=("a",))
    feature_set = bind(connection, [view])
    load(connection, [one(START, 7)], [ask(START)])
    rows = training_rows(connection, feature_set, "select * from spine -- all").fetchall()
    assert rows[0][4] == 7
    with pytest.raises(InputError, match="syntax"):
        bind(
            connection, [FeatureView(name="v", entity="pair", sql="select 1; drop table events", event_time="happened")]
        )


def test_examples_that_do_not_fit_are_refused(connection: Any, feature_set: FeatureSet) -> None:
    load(connection, [], [])
    with pytest.raises(InputError, match="no column 'k2'"):
        training_rows(connection, feature_set, "select k1, t from spine")
    with pytest.raises(InputError, match="'k1' of the examples is VARCHAR"):
        training_rows(connection, feature_set, "select k1::varchar as k1, k2, t from spine")
    with pytest.raises(InputError, match="a name that is taken"):
        training_rows(connection, feature_set, "select *, 1 as latest__a from spine")
    with pytest.raises(InputError, match="cannot be used"):
        training_rows(connection, feature_set, "select * from nowhere")


def test_examples_are_sorted_and_merged_however_few_the_engine_expects(connection: Any, tmp_path: Path) -> None:
    """A lake's files come without statistics: the engine takes them for one row and would compare each with each."""
    load(connection, [], [ask(START)])
    file = tmp_path / "spine.parquet"
    connection.sql("select * from spine").write_parquet(str(file))
    given = ("k1", "BIGINT"), ("k2", "VARCHAR"), ("t", "TIMESTAMP"), ("note", "BIGINT")
    fields = ", ".join(f"'{name}': {{name: '{name}', type: '{kind}', default_value: NULL}}" for name, kind in given)
    scan = f"select * from read_parquet('{file}', schema = MAP {{{fields}}})"
    view = FeatureView(name="latest", entity="pair", sql=EVENTS, event_time="happened", fields=("a",))
    plan = training_rows(connection, bind(connection, [view]), scan).explain()
    assert "ASOF" in plan.upper(), plan
