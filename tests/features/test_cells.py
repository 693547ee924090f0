"""Few examples among many events: whatever the length of a cell, the answer is the same."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bascule.features import Entity, FeatureView, build_feature_set, cells, point_in_time, training_rows
from bascule.features.columns import describe
from bascule.features.portable import training_plan, written

USER = Entity("user", ("k",))
HOUR = 3_600_000_000
EPOCH = datetime(1970, 1, 1)
FIELDS = "select k, happened, known, a from events"
VIEWS = tuple(
    FeatureView(
        name=name, entity="user", sql=FIELDS, event_time="happened", fields=("a",), ttl_us=ttl, known_time=known
    )
    for name, ttl, known in (
        ("latest", None, None),
        ("fresh", 2 * HOUR, None),
        ("told", None, "known"),
        ("brief", 3 * HOUR, "known"),
    )
)
TIMES = st.none() | st.integers(-9, 9).map(lambda hours: EPOCH + timedelta(hours=hours))
KEYS = st.none() | st.integers(1, 2)
EVENTS = st.lists(st.tuples(KEYS, TIMES, TIMES, st.none() | st.integers(0, 3)), max_size=25)
EXAMPLES = st.lists(st.tuples(KEYS, TIMES), max_size=8)


def joined(events: list[Any], examples: list[Any]) -> list[Any]:
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("CREATE TABLE events (k BIGINT, happened TIMESTAMP, known TIMESTAMP, a INTEGER)")
        connection.execute("CREATE TABLE asked (k INTEGER, t TIMESTAMP)")
        for table, rows in (("events", events), ("asked", examples)):
            if rows:
                signs = ", ".join("?" for _ in rows[0])
                connection.executemany(f"INSERT INTO {table} VALUES ({signs})", rows)
        bound = build_feature_set(
            connection, name="s", entities=[USER], views=VIEWS, population="FROM asked", prediction_time="t"
        )
        return training_rows(connection, bound, "SELECT * FROM asked").fetchall()


@pytest.mark.slow
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@example([(1, EPOCH + timedelta(hours=4), EPOCH, 1)], [(1, EPOCH + timedelta(hours=6))], 5 * HOUR)
@given(EVENTS, EXAMPLES, st.sampled_from([1, HOUR, 2 * HOUR + 1, 5 * HOUR, 100 * HOUR]))
def test_no_length_of_a_cell_changes_an_answer(
    monkeypatch: Any, events: list[Any], examples: list[Any], length: int
) -> None:
    """Sorting all rows is held to a double loop by `test_point_in_time.py`."""
    with monkeypatch.context() as patch:
        patch.setattr(point_in_time, "latest_rows", lambda *_: None)
        patch.setattr(point_in_time, "cell_lengths", lambda *_: {})
        expected = joined(events, examples)
        patch.setattr(point_in_time, "cell_lengths", lambda *_: {view.name: length for view in VIEWS})
        assert joined(events, examples) == expected
        patch.setattr(point_in_time, "cell_lengths", lambda *_: {})
        patch.setattr(point_in_time, "CHAINED_FIELDS", 0)
        assert joined(events, examples) == expected, "each view joined by itself"


@pytest.mark.parametrize("ttl", [9 * 10**18, 2**63 - 1, 2**63, 10**30])
def test_a_time_to_live_longer_than_all_times_lets_nothing_expire(monkeypatch: Any, ttl: int) -> None:
    """Whichever way it is joined, of the earliest times, too: `t - ttl` would be beyond 64 bits."""
    view = FeatureView(name="v", entity="user", sql=FIELDS, event_time="happened", fields=("a",), ttl_us=ttl)
    with duckdb.connect() as connection:
        kept = "(1, TIMESTAMP '4000-01-01 (BC)', NULL, 7), (2, TIMESTAMP '2025-01-01', NULL, 8)"
        connection.execute(f"CREATE TABLE events AS FROM (VALUES {kept}) e(k, happened, known, a)")
        times = "(1, TIMESTAMP '289000-01-01 (BC)', 0), (1, '270000-01-01', 1), (2, '2025-01-02', 2), (2, NULL, 3)"
        connection.execute(f"CREATE TABLE asked AS FROM (VALUES {times}) a(k, t, n)")
        bound = build_feature_set(
            connection, name="s", entities=[USER], views=[view], population="FROM asked", prediction_time="t"
        )
        plan = training_plan(bound, "FROM asked", describe(connection, "FROM asked", "rows"))
        known = {name: describe(connection, f"FROM {name}", name) for name in ("events", "asked")}
        text, _ = written(plan, "duckdb", known.get, lambda name: name)
        found = [connection.sql(text)]
        found.append(training_rows(connection, bound, "FROM asked"))
        monkeypatch.setattr(point_in_time, "latest_rows", lambda *_: None)
        found.append(training_rows(connection, bound, "FROM asked"))
        monkeypatch.setattr(point_in_time, "cell_lengths", lambda *_: {"v": HOUR})
        found.append(training_rows(connection, bound, "FROM asked"))
        for rows in found:
            assert [row[3] for row in rows.order("n").fetchall()] == [None, 7, 8, None]


def test_cells_are_for_few_examples_of_what_is_only_read(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(cells, "MANY_ROWS", 1000)
    file = tmp_path / "events.parquet"
    with duckdb.connect() as connection:
        source = "SELECT i % 10 AS k, make_timestamp(i * 1000000) AS t, i AS a FROM range(1000) r(i)"
        connection.sql(source).write_parquet(str(file))
        connection.execute(f"CREATE TABLE kept AS {source}")
        connection.register("streamed", connection.sql(source).to_arrow_table())
        queries = {
            "file": f"SELECT k, t, a FROM read_parquet('{file}') WHERE a >= 0",
            "kept": "SELECT * FROM kept",
            "streamed": "SELECT * FROM streamed",
            "computed": "SELECT k, t, sum(a) AS a FROM kept GROUP BY ALL",
            "wide": "SELECT k, t, a::DECIMAL(20, 2) AS a FROM kept",
        }
        bound = build_feature_set(
            connection,
            name="s",
            entities=[USER],
            views=[FeatureView(name=name, entity="user", sql=sql, event_time="t") for name, sql in queries.items()],
            population="SELECT * FROM kept",
            prediction_time="t",
        )
        assert cells.example_count(connection, "SELECT * FROM kept LIMIT 62") is None, "it takes more than reading"
        assert cells.example_count(connection, "SELECT * FROM kept WHERE a < 62") == 62
        assert cells.cell_lengths(connection, bound, None) == {}
        found = cells.cell_lengths(connection, bound, 62)
        assert found == {"file": pytest.approx(40e6, rel=0.3), "kept": pytest.approx(40e6, rel=0.3)}
        assert cells.cell_lengths(connection, bound, 63) == {}
        plan = training_rows(connection, bound, "SELECT * FROM kept WHERE a < 62").explain()
        assert "__cells" in plan
        assert "__cells" not in training_rows(connection, bound, "SELECT * FROM kept").explain()
