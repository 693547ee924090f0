"""A Feast repository becomes a project: by its text, without running it, and what is left out is told."""

from __future__ import annotations

import ast
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import bascule as api
from bascule.errors import BasculeError, InputError
from bascule.project.feast.expressions import NotPlain, expressions
from bascule.project.file import load_project

Bascule = Callable[..., Any]
NOON = datetime(2025, 4, 10, 12, tzinfo=UTC)
# As `feast init` of Feast 0.67 writes it, with more kinds of things; the entities are in a file of their own.
ENTITIES = """\
from feast import Entity, ValueType
driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
city = Entity(name="city")
raise SystemExit("this file must not be run")
"""
DEFINITIONS = '''\
import os
from datetime import timedelta
from pathlib import Path
import pandas as pd
from entities import city, driver
from feast import BigQuerySource, FeatureService, FeatureView, Field, FileSource, LabelView, PushSource, RequestSource
from feast.aggregation import Aggregation
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float32, Float64, Int64, String

FOLDER = Path(__file__).resolve().parent / "data"
DAY = timedelta(days=1)
stats = FileSource(
    name="driver-stats", path=f"{FOLDER}/stats.parquet", timestamp_field="at", created_timestamp_column="made",
    field_mapping={"trips_a_day": "trips"},
)
hourly = FeatureView(
    name="driver_hourly",
    entities=[driver],
    ttl=2 * DAY,
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="rate", dtype=Float32),
        Field(name="trips", dtype=Int64),
        Field(name="vector", dtype=Array(Float32)),
    ],
    source=PushSource(name="push", batch_source=stats),
    tags={"team": "drivers"},
    owner="ana@example.org",
    description="What drivers did",
)
pairs = FeatureView(
    name="pairs", entities=[driver, city], source=stats, schema=[Field(name="rate", dtype=Float32)],
)
windows = FeatureView(
    name="windows", entities=["driver"], source=stats,
    aggregations=[
        Aggregation(column="rate", function="mean", time_window=DAY),
        Aggregation(column="rate", function="count", time_window=timedelta(hours=6)),
    ],
)
request = RequestSource(name="asked", schema=[Field(name="more", dtype=Int64)])

@on_demand_feature_view(
    sources=[hourly[["rate"]], request], schema=[Field(name="sum", dtype=Float64), Field(name="big", dtype=Int64)]
)
def added(inputs: pd.DataFrame) -> pd.DataFrame:
    """Adds."""
    df = pd.DataFrame()
    twice = inputs["rate"] * 2
    df["sum"] = (twice + inputs["more"]).fillna(0)
    df["big"] = (inputs["rate"] > 0.5).astype("int64")
    return df

@on_demand_feature_view(sources=[hourly], schema=[Field(name="s", dtype=String)])
def learned(inputs):
    return {"s": model.predict(inputs["rate"])}

elsewhere = FeatureView(
    name="elsewhere", entities=[driver], source=BigQuerySource(table="lab.prod.trips", timestamp_field="at"),
    schema=[Field(name="trips", dtype=Int64)],
)
nowhere = FeatureView(name="nowhere", entities=[driver], source=BigQuerySource(timestamp_field="at"))

@on_demand_feature_view(sources=[nowhere], schema=[Field(name="n", dtype=Int64)])
def lost(inputs):
    return {"n": inputs["x"]}

everything = FeatureView(name="everything", entities=[], source=stats)
secret = FeatureView(name="secret", entities=[driver], source=stats, ttl=os.environ["TTL"] or DAY)
labels = LabelView(name="labels", entities=[driver], source=stats)
v1 = FeatureService(name="v1", features=[hourly[["rate"]], added, elsewhere, nowhere], tags={"stage": "live"})
'''

