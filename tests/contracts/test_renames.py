from __future__ import annotations

import duckdb
import pytest

from bascule.contracts import run_checks
from tests.contracts.writing import column, contract_of, ours


def found(connection: duckdb.DuckDBPyConnection, select: str, *properties: dict[str, object]) -> dict[str, str]:
    """What is said of each declared column that is not there."""
    report = run_checks(connection, f"({select})", contract_of(list(properties)))
    return {
        str(result.column): result.observed
        for result in report.results
        if result.kind == "column" and result.status == "failed"
    }


KEPT = [column("carrier", logicalType="string"), column("origin", logicalType="string")]


@pytest.mark.parametrize("new", ["departure_delay", "DepDelay", "dep_dly", "DEP_DELAY", "delay_at_departure"])
def test_a_renamed_column_is_recognised(connection: duckdb.DuckDBPyConnection, new: str) -> None:
    said = found(
        connection,
        f"SELECT 'UA' AS carrier, 5 AS {new}, 'JFK' AS origin",
        KEPT[0],
        column("dep_delay", logicalType="integer"),
        KEPT[1],
    )
    assert said == {"dep_delay": f"missing; {new} is new and looks like it (same type, same place)"}


def test_a_new_column_that_is_nothing_like_it_is_not_blamed(connection: duckdb.DuckDBPyConnection) -> None:
    lost = column("dep_delay", logicalType="integer")
    assert found(connection, "SELECT 'UA' AS carrier, 'JFK' AS origin, 'x' AS remark", KEPT[0], lost, KEPT[1]) == {
        "dep_delay": "missing"
    }


def test_values_tell_likely_columns_apart(connection: duckdb.DuckDBPyConnection) -> None:
    codes = column("carrier", ours("values", values=["UA", "AA"]), logicalType="string")
    said = found(connection, "SELECT 'Monday' AS carr_day, 'UA' AS carr_code, 1 AS x", codes, column("x"))
    assert said["carrier"].startswith("missing; carr_code is new and looks like it")
    assert "100% of its rows pass the checks of carrier" in said["carrier"]


def test_each_new_column_answers_for_one_lost_column(connection: duckdb.DuckDBPyConnection) -> None:
    lost = [column("dep_time", logicalType="integer"), column("dep_delay", logicalType="integer")]
    said = found(connection, "SELECT 1 AS departure_time, 2 AS departure_delay, 'UA' AS carrier", *lost, KEPT[0])
    assert said["dep_time"].startswith("missing; departure_time")
    assert said["dep_delay"].startswith("missing; departure_delay")


def test_the_check_of_unexpected_columns_names_them_too(connection: duckdb.DuckDBPyConnection) -> None:
    contract = contract_of([KEPT[0], column("dep_delay", logicalType="integer"), KEPT[1]])
    report = run_checks(connection, "(SELECT 'UA' AS carrier, 5 AS departure_delay, 'JFK' AS origin)", contract)
    result = next(result for result in report.results if result.kind == "columns")
    assert result.observed == "departure_delay is not in the contract; departure_delay looks like dep_delay"


def test_a_table_that_changed_wholly_is_still_judged(connection: duckdb.DuckDBPyConnection) -> None:
    lost = [column(f"old_{i}", ours("range", minimum=0), logicalType="integer") for i in range(40)]
    said = found(connection, f"SELECT {', '.join(f'{i} AS fresh{i}' for i in range(40))}", *lost)
    assert len(said) == 40


def test_a_column_that_the_table_has_is_not_new(connection: duckdb.DuckDBPyConnection) -> None:
    contract = contract_of([column("id", logicalType="integer"), column("distance", logicalType="number")])
    connection.execute("create table held as select 1 as id, 2.0::double as distance, 3.0::double as weight")
    batch = "(select 2 as id, 3.0::double as weight)"
    alone = run_checks(connection, batch, contract)
    assert "weight is new and looks like it" in str(alone.results)
    assert "weight is new" not in str(run_checks(connection, batch, contract, existing="held").results)
