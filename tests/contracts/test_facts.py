"""What metadata say of rows spares reading them, and never changes a verdict."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.contracts import checks as c
from bascule.contracts import facts, narrow, scanning
from bascule.contracts.profiling import profile
from bascule.contracts.run import run_checks
from bascule.history import Workspace
from bascule.lake import Lake
from tests.contracts import naive
from tests.contracts.test_parts import Listed
from tests.contracts.test_properties import accepted, columns, contract_with, keys, numeric, ranges, relation, tables

BOUND = c.Bound("<=", 0)


class Counting:
    """A connection that notes what it is asked."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection, self.asked = connection, list[str]()

    def execute(self, query: str, *more: Any) -> Any:
        self.asked.append(query)
        return self.connection.execute(query, *more)


told = st.one_of(
    numeric.flatmap(ranges),
    columns.map(c.NotNull),
    keys.map(c.Unique),
    columns.flatmap(accepted),
    st.builds(c.Matches, st.just("s"), st.sampled_from(["^a", "b$", "^$"])),
    st.builds(c.Aggregate, st.sampled_from(["min", "max"]), numeric),
)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules=st.lists(told, min_size=1, max_size=5), rows=tables, more=tables)
def test_verdicts_over_files_and_parts_equal_a_row_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rules: list[c.Rule], rows: list[naive.Row], more: list[naive.Row]
) -> None:
    found = [c.Check(f"{n}", rule, c.Bound("<=", 0)) for n, rule in enumerate(rules)]
    for module, name, value in ((scanning, "LARGE", 0), (scanning, "FEW", 2), (narrow, "LEAST_HASHED", 0)):
        monkeypatch.setattr(module, name, value)
    connection = duckdb.connect()
    path = tmp_path / "rows.parquet"
    connection.execute(f"COPY (FROM {relation(rows)}) TO '{path}' (FORMAT parquet)")
    parts = Listed.of({"a": rows, "b": more}, None)
    reports = (
        (run_checks(connection, f"read_parquet('{path}')", contract_with(found), sample=0), rows),
        (run_checks(connection, relation(rows + more), contract_with(found), parts=parts, sample=0), rows + more),
    )
    for report, seen in reports:
        for check, result in zip(found, report.results, strict=True):
            assert (result.status, result.failed_rows) == naive.verdict(check, seen, [], []), check


def test_a_range_that_holds_the_ends_of_a_file_reads_no_row(tmp_path: Path) -> None:
    connection = Counting(duckdb.connect())
    path = tmp_path / "rows.parquet"
    connection.execute(f"COPY (SELECT range AS i, range / 4 AS x FROM range(1000)) TO '{path}' (FORMAT parquet)")
    wide = [c.Check("i", c.Between("i", 0, 999), BOUND), c.Check("x", c.Between("x", above=-0.1, below=250), BOUND)]
    source = f"read_parquet('{path}')"
    connection.asked.clear()
    assert run_checks(connection, source, contract_with(wide)).passed  # type: ignore[arg-type]
    assert not any("count_if" in query for query in connection.asked)
    close = [c.Check("i", c.Between("i", 0, 998), BOUND), c.Check("x", c.Between("x", below=249.75), BOUND)]
    report = run_checks(connection, source, contract_with(close))  # type: ignore[arg-type]
    assert [result.failed_rows for result in report.results] == [1, 1]


