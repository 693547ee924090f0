"""The plan of a run: everything that merges goes into one scan, the rest gets one narrow query each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import duckdb

from bascule.contracts import accumulators, checks
from bascule.contracts.checks import Check
from bascule.contracts.compile import (
    Measured,
    Types,
    compile_check,
    compile_distance,
    compile_outliers,
    compile_references,
    unfit,
)
from bascule.contracts.contract import Contract
from bascule.contracts.families import accepts, family_of
from bascule.contracts.narrow import Asked
from bascule.contracts.sql import check_expression, columns_of, error_text, lasting, quoted, tables_of, unforetold
from bascule.errors import BasculeError, InputError

Related = Callable[[str], str | None]
ROWS = accumulators.count(None)


@dataclass(slots=True)
class Plan:
    """How a contract is checked against one relation.

    Attributes:
        types: the relation's columns and their SQL types.
        measured: checks that the scan or a query of their own measures.
        refused: checks that cannot be run here, and why.
        schema: checks that the schema alone decides: None when they hold, else what was found.
        mentions: columns that a check's own SQL reads; failing rows show them first.
    """

    relation: str
    types: dict[str, str]
    measured: list[Measured] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    schema: dict[str, str | None] = field(default_factory=dict)
    mentions: dict[str, list[str]] = field(default_factory=dict)

    def aggregates(self) -> list[str]:
        """The distinct aggregates of the scan, the row count first."""
        wanted = [ROWS, *(accumulator for item in self.measured for accumulator in item.scanned)]
        return list(dict.fromkeys(column for accumulator in wanted for column in accumulator.columns))

    def text(self) -> str:
        """The plan for people: every query that a run makes when all checks pass and nothing is known of the rows."""
        single = [item for item in self.measured if item.narrow is not None]
        aggregates = ",\n       ".join(self.aggregates())
        lines = [
            f"{len(self.schema)} checks are decided by the schema",
            f"{len(self.measured) - len(single)} checks share one scan:",
            f"SELECT {aggregates}\nFROM {self.relation} AS t",
        ]
        for item in single:
            text = item.narrow.text(self.relation) if item.narrow is not None else ""
            lines += ["", f"{item.check.name} has a query of its own:", text]
        for name, reason in self.refused.items():
            lines += ["", f"{name} cannot be run: {reason}"]
        lines += ["", "Failing rows are fetched for failed checks only, with one bounded query each."]
        return "\n".join(lines)


def make_plan(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    contract: Contract,
    *,
    related: Related | None = None,
    existing: str | None = None,
    lake: bool = False,
) -> Plan:
    """Plan a contract over a relation.

    Args:
        lake: the rows are the lake's, which reads floats so that footers hide no NaN.

    Raises:
        InputError: the relation itself cannot be read. What is wrong with a single check is told by that check.
    """
    try:
        types = columns_of(connection, relation)
        plan = Plan(relation if lake else unforetold(connection, relation, types), types)
    except duckdb.Error as error:
        raise InputError(
            f"The rows of {contract.table} cannot be read: {error_text(error)}",
            hint="Look at the table with: bascule sql",
        ) from error
    declared = {column.name for column in contract.columns}
    for check in contract.checks:
        if isinstance(check.rule, checks.Declared | checks.NoOthers):
            plan.schema[check.name] = _schema_finding(check.rule, plan.types, declared)
            continue
        try:
            _add(plan, connection, contract, check, related, existing)
        except BasculeError as error:
            plan.refused[check.name] = " ".join(filter(None, (error.message, error.hint)))
        except duckdb.Error as error:
            plan.refused[check.name] = error_text(error)
    return plan


def _schema_finding(rule: checks.Declared | checks.NoOthers, types: Types, declared: set[str]) -> str | None:
    if isinstance(rule, checks.NoOthers):
        others = [name for name in types if name not in declared]
        return f"{', '.join(others)} {'is' if len(others) == 1 else 'are'} not in the contract" if others else None
    if rule.column not in types:
        return "missing"
    found = types[rule.column]
    return None if rule.family is None or accepts(rule.family, family_of(found)) else found


def _add(
    plan: Plan,
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    check: Check,
    related: Related | None,
    existing: str | None,
) -> None:
    reason = unfit(check, plan.types)
    if reason:
        plan.refused[check.name] = reason
        return
    rule = check.rule
    declared, stable = {column.name for column in contract.columns}, True
    for text in filter(None, (check.where, rule.sql if isinstance(rule, checks.Holds) else None)):
        read = check_expression(connection, text)
        gone = sorted(read & declared - set(plan.types))
        if gone:
            raise InputError(f"{', '.join(gone)} {'is' if len(gone) == 1 else 'are'} missing")
        plan.mentions[check.name] = [name for name in plan.types if name in read]
        stable = stable and lasting(connection, text, plan.types)
    if isinstance(rule, checks.References):
        target = _related(rule.table, contract, plan.relation, related)
        found = compile_references(check, rule, plan.relation, plan.types, target)
    elif isinstance(rule, checks.Differs):
        found = compile_distance(check, rule, plan.types, _reference(rule.reference, contract, related))
    elif isinstance(rule, checks.Outliers):
        found = compile_outliers(check, rule, plan.types, _reference(rule.reference, contract, related))
    elif isinstance(rule, checks.Called):
        found = Measured(check, ROWS, stable=False)
    elif isinstance(rule, checks.NoRowsFrom | checks.Answer):
        found = _queried(plan, connection, contract, check, rule, related)
    else:
        found = compile_check(check, plan.relation, plan.types, existing)
    plan.measured.append(found if stable else replace(found, stable=False))


def _related(table: str, contract: Contract, relation: str, related: Related | None) -> str:
    found = relation if table.lower() == contract.table.lower() else related(table) if related else None
    if found is None:
        raise InputError(f"The table {table} is not here.", hint="Bring it in first with: bascule ingest")
    return found


def _reference(ref: str, contract: Contract, related: Related | None) -> str | None:
    """The checked table as it was at a reference; None when none is asked for."""
    if not ref:
        return None
    found = related(f"{contract.table}@{ref}") if related else None
    if found is None:
        raise InputError(f"There is no table {contract.table} at {ref!r} to compare with.")
    return found


def _queried(
    plan: Plan,
    connection: duckdb.DuckDBPyConnection,
    contract: Contract,
    check: Check,
    rule: checks.NoRowsFrom | checks.Answer,
    related: Related | None,
) -> Measured:
    """A query that a person wrote; it sees the checked table and related ones by name, and nothing else."""
    text = rule.sql.strip().rstrip(";")
    column = rule.column if isinstance(rule, checks.Answer) else None
    # With its dollar first: without it, what is left of `${object}` is no SQL.
    for mark in ("${object}", "${table}", "{object}", "{table}"):
        text = text.replace(mark, quoted(contract.table))
    for mark in ("${property}", "${column}", "{property}", "{column}"):
        text = text.replace(mark, quoted(column)) if column else text
    tables = sorted(tables_of(connection, text), key=str.lower)
    parts = [
        f"{quoted(table)} AS NOT MATERIALIZED (SELECT * FROM {_related(table, contract, plan.relation, related)} AS t)"
        for table in tables
    ]
    known = f"WITH {', '.join(parts)} " if parts else ""
    if isinstance(rule, checks.NoRowsFrom):
        rows = f"{known}SELECT * FROM (\n{text}\n) AS q"
        return Measured(check, ROWS, narrow=Asked(f"SELECT count(*) FROM ({rows}) AS q"), failing=rows)
    return Measured(check, ROWS, narrow=Asked(f"{known}SELECT * FROM (\n{text}\n) AS q LIMIT 2"))
