"""Every check's verdict equals a row loop's, on small tables with nulls, NaN, infinities, ties and no rows at all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bascule.contracts import checks as c
from bascule.contracts.contract import Contract
from bascule.contracts.run import run_checks
from tests.contracts import naive

TYPES = {"i": "BIGINT", "x": "DOUBLE", "y": "DOUBLE", "s": "VARCHAR"}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "i": st.none() | st.integers(-2, 3),
    "x": st.none() | st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, math.nan, math.inf, -math.inf]),
    "y": st.none() | st.sampled_from([-1.0, 0.0, 0.5, 2.0, math.nan]),
    "s": st.none() | st.sampled_from(["", "a", "b", "ab", "é", "A'"]),
}
tables = st.lists(st.fixed_dictionaries(VALUES), max_size=8)
columns = st.sampled_from(list(TYPES))
numeric = st.sampled_from(["i", "x", "y"])
finite = st.sampled_from(["i", "y"])
ends = st.none() | st.sampled_from([-1, 0, 0.5, 1, 2])
keys = st.lists(columns, min_size=1, max_size=3, unique=True).map(tuple)


def ranges(column: str) -> st.SearchStrategy[c.Rule]:
    bounds = st.tuples(ends, ends, ends, ends).filter(lambda found: any(end is not None for end in found))
    return bounds.map(lambda found: c.Between(column, *found))


def accepted(column: str) -> st.SearchStrategy[c.Rule]:
    values = st.lists(VALUES[column].filter(lambda value: not naive.missing(value)), min_size=1, max_size=4)
    return values.map(lambda found: c.OneOf(column, tuple(found)))


lengths = st.tuples(st.none() | st.integers(0, 2), st.none() | st.integers(0, 2)).filter(
    lambda pair: pair != (None, None)
)
row_rules = st.one_of(
    columns.map(c.NotNull),
    st.sampled_from([c.NotMissing("s", (None, "", "a")), c.NotMissing("i", (0,)), c.NotMissing("x", (0.5, 1))]),
    columns.flatmap(accepted),
    columns.flatmap(accepted).map(lambda rule: c.NoneOf(rule.column, rule.values)),  # type: ignore[union-attr]
    st.builds(c.Outliers, finite, st.sampled_from([0.26, 1.3])),
    numeric.flatmap(ranges),
    st.sampled_from(["^a", "b$", "^$", "."]).map(lambda pattern: c.Matches("s", pattern)),
    lengths.map(lambda pair: c.Length("s", *pair)),
    st.builds(c.MultipleOf, finite, st.sampled_from([0.5, 1, 2])),
    st.sampled_from(list(naive.EXPRESSIONS)).map(c.Holds),
    keys.map(c.Unique),
    keys.map(lambda found: c.References(found, "other", found)),
)
value_rules = st.one_of(
    st.just(c.RowCount()),
    st.builds(c.Aggregate, st.sampled_from(["min", "max"]), numeric),
    st.builds(c.Aggregate, st.sampled_from(["mean", "sum", "std", "median", "distinct"]), finite),
    st.builds(c.Aggregate, st.just("distinct"), columns),
    columns.flatmap(accepted).map(lambda rule: c.Contains(rule.column, rule.values)),  # type: ignore[union-attr]
    st.builds(
        c.Differs,
        st.just("s"),
        st.sampled_from(["linf", "tvd"]),
        st.sampled_from([(("a", 0.5), ("b", 0.31)), (("a", 1.0),), (("A'", 0.1), ("", 0.1))]),
    ),
    st.builds(c.Aggregate, st.just("quantile"), finite, st.sampled_from([0.0, 0.25, 0.5, 1.0])),
)
operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">=", "between", "not between"])
# Thresholds stand between the values that small tables can measure, so that no rounding decides.
limits = st.sampled_from([-1.01, 0.0, 0.26, 1.01, 2.01, 3.3])
wheres = st.none() | st.sampled_from(list(naive.CONDITIONS))


@st.composite
def some_checks(draw: st.DrawFn) -> list[c.Check]:
    found: list[c.Check] = []
    for number in range(draw(st.integers(1, 6))):
        counted = draw(st.booleans())
        rule: c.Rule = draw(row_rules if counted else value_rules)
        low, high = sorted((draw(limits), draw(limits)))
        unit = draw(st.sampled_from(["rows", "percent"])) if counted else "value"
        scale = 20 if unit == "percent" else 1
        bound = c.Bound(draw(operators), low * scale, high * scale, unit=unit)
        bound = draw(st.sampled_from([bound, c.NONE_FAILING])) if counted else bound
        least = draw(st.sampled_from([0, 0, 0, 3]))
        found.append(c.Check(f"check {number}", rule, bound, where=draw(wheres), minimum_rows=least))
    return found


def relation(rows: Sequence[naive.Row]) -> str:
    """Rows as text usable after FROM."""

    def literal(value: Any, type_: str) -> str:
        quoted = "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"
        return f"CAST({quoted} AS {type_})"

    def line(row: naive.Row) -> str:
        return ", ".join(f"{literal(row[name], type_)} AS {name}" for name, type_ in TYPES.items())

    if not rows:
        return f"(SELECT {line(dict.fromkeys(TYPES))} WHERE false)"
    return "(" + " UNION ALL ".join(f"SELECT {line(row)}" for row in rows) + ")"


def contract_with(found: Sequence[c.Check]) -> Contract:
    return Contract("", "t.yaml", "t", "", (), (), tuple(found), "allow")


CONNECTION = duckdb.connect()


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(found=some_checks(), rows=tables, other=tables, existing=st.none() | tables)
def test_verdicts_equal_a_row_loop(
    found: list[c.Check], rows: list[naive.Row], other: list[naive.Row], existing: list[naive.Row] | None
) -> None:
    report = run_checks(
        CONNECTION,
        relation(rows),
        contract_with(found),
        related={"other": relation(other)}.get,
        existing=None if existing is None else relation(existing),
        sample=5,
    )
    assert report.rows == len(rows)
    for check, result in zip(found, report.results, strict=True):
        status, failing = naive.verdict(check, rows, other, existing or [])
        assert (result.status, result.failed_rows) == (status, failing), (check, result.observed)
        if result.status == "failed" and failing:
            assert 1 <= len(result.sample) <= 5


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(found=some_checks(), rows=tables)
def test_a_check_that_cannot_be_run_changes_no_other_verdict(found: list[c.Check], rows: list[naive.Row]) -> None:
    broken = [
        c.Check("no such column", c.NotNull("z")),
        c.Check("no such function", c.Holds("nope(i)")),
        c.Check("fails on some rows", c.Holds("CAST(s AS INTEGER) < 3")),
        c.Check("not a number", c.Aggregate("mean", "s"), c.Bound(">", 0, unit="value")),
    ]
    clean = [replace(check, rule=c.NotNull("i")) if isinstance(check.rule, c.References) else check for check in found]
    alone = run_checks(CONNECTION, relation(rows), contract_with(clean), sample=0)
    mixed = run_checks(CONNECTION, relation(rows), contract_with([*broken, *clean]), sample=0)
    assert [result.status for result in mixed.results[:2]] == ["error", "error"]
    assert mixed.results[3].status == "error"
    assert [result.status for result in mixed.results[4:]] == [result.status for result in alone.results]


@pytest.mark.parametrize("rows", [[], [dict.fromkeys(TYPES)], [{"i": 1, "x": math.nan, "y": math.nan, "s": None}]])
def test_tables_without_values(rows: list[dict[str, Any]]) -> None:
    checks = [c.Check(name, c.Aggregate("mean", name), c.Bound(">", 0, unit="value")) for name in ("x", "y")]
    report = run_checks(CONNECTION, relation(rows), contract_with(checks))
    assert {result.status for result in report.results} == ({"failed"} if rows else {"passed"})
