"""Checks as SQL: which rows are bad, which aggregate measures it, and which rules need a query of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from bascule.contracts import accumulators, checks, facts
from bascule.contracts.accumulators import Accumulator
from bascule.contracts.checks import Aggregate, Check, RowRule, Scalar
from bascule.contracts.distribution import Distance, Outlying
from bascule.contracts.families import Family, family_of
from bascule.contracts.narrow import Counted, Distinct, Narrow, Surplus
from bascule.contracts.quantiles import Quantile
from bascule.contracts.sql import literal, quoted, value_of

Types = Mapping[str, str]

_NUMERIC = frozenset[Family]({"integer", "number", "empty"})
_WHOLE = frozenset(f"{sign}{size}" for sign in ("", "U") for size in ("TINYINT", "SMALLINT", "INTEGER", "BIGINT"))
_HASHED = frozenset[Family]({"integer", "number", "string", "boolean", "date", "timestamp"})
_TIMES = frozenset[Family]({"date", "timestamp", "time", "string", "empty"})


@dataclass(frozen=True, slots=True)
class Measured:
    """How one check is measured over a relation.

    Attributes:
        total: counts the rows looked at; part of the scan.
        value: what measures as part of the scan, or None when `narrow` does.
        narrow: what measures with a query of its own, or None.
        failing: selects the failing rows; run only after the check failed.
        failing_in: selects those of some rows, when each row fails by itself.
        bad: the condition for a row to fail, when each row fails by itself.
        stable: it says the same of the same rows whenever it is asked, so that states of it may be kept.
    """

    check: Check
    total: Accumulator
    value: Accumulator | None = None
    narrow: Narrow | None = None
    failing: str | None = None
    failing_in: Callable[[str], str] | None = None
    bad: str | None = None
    stable: bool = True

    @property
    def scanned(self) -> tuple[Accumulator, ...]:
        """What the scan measures for it."""
        own = (self.value,) if self.value is not None else ()
        return (self.total, *own, *(self.narrow.needs if self.narrow is not None else ()))


def unfit(check: Check, types: Types) -> str | None:
    """Why a check cannot be run on columns of these types, or None."""
    missing = [column for column in check.columns if column not in types]
    if missing:
        return f"{', '.join(missing)} is missing" if len(missing) == 1 else f"{', '.join(missing)} are missing"
    wanted, what = _wanted(check.rule)
    for column in check.columns if wanted else ():
        if family_of(types[column]) not in wanted:
            return f"{column} is {types[column]}, not {what}"
    return None


def _wanted(rule: checks.Rule) -> tuple[frozenset[Family], str]:
    """Which families a rule can work on; an empty set means any."""
    match rule:
        case checks.Between():
            ends = [end for end in (rule.minimum, rule.maximum, rule.above, rule.below) if end is not None]
            textual = any(isinstance(end, str) for end in ends)
            return (_TIMES, "a date, a time or a text") if textual else (_NUMERIC, "a number")
        case checks.MultipleOf():
            return _NUMERIC, "a number"
        case checks.Matches():
            return frozenset({"string", "empty"}), "a text"
        case checks.Length():
            return frozenset({"string", "array", "empty"}), "a text or an array"
        case checks.Freshness():
            return frozenset({"date", "timestamp", "empty"}), "a date or a time"
        case checks.Outliers():
            return _NUMERIC, "a number"
        case Aggregate(function=function) if function != "distinct":
            return _NUMERIC, "a number"
        case _:
            return frozenset(), ""


def compile_check(check: Check, relation: str, types: Types, existing: str | None) -> Measured:
    """One check that fits the columns, as SQL. Rules over queries of the contract are compiled by the plan."""
    where = _condition(check)
    total = accumulators.count(where)
    rule = check.rule
    match rule:
        case checks.RowCount():
            return Measured(check, total, value=total)
        case checks.Freshness():
            newest = accumulators.extreme("max", f"epoch_us(CAST(t.{quoted(rule.column)} AS TIMESTAMP))", where)
            return Measured(check, total, value=newest)
        case Aggregate():
            return _aggregate(check, rule, types, where, total)
        case checks.Unique():
            return _unique(check, rule, relation, types, where, total, existing)
        case checks.Contains():
            return Measured(check, total, value=_occurring(rule, types, where))
        case (
            checks.References()
            | checks.NoRowsFrom()
            | checks.Answer()
            | checks.Differs()
            | checks.Outliers()
            | checks.Called()
            | checks.Declared()
            | checks.NoOthers()
        ):
            raise TypeError(f"{type(rule).__name__} is compiled by the plan")
        case _:
            bad = bad_rows(rule, types)
            failing = f"{where} AND ({bad})" if where else bad
            told, of = (None, None) if where else (_told(rule, types), _alone(rule, types))

            def rows(source: str) -> str:
                return f"SELECT * FROM {source} AS t WHERE {failing}"

            value = accumulators.count(failing, told, of)
            return Measured(check, total, value, failing=rows(relation), failing_in=rows, bad=failing)


def _told(rule: RowRule, types: Types) -> facts.Told | None:
    """What metadata say of how many rows break a rule."""
    match rule:
        case checks.NotNull():
            return facts.missing(rule.column)
        case checks.Between():
            return facts.within(rule, types[rule.column])
        case _:
            return None


def _alone(rule: RowRule, types: Types) -> str | None:
    """The column of texts whose value alone a rule looks at, at a cost: few different ones are worth a look each."""
    match rule:
        case checks.OneOf() | checks.NoneOf() | checks.Matches() | checks.Length():
            return f"t.{quoted(rule.column)}" if family_of(types[rule.column]) == "string" else None
        case _:
            return None


def bad_rows(rule: RowRule, types: Types) -> str:
    """The condition that is true for rows that fail; NULL and false pass."""
    if isinstance(rule, checks.Holds):
        return f"NOT (\n{rule.sql}\n)"
    value = value_of(rule.column, types[rule.column])
    match rule:
        case checks.NotNull():
            return f"{value} IS NULL"
        case checks.NotMissing():
            missing = f"{value} IS NULL"
            listed = _listed(rule.stand_ins, rule.column, types)
            return f"{missing} OR {listed[0]} IN ({listed[1]})" if listed else missing
        case checks.OneOf():
            listed = _listed(rule.values, rule.column, types)
            return f"{listed[0]} NOT IN ({listed[1]})" if listed else f"{value} IS NOT NULL"
        case checks.NoneOf():
            listed = _listed(rule.values, rule.column, types)
            return f"{listed[0]} IN ({listed[1]})" if listed else "false"
        case checks.Between():
            ends = ((rule.minimum, "<"), (rule.maximum, ">"), (rule.above, "<="), (rule.below, ">="))
            return " OR ".join(f"{value} {sign} {literal(end)}" for end, sign in ends if end is not None)
        case checks.Matches():
            return f"NOT regexp_matches({value}, {literal(rule.pattern)})"
        case checks.Length():
            size = f"len({value})" if family_of(types[rule.column]) == "array" else f"length(CAST({value} AS VARCHAR))"
            limits = ((rule.minimum, "<"), (rule.maximum, ">"))
            return " OR ".join(f"{size} {sign} {limit}" for limit, sign in limits if limit is not None)
        case checks.MultipleOf():
            # Decimal fractions have no exact binary form, so a quotient may miss a whole number by a rounding error.
            quotient = f"CAST({value} AS DOUBLE) / {literal(float(rule.of))}"
            return f"abs({quotient} - round({quotient})) > 1e-9 * greatest(1, abs({quotient}))"


def _listed(values: Sequence[Scalar], column: str, types: Types) -> tuple[str, str] | None:
    """What to compare with a list of values, and the list; None when only NULL is listed.

    Numbers are compared as numbers in numeric columns; everything else by its text, so that a list may name dates,
    codes such as 007 and truth values without knowing the column's type.
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
    if numeric and family_of(types[column]) in _NUMERIC:
        return value_of(column, types[column]), ", ".join(literal(value) for value in known)
    texts = (str(value).lower() if isinstance(value, bool) else str(value) for value in known)
    return f"CAST({value_of(column, types[column])} AS VARCHAR)", ", ".join(literal(text) for text in texts)


