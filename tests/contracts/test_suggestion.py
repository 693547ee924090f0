from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import duckdb
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.contracts import Contract, run_checks, suggest
from bascule.contracts import checks as c
from bascule.contracts.blocks import follows_time, widened
from bascule.contracts.writing import comment, flow_list, outward, scalar
from bascule.errors import NotFound
from tests.contracts.test_properties import TYPES, relation, tables

KEYS = {"flights": ("time_hour", "carrier", "flight"), "weather": ("origin", "time_hour")}


@pytest.fixture(scope="module")
def half_year(flights_year: duckdb.DuckDBPyConnection) -> dict[str, Contract]:
    """What January to June suggest."""
    return {
        table: Contract.parse(
            suggest(flights_year, f"(SELECT * FROM {table} WHERE month < 7)", table, key), f"{table}.yaml"
        )
        for table, key in KEYS.items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("month", range(1, 13))
@pytest.mark.parametrize("table", ["flights", "weather"])
def test_half_a_year_lets_every_real_month_pass(
    flights_year: duckdb.DuckDBPyConnection, half_year: dict[str, Contract], table: str, month: int
) -> None:
    report = run_checks(flights_year, f"(SELECT * FROM {table} WHERE month = {month})", half_year[table])
    assert report.problems == ()


@pytest.mark.slow
@pytest.mark.parametrize("last", [1, 2, 4, 9])
@pytest.mark.parametrize("table", ["flights", "weather"])
def test_no_part_of_the_year_refuses_a_later_month(
    flights_year: duckdb.DuckDBPyConnection, table: str, last: int
) -> None:
    """Seasons that were not seen yet are not taken for errors."""
    text = suggest(flights_year, f"(SELECT * FROM {table} WHERE month <= {last})", table, KEYS[table])
    contract = Contract.parse(text, f"{table}.yaml")
    for month in range(last + 1, 13):
        report = run_checks(flights_year, f"(SELECT * FROM {table} WHERE month = {month})", contract)
        assert report.problems == (), month


JULY = "SELECT * {} FROM flights WHERE month = 7"
BROKEN = {
    "distance in kilometres": (JULY.format("REPLACE (CAST(distance * 1.609 AS BIGINT) AS distance)"), "distance: mean"),
    "air time in seconds": (JULY.format("REPLACE (air_time * 60 AS air_time)"), "air_time: range"),
    "delays in seconds": (JULY.format("REPLACE (dep_delay * 60 AS dep_delay)"), "dep_delay: mean"),
    "clock times in hours": (JULY.format("REPLACE (arr_time / 60.0 AS arr_time)"), "arr_time: mean"),
    "keys repeated": (
        f"{JULY.format('')} UNION ALL ({JULY.format('')} LIMIT 3)",
        "time_hour, carrier, flight: key is unique",
    ),
    "a column renamed": (JULY.format("RENAME (dep_delay AS departure_delay)"), "dep_delay: column"),
    "a column gone": (JULY.format("EXCLUDE (dep_delay)"), "dep_delay: column"),
    "a number as text": (JULY.format("REPLACE (CAST(dep_delay AS VARCHAR) AS dep_delay)"), "dep_delay: column"),
    "carriers in lower case": (JULY.format("REPLACE (lower(carrier) AS carrier)"), "carrier: values"),
    "tail numbers in lower case": (JULY.format("REPLACE (lower(tailnum) AS tailnum)"), "tailnum: pattern"),
    "no rows": (f"{JULY.format('')} AND false", "table: row count"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", BROKEN)
def test_half_a_year_refuses_a_broken_month(
    flights_year: duckdb.DuckDBPyConnection, half_year: dict[str, Contract], case: str
) -> None:
    select, check = BROKEN[case]
    report = run_checks(flights_year, f"({select})", half_year["flights"])
    assert not report.passed
    assert check in {result.name for result in report.problems}


@pytest.mark.slow
def test_a_renamed_column_is_named(flights_year: duckdb.DuckDBPyConnection, half_year: dict[str, Contract]) -> None:
    report = run_checks(flights_year, f"({BROKEN['a column renamed'][0]})", half_year["flights"])
    lost = next(result for result in report.results if result.name == "dep_delay: column")
    assert lost.observed.startswith("missing; departure_delay is new and looks like it (same type, same place")


@pytest.mark.slow
@pytest.mark.parametrize("table", ["flights", "weather"])
def test_a_column_that_is_wholly_missing_is_refused(
    flights_year: duckdb.DuckDBPyConnection, half_year: dict[str, Contract], table: str
) -> None:
    types = {row[0]: row[1] for row in flights_year.execute(f"DESCRIBE {table}").fetchall()}
    passed = []
    for name, type_ in types.items():
        select = f"SELECT * REPLACE (CAST(NULL AS {type_}) AS {name}) FROM {table} WHERE month = 7"
        passed += [name] if run_checks(flights_year, f"({select})", half_year[table], sample=0).passed else []
    assert passed == []


@pytest.mark.slow
def test_units_of_the_weather(flights_year: duckdb.DuckDBPyConnection, half_year: dict[str, Contract]) -> None:
    for change in ("pressure / 33.86 AS pressure", "visib * 1.609 AS visib", "humid / 100 AS humid"):
        select = f"SELECT * REPLACE ({change}) FROM weather WHERE month = 7"
        assert not run_checks(flights_year, f"({select})", half_year["weather"]).passed


@pytest.mark.slow
def test_the_text_is_read_alike_by_yaml_1_1(
    flights_year: duckdb.DuckDBPyConnection, half_year: dict[str, Contract]
) -> None:
    document = yaml.safe_load(half_year["flights"].text)
    assert document["apiVersion"] == "v3.1.0"
    assert [prop["name"] for prop in document["schema"][0]["properties"]][:3] == ["year", "month", "day"]
    assert max(len(line) for line in half_year["flights"].text.splitlines()) <= 120


@pytest.mark.slow
def test_evidence_is_told(half_year: dict[str, Contract]) -> None:
    text = half_year["flights"].text
    assert "# Never missing in 166,158 rows: under 0.0018 % with 95 % confidence." in text
    assert "No two of 166,158 rows share the key time_hour, carrier, flight." in text
    assert "It never changed, so nothing says what else it may be." in " ".join(text.replace("#", "").split())
    assert "1,048.36 lies far from the rest" in " ".join(half_year["weather"].text.replace("#", "").split())


# What rows cannot support is not suggested.


def asked(connection: duckdb.DuckDBPyConnection, rows: str, key: Sequence[str] = ()) -> list[c.Check]:
    text = suggest(connection, rows, "t", key)
    return [
        check for check in Contract.parse(text, "t.yaml").checks if not isinstance(check.rule, c.Declared | c.NoOthers)
    ]


def kinds(found: Sequence[c.Check], name: str) -> set[str]:
    return {check.kind for check in found if name in check.columns}


def test_few_rows_support_little(connection: duckdb.DuckDBPyConnection) -> None:
    found = asked(connection, "(SELECT range AS x, 'a' AS s FROM range(20))")
    assert {check.kind for check in found} == {"row_count"}


def test_an_empty_relation_supports_only_its_columns(connection: duckdb.DuckDBPyConnection) -> None:
    found = asked(connection, "(SELECT 1 AS x, 'a' AS s, NULL AS n WHERE false)")
    assert {check.kind for check in found} == {"row_count"}


TIMED = "TIMESTAMP '2020-01-01' + to_minutes(CAST(range * 10 AS INTEGER)) AS at, FROM range(40000)"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("range", {"not_null", "unique", "range"}),  # a counter grows: never negative is all that is said
        ("7", {"not_null"}),  # a constant
        ("hash(range) % 100", {"not_null", "range", "mean"}),
        ("CAST(hash(range) % 3 AS INTEGER)", {"not_null", "values"}),
        ("CASE WHEN hash(range) % 10 = 0 THEN NULL ELSE (hash(range) % 1000) / 7.0 END", {"not_null", "range", "mean"}),
        ("chr(CAST(65 + hash(range) % 4 AS INTEGER))", {"not_null", "values"}),
        ("'id' || range", {"not_null", "unique", "pattern"}),
        ("CAST(range AS VARCHAR) || ' words, & more'", {"not_null", "unique", "length"}),
        ("CAST(NULL AS INTEGER)", set()),
        ("hash(range) % 2 = 0", {"not_null"}),
        ("DATE '2020-01-01' + CAST(range // 144 AS INTEGER)", {"not_null"}),
        ("[range]", {"not_null"}),
        ("1.0 / (hash(range) % 5)", set()),  # infinities
    ],
)  # fmt: skip
def test_rules_by_what_a_column_holds(
    connection: duckdb.DuckDBPyConnection, expression: str, expected: set[str]
) -> None:
    found = asked(connection, f"(SELECT {expression} AS x, {TIMED.replace(', FROM', ' FROM')})")
    if expression.startswith("1.0 /"):
        assert kinds(found, "x") <= {"not_null"}
    else:
        assert kinds(found, "x") == expected


def test_rows_without_times_are_cut_in_their_order(connection: duckdb.DuckDBPyConnection) -> None:
    text = suggest(connection, "(SELECT hash(range) % 100 AS x FROM range(5000))", "t")
    assert "cut in their order into" in text
    assert "check: mean" in text


def test_a_key_that_repeats_is_not_suggested(connection: duckdb.DuckDBPyConnection) -> None:
    text = suggest(connection, "(SELECT range // 2 AS x FROM range(2000))", "t", ("x",))
    assert "x is not suggested as key: 1,000 rows repeat one." in text
    assert Contract.parse(text, "t.yaml").key == ()
    holes = suggest(connection, "(SELECT CASE WHEN range > 0 THEN range END AS x FROM range(2000))", "t", ("x",))
    assert "x is not suggested as key: x has missing values." in holes
    with pytest.raises(NotFound, match="'y'"):
        suggest(connection, "(SELECT 1 AS x)", "t", ("y",))


def test_personal_columns_are_classified_and_not_listed(connection: duckdb.DuckDBPyConnection) -> None:
    text = suggest(connection, "(SELECT chr(CAST(65 + range % 4 AS INTEGER)) AS last_name FROM range(5000))", "t")
    assert Contract.parse(text, "t.yaml").masked == {"last_name"}
    assert "validValues" not in text


@pytest.mark.slow
def test_odd_names_survive(connection: duckdb.DuckDBPyConnection) -> None:
    names = ["a b", "no", 'quo"te', "é", "x: y", "#", "😀", "null", "1", "tab\there"]
    rows = ", ".join(f"""range AS "{name.replace('"', '""')}" """ for name in names)
    text = suggest(connection, f"(SELECT {rows} FROM range(2000))", "odd table")
    contract = Contract.parse(text, "x.yaml")
    assert [column.name for column in contract.columns] == names
    assert contract.table == "odd table"
    assert [prop["name"] for prop in yaml.safe_load(text)["schema"][0]["properties"]] == names


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=tables, times=st.sampled_from([1, 100, 400]))
def test_rows_keep_the_contract_that_they_suggest(rows: list[dict[str, Any]], times: int) -> None:
    connection = duckdb.connect()
    days = "DATE '2020-01-01' + CAST(range AS INTEGER) AS d"
    repeated = f"(SELECT {', '.join(TYPES)}, {days} FROM {relation(rows)} AS v, range({times}))"
    text = suggest(connection, repeated, "t")
    report = run_checks(connection, repeated, Contract.parse(text, "t.yaml"))
    assert [result.name for result in report.problems if result.kind != "row_count"] == []


