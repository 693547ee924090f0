"""Windows beside outliers: every path gives the same, of values from 1e-8 to 1e15, to what rounding each once costs.

Values down to 1e-120 are tried; of smaller ones the squares, and what is kept beside a sum of what it lost, come near
the least double, which has few digits.

What a double loses is measured against exact fractions, in units of the last digit (`UNIT`) of what is in the window
itself, so that no value outside of it may cost a digit:

sum, mean   adding n numbers rounds n times at most, each time by half a unit of the absolute values' sum; a sum is
            infinite only beyond the largest double, a mean never
variance    n roundings of a deviation from the mean; of a mean that is large beside the deviations, these are lost in
            proportion (the condition number of a variance, sqrt(mean square / variance)), whatever the method

Online, what is left of a difference is at least a 1,024th of what was subtracted (`LEFT`), so it may be off by 1,024
times as much: 12 digits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bascule.features import (
    Entity,
    FeatureSet,
    FeatureView,
    LmdbStore,
    OnlineReader,
    build_feature_set,
    materialise,
    pairs,
    training_rows,
)
from bascule.features.columns import describe
from bascule.features.online.windows import LEFT
from bascule.features.portable import training_plan, written
from bascule.features.streams.applying import TiledView, opened

START = datetime(2025, 3, 1, tzinfo=UTC)
UNIT = Fraction(1, 2**52)
MOST_EVENTS, LARGEST = 40, 1.7976931348623157e308
AGGREGATES = {
    "rows": "count(*)",
    "known": "count(x)",
    "whole": "sum(i)",
    "total": "sum(x)",
    "average": "mean(x)",
    "spread": "variance(x)",
    "deviation": "stddev(x)",
    "ints": "variance(i)",
}
WINDOWS = {"5m": 5, "1h": 60}
ENTITY = Entity("user", ("k",))
VIEW = FeatureView(
    name="v",
    entity="user",
    sql="SELECT k, happened, x, i FROM events",
    event_time="happened",
    windows=tuple(WINDOWS),
    aggregates=AGGREGATES,
)
EVENTS = pa.schema([("k", pa.int64()), ("happened", pa.timestamp("us", "UTC")), ("x", pa.float64()), ("i", pa.int64())])
ASKED = pa.schema([("k", pa.int64()), ("t", pa.timestamp("us", "UTC"))])
SPINE = "SELECT * FROM asked"
DIGITS = st.floats(-10, 10).map(lambda digits: digits if abs(digits) > 1e-111 else 0.0)
NUMBERS = st.builds(lambda digits, scale: digits * 10.0**scale, DIGITS, st.integers(-9, 14))
HUGE = st.sampled_from([1e308, -1e308, LARGEST, -LARGEST, 1e200, 1e17, -1e17, 1.5, 0.1])
EVENT = st.tuples(st.integers(1, 2), st.integers(0, 130), st.none() | NUMBERS, st.integers(-(2**50), 2**50))
BESIDE = st.tuples(st.integers(1, 2), st.integers(0, 130), st.none() | HUGE, st.integers(-5, 5))
CASES = st.lists(EVENT, min_size=1, max_size=MOST_EVENTS) | st.lists(BESIDE, min_size=1, max_size=15)
LEDGER = [731_904_121.37, 0.11, -88_120_944.09, 5.03, 998_001_777.77]
ASKS = st.lists(st.tuples(st.integers(1, 2), st.integers(0, 200)), min_size=1, max_size=20)
# The outlier is gone from the short window, and from both, while its bucket is not.
GONE = [(1, 0, 1e15, 2**50), *((1, minute, 1e-8 * (1 + minute % 3), minute) for minute in range(1, 80))]
# Of values that are all one the variance is 0, whatever is around them.
STEADY = [(1, 0, 1e8, 0), *((1, minute, 0.1, 3) for minute in range(1, 20))]
# What is added up goes beyond the largest double and comes back, or stays there.
BACK = [(1, minute, value, 1) for minute, value in enumerate([1e308, 1e308, 1.5, -1e308, -1e308, LARGEST, LARGEST])]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("amounts", "left"),
    [
        ([*LEDGER, *(-amount for amount in LEDGER[::-1]), 0.23], 0.23),
        ([1e17, 1.0, -1e17], 1.0),
        ([1e17, 0.5, 3.0, -1e17, -1e25, 1e25], 3.5),
    ],
)
def test_amounts_that_take_each_other_back_leave_the_same_on_every_path(
    tmp_path: Path, amounts: Sequence[float], left: float
) -> None:
    """To what skew calls equal: a ledger's sums are small beside its amounts."""
    happened = [(1, START + timedelta(minutes=minute), x, 1) for minute, x in enumerate(amounts)]
    asked = table([(1, START + timedelta(minutes=40))], ASKED)
    for path, [values] in every_path(tmp_path, table(happened, EVENTS), asked):
        # The plan for other engines adds fractions without compensation.
        near = 1e-14 if path != "portable" else 1e-8
        assert values["v__total_1h"] == pytest.approx(left, rel=near), path
        assert values["v__average_1h"] == pytest.approx(left / len(amounts), rel=near), path


