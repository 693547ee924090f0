"""Planted leaks are named, honest features are not, and what cannot be examined is said."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import duckdb
import numpy as np
import pytest

from bascule.errors import InputError
from bascule.features import Entity, FeatureView, LeakReport, RequestView, build_feature_set, leak_report
from bascule.features.association import gini, r_squared, strength
from bascule.features.lineage import Origin, origin, tables_of, with_table

START = datetime(2024, 1, 1)
USER = Entity("user", ("user_id",))
POPULATION = """
select user_id, asked_at, asked_at + interval 3 hour as settled_at, amount, outcome, age
from (select * from loans) l
"""


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    chance = random.Random(3)
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone='UTC'")
        connection.execute(
            "CREATE TABLE loans (user_id INTEGER, asked_at TIMESTAMP, amount DOUBLE, outcome DOUBLE, age INTEGER)"
        )
        rows = [
            (chance.randrange(20), START + timedelta(minutes=17 * n), chance.random(), chance.random(), n % 40)
            for n in range(2000)
        ]
        connection.executemany("INSERT INTO loans VALUES (?, ?, ?, ?, ?)", rows)
        connection.execute("CREATE TABLE cities AS SELECT unnest(range(20))::INTEGER AS user_id, 'city' AS city")
        yield connection


def report(connection: duckdb.DuckDBPyConnection, sql: str, label: str = "outcome > 0.5", **more: Any) -> LeakReport:
    settings = {name: more.pop(name) for name in ("event_time", "known_time", "windows", "aggregates") if name in more}
    view = FeatureView(name="view", entity="user", sql=sql, **settings)
    feature_set = build_feature_set(
        connection,
        name="test",
        entities=[USER],
        views=[view],
        population=more.pop("population", POPULATION),
        prediction_time="asked_at",
        features=["view", *(["request"] if "request" in more else [])],
        request=more.pop("request", None),
        request_columns=more.pop("request_columns", []),
    )
    population = more.pop("rows", POPULATION)
    return leak_report(connection, feature_set, population, label, None, more.pop("label_time", "settled_at"), **more)


def reasons(found: LeakReport) -> set[tuple[str, str, bool]]:
    return {(leak.feature, leak.reason, leak.certain) for leak in found.leaks}


@pytest.mark.slow
def test_settled_outcomes_are_honest(connection: duckdb.DuckDBPyConnection) -> None:
    sql = "select user_id, asked_at + interval 3 hour as known, outcome, amount from loans"
    assert report(connection, sql, event_time="known") == LeakReport((), ())
    found = report(connection, sql, event_time="known", windows=("1d",), aggregates={"mean": "mean(outcome)"})
    assert found == LeakReport((), ())


@pytest.mark.slow
def test_unsettled_outcomes_are_proven_with_evidence(connection: duckdb.DuckDBPyConnection) -> None:
    sql = "select user_id, asked_at as known, outcome, amount from loans"
    found = report(connection, sql, event_time="known")
    assert reasons(found) >= {("view__outcome", "outcome", True)}
    assert not any(leak.feature == "view__amount" for leak in found.leaks)
    (leak, *_) = found.leaks
    assert leak.view == "view"
    assert 0 < leak.evidence["changed"] <= leak.evidence["examined"]
    assert leak.evidence["example"]["with the future hidden"] == "None"
    assert "outcome" in leak.message


def test_known_time_clears_what_event_time_alone_would_leak(connection: duckdb.DuckDBPyConnection) -> None:
    sql = "select user_id, asked_at, asked_at + interval 3 hour as settled, outcome from loans"
    settings: dict[str, Any] = {"windows": ("1d",), "aggregates": {"mean": "mean(outcome)"}}
    assert reasons(report(connection, sql, event_time="asked_at", **settings)) == {("view__mean_1d", "outcome", True)}
    assert report(connection, sql, event_time="asked_at", known_time="settled", **settings) == LeakReport((), ())


def test_a_validity_that_ends_with_the_next_row_looks_ahead(connection: duckdb.DuckDBPyConnection) -> None:
    sql = """with changes as (select user_id, asked_at, amount from loans)
    select user_id, asked_at, amount, lead(asked_at) over (partition by user_id order by asked_at) as until
    from changes"""
    found = report(connection, sql, event_time="asked_at")
    assert reasons(found) == {("view__until", "future", True)}


def test_looking_back_is_honest(connection: duckdb.DuckDBPyConnection) -> None:
    sql = """select user_id, asked_at, lag(amount) over (partition by user_id order by asked_at) as earlier,
      sum(amount) over (partition by user_id order by asked_at) as so_far from loans"""
    assert report(connection, sql, event_time="asked_at") == LeakReport((), ())


@pytest.mark.slow
def test_a_date_that_is_too_coarse_hides_a_leak(connection: duckdb.DuckDBPyConnection) -> None:
    daily = "select user_id, date_trunc('day', asked_at) + {} as known, sum(amount) as total from loans group by all"
    found = report(connection, daily.format("interval 0 day"), event_time="known")
    # The view dates all rows of a day by its beginning: by its own words, none of them is later. A known limit.
    assert found.leaks == ()
    assert report(connection, daily.format("interval 1 day"), event_time="known") == LeakReport((), ())


def test_request_columns_that_are_the_outcome(connection: duckdb.DuckDBPyConnection) -> None:
    population = "select *, outcome * 2 as twice, asked_at + interval 3 hour as settled_at from loans"
    found = report(
        connection,
        "select * from cities",
        population=population,
        rows=population,
        request_columns=["outcome", "twice", "age"],
    )
    proven = {leak.feature: leak.view for leak in found.leaks if leak.certain}
    assert proven == {"outcome": "", "twice": ""}
    assert ("twice", "target", False) in reasons(found)


def test_an_expression_that_is_too_good_is_suspected(connection: duckdb.DuckDBPyConnection) -> None:
    # Nothing in the query's text says that a maximum over one row is that row's value.
    population = "select *, max(age) over (partition by user_id, asked_at) as years from loans"
    request = RequestView("request", {"shift": "years * 3 + 1"})
    found = report(
        connection,
        "select * from cities",
        "age",
        request=request,
        label_time=None,
        population=population,
        rows=population,
    )
    assert reasons(found) == {("request__shift", "target", False)}
    assert found.leaks[0].view == "request"
    assert found.leaks[0].evidence["r2"] > 0.95


def test_of_several_columns_that_make_the_label_some_may_be_known(connection: duckdb.DuckDBPyConnection) -> None:
    """Grown by more than half: the size before is an honest feature, the size after is not."""
    more: dict[str, Any] = {"label": "outcome > amount * 1.5", "request_columns": ["amount"]}
    found = report(connection, "select * from cities", **more)
    assert ("amount", "outcome", False) in reasons(found)
    assert not any(leak.certain for leak in found.leaks)
    told = report(connection, "select * from cities", outcomes=["outcome"], **more)
    assert not any(leak.reason == "outcome" for leak in told.leaks)
    sql = "select user_id, asked_at as known, outcome, amount from loans"
    assert reasons(report(connection, sql, event_time="known", outcomes=["outcome"], **more)) >= {
        ("view__outcome", "outcome", True)
    }


def test_what_makes_the_prediction_time_is_known_by_then(connection: duckdb.DuckDBPyConnection) -> None:
    request = RequestView("request", {"hour": "hour(asked_at)"})
    more: dict[str, Any] = {"label": "date_diff('minute', asked_at, settled_at) > 200", "request": request}
    assert report(connection, "select * from cities", **more).leaks == ()


@pytest.mark.slow
def test_outcomes_are_hidden_when_two_tables_say_when_they_are_known(connection: duckdb.DuckDBPyConnection) -> None:
    """The time of settling needs the user's city, so that it is no column of the loans."""
    population = """select l.*, l.asked_at + to_hours(length(c.city)) as settled_at
      from loans l join cities c using (user_id)"""
    both: dict[str, Any] = {"population": population, "rows": population, "event_time": "known"}
    early = "select user_id, asked_at as known, outcome, amount from loans"
    found = report(connection, early, **both)
    assert ("view__outcome", "outcome", True) in reasons(found)
    assert not any(leak.feature == "view__amount" for leak in found.leaks)
    settled = """select l.user_id, l.asked_at + to_hours(length(c.city)) as known, l.outcome
      from loans l join cities c using (user_id)"""
    assert report(connection, settled, **both) == LeakReport((), ())


