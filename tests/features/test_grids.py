"""Few examples among many events: what is kept while events are read is enough for the same answers."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from tests.features.batched import assert_oracle, bound, cases, tables_of
from tests.features.test_latest import ROWS, found_in_memory, joined

from bascule.features import Entity, grids, latest, point_in_time
from bascule.features.grids import Grid
from bascule.features.moments import Asked, asked_about

HOUR = 3_600_000_000


@pytest.fixture
def sieved(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Every view is read by a grid; the list gets the rows read and kept of each batch."""
    told: list[tuple[int, int]] = []
    sift = grids.Sieve.sift

    def spied(sieve: grids.Sieve, codes: Any, events: Any) -> Any:
        found = sift(sieve, codes, events)
        told.append((len(codes), len(found[0])))
        return found

    monkeypatch.setattr(grids.Sieve, "sift", spied)
    monkeypatch.setattr(grids, "MANY_ROWS", 1)
    return told


@pytest.mark.slow
@pytest.mark.parametrize("loose", [0.01, 1000], ids=["far back", "hardly back"])
def test_rows_that_a_grid_keeps_are_what_the_double_loop_says(
    monkeypatch: pytest.MonkeyPatch, sieved: list[tuple[int, int]], loose: float
) -> None:
    monkeypatch.setattr(grids, "MOST_READ", 1000)
    monkeypatch.setattr(grids, "LOOSE", loose)
    monkeypatch.setattr(latest, "BATCH", 2048)
    events, examples = cases(150)
    with tables_of(events, examples, "Asia/Tokyo") as connection:
        relation = point_in_time.training_rows(connection, bound(connection, ROWS), "SELECT * FROM spine")
        assert found_in_memory(relation)
        assert sieved
        assert_oracle(relation.to_arrow_table().to_pylist(), events, examples, ROWS)


