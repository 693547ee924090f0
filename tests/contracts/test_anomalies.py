"""What is usual, by a check's own past."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import duckdb
import numpy as np
import pytest

from bascule.contracts import CheckResult, render_html, render_junit, render_markdown, render_text, run_checks
from bascule.contracts.anomalies import LEAST, usual
from tests.contracts.writing import column, contract_of, ours


def test_a_short_past_says_nothing() -> None:
    assert usual([1.0] * (LEAST - 1)) is None
    assert usual([float("nan"), float("inf")] * 20) is None


def test_what_varies_may_vary_as_it_did() -> None:
    random = np.random.default_rng(1)
    misses = 0
    for _ in range(200):
        values = random.normal(100, 5, 31).tolist()
        low, high = usual(values[:30]) or (0.0, 0.0)
        misses += not low <= values[30] <= high
        assert high < 160
        assert low > 40
    assert misses <= 6


def test_what_grows_may_go_on_growing() -> None:
    low, high = usual([1000.0 + 10 * day + day % 3 for day in range(30)]) or (0.0, 0.0)
    assert low <= 1301 <= high
    assert not low <= 1600 <= high
    assert not low <= 650 <= high  # half of the rows are gone


def test_a_few_odd_days_change_nothing() -> None:
    values = [10.0, 10.2, 9.9, 10.1, 500.0, 10.0, 9.8, 10.1, 0.0, 10.2, 10.0, 9.9]
    low, high = usual(values) or (0.0, 0.0)
    assert 8 < low < 10 < high < 12


def test_what_never_changed_may_not_change() -> None:
    assert usual([0.0] * 20) == (0.0, 0.0)
    low, high = usual([200.0] * 20) or (0.0, 0.0)
    assert (low, high) == (199.0, 201.0)


def checked(connection: duckdb.DuckDBPyConnection, rule: dict[str, Any], past: list[float]) -> CheckResult:
    rows = "(SELECT range::DOUBLE AS x FROM range(100) UNION ALL SELECT NULL)"
    contract = contract_of([column("x", {**rule, "name": "it"})])
    report = run_checks(connection, rows, contract, past={"it": past})
    found = next(result for result in report.results if result.name == "it")
    told = found.status == "passed" and found.unusual
    assert ("unusual   it" in render_text(report)) is told
    for words in (render_markdown(report), render_junit(report), render_html([report])):
        assert ("unusual: " in words) is told
    ElementTree.fromstring(render_junit(report))
    return found


@pytest.mark.parametrize(
    ("rule", "past", "status", "unusual"),
    [
        (ours("mean", usual=True), [50.0, 49.0, 51.0] * 4, "passed", False),
        (ours("mean", usual=True), [5.0, 4.9, 5.1] * 4, "failed", True),
        (ours("mean", usual=True), [5.0] * 3, "passed", False),
        (ours("mean", minimum=1), [5.0, 4.9, 5.1] * 4, "passed", True),
        (ours("not_null", tolerate="usual"), [0.01, 0.009, 0.011] * 4, "passed", False),
        (ours("not_null", tolerate="usual"), [0.001, 0.0009, 0.0011] * 4, "failed", True),
        (ours("not_null", tolerate="5 %"), [0.001, 0.0009, 0.0011] * 4, "passed", True),
    ],
)
def test_a_check_may_ask_for_what_is_usual(
    connection: duckdb.DuckDBPyConnection, rule: dict[str, Any], past: list[float], status: str, unusual: bool
) -> None:
    found = checked(connection, rule, past)
    assert (found.status, found.unusual) == (status, unusual)
    if len(past) < LEAST:
        assert "3 past values are too few" in found.observed
    elif "usual" in str(rule):
        assert "usually" in found.observed


def test_the_extreme_of_a_private_column_is_not_kept(connection: duckdb.DuckDBPyConnection) -> None:
    prop = column("x", ours("max", maximum=1), classification="restricted")
    found = run_checks(connection, "(SELECT 4711 AS x)", contract_of([prop])).results[-1]
    assert (found.observed, found.value) == ("hidden", None)