@pytest.mark.slow
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(events=CASES, asked=ASKS)
@example(events=GONE, asked=[(1, minute) for minute in (2, 6, 59, 60, 61, 62, 70, 80)])
@example(events=STEADY, asked=[(1, minute) for minute in (1, 6, 20, 61)])
@example(events=BACK, asked=[(1, minute) for minute in (1, 2, 3, 4, 5, 7, 11, 12, 60, 66)])
def test_no_path_loses_digits_to_values_outside_of_a_window(
    tmp_path_factory: pytest.TempPathFactory, events: Sequence[Any], asked: Sequence[Any]
) -> None:
    happened = [(k, START + timedelta(minutes=minute), x, i) for k, minute, x, i in events]
    rows = [(k, START + timedelta(minutes=minute)) for k, minute in asked]
    expected = [exactly(happened, k, t) for k, t in rows]
    folder = tmp_path_factory.mktemp("online")
    for path, found in every_path(folder, table(happened, EVENTS), table(rows, ASKED)):
        lost = int(4 / LEFT) if path.startswith("online") else 1
        for values, exact in zip(found, expected, strict=True):
            for name, (value, error) in exact.items():
                check(path, name, values[f"v__{name}"], value, error * lost)


def table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)


def every_path(folder: Path, events: pa.Table, asked: pa.Table) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    heard = msgspec.structs.replace(VIEW, known_time="happened")
    for path, view, kept in (("frames", VIEW, False), ("pairs", VIEW, True), ("known", heard, False)):
        with connected(events, asked, kept) as connection:
            made = bound(connection, view)
            assert bool(pairs.few_pairs(connection, made, SPINE, asked.num_rows)) == kept
            yield path, training_rows(connection, made, SPINE).to_arrow_table().to_pylist()
            store = LmdbStore(folder / path, map_size=1 << 24)
            materialise(connection, made, store)
            yield f"online, {path}", served(made, store, asked)
            if view is VIEW:
                plan = training_plan(made, SPINE, describe(connection, SPINE, "rows"))
                known = {name: describe(connection, f"SELECT * FROM {name}", name) for name in ("events", "asked")}
                sql, _ = written(plan, "duckdb", known.get, lambda name: name)
                found = {(row["k"], row["t"]): row for row in connection.sql(sql).to_arrow_table().to_pylist()}
                yield "portable", [found[row["k"], row["t"]] for row in asked.to_pylist()]
    yield "tiles", tiled(folder / "tiles", events, asked)


@contextmanager
def connected(events: pa.Table, asked: pa.Table, kept: bool) -> Iterator[duckdb.DuckDBPyConnection]:
    """Tables that the engine counts, or rows that it does not."""
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, rows in (("events", events), ("asked", asked)):
            connection.register(f"{name}_given" if kept else name, rows)
            if kept:
                connection.execute(f"CREATE TABLE {name} AS FROM {name}_given")
        yield connection