def _condition(check: Check) -> str | None:
    """The rows looked at; on lines of its own, so that a comment in it ends where it ends."""
    return f"(\n{check.where}\n)" if check.where else None


def _aggregate(check: Check, rule: Aggregate, types: Types, where: str | None, total: Accumulator) -> Measured:
    kind = types[rule.column]
    value = value_of(rule.column, kind)
    number = f"CAST({value} AS DOUBLE)" if family_of(kind) == "empty" else value
    decimal = kind.upper().startswith("DECIMAL")
    match rule.function:
        case "min" | "max":
            told = None if where else facts.end(rule.column, rule.function, _double)
            asked = accumulators.extreme(rule.function, f"CAST({number} AS DOUBLE)", where, told)
            return Measured(check, total, value=asked)
        case "sum":
            summed = accumulators.exact_total if decimal else accumulators.total
            return Measured(check, total, value=summed(number, where))
        case "mean":
            return Measured(check, total, value=accumulators.mean(number, where, decimal=decimal))
        case "std":
            return Measured(check, total, value=accumulators.deviation(f"CAST({number} AS DOUBLE)", where))
        case "distinct":
            return Measured(check, total, narrow=_distinct([rule.column], types, where, few=True))
        case "median" | "quantile":
            present = _present([value], where)
            rows = _rows([rule.column], present, where)
            return Measured(check, total, narrow=Quantile(f"CAST({value} AS DOUBLE)", present, rule.at, rows))


