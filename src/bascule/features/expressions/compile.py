"""From the text of an expression to SQL and a closure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from bascule.errors import InputError, suggestion
from bascule.features.columns import FLOATS, INTEGERS, family, same_name
from bascule.features.expressions.casts import CASTS
from bascule.features.expressions.expression import Expression, Input, Run, Values
from bascule.features.expressions.functions import CALLS, FUNCTIONS, SUPPORTED
from bascule.features.expressions.operators import OPERATORS
from bascule.features.expressions.scalars import bigint, finite, naive
from bascule.features.expressions.terms import Compile, Handler, Misuse, Term, finite_sql, misuse_error

HANDLERS: dict[type[exp.Expr], Handler] = {**OPERATORS, **FUNCTIONS, **CASTS}


def compile_expression(text: str, inputs: Mapping[str, Input], where: str) -> Expression:
    """Compile one scalar expression.

    Args:
        text: the expression, in DuckDB's SQL.
        inputs: what names may stand for; `view.field` for the fields of views.
        where: begins the message of an error, such as `[features.request] expressions.hour`.

    Raises:
        InputError: a syntax error, an unknown name, a function outside the subset, types that do not go together.
    """
    names: dict[str, None] = {}
    try:
        term = _compiler(text, inputs, where, names)(_parse(text, where))
    except Misuse as error:
        raise misuse_error(where, text, error) from None
    except RecursionError:
        raise InputError(f"{where}: the expression is nested too deeply.", hint="Split it.") from None
    if term.type == "NULL":
        raise InputError(f"{where}: {text!r} is always NULL.", hint="Give it a type: CAST(NULL AS DOUBLE).")
    return Expression(term.type, term.sql, term.run, tuple(names))


def references(text: str, where: str) -> tuple[str, ...]:
    """The names an expression reads, as written: `column` or `view.field`. Raises `InputError` on a syntax error."""
    columns: Iterator[exp.Column] = _parse(text, where).find_all(exp.Column)
    return tuple(dict.fromkeys(_name_of(column) for column in columns))


def _parse(text: str, where: str) -> exp.Expr:
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: the expression is empty.", hint="Write a scalar SQL expression.")
    try:
        parsed = sqlglot.parse(text, dialect="duckdb")
    except SqlglotError as error:
        reason = str(error).splitlines()[0].split(". Line")[0]
        message = f"{where}: {text!r} is not an expression: {reason}."
        raise InputError(message, hint="Write a scalar SQL expression.") from None
    if len(parsed) != 1 or parsed[0] is None or isinstance(parsed[0], exp.Block):
        raise InputError(f"{where}: {text!r} is not one expression.", hint="Write one scalar SQL expression.")
    return parsed[0]


def _compiler(text: str, inputs: Mapping[str, Input], where: str, names: dict[str, None]) -> Compile:
    def compiled(node: exp.Expr) -> Term:
        if isinstance(node, exp.Column):
            name = _name_of(node)
            found = same_name(name, {known: given.type for known, given in inputs.items()})
            if found is None:
                raise InputError(
                    f"{where}: there is nothing named {name!r} to use, in {text!r}.",
                    hint=_nearest(name, inputs),
                )
            names[found] = None
            return input_term(inputs[found])
        handler = _handler(node)
        if handler is None:
            raise _unsupported(node, text, where)
        return handler(compiled, node)

    return compiled


def _handler(node: exp.Expr) -> Handler | None:
    if isinstance(node, exp.Anonymous):
        return CALLS.get(node.name.lower())
    return HANDLERS.get(type(node))


def _name_of(column: exp.Column) -> str:
    return ".".join(part.name for part in column.parts)


def _nearest(name: str, inputs: Mapping[str, Input]) -> str:
    # `built` most likely means `plane.built`; spelling alone would not find it.
    qualified = [known for known in inputs if known.split(".")[-1].lower() == name.lower()]
    return f"Did you mean {qualified[0]!r}?" if qualified else suggestion(name, list(inputs), "column")


def _unsupported(node: exp.Expr, text: str, where: str) -> InputError:
    if isinstance(node, exp.Anonymous):
        name = node.name
    elif isinstance(node, exp.Func):
        name = node.sql_name().lower()
    else:
        name = node.key.upper()
    near = suggestion(name.lower(), SUPPORTED, "function")
    start = f"{near} " if near.startswith("Did you mean") else ""
    return InputError(
        f"{where}: {name} cannot be used in a request expression, in {text!r}.",
        hint=f"{start}Supported: {', '.join(SUPPORTED)}. Anything else belongs in the SQL of a feature view.",
    )


def input_term(given: Input) -> Term:
    """A column as a term: its type is widened to one of the language's, in SQL and in Python alike."""
    slot = given.slot
    if given.type in INTEGERS:
        if given.type == "UBIGINT":
            return Term("BIGINT", f"TRY_CAST({given.sql} AS BIGINT)", _through(slot, bigint))
        return Term("BIGINT", f"CAST({given.sql} AS BIGINT)", lambda values: values[slot])
    if given.type in FLOATS:
        return Term("DOUBLE", finite_sql(f"CAST({given.sql} AS DOUBLE)"), _through(slot, finite))
    if family(given.type) in ("time", "date"):
        # By way of microseconds: a cast of a time with zone would depend on the session's zone.
        return Term("TIMESTAMP", f"make_timestamp(epoch_us({given.sql}))", _through(slot, _moment))
    return Term(given.type, f"({given.sql})", lambda values: values[slot])


def _moment(value: date) -> datetime:
    return naive(value) if isinstance(value, datetime) else datetime(value.year, value.month, value.day)


def _through(slot: int, function: Callable[[Any], Any]) -> Run:
    def run(values: Values) -> Any:
        value = values[slot]
        return None if value is None else function(value)

    return run
