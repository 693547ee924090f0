"""Projects from real data: what is concluded, and that what is written works."""

from __future__ import annotations

import csv
import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb
import jsonschema
import pytest

from bascule.contracts import Contract, run_checks
from bascule.features import training_rows
from bascule.lake import read_source
from bascule.project import ProjectFile, load_project
from bascule.project.definitions import feature_set
from bascule.project.init import InitReport, init_project
from bascule.project.schema import json_schema

Sets = dict[str, tuple[list[str], list[list[object]]]]


def _scikit(name: str) -> tuple[list[str], list[list[object]]]:
    datasets = pytest.importorskip("sklearn.datasets")
    bunch = getattr(datasets, f"load_{name}")()
    rows = [[*map(float, row), target] for row, target in zip(bunch.data, bunch.target, strict=True)]
    return [*map(str, bunch.feature_names), "target"], rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "task", "features"),
    [
        ("iris", "multiclass", 4),
        ("wine", "multiclass", 13),
        ("breast_cancer", "binary", 30),
        ("diabetes", "regression", 10),
    ],
)
def test_sets_without_time(name: str, task: str, features: int, tmp_path: Path) -> None:
    header, rows = _scikit(name)
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / f"{name}.csv").open("w") as file:
        file.write(",".join(f'"{column}"' for column in header) + "\n")
        file.writelines(",".join(map(str, row)) + "\n" for row in rows)
    report = init_project(tmp_path / "data", "target", tmp_path / "project")
    project = _works(report)
    assert (report.kind, report.task) == ("tabular", task)
    assert project.training is not None
    assert project.model is not None
    assert len(project.training.request) == features
    assert project.training.split.test == 0.25
    assert project.model.trainer == "linear"
    assert any("rows are divided at random" in said for said in report.assumptions)


@pytest.mark.slow
def test_flights_in_many_files(two_months: Path, tmp_path: Path) -> None:
    report = init_project(two_months, "arr_delay_over_15", tmp_path, name="delays")
    project = _works(report)
    training = project.training
    assert training is not None
    assert project.project.name == "delays"
    assert training.label == "arr_delay > 15"
    assert project.source["flights"].mode == "append"
    assert project.source["flights"].key == ("time_hour", "carrier", "flight")
    assert project.source["weather"].key == ("time_hour", "origin")
    assert {name: view.entity for name, view in project.views().items()} == {
        "airports_origin": "origin",
        "airports_dest": "dest",
        "planes": "tailnum",
        "weather": "origin",
    }
    weather = project.views()["weather"]
    assert (weather.event_time, weather.ttl) == ("time_hour", "6h")
    assert "year" in project.sql("features", "planes", "sql")  # the year of building, not joined to the flight's
    assert set(training.request) == {
        *("sched_dep_time", "sched_arr_time", "carrier", "origin", "dest", "distance", "hour", "minute")
    }
    assert isinstance(training.split.test, str)
    left_out = [said for said in report.assumptions if said.startswith("left out: ")]
    for column in ("dep_time", "dep_delay", "arr_time", "air_time", "year", "month", "day", "flight", "tailnum"):
        assert any(said.startswith(f"left out: {column},") for said in left_out), column
    assert any("arr_delay_over_15 is no column; it was read as arr_delay > 15" in said for said in report.assumptions)
    assert any("don't say when an outcome becomes known" in said for said in report.assumptions)
    assert any(
        said.startswith("airlines is a table of the project but gives no features") for said in report.assumptions
    )


@pytest.mark.slow
def test_a_time_series(raw_flights: Path, tmp_path: Path) -> None:
    report = init_project(raw_flights / "weather.csv", "temp", tmp_path)
    project = _works(report)
    assert (report.kind, report.task) == ("time-series", "regression")
    view = project.views()["history"]
    assert project.entity[view.entity].keys == ("origin",)
    assert view.windows == ("1h", "12h", "2d")
    assert view.aggregates["mean"] == "mean(outcome)"
    assert project.training is not None
    assert project.training.request == ("origin",)
    assert project.training.label_time == "label_time"