def _double(value: Any) -> float:
    return float(value) + 0.0  # both zeros are one value


def _present(values: Sequence[str], where: str | None) -> str:
    return " AND ".join([f"{value} IS NOT NULL" for value in values] + ([where] if where else []))


def _distinct(columns: Sequence[str], types: Types, where: str | None, *, few: bool) -> Distinct:
    values = [value_of(column, types[column]) for column in columns]
    present = _present(values, where)
    extent = None
    if len(columns) == 1 and types[columns[0]].upper() in _WHOLE:
        low, high = (None if where else facts.end(columns[0], which) for which in ("min", "max"))
        extent = (
            accumulators.extreme("min", values[0], where, low),
            accumulators.extreme("max", values[0], where, high),
        )
    hashed = all(family_of(types[column]) in _HASHED for column in columns)
    return Distinct(tuple(values), present, _rows(columns, present, where), extent, few, hashed)


def _rows(columns: Sequence[str], present: str, where: str | None) -> Accumulator:
    """Counts the rows that have a value in each of some columns."""
    told = facts.present(columns[0]) if len(columns) == 1 and where is None else None
    return accumulators.count(present, told)


def _unique(
    check: Check,
    rule: checks.Unique,
    relation: str,
    types: Types,
    where: str | None,
    total: Accumulator,
    existing: str | None,
) -> Measured:
    keys = _distinct(rule.columns, types, where, few=False)
    names = [f"k{i}" for i in range(len(keys.values))]
    match = " AND ".join(f"{value} = e.{name}" for value, name in zip(keys.values, names, strict=True))
    twins = f"{keys.groups(relation)} HAVING count(*) > 1"
    if existing is not None:
        # A row whose key is already in the table is surplus, and so is every repetition inside the batch.
        held = f"SELECT * FROM {existing} AS t SEMI JOIN ({keys.groups(relation)}) AS e ON {match}"
        listed = ", ".join(f"{value} AS {name}" for value, name in zip(keys.values, names, strict=True))
        seen = f"SELECT DISTINCT {listed} FROM ({held}) AS t"
        twins = f"SELECT * FROM ({twins}) UNION SELECT * FROM ({seen})"
    order = ", ".join(str(i + 1) for i in range(len(names)))
    some = f"SELECT * FROM ({twins}) ORDER BY {order} LIMIT 100"
    rows = f"SELECT * FROM {relation} AS t WHERE {keys.present}"
    failing = f"SELECT * FROM ({rows}) AS t SEMI JOIN ({some}) AS e ON {match} ORDER BY {', '.join(keys.values)}"
    return Measured(check, total, narrow=Surplus(keys, existing), failing=failing, stable=existing is None)


