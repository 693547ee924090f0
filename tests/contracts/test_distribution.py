"""Distances between distributions, drift against a reference, outliers, and checks that are Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy.spatial.distance import jensenshannon

from bascule.contracts import CheckResult, run_checks
from bascule.contracts.calling import Rows
from bascule.contracts.checks import Measure
from bascule.contracts.distribution import distance
from bascule.errors import InputError
from tests.contracts.test_parts import Dictionary, Listed
from tests.contracts.writing import column, contract_of, ours

Connection = duckdb.DuckDBPyConnection


def last(connection: Connection, rows: str, rule: dict[str, Any], name: str = "x", **more: Any) -> CheckResult:
    return run_checks(connection, rows, contract_of([column(name, rule)], table="t"), **more).results[-1]


def shares(text: str) -> dict[str, float]:
    return {letter: float(text.count(letter)) for letter in sorted(set(text))}


def test_the_distances_are_the_known_ones() -> None:
    assert distance("linf", shares("aabbcc"), shares("aabbccd")) == pytest.approx(1 / 7)
    assert distance("linf", shares("aabbcc"), shares("bbbbb")) == pytest.approx(2 / 3)
    assert distance("tvd", {"a": 1, "b": 1}, {"a": 3, "b": 1}) == pytest.approx(0.25)
    # Against shares known exactly, over so many rows that chance adds next to nothing.
    p, q = {"a": 0.5, "b": 0.3, "c": 0.2}, {"a": 4e8, "b": 4e8, "c": 2e8}
    assert distance("js", p, q) == pytest.approx(jensenshannon([0.5, 0.3, 0.2], [0.4, 0.4, 0.2], base=2), rel=1e-4)
    stability = (0.4 - 0.5) * math.log(0.4 / 0.5) + (0.4 - 0.3) * math.log(0.4 / 0.3)
    assert distance("psi", p, q) == pytest.approx(stability, rel=1e-4)
    assert distance("js", {"a": 5}, {"b": 5e9}) == pytest.approx(1, abs=0.05)
    assert distance("psi", {}, {"a": 1}) is None


@pytest.mark.parametrize("measure", ["js", "psi"])
def test_chance_alone_is_no_distance(measure: Measure) -> None:
    random = np.random.default_rng(7)
    found, plain = [], []
    for _ in range(200):
        one, other = (dict(enumerate(random.multinomial(300, [0.1] * 10).tolist())) for _ in "ab")
        first, second = ({str(k): float(v) for k, v in counts.items()} for counts in (one, other))
        found.append(distance(measure, first, second) or 0.0)
        plain.append(distance(measure, {k: v * 1e9 for k, v in first.items()}, {k: v * 1e9 for k, v in second.items()}))
    assert np.median(found) < 0.5 * np.median(np.array(plain, float))


REFERENCE = (
    "(SELECT range / 100 AS x, 's' || range % 3 AS s, DATE '2024-01-01' + (range % 90)::INT AS d FROM range(9000))"
)


@pytest.mark.parametrize("name", ["x", "s", "d"])
def test_rows_like_the_reference_do_not_drift(connection: Connection, name: str) -> None:
    same = f"(SELECT * FROM {REFERENCE} AS t USING SAMPLE 2000 ROWS (reservoir, 3))"
    found = last(connection, same, ours("drift", reference="v1"), name, related={"t@v1": REFERENCE}.get)
    assert (found.status, found.kind, found.failed_rows) == ("passed", "drift", None)
    assert found.value is not None
    assert found.value < 0.05


@pytest.mark.parametrize(
    ("name", "moved"),
    [("x", "x + 30 AS x"), ("s", "CASE s WHEN 's0' THEN 'new' ELSE s END AS s"), ("d", "d + 60 AS d")],
)
def test_what_moved_drifts(connection: Connection, name: str, moved: str) -> None:
    rows = f"(SELECT * REPLACE ({moved}) FROM {REFERENCE} AS t)"
    found = last(connection, rows, ours("drift", reference="v1"), name, related={"t@v1": REFERENCE}.get)
    assert found.status == "failed"
    assert found.expected == "js at most 0.1 from the values at v1"
    looser = ours("drift", reference="v1", maximum=0.9)
    assert last(connection, rows, looser, name, related={"t@v1": REFERENCE}.get).status == "passed"


def test_a_reference_that_is_not_there_is_told(connection: Connection) -> None:
    for related in (None, {"t": REFERENCE}.get):
        found = last(connection, REFERENCE, ours("drift", reference="v9"), related=related)
        assert (found.status, "'v9'" in found.observed) == ("error", True)


def test_drift_is_measured_part_by_part(connection: Connection) -> None:
    contract = contract_of([column("x", ours("drift", reference="v1"), ours("outliers", reference="v1"))], table="t")
    halves = {name: f"(SELECT * FROM {REFERENCE} AS t WHERE x {sign} 50)" for name, sign in (("a", "<"), ("b", ">="))}
    parts, memory = Listed(halves, {"a": 5000, "b": 4000}), Dictionary()
    more: dict[str, Any] = {"related": {"t@v1": REFERENCE}.get, "parts": parts, "memory": memory}
    first = run_checks(connection, REFERENCE, contract, **more)
    parts.read.clear()
    again = run_checks(connection, REFERENCE, contract, **more)
    assert [r.value for r in again.results] == [r.value for r in first.results]
    assert parts.read == []


def test_stated_shares(connection: Connection) -> None:
    rows = "(SELECT ['a', 'a', 'b', 'c'][1 + range % 4] AS x FROM range(400))"
    fits = ours("distribution", shares={"a": 0.5, "b": 0.25}, maximum=0.01)
    assert last(connection, rows, fits).status == "passed"
    wrong = last(connection, rows, ours("distribution", shares={"a": 0.3, "b": 0.25}))
    assert (wrong.status, round(wrong.value or 0, 6)) == ("failed", 0.2)
    assert wrong.expected == "linf at most 0.1 from a 30 %, b 25 %"
    assert last(connection, "(SELECT NULL::VARCHAR AS x)", fits).status == "failed"  # no values to compare
    assert last(connection, "(SELECT 'a' AS x WHERE false)", fits).status == "passed"


def test_outliers_come_with_their_rows(connection: Connection) -> None:
    rows = "(SELECT range AS x FROM range(100) UNION ALL SELECT 5000)"
    found = last(connection, rows, ours("outliers"))
    assert (found.status, found.failed_rows, [row["x"] for row in found.sample]) == ("failed", 1, [5000])
    assert last(connection, rows, ours("outliers", tolerate="1 %")).status == "passed"
    assert last(connection, "(SELECT 1.5 AS x WHERE false)", ours("outliers")).status == "passed"
    assert last(connection, "(SELECT 'a' AS x)", ours("outliers")).status == "error"


def test_values_that_must_occur(connection: Connection) -> None:
    rows = "(SELECT 'a' AS x UNION ALL SELECT 'b')"
    found = last(connection, rows, ours("contains", values=["a", "z", "y"]))
    assert (found.status, found.observed) == ("failed", "2 of 3 values never occur")
    assert last(connection, rows, ours("contains", values=["a", "b"])).status == "passed"
    assert last(connection, rows, ours("contains", values=["b"], where="x = 'a'")).status == "failed"


def no_bees(rows: Rows) -> pa.Table:
    return rows.sql("SELECT x FROM rows WHERE x = 'b'")


def bad(rows: Rows) -> object:
    return {"rows": rows.arrow("x").num_rows}


SAID: list[tuple[Callable[[Rows], object], str, int | None]] = [
    (lambda rows: None, "passed", 0),
    (lambda rows: True, "passed", 0),
    (lambda rows: rows.arrow("x").num_rows - 2, "passed", 0),
    (lambda rows: 5, "failed", 5),
    (lambda rows: False, "failed", 1),
    (lambda rows: "there are bees", "failed", 1),
    (no_bees, "failed", 1),
    (bad, "error", None),
    (lambda rows: 1 / 0, "error", None),
    (lambda rows: rows.sql("nonsense"), "error", None),
]


@pytest.mark.parametrize(("function", "status", "failing"), SAID)
def test_python_checks(
    connection: Connection, function: Callable[[Rows], object], status: str, failing: int | None
) -> None:
    rows = "(SELECT 'a' AS x UNION ALL SELECT 'b')"
    found = last(connection, rows, ours("python", function="mine:check"), functions=lambda name: function)
    assert (found.status, found.failed_rows, found.kind) == (status, failing, "python")
    if function is no_bees:
        assert found.sample == ({"x": "b"},)


def test_python_checks_need_the_project(connection: Connection) -> None:
    rule = ours("python", function="os:getcwd")
    assert last(connection, "(SELECT 1 AS x)", rule).status == "error"

    def missing(name: str) -> Callable[..., Any]:
        raise InputError("There is no os.py here.")

    found = last(connection, "(SELECT 1 AS x)", rule, functions=missing)
    assert (found.status, found.observed) == ("error", "not run: There is no os.py here.")
