"""The plan for other engines: on DuckDB it is what the double loop says, and each engine's parser reads its text."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pytest
import sqlglot
from tests.features.batched import BATCHED, CASE_EVENTS, CASE_SPINE, assert_oracle, bound, cases
from tests.features.test_point_in_time import Row

from bascule.errors import InputError
from bascule.features import Entity, FeatureSet, FeatureView, RequestView, build_feature_set
from bascule.features.columns import describe
from bascule.features.portable import DIALECTS, training_plan, written

pytestmark = pytest.mark.slow
OTHERS = [dialect for dialect in DIALECTS if dialect != "duckdb"]


@pytest.fixture(scope="module")
def drawn() -> tuple[list[Row], list[Row]]:
    return cases(40)


@pytest.fixture(scope="module")
def connection(drawn: tuple[list[Row], list[Row]]) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as connection:
        connection.execute("SET TimeZone='UTC'")
        connection.register("events", pa.Table.from_pylist(drawn[0], CASE_EVENTS))
        connection.register("spine", pa.Table.from_pylist(drawn[1], CASE_SPINE))
        yield connection


def text(
    connection: duckdb.DuckDBPyConnection, features: FeatureSet, dialect: str, rows: str = "select * from spine"
) -> tuple[str, tuple[str, ...]]:
    plan = training_plan(features, rows, describe(connection, rows, "rows"))
    known = {name: describe(connection, f"select * from {name}", name) for name in ("events", "spine")}
    return written(plan, dialect, known.get, lambda name: name)


def small(connection: duckdb.DuckDBPyConnection, sql: str, **more: object) -> FeatureSet:
    view = FeatureView(name="v", entity="pair", sql=sql, event_time="happened")
    return build_feature_set(
        connection,
        name="small",
        entities=[Entity("pair", ("k1", "k2"))],
        views=[view],
        population="select * from spine",
        prediction_time="t",
        **more,  # type: ignore[arg-type]
    )


def test_the_plan_is_what_the_double_loop_says(
    connection: duckdb.DuckDBPyConnection, drawn: tuple[list[Row], list[Row]]
) -> None:
    sql, trusted = text(connection, bound(connection), "duckdb")
    assert trusted == ()
    found = connection.sql(f"select * from ({sql}) order by note").to_arrow_table().to_pylist()
    assert_oracle(found, *drawn)


def test_every_dialect_reads_its_text_and_uses_no_joins_by_time(connection: duckdb.DuckDBPyConnection) -> None:
    features = bound(connection, BATCHED[1::3])
    texts = {dialect: text(connection, features, dialect)[0] for dialect in OTHERS}
    for dialect, sql in texts.items():
        tree = sqlglot.parse_one(sql, dialect=dialect)
        assert [one.alias for one in tree.selects][-2:] == list(features.features[-2:])
        assert "ASOF" not in sql.upper()
        assert "QUALIFY" not in sql.upper()
        assert "EPOCH_US" not in sql.upper()
    assert len(set(texts.values())) == len(OTHERS) - 1  # Databricks speaks Spark's words


def test_times_divisions_and_weekdays_are_written_as_each_engine_means_them(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    sql = """with base as (select *, happened + to_minutes(a) as later from events)
             select k1, k2, happened, a / (a - 1) as ratio, isodow(happened) as day, dayofweek(happened) as weekday,
               epoch_us(timezone('Europe/Paris', later::timestamptz)) as local from base"""
    features = small(connection, sql)
    said = {dialect: " ".join(text(connection, features, dialect)[0].split()) for dialect in OTHERS}
    assert "TIMESTAMPADD(MINUTE, events.a, events.happened)" in said["spark"]
    assert "DATEADD(MINUTE, events.a, events.happened)" in said["snowflake"]
    assert "DATE_ADD('minute', events.a, events.happened)" in said["trino"]
    assert "EXTRACT(DAYOFWEEK_ISO FROM base.happened) % 7 AS weekday" in said["spark"]
    assert "DAY_OF_WEEK(base.happened) AS day" in said["trino"]
    assert "IEEE_DIVIDE(CAST(base.a AS FLOAT64)" in said["bigquery"]
    assert "FROM_UTC_TIMESTAMP(CAST(" in said["spark"]
    assert "CONVERT_TIMEZONE('Europe/Paris', " in said["snowflake"]


def test_names_of_a_warehouse_are_its_own(connection: duckdb.DuckDBPyConnection) -> None:
    features = small(
        connection, 'with "features.x" as (select * from events) select k1, k2, happened, a from "features.x"'
    )
    plan = training_plan(features, "select * from spine", describe(connection, "select * from spine", "rows"))
    known = {name: describe(connection, f"select * from {name}", name) for name in ("events", "spine")}
    sql, _ = written(plan, "snowflake", known.get, lambda name: f"lab.prod.{name}")
    assert "FROM lab.prod.events AS events" in sql
    assert 'AS "v__a"' in sql  # the names that are given stay as they are
    assert '"k1" =' not in sql  # a warehouse's own are upper case, and quotes would deny it
    assert '"features' not in sql


def test_what_an_engine_has_no_words_for_is_named(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(InputError, match="no dialect 'snowflak'") as refused:
        text(connection, small(connection, "select k1, k2, happened, a from events"), "snowflak")
    assert "snowflake" in refused.value.hint
    features = small(connection, "select k1, k2, happened, list_sum([a]) as a from events")
    assert text(connection, features, "trino")[1] == ("list_sum",)
    odd = FeatureView(name="v", entity="x", sql="select x, happened, a from events", event_time="happened")
    floating = build_feature_set(
        connection,
        name="odd",
        entities=[Entity("x", ("x",))],
        views=[odd],
        population="select 1.5::double as x, t from spine",
        prediction_time="t",
    )
    with pytest.raises(InputError, match=r"\[features.v\] key 'x' is DOUBLE"):
        text(connection, floating, "spark", "select 1.5::double as x, t from spine")


def test_expressions_are_written_too(connection: duckdb.DuckDBPyConnection) -> None:
    request = RequestView("request", {"half": "note / 0", "more": "v.a + note"})
    features = small(connection, "select k1, k2, happened, a from events", request=request, features=["v.a", "request"])
    rows = connection.sql(text(connection, features, "duckdb")[0]).to_arrow_table()
    assert rows.column("request__half").null_count == rows.num_rows
    assert "NULLIF(" in text(connection, features, "bigquery")[0]