def test_what_a_tables_metadata_say_equals_a_loop(tmp_path: Path) -> None:
    lake = Lake(Workspace.create(tmp_path))
    nan, inf = float("nan"), float("inf")
    columns = {
        "i": [3, None, -(2**62), 2**62],
        "x": [nan, None, -0.0, 1.5],
        "wide": [-inf, inf, nan, 0.0],
        "gone": [nan, nan, None, None],
        "s": ["b", None, "", "a"],
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    lake.append("t", rows)
    parts = lake.parts(lake.workspace.history.read("main", "tables/t") or {})
    found = parts.facts(parts.ids[0])
    assert found is not None
    assert found.rows == 4
    for name, values in columns.items():
        there = [value for value in values if not naive.missing(value)]
        assert found.missing(name) == 4 - len(there), name
        ends = (min(there), max(there)) if there else (None, None)  # type: ignore[type-var]
        assert found.ends(name) == (None if name == "s" else ends), name
    assert found.missing("nobody") is None
    assert found.ends("nobody") is None


def test_bounds_are_compared_as_sql_does() -> None:
    class Ends:
        rows = 1

        def __init__(self, least: Any, most: Any) -> None:
            self.pair = least, most

        def missing(self, column: str) -> int | None:
            return None

        def ends(self, column: str) -> tuple[Any, Any] | None:
            return self.pair

    def holds(rule: c.Between, kind: str, value: Any) -> bool:
        told = facts.within(rule, kind)
        return told is not None and told.state(Ends(value, value)) == (0,)

    assert holds(c.Between("x", 0.3), "DECIMAL(18,17)", Decimal("0.3"))
    assert not holds(c.Between("x", 0.3), "DECIMAL(18,17)", Decimal("0.29999999999999999"))
    assert not holds(c.Between("x", above=1), "BIGINT", 1)
    assert holds(c.Between("x", above=1, below=2.5), "BIGINT", 2)
    assert not holds(c.Between("x", 0), "FLOAT", 1.0)
    assert facts.within(c.Between("x", "2013-01-01"), "DATE") is None


def test_alike_hashes_prove_nothing() -> None:
    """Keys that differ may have one hash: then they are compared themselves."""
    connection = duckdb.connect()
    connection.execute("CREATE MACRO hash(a, b) AS 7")
    rows = "(SELECT range AS i, 's' || range AS s FROM range(200000))"
    pair = contract_with([c.Check("pair", c.Unique(("i", "s")), BOUND)])
    assert run_checks(connection, rows, pair).passed
    twice = f"(FROM {rows} UNION ALL SELECT 5, 's5')"
    assert [result.failed_rows for result in run_checks(duckdb.connect(), twice, pair).results] == [1]


def test_values_of_few_kinds_are_looked_at_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanning, "LARGE", 0)
    connection = Counting(duckdb.connect())
    path = tmp_path / "rows.parquet"
    columns = "'k' || range % 3 AS s, 'v' || range AS many"
    connection.execute(f"COPY (SELECT {columns} FROM range(5000)) TO '{path}' (FORMAT parquet)")
    found = [
        c.Check("few", c.OneOf("s", ("k0", "k1")), BOUND),
        c.Check("shape", c.Matches("s", "^k[01]$"), BOUND),
        c.Check("many", c.Matches("many", "^v[0-9]$"), BOUND),
    ]
    report = run_checks(connection, f"read_parquet('{path}')", contract_with(found), sample=0)  # type: ignore[arg-type]
    assert [result.failed_rows for result in report.results] == [1666, 1666, 4990]
    grouped = [query for query in connection.asked if "GROUP BY 1" in query]
    assert len(grouped) == 1


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_nan_that_a_footer_does_not_tell_of_is_missing(tmp_path: Path, kind: pa.DataType) -> None:
    """Arrow leaves NaN out of the ends that it writes; DuckDB then takes every value for a number."""
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"x": pa.array([1.0, float("nan"), 2.0, 3.0], kind)}), path)
    found = [
        c.Check("there", c.NotNull("x"), BOUND),
        c.Check("some", c.NotNull("x"), BOUND, where="x > 1"),
        c.Check("wide", c.Between("x", 0, 5), BOUND),
        c.Check("once", c.Unique(("x",)), BOUND),
        c.Check("most", c.Aggregate("max", "x"), c.Bound("<=", 3)),
        c.Check("mean", c.Aggregate("mean", "x"), c.Bound("<=", 2)),
        c.Check("kinds", c.Aggregate("distinct", "x"), c.Bound("<=", 3)),
    ]
    connection = duckdb.connect()
    report = run_checks(connection, f"read_parquet('{path}')", contract_with(found))
    failed = {result.name: result.failed_rows for result in report.results if result.status != "passed"}
    assert failed == {"there": 1, "some": 1}
    assert len(report.results[0].sample) == 1
    assert profile(connection, f"read_parquet('{path}')").column("x").missing == 1
