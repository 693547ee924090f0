"""Quality rules of a contract file, read into checks: the library and SQL rules of the standard (ODCS)."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal, cast

import duckdb

from bascule.contracts import checks
from bascule.contracts.checks import Bound, Check, Operator, Rule, Scalar
from bascule.contracts.document import Node
from bascule.contracts.vocabulary import DIMENSIONS, METRICS, OPERATORS, RULE_KEYS, RULE_TYPES, SECONDS, SEVERITIES
from bascule.errors import suggestion


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a rule stands: on a column, or on the table when `column` is None.

    `names` maps the contract's names of columns to those in the table.
    """

    names: Mapping[str, str]
    column: str | None = None

    def at(self, column: str) -> Scope:
        """The same table, on a column."""
        return replace(self, column=column)


@dataclass(frozen=True, slots=True)
class NotRun:
    """A part of the contract that Bascule reads past: a text, a rule for another engine, the inside of a column."""

    name: str
    reason: str
    line: int


def read_standard_rule(node: Node, scope: Scope, kind: str) -> Check:
    """An entry of a `quality` list of type `library` or `sql`."""
    if kind == "sql":
        rule = checks.Answer(node.require("query").text(), scope.column)
        return _with_custom_properties(Check("", rule, _operator_bound(node, percent=False)), node)
    return _with_custom_properties(_library(node, scope), node)


def rule_type(node: Node) -> str:
    """What kind of rule an entry of a `quality` list is."""
    known_keys(node, RULE_KEYS, "key of a quality rule")
    written = node.get("type")
    if written is not None:
        return written.choice({word: word for word in sorted(RULE_TYPES)}, "type of quality rule")
    return "library" if node.get("metric") or node.get("rule") else "text"


def with_labels(check: Check, node: Node) -> Check:
    """A check with the name, severity, dimension and description of its entry, and its owner (a custom property)."""
    severity, dimension = node.get("severity"), node.get("dimension")
    return replace(
        check,
        name=optional_text(node, "name"),
        severity=severity.choice(SEVERITIES, "severity") if severity else "critical",
        dimension=dimension.choice(DIMENSIONS, "dimension") if dimension else "",
        description=optional_text(node, "description"),
        owner=owner.text() if (owner := custom_properties(node).get("owner")) else "",
        line=node.line,
    )


def _with_custom_properties(check: Check, node: Node) -> Check:
    """A library rule's `where` and `minimumRows` are customProperties, because the standard has no key for them."""
    for name, value in custom_properties(node).items():
        if name == "where":
            if isinstance(check.rule, checks.Answer):
                value.fail("A query has its own WHERE.")
            check = replace(check, where=value.text())
        elif name == "minimumRows":
            check = replace(check, minimum_rows=value.count())
    return check


def custom_properties(node: Node) -> dict[str, Node]:
    """The `customProperties` of an element by name; those without a value are left out."""
    listed = node.get("customProperties")
    found: dict[str, Node] = {}
    for entry in listed.items() if listed else []:
        value = entry.get("value")
        if value is not None:
            found[entry.require("property").text()] = value
    return found


def known_keys(node: Node, keys: Collection[str], what: str, *, strict: bool = False) -> None:
    """Refuse a key that is a misspelling of a known one; with `strict`, any key that is not known."""
    lowered = {key.lower(): key for key in keys}
    for key, value in node.mapping().items():
        if key in keys:
            continue
        near = difflib.get_close_matches(key.lower(), lowered, n=1, cutoff=0.6 if strict else 0.8)
        if near or strict:
            hint = f"Did you mean {lowered[near[0]]!r}?" if near else suggestion(key, sorted(keys), what)
            replace(value, path=node.path).fail(f"{key!r} is not a known {what}.", hint=hint)


def optional_text(node: Node, key: str) -> str:
    """The text under `key`, or nothing."""
    found = node.get(key)
    return found.text() if found else ""


def _library(node: Node, scope: Scope) -> Check:
    metric_node = node.get("metric") or node.require("rule")
    metric = metric_node.choice({word: word for word in sorted(METRICS)}, "metric")
    arguments = node.get("arguments")
    if metric == "rowCount":
        return Check("", checks.RowCount(), _operator_bound(node, percent=False))
    bound = _operator_bound(node, percent=True)
    if metric == "duplicateValues":
        return Check("", checks.Unique(_duplicate_columns(node, arguments, scope)), bound)
    if scope.column is None:
        metric_node.fail(f"`{metric}` belongs to a column.", hint="Move the rule below one of `properties`.")
    return Check("", _value_rule(metric, node, arguments, scope.column), bound)


