"""What may be said of features, and what is told when it is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from bascule.errors import InputError
from bascule.features import (
    Entity,
    FeatureSet,
    FeatureView,
    LmdbStore,
    OnlineReader,
    RequestView,
    build_feature_set,
    definition_digest,
    feature_view,
    leak_report,
    materialise,
    training_rows,
)

ORIGIN = Entity("origin", ("origin",))
SQL = "select origin, observed_at, temp, visib from weather"
WEATHER = {"sql": SQL, "entity": "origin", "event_time": "observed_at", "ttl": "6h"}
WINDOWS = {
    "sql": SQL,
    "entity": "origin",
    "event_time": "observed_at",
    "windows": ["6h", "7d"],
    "aggregates": {"warm": "mean(temp)", "rows": "count(*)"},
}
POPULATION = "select origin, asked_at, distance, 'x' as tag, [1] as many from flights"


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE weather (origin VARCHAR, observed_at TIMESTAMP, temp DOUBLE, visib INTEGER)")
        connection.execute("CREATE TABLE flights (origin VARCHAR, asked_at TIMESTAMP, distance INTEGER)")
        yield connection


def build(connection: duckdb.DuckDBPyConnection, **more: Any) -> FeatureSet:
    settings: dict[str, Any] = {
        "name": "delays",
        "entities": [ORIGIN],
        "views": [feature_view("weather", WEATHER), feature_view("past", WINDOWS)],
        "population": POPULATION,
        "prediction_time": "asked_at",
        "features": ["weather", "past"],
    }
    return build_feature_set(connection, **{**settings, **more})


def test_definitions_are_json_both_ways(connection: duckdb.DuckDBPyConnection) -> None:
    request = RequestView("request", {"hour": "hour(asked_at)"})
    feature_set = build(connection, request=request, features=["weather", "request"], request_columns=["distance"])
    for definition in (ORIGIN, feature_set.views[0], request, feature_set):
        found = msgspec.to_builtins(definition)
        assert found["kind"] in ("entity", "feature_view", "request_view", "feature_set")
        assert msgspec.convert(found, type(definition)) == definition
        assert msgspec.json.decode(msgspec.json.encode(definition), type=type(definition)) == definition


def test_a_set_holds_what_serving_needs(connection: duckdb.DuckDBPyConnection) -> None:
    request = RequestView("request", {"far": "distance / 2", "cold": "weather.temp < 32"})
    feature_set = build(connection, request=request, features=["request", "past.warm_6h"], request_columns=["tag"])
    assert feature_set.features == ("request__far", "request__cold", "past__warm_6h", "tag")
    assert feature_set.types == {
        "request__far": "DOUBLE",
        "request__cold": "BOOLEAN",
        "past__warm_6h": "DOUBLE",
        "tag": "VARCHAR",
    }
    assert list(feature_set.columns) == ["origin", "asked_at", "distance", "tag"]
    assert [view.name for view in feature_set.views] == ["weather", "past"]
    assert feature_set.view("weather").fields == ("temp", "visib")


def test_a_set_without_times_needs_no_prediction_time(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    connection.execute("CREATE TABLE airports AS SELECT 'JFK' AS origin, 7 AS height")
    connection.execute("INSERT INTO flights VALUES ('JFK', NULL, 100)")
    place = feature_view("place", {"sql": "select * from airports", "entity": "origin"})
    request = RequestView("request", {"ratio": "distance / place.height"})
    more = {"views": [place], "features": None, "prediction_time": None}
    feature_set = build(connection, request=request, request_columns=["distance"], **more)
    assert feature_set.features == ("place__height", "request__ratio", "distance")
    assert feature_set.prediction_time == ""
    offline = training_rows(connection, feature_set, POPULATION).fetchall()
    assert offline[0][-2:] == (7, 100 / 7)
    store = LmdbStore(tmp_path)
    materialise(connection, feature_set, store)
    online = OnlineReader(feature_set, store).read([{"origin": "JFK", "distance": 100}], [0])
    assert online == [[7, 100 / 7, 100]]
    assert leak_report(connection, feature_set, POPULATION, "distance > 1", label_time="asked_at").unexamined
    with pytest.raises(InputError, match=r"\[features.weather\] has an event time"):
        build(connection, prediction_time=None)


def test_windows_name_their_features() -> None:
    assert feature_view("past", WINDOWS).outputs == ("warm_6h", "warm_7d", "rows_6h", "rows_7d")


def test_the_digest_follows_what_is_computed(connection: duckdb.DuckDBPyConnection) -> None:
    view = feature_view("weather", WEATHER)
    digest = definition_digest(view, ORIGIN)
    assert len(digest) == 64
    assert definition_digest(feature_view("weather", {**WEATHER, "ttl": "1h"}), ORIGIN) == digest
    assert definition_digest(feature_view("weather", {**WEATHER, "sql": SQL + " where true"}), ORIGIN) != digest
    assert definition_digest(view, Entity("origin", ("origin", "dest"))) != digest
    bound = build(connection, views=[view], features=["weather"]).views[0]
    connection.execute("ALTER TABLE weather ALTER visib TYPE BIGINT")
    again = build(connection, views=[view], features=["weather"]).views[0]
    assert definition_digest(bound, ORIGIN) != definition_digest(again, ORIGIN)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"tll": "6h"}, r"\[features.weather\] tll: there is no such key.*Did you mean 'ttl'"),
        ({"ttl": "six hours"}, r"\[features.weather\] ttl is 'six hours', which is not a span of time.*6h"),
        ({"ttl": "0h"}, "no time at all"),
        ({"ttl": 6}, "6, which is not a span of time"),
        ({"sql": " "}, "the query is empty"),
        ({"sql": 7}, r"\[features.weather\]: Expected `str`"),
        ({"event_time": None}, "ttl needs event_time"),
        ({"event_time": None, "ttl": None, "known_time": "x"}, "known_time needs event_time"),
        ({"ttl": None, "windows": ["6h"]}, "windows but no aggregates"),
        ({"ttl": None, "aggregates": {"a": "count(*)"}}, "aggregates but no windows"),
        ({"windows": ["6h"], "aggregates": {"a": "count(*)"}}, "ttl has no meaning for window aggregates"),
        ({"ttl": None, "windows": ["104000000d"], "aggregates": {"a": "count(*)"}}, "longer than 10,000 years"),
        ({"ttl": None, "windows": ["6h", "360m"], "aggregates": {"a": "count(*)"}}, "windows: .* is there twice"),
        ({"ttl": None, "windows": ["6h"], "aggregates": {"a": "meen(temp)"}}, "no aggregate named 'meen'.*'mean'"),
        ({"ttl": None, "windows": ["6h"], "aggregates": {"a": "sum(*)"}}, r"sum\(\*\) has no column"),
        (
            {"ttl": None, "windows": ["6h"], "aggregates": {"a": "last(x, 0)"}},
            "last needs a whole number from 1",
        ),
        ({"ttl": None, "windows": ["6h"], "aggregates": {"a": "top_k(x)"}}, "top_k needs a whole number"),
        ({"ttl": None, "windows": ["6h"], "aggregates": {"a": "percentile(x, 2)"}}, "a share from 0 to 1"),
        ({"ttl": None, "windows": ["6h"], "aggregates": {"a": "sum(x, 2)"}}, "takes a column and nothing else"),
        ({"ttl": None, "windows": ["6h"], "aggregates": {"a": "sum(a + b)"}}, "not an aggregate of one column"),
        ({"fields": ["temp", "temp"]}, "fields: 'temp' is there twice"),
    ],
)
def test_what_a_view_may_not_say(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        feature_view("weather", {**WEATHER, **changes})
    import re

    assert re.search(says, f"{caught.value.message} {caught.value.hint}"), caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", ["", "a__b", "1st", "a b", "_a", "a_"])
def test_names_that_would_be_ambiguous(name: str) -> None:
    for make in (lambda: Entity(name, ("k",)), lambda: RequestView(name, {}), lambda: feature_view(name, WEATHER)):
        with pytest.raises(InputError, match="cannot be the name"):
            make()


def changed(**changes: Any) -> dict[str, Any]:
    return {"views": [feature_view("weather", {**WEATHER, **changes})], "features": ["weather"]}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (changed(entity="orign"), r"\[features.weather\] entity: there is no entity named 'orign'.*'origin'"),
        (changed(event_time="observd_at"), r"event_time.*no column 'observd_at'.*Did you mean 'observed_at'"),
        (changed(event_time="temp"), "column 'temp' is DOUBLE, not a time.*CAST"),
        (changed(fields=["temperature"]), "no column 'temperature'.*it gives origin, observed_at, temp, visib"),
        (changed(sql="select * from wether"), r"\[features.weather\] sql: the SQL cannot be used.*wether"),
        (changed(sql="select observed_at, temp from weather"), "no column 'origin'"),
        (changed(sql="select origin, observed_at from weather"), "no column beside keys and times"),
        (changed(sql="select origin, observed_at, temp, temp from weather"), "two columns named 'temp'"),
        (changed(sql="select origin, observed_at, [temp] as t from weather"), r"'t' has type DOUBLE\[\].*CAST"),
        (changed(sql="select 1 as origin, observed_at, temp from weather"), "key 'origin' is INTEGER, and VARCHAR"),
        (changed(sql="select *, 1 as __event from weather"), "'__event' is reserved"),
        ({"features": ["wether"]}, "no feature view named 'wether'.*Did you mean 'weather'"),
        ({"features": ["weather.tmp"]}, "'weather' has no field named 'tmp'.*Did you mean 'temp'"),
        ({"features": ["past.warm_6d"]}, "'past' has no field named 'warm_6d'"),
        ({"request_columns": ["distnce"]}, "no column 'distnce'.*Did you mean 'distance'"),
        ({"request_columns": ["many"]}, r"'many' has type INTEGER\[\]"),
        ({"prediction_time": "asked"}, "no column 'asked'"),
        ({"prediction_time": "distance"}, "'distance' is INTEGER, not a time"),
        ({"population": "select * from flight"}, "flight"),
        ({"population": "select *, 1 as __row from flights"}, "'__row' is reserved"),
        ({"request": RequestView("r", {"x": "1"}), "features": ["r.y"]}, "'r' has no expression named 'y'"),
        ({"request": RequestView("weather", {"x": "1"})}, "'weather' is there twice"),
        ({"request": RequestView("r", {"x": "weather.tmp"}), "features": ["r"]}, "Did you mean 'weather.temp'"),
    ],
)
def test_what_does_not_fit_together(connection: duckdb.DuckDBPyConnection, changes: dict[str, Any], says: str) -> None:
    import re

    with pytest.raises(InputError) as caught:
        build(connection, **changes)
    assert re.search(says, f"{caught.value.message} {caught.value.hint}"), (caught.value.message, caught.value.hint)
    assert caught.value.hint


def test_aggregates_need_numbers(connection: duckdb.DuckDBPyConnection) -> None:
    sql = "select origin, observed_at, 'warm' as kind from weather"
    settings = {"sql": sql, "entity": "origin", "event_time": "observed_at", "windows": ["6h"]}
    good = feature_view("past", {**settings, "aggregates": {"kinds": "count(kind)"}})
    assert build(connection, views=[good], features=["past"]).types == {"past__kinds_6h": "BIGINT"}
    bad = feature_view("past", {**settings, "aggregates": {"kinds": "max(kind)"}})
    with pytest.raises(InputError, match=r"\[features.past\] aggregates.kinds: 'kind' is VARCHAR, not a number"):
        build(connection, views=[bad], features=["past"])


@pytest.mark.parametrize(("window", "words"), [("0s", "no time at all"), ("1.5d", "whole"), ("6 h", "not a span of")])
def test_windows_are_whole_spans(window: str, words: str) -> None:
    settings = {"sql": "select 1", "entity": "origin", "event_time": "t", "aggregates": {"n": "count(*)"}}
    with pytest.raises(InputError, match=words) as told:
        feature_view("past", {**settings, "windows": [window]})
    assert "[features.past] windows" in told.value.message


def test_a_view_made_in_python_is_checked_too() -> None:
    with pytest.raises(InputError, match="at least one key"):
        Entity("origin", ())
    with pytest.raises(InputError, match="'origin' is there twice"):
        Entity("route", ("origin", "origin"))
    with pytest.raises(InputError, match="ttl"):
        FeatureView(name="v", entity="origin", sql="select 1", event_time="t", ttl_us=-1)
