"""Operators, literals and conditionals of the expression language: how each node becomes a term."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from bascule.features.expressions import scalars as f
from bascule.features.expressions.expression import Run, Values
from bascule.features.expressions.terms import (
    Compile,
    Handler,
    Misuse,
    Term,
    as_type,
    call1,
    call2,
    constant,
    finite_sql,
    unified,
)


def _literal(_: Compile, node: exp.Literal) -> Term:
    if node.is_string:
        return constant("VARCHAR", "'" + node.this.replace("'", "''") + "'", node.this)
    if node.this.isdigit():
        value = int(node.this)
        if f.bigint(value) is None:
            raise Misuse(f"{node.this} does not fit a 64-bit integer")
        return constant("BIGINT", f"CAST({value} AS BIGINT)", value)
    number = float(node.this)
    if f.finite(number) is None:
        raise Misuse(f"{node.this} does not fit a double")
    return constant("DOUBLE", f"CAST('{number!r}' AS DOUBLE)", number)


def _arithmetic(sql: str, integers: Callable[[int, int], int], doubles: Callable[[float, float], float]) -> Handler:
    def handler(compiled: Compile, node: exp.Binary) -> Term:
        type_name, (a, b) = unified([compiled(node.this), compiled(node.expression)])
        if type_name == "BIGINT":
            return call2("BIGINT", f"TRY({{0}} {sql} {{1}})", lambda x, y: f.bigint(integers(x, y)), a, b)
        if type_name == "DOUBLE":
            return call2("DOUBLE", finite_sql(f"{{0}} {sql} {{1}}"), lambda x, y: f.finite(doubles(x, y)), a, b)
        raise Misuse(_arithmetic_help(type_name, sql))

    return handler


def _arithmetic_help(type_name: str, sql: str) -> str:
    if type_name == "TIMESTAMP" and sql == "-":
        return "times are subtracted with date_diff('minute', earlier, later)"
    return f"{sql} needs numbers and found {type_name}"


def _divide(compiled: Compile, node: exp.Div) -> Term:
    a, b = (as_type(compiled(side), "DOUBLE") for side in (node.this, node.expression))
    return call2("DOUBLE", finite_sql("{0} / {1}"), f.divide, a, b)


def _divide_integers(compiled: Compile, node: exp.IntDiv) -> Term:
    a, b = (as_type(compiled(side), "BIGINT") for side in (node.this, node.expression))
    return call2("BIGINT", "TRY({0} // {1})", f.divide_integers, a, b)


def _modulo(compiled: Compile, node: exp.Mod) -> Term:
    type_name, (a, b) = unified([compiled(node.this), compiled(node.expression)])
    if type_name == "BIGINT":
        return call2("BIGINT", "TRY({0} % {1})", f.modulo_integers, a, b)
    a, b = as_type(a, "DOUBLE"), as_type(b, "DOUBLE")
    return call2("DOUBLE", finite_sql("TRY({0} % {1})"), f.modulo, a, b)


def _negate(compiled: Compile, node: exp.Neg) -> Term:
    a = compiled(node.this)
    if a.type == "DOUBLE":
        return call1("DOUBLE", "-{0}", operator.neg, a)
    return call1("BIGINT", "TRY(-{0})", lambda x: f.bigint(-x), as_type(a, "BIGINT"))


def _absolute(compiled: Compile, node: exp.Abs) -> Term:
    a = compiled(node.this)
    if a.type == "DOUBLE":
        return call1("DOUBLE", "abs({0})", abs, a)
    return call1("BIGINT", "TRY(abs({0}))", lambda x: f.bigint(abs(x)), as_type(a, "BIGINT"))


def _comparison(sql: str, function: Callable[[Any, Any], bool]) -> Handler:
    def handler(compiled: Compile, node: exp.Binary) -> Term:
        _, (a, b) = unified([compiled(node.this), compiled(node.expression)])
        return call2("BOOLEAN", f"{{0}} {sql} {{1}}", function, a, b)

    return handler


def _distinct(same: bool) -> Handler:
    sql = "IS NOT DISTINCT FROM" if same else "IS DISTINCT FROM"

    def handler(compiled: Compile, node: exp.Binary) -> Term:
        _, (a, b) = unified([compiled(node.this), compiled(node.expression)])
        first, second = a.run, b.run
        return Term("BOOLEAN", f"({a.sql} {sql} {b.sql})", lambda values: (first(values) == second(values)) is same)

    return handler


def _between(compiled: Compile, node: exp.Between) -> Term:
    _, (x, low, high) = unified([compiled(part) for part in (node.this, node.args["low"], node.args["high"])])
    run, first, last = x.run, low.run, high.run

    def answer(values: Values) -> bool | None:
        value, least, most = run(values), first(values), last(values)
        if value is None:
            return None
        if (least is not None and value < least) or (most is not None and value > most):
            return False
        return None if least is None or most is None else True

    return Term("BOOLEAN", f"({x.sql} BETWEEN {low.sql} AND {high.sql})", answer)


def _kleene(word: str, a: Term, b: Term) -> Term:
    # AND is decided by one False, OR by one True; otherwise a null on either side leaves it open.
    first, second, deciding = a.run, b.run, word == "OR"

    def answer(values: Values) -> bool | None:
        x: bool | None = first(values)
        if x is deciding:
            return deciding
        y: bool | None = second(values)
        if y is deciding:
            return deciding
        return None if x is None or y is None else not deciding

    return Term("BOOLEAN", f"({a.sql} {word} {b.sql})", answer)


def _logical(word: str) -> Handler:
    def handler(compiled: Compile, node: exp.Binary) -> Term:
        return _kleene(word, as_type(compiled(node.this), "BOOLEAN"), as_type(compiled(node.expression), "BOOLEAN"))

    return handler


def _not(compiled: Compile, node: exp.Not) -> Term:
    return call1("BOOLEAN", "NOT {0}", operator.not_, as_type(compiled(node.this), "BOOLEAN"))


def _is(compiled: Compile, node: exp.Is) -> Term:
    a = compiled(node.this)
    run = a.run
    if isinstance(node.expression, exp.Null):
        return Term("BOOLEAN", f"({a.sql} IS NULL)", lambda values: run(values) is None)
    if isinstance(node.expression, exp.Boolean):
        wanted = bool(node.expression.this)
        run = as_type(a, "BOOLEAN").run
        return Term("BOOLEAN", f"({a.sql} IS NOT DISTINCT FROM {wanted})", lambda values: run(values) is wanted)
    raise Misuse("IS is followed by NULL, TRUE or FALSE")


def _in(compiled: Compile, node: exp.In) -> Term:
    if not node.expressions:
        raise Misuse("IN needs a list of values in parentheses")
    _, (x, *items) = unified([compiled(part) for part in (node.this, *node.expressions)])
    run, runs = x.run, [item.run for item in items]

    def answer(values: Values) -> bool | None:
        value = run(values)
        if value is None:
            return None
        unknown = False
        for other in runs:
            found = other(values)
            if found is None:
                unknown = True
            elif found == value:
                return True
        return None if unknown else False

    return Term("BOOLEAN", f"({x.sql} IN ({', '.join(item.sql for item in items)}))", answer)


def _case(compiled: Compile, node: exp.Case) -> Term:
    tests, answers = [], []
    for branch in node.args["ifs"]:
        condition = exp.EQ(this=node.this, expression=branch.this) if node.this else branch.this
        tests.append(as_type(compiled(condition), "BOOLEAN"))
        answers.append(compiled(branch.args["true"]))
    default = node.args.get("default")
    return _choose(tests, [*answers, compiled(default) if default else constant("NULL", "NULL", None)])


def _if(compiled: Compile, node: exp.If) -> Term:
    default = node.args.get("false")
    no = compiled(default) if default else constant("NULL", "NULL", None)
    return _choose([as_type(compiled(node.this), "BOOLEAN")], [compiled(node.args["true"]), no])


def _choose(tests: list[Term], answers: list[Term]) -> Term:
    type_name, answers = unified(answers)
    *branches, otherwise = answers
    whens = " ".join(f"WHEN {test.sql} THEN {branch.sql}" for test, branch in zip(tests, branches, strict=True))
    pairs: list[tuple[Run, Run]] = [(test.run, branch.run) for test, branch in zip(tests, branches, strict=True)]
    last = otherwise.run

    def answer(values: Values) -> Any:
        for test, branch in pairs:
            if test(values):
                return branch(values)
        return last(values)

    return Term(type_name, f"(CASE {whens} ELSE {otherwise.sql} END)", answer)


def _coalesce(compiled: Compile, node: exp.Coalesce) -> Term:
    type_name, terms = unified([compiled(part) for part in (node.this, *node.expressions)])
    runs = [term.run for term in terms]

    def answer(values: Values) -> Any:
        for run in runs:
            found = run(values)
            if found is not None:
                return found
        return None

    return Term(type_name, f"coalesce({', '.join(term.sql for term in terms)})", answer)


def _nullif(compiled: Compile, node: exp.Nullif) -> Term:
    type_name, (a, b) = unified([compiled(node.this), compiled(node.expression)])
    first, second = a.run, b.run

    def answer(values: Values) -> Any:
        value = first(values)
        return None if value is not None and value == second(values) else value

    return Term(type_name, f"nullif({a.sql}, {b.sql})", answer)


def _extreme(name: str, function: Callable[..., Any]) -> Handler:
    def handler(compiled: Compile, node: exp.Func) -> Term:
        type_name, terms = unified([compiled(part) for part in (node.this, *node.expressions)])
        runs = [term.run for term in terms]

        def answer(values: Values) -> Any:
            known = [found for run in runs if (found := run(values)) is not None]
            return function(known) if known else None

        return Term(type_name, f"{name}({', '.join(term.sql for term in terms)})", answer)

    return handler


OPERATORS: dict[type[exp.Expr], Handler] = {
    exp.Paren: lambda compiled, node: compiled(node.this),
    exp.Literal: _literal,
    exp.Boolean: lambda _, node: constant("BOOLEAN", "TRUE" if node.this else "FALSE", bool(node.this)),
    exp.Null: lambda _, node: constant("NULL", "NULL", None),
    exp.Add: _arithmetic("+", operator.add, operator.add),
    exp.Sub: _arithmetic("-", operator.sub, operator.sub),
    exp.Mul: _arithmetic("*", operator.mul, operator.mul),
    exp.Div: _divide,
    exp.IntDiv: _divide_integers,
    exp.Mod: _modulo,
    exp.Neg: _negate,
    exp.Abs: _absolute,
    exp.EQ: _comparison("=", operator.eq),
    exp.NEQ: _comparison("<>", operator.ne),
    exp.LT: _comparison("<", operator.lt),
    exp.LTE: _comparison("<=", operator.le),
    exp.GT: _comparison(">", operator.gt),
    exp.GTE: _comparison(">=", operator.ge),
    exp.NullSafeEQ: _distinct(True),
    exp.NullSafeNEQ: _distinct(False),
    exp.And: _logical("AND"),
    exp.Or: _logical("OR"),
    exp.Not: _not,
    exp.Is: _is,
    exp.In: _in,
    exp.Between: _between,
    exp.Case: _case,
    exp.If: _if,
    exp.Coalesce: _coalesce,
    exp.Nullif: _nullif,
    exp.Least: _extreme("least", min),
    exp.Greatest: _extreme("greatest", max),
}
