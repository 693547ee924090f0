from __future__ import annotations

from typing import Any

import duckdb
import pytest

from bascule.contracts import CheckResult, Contract, Report, explain, run_checks
from bascule.errors import InputError
from tests.contracts.writing import column, contract_of, ours

ROWS = """(SELECT * FROM (VALUES
    (1, 'UA', 10.0, TIMESTAMP '2013-01-01 10:00', 'ann@example.org'),
    (2, 'ua', 20.5, TIMESTAMP '2013-01-02 10:00', NULL),
    (2, 'DL', NULL, TIMESTAMP '2013-01-03 10:00', 'bob'),
    (NULL, NULL, -3.0, NULL, 'cy@example.org')) AS v(id, carrier, delay, "at", mail))"""


def one(connection: duckdb.DuckDBPyConnection, prop: dict[str, Any], rows: str = ROWS, **more: Any) -> CheckResult:
    """The result of the last check of a contract with one property."""
    return run_checks(connection, rows, contract_of([prop]), **more).results[-1]


def named(report: Report, name: str) -> CheckResult:
    return next(result for result in report.results if result.name == name)


def test_failing_rows_come_whole_with_the_key_first(connection: duckdb.DuckDBPyConnection) -> None:
    contract = contract_of([
        column("id", primaryKey=True),
        column("carrier", ours("values", values=["UA", "DL"])),
        column("delay", ours("range", minimum=0)),
    ])  # fmt: skip
    report = run_checks(connection, ROWS, contract)
    found = named(report, "carrier: values")
    assert (found.status, found.failed_rows, found.total_rows) == ("failed", 1, 4)
    assert "'ua' × 1" in found.observed
    assert list(found.sample[0].items()) == [
        ("id", 2),
        ("carrier", "ua"),
        ("delay", 20.5),
        ("at", "2013-01-02 10:00:00"),
        ("mail", None),
    ]
    assert named(report, "delay: range").observed.endswith(": -3")
    twins = named(report, "id: key is unique")
    assert (twins.failed_rows, [row["carrier"] for row in twins.sample]) == (1, ["ua", "DL"])
    assert not report.passed


def test_the_sample_is_bounded(connection: duckdb.DuckDBPyConnection) -> None:
    prop = column("x", ours("range", maximum=5))
    found = one(connection, prop, "(SELECT range AS x FROM range(1000))", sample=7)
    assert (found.failed_rows, len(found.sample)) == (994, 7)
    assert one(connection, prop, "(SELECT range AS x FROM range(1000))", sample=0).sample == ()


def test_private_values_stay_out_of_reports(connection: duckdb.DuckDBPyConnection) -> None:
    prop = column("mail", ours("pattern", pattern="@"), classification="PII")
    found = one(connection, prop)
    assert found.sample[0]["mail"] == "•••"
    assert "bob" not in str(found)
    missing = one(connection, column("mail", ours("not_null"), tags=["pii"]))
    assert missing.sample[0]["mail"] is None
    private = column("delay", ours("max", maximum=1), classification="restricted")
    assert one(connection, private).observed == "hidden"
    assert "mail" in missing.sample[0]


def test_long_values_are_cut(connection: duckdb.DuckDBPyConnection) -> None:
    found = one(connection, column("x", ours("length", maximum=3)), "(SELECT repeat('y', 5000) AS x)")
    assert len(found.sample[0]["x"]) == 200


def test_every_type_can_stand_in_a_sample(connection: duckdb.DuckDBPyConnection) -> None:
    rows = """(SELECT 1 AS x, TIMESTAMPTZ '2013-01-01 00:00+00' AS a, DATE '2013-01-01' AS b, 1.5::DECIMAL(5,2) AS c,
        'nan'::DOUBLE AS d, [1, 2] AS e, {'k': 1} AS f, 'ab'::BLOB AS g, INTERVAL 1 DAY AS h, uuid() AS i,
        170141183460469231731687303715884105727::HUGEINT AS j, NULL AS k, true AS l, '{}'::JSON AS m,
        TIMESTAMP_NS '2013-01-01 00:00:00.123456789' AS n, TIME '10:00' AS o, map {'a': 1} AS p)"""
    found = one(connection, column("x", ours("range", maximum=0)), rows)
    assert found.sample[0]["d"] == "nan"
    assert found.sample[0]["c"] == 1.5
    assert found.sample[0]["j"] == 2**127 - 1
    assert found.sample[0]["n"] == "2013-01-01 00:00:00.123456789"


