"""Rules with `engine: bascule`: what the standard has no metric for, with tolerance and condition."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast, get_args

from bascule.contracts import checks
from bascule.contracts.anomalies import WIDTH
from bascule.contracts.checks import Aggregate, Bound, Check, Function, Rule
from bascule.contracts.document import Node
from bascule.contracts.rules import (
    NotRun,
    Scope,
    column_name,
    column_names,
    known_keys,
    optional_text,
    pattern,
    range_end,
    read_bound,
    read_standard_rule,
    rule_type,
    scalars,
    seconds,
    with_labels,
)

ENGINE = "bascule"


def read_rule(node: Node, scope: Scope) -> Check | NotRun:
    """One entry of a `quality` list."""
    kind = rule_type(node)
    if kind == "text":
        name = optional_text(node, "name") or optional_text(node, "description")[:80]
        return NotRun(name or "text", "is a text for people", node.line)
    if kind != "custom":
        return with_labels(read_standard_rule(node, scope, kind), node)
    engine = node.require("engine").text()
    if engine != ENGINE:
        return NotRun(optional_text(node, "name") or engine, f"is for the engine {engine}", node.line)
    return with_labels(_implementation(node.require("implementation"), scope), node)


@dataclass(frozen=True, slots=True)
class _Kind:
    """One word after `check:`.

    Attributes:
        build: makes its rule.
        keys: its own keys.
        bound: reads what the measure must satisfy.
        bound_keys: the keys that `bound` reads.
        common: keys that every such rule has.
    """

    build: Callable[[Node, Scope], Rule]
    keys: tuple[str, ...] = ()
    bound: Callable[[Node], Bound] = lambda node: _tolerated(node)
    bound_keys: tuple[str, ...] = ("tolerate",)
    common: tuple[str, ...] = ("column", "where", "minimumRows")


def _implementation(node: Node, scope: Scope) -> Check:
    word = node.require("check").choice({name: name for name in KINDS}, "check")
    kind = KINDS[word]
    known_keys(node, {"check", *kind.common, *kind.keys, *kind.bound_keys}, f"key of `check: {word}`", strict=True)
    least = node.get("minimumRows")
    return Check(
        "",
        kind.build(node, scope),
        kind.bound(node),
        where=optional_text(node, "where") or None,
        minimum_rows=least.count() if least else 0,
    )


def _column(node: Node, scope: Scope) -> str:
    named = node.get("column")
    if named is not None:
        return column_name(named, scope)
    if scope.column is None:
        node.fail("`column` is missing: this rule stands on the table.")
    return scope.column


def _columns(node: Node, scope: Scope) -> tuple[str, ...]:
    listed = node.get("columns")
    return column_names(listed, scope) if listed else (_column(node, scope),)


def _range(node: Node, scope: Scope) -> Rule:
    ends = [range_end(node, key) for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")]
    if all(value is None for value in ends):
        node.fail("A range needs `minimum` or `maximum`.")
    return checks.Between(_column(node, scope), *ends)


def _length(node: Node, scope: Scope) -> Rule:
    low, high = node.get("minimum"), node.get("maximum")
    if low is None and high is None:
        node.fail("A length needs `minimum` or `maximum`.")
    return checks.Length(_column(node, scope), low.count() if low else None, high.count() if high else None)


def _references(node: Node, scope: Scope) -> Rule:
    columns = _columns(node, scope)
    to = tuple(item.text() for item in node.require("to").items())
    if len(to) != len(columns):
        node.fail(f"`to` names {len(to)} columns for {len(columns)}.")
    return checks.References(columns, node.require("table").text(), to)


def _quantile(node: Node, scope: Scope) -> Rule:
    level = node.require("at").number()
    if not 0 <= level <= 1:
        node.require("at").fail("A quantile's level lies between 0 and 1.")
    return Aggregate("quantile", _column(node, scope), float(level))


def _distribution(node: Node, scope: Scope) -> Rule:
    shares = []
    for value, share in node.require("shares").mapping().items():
        if not 0 <= share.number() <= 1:
            share.fail(f"A share lies between 0 and 1, found {share.shown()}.")
        shares.append((value, float(share.number())))
    if sum(share for _, share in shares) > 1 + 1e-6 or not shares:
        node.require("shares").fail("The shares must add up to at most 1; the rest is that of other values.")
    return checks.Differs(_column(node, scope), _measure(node, "linf"), tuple(shares))


def _drift(node: Node, scope: Scope) -> Rule:
    return checks.Differs(_column(node, scope), _measure(node, "js"), reference=node.require("reference").text())


def _measure(node: Node, usually: checks.Measure) -> checks.Measure:
    written = node.get("measure")
    return written.choice({word: word for word in get_args(checks.Measure)}, "measure") if written else usually


def _outliers(node: Node, scope: Scope) -> Rule:
    fences = node.get("fences")
    if fences is not None and fences.number() <= 0:
        fences.fail("Expected a number over 0: how many interquartile ranges away from the quartiles.")
    return checks.Outliers(
        _column(node, scope), float(fences.number()) if fences else 3.0, optional_text(node, "reference")
    )


def _called(node: Node, scope: Scope) -> Rule:
    function = node.require("function")
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", function.text()):
        function.fail(f"Expected module:function, found {function.shown()}.")
    return checks.Called(function.text())


def _most(node: Node) -> Bound:
    """`maximum`, or `usual`; a tenth when neither is written."""
    if node.get("maximum") is None and node.get("usual") is None:
        return Bound("<=", 0.1, unit="value")
    return _value_bound(node)


def _aggregate(name: Function) -> _Kind:
    return _Kind(
        lambda node, scope: Aggregate(name, _column(node, scope)),
        bound=_value_bound,
        bound_keys=("between", "minimum", "maximum", "usual"),
    )


def _tolerated(node: Node) -> Bound:
    """`tolerate`: 5 rows, or a share such as `0.1 %`; none when it is not written."""
    found = node.get("tolerate")
    if found is None:
        return checks.NONE_FAILING
    if found.value == "usual":
        return Bound("usual", WIDTH, unit="percent")
    if isinstance(found.value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*%", found.value.strip())
        if match is None or float(match[1]) > 100:
            found.fail(f"Expected a number of rows, a share such as `0.1 %` or `usual`, found {found.shown()}.")
        return Bound("<=", float(match[1]), unit="percent")
    return Bound("<=", found.count())


def _value_bound(node: Node) -> Bound:
    between, low, high = node.get("between"), node.get("minimum"), node.get("maximum")
    past = node.get("usual")
    if past is not None:
        return _usual(node, past, between or low or high)
    if between is not None and low is None and high is None:
        return read_bound("between", between)
    if between is not None or (low is None and high is None):
        node.fail("Say what the value must be: `between: [low, high]`, `minimum` and `maximum`, or `usual: true`.")
    if low is not None and high is not None:
        if low.number() > high.number():
            node.fail("`minimum` is over `maximum`.")
        return Bound("between", low.number(), high.number(), unit="value")
    return read_bound(">=", low) if low is not None else read_bound("<=", cast(Node, high))


def _usual(node: Node, past: Node, other: Node | None) -> Bound:
    if other is not None:
        node.fail("Say one thing: `usual`, or `between`, `minimum` and `maximum`.")
    if past.value is True:
        return Bound("usual", WIDTH, unit="value")
    width = past.number()
    if width <= 0:
        past.fail("Expected `true`, or how many robust standard deviations from its past a value may lie.")
    return Bound("usual", width, unit="value")


def _within(node: Node) -> Bound:
    written = node.require("within")
    return Bound("<=", seconds(written, written.text()), unit="value")


KINDS: dict[str, _Kind] = {
    "not_null": _Kind(lambda node, scope: checks.NotNull(_column(node, scope))),
    "values": _Kind(
        lambda node, scope: checks.OneOf(_column(node, scope), scalars(node.require("values"))), keys=("values",)
    ),
    "range": _Kind(_range, keys=("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")),
    "not_values": _Kind(
        lambda node, scope: checks.NoneOf(_column(node, scope), scalars(node.require("values"))), keys=("values",)
    ),
    "contains": _Kind(
        lambda node, scope: checks.Contains(_column(node, scope), scalars(node.require("values"))),
        keys=("values",),
        bound=lambda node: Bound("=", 0, unit="value"),
        bound_keys=(),
    ),
    "distribution": _Kind(
        _distribution, keys=("shares", "measure"), bound=lambda node: _most(node), bound_keys=("maximum", "usual")
    ),
    "drift": _Kind(
        _drift, keys=("reference", "measure"), bound=lambda node: _most(node), bound_keys=("maximum", "usual")
    ),
    "outliers": _Kind(_outliers, keys=("fences", "reference")),
    "python": _Kind(_called, keys=("function",), common=()),
    "pattern": _Kind(
        lambda node, scope: checks.Matches(_column(node, scope), pattern(node.require("pattern"))), keys=("pattern",)
    ),
    "length": _Kind(_length, keys=("minimum", "maximum")),
    "unique": _Kind(lambda node, scope: checks.Unique(_columns(node, scope)), keys=("columns",)),
    "relationship": _Kind(_references, keys=("columns", "table", "to")),
    "expression": _Kind(lambda node, scope: checks.Holds(node.require("sql").text(), scope.column), keys=("sql",)),
    "query": _Kind(
        lambda node, scope: checks.NoRowsFrom(node.require("sql").text()), keys=("sql",), common=("minimumRows",)
    ),
    "row_count": replace(_aggregate("mean"), build=lambda node, scope: checks.RowCount(), common=("where",)),
    "freshness": _Kind(
        lambda node, scope: checks.Freshness(_column(node, scope)), bound=_within, bound_keys=("within",)
    ),
    "quantile": replace(_aggregate("quantile"), build=_quantile, keys=("at",)),
} | {name: _aggregate(name) for name in get_args(Function) if name != "quantile"}
