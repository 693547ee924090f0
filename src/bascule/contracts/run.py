"""Running a contract over a relation: one scan, narrow queries, and failing rows of failed checks only."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import duckdb

from bascule.contracts import accumulators, checks
from bascule.contracts.accumulators import Accumulator
from bascule.contracts.anomalies import LEAST, usual
from bascule.contracts.calling import Functions, Overran, Rows, call
from bascule.contracts.checks import Check, shown_number
from bascule.contracts.compile import Measured
from bascule.contracts.contract import Contract
from bascule.contracts.distribution import Outlying
from bascule.contracts.families import family_of
from bascule.contracts.narrow import World
from bascule.contracts.parts import Memory, NoMemory, Noting, Parts, Whole, measure_of
from bascule.contracts.plan import ROWS, Plan, Related, make_plan
from bascule.contracts.renames import Lookalike, find_renames
from bascule.contracts.report import CheckResult, Report
from bascule.contracts.scanning import Scan, told
from bascule.contracts.sql import columns_of, error_text, quoted, rows_of
from bascule.contracts.words import expected_text, observed_count, observed_value
from bascule.errors import BasculeError, InputError


def run_checks(
    connection: duckdb.DuckDBPyConnection,
    relation_sql: str,
    contract: Contract,
    *,
    sample: int = 20,
    related: Related | None = None,
    existing: str | None = None,
    now: int | None = None,
    parts: Parts | None = None,
    memory: Memory | None = None,
    past: Mapping[str, Sequence[float]] | None = None,
    functions: Functions | None = None,
) -> Report:
    """Check a relation against a contract.

    All checks that merge are measured in one streaming scan; uniqueness, quantiles, distinct counts, relationships and
    written queries take one narrow query each; failing rows are fetched for failed checks only. What is wrong with the
    data, the columns or a single check is a result, never an exception.

    Args:
        connection: a DuckDB connection whose time zone is UTC. Nothing is written.
        relation_sql: text usable after FROM: a name, `read_parquet(…)` or a query in parentheses.
        contract: what is asked.
        sample: at most so many failing rows are kept for each failed check.
        related: gives the relation of another table by name, or None when there is none.
        existing: the rows that the table holds already, when `relation_sql` is a batch to be added: a key that is
            there already makes the batch's row a duplicate.
        now: microseconds since the epoch, against which freshness is measured; by default the clock.
        parts: the same rows in parts that never change. What `memory` knows of a part is not measured again.
        memory: keeps what is measured of parts; without it nothing is known of them.
        past: the values of earlier runs by check, oldest first, for bounds on what is usual.
        functions: gives the function that `module:function` names; without it Python checks are not run.

    Returns:
        A report with one result for each check of the contract, in its order.

    Raises:
        InputError: the relation itself cannot be read.
    """
    at = time.time_ns() // 1000 if now is None else now
    plan = make_plan(connection, relation_sql, contract, related=related, existing=existing, lake=parts is not None)
    known = Noting(memory if parts is not None and memory is not None else NoMemory())
    whole = parts if parts is not None else Whole(plan.relation, relation_sql)
    run = _Run(connection, plan, contract, sample, at, existing, whole, known, past or {}, functions)
    results = tuple(run.result(check) for check in contract.checks)
    known.hand_on()
    return Report(contract.table, contract.file, run.rows, at, results, contract.not_run)


def _as_texts(extremes: Accumulator) -> Accumulator:
    """The same with ends that JSON can hold; dates and times as texts sort as they do."""
    return replace(extremes, columns=tuple(f"CAST({column} AS VARCHAR)" for column in extremes.columns))


def explain(
    connection: duckdb.DuckDBPyConnection,
    relation_sql: str,
    contract: Contract,
    *,
    related: Related | None = None,
    existing: str | None = None,
    parts: Parts | None = None,
    memory: Memory | None = None,
) -> str:
    """The queries that `run_checks` would make, as text, and how much is known already; nothing is scanned."""
    plan = make_plan(connection, relation_sql, contract, related=related, existing=existing, lake=parts is not None)
    if parts is None or memory is None or not parts.ids:
        return plan.text()
    stable = {measure_of(*a.columns) for item in plan.measured if item.stable for a in item.scanned}
    items = [a for item in plan.measured if item.stable for a in item.scanned]
    known = memory.load(parts.ids, stable) | told(parts, items)
    ready = [part for part in parts.ids if all((part, measure) in known for measure in stable)]
    rows, fresh = parts.rows(parts.ids), parts.rows([part for part in parts.ids if part not in set(ready)])
    lines = [
        f"{len(ready)} of {len(parts.ids)} data files were measured before: the scan reads {fresh:,} of {rows:,} rows"
        + (", and those of files that deletes touch" if parts.rest is not None else "")
    ]
    moving = [item.check.name for item in plan.measured if not item.stable]
    if moving:
        lines.append(f"asked of every row each time, because they look at a clock or at chance: {', '.join(moving)}")
    return "\n".join([*lines, "", plan.text()])


class _Run:
    """One run: the scan's numbers, and the way from a check to its result."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        plan: Plan,
        contract: Contract,
        sample: int,
        at: int,
        existing: str | None,
        parts: Parts,
        memory: Noting,
        past: Mapping[str, Sequence[float]],
        functions: Functions | None,
    ) -> None:
        self.connection = connection
        self.plan = plan
        self.contract = contract
        self.sample = sample
        self.at = at
        self.measured = {item.check.name: item for item in plan.measured}
        self.parts, self.memory, self.past, self.functions = parts, memory, past, functions
        self.scan = self._scan()
        self.rows = self._counted()
        held = columns_of(connection, existing) if existing else ()
        lost = any(finding == "missing" for finding in plan.schema.values())
        self.renames = find_renames(connection, plan.relation, contract, plan.types, held) if lost else {}

    def _scan(self) -> Scan:
        stable = [a for item in self.plan.measured if item.stable for a in item.scanned]
        fleeting = [a for item in self.plan.measured if not item.stable for a in item.scanned]
        ranges = [(self._ends(item), item.value) for item in self.plan.measured if item.stable]
        beside = [(ends, value) for ends, value in ranges if ends is not None and value is not None]
        asked = {measure_of(*item.columns) for item in (ROWS, *stable, *(ends for ends, _ in beside))}
        asked |= {state for item in self.plan.measured if item.narrow is not None for state in item.narrow.states()}
        if self.parts.ids:
            self.memory.ask([*self.parts.ids, self.parts.scope], asked)
        return Scan(self.connection, self.parts, self.memory, [ROWS, *stable], fleeting, beside)

    def _ends(self, item: Measured) -> Accumulator | None:
        """Between which ends the failing values of a range lie; None for other rules and where it may not be shown."""
        rule = item.check.rule
        if not isinstance(rule, checks.Between) or rule.column in self.contract.masked:
            return None
        column = f"t.{quoted(rule.column)}"
        if family_of(self.plan.types[rule.column]) in ("integer", "number"):
            return accumulators.extremes(f"CAST({column} AS DOUBLE)", item.bad)
        return _as_texts(accumulators.extremes(column, item.bad))

    def _counted(self) -> int:
        try:
            return int(self.scan.value(ROWS))
        except duckdb.Error as error:
            raise InputError(
                f"The rows of {self.contract.table} cannot be read: {error_text(error)}",
                hint="Look at the table with: bascule sql",
            ) from error

    def result(self, check: Check) -> CheckResult:
        if check.name in self.plan.schema:
            return self._schema_result(check)
        if check.name in self.plan.refused:
            return self._made(check, "error", f"not run: {self.plan.refused[check.name]}")
        item = self.measured[check.name]
        if isinstance(check.rule, checks.Called):
            return self._called(check, check.rule)
        try:
            value, total = self._measure(item)
        except (duckdb.Error, InputError) as error:
            text = error.message if isinstance(error, InputError) else error_text(error)
            return self._made(check, "error", f"not run: {text}")
        if total < check.minimum_rows:
            few = f"{shown_number(total)} rows, too few to judge (at least {shown_number(check.minimum_rows)})"
            return self._made(check, "passed", few, total_rows=total)
        if isinstance(check.rule, checks.NumberRule):
            return self._value_result(check, value, total)
        return self._count_result(item, int(value or 0), total)

    def _measure(self, item: Measured) -> tuple[Any, int]:
        """A check's measure and the rows it looked at."""
        total = int(self.scan.value(item.total))
        if item.narrow is None:
            return (self.scan.value(item.value) if item.value is not None else total), total
        return item.narrow.measure(self._world(item)), total

    def _world(self, item: Measured) -> World:
        return World(self.connection, self.plan.relation, self.parts, self.memory, self.scan, item.stable)

    def _called(self, check: Check, rule: checks.Called) -> CheckResult:
        if self.functions is None:
            return self._made(check, "error", "not run: Python checks run only where the project's files are")
        rows = Rows.of(self.contract.table, self.plan.types, self.connection, self.plan.relation)
        try:
            said = call(self.functions(rule.function), rule.function, rows)
        except Overran as error:
            return self._made(check, "error", f"stopped: {error.message}")
        except (BasculeError, duckdb.Error) as error:
            text = error.message if isinstance(error, BasculeError) else error_text(error)
            return self._made(check, "error", f"not run: {text}")
        share = said.failing / self.rows if self.rows else float(bool(said.failing))
        measured = 100 * share if check.bound.unit == "percent" else said.failing
        holds, told = self._holds(check, measured, share)
        sample: list[dict[str, Any]] = []
        if not holds and said.rows is not None and self.sample:
            self.connection.register("said", said.rows)
            sample = rows_of(
                self.connection, "SELECT * FROM said", self.contract.key, self.contract.masked, self.sample
            )
            self.connection.unregister("said")
        observed = (said.text or observed_count(check, said.failing, self.rows)) + told
        counted: dict[str, Any] = {"failed_rows": said.failing, "total_rows": self.rows, "value": share}
        return self._made(check, "passed" if holds else "failed", observed, **counted, sample=tuple(sample))

    def _value_result(self, check: Check, value: Any, total: int) -> CheckResult:
        if value is None or value != value or (total == 0 and isinstance(check.rule, checks.Contains)):
            # Nothing was there to be measured. Of no rows nothing is asked but that a newest time be fresh.
            idle = total == 0 and not isinstance(check.rule, checks.Answer)
            text = "no rows" if total == 0 else "no values"
            return self._made(check, "passed" if idle else "failed", text, total_rows=total)
        if not isinstance(value, int | float):
            return self._made(check, "error", f"not run: the query answers {type(value).__name__}, not a number")
        number = (self.at - value) / 1e6 if isinstance(check.rule, checks.Freshness) else float(value)
        extreme = isinstance(check.rule, checks.Aggregate) and check.rule.function in ("min", "max")
        hidden = extreme and check.columns[0] in self.contract.masked
        shown = "hidden" if hidden else observed_value(check, number)
        holds, told = self._holds(check, number, number)
        return self._made(
            check, "passed" if holds else "failed", shown + told, total_rows=total, value=None if hidden else number
        )

    def _holds(self, check: Check, number: float, value: float) -> tuple[bool, str]:
        """Whether a number is within a check's bound, and what is to be said of that.

        Args:
            number: in the unit of the bound.
            value: in the unit of the past.
        """
        if check.bound.operator != "usual":
            return check.bound.holds(number), ""
        past = self._past(check, value)
        bounds = usual(past, check.bound.low)
        if bounds is None:
            return True, f"; {len(past)} past values are too few to say what is usual (at least {LEAST})"
        scale = 100 if check.bound.unit == "percent" else 1
        told = check.bound.settled((bounds[0] * scale, bounds[1] * scale))
        return told.holds(value * scale), f"; usually {told.text()}"

    def _past(self, check: Check, value: float | None) -> Sequence[float]:
        """The values of a check before this one: the same value at the end is of the same rows, looked at again."""
        past = self.past.get(check.name, ())
        return past[:-1] if past and past[-1] == value else past

    def _count_result(self, item: Measured, failing: int, total: int) -> CheckResult:
        check = item.check
        share = 100 * failing / total if total else 0.0
        value = failing / total if total else 0.0
        holds, told = self._holds(check, share if check.bound.unit == "percent" else failing, value)
        observed = observed_count(check, failing, total) + told
        rows: list[dict[str, Any]] = []
        if item.failing is None and isinstance(item.narrow, Outlying) and not holds:
            item = replace(item, failing=item.narrow.failing(self._world(item)))
        if not holds and failing and item.failing and self.sample:
            observed += self._detail(item)
            first = [*self.contract.key, *check.columns, *self.plan.mentions.get(check.name, ())]
            rows = self._failing(item, list(dict.fromkeys(first)))
        told_rows: dict[str, Any] = {"failed_rows": failing, "total_rows": total, "sample": tuple(rows)}
        return self._made(check, "passed" if holds else "failed", observed, **told_rows, value=value)

    def _failing(self, item: Measured, columns: list[str]) -> list[dict[str, Any]]:
        """Some failing rows: of what was read now, when those are enough, else of all."""
        read = self.scan.read
        types = self.plan.types if item.failing_in is not None else None  # it selects whole rows
        if item.failing_in is not None and read and len(read) < len(self.parts.ids):
            query = item.failing_in(self.parts.relation(sorted(read)))
            rows = rows_of(self.connection, query, columns, self.contract.masked, self.sample, types)
            if len(rows) == self.sample:
                return rows
        return rows_of(self.connection, str(item.failing), columns, self.contract.masked, self.sample, types)

    def _detail(self, item: Measured) -> str:
        """What the failing values are, when they may be shown: the commonest ones, or their extremes."""
        rule = item.check.rule
        if (
            not isinstance(rule, checks.OneOf | checks.NoneOf | checks.Between | checks.Matches)
            or rule.column in self.contract.masked
        ):
            return ""
        ends = self._ends(item)
        if ends is not None:
            found = self.scan.later(ends, stable=item.stable)
            low, high = (shown_number(value) if isinstance(value, float) else value for value in found)
            return f": {low}" if low == high else f": {low} to {high}"
        column = quoted(rule.column)
        query = f"SELECT left(CAST({column} AS VARCHAR), 40), count(*) AS n FROM ({item.failing}) AS t "
        commonest = self.connection.execute(query + "GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 4").fetchall()
        listed = ", ".join(f"{value!r} × {shown_number(count)}" for value, count in commonest[:3])
        return f": {listed}{', …' if len(commonest) > 3 else ''}"

    def _schema_result(self, check: Check) -> CheckResult:
        finding = self.plan.schema[check.name]
        if finding is None:
            shown = self.plan.types.get(check.columns[0], "") if check.columns else "none"
            return self._made(check, "passed", shown)
        if isinstance(check.rule, checks.Declared):
            if finding != "missing":
                return self._made(check, "failed", f"{finding} column")
            alike = self.renames.get(check.rule.column)
            return self._made(check, "failed", f"missing; {alike.text()}" if alike else "missing")
        return self._made(check, "failed", finding + self._renamed(self.renames))

    @staticmethod
    def _renamed(renames: Mapping[str, Lookalike]) -> str:
        pairs = [f"{alike.column} looks like {lost}" for lost, alike in renames.items()]
        return f"; {', '.join(pairs)}" if pairs else ""

    def _made(self, check: Check, status: Any, observed: str, **more: Any) -> CheckResult:
        return CheckResult(
            name=check.name,
            column=", ".join(check.columns) or None,
            kind=check.kind,
            severity=check.severity,
            status=status,
            observed=observed,
            expected=expected_text(check, self.contract),
            description=check.description,
            dimension=check.quality,
            line=check.line,
            owner=check.owner,
            usual=usual(self._past(check, more.get("value"))),
            **more,
        )
