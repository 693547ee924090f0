"""Functions of the expression language: how each call becomes a term.

`FUNCTIONS` goes from sqlglot's node types, `CALLS` from the names that sqlglot has no type for. To add a function, add
its scalar to `scalars.py` and one line here; the property test holds it to DuckDB.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from sqlglot import exp

from bascule.features.expressions import scalars as f
from bascule.features.expressions.terms import Compile, Handler, Misuse, Term, as_type, call1, call2, finite_sql


def _rounding(compiled: Compile, node: exp.Round) -> Term:
    a, digits = compiled(node.this), node.args.get("decimals")
    written = isinstance(digits, exp.Literal) and digits.this.isdigit() and int(digits.this) <= 15
    if digits is not None and not written:
        raise Misuse("round takes a number of digits from 0 to 15, written out")
    if a.type == "BIGINT":
        return a
    count = int(digits.this) if digits is not None else 0
    return call1("DOUBLE", f"round({{0}}, {count})", f.rounding(count), as_type(a, "DOUBLE"))


def _whole(name: str, function: Callable[[float], float]) -> Handler:
    def handler(compiled: Compile, node: exp.Func) -> Term:
        a = compiled(node.this)
        return a if a.type == "BIGINT" else call1("DOUBLE", f"{name}({{0}})", function, as_type(a, "DOUBLE"))

    return handler


def _double(sql: str, function: Callable[[float], float | None]) -> Handler:
    def handler(compiled: Compile, node: exp.Func) -> Term:
        return call1("DOUBLE", finite_sql(sql), function, as_type(compiled(node.this), "DOUBLE"))

    return handler


def _log(compiled: Compile, node: exp.Log) -> Term:
    if node.expression is None:
        return _double("log10({0})", f.log10)(compiled, node)
    base, value = (as_type(compiled(part), "DOUBLE") for part in (node.this, node.expression))
    sql = f"{finite_sql('log10({1})')} / {finite_sql('log10({0})')}"
    return call2("DOUBLE", finite_sql(sql), f.log, base, value)


def _power(compiled: Compile, node: exp.Pow) -> Term:
    a, b = (as_type(compiled(part), "DOUBLE") for part in (node.this, node.expression))
    return call2("DOUBLE", finite_sql("pow({0}, {1})"), f.power, a, b)


def _text(sql: str, function: Callable[[str], Any], type_name: str = "VARCHAR") -> Handler:
    def handler(compiled: Compile, node: exp.Func) -> Term:
        return call1(type_name, sql, function, as_type(compiled(node.this), "VARCHAR"))

    return handler


def _pipe(compiled: Compile, node: exp.DPipe) -> Term:
    a, b = (as_type(compiled(part), "VARCHAR") for part in (node.this, node.expression))
    return call2("VARCHAR", "{0} || {1}", operator.add, a, b)


def _concat(compiled: Compile, node: exp.Concat) -> Term:
    terms = [as_type(compiled(part), "VARCHAR") for part in node.expressions]
    runs = [term.run for term in terms]
    sql = f"concat({', '.join(term.sql for term in terms)})"
    return Term("VARCHAR", sql, lambda values: "".join(run(values) or "" for run in runs))


def _date_part(name: str, value: Term) -> Term:
    value = as_type(value, "TIMESTAMP")
    if name == "epoch":
        return call1("DOUBLE", "epoch({0})", f.epoch, value)
    name = {"dayofweek": "dow", "weekday": "dow", "doy": "dayofyear", "dayofmonth": "day"}.get(name, name)
    if name not in f.DATE_PARTS:
        raise Misuse(f"there is no date part {name!r}; known are {', '.join(f.DATE_PARTS)} and epoch")
    return call1("BIGINT", f"date_part('{name}', {{0}})", f.DATE_PARTS[name], value)


def _part(name: str) -> Handler:
    return lambda compiled, node: _date_part(name, compiled(node.this))


def _part_call(name: str) -> Handler:
    return lambda compiled, node: _date_part(name, compiled(_only(node, 1)[0]))


def _named_part(compiled: Compile, node: exp.Anonymous) -> Term:
    name, value = _only(node, 2)
    return _date_part(name.name.lower(), compiled(value))


def _extract(compiled: Compile, node: exp.Extract) -> Term:
    return _date_part(node.this.name.lower(), compiled(node.expression))


def _only(node: exp.Anonymous, count: int) -> list[exp.Expr]:
    if len(node.expressions) != count:
        raise Misuse(f"{node.name} takes {count} argument{'s' if count > 1 else ''} and found {len(node.expressions)}")
    return list(node.expressions)


def _date_diff(compiled: Compile, node: exp.DateDiff) -> Term:
    unit = node.args["unit"].name.lower() if node.args.get("unit") else ""
    if unit not in f.DATE_DIFFS:
        raise Misuse(f"date_diff takes one of {', '.join(f.DATE_DIFFS)} and found {unit or 'nothing'!r}")
    # sqlglot keeps the later time in `this`.
    a, b = (as_type(compiled(part), "TIMESTAMP") for part in (node.expression, node.this))
    return call2("BIGINT", f"date_diff('{unit}', {{0}}, {{1}})", f.DATE_DIFFS[unit], a, b)


FUNCTIONS: dict[type[exp.Expr], Handler] = {
    exp.Round: _rounding,
    exp.Floor: _whole("floor", f.floor),
    exp.Ceil: _whole("ceil", f.ceil),
    exp.Ln: _double("ln({0})", f.ln),
    exp.Log: _log,
    exp.Exp: _double("exp({0})", f.exp),
    exp.Sqrt: _double("sqrt({0})", f.sqrt),
    exp.Pow: _power,
    exp.Lower: _text("lower({0})", f.lower),
    exp.Upper: _text("upper({0})", f.upper),
    exp.Length: _text("length({0})", len, "BIGINT"),
    exp.DPipe: _pipe,
    exp.Concat: _concat,
    exp.Year: _part("year"),
    exp.Quarter: _part("quarter"),
    exp.Month: _part("month"),
    exp.Week: _part("week"),
    exp.Day: _part("day"),
    exp.DayOfYear: _part("dayofyear"),
    exp.DayOfMonth: _part("day"),
    exp.DayOfWeek: _part("dow"),
    exp.DayOfWeekIso: _part("isodow"),
    exp.Hour: _part("hour"),
    exp.Minute: _part("minute"),
    exp.Second: _part("second"),
    exp.TimeToUnix: _part("epoch"),
    exp.Extract: _extract,
    exp.DateDiff: _date_diff,
}
CALLS: dict[str, Handler] = {
    "dow": _part_call("dow"),
    "weekday": _part_call("dow"),
    "date_part": _named_part,
}
SUPPORTED = (
    *("+", "-", "*", "/", "//", "%", "**", "=", "<>", "<", "<=", ">", ">=", "and", "or", "not", "in", "between"),
    *("is null", "is distinct from", "case", "if", "coalesce", "ifnull", "nullif", "abs", "round", "floor", "ceil"),
    *("least", "greatest", "ln", "log", "log2", "log10", "exp", "sqrt", "pow", "year", "quarter", "month", "week"),
    *("day", "dayofyear", "dow", "dayofweek", "isodow", "hour", "minute", "second", "epoch", "date_part", "extract"),
    *("date_diff", "cast", "try_cast", "lower", "upper", "length", "concat", "||"),
)
