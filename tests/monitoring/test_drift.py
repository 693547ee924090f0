import math
import sys
from collections.abc import Callable

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bascule.errors import InputError, NotFound
from bascule.monitoring import drift, reference
from bascule.monitoring.monitors import DriftRules

DAY = 86_400_000_000
START = 15_887 * DAY  # 2013-07-01


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect()
    made.execute("SET TimeZone='UTC'")
    return made


def table(rows: int, seed: int, day: int = 0, **change: Callable) -> pa.Table:
    """Rows of one day without drift; `change` replaces a column by what it makes of it."""
    rng = np.random.default_rng(seed)
    columns = {
        "event_time": pa.array(START + day * DAY + np.sort(rng.integers(0, DAY, rows)), pa.timestamp("us")),
        "speed": rng.normal(10, 3, rows),
        "price": rng.lognormal(0, 1, rows),
        "hour": rng.integers(0, 24, rows),
        "carrier": rng.choice(["AA", "UA", "DL", "O'B"], rows, p=[0.5, 0.3, 0.15, 0.05]),
        "late": rng.random(rows) < 0.2,
        "wind": np.where(rng.random(rows) < 0.02, np.nan, rng.normal(size=rows)),
    }
    columns |= {name: make(rng, rows) for name, make in change.items()}
    return pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})


def by_column(
    connection: duckdb.DuckDBPyConnection, window: pa.Table, rows: int = 50_000
) -> dict[str, drift.ColumnDrift]:
    connection.register("training", table(rows, seed=99))
    connection.register("w", window)
    profile = reference.build_profile(connection, "training")
    (counts,) = drift.count_windows(connection, "w", profile.columns, by="day")
    return {found.column: found for found in drift.measure_drift(counts, profile.columns, DriftRules())}


def test_no_drift_is_found_where_there_is_none(connection: duckdb.DuckDBPyConnection) -> None:
    assert not any(found.drifted for found in by_column(connection, table(900, seed=1)).values())


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("speed", lambda rng, n: rng.normal(11.5, 3, n)),
        ("speed", lambda rng, n: rng.normal(10, 3, n) * 1.609),
        ("price", lambda rng, n: rng.lognormal(0.5, 1, n)),
        ("hour", lambda rng, n: rng.integers(0, 18, n)),
        ("carrier", lambda rng, n: rng.choice(["AA", "UA", "DL", "O'B"], n, p=[0.35, 0.3, 0.3, 0.05])),
        ("carrier", lambda rng, n: rng.choice(["AA", "UA", "DL", "ZZ"], n, p=[0.5, 0.3, 0.15, 0.05])),
        ("late", lambda rng, n: rng.random(n) < 0.4),
        ("wind", lambda rng, n: np.where(rng.random(n) < 0.12, np.nan, rng.normal(size=n))),
        ("speed", lambda rng, n: np.full(n, np.nan)),
    ],
)
def test_known_shifts_are_found_and_only_they(
    connection: duckdb.DuckDBPyConnection, column: str, change: Callable
) -> None:
    found = by_column(connection, table(900, seed=2, **{column: change}))
    assert [name for name, one in found.items() if one.drifted] == [column]
    assert found[column].difference.effect >= 0.1


def test_what_moved_is_named(connection: duckdb.DuckDBPyConnection) -> None:
    found = by_column(connection, table(900, seed=3, late=lambda rng, n: rng.random(n) < 0.5))["late"]
    cell, before, after = found.moved
    assert cell in ("true", "false")
    assert abs(after - before) == pytest.approx(0.3, abs=0.06)
    nulls = by_column(connection, table(900, seed=3, wind=lambda rng, n: np.full(n, np.nan)))["wind"]
    assert nulls.moved[0] == "no value"
    assert (nulls.nulls, nulls.reference_nulls) == (1.0, pytest.approx(0.02, abs=0.003))


def test_windows_that_are_too_small_are_not_judged(connection: duckdb.DuckDBPyConnection) -> None:
    assert by_column(connection, table(199, seed=4, late=lambda rng, n: np.ones(n, bool))) == {}


def naive_cells(column: reference.Column, values: list) -> list[int]:
    """The definition of the cells, one value at a time."""
    if isinstance(column, reference.Categorical):
        texts = [None if v is None else ("true" if v is True else "false" if v is False else str(v)) for v in values]
        known = [texts.count(category) for category in column.categories]
        nulls = texts.count(None)
        return [*known, len(values) - nulls - sum(known), nulls]
    counts = [0] * (len(column.edges) + 2)
    for value in values:
        if value is None or value != value:
            counts[-1] += 1
        else:
            counts[sum(edge < value for edge in column.edges)] += 1
    return counts