def test_an_expression_that_reads_the_outcome_is_proven(connection: duckdb.DuckDBPyConnection) -> None:
    request = RequestView("request", {"shift": "age * 3 + 1", "waited": "date_diff('hour', asked_at, settled_at)"})
    found = report(connection, "select * from cities", "age > 20", request=request)
    assert {leak.feature: leak.evidence["columns"] for leak in found.leaks if leak.certain} == {
        "request__shift": ["age"],
        "request__waited": ["settled_at"],
    }


def test_a_feature_far_above_the_rest_is_suspected(connection: duckdb.DuckDBPyConnection) -> None:
    # Right nine times of ten.
    population = """select user_id, asked_at, amount, outcome, settled_at, max(
        case when hash(asked_at) % 10 = 0 then 1 - (outcome > 0.5)::int else (outcome > 0.5)::int end
      ) over (partition by user_id, asked_at) as hint
      from (select *, asked_at + interval 3 hour as settled_at from loans)"""
    found = report(
        connection,
        "select * from cities",
        population=population,
        rows=population,
        request_columns=["hint", "amount"],
        label_time=None,
    )
    assert reasons(found) == {("hint", "jump", False)}


def test_what_cannot_be_examined_is_said(connection: duckdb.DuckDBPyConnection) -> None:
    sql = "select user_id, max(asked_at) as last, avg(amount) as usual from loans group by user_id"
    found = report(connection, sql, event_time="last", label_time=None)
    assert any("no label_time is given" in reason for reason in found.unexamined)
    assert any("View view: last does not come from one table" in reason for reason in found.unexamined)
    few = report(connection, sql, event_time="last", rows=f"select * from ({POPULATION}) limit 10")
    assert any("fewer than 200" in reason for reason in few.unexamined)
    text = "select *, strftime(asked_at, '%d.%m.%Y') as settled_at from loans"
    unread = report(connection, "select user_id, asked_at, amount from loans", rows=text, population=text)
    assert any("settled_at is no time" in reason for reason in unread.unexamined)
    joined = "select l.*, l.asked_at + interval 3 hour as settled_at, c.city from loans l join cities c using (user_id)"
    split = report(connection, sql, "city = 'x'", event_time="last", population=joined, rows=joined)
    assert any("does not say which rows" in reason for reason in split.unexamined)