@pytest.fixture
def connection() -> Any:
    """Keys with many events, with few and with none; ties; examples before, among and after all events."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        at = "make_timestamp(1700000000000000 + ({})::BIGINT * 60000000)"
        connection.execute(f"""CREATE TABLE many AS
            SELECT CASE WHEN i % 50 = 0 THEN NULL WHEN i % 3 = 0 THEN 7 ELSE hash(i) % 90 END::BIGINT AS k,
              {at.format("hash(i * 7) % 40000")} AS happened,
              happened + to_hours(CASE WHEN i % 4 = 0 THEN hash(i * 5) % 90 ELSE 0 END::BIGINT) AS known,
              (hash(i * 3) % 4)::INTEGER AS a, CASE WHEN i % 5 > 0 THEN 'x' || (i % 9) END AS s,
              CASE WHEN i % 6 = 0 THEN NULL WHEN i % 7 = 0 THEN 'nan'::DOUBLE ELSE i END AS d
            FROM range(60_000) r(i) WHERE k IS NULL OR k % 10 > 0 OR i % 4 = 1""")
        connection.execute(f"""CREATE TABLE asked AS SELECT
            CASE WHEN i % 30 = 0 THEN NULL ELSE hash(i * 11) % 95 END::BIGINT AS k,
            CASE WHEN i % 29 > 0 THEN {at.format("(hash(i * 13) % 44000)::BIGINT - 2000")} END AS t, i AS note
            FROM range(300) r(i)""")
        yield connection


@pytest.mark.slow
@pytest.mark.parametrize("known", [None, "known"])
@pytest.mark.parametrize("ttl", [None, 1, HOUR, 40 * HOUR])
@pytest.mark.parametrize("kind", ["k", "k * 1000003", "'key ' || k", "(k + 18446744073709551000)::UBIGINT"])
def test_a_grid_reads_little_and_answers_as_the_engine(
    monkeypatch: pytest.MonkeyPatch,
    sieved: list[tuple[int, int]],
    connection: Any,
    known: str | None,
    ttl: int | None,
    kind: str,
) -> None:
    for table in ("many", "asked"):
        connection.execute(f"CREATE TABLE {table}_{ttl or 0} AS SELECT {kind} AS k, * EXCLUDE k FROM {table}")
    columns = "k, happened, known, a, s, d" if known else "k, happened, a, s, d"
    view = {"sql": f"SELECT {columns} FROM many_{ttl or 0}", "known_time": known, "ttl_us": ttl}
    examples = f"SELECT * FROM asked_{ttl or 0}"
    relation = joined(connection, examples, **view)
    assert found_in_memory(relation)
    read, kept = map(sum, zip(*sieved, strict=True))
    assert 0 < kept < read / (2 if known else 10)
    with monkeypatch.context() as patch:
        patch.setattr(point_in_time, "latest_rows", lambda *_: None)
        expected = joined(connection, examples, **view)
        assert not found_in_memory(expected)
    assert repr(relation.fetchall()) == repr(expected.fetchall())
    assert relation.types == expected.types


@pytest.mark.parametrize(("own", "within"), [(None, "30.5 MiB"), ("20MB", "19.0 MiB")])
def test_the_engine_reads_further_ahead_and_the_session_keeps_its_setting(
    monkeypatch: pytest.MonkeyPatch, sieved: list[tuple[int, int]], connection: Any, own: str | None, within: str
) -> None:
    told = []
    events = latest._events

    def spied(*given: Any) -> Any:
        told.append(ahead(connection))
        return events(*given)

    monkeypatch.setattr(latest, "_events", spied)
    if own:
        connection.execute(f"SET streaming_buffer_size = '{own}'")
    before = ahead(connection)
    joined(connection, sql="SELECT * EXCLUDE known FROM many")
    assert sieved
    assert told == [within]
    assert ahead(connection) == before


def ahead(connection: Any) -> Any:
    return connection.execute("SELECT current_setting('streaming_buffer_size')").fetchall()[0][0]


def test_examples_that_find_nothing_near_look_among_all_events_of_their_keys(
    sieved: list[tuple[int, int]], connection: Any
) -> None:
    """Key 500 has one event, long before its example."""
    connection.execute("INSERT INTO many VALUES (500, '2023-11-15', '2023-11-15', 42, 'far', 0)")
    connection.execute("INSERT INTO asked VALUES (500, '2023-12-11', 1000)")
    rows = joined(connection, sql="SELECT * EXCLUDE known FROM many").fetchall()
    assert sieved
    assert rows[-1][2:] == (1000, 42, "far", 0.0)


def test_rows_outside_of_the_grid_and_of_other_keys_are_left_out() -> None:
    with duckdb.connect() as connection:
        asked = asked_of(connection, [(3, 1000), (4, 1500)])
    sieve = grids.Sieve(Grid(900, 1400, 3, 3), asked, known=False)
    codes, events = [0, 0, 1, -1, 2, 0, 0, 0, 2**62, 0], [950, 899, 1400, 950, 950, 1401, 2**63 - 1, -(2**62), 950, 940]
    places, moments = sieve.sift(np.array(codes), np.array(events))
    assert places.tolist() == [0, 2]  # the last is older than the first, which is the same example's
    assert asked.times(moments).tolist() == [950, 1400]
    assert sieve.sift(np.array([0, 0]), np.array([949, 950]))[0].tolist() == [1], "ties are settled later"
    assert sieve.sift(np.array([0, 0]), np.array([999, 1000]))[0].tolist() == [1]
    assert asked.times(sieve.best()).tolist() == [1000, 1400]


def test_the_rows_of_the_best_events_are_known_unless_some_are_as_good() -> None:
    """Of two keys; the second example of the first has no event after the first one."""
    with duckdb.connect() as connection:
        asked = asked_of(connection, [(3, 1000), (3, 1100), (4, 1000)])
    sieve = grids.Sieve(Grid(900, 1400, 3, 3), asked, known=False)
    assert sieve.rows() is None, "no event was met"
    sieve.sift(np.array([0, 1, 0]), np.array([940, 950, 930]))  # the third is not kept
    sieve.sift(np.array([0]), np.array([960]))
    assert asked.times(sieve.best()).tolist() == [960, 960, 950]
    assert numbers_of(sieve) == [2, 2, 1]
    sieve.sift(np.array([1]), np.array([950]))
    assert sieve.rows() is None, "one of an earlier batch is as good"
    sieve.sift(np.array([1]), np.array([980]))
    assert numbers_of(sieve) == [2, 2, 4]
    sieve.sift(np.array([1, 0, 0]), np.array([990, 970, 970]))
    assert sieve.rows() is None, "two of a batch are as good"
    sieve.sift(np.array([0]), np.array([1090]))
    assert sieve.rows() is None, "as the first example's still are"
    sieve.sift(np.array([0]), np.array([999]))
    assert numbers_of(sieve) == [9, 8, 5]


def numbers_of(sieve: grids.Sieve) -> list[int] | None:
    rows = sieve.rows()
    return None if rows is None else rows.tolist()


def test_cells_before_the_best_event_so_far_are_no_longer_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two examples of a key and one of another; each looks three cells back, until it found something nearer."""
    with duckdb.connect() as connection:
        asked = asked_of(connection, [(3, 480), (3, 980), (4, 980)])
    monkeypatch.setattr(grids, "NARROWED", (2,))
    sieve = grids.Sieve(Grid(0, 999, 10, 3), asked, known=False)
    marks = [[*range(1, 5), *range(6, 10)], [*range(6, 10)]]
    assert marked(sieve) == marks
    sieve.sift(np.array([0, 0, 1]), np.array([350, 850, 50]))
    assert marked(sieve) == marks, "only some batches later, as it takes time"
    sieve.sift(np.array([0]), np.array([810]))
    assert marked(sieve) == [[3, 4, 8, 9], [*range(6, 10)]]
    assert sieve.sift(np.array([0, 0, 0, 1]), np.array([120, 360, 850, 610]))[0].tolist() == [1, 2, 3]
    assert asked.times(sieve.best()).tolist() == [360, 850, 610]


