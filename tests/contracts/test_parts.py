"""States that are kept part by part: verdicts stay those of a row loop, and only what is new is read."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bascule.contracts import checks as c
from bascule.contracts import narrow, quantiles, scanning
from bascule.contracts.contract import Contract
from bascule.contracts.run import run_checks
from tests.contracts import naive
from tests.contracts.test_properties import CONNECTION, contract_with, relation, some_checks, tables

Rows = list[naive.Row]


class Dictionary:
    """A memory that holds what JSON can hold, and counts what it was asked to keep."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], str] = {}

    def load(self, parts: Collection[str], measures: Collection[str]) -> dict[tuple[str, str], Any]:
        return {(p, m): json.loads(self.held[p, m]) for p in parts for m in measures if (p, m) in self.held}

    def keep(self, scope: str, states: Mapping[tuple[str, str], Any]) -> None:
        self.held |= {place: json.dumps(state) for place, state in states.items()}


class Counted:
    """Facts about rows, by a loop over them."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self.rows = rows, len(rows)

    def missing(self, column: str) -> int:
        return sum(naive.missing(row[column]) for row in self._rows)

    def ends(self, column: str) -> tuple[Any, Any] | None:
        values = [row[column] for row in self._rows if not naive.missing(row[column])]
        if column == "s":
            return None
        return (min(values), max(values)) if values else (None, None)


class Listed:
    """Parts that are given by their relations; it notes which were read."""

    scope = "table"

    def __init__(
        self,
        relations: Mapping[str, str],
        sizes: Mapping[str, int],
        rest: str | None = None,
        held: Mapping[str, Rows] | None = None,
    ) -> None:
        self.relations, self.sizes, self.rest, self.held = dict(relations), dict(sizes), rest, held or {}
        self.ids: Sequence[str] = list(relations)
        self.read: list[str] = []

    @classmethod
    def of(cls, tables_of: Mapping[str, Rows], rest: Rows | None) -> Listed:
        relations = {name: relation(rows) for name, rows in tables_of.items()}
        sizes = {name: len(r) for name, r in tables_of.items()}
        return cls(relations, sizes, relation(rest) if rest else None, tables_of)

    def rows(self, ids: Collection[str]) -> int:
        return sum(self.sizes[part] for part in ids)

    def facts(self, part: str) -> Counted | None:
        return Counted(self.held[part]) if part in self.held else None

    def relation(self, ids: Collection[str]) -> str:
        self.read += ids
        return f"({' UNION ALL '.join(f'SELECT * FROM {self.relations[part]}' for part in ids)})"

    def labelled(self, ids: Collection[str]) -> tuple[str, Mapping[str, str]]:
        self.read += ids
        parts = (f"SELECT *, '{part}' AS __file FROM {self.relations[part]}" for part in ids)
        return f"({' UNION ALL '.join(parts)})", {part: part for part in ids}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits so small that tables of some rows reach them."""
    for module, name, value in (
        (quantiles, "MANY_ROWS", 3),
        (quantiles, "WINDOW", 1),
        (narrow, "MOST_FEW", 2),
        (narrow, "LEAST_HASHED", 0),
        (scanning, "LARGE", 2),
        (scanning, "FEW", 2),
    ):
        monkeypatch.setattr(module, name, value)


