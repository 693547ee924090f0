"""Checks as SQL: which rows are bad, which aggregate measures it, and which rules need a query of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bascule.contracts import checks
from bascule.contracts.checks import Aggregate, Check, RowRule, Scalar
from bascule.contracts.families import Family, family_of
from bascule.contracts.sql import literal, quoted, value_of

Types = Mapping[str, str]

_NUMERIC = frozenset[Family]({"integer", "number", "empty"})
_TIMES = frozenset[Family]({"date", "timestamp", "time", "string", "empty"})
_STREAMING = {"mean": "avg", "min": "min", "max": "max", "sum": "sum", "std": "stddev_samp"}


@dataclass(frozen=True, slots=True)
class Measured:
    """How one check is measured over a relation.

    Attributes:
        total: an aggregate that counts the rows looked at; part of the scan.
        value: an aggregate that is part of the scan, or None when `query` measures.
        query: a query of its own that answers the value, or None.
        failing: selects the failing rows; run only after the check failed.
    """

    check: Check
    total: str
    value: str | None = None
    query: str | None = None
    failing: str | None = None


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
        case Aggregate(function=function) if function != "distinct":
            return _NUMERIC, "a number"
        case _:
            return frozenset(), ""


def compile_check(check: Check, relation: str, types: Types, existing: str | None) -> Measured:
    """One check that fits the columns, as SQL. Rules over queries of the contract are compiled by the plan."""
    where = _condition(check)
    total = f"count_if({where})" if where else "count(*)"
    rule = check.rule
    match rule:
        case checks.RowCount():
            return Measured(check, total, value=total)
        case checks.Freshness():
            newest = f"max(CAST(t.{quoted(rule.column)} AS TIMESTAMP)){_filter(where)}"
            return Measured(check, total, value=f"epoch_us({newest})")
        case Aggregate():
            return _aggregate(check, rule, relation, types, where, total)
        case checks.Unique():
            return _unique(check, rule, relation, types, where, total, existing)
        case checks.References() | checks.NoRowsFrom() | checks.Answer() | checks.Declared() | checks.NoOthers():
            raise TypeError(f"{type(rule).__name__} is compiled by the plan")
        case _:
            bad = bad_rows(rule, types)
            failing = f"{where} AND ({bad})" if where else bad
            return Measured(
                check, total, value=f"count_if({failing})", failing=f"SELECT * FROM {relation} AS t WHERE {failing}"
            )


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


def _filter(where: str | None) -> str:
    return f" FILTER (WHERE {where})" if where else ""


def _aggregate(check: Check, rule: Aggregate, relation: str, types: Types, where: str | None, total: str) -> Measured:
    value = value_of(rule.column, types[rule.column])
    if rule.function in _STREAMING:
        name = _STREAMING[rule.function]
        number = f"CAST({value} AS DOUBLE)" if family_of(types[rule.column]) == "empty" else value
        return Measured(check, total, value=f"CAST({name}({number}){_filter(where)} AS DOUBLE)")
    condition = f"{value} IS NOT NULL" + (f" AND {where}" if where else "")
    if rule.function == "distinct":
        # Grouping first is what keeps memory at the number of distinct values; an empty relation counts 0.
        answer = "count(*)"
        rows = f"SELECT 1 FROM {relation} AS t WHERE {condition} GROUP BY {value}"
    else:
        answer = f"CAST(quantile_cont(v, {rule.at!r}) AS DOUBLE)"
        rows = f"SELECT CAST({value} AS DOUBLE) AS v FROM {relation} AS t WHERE {condition}"
    return Measured(check, total, query=f"SELECT {answer} FROM ({rows}) AS q")


def _unique(
    check: Check, rule: checks.Unique, relation: str, types: Types, where: str | None, total: str, existing: str | None
) -> Measured:
    values = [value_of(column, types[column]) for column in rule.columns]
    names = [f"k{i}" for i in range(len(values))]
    keys = ", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True))
    present = " AND ".join([f"{value} IS NOT NULL" for value in values] + ([where] if where else []))
    groups = f"SELECT {keys}, count(*) AS n FROM {relation} AS t WHERE {present} GROUP BY {', '.join(values)}"
    same = " AND ".join(f"t.{name} = e.{name}" for name in names)
    if existing is None:
        query = f"SELECT coalesce(sum(n - 1), 0) FROM ({groups} HAVING count(*) > 1) AS t"
        twins = f"SELECT * FROM ({groups} HAVING count(*) > 1)"
    else:
        # A row whose key is already in the table is surplus, and so is every repetition inside the batch.
        before = f"SELECT DISTINCT {keys} FROM {existing} AS t"
        known = f"SELECT t.*, e.k0 IS NOT NULL AS seen FROM ({groups}) AS t LEFT JOIN ({before}) AS e ON {same}"
        query = f"SELECT coalesce(sum(CASE WHEN seen THEN n ELSE n - 1 END), 0) FROM ({known}) AS t"
        twins = f"SELECT * FROM ({known}) WHERE seen OR n > 1"
    order = ", ".join(str(i + 1) for i in range(len(names)))
    some = f"{twins} ORDER BY {order} LIMIT 100"
    match = " AND ".join(f"{value} = e.{name}" for value, name in zip(values, names, strict=True))
    rows = f"SELECT * FROM {relation} AS t WHERE {present}"
    failing = f"SELECT * FROM ({rows}) AS t SEMI JOIN ({some}) AS e ON {match} ORDER BY {', '.join(values)}"
    return Measured(check, total, query=query, failing=failing)


def compile_references(check: Check, rule: checks.References, relation: str, types: Types, target: str) -> Measured:
    """A foreign key against the relation `target`."""
    where = _condition(check)
    values = [value_of(column, types[column]) for column in rule.columns]
    present = " AND ".join([f"{value} IS NOT NULL" for value in values] + ([where] if where else []))
    match = " AND ".join(f"{value} = o.{quoted(to)}" for value, to in zip(values, rule.to, strict=True))
    orphans = f"FROM (SELECT * FROM {relation} AS t WHERE {present}) AS t ANTI JOIN {target} AS o ON {match}"
    total = f"count_if({where})" if where else "count(*)"
    return Measured(check, total, query=f"SELECT count(*) {orphans}", failing=f"SELECT * {orphans}")