def _occurring(rule: checks.Contains, types: Types, where: str | None) -> Accumulator:
    """Counts, for each listed value, its rows; what it measures is how many values have none."""
    columns = []
    for value in rule.values:
        listed = _listed((value,), rule.column, types)
        same = f"{listed[0]} = {listed[1]}" if listed else f"t.{quoted(rule.column)} IS NULL"
        columns.append(f"count_if({same} AND {where})" if where else f"count_if({same})")

    def merge(a: facts.State, b: facts.State) -> facts.State:
        return tuple((x or 0) + (y or 0) for x, y in zip(a, b, strict=True))

    return Accumulator(tuple(columns), merge, lambda state: sum(not number for number in state))


def compile_distance(check: Check, rule: checks.Differs, types: Types, reference: str | None) -> Measured:
    """How far a column's values are from a reference relation's, or from stated shares."""
    where = _condition(check)
    plain, family = value_of(rule.column, types[rule.column]), family_of(types[rule.column])
    numeric = reference is not None and family in ("integer", "number", "date", "timestamp")
    value = f"CAST({plain} AS VARCHAR)"
    if numeric:
        value = f"epoch({plain})" if family in ("date", "timestamp") else f"CAST({plain} AS DOUBLE)"
    shares = tuple((str(v).lower() if isinstance(v, bool) else str(v), share) for v, share in rule.shares)
    narrow = Distance(rule.measure, value, _present([plain], where), numeric, reference, shares)
    return Measured(check, accumulators.count(where), narrow=narrow)


def compile_outliers(check: Check, rule: checks.Outliers, types: Types, reference: str | None) -> Measured:
    """Values beyond fences around the quartiles."""
    where = _condition(check)
    plain = value_of(rule.column, types[rule.column])
    present = _present([plain], where)
    rows = _rows([rule.column], present, where)
    narrow = Outlying(f"CAST({plain} AS DOUBLE)", present, rule.fences, rows, reference)
    return Measured(check, accumulators.count(where), narrow=narrow)


def surplus_of(connection: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str], types: Types) -> int:
    """How many rows would have to go for some columns to be a key; rows with a missing value take no part."""
    keys = _distinct(columns, types, None, few=False)
    query = f"SELECT (SELECT count(*) FROM {relation} AS t WHERE {keys.present}) - ({keys.text(relation)})"
    return int(connection.execute(query).fetchall()[0][0])


def compile_references(check: Check, rule: checks.References, relation: str, types: Types, target: str) -> Measured:
    """A foreign key against the relation `target`."""
    where = _condition(check)
    values = [value_of(column, types[column]) for column in rule.columns]
    present = _present(values, where)
    match = " AND ".join(f"{value} = o.{quoted(to)}" for value, to in zip(values, rule.to, strict=True))

    def orphans(rows: str) -> str:
        return f"FROM (SELECT * FROM {rows} AS t WHERE {present}) AS t ANTI JOIN {target} AS o ON {match}"

    counted = Counted(lambda rows: f"SELECT count(*) {orphans(rows)}")
    return Measured(check, accumulators.count(where), narrow=counted, failing=f"SELECT * {orphans(relation)}")