def test_a_label_that_cannot_be_used_is_told(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(InputError, match="label 'outcom > 1' cannot be evaluated"):
        report(connection, "select * from cities", "outcom > 1")
    with pytest.raises(InputError, match="no column 'settled'"):
        report(connection, "select * from cities", label_time="settled")


COLUMNS = {"flights": {"carrier": "", "delay": "", "at": ""}, "planes": {"tail": "", "seats": ""}}


@pytest.mark.parametrize(
    ("sql", "column", "expected"),
    [
        ("select at as t from flights", "t", {"flights.at"}),
        ("select f.at + interval 1 day as t from flights f", "t", {"flights.at"}),
        ("select * from flights", "delay", {"flights.delay"}),
        (
            "with a as (select *, at + 1 as u from flights) select u + delay as t from a",
            "t",
            {"flights.at", "flights.delay"},
        ),
        ("select at + 1 as u, u + 2 as t from flights", "t", {"flights.at"}),
        ("select date_trunc('day', at) as t from flights group by all", "t", {"flights.at"}),
        ("select seats as t from flights join planes on true", "t", {"planes.seats"}),
        ("with flights as (select tail as at from planes) select at as t from flights", "t", {"planes.tail"}),
        ("select max(at) as t from flights", "t", None),
        ("select lag(at) over () as t from flights", "t", None),
        ("select at + seats as t from flights join planes on true", "t", {"flights.at", "planes.seats"}),
        ("select at as t from flights union all select seats from planes", "t", None),
        ("select at from flights", "t", None),
        ("select u + 1 as u from flights", "u", None),
        ("selec", "t", None),
    ],
)
def test_origins(sql: str, column: str, expected: set[str] | None) -> None:
    found = origin(sql, column, lambda table: COLUMNS[table])
    assert (None if found is None else {f"{table}.{name}" for table, name in found.columns}) == expected


def test_a_plain_origin_is_a_column_as_it_is() -> None:
    def made(sql: str) -> Origin:
        found = origin(sql, "t", lambda table: COLUMNS[table])
        assert found is not None
        return found

    assert made("with a as (select at as u from flights) select u as t from a").plain
    assert made("select delay as t from flights").table == "flights"
    assert not made("select delay + 1 as t from flights").plain
    assert made("select delay + seats as t from flights join planes on true").table is None


def test_tables_are_replaced_and_names_of_expressions_are_not() -> None:
    sql = "with t as (select * from flights) select * from t join flights f on true join planes on true"
    assert tables_of(sql) == {"flights", "planes"}
    replaced = with_table(sql, "flights", "select 1 as x")
    assert replaced.count("SELECT 1 AS x") == 2
    assert "planes" in replaced
    kept = "with flights as (select 1 as x) select * from flights"
    assert "select 2" not in with_table(kept, "flights", "select 2").lower()


def test_strength() -> None:
    chance = np.random.default_rng(0)
    label = (chance.random(4000) > 0.7).astype(float)
    noise = chance.random(4000)
    assert strength(list(label + noise * 0.1), label, True) > 0.95
    assert strength(list(np.where(noise > 0.5, noise, np.nan)), label, True) < 0.1
    assert strength([str(n) for n in range(4000)], label, True) < 0.1
    assert strength(["late" if x else None for x in label], label, True) > 0.99
    within = [START + timedelta(seconds=float(one + x) * 40_000) for one, x in zip(noise * 0.1, label, strict=True)]
    assert strength(within, label, True) > 0.95  # of one day
    assert strength(list((noise - 0.5) ** 2), noise, False) < 0.1
    assert strength(list(noise), (noise - 0.5) ** 2, False) > 0.95
    assert gini(np.array([0.1, 0.1, 0.2, 0.3]), np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(2 * 0.625 - 1)
    assert r_squared(label, label) == 1


@pytest.mark.parametrize("written", ['"loans"', "Loans", 'main."loans"'])
def test_a_table_is_the_same_however_its_name_is_written(connection: duckdb.DuckDBPyConnection, written: str) -> None:
    rows = POPULATION.replace("from loans", f"from {written}")
    view = "select user_id, asked_at, outcome from " + ("main.loans" if "." in written else "loans")
    found = report(connection, view, event_time="asked_at", population=rows, rows=rows)
    assert {(leak.reason, leak.feature) for leak in found.leaks if leak.certain} == {("outcome", "view__outcome")}