@pytest.fixture
def smallest(small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hashes of even a few rows are sorted share by share."""
    monkeypatch.setattr(narrow, "HASHED_AT_ONCE", 3)


@pytest.mark.slow
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(found=some_checks(), parts=st.lists(tables, min_size=1, max_size=4), other=tables, rest=st.none() | tables)
@example(  # a part without rows, and more of them beside
    found=[c.Check("low", c.Aggregate("quantile", "i", 0.0), c.Bound("=", -1.01, unit="value"))],
    parts=[[]],
    other=[],
    rest=[{"i": 0, "x": None, "y": None, "s": None}] * 3,
)
def test_verdicts_from_kept_states_equal_a_row_loop(
    smallest: None, found: list[c.Check], parts: list[Rows], other: list[naive.Row], rest: Rows | None
) -> None:
    memory, contract = Dictionary(), contract_with(found)
    for until in (*range(1, len(parts) + 1), len(parts)):
        tail = rest if until == len(parts) else None
        there = {f"p{i}": part for i, part in enumerate(parts[:until])}
        rows = [row for part in there.values() for row in part] + (tail or [])
        report = run_checks(
            CONNECTION,
            relation(rows),
            contract,
            related={"other": relation(other)}.get,
            parts=Listed.of(there, tail),
            memory=memory,
            sample=0,
        )
        assert report.rows == len(rows)
        for check, result in zip(found, report.results, strict=True):
            assert (result.status, result.failed_rows) == naive.verdict(check, rows, other, []), (check, until)


def checks_of_all_kinds() -> Contract:
    return contract_with([
        c.Check("rows", c.RowCount(), c.Bound(">", 0, unit="value")),
        c.Check("null", c.NotNull("i")),
        c.Check("key", c.Unique(("i",))),
        c.Check("pair", c.Unique(("i", "s"))),
        c.Check("mean", c.Aggregate("mean", "i"), c.Bound(">", 0, unit="value")),
        c.Check("std", c.Aggregate("std", "x"), c.Bound(">", 0, unit="value")),
        c.Check("median", c.Aggregate("median", "x"), c.Bound(">", 0, unit="value")),
        c.Check("codes", c.Aggregate("distinct", "s"), c.Bound("=", 7, unit="value")),
        c.Check("many", c.Aggregate("distinct", "x"), c.Bound(">", 9, unit="value")),
    ])  # fmt: skip


def numbered(first: int, rows: int) -> str:
    return (
        f"(SELECT range AS i, (hash(range) % 1000) / 7 AS x, 's' || range % 7 AS s FROM range({first}, {first + rows}))"
    )


def test_after_an_append_only_the_new_part_is_measured(small: None, connection: duckdb.DuckDBPyConnection) -> None:
    memory, sizes = Dictionary(), {"a": 60_000, "b": 30_000, "c": 500}
    starts = {"a": 0, "b": 60_000, "c": 90_000}
    relations = {name: numbered(starts[name], size) for name, size in sizes.items()}
    old = Listed({name: relations[name] for name in "ab"}, sizes)
    run_checks(connection, old.relation("ab"), checks_of_all_kinds(), parts=old, memory=memory)

    new = Listed(relations, sizes)
    broken = {**relations, "a": "nowhere", "b": "nowhere"}
    report = run_checks(connection, new.relation("abc"), checks_of_all_kinds(), parts=new, memory=memory)
    plain = run_checks(connection, new.relation("abc"), checks_of_all_kinds())
    assert [(r.name, r.status, r.observed) for r in report.results] == [
        (r.name, r.status, r.observed) for r in plain.results
    ]
    # What merges does not even open the old parts: here they cannot be read.
    merging = contract_with([ch for ch in checks_of_all_kinds().checks if not isinstance(ch.rule, c.Unique)][:4])
    gone = Listed(broken, sizes)
    again = run_checks(connection, new.relation("abc"), merging, parts=gone, memory=memory)
    assert {r.status for r in again.results} == {"passed"}
    assert again.rows == 90_500


class Asking(Dictionary):
    """A memory that notes how often it is asked, and may have lost what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def load(self, parts: Collection[str], measures: Collection[str]) -> dict[tuple[str, str], Any]:
        self.asked += 1
        return super().load(parts, measures)


def test_what_a_failing_range_holds_is_measured_with_the_rest(connection: duckdb.DuckDBPyConnection) -> None:
    contract = contract_with([
        c.Check("failing", c.Between("i", None, 3)),
        c.Check("held", c.Between("x", 0, 200)),
        c.Check("times", c.Between("t", "2020-01-01", None)),
    ])  # fmt: skip
    days = "SELECT i, x, DATE '2019-12-30' + (i % 4)::INT AS t FROM"
    relations = {name: f"({days} {numbered(start, 30)})" for name, start in {"a": 0, "b": 30, "c": 60}.items()}
    sizes, memory = dict.fromkeys(relations, 30), Asking()

    def told(names: str, known: Asking | None) -> list[tuple[str, str]]:
        parts = Listed({name: relations[name] for name in names}, sizes)
        every = parts.relation(names)
        parts.read.clear()
        report = run_checks(connection, every, contract, parts=parts if known else None, memory=known, sample=1)
        read.append(parts.read)
        return [(result.status, result.observed) for result in report.results]

    read: list[list[str]] = []
    assert told("ab", memory) == told("ab", None)
    memory.asked = 0
    assert told("abc", memory) == told("abc", None)
    # Ends of what fails were asked of a and b before: of c they come with its count, and one failing row is looked for.
    assert memory.asked == 1
    assert read[2] == ["c"] * 3
    assert told("abc", None)[0][1].endswith(": 4 to 89")

    ends = {state for state in memory.held.values() if state in ("[4.0, 29.0]", "[30.0, 59.0]", "[60.0, 89.0]")}
    assert len(ends) == 3
    for lost in (ends, set(memory.held.values())):  # the ends of the failing values only; all that is known
        memory.held = {place: state for place, state in memory.held.items() if state not in lost}
        assert told("abc", memory) == told("abc", None)
    for place in [place for place, state in memory.held.items() if state == "[30.0, 59.0]"]:
        del memory.held[place]  # of one part
    assert told("abc", memory) == told("abc", None)


def test_repeated_keys_of_new_rows_are_counted(small: None, connection: duckdb.DuckDBPyConnection) -> None:
    contract = contract_with([c.Check("key", c.Unique(("s",))), c.Check("pair", c.Unique(("i", "s")))])
    old = "(SELECT range AS i, 's' || range AS s FROM range(10))"
    for first, expected in ((10, [0, 0]), (8, [2, 2]), (10, [1, 0])):
        end = "'s' || least(range, 13)" if expected == [1, 0] else "'s' || range"
        new = f"(SELECT range AS i, {end} AS s FROM range({first}, 15))"
        relations, memory = {"a": old, "b": new}, Dictionary()
        for names in ("a", "ab"):
            parts = Listed({name: relations[name] for name in names}, {"a": 10, "b": 15 - first})
            report = run_checks(connection, parts.relation(names), contract, parts=parts, memory=memory, sample=0)
        assert [result.failed_rows for result in report.results] == expected


def test_what_looks_at_a_clock_is_asked_again(connection: duckdb.DuckDBPyConnection) -> None:
    texts = {
        "i < 5": True,
        "i + 1 < 5 AND s LIKE 'a%'": True,
        "i < epoch(now())": False,
        "'2020-01-01'::DATE < current_date": False,
        "age(TIMESTAMP '2020-01-01') > INTERVAL 1 DAY": False,
        "random() < 2": False,
        "x < 1 AND today() > '2020-01-01'": False,
    }
    for text, kept in texts.items():
        memory = Dictionary()
        contract = contract_with([c.Check("it", c.Holds(text))])
        rows = numbered(0, 10)
        run_checks(connection, rows, contract, parts=Listed({"a": rows}, {"a": 10}), memory=memory)
        assert (len(memory.held) > 1) is kept, text  # the row count is kept in any case


def test_sums_of_parts_are_exact(connection: duckdb.DuckDBPyConnection) -> None:
    big = 2**62
    parts = {name: f"(SELECT {big} + {i} AS i, 0.1::DECIMAL(9,1) AS d)" for i, name in enumerate("abcd")}
    contract = contract_with([
        c.Check("sum", c.Aggregate("sum", "i"), c.Bound("=", float(4 * big + 6), unit="value")),
        c.Check("tenths", c.Aggregate("sum", "d"), c.Bound("=", 0.4, unit="value")),
        c.Check("tenth", c.Aggregate("mean", "d"), c.Bound("=", 0.1, unit="value")),
    ])  # fmt: skip
    listed, memory = Listed(parts, dict.fromkeys(parts, 1)), Dictionary()
    for _ in range(2):
        report = run_checks(connection, listed.relation("abcd"), contract, parts=listed, memory=memory)
        assert {result.status for result in report.results} == {"passed"}


def test_dense_integers_are_counted_without_a_hash_table(connection: duckdb.DuckDBPyConnection, tmp_path: Path) -> None:
    connection.execute(f"SET temp_directory = '{tmp_path}'")
    connection.execute("SET max_temp_directory_size = '0KB'")
    connection.execute("SET memory_limit = '60MB'")
    unique = contract_with([c.Check("key", c.Unique(("i",)))])
    twice = "(SELECT range % 1999999 AS i FROM range(2000000))"
    report = run_checks(connection, twice, unique, sample=0)
    assert (report.results[0].failed_rows, report.results[0].status) == (1, "failed")