def test_batches_are_compared_with_what_is_there(connection: duckdb.DuckDBPyConnection) -> None:
    contract = contract_of([column("id", primaryKey=True)])
    existing = "(SELECT 1 AS id UNION ALL SELECT 9)"
    report = run_checks(connection, "(SELECT unnest([1, 2, 3]) AS id, 'x' AS n)", contract, existing=existing)
    twins = named(report, "id: key is unique")
    assert (twins.failed_rows, twins.sample) == (1, ({"id": 1, "n": "x"},))
    assert run_checks(connection, "(SELECT unnest([2, 3]) AS id)", contract, existing=existing).passed


def test_relationships_see_the_other_table(connection: duckdb.DuckDBPyConnection) -> None:
    prop = column("carrier", relationships=[{"to": "airlines.carrier"}])
    found = one(connection, prop, related={"airlines": "(SELECT 'UA' AS carrier)"}.get)
    assert (found.failed_rows, [row["carrier"] for row in found.sample]) == (2, ["ua", "DL"])
    alone = one(connection, prop)
    assert (alone.status, alone.observed) == (
        "error",
        "not run: The table airlines is not here. Bring it in first with: bascule ingest",
    )


def test_written_queries(connection: duckdb.DuckDBPyConnection) -> None:
    rules = [
        ours("query", sql="SELECT * FROM t WHERE delay < 0;"),
        {"type": "sql", "query": "SELECT count(*) FROM {object} WHERE id IS NULL", "mustBe": 1},
        {"type": "sql", "query": "SELECT max(delay) > 5 FROM t", "mustBe": True},
        {"type": "sql", "query": "SELECT id FROM t", "mustBe": 1},
        {"type": "sql", "query": "SELECT 'many'", "mustBe": 1},
        ours("query", sql="WITH late AS (SELECT * FROM t) SELECT * FROM late JOIN u USING (id)"),
    ]
    # Whichever way the standard's versions wrote what stands for the table and the column.
    marks = [
        ("${object}", "${property}"),
        ("{object}", "{property}"),
        ("${table}", "${column}"),
        ("{table}", "{column}"),
    ]
    own = [{"type": "sql", "query": f"SELECT count({c}) FROM {t}", "mustBeGreaterThan": 0} for t, c in marks]
    marked = run_checks(connection, ROWS, contract_of([column("id", quality=own)]))
    assert [result.status for result in marked.results[-4:]] == ["passed"] * 4
    contract = contract_of([column("id")], quality=rules)
    report = run_checks(connection, ROWS, contract, related={"u": "(SELECT 1 AS id)"}.get)
    found = report.results[2:]
    assert [result.status for result in found] == ["failed", "passed", "passed", "error", "error", "failed"]
    assert found[0].sample[0]["delay"] == -3.0
    assert "one row with one value" in found[3].observed


REFUSED = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('*')",
    "DROP TABLE t",
    "SELECT 1; SELECT 2",
    "COPY t TO 'x.csv'",
    "SELECT getenv('HOME') FROM t",
    "SELECT nextval('s') FROM t",
    "SELECT current_setting('home_directory') FROM t",
    "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM t UNION ALL SELECT * FROM read_text('/etc/passwd')",
    "INSERT INTO t VALUES (1)",
    "WITH x AS (DELETE FROM t) SELECT 1",
    "SELECT * INTO x FROM t",
    "SET memory_limit = '1MB'",
    "PRAGMA database_list",
    "EXPORT DATABASE 'x'",
    "SELECT * FROM t WHERE id IN (SELECT id FROM read_parquet('x'))",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM information_schema.tables",
    "SELECT * FROM t WHERE id = $1",
    "ATTACH 'x.db'",
    "not sql",
]