# The parts.


def test_what_follows_time() -> None:
    assert follows_time([float(i) for i in range(12)], 3.0)
    assert not follows_time([5.0, 6.0, 5.5, 6.5, 5.2, 6.1, 5.9, 6.2, 5.1], 3.0)
    assert not follows_time([10 + i / 100 for i in range(12)], 3.0)
    assert not follows_time([1.0, 2.0, 3.0], 1.0)
    assert not follows_time([1.0] * 20, 1.0)


def test_bands_are_wider_with_fewer_blocks() -> None:
    assert widened([1.0, 2.0], 8) == (0.0, 3.0)
    assert widened([1.0, 2.0], 400) == pytest.approx((0.49, 2.51))
    assert widened([1.0, 1.0], 8, 0.5) == (0.5, 1.5)


@pytest.mark.parametrize(
    ("low", "high", "whole", "expected"),
    [
        (-33, 1301, True, (-100, 1400)),
        (976.0, 1094.1, False, (970, 1100)),
        (0.0, 0.05398, False, (0, 0.054)),
        (2, 2, True, (2, 2)),
        (0.2, 3.7, True, (0, 4)),
    ],
)
def test_numbers_are_rounded_outwards(low: float, high: float, whole: bool, expected: tuple[float, float]) -> None:
    assert outward(low, high, whole=whole) == expected