def test_counts_are_those_of_the_definition_for_every_window(connection: duckdb.DuckDBPyConnection) -> None:
    days = pa.concat_tables([table(200 + 50 * day, seed=day, day=day) for day in range(3)])
    connection.register("training", table(3000, seed=50))
    connection.register("w", days)
    profile = reference.build_profile(connection, "training")
    assert [c.name for c in profile.columns] == ["speed", "price", "hour", "carrier", "late", "wind"]
    windows = drift.count_windows(connection, "w", profile.columns, by="day")
    assert [(w.start, w.end, w.rows) for w in windows] == [
        (START + day * DAY, START + (day + 1) * DAY, 200 + 50 * day) for day in range(3)
    ]
    for day, window in enumerate(windows):
        rows = table(200 + 50 * day, seed=day, day=day)
        for column in profile.columns:
            values = rows.column(column.name).to_pylist()
            assert window.cells[column.name].tolist() == naive_cells(column, values), column.name


@pytest.mark.slow
@given(
    st.lists(
        st.one_of(st.none(), st.floats(width=64), st.sampled_from([0.1, 1e300, -0.0, 5e-324])), min_size=1, max_size=60
    ),
    st.lists(
        st.one_of(st.none(), st.floats(width=64), st.sampled_from([0.1, 1e300, -0.0, 5e-324])), min_size=1, max_size=60
    ),
)
@example(training=[-sys.float_info.max], window=[None])
@example(training=[-sys.float_info.max], window=[-math.inf, -sys.float_info.max, 0.0])
@settings(max_examples=60, deadline=None)
def test_any_numbers_fall_into_the_right_cells(training: list, window: list) -> None:
    connection = duckdb.connect()
    connection.register("training", pa.table({"x": pa.array(training, pa.float64())}))
    times = pa.array([START] * len(window), pa.timestamp("us"))
    connection.register("w", pa.table({"event_time": times, "x": pa.array(window, pa.float64())}))
    profile = reference.build_profile(connection, "training", bins=4)
    (column,) = profile.columns
    assert reference.cells(column) == naive_cells(column, training)
    (counts,) = drift.count_windows(connection, "w", profile.columns, by="day")
    assert counts.cells["x"].tolist() == naive_cells(column, window)


@pytest.mark.slow
def test_many_columns_take_several_narrow_scans(connection: duckdb.DuckDBPyConnection) -> None:
    rng = np.random.default_rng(7)
    wide = pa.table({f"x{i}": rng.normal(size=300) for i in range(drift.COLUMNS_PER_SCAN + 5)})
    connection.register("training", wide)
    connection.register("w", wide.append_column("event_time", pa.array([START] * 300, pa.timestamp("us"))))
    profile = reference.build_profile(connection, "training")
    (counts,) = drift.count_windows(connection, "w", profile.columns, by="day")
    assert all(counts.cells[c.name].tolist() == reference.cells(c) for c in profile.columns)


def test_profiles_survive_as_json_and_are_the_same_in_every_run(connection: duckdb.DuckDBPyConnection) -> None:
    connection.register("training", table(5000, seed=8))
    settings_ = {"importance": {"speed": 30.0, "late": 10.0}, "training_set": "abc"}
    one, two = (reference.build_profile(connection, "training", **settings_) for _ in range(2))
    data = reference.encode_profile(one)
    assert data == reference.encode_profile(two)
    assert reference.decode_profile(data) == one
    assert [c.name for c in one.columns] == ["speed", "price", "hour", "carrier", "late", "wind"]  # no time
    assert (one.weight("speed"), one.weight("late"), one.weight("hour")) == (1.0, pytest.approx(1 / 3), 0.0)
    with pytest.raises(InputError, match="not a reference profile"):
        reference.decode_profile(b'{"rows": "many"}')


def test_profiles_refuse_what_they_cannot_use(connection: duckdb.DuckDBPyConnection) -> None:
    connection.register("training", table(10, seed=9))
    with pytest.raises(NotFound, match="no column named 'sped'") as found:
        reference.build_profile(connection, "training", ["sped"])
    assert "'speed'" in found.value.hint
    with pytest.raises(InputError, match="needs rows"):
        reference.build_profile(connection, "(select * from training where false)")
    with pytest.raises(InputError, match="65 bins"):
        reference.build_profile(connection, "training", bins=65)