@pytest.mark.parametrize("sql", REFUSED)
def test_queries_that_do_more_than_read_the_table_are_not_run(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    report = run_checks(connection, ROWS, contract_of([column("id")], quality=[ours("query", sql=sql)]))
    assert report.results[-1].status == "error"
    assert report.results[-1].observed.startswith("not run: ")


@pytest.mark.parametrize(
    "sql",
    [
        "id IN (SELECT 1)",
        "true) FROM t WHERE (true",
        "true), (false",
        "true -- ",
        "getenv('HOME') = ''",
        "sleep_ms(1) IS NULL",
        "/* x",
        "avg(id) > 1",
        "",
        "id > ?",
    ],
)
def test_expressions_are_expressions(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    contract = contract_of([column("id"), column("delay", ours("not_null", where=sql or " "))])
    harmless = sql in ("true -- ",)
    found = run_checks(connection, ROWS, contract).results[-1]
    assert found.status == ("failed" if harmless else "error")


def test_missing_columns_fail_their_checks_and_nothing_is_raised(connection: duckdb.DuckDBPyConnection) -> None:
    contract = contract_of([
        column("id"),
        column("gone", ours("mean", minimum=1), required=True),
        column("delay", ours("expression", sql="delay > gone")),
        column("carrier"), column("at"), column("mail"),
    ])  # fmt: skip
    report = run_checks(connection, ROWS, contract)
    bad = {result.name: (result.status, result.observed) for result in report.problems}
    assert bad == {
        "gone: column": ("failed", "missing"),
        "gone: not null": ("error", "not run: gone is missing"),
        "gone: mean": ("error", "not run: gone is missing"),
        "delay: expression": ("error", "not run: gone is missing"),
    }


def test_wrong_types_fail_and_their_checks_are_not_run(connection: duckdb.DuckDBPyConnection) -> None:
    contract = contract_of([column("carrier", ours("mean", minimum=1), logicalType="number")])
    report = run_checks(connection, ROWS, contract)
    assert named(report, "carrier: column").observed == "VARCHAR column"
    assert named(report, "carrier: column").expected == "number column"
    assert named(report, "carrier: mean").observed == "not run: carrier is VARCHAR, not a number"


@pytest.mark.parametrize(
    ("logical", "type_", "status"),
    [
        ("integer", "UTINYINT", "passed"),
        ("integer", "DECIMAL(9,0)", "passed"),
        ("integer", "DOUBLE", "failed"),
        ("number", "BIGINT", "passed"),
        ("number", "VARCHAR", "failed"),
        ("string", "UUID", "passed"),
        ("string", "INTEGER", "failed"),
        ("timestamp", "TIMESTAMP WITH TIME ZONE", "passed"),
        ("timestamp", "DATE", "failed"),
        ("date", "DATE", "passed"),
        ("boolean", "BOOLEAN", "passed"),
        ("array", "INTEGER[]", "passed"),
        ("object", "STRUCT(a INTEGER)", "passed"),
        ("object", "MAP(VARCHAR, INTEGER)", "passed"),
        ("time", "TIME", "passed"),
    ],
)
def test_types(connection: duckdb.DuckDBPyConnection, logical: str, type_: str, status: str) -> None:
    contract = contract_of([column("x", logicalType=logical)])
    assert run_checks(connection, f"(SELECT NULL::{type_} AS x)", contract).results[0].status == status


def test_physical_types_count_when_there_is_no_logical_one(connection: duckdb.DuckDBPyConnection) -> None:
    contract = contract_of([column("id", physicalType="VARCHAR(2)"), column("carrier", physicalType="weird")])
    found = run_checks(connection, ROWS, contract).results
    assert [result.status for result in found[:2]] == ["failed", "passed"]


@pytest.mark.parametrize(("policy", "status", "passed"), [("warn", "failed", True), ("refuse", "failed", False)])
def test_unexpected_columns(connection: duckdb.DuckDBPyConnection, policy: str, status: str, passed: bool) -> None:
    properties = [{"property": "unexpectedColumns", "value": policy}]
    report = run_checks(connection, ROWS, contract_of([column("id")], customProperties=properties))
    found = named(report, "no unexpected columns")
    assert (found.status, report.passed) == (status, passed)
    assert found.observed == "carrier, delay, at, mail are not in the contract"


def test_unexpected_columns_may_be_allowed(connection: duckdb.DuckDBPyConnection) -> None:
    properties = [{"property": "unexpectedColumns", "value": "allow"}]
    report = run_checks(connection, ROWS, contract_of([column("id")], customProperties=properties))
    assert [result.name for result in report.results] == ["id: column"]


def test_only_critical_checks_fail_a_report(connection: duckdb.DuckDBPyConnection) -> None:
    warning = {**ours("range", maximum=0), "severity": "warning"}
    report = run_checks(connection, ROWS, contract_of([column("delay", warning)]))
    assert report.passed
    assert [result.name for result in report.problems] == ["no unexpected columns", "delay: range"]


def test_freshness(connection: duckdb.DuckDBPyConnection) -> None:
    prop = column("at", ours("freshness", within="2d"))
    newest = 1_357_207_200_000_000  # 2013-01-03 10:00 UTC
    day = 86_400_000_000
    assert one(connection, prop, now=newest + day).status == "passed"
    late = one(connection, prop, now=newest + 3 * day)
    assert (late.status, late.observed, late.expected) == (
        "failed",
        "newest is 3 days old",
        "newest at most 2 days old",
    )
    assert one(connection, prop, '(SELECT NULL::TIMESTAMP AS "at")').status == "failed"
    dates = """(SELECT DATE '2013-01-03' AS "at")"""
    assert one(connection, prop, dates, now=newest).observed == "newest is 10 hours old"


def test_values_are_compared_by_their_text_where_types_differ(connection: duckdb.DuckDBPyConnection) -> None:
    rows = (
        "(SELECT unnest(['007', '7']) AS x, unnest([true, false]) AS b, unnest([DATE '2013-01-01', '2013-01-02']) AS d)"
    )
    assert one(connection, column("x", ours("values", values=["007"])), rows).failed_rows == 1
    assert one(connection, column("x", ours("values", values=[7])), rows).failed_rows == 1
    assert one(connection, column("b", ours("values", values=[True])), rows).failed_rows == 1
    assert one(connection, column("d", ours("values", values=["2013-01-01"])), rows).failed_rows == 1
    assert one(connection, column("d", ours("values", values=[None])), rows).failed_rows == 2


def test_ranges_of_times_and_lengths_of_arrays(connection: duckdb.DuckDBPyConnection) -> None:
    assert one(connection, column("at", ours("range", minimum="2013-01-02"))).failed_rows == 1
    assert one(connection, column("at", ours("range", minimum="whenever"))).status == "error"
    rows = "(SELECT unnest([[1], [1, 2]]) AS x)"
    assert one(connection, column("x", logicalType="array", logicalTypeOptions={"maxItems": 1}), rows).failed_rows == 1


def test_odd_names_are_quoted(connection: duckdb.DuckDBPyConnection) -> None:
    rows = """(SELECT 1 AS "select", 2 AS "a b", 3 AS "q""x", 4 AS n, 5 AS k0, 6 AS seen)"""
    names = ["select", "a b", 'q"x', "n", "k0", "seen"]
    rules = [
        ours("mean", minimum=0),
        ours("median", minimum=0),
        ours("unique"),
        ours("range", maximum=0, where="n > 3"),
    ]
    contract = contract_of(
        [column(name, *rules, required=True, primaryKey=True, relationships=[{"to": "t.n"}]) for name in names]
    )
    report = run_checks(connection, rows, contract, existing=rows)
    assert {result.status for result in report.results if result.kind not in ("range", "unique", "relationship")} == {
        "passed"
    }
    assert {result.status for result in report.results if result.kind in ("range", "unique")} == {"failed"}
    assert "error" not in {result.status for result in report.results}


def test_a_relation_that_cannot_be_read_is_the_callers_mistake(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        run_checks(connection, "no_such_table", contract_of([column("x")]))


def test_results_keep_the_order_of_the_contract(connection: duckdb.DuckDBPyConnection) -> None:
    contract = contract_of(
        [column("id", ours("median", minimum=0), required=True), column("delay", ours("mean", minimum=0))]
    )
    report = run_checks(connection, ROWS, contract)
    assert [result.name for result in report.results] == [check.name for check in contract.checks]


def test_the_plan_is_one_scan_and_narrow_queries(connection: duckdb.DuckDBPyConnection) -> None:
    contract = contract_of([
        column("id", ours("median", minimum=0), ours("mean", minimum=0), required=True, unique=True),
        column("delay", ours("range", minimum=0), ours("expression", sql="nope(")),
    ])  # fmt: skip
    text = explain(connection, ROWS, contract)
    assert text.count("count(*),\n") == 1
    assert "3 checks share one scan" in text
    assert "id: unique has a query of its own" in text
    assert "id: median has a query of its own" in text
    assert "delay: expression cannot be run" in text


def test_the_scan_counts_what_it_runs(connection: duckdb.DuckDBPyConnection) -> None:
    """Passing checks that merge cost one query besides DESCRIBE and EXPLAIN; only failed ones fetch rows."""
    asked: list[str] = []

    class Counting:
        def execute(self, query: str, *more: Any) -> Any:
            asked.append(query)
            return connection.execute(query, *more)

    rules = [ours("range", minimum=-9), ours("mean", minimum=-9), ours("not_null", tolerate=9)]
    contract = contract_of([column("id"), column("delay", *rules, logicalType="number")])
    run_checks(Counting(), ROWS, contract)  # type: ignore[arg-type]
    assert [query.split()[0] for query in asked] == ["DESCRIBE", "EXPLAIN", "SELECT"]


def test_a_contract_without_columns(connection: duckdb.DuckDBPyConnection) -> None:
    contract = Contract.parse(contract_of([]).text, "t.yaml")
    assert run_checks(connection, ROWS, contract).passed