def test_yaml_is_written_so_that_every_reader_agrees() -> None:
    for value in ["no", "Y", "null", "1", "a: b", "é", "\x85", "\ufeff", "😀", "a\nb", "", " x", "x_1", "0x1F", "1e3"]:
        assert yaml.safe_load(scalar(value)) == value
    many = [f"value {i}, with a comma" for i in range(40)]
    lines = flow_list(many, 6)
    assert yaml.safe_load("\n".join(["k: " + lines[0], *lines[1:]]))["k"] == many
    assert all(line.startswith("  # ") for line in comment("word " * 60, 2))


def test_no_more_values_are_told_than_there_are_rows(connection: duckdb.DuckDBPyConnection) -> None:
    """The sketch of distinct values is off by some percent, also upwards."""
    for rows in range(700, 1100, 25):
        text = suggest(connection, f"(select i * 7.31 as x from range({rows}) r(i))", "t")
        told = re.search(r"x: about ([\d,]+) values", text)
        assert told is not None
        assert int(told[1].replace(",", "")) <= rows


def test_values_that_name_people_make_a_column_personal_whatever_its_name(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    """Otherwise a list of accepted values would publish them, and samples of failing rows show them."""
    connection.execute(
        "CREATE TABLE calls AS SELECT i AS id, printf('ann%d@example.org', i % 3) AS contact, "
        "printf('%s', ['Bonn', 'Kiel', 'Ulm'][1 + i % 3]) AS town FROM range(2000) r(i)"
    )
    text = suggest(connection, "calls", "calls")
    contract = Contract.parse(text, "calls.yaml")
    assert contract.masked == {"contact"}
    assert "ann1@example.org" not in text
    assert "Ulm" in text