def marked(sieve: grids.Sieve) -> list[list[int]]:
    return [[cell for cell in range(62) if mask >> (63 - cell) & 1] for mask in sieve._masks.tolist()]


def asked_of(connection: duckdb.DuckDBPyConnection, rows: list[tuple[int | None, int]], kind: Any = None) -> Asked:
    keys, times = zip(*rows, strict=True)
    spine = pa.table({"k": pa.array(keys, kind or pa.int64()), "__row": range(len(rows)), "__at": times})
    return asked_about(connection, spine, Entity("user", ("k",)))


def test_whole_numbers_close_together_are_their_own_codes() -> None:
    with duckdb.connect() as connection:
        close = asked_of(connection, [(-5, 1), (None, 2), (-3, 3), (-5, 0)])
        assert (close.least, close.codes.tolist()) == (-5, [0, 2])
        assert close.rows.tolist() == [3, 0, 2]
        assert close.keys_of(close.moments).column("k").to_pylist() == [-5, -5, -3]
        apart = asked_of(connection, [(-5, 1), (2000, 2), (None, 3), (-5, 0)])
        assert (apart.least, len(apart.codes)) == (None, 2)
        assert sorted(apart.keys_of(apart.moments).column("k").to_pylist()) == [-5, -5, 2000]
        repeated = asked_of(connection, [(1, 1), (9, 2), (1, 3), (9, 4), (1, 5), (9, 6)])
        assert (repeated.least, repeated.codes.tolist()) == (None, [0, 1]), "7 of 9 numbers are nobody's key"
        large = asked_of(connection, [(2**64 - 1, 1), (2**64 - 2, 2)], pa.uint64())
        assert (large.least, len(large.codes)) == (None, 2)
        none = asked_of(connection, [(None, 1)])
        assert (none.least, len(none.moments)) == (None, 0)


def test_a_time_to_live_that_no_number_holds_is_none(sieved: list[tuple[int, int]], connection: Any) -> None:
    sql = "SELECT * EXCLUDE known FROM many"
    expected = repr(joined(connection, sql=sql).fetchall())
    sieved.clear()
    assert repr(joined(connection, sql=sql, ttl_us=999_999_999 * 24 * HOUR).fetchall()) == expected
    assert sieved
