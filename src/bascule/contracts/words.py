"""Checks and what they found, in words."""

from __future__ import annotations

from bascule.contracts import checks
from bascule.contracts.checks import Bound, Check, Scalar, shown_number
from bascule.contracts.contract import Contract

_UNITS = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))


def duration(seconds: float) -> str:
    """A span of time in its largest fitting unit, for example `3.2 days`."""
    size, unit = next(((size, unit) for size, unit in _UNITS if abs(seconds) >= size), _UNITS[-1])
    shown = shown_number(round(seconds / size, 1))
    return f"{shown} {unit}{'' if shown == '1' else 's'}"


def observed_value(check: Check, number: float) -> str:
    """A measured number."""
    if isinstance(check.rule, checks.Freshness):
        return f"newest is {duration(number)} old" if number >= 0 else f"newest is {duration(-number)} in the future"
    if isinstance(check.rule, checks.Contains):
        return f"{shown_number(number)} of {len(check.rule.values)} values never occur"
    return shown_number(number) + (" rows" if isinstance(check.rule, checks.RowCount) else "")


def observed_count(check: Check, failing: int, total: int) -> str:
    """A number of failing rows, with its share."""
    surplus = "surplus " if isinstance(check.rule, checks.Unique) else ""
    if not failing:
        return f"no {surplus}rows"
    if isinstance(check.rule, checks.NoRowsFrom | checks.Called):
        return f"{shown_number(failing)} rows"
    share = 100 * failing / total if total else 100.0
    shown = "under 0.01" if share < 0.01 else f"{share:.2g}" if share < 10 else f"{share:.1f}"
    return f"{shown_number(failing)} {surplus}of {shown_number(total)} rows ({shown} %)"


def expected_text(check: Check, contract: Contract) -> str:
    """What a check asks, in one line."""
    rule, bound = check.rule, check.bound
    condition = f" where {_one_line(check.where)}" if check.where else ""
    match rule:
        case checks.Declared():
            declared = {column.name: column.declared for column in contract.columns}
            return f"{declared[rule.column]} column"
        case checks.NoOthers():
            return "only the columns of the contract"
        case checks.RowCount():
            return f"{bound.text()} rows{condition}"
        case checks.Aggregate():
            name = f"quantile {rule.at:g}" if rule.function == "quantile" else rule.function
            return f"{name} {bound.text()}{condition}"
        case checks.Freshness():
            return f"newest at most {duration(bound.low)} old{condition}"
        case checks.Contains():
            return f"each of {_listed(rule.values)} in some row{condition}"
        case checks.Differs():
            than = f"the values at {rule.reference}" if rule.reference else _shares(rule.shares)
            return f"{rule.measure} {bound.text()} from {than}{condition}"
        case checks.Answer():
            return f"{bound.text()} from {_one_line(rule.sql)}"
        case _:
            return f"{_rule_text(rule)}{condition}{_allowance(bound)}"


def _rule_text(rule: checks.RowRule | checks.SetRule) -> str:
    match rule:
        case checks.NotNull():
            return "a value in every row"
        case checks.NotMissing():
            return f"a value other than {_listed(rule.stand_ins)} in every row"
        case checks.OneOf():
            return f"one of {_listed(rule.values)}"
        case checks.NoneOf():
            return f"none of {_listed(rule.values)}"
        case checks.Outliers():
            whose = f"the quartiles at {rule.reference}" if rule.reference else "its quartiles"
            return f"within {shown_number(rule.fences)} interquartile ranges of {whose}"
        case checks.Called():
            return f"nothing wrong found by {rule.function}"
        case checks.Between():
            return _range_text(rule)
        case checks.Matches():
            return f"a match of {rule.pattern}"
        case checks.Length():
            return f"length {_ends(rule.minimum, rule.maximum)}"
        case checks.MultipleOf():
            return f"a multiple of {shown_number(rule.of)}"
        case checks.Holds():
            return _one_line(rule.sql)
        case checks.Unique():
            return "no two rows alike"
        case checks.References():
            return f"a row in {rule.table} ({', '.join(rule.to)})"
        case checks.NoRowsFrom():
            return f"no rows from {_one_line(rule.sql)}"


def _shares(shares: tuple[tuple[Scalar, float], ...]) -> str:
    shown = ", ".join(f"{value} {shown_number(100 * share)} %" for value, share in shares[:12])
    return shown + (", …" if len(shares) > 12 else "")


def _range_text(rule: checks.Between) -> str:
    parts = [_ends(rule.minimum, rule.maximum)] if (rule.minimum, rule.maximum) != (None, None) else []
    parts += [f"over {_shown(rule.above)}"] if rule.above is not None else []
    parts += [f"under {_shown(rule.below)}"] if rule.below is not None else []
    return " and ".join(parts)


def _ends(low: Scalar, high: Scalar) -> str:
    if low is not None and high is not None:
        return f"{_shown(low)} to {_shown(high)}"
    return f"at least {_shown(low)}" if high is None else f"at most {_shown(high)}"


def _shown(value: Scalar) -> str:
    return shown_number(value) if isinstance(value, int | float) else str(value)


def _listed(values: tuple[Scalar, ...]) -> str:
    shown = ", ".join(repr(value) if isinstance(value, str) else str(value) for value in values[:12])
    return f"{shown}, … ({len(values)} values)" if len(values) > 12 else shown


def _allowance(bound: Bound) -> str:
    """What a bound on failing rows forgives."""
    if bound == checks.NONE_FAILING or (bound.operator in ("=", "<=") and bound.low == 0):
        return ""
    if bound.operator == "usual":
        return ", failing rows as usual"
    if bound.unit == "percent":
        return f", failing rows {bound.text()}"
    return f", failing rows {bound.text()} rows"


def _one_line(text: str | None) -> str:
    line = " ".join((text or "").split())
    return line if len(line) <= 160 else line[:159] + "…"
