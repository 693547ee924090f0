"""Spark, a real one in local mode: what it joins is what DuckDB joins and what the double loop says.

PySpark is large and has no wheel, so it has a folder of its own in pytest's cache, made once. One Spark answers all.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.features.batched import CASE_EVENTS, CASE_SPINE, assert_oracle, bound, cases
from tests.lake.test_moving import with_vector

from bascule.errors import EnvironmentProblem, InputError
from bascule.features import Entity, FeatureView, build_feature_set
from bascule.features.spark import SparkPlace, spark_session
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.handing import handed
from bascule.lake.objects import describe
from bascule.project.engines import engine_rows, joining_engine
from bascule.project.file import ProjectFile
from bascule.project.sections import Project
from bascule.project.tables import opened_tables

# PySpark's sockets, and its opinion of the versions of pandas, are its own.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(600)]
RELEASE = "4.3.0"
#: So small a job is over before generated code would be compiled.
SMALL = {
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}


@pytest.fixture(scope="module")
def place(pytestconfig: pytest.Config) -> Iterator[SparkPlace]:
    """A Spark of this process."""
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java, and there is none")
    assert pytestconfig.cache is not None
    folder = pytestconfig.cache.mkdir("pyspark") / RELEASE
    done = folder / "done"
    if not done.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        command = [*pip, "--target", str(folder), f"pyspark=={RELEASE}"]
        made = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
        if made.returncode:
            pytest.skip(f"PySpark {RELEASE} cannot be installed: {made.stderr[-300:]}")
        done.touch()
    sys.path.append(str(folder))
    try:
        place = SparkPlace(master="local[2]", config=SMALL)
        session = spark_session(place)
        yield place
        session.stop()
    finally:
        sys.path.remove(str(folder))


@pytest.fixture
def lake(local_workspace: Workspace) -> Lake:
    return Lake(local_workspace)


def test_spark_duckdb_and_the_double_loop_agree(place: SparkPlace, lake: Lake) -> None:
    events, examples = cases(25)
    workspace, half = lake.workspace, len(events) // 2
    lake.append("events", pa.Table.from_pylist(events[:half], CASE_EVENTS))
    lake.append("events", pa.Table.from_pylist(events[half:], CASE_EVENTS))
    lake.append("spine", pa.Table.from_pylist(examples, CASE_SPINE))
    commit = workspace.history.resolve("main")
    with opened_tables(workspace, commit, ["events", "spine"]) as connection:
        features = bound(connection)
        rows = "select * from spine order by note"
        found = []
        for engine in (None, place):
            with engine_rows(workspace, commit, connection, features, rows, engine) as relation:
                found.append(relation.to_arrow_table())
    for table in found:
        assert_oracle(table.to_pylist(), events, examples)
    assert found[0].schema == found[1].schema
    assert not list(workspace.temporary_folder.glob("spark-*"))


def test_types_deletes_and_new_columns_come_through(place: SparkPlace, lake: Lake) -> None:
    def row(k: Any, on: int, **values: Any) -> dict[str, Any]:
        return {"k": k, "seen": datetime(2025, 1, on, tzinfo=UTC), "odd name": f"ü {on}", **values}

    schema = pa.schema(
        {
            "k": pa.decimal128(20, 0),
            "seen": pa.timestamp("us", "UTC"),
            "odd name": pa.string(),
            "price": pa.decimal128(9, 2),
            "day": pa.date32(),
            "x": pa.float32(),
            "clock": pa.time64("us"),
            "local": pa.timestamp("us"),
        }
    )
    first = row(2**63 + 1, 1, price=Decimal("1.50"), day=date(2025, 1, 1), x=float("nan"), local=datetime(2025, 1, 1))
    wrong = row(2**63 + 1, 2, price=Decimal("9.99"))
    rows = [first, wrong, row(7, 1, x=float("-inf")), row(None, 1, x=1.0)]
    lake.append("prices", pa.Table.from_pylist(rows, schema))
    lake.delete("prices", "price > 9")
    later = schema.append(pa.field("more", pa.int64()))
    lake.append("prices", pa.Table.from_pylist([row(7, 3, more=3)], later), evolve=True)
    workspace = lake.workspace
    commit = workspace.history.resolve("main")
    sql = 'select k, seen, "odd name" as odd, price, day, x, local, more, hour(seen) + 1 as next from prices'
    sql = sql.replace("select k,", "select k::varchar as k,")
    view = FeatureView(name="v", entity="k", sql=sql, event_time="seen")
    asked = "select unnest([9223372036854775809, 7, 7, 5, null])::decimal(20, 0) as k, unnest([9, 1, 9, 9, 9]) as n"
    spine = f"select k::varchar as k, n, timestamptz '2025-01-01' + to_days(n::int) as t from ({asked})"
    with opened_tables(workspace, commit, ["prices"]) as connection:
        features = build_feature_set(
            connection,
            name="types",
            entities=[Entity("k", ("k",))],
            views=[view],
            population=spine,
            prediction_time="t",
        )
        tables = []
        for engine in (None, place):
            with engine_rows(workspace, commit, connection, features, spine, engine) as relation:
                tables.append(relation.to_arrow_table())
    assert tables[0].schema == tables[1].schema
    assert str(tables[0].to_pylist()) == str(tables[1].to_pylist())  # NaN is NaN
    assert [one["v__odd"] for one in tables[1].to_pylist()] == ["ü 1", "ü 1", "ü 3", None, None]
    assert tables[1].column("v__more").to_pylist() == [None, None, 3, None, None]


def test_files_that_deletes_touch_are_copied_without_them(lake: Lake, tmp_path: Path) -> None:
    lake.append("people", pa.table({"name": ["ann", "bob", "cyd"]}))
    lake.append("people", pa.table({"name": ["dan"]}))
    whole = handed(lake, lake.workspace.history.read("main", "tables/people"), "people", tmp_path)
    assert (len(whole.files), whole.copies) == (2, ())
    value = describe(with_vector(lake.table(lake.workspace.history.read("main", "tables/people"))), lake.folder)
    found = handed(lake, value, "people", tmp_path)
    assert set(found.files) < set(whole.files)
    assert [pq.read_table(file).column("name").to_pylist() for file in found.copies] == [["ann", "cyd"]]


def test_sums_near_the_largest_double_are_what_duckdb_says(place: SparkPlace, lake: Lake) -> None:
    """A sum is infinite where the exact sum is beyond it, a variance where the squares are, a mean never."""
    cases = [[1e308, 1e308, -1e308], [1e308, 1e308], [-1e308, -1e308, 1.5], [1e200, -1e200], [1.5, 2.5]]
    cases.append([1e17, 1.0, 0.5, -1e17])  # what of whole numbers is added exactly
    start = datetime(2025, 1, 1, tzinfo=UTC)
    rows = [{"k": k, "t": start, "x": x} for k, values in enumerate(cases) for x in values]
    lake.append("t", pa.Table.from_pylist(rows))
    commit = lake.workspace.history.resolve("main")
    aggregates = {name: f"{name}(x)" for name in ("sum", "mean", "variance", "stddev")}
    view = FeatureView(name="v", entity="k", sql="from t", event_time="t", windows=("1h",), aggregates=aggregates)
    asked = f"select unnest(range({len(cases)})) as k, timestamptz '2025-01-01 00:30:00+00' as at"
    with opened_tables(lake.workspace, commit, ["t"]) as connection:
        features = build_feature_set(
            connection,
            name="x",
            entities=[Entity("k", ("k",))],
            views=[view],
            population=asked,
            prediction_time="at",
        )
        found = []
        for engine in (None, place):
            with engine_rows(lake.workspace, commit, connection, features, asked, engine) as relation:
                found.append([list(row.values())[2:] for row in relation.to_arrow_table().to_pylist()])
    inf = float("inf")
    assert [row[0] for row in found[0]] == [1e308, inf, -inf, 0.0, 4.0, 1.5]
    assert [row[1] for row in found[0]] == pytest.approx([1e308 / 3, 1e308, -1e308 / 1.5, 0.0, 2.0, 0.375])
    assert [row[2] for row in found[0]] == [inf, 0.0, inf, inf, 0.5, pytest.approx(2e34 / 3)]
    assert found[1] == [pytest.approx(row) for row in found[0]]


def test_tables_in_an_object_store_are_copied_for_spark(place: SparkPlace, s3: str, tmp_path: Path) -> None:
    with closing(Workspace.create(tmp_path / "project", storage=s3)) as workspace:
        lake = Lake(workspace)
        lake.append("t", pa.table({"k": [1, 2], "a": [10, 20]}))
        lake.append("t", pa.table({"k": [3], "b": ["more"]}), evolve=True)
        commit = workspace.history.resolve("main")
        view, asked = FeatureView(name="v", entity="k", sql="select k, a, b from t"), "select unnest([3, 1]) as k"
        with opened_tables(workspace, commit, ["t"]) as connection:
            features = build_feature_set(
                connection, name="x", entities=[Entity("k", ("k",))], views=[view], population=asked
            )
            with engine_rows(workspace, commit, connection, features, asked, place) as relation:
                assert relation.fetchall() == [(3, None, "more"), (1, 10, None)]
        assert not list(workspace.temporary_folder.glob("spark-*"))


def test_what_spark_cannot_do_is_said(place: SparkPlace, lake: Lake) -> None:
    lake.append("t", pa.table({"k": [1], "a": [1]}))
    commit = lake.workspace.history.resolve("main")
    view = FeatureView(name="v", entity="k", sql="select k, list_sum([a]) as a from t")
    with opened_tables(lake.workspace, commit, ["t"]) as connection:
        features = build_feature_set(
            connection, name="x", entities=[Entity("k", ("k",))], views=[view], population="select 1::bigint as k"
        )
        with (
            pytest.raises(InputError, match=r"Spark cannot compute the features: .*LIST_SUM"),
            engine_rows(lake.workspace, commit, connection, features, "select 1::bigint as k", place),
        ):
            pass


def test_without_pyspark_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyspark"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(EnvironmentProblem, match="needs PySpark") as problem:
        spark_session(SparkPlace())
    assert "pip install 'pyspark>=4'" in problem.value.hint


def test_an_engine_that_is_not_there_is_named() -> None:
    project = ProjectFile(project=Project(name="x", kind="tabular"))
    assert joining_engine(project) is None
    assert joining_engine(project, "spark") == SparkPlace()
    with pytest.raises(InputError, match="no engine 'snowflake'") as problem:
        joining_engine(project, "snowflake")
    assert "bascule features sql" in problem.value.hint