def _value_rule(metric: str, node: Node, arguments: Node | None, column: str) -> Rule:
    if metric == "nullValues":
        return checks.NotNull(column)
    if arguments is None:
        node.fail(f"`{metric}` needs `arguments`.")
    if metric == "missingValues":
        return checks.NotMissing(column, scalars(arguments.require("missingValues")))
    known_keys(arguments, ("validValues", "pattern"), "argument of invalidValues", strict=True)
    values, written = arguments.get("validValues"), arguments.get("pattern")
    if (values is None) == (written is None):
        arguments.fail("`invalidValues` needs either `validValues` or `pattern`.")
    return checks.OneOf(column, scalars(values)) if values else checks.Matches(column, pattern(cast(Node, written)))


def _duplicate_columns(node: Node, arguments: Node | None, scope: Scope) -> tuple[str, ...]:
    listed = arguments.get("properties") if arguments else None
    if listed is not None:
        return column_names(listed, scope)
    if scope.column is None:
        node.fail("`duplicateValues` on a table needs `arguments: {properties: [...]}`.")
    return (scope.column,)


def _operator_bound(node: Node, *, percent: bool) -> Bound:
    """The operator and unit of a rule. A measured value has no percent; a count of failing rows may have one."""
    found = [key for key in node.mapping() if key in OPERATORS]
    if len(found) != 1:
        what = "none" if not found else " and ".join(found)
        node.fail(f"A rule needs exactly one operator, found {what}.", hint=f"One of: {', '.join(OPERATORS)}.")
    bound = read_bound(OPERATORS[found[0]], node.mapping()[found[0]])
    unit = node.get("unit")
    if not percent:
        if unit is not None and unit.text() in ("percent", "%"):
            unit.fail("Only a number of failing rows can be a percentage.")
        return bound
    units = {"rows": "rows", "percent": "percent", "%": "percent"}
    word = unit.choice(units, "unit") if unit else "rows"
    return replace(bound, unit=cast(Literal["rows", "percent"], word))


def read_bound(operator: Operator, value: Node) -> Bound:
    """What a measured value must satisfy."""
    if operator in ("between", "not between"):
        ends = [item.number() for item in value.items()]
        if len(ends) != 2 or ends[0] > ends[1]:
            value.fail("Expected two numbers, the smaller first.")
        return Bound(operator, ends[0], ends[1], unit="value")
    number = float(value.value) if isinstance(value.value, bool) else value.number()
    return Bound(operator, number, unit="value")


def column_names(node: Node, scope: Scope) -> tuple[str, ...]:
    """A list of columns, each by the name that it has in the table."""
    found = tuple(column_name(item, scope) for item in node.items())
    if not found:
        node.fail("Expected at least one column.")
    return found


def column_name(node: Node, scope: Scope) -> str:
    """A column by the name that it has in the table."""
    name = node.text()
    if name not in scope.names:
        node.fail(
            f"There is no column {name!r} in this contract.", hint=suggestion(name, sorted(scope.names), "column")
        )
    return scope.names[name]


def scalars(node: Node) -> tuple[Scalar, ...]:
    """A non-empty list of plain values; an entry may also be a mapping with `value`, as in the standard's enum."""
    values = [item.require("value") if isinstance(item.value, dict) else item for item in node.items()]
    for item in values:
        if isinstance(item.value, list | dict):
            item.fail(f"Expected a plain value, found {item.shown()}.")
    if not values:
        node.fail("Expected at least one value.")
    return tuple(item.value for item in values)


def pattern(node: Node) -> str:
    """A regular expression that RE2 reads."""
    wrong = unreadable(node.text())
    if wrong:
        node.fail(f"The pattern {node.text()[:60]!r} is none that RE2 reads: {wrong}.")
    return node.text()


@cache
def unreadable(written: str) -> str:
    """Return why RE2 cannot read a pattern; nothing when it can."""
    try:
        _engine().cursor().execute("SELECT regexp_matches('', $1)", [written]).fetchall()
    except duckdb.Error as error:
        return str(error).removeprefix("Invalid Input Error: ").splitlines()[0]
    return ""


@cache
def _engine() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def range_end(node: Node, key: str) -> Scalar:
    """One end of a range: a number, or a text for dates and times; None when it is open."""
    found = node.get(key)
    if found is None:
        return None
    return found.value if isinstance(found.value, str) and found.value else found.number()


def seconds(node: Node, written: str) -> float:
    """A span of time such as `36h`, `2d` or `1 week`, in seconds."""
    number = written.strip().rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    unit = written.strip()[len(number) :].lower()
    try:
        return float(number) * SECONDS[unit]
    except (ValueError, KeyError):
        node.fail(f"Expected a span of time such as 30min, 36h, 2d or 1w, found {node.shown()}.")