WAREHOUSE = """\
import yaml
from entities import driver
from feast import FeatureView, Field, SnowflakeSource
from feast.types import Int64

project = yaml.safe_load(open("feature_store.yaml"))["project"]
schema = [Field(name="n", dtype=Int64)]
known = SnowflakeSource(table=f"{project}_visits", timestamp_field="at")
visits = FeatureView(name="visits", entities=[driver], schema=schema, source=known)
unknown = SnowflakeSource(table=f"{project}_{[one for one in 'ab']}", timestamp_field="at")
calls = FeatureView(name="calls", entities=[driver], schema=schema, source=unknown)
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repo" / "feature_repo"
    (folder / "data").mkdir(parents=True)
    (folder / "feature_store.yaml").write_text("project: drivers\nregistry: r.db\nonline_store:\n  type: sqlite\n")
    (folder / "entities.py").write_text(ENTITIES)
    (folder / "definitions.py").write_text(DEFINITIONS)
    rows = [
        {"driver_id": 1, "city": 7, "at": NOON, "made": NOON, "rate": 0.25, "trips_a_day": 3},
        {"driver_id": 1, "city": 7, "at": NOON, "made": NOON + timedelta(hours=1), "rate": 0.75, "trips_a_day": 4},
        {"driver_id": 2, "city": 7, "at": NOON - timedelta(days=3), "made": NOON, "rate": 0.5, "trips_a_day": 5},
    ]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table.set_column(4, "rate", table["rate"].cast(pa.float32())), folder / "data" / "stats.parquet")
    return folder.parent


@pytest.mark.slow
def test_a_repository_becomes_a_project(repository: Path, folder: Path, bascule: Bascule) -> None:
    said = bascule("import", "feast", repository, "--json").json()
    assert (said["entities"], said["sources"]) == (["driver", "driver_city"], ["driver_stats"])
    assert said["views"] == ["driver_hourly", "pairs", "windows", "elsewhere"]
    assert (said["features_on_demand"], said["services"]) == (["sum", "big"], ["v1"])
    assert [text.split(": ", 1)[1] for text in said["left_out"]] == [
        "driver_hourly.vector: a Array cannot be a feature.",
        "FeatureView nowhere: its source names neither files nor a table; write its query, and [source.NAME] for it.",
        "FeatureView everything: it has no entity; a feature is about something that keys name.",
        "FeatureView secret: ttl can only be told by running the file.",
        "on_demand_feature_view learned: it is more than arithmetic (model.predict(inputs['rate'])); write its "
        "features as SQL expressions.",
        "on_demand_feature_view lost: nowhere was not taken, so neither is it.",
        "LabelView labels: there is no such kind of thing here.",
        "v1: nowhere was not taken, so neither is it here.",
    ]
    assert (
        "BigQuerySource trips: bring its rows into the table trips, by [source.trips] or bascule ingest; features are "
        "computed from there."
    ) in said["notes"]
    assert any("The source driver-stats is called driver_stats." in note for note in said["notes"])

    project = load_project(folder)
    assert project.project.name == "drivers"
    assert project.entity["driver_city"].keys == ("driver_id", "city")
    hourly = project.views()["driver_hourly"]
    assert (hourly.event_time, hourly.ttl, hourly.known_time) == ("at", "2d", None)
    assert (hourly.fields, hourly.owner, hourly.tags) == (("rate", "trips"), "ana@example.org", ("team=drivers",))
    windows = project.views()["windows"]
    assert (windows.windows, windows.ttl) == (("1d", "6h"), None)
    assert windows.aggregates == {"rate_mean": "mean(rate)", "rate_count": "count(rate)"}
    assert project.service["v1"].features == ("driver_hourly.rate", "on_demand.sum", "on_demand.big", "elsewhere")

    # Brought as the note says, rows of a warehouse are features, too.
    trips = {"driver_id": [1], "at": [NOON], "trips": [9]}
    pq.write_table(pa.table(trips), folder / "trips.parquet")
    with (folder / "bascule.toml").open("a") as file:
        file.write('\n[source.trips]\npath = "trips.parquet"\n')
    assert bascule("init").code == 0
    assert bascule("run", "--quiet").code == 0
    rows = [
        {"driver_id": driver, "city": 7, "asked_at": NOON + timedelta(hours=hours), "more": 10}
        for driver, hours in ((1, 0), (2, 0), (1, 2), (1, 48), (1, 49), (3, 0))
    ]
    found = api.get_training_set(rows, ["v1", "driver_hourly", "windows"], prediction_time="asked_at").to_arrow()
    assert found.column("driver_hourly__rate").to_pylist() == [0.75, None, 0.75, 0.75, None, None]
    assert found.column("driver_hourly__trips").to_pylist() == [4, None, 4, 4, None, None]
    assert found.column("elsewhere__trips").to_pylist() == [9, None, 9, 9, 9, None]
    assert found.column("on_demand__sum").to_pylist() == [11.5, 0, 11.5, 11.5, 0, 0]
    assert found.column("on_demand__big").to_pylist() == [1, None, 1, 1, None, None]
    assert found.column("windows__rate_mean_1d").to_pylist() == [None, None, 0.5, None, None, None]

    # Nothing is trained here, so nothing but the expressions tells what requests bring.
    assert bascule("features", "materialise").code == 0
    asked = [{"driver_id": 1, "more": 10}, {"driver_id": 3, "more": None}]
    values = api.get_online_features("v1", asked, at=NOON).values
    assert values == [[0.75, None], [11.5, 0.0], [1, None], [9, None]]
    with pytest.raises(InputError, match="'more' should be a number and is 'x'"):
        api.get_online_features("v1", [{"driver_id": 1, "more": "x"}])


def test_what_cannot_be_imported_leaves_nothing(repository: Path, folder: Path) -> None:
    with pytest.raises(BasculeError, match="is no Feast repository"):
        api.import_feast(folder, into=folder)
    file = repository / "feature_repo" / "definitions.py"
    (folder / "bascule.toml").write_text('[project]\nname = "mine"\n\n[entity.driver]\nkeys = ["d"]\n')
    before = (folder / "bascule.toml").read_text()
    with pytest.raises(BasculeError, match="driver"):
        api.import_feast(repository, into=folder)
    settings = repository / "feature_repo" / "feature_store.yaml"
    plain = settings.read_text()
    settings.write_text(f"{plain}offline_store:\n    user: %USER%\n")
    with pytest.raises(InputError, match=r"feature_store.yaml:6 cannot be read: found character '%'"):
        api.import_feast(repository, into=folder)
    settings.write_text(plain)
    file.write_text("def broken(:\n")
    with pytest.raises(BasculeError, match=r"definitions.py cannot be read as Python"):
        api.import_feast(repository, into=folder)
    assert (folder / "bascule.toml").read_text() == before
    assert not (folder / "features").exists()


def test_a_project_that_is_there_keeps_what_it_has(repository: Path, folder: Path) -> None:
    (folder / "bascule.toml").write_text('[project]\nname = "mine"  # mine\n\n[entity.shop]\nkeys = ["d"]\n')
    api.import_feast(repository, into=folder)
    project = load_project(folder)
    assert project.project.name == "mine"
    assert set(project.entity) == {"shop", "driver", "driver_city"}
    assert (folder / "bascule.toml").read_text().startswith('[project]\nname = "mine"  # mine\n')


@pytest.mark.parametrize(
    ("body", "sql"),
    [
        ('return {"o": -i["a"] / 2 - 1.5}', "(((-v.a) / 2) - 1.5)"),
        ('o = {"o": i["a"] >= i["b"]}\n    return o', "(v.a >= b)"),
        ('d["o"] = i["a"].astype("float32")\n    d["o"] = d["o"] + 1', "(CAST(v.a AS FLOAT) + 1)"),
        ('return {"o": i["c"]}', None),
        ('for x in i: pass\n    return {"o": 1}', None),
        ('return {"o": [a for a in i["a"]]}', None),
    ],
)
def test_functions_as_sql(body: str, sql: str | None) -> None:
    (function,) = ast.parse(f"def f(i):\n    {body}\n").body
    assert isinstance(function, ast.FunctionDef)
    inputs = {"a": "v.a", "b": "b"}
    if sql is None:
        with pytest.raises(NotPlain):
            expressions(function, inputs.get)
    else:
        assert expressions(function, inputs.get) == {"o": sql}


def test_tables_are_named_by_the_settings_or_by_what_only_running_tells(repository: Path, folder: Path) -> None:
    """As Feast's template for Snowflake has it."""
    file = repository / "feature_repo" / "more.py"
    file.write_text(WAREHOUSE)
    told = api.import_feast(repository, into=folder)
    assert (folder / "features" / "visits.sql").read_text().count("drivers_visits") == 1
    assert any("SnowflakeSource drivers_visits: bring its rows" in one for one in told.notes)
    [left] = [one for one in told.left_out if "FeatureView calls" in one]
    assert "the table of its source is " in left
    assert "only running the file tells; write it as a text" in left