@pytest.mark.slow
def test_a_folder_of_parquet_files(raw_flights: Path, tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    (tmp_path / "data" / "planes").mkdir(parents=True)
    planes = f"read_csv('{raw_flights / 'planes.csv'}', nullstr = ['', 'NA'])"
    for part in range(3):
        file = tmp_path / "data" / "planes" / f"part-{part}.parquet"
        connection.execute(
            f"copy (select * from {planes} where hash(tailnum) % 3 = {part}) to '{file}' (format parquet)"
        )
    report = init_project(tmp_path / "data", "engine", tmp_path / "project")
    project = _works(report)
    assert report.task == "multiclass"
    assert project.source["planes"].path == "../data/planes/*.parquet"
    assert project.source["planes"].key == ("tailnum",)


@pytest.mark.slow
def test_a_folder_of_json_lines(raw_flights: Path, tmp_path: Path, connection: duckdb.DuckDBPyConnection) -> None:
    (tmp_path / "data").mkdir()
    airports = f"read_csv('{raw_flights / 'airports.csv'}', nullstr = '\\N')"
    connection.execute(f"copy (select * from {airports}) to '{tmp_path / 'data' / 'airports.jsonl'}' (format json)")
    report = init_project(tmp_path / "data", "tz <= -8", tmp_path)
    project = _works(report)
    assert report.task == "binary"
    assert project.source["airports"].key == ("faa",)
    assert any("left out: name" in said for said in report.assumptions)


@pytest.mark.slow
def test_history_counts_only_what_was_known(tmp_path: Path, write_csv: object) -> None:
    rows = [
        (
            n,
            f"c{n % 20}",
            f"2024-{1 + n // 250:02}-{1 + n % 28:02} 08:00:00",
            f"2024-{1 + n // 250:02}-{1 + n % 28:02} 19:00:00",
            5 + n % 7,
            (n % 20 < 7) ^ (n % 3 == 0),
        )
        for n in range(2000)
    ]
    folder = write_csv("orders.csv", "order_id customer ordered_at delivered_at weight late", rows)  # type: ignore[operator]
    report = init_project(folder, "late", tmp_path / "project")
    project = _works(report)
    view = project.views()["customer_history"]
    assert view.event_time == "delivered_at"
    assert view.aggregates == {"mean": "mean(outcome)", "count": "count(*)"}
    assert project.training is not None
    assert (project.training.prediction_time, project.training.label_time) == ("prediction_time", "label_time")
    assert "the answer is known at delivered_at" in report.assumptions


def test_odd_names_stay_what_a_caller_sends(tmp_path: Path, write_csv: object) -> None:
    (tmp_path / "data").mkdir()
    lines = [f"{n},{n % 7},{'ab'[n % 2]},{n % 5},{n % 9},{n % 8},{n % 3}" for n in range(60)]
    header = '"my id","Width (cm)","order","2nd value","Price €","split","the label"'
    (tmp_path / "data" / "my table-1.csv").write_text("\n".join([header, *lines]) + "\n")
    report = init_project(tmp_path / "data", "the label", tmp_path)
    project = _works(report)
    assert project.training is not None
    assert project.training.label == '"the label"'
    assert project.training.request == ("Width (cm)", "order", "2nd value", "Price €", "split_")
    assert "the column 'split' is called 'split_' in a request: the project uses its name itself" in report.assumptions
    assert len([said for said in report.assumptions if " is called " in said]) == 1
    assert list(project.source) == ["my_table_1"]


def _works(report: InitReport) -> ProjectFile:
    """Load a new project; its tables keep their contracts, and its features give one row for each example."""
    project = load_project(report.folder)
    raw = tomllib.loads((report.folder / "bascule.toml").read_text("utf-8"))
    jsonschema.validate(raw, json_schema())
    assert json.dumps(report.as_dict())
    assert all((report.folder / file).is_file() for file in report.files)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        for table, source in project.source.items():
            scan = read_source(project.path(source.path), connection)
            connection.execute(f'create table "{table}" as select * from {scan.relation}')
            text = project.path(project.contract[table].file).read_text("utf-8")
            assert run_checks(connection, f'"{table}"', Contract.parse(text, file=table)).passed, table
        features = feature_set(project, connection)
        spine = project.sql("training", "population")
        examples = _count(connection, f"select count(*) from ({spine})")
        rows = training_rows(connection, features, spine)
        assert rows.aggregate("count(*)").fetchall() == [(examples,)]
        assert features.features
    return project


def _count(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    found: Sequence[Iterable[int]] = connection.execute(query).fetchall()
    (count,) = found[0]
    return count


@pytest.mark.parametrize(
    ("rows", "share", "bound"),
    [
        (16_000, "0.4", 0.05),
        (4_000, "0.4", 0.1),
        (400, "0.4", None),
        (8_000, "0.2 + 0.5 * i / 8000", None),
    ],
    ids=["many rows", "fewer rows", "few rows", "a share that moves"],
)
def test_calibration_is_a_gate_where_a_bound_is_fair(
    rows: int, share: str, bound: float | None, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    query = (
        f"select timestamp '2024-01-01' + interval (i) hours as asked_at, hash(i) % 100 as size, "
        f"(hash(i, 1) % 1000) / 1000.0 < {share} as late from range({rows}) r(i)"
    )
    duckdb.sql(query).write_csv(str(tmp_path / "data" / "orders.csv"))
    report = init_project(tmp_path / "data", "late", tmp_path / "project")
    assert load_project(tmp_path / "project").gates.calibration == bound
    assert any("calibration is no gate" in one for one in report.assumptions) == (bound is None)


@pytest.mark.slow
def test_names_of_all_kinds(tmp_path: Path) -> None:
    """Columns called like words of SQL, like columns of our own, and like nothing at all."""
    words = ["select", "order", "from", "type", "row", "index", "count", "label", "split", "prediction_time", "series"]
    odd = ['we"ird', "naïve ☃", "2B", "date part", "1; --", *"abvnkrtwx"]
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "t.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["at", *words, *odd, "is late?"])
        for i in range(400):
            day = f"2024-{1 + i // 28 % 12:02}-{1 + i % 28:02}T{i % 24:02}:00:00Z"
            writer.writerow([day, *(i * 37 % (7 + n) for n in range(len(words) + len(odd))), i % 3 == 0])
    project = _works(init_project(tmp_path / "data", "is late?", tmp_path / "project"))
    assert project.training is not None
    assert len(project.training.request) == len(words) + len(odd)


def _visits(tmp_path: Path, days: Sequence[str], **others: str) -> InitReport:
    lines = [f"{n},{day},{n * 7 % 11},{n * 5 % 3 % 2}" for n, day in enumerate(days * 20)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "visits.csv").write_text("\n".join(["id,day,x,late", *lines]) + "\n")
    for name, text in others.items():
        (tmp_path / "data" / f"{name}.csv").write_text(text)
    return init_project(tmp_path / "data", "late", tmp_path)


def test_days_that_leave_the_order_open_are_told(tmp_path: Path) -> None:
    report = _visits(tmp_path, [f"{n:02}/01/2025 10:00 PM" for n in range(1, 13)])
    assert load_project(tmp_path).source["visits"].dates == "month-first"
    told = next(one for one in report.assumptions if one.startswith("look at visits"))
    assert "no value of column 'day' shows whether the day or the month comes first; it is read month-first" in told
    assert "dates in [source.visits]" in told


def test_another_table_shows_the_order_of_days(tmp_path: Path) -> None:
    report = _visits(
        tmp_path, [f"{n:02}/01/2025" for n in range(1, 13)], depots="depot,opened\na,1/2/2025\nb,31/1/2025\n"
    )
    assert {name: one.dates for name, one in load_project(tmp_path).source.items()} == {
        "visits": "day-first",
        "depots": "day-first",
    }
    assert not any("no value" in one for one in report.assumptions)
    assert "the dates of visits are read day-first (dates in [source.visits]): day" in report.assumptions


def test_texts_of_parquet_that_leave_the_order_of_days_open(
    tmp_path: Path, connection: duckdb.DuckDBPyConnection
) -> None:
    days = "strftime(make_date(2025, 1 + i::int % 12, 1), '%m/%d/%Y 01:30 PM')"
    query = f"select i as id, {days} as day, i * 7 % 11 as x, i % 3 = 0 as late from range(200) r(i)"
    connection.execute(f"copy ({query}) to '{tmp_path / 'visits.parquet'}'")
    report = init_project(tmp_path / "visits.parquet", "late", tmp_path / "p")
    assert "%m/%d/%Y %I:%M %p" in (tmp_path / "p/features/population.sql").read_text()
    assert any("no value of column 'day' shows" in one and "change strptime" in one for one in report.assumptions)
