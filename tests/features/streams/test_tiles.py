"""One definition, two ways: tiles that events were counted in as they came, and the batch SQL over all of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.errors import InputError
from bascule.features import Entity, FeatureSet, FeatureView, LmdbStore, OnlineReader, build_feature_set, training_rows
from bascule.features.online.tiled import spans
from bascule.features.online.tiles import lengths_of
from bascule.features.streams.applying import TiledView, opened
from bascule.features.streams.rowwise import check_rowwise

LARGEST = 1.7976931348623157e308
MINUTE, HOUR = 60_000_000, 3_600_000_000
START = datetime(2025, 3, 1, tzinfo=UTC)
PAIR = Entity("pair", ("k1", "k2"))
AGGREGATES = {
    "rows": "count(*)",
    "known": "count(a)",
    "sum": "sum(a)",
    "mean": "mean(a)",
    "low": "min(a)",
    "high": "max(b)",
    "total": "sum(x)",
    "average": "mean(x)",
    "spread": "variance(x)",
    "deviation": "stddev(a)",
    "least": "min(x)",
    "newest": "last(s)",
    "oldest": "first(a)",
    "recent": "last(x, 2)",
    "when": "last(happened)",
    "kinds": "distinct(s)",
    "about": "approx_distinct(x)",
    "middle": "median(a)",
    "ninth": "percentile(x, 0.9)",
    "rough": "approx_percentile(x, 0.5)",
    "common": "top_k(s, 2)",
}
SQL = "select k1, k2, happened, a, b, x, s from events where a is null or a <> 13"
SCHEMA = pa.schema(
    [
        ("k1", pa.string()),
        ("k2", pa.int64()),
        ("happened", pa.timestamp("us", "UTC")),
        ("a", pa.int64()),
        ("b", pa.bool_()),
        ("x", pa.float64()),
        ("s", pa.string()),
    ]
)
EVENT = st.fixed_dictionaries(
    {
        "k1": st.sampled_from(["1", "11", None]),
        "k2": st.sampled_from([1, 11]),
        # Ties, tiles' edges and what lies around them, over more than the longest window.
        "happened": st.builds(
            lambda minutes, off: START + timedelta(minutes=minutes, microseconds=off),
            st.integers(0, 400),
            st.sampled_from([0, 1, -1, 17_000_000]),
        ),
        "a": st.sampled_from([None, -3, 0, 5, 13, 2**40]),
        "b": st.sampled_from([None, True, False]),
        "x": st.sampled_from(
            [None, 0.0, -0.0, 1.5, -2.25, 1e9 + 0.1, math.nan, math.inf, 1e17, -1e17, 1e200, 1e308, -1e308, -LARGEST]
        ),
        "s": st.sampled_from([None, "", "ä", "z", "za"]),
    }
)
View = tuple[FeatureSet, TiledView]


def tiled(hop: int, windows: Sequence[str], store: LmdbStore, aggregates: dict[str, str] = AGGREGATES) -> View:
    view = FeatureView(
        name="past",
        entity="pair",
        sql=SQL,
        event_time="happened",
        windows=tuple(windows),
        aggregates=aggregates,
        hop_us=hop,
    )
    with opened() as connection:
        connection.register("events", SCHEMA.empty_table())
        asked = "select 'x' as k1, 1::bigint as k2, timestamptz '2025-01-01' as asked"
        features = build_feature_set(
            connection, name="m", entities=[PAIR], views=[view], population=asked, prediction_time="asked"
        )
    return features, TiledView(features.views[0], PAIR, store, "events", 10 * HOUR)


def count(tiles: TiledView, batches: Sequence[Sequence[dict[str, Any]]], log: str = "log") -> None:
    with opened() as connection:
        tiles.fill(connection, None, log, 0, None)
        for number, batch in enumerate(batches):
            rows = pa.Table.from_pylist(list(batch), SCHEMA)
            assert tiles.apply(connection, rows, log, number, number + 1, None)


def batch_values(
    features: FeatureSet, events: Sequence[dict[str, Any]], asked: Sequence[dict[str, Any]]
) -> list[list[Any]]:
    with opened() as connection:
        connection.register("events", pa.Table.from_pylist(list(events), SCHEMA))
        kind = pa.schema([("k1", pa.string()), ("k2", pa.int64()), ("asked", pa.timestamp("us", "UTC"))])
        connection.register("asked_rows", pa.Table.from_pylist(list(asked), kind))
        rows = training_rows(connection, features, "select * from asked_rows").to_arrow_table().to_pylist()
    return [[row[name] for name in features.features] for row in rows]


def tile_values(features: FeatureSet, store: LmdbStore, asked: Sequence[dict[str, Any]]) -> list[list[Any]]:
    at = [(row["asked"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for row in asked]
    return OnlineReader(features, store).read(asked, at)


def agree(features: FeatureSet, left: list[list[Any]], right: list[list[Any]], added: float = 0.0) -> None:
    """Everything but what floating point rounds is equal, the sketches too: both are made of the same hashes.

    Args:
        added: the absolute values of `x` together: sums may be off by 12 digits of it, variances of its square.
    """
    lost = {"past__total": added * 1e-12, "past__average": added * 1e-12, "past__spread": added * added * 1e-12}
    for one, two in zip(left, right, strict=True):
        for name, a, b in zip(features.features, one, two, strict=True):
            if isinstance(a, float) and isinstance(b, float):
                near = max(lost.get(name.rpartition("_")[0], 0.0), 1e-6)
                assert math.isclose(a, b, rel_tol=1e-9, abs_tol=near), (name, a, b)
            else:
                assert (type(a), a) == (type(b), b), name


@pytest.mark.slow
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    events=st.lists(EVENT, max_size=40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    moments=st.lists(st.tuples(st.integers(-2, 500), st.sampled_from([0, 1, -1])), min_size=1, max_size=5),
)
def test_tiles_and_batch_agree(
    tmp_path_factory: pytest.TempPathFactory,
    events: list[dict[str, Any]],
    cuts: list[int],
    moments: list[tuple[int, int]],
) -> None:
    """In whatever order and batches events come, and whatever moment is asked for."""
    store = LmdbStore(tmp_path_factory.mktemp("online"), "main", map_size=1 << 24)
    features, tiles = tiled(MINUTE, ("5m", "1h", "3h20m"), store)
    edges = [0, *sorted(cuts), len(events)]
    count(tiles, [events[a:b] for a, b in pairwise(edges)])
    asked = [
        {"k1": k1, "k2": k2, "asked": START + timedelta(minutes=minutes, microseconds=off)}
        for minutes, off in moments
        for k1, k2 in (("1", 1), ("11", 1), ("1", 11), ("never", 1), (None, 1))
    ]
    wanted = batch_values(features, events, asked)
    added = min(sum(abs(e["x"]) for e in events if e["x"] is not None and math.isfinite(e["x"])), LARGEST)
    agree(features, tile_values(features, store, asked), wanted, added)
    # Filled from the table, the tiles are what they were when the events came one by one.
    with opened() as connection:
        connection.register("lake_events", pa.Table.from_pylist(events, SCHEMA))
        tiles.fill(connection, "lake_events", "log", 9, None)
    agree(features, tile_values(features, store, asked), wanted, added)
    store.close()


def test_values_that_are_all_the_largest_double_do_not_vary(tmp_path: Path) -> None:
    """The sum of 17 of them is rounded to more than 17 times one."""
    for name, hop in (("one", HOUR), ("several", MINUTE)):
        store = LmdbStore(tmp_path / name, "main", map_size=1 << 24)
        features, tiles = tiled(hop, ("1h",), store, {"average": "mean(x)", "spread": "variance(x)"})
        for sign in (1, -1):
            key = {"k1": str(sign), "k2": 1}
            first, second = (
                [{**key, "happened": START + timedelta(minutes=minute), "x": sign * LARGEST}] for minute in (1, 2)
            )
            count(tiles, [first * 17, second * 3, second * 17], f"log{sign}")
            asked = [{**key, "asked": START + timedelta(minutes=60)}]
            assert tile_values(features, store, asked) == [[sign * LARGEST, 0.0]]
        store.close()


def test_an_outlier_that_another_takes_back_costs_no_digit(tmp_path: Path) -> None:
    """In one tile or in several, and however batches are cut: what adding rounds off is kept beside the sum."""
    for name, hop in (("one", HOUR), ("several", MINUTE)):
        store = LmdbStore(tmp_path / name, "main", map_size=1 << 24)
        features, tiles = tiled(hop, ("1h",), store, {"total": "sum(x)", "average": "mean(x)", "spread": "variance(x)"})
        values = [1e17, 0.125, 0.5, -1e17, 1e308, 0.25, 1e308, -1e308, -1e308]
        events = [
            {"k1": "1", "k2": 1, "happened": START + timedelta(minutes=minute), "x": x}
            for minute, x in enumerate(values)
        ]
        count(tiles, [[event] for event in events])
        asked = [{"k1": "1", "k2": 1, "asked": START + timedelta(minutes=60)}]
        assert tile_values(features, store, asked) == [[0.875, 0.875 / 9, math.inf]]
        store.close()


def test_a_sum_of_whole_numbers_beyond_64_bits_is_refused(tmp_path: Path) -> None:
    """Within a tile as well as of several; the batch SQL ends, too."""
    store = LmdbStore(tmp_path, "main", map_size=1 << 24)
    features, tiles = tiled(MINUTE, ("1h",), store, {"sum": "sum(a)"})
    event = {"k1": "1", "k2": 1, "happened": START, "a": 2**62}
    later = [{**event, "happened": START + timedelta(minutes=minute)} for minute in (1, 2)]
    with pytest.raises(InputError, match="sum of 'a' is beyond"):
        count(tiles, [[event], [event]])
    asked = [{"k1": "1", "k2": 1, "asked": START + timedelta(minutes=30)}]
    assert tile_values(features, store, asked) == [[2**62]]  # the second one is not counted
    with opened() as connection:
        assert tiles.apply(connection, pa.Table.from_pylist(later, SCHEMA), "log", 1, 2, None)
    with pytest.raises(InputError, match="sum of 'a' is beyond"):
        tile_values(features, store, asked)
    with pytest.raises(duckdb.Error):
        batch_values(features, [event, *later], asked)


@pytest.mark.slow
def test_many_values_and_long_windows(tmp_path: Path) -> None:
    """Sketches beyond where they are exact, and tiles of several lengths, over a store that is filled bit by bit."""
    store = LmdbStore(tmp_path, "main")
    wanted = {"rows": "count(*)", "about": "approx_distinct(x)", "rough": "approx_percentile(x, 0.9)", "dev": "std(x)"}
    features, tiles = tiled(MINUTE, ("5m", "2d", "7d"), store, wanted)
    assert len(lengths_of(tiles.view)) == 3
    events = [
        {
            "k1": "1",
            "k2": 1,
            "happened": START + timedelta(minutes=n * 7 % 10_000, seconds=n % 60),
            "x": (n * 37 % 5003) / 7,
        }
        for n in range(8_000)
    ]
    count(tiles, [events[n : n + 1_700] for n in range(0, 8_000, 1_700)])
    asked = [{"k1": "1", "k2": 1, "asked": START + timedelta(minutes=n, seconds=3)} for n in (3, 777, 5_000, 10_100)]
    values = tile_values(features, store, asked)
    agree(features, values, batch_values(features, events, asked))
    place = features.features.index("past__about_7d")
    assert values[3][place] > 1_024


def test_a_batch_counts_once(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, "main")
    features, tiles = tiled(MINUTE, ("1h",), store, {"rows": "count(*)"})
    events = [{"k1": "1", "k2": 1, "happened": START + timedelta(minutes=n)} for n in range(3)]
    count(tiles, [events])
    _, other = tiled(MINUTE, ("1h",), store, {"rows": "count(*)"})  # another process
    asked = [{"k1": "1", "k2": 1, "asked": START + timedelta(minutes=30)}]
    with opened() as connection:
        rows = pa.Table.from_pylist(events, SCHEMA)
        assert not other.apply(connection, rows, "log", 0, 1, None)
        assert not other.apply(connection, rows, "another log", 1, 2, None)
        assert tile_values(features, store, asked) == [[3]]
        assert other.apply(connection, rows, "log", 1, 2, None)
        assert not tiles.apply(connection, rows, "log", 1, 2, None)
        assert tiles.apply(connection, rows, "log", 2, 3, None)  # what it remembers is old, and is not used
    assert tile_values(features, store, asked) == [[9]]
    assert store.forget({"k1": "1", "k2": 1}) == 3
    assert tile_values(features, store, asked) == [[0]]


@pytest.mark.slow
def test_tiles_that_no_window_reaches_are_removed(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path, "main")
    features, tiles = tiled(MINUTE, ("1h",), store, {"rows": "count(*)"})
    with opened() as connection:
        tiles.fill(connection, None, "log", 0, None)
        for number in range(40):
            at = START + timedelta(hours=number)
            micros = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
            rows = pa.Table.from_pylist([{"k1": "1", "k2": 1, "happened": at}], SCHEMA)
            assert tiles.apply(connection, rows, "log", number, number + 1, micros)
    # The window and the lateness: 11 hours, and one more whose end was not yet reached.
    assert store.count({"k1": "1", "k2": 1}) in (12, 13)
    asked = [{"k1": "1", "k2": 1, "asked": START + timedelta(hours=39, minutes=1)}]
    assert tile_values(features, store, asked) == [[1]]


def test_spans_cover_once() -> None:
    for first, last in ((0, 1), (3, 200), (32, 64), (31, 65), (5, 5), (0, 2048), (1, 3000)):
        covered = []
        for level, begin, end in spans((1, 32, 1024), first, last):
            length = (1, 32, 1024)[level]
            assert begin % length == end % length == 0
            covered += list(range(begin, end))
        assert sorted(covered) == list(range(first, last))


@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("select * from events e join users using (k1)", "cannot join 'events' with users"),
        ("select k1, count(*) as n, max(happened) as at from events group by k1", "GROUP BY"),
        ("select *, lag(a) over (order by happened) as b from events", "a window function"),
        ("select session_window(happened, interval 5 minute) from events", "no sessions"),
        ("select distinct k1, at from events", "DISTINCT"),
        ("select *, now() as t from events", "another value each time"),
        ("select * from events where a in (select a from events)", "with itself"),
    ],
)
def test_what_needs_an_engine_is_refused(sql: str, word: str) -> None:
    view = FeatureView(name="v", entity="pair", sql=sql, event_time="happened")
    with pytest.raises(InputError, match=word) as error:
        check_rowwise(view, "events")
    assert "Spark" in error.value.hint or word == "another value each time"


def test_a_hop_divides_every_window() -> None:
    told = {"name": "v", "entity": "pair", "sql": SQL, "event_time": "happened"}
    with pytest.raises(InputError, match="the window 1h is no multiple of 7m"):
        FeatureView(**told, windows=("1h",), aggregates={"n": "count(*)"}, hop_us=7 * MINUTE)
    with pytest.raises(InputError, match="hop means nothing without windows"):
        FeatureView(**told, hop_us=MINUTE)