def bound(connection: duckdb.DuckDBPyConnection, view: FeatureView) -> FeatureSet:
    return build_feature_set(
        connection, name="s", entities=[ENTITY], views=[view], population=SPINE, prediction_time="t"
    )


def served(made: FeatureSet, store: LmdbStore, asked: pa.Table) -> list[dict[str, Any]]:
    rows = asked.to_pylist()
    at = [(row["t"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for row in rows]
    return [dict(zip(made.features, values, strict=True)) for values in OnlineReader(made, store).read(rows, at)]


def tiled(folder: Path, events: pa.Table, asked: pa.Table) -> list[dict[str, Any]]:
    """Counted in two batches; all times are whole minutes, where tiled windows end as the others do."""
    store = LmdbStore(folder, map_size=1 << 24)
    with opened() as connection:
        connection.register("events", events)
        connection.register("asked", asked)
        made = bound(connection, msgspec.structs.replace(VIEW, hop_us=60_000_000))
    with opened() as connection:
        tiles = TiledView(made.views[0], ENTITY, store, "events", 10 * 3_600_000_000)
        tiles.fill(connection, None, "log", 0, None)
        half = events.num_rows // 2
        for number, batch in enumerate((events.slice(0, half), events.slice(half))):
            assert tiles.apply(connection, batch, "log", number, number + 1, None)
    return served(made, store, asked)


def exactly(events: Sequence[Any], key: int, at: datetime) -> dict[str, tuple[Any, Fraction]]:
    """Each output and by how much it may be off; of a deviation, its square and by how much that may be."""
    answer: dict[str, tuple[Any, Fraction]] = {}
    for window, minutes in WINDOWS.items():
        inside = [e for e in events if e[0] == key and at - timedelta(minutes=minutes) <= e[1] < at]
        doubles = [Fraction(e[2]) for e in inside if e[2] is not None]
        whole, none = [Fraction(e[3]) for e in inside], Fraction(0)
        answer |= {f"rows_{window}": (len(inside), none), f"known_{window}": (len(doubles), none)}
        answer[f"whole_{window}"] = (sum(whole) if whole else None, none)
        error = UNIT * len(doubles) * sum(map(abs, doubles))
        answer[f"total_{window}"] = (sum(doubles) if doubles else None, error)
        mean = (sum(doubles) / len(doubles), error / len(doubles) * 2) if doubles else (None, none)
        answer[f"average_{window}"] = mean
        answer[f"spread_{window}"] = answer[f"deviation_{window}"] = variance(doubles)
        answer[f"ints_{window}"] = variance(whole)
    return answer


def variance(values: Sequence[Fraction]) -> tuple[Fraction | None, Fraction]:
    count = len(values)
    if count < 2:
        return None, Fraction(0)
    mean = sum(values) / count
    apart, squares = sum((value - mean) ** 2 for value in values), sum(value**2 for value in values)
    lost = UNIT * count * 2
    # The deviations' products with what the mean is rounded by, and that itself squared.
    error = lost * (apart + root(apart * squares)) + lost**2 * squares
    return apart / (count - 1), error / (count - 1)


def check(path: str, name: str, found: Any, exact: Any, error: Fraction) -> None:
    where = (path, name, found, exact, error)
    if exact is None or error == 0 == exact:
        assert found == exact, where
        return
    spread = name.startswith(("spread", "deviation"))
    if not abs(found) < math.inf:  # only where the sum is beyond the largest double, and never NaN
        reached = (exact if found > 0 else -exact) + error
        assert abs(found) == math.inf, where
        assert reached * (MOST_EVENTS if spread else 1) > LARGEST, where
        assert not name.startswith("average"), where
        return
    given = Fraction(found) ** 2 if name.startswith("deviation") else Fraction(found)
    assert abs(given - exact) <= error, where


def root(value: Fraction) -> Fraction:
    return Fraction(math.isqrt(int(value * 2**400)) + 1, 2**200)
