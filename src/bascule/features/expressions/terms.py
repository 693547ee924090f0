"""A typed term: one node of an expression as SQL for DuckDB and as a Python function of the same meaning.

Types are BOOLEAN, BIGINT, DOUBLE, VARCHAR and TIMESTAMP (and NULL, of the literal). The SQL casts wherever DuckDB would
be free to choose, so both forms see the same types at every step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from sqlglot import exp

from bascule.errors import InputError
from bascule.features.expressions.expression import Run, Values


class Term(NamedTuple):
    """One node: its type, its SQL (parenthesised) and its function of the slots."""

    type: str
    sql: str
    run: Run


Compile = Callable[[exp.Expr], Term]
Handler = Callable[[Compile, Any], Term]


class Misuse(Exception):
    """Types that do not go together. The compiler adds where."""


def constant(type_name: str, sql: str, value: Any) -> Term:
    """A term that does not depend on the input."""
    return Term(type_name, sql, lambda values: value)


def finite_sql(sql: str) -> str:
    """SQL of a double with NaN and infinities made NULL.

    The lambda is a let: DuckDB writes CASE and nullif out with their argument repeated, and nesting would double the
    plan at each step.
    """
    return f"list_filter([{sql}], lambda v: isfinite(v))[1]"


def call1(type_name: str, sql: str, function: Callable[[Any], Any], a: Term) -> Term:
    """A function of one term; `{0}` in the SQL stands for it. Null in, null out."""
    run = a.run

    def answer(values: Values) -> Any:
        x = run(values)
        return None if x is None else function(x)

    return Term(type_name, "(" + sql.format(a.sql) + ")", answer)


def call2(type_name: str, sql: str, function: Callable[[Any, Any], Any], a: Term, b: Term) -> Term:
    """A function of two terms; `{0}` and `{1}` in the SQL stand for them. Null in, null out."""
    first, second = a.run, b.run

    def answer(values: Values) -> Any:
        x = first(values)
        if x is None:
            return None
        y = second(values)
        return None if y is None else function(x, y)

    return Term(type_name, "(" + sql.format(a.sql, b.sql) + ")", answer)


def as_type(term: Term, wanted: str) -> Term:
    """A term where another type is wanted: integers become doubles, NULL becomes anything."""
    if term.type == wanted:
        return term
    if term.type == "NULL":
        return Term(wanted, f"CAST(NULL AS {wanted})", term.run)
    if term.type == "BIGINT" and wanted == "DOUBLE":
        return call1("DOUBLE", "CAST({0} AS DOUBLE)", float, term)
    raise Misuse(f"found {term.type} where {wanted} is needed")


def common_type(terms: Sequence[Term]) -> str:
    """The one type that terms share: their own, or DOUBLE for integers among doubles. NULL alone is BIGINT."""
    types = {term.type for term in terms} - {"NULL"}
    if not types:
        return "BIGINT"
    if types == {"BIGINT", "DOUBLE"}:
        return "DOUBLE"
    if len(types) > 1:
        raise Misuse(f"{' and '.join(sorted(types))} do not go together")
    return types.pop()


def unified(terms: Sequence[Term]) -> tuple[str, list[Term]]:
    """The common type, and the terms cast to it."""
    type_name = common_type(terms)
    return type_name, [as_type(term, type_name) for term in terms]


def misuse_error(where: str, text: str, error: Misuse) -> InputError:
    """What the user sees."""
    return InputError(f"{where}: {error}, in {text!r}.", hint="Cast one side, as in CAST(x AS DOUBLE).")
