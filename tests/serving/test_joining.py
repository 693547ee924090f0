"""Requests that bring keys: features joined inside equal those that training would see, and errors name columns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import msgspec
import numpy as np
import pytest

from bascule.errors import EnvironmentProblem, InputError
from bascule.features import (
    Entity,
    FeatureSet,
    LmdbStore,
    RequestView,
    build_feature_set,
    feature_view,
    materialise,
    training_rows,
)
from bascule.history import Workspace
from bascule.serving import IdSource, LoadedModel, PredictionLog, Query, Rows, ServedDeployment, record, score
from bascule.serving.dataplane import DataPlane
from bascule.serving.joining import Joiner
from bascule.serving.rows import rows_of_records
from bascule.training import Field, Output, Signature, TrainedModel, encode, pack_model
from tests.serving.conftest import CARRIERS, put_deployment, put_versions
from tests.serving.test_predictions import logged

START = datetime(2013, 7, 1)


@dataclass
class Joined:
    workspace: Workspace
    connection: duckdb.DuckDBPyConnection
    features: FeatureSet
    deployment: ServedDeployment

    @property
    def model(self) -> LoadedModel:
        return self.deployment.first


def tables(connection: duckdb.DuckDBPyConnection) -> None:
    random = np.random.default_rng(0)
    connection.execute("set TimeZone = 'UTC'")
    connection.execute("create table weather (origin varchar, seen timestamp, wind double)")
    connection.execute("create table landed (carrier varchar, landed_at timestamp, late boolean)")
    connection.execute("create table population (origin varchar, carrier varchar, distance bigint, asked timestamp)")
    for hour in range(72):
        moment = START + timedelta(hours=hour)
        for origin in ("JFK", "LGA"):
            wind = float(random.integers(0, 40)) if random.random() > 0.2 else None
            connection.execute("insert into weather values (?, ?, ?)", [origin, moment, wind])
        for carrier in CARRIERS:
            connection.execute("insert into landed values (?, ?, ?)", [carrier, moment, bool(random.random() < 0.3)])
    for _ in range(200):
        moment = START + timedelta(minutes=int(random.integers(0, 72 * 60)))
        row = [str(random.choice(["JFK", "LGA", "EWR"])), str(random.choice(CARRIERS)), int(random.integers(100, 2000))]
        connection.execute("insert into population values (?, ?, ?, ?)", [*row, moment])


def build(connection: duckdb.DuckDBPyConnection) -> FeatureSet:
    return build_feature_set(
        connection,
        name="delays",
        entities=(Entity("origin", ("origin",)), Entity("carrier", ("carrier",))),
        views=(
            feature_view(
                "weather",
                {"sql": "select * from weather", "entity": "origin", "event_time": "seen", "ttl": "3h"},
            ),
            feature_view(
                "lateness",
                {
                    "sql": "select * from landed",
                    "entity": "carrier",
                    "event_time": "landed_at",
                    "windows": ["6h", "1d"],
                    "aggregates": {"late": "mean(late)", "flights": "count(*)"},
                },
            ),
        ),
        request=RequestView("request", {"hour": "hour(asked)", "far": "distance / 100.0"}),
        population="select * from population",
        request_columns=["carrier", "distance"],
        prediction_time="asked",
    )  # fmt: skip


def put_joined_model(ws: Workspace, connection: duckdb.DuckDBPyConnection, features: FeatureSet) -> None:
    """Train on the features and deploy."""
    import lightgbm

    rows = (
        training_rows(connection, features, "select * from population").to_arrow_table().select(list(features.features))
    )
    signature = Signature(
        inputs=tuple(
            Field(name=name, type="varchar", categories=CARRIERS)
            if name == "carrier"
            else Field(name=name, type="double")
            for name in features.features
        ),
        output=Output(task="binary", classes=("0", "1")),
    )
    matrix = encode(signature, rows)
    label = np.nan_to_num(matrix[:, 0]) > 15
    data = lightgbm.Dataset(matrix, label, categorical_feature=signature.categorical())
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "min_data_in_leaf": 3}, data, 20)
    model = TrainedModel(format="lightgbm", artifact=booster.model_to_string().encode(), signature=signature)
    put_versions(ws, {1: pack_model(model, feature_set=msgspec.to_builtins(features))})
    put_deployment(ws, {1: 100})


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    ws = Workspace.create(tmp_path_factory.mktemp("joined"))
    with duckdb.connect() as connection:
        tables(connection)
        features = build(connection)
        materialise(connection, features, LmdbStore(ws.online_folder))
        put_joined_model(ws, connection, features)
        deployment = DataPlane(ws).open("main").deployments["delays"]
        yield Joined(ws, connection, features, deployment)
    ws.close()


def population(joined: Joined) -> dict[str, list[Any]]:
    columns = joined.connection.sql("select * from population").to_arrow_table().to_pydict()
    columns["asked"] = [moment.isoformat() + "Z" for moment in columns["asked"]]
    return columns


@pytest.mark.slow
def test_online_answers_equal_offline_ones(joined: Joined) -> None:
    rows = training_rows(joined.connection, joined.features, "select * from population").to_arrow_table()
    expected = joined.model.runtime.predict(encode(joined.model.signature, rows)).tolist()
    columns = population(joined)
    outputs, features, times = joined.model.score(Rows(200, columns), 0)
    assert outputs == expected
    assert len(set(expected)) > 5
    assert features is not None
    assert times is not None
    assert times[0] == int(datetime.fromisoformat(columns["asked"][0]).timestamp() * 1e6)
    ones = [joined.model.score(Rows(1, {k: [v[n]] for k, v in columns.items()}), 0)[0][0] for n in range(200)]
    assert ones == expected


@pytest.mark.slow
def test_the_features_may_be_sent_instead(joined: Joined) -> None:
    columns = population(joined)
    outputs, features, _ = joined.model.score(Rows(200, columns), 0)
    assert features is not None
    sent = dict(zip(joined.features.features, map(list, zip(*features, strict=True)), strict=True))
    assert joined.model.score(Rows(200, sent), 0)[0] == outputs
    both = {**sent, "asked": columns["asked"], "origin": columns["origin"]}
    found = joined.model.score(Rows(200, both), 0)
    assert (found[0], found[1]) == (outputs, None)
    assert found[2] is not None


def test_metadata_tells_the_request_columns(joined: Joined) -> None:
    assert {column.name: column.type for column in joined.model.columns} == {
        "origin": "VARCHAR", "carrier": "VARCHAR", "distance": "BIGINT", "asked": "TIMESTAMP",
    }  # fmt: skip


def test_times_may_be_written_in_many_ways_and_now_is_the_default(joined: Joined) -> None:
    row: dict[str, list[Any]] = {"origin": ["JFK"], "carrier": ["UA"], "distance": [500]}
    moment = datetime(2013, 7, 2, 12, tzinfo=UTC)
    at = int(moment.timestamp() * 1e6)
    found = [
        joined.model.score(Rows(1, {**row, "asked": [asked]}), 7)
        for asked in ("2013-07-02T12:00:00Z", "2013-07-02 12:00:00", "2013-07-02T14:00:00+02:00", at)
    ]
    assert all(one == found[0] for one in found)
    assert found[0][2] == [at]
    assert joined.model.score(Rows(1, row), at) == found[0]
    assert joined.model.score(Rows(1, {**row, "asked": [None]}), at) == found[0]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"asked": "yesterday"}, "'asked' needs a time"),
        ({"asked": 10**30}, "'asked' needs a time"),
        ({"distance": "far"}, "'distance' needs a whole number"),
        ({"distance": 5.5}, "'distance' needs a whole number"),
        ({"origin": 5}, "'origin' needs a text"),
        ({"origins": "JFK"}, "does not know the column 'origins'"),
    ],
)
def test_wrong_request_columns_are_named(joined: Joined, change: dict[str, Any], text: str) -> None:
    row = {"origin": "JFK", "carrier": "UA", "distance": 500, "asked": "2013-07-02T12:00:00Z", **change}
    with pytest.raises(InputError, match=text):
        joined.model.score(Rows(1, {name: [value] for name, value in row.items()}), 0)


def test_an_unknown_column_is_told_with_what_may_be_sent(joined: Joined) -> None:
    row: dict[str, list[Any]] = {"origin": ["JFK"], "carrier": ["UA"], "distance": [500]}
    with pytest.raises(InputError) as unknown:
        joined.model.score(Rows(1, {**row, "zzz": [1]}), 0)
    assert unknown.value.hint == "Known: asked, carrier, distance, origin."
    with pytest.raises(InputError) as near:
        joined.model.score(Rows(1, {**row, "origins": ["JFK"]}), 0)
    assert near.value.hint == "Did you mean 'origin'?"
    # Who sends inputs of the model itself is told their names.
    with pytest.raises(InputError) as derived:
        joined.model.score(Rows(1, {**row, "lateness__late_6h": [0.5], "weather__wnd": [3.0]}), 0)
    assert derived.value.hint == "Did you mean 'weather__wind'?"


def test_a_missing_request_column_is_named(joined: Joined) -> None:
    with pytest.raises(InputError, match="no column 'origin'"):
        joined.model.score(Rows(1, {"carrier": ["UA"], "distance": [1]}), 0)
    with pytest.raises(InputError, match="no columns 'weather__wind'"):
        joined.model.score(Rows(1, {"carrier": ["UA"], "lateness__late_6h": [0.5], "distance": [1]}), 0)


def test_joined_features_and_their_time_are_logged(joined: Joined) -> None:
    ws = joined.workspace
    row: dict[str, list[Any]] = {
        "origin": ["JFK"], "carrier": ["UA"], "distance": [500], "asked": ["2013-07-02T12:00:00Z"],
    }  # fmt: skip
    log = PredictionLog(ws.log_folder)
    answer = score(joined.deployment, Query(Rows(1, row)))
    record(answer, IdSource(), log)
    log.journal.close()
    found = logged(ws.log_folder)[-1]
    assert found["event_time"] == datetime(2013, 7, 2, 12, tzinfo=UTC)
    assert json.loads(found["inputs"])["asked"] == "2013-07-02T12:00:00Z"
    features = json.loads(found["features"])
    assert list(features) == list(joined.features.features)
    assert features["request__hour"] == 12
    assert features["request__far"] == 5.0
    assert features["carrier"] == "UA"


def test_what_a_request_is_about_decides_its_arm(joined: Joined) -> None:
    row: dict[str, list[Any]] = {"origin": ["JFK"], "carrier": ["UA"], "distance": [500]}
    subject = joined.model.subject(Rows(1, row))
    assert subject == joined.model.subject(Rows(1, {**row, "distance": [900]}))
    assert subject != joined.model.subject(Rows(1, {**row, "carrier": ["AA"]}))
    assert subject != joined.model.subject(Rows(1, {**row, "asked": ["2013-07-02"]}))
    assert joined.model.subject(Rows(1, {"distance": [1]})) is None


def test_a_request_of_no_rows_is_answered_with_none(joined: Joined) -> None:
    rows = Rows(0, {"origin": [], "carrier": [], "distance": []})
    assert joined.model.score(rows, 0) == ([], [], [])
    assert joined.model.prepare(rows, 0).matrix.shape == (0, joined.model.width)
    assert joined.model.subject(rows) is None
    with pytest.raises(InputError, match="has no column 'distance'"):
        joined.model.score(Rows(0, {"origin": [], "carrier": []}), 0)


def test_keys_without_materialised_features_are_explained_and_retried(joined: Joined) -> None:
    ready = False

    class Reader:
        def read(self, rows: Any, at: Any) -> list[list[Any]]:
            return [[1.0] * (joined.model.width - 2) + ["UA", 5] for _ in rows]

    plane = DataPlane(joined.workspace, reader_of=lambda features: Reader() if ready else None)
    state = plane.open("main")
    row: dict[str, list[Any]] = {"origin": ["JFK"], "carrier": ["UA"], "distance": [500]}
    with pytest.raises(EnvironmentProblem, match="not materialised"):
        state.deployments["delays"].first.score(Rows(1, row), 0)
    assert state.retry > 0
    ready = True
    state = plane.reload("main")
    assert len(state.deployments["delays"].first.score(Rows(1, row), 0)[0]) == 1
    assert state.retry == 0


def test_every_type_of_request_column() -> None:
    types = {"i": "INTEGER", "d": "DECIMAL(4,1)", "f": "DOUBLE", "b": "BOOLEAN", "day": "DATE", "t": "VARCHAR"}
    types |= {"at": "TIMESTAMP", "most": "UBIGINT"}

    class Reader:
        def read(self, rows: Any, at: Any) -> list[list[Any]]:
            return [list(row.values()) for row in rows]

    joiner = Joiner(types, "at", (), Reader())
    good: dict[str, list[Any]] = {"i": [3.0], "d": [2], "f": [None], "b": [1], "day": ["2013-07-01"], "t": ["x"]}
    good |= {"at": [0], "most": [2**64 - 1]}
    (row,), at = joiner.join(good, 1, 5)
    assert row[:2] == [3, 2.0]
    assert row[3] is True
    assert str(row[4]) == "2013-07-01"
    assert at == [0]
    assert row[7] == 2**64 - 1
    assert rows_of_records([{"most": 2**64 - 1}]).columns == {"most": [2**64 - 1]}
    with pytest.raises(InputError, match="'most' has 18446744073709551616"):
        rows_of_records([{"most": 2**64}])
    nan = {name: [math.nan] for name in good}  # of doubles a value, of all else how pandas writes a missing one
    (row,), _ = joiner.join({**nan, "at": [0]}, 1, 5)
    assert repr(row[:6]) == "[None, None, nan, None, None, None]"
    odd = [("i", 2**70), ("i", 2**63), ("most", -1), ("most", 2**64), ("most", 2.0**63), ("d", "2"), ("f", 10**400)]
    for name, bad in (*odd, ("b", "no"), ("day", "July"), ("t", 1.5)):
        with pytest.raises(InputError, match=f"'{name}' needs"):
            joiner.join({**good, name: [bad]}, 1, 5)
