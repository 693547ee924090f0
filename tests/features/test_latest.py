"""Rows found among sorted numbers are what the double loop says, and what does not fit is left to the engine."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import duckdb
import msgspec
import pytest
from tests.features.batched import assert_oracle, bound, cases, tables_of
from tests.features.test_point_in_time import EVENTS, VIEWS

from bascule.features import Entity, FeatureView, build_feature_set, latest, training_rows

ROWS = tuple(
    msgspec.structs.replace(view, sql=EVENTS.replace("select ", "select c, ")) for view in VIEWS if not view.windows
)
DAY = 86_400_000_000
START = datetime(2024, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("kept", [0, 10_000], ids=["read twice", "read once"])
def test_rows_found_among_numbers_are_what_the_double_loop_says(monkeypatch: Any, kept: int) -> None:
    monkeypatch.setattr(latest, "FEW_ROWS", kept)
    events, examples = cases(150)
    with tables_of(events, examples, "Asia/Tokyo") as connection:
        relation = training_rows(connection, bound(connection, ROWS), "SELECT * FROM spine")
        assert found_in_memory(relation)
        assert_oracle(relation.to_arrow_table().to_pylist(), events, examples, ROWS)


def found_in_memory(relation: duckdb.DuckDBPyRelation) -> bool:
    return "ASOF" not in relation.explain().upper()


@pytest.fixture
def connection() -> Any:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE TABLE events (k BIGINT, happened TIMESTAMP, a INTEGER, s VARCHAR)")
        connection.execute("CREATE TABLE asked (k INTEGER, t TIMESTAMP, note VARCHAR)")
        yield connection


def joined(connection: duckdb.DuckDBPyConnection, examples: str = "SELECT * FROM asked", **of_view: Any) -> Any:
    view = FeatureView(name="v", entity="user", **{"sql": "SELECT * FROM events", "event_time": "happened", **of_view})
    made = build_feature_set(
        connection,
        name="s",
        entities=[Entity("user", ("k",))],
        views=[view],
        population=examples,
        prediction_time="t",
    )
    return training_rows(connection, made, examples)


def fill(connection: duckdb.DuckDBPyConnection, table: str, rows: list[Any]) -> None:
    connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' for _ in rows[0])})", rows)


@pytest.mark.parametrize("known", [None, "happened"])
def test_times_too_far_apart_for_one_number_are_joined_by_the_engine(connection: Any, known: str | None) -> None:
    """A number has 63 bits: of 200 keys it reaches 1,100 years back, of 30,000 keys 8.9."""
    fill(connection, "asked", [(k, START, str(k)) for k in range(200)] + [(7, datetime(1900, 1, 1), "early")])
    fill(
        connection,
        "events",
        [(7, datetime(1900, 1, 1), 1, "x"), (8, datetime(1900, 1, 2), 2, None), (7, START, 3, "y")],
    )
    relation = joined(connection, known_time=known)
    assert found_in_memory(relation)
    found = {row[2]: row[3:] for row in relation.fetchall()}
    assert (found["7"], found["8"], found["early"], found["9"]) == ((3, "y"), (2, None), (1, "x"), (None, None))
    # With 15 bits for the key 8.9 years are left for the time.
    connection.execute("INSERT INTO asked SELECT i, TIMESTAMP '2024-01-01', i FROM range(200, 30_000) r(i)")
    relation = joined(connection, known_time=known)
    assert not found_in_memory(relation)
    assert [row[3] for row in relation.fetchall() if row[0] in (7, 8)] == [3, 2, 1]
    relation = joined(connection, known_time=known, ttl_us=365 * DAY)
    assert not found_in_memory(relation), "an example of 1900 may still need them"
    connection.execute("DELETE FROM asked WHERE note = 'early'")
    relation = joined(connection, known_time=known, ttl_us=365 * DAY)
    assert found_in_memory(relation), "what has run out is left out before"
    assert [row[3] for row in relation.fetchall() if row[0] in (7, 8)] == [3, None]


def test_no_rows_no_examples_and_no_keys(connection: Any) -> None:
    assert joined(connection).fetchall() == []
    connection.execute("INSERT INTO asked VALUES (NULL, now(), 'a'), (1, NULL, 'b'), (2, now(), 'c')")
    assert [row[2:] for row in joined(connection).fetchall()] == [(note, None, None) for note in "abc"]
    connection.execute(
        "INSERT INTO events VALUES (NULL, '2020-01-01', 1, 'x'), (2, NULL, 1, 'x'), (1, '2020-01-01', 1, 'x')"
    )
    assert [row[2:] for row in joined(connection).fetchall()] == [(note, None, None) for note in "abc"]
    connection.execute("INSERT INTO events VALUES (2, '-infinity', 1, 'x'), (2, 'infinity', 1, 'x')")
    assert [row[2:] for row in joined(connection).fetchall()] == [(note, None, None) for note in "abc"]


def test_examples_keep_their_types_and_order(connection: Any) -> None:
    connection.execute(
        "INSERT INTO events SELECT i % 10, TIMESTAMP '2024-01-01' + INTERVAL (i) HOUR, i, 'x' || i FROM range(100) r(i)"
    )
    plain = """SELECT k::INTEGER AS k, TIMESTAMPTZ '2024-01-03' + INTERVAL (k) HOUR AS t, {'a': [k]} AS nested,
        k::DECIMAL(30, 3) AS d, 'nan'::FLOAT AS f, 'infinity'::TIMESTAMP AS never,
        TIMESTAMP_NS '2024-01-01 00:00:00.123456789' AS ns,
        '\\x00'::BLOB AS b, TIME '10:00' AS ti FROM asked ORDER BY note"""
    connection.execute("INSERT INTO asked SELECT (i * 7) % 10, now(), lpad(i::VARCHAR, 5, '0') FROM range(5000) r(i)")
    connection.execute(f"CREATE TABLE typed AS {plain}")
    relation = joined(connection, "SELECT * FROM typed")
    given = connection.sql("SELECT * FROM typed")
    assert found_in_memory(relation)
    assert relation.types[: len(given.types)] == given.types
    assert [str(one) for one in relation.types[-2:]] == ["INTEGER", "VARCHAR"]
    names = ", ".join(given.columns)
    assert relation.project(names).except_(given).fetchall() == []
    rows = relation.project("k, v__a, v__s").fetchall()
    assert [row[0] for row in rows] == [row[0] for row in given.project("k").fetchall()]
    assert set(rows) == {(k, 40 + k, f"x{40 + k}") for k in range(10)}
    connection.execute("CREATE TABLE odd AS SELECT *, 1::HUGEINT AS h, uuid() AS u FROM typed")
    relation = joined(connection, "SELECT * FROM odd")
    assert not found_in_memory(relation), "Arrow has no such types"
    assert relation.project("k, v__a, v__s").fetchall() == rows


@pytest.mark.slow
def test_what_does_not_fit_or_fails_is_left_to_the_engine(connection: Any, monkeypatch: Any) -> None:
    fill(connection, "asked", [(k, START + timedelta(hours=k), "x" * 1000) for k in range(50)])
    fill(connection, "events", [(k % 50, START + timedelta(minutes=k), k, "y" * 2000) for k in range(200)])
    expected = joined(connection).fetchall()
    assert found_in_memory(joined(connection))
    for name, limit in (("MOST_EXAMPLES", 49), ("MOST_ROWS", 199), ("MOST_BYTES", 60_000), ("MOST_BYTES", 10_000)):
        for kept in (0, 1000):
            with monkeypatch.context() as patch:
                patch.setattr(latest, name, limit)
                patch.setattr(latest, "FEW_ROWS", kept)
                relation = joined(connection)
                assert not found_in_memory(relation)
                assert relation.fetchall() == expected
    connection.execute("SET preserve_insertion_order = false")
    assert not found_in_memory(joined(connection))
    connection.execute("RESET preserve_insertion_order")
    with pytest.raises(duckdb.ConversionException, match="Could not convert"):
        joined(connection, sql="SELECT k, happened, CAST(s AS INTEGER) AS a FROM events").fetchall()


@pytest.mark.parametrize("latest_year", [2024, 290_000])
def test_times_before_all_that_numbers_reach_are_joined_by_the_engine(connection: Any, latest_year: int) -> None:
    connection.execute("INSERT INTO events VALUES (1, '200000-01-01 (BC)', 5, 'then')")
    connection.execute("INSERT INTO asked VALUES (1, '150000-01-01 (BC)', 'then'), (2, '290000-01-01 (BC)', 'before')")
    connection.execute(f"INSERT INTO asked VALUES (3, '{latest_year}-01-01', 'none')")
    relation = joined(connection, ttl_us=100_000 * 365 * DAY)
    assert not found_in_memory(relation)
    assert relation.project("note, v__a").fetchall() == [("then", 5), ("before", None), ("none", None)]
