"""Commands that ask about people without telling of any: private."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from bascule.cli.options import COMMON, AtLeastOne, Common
from bascule.cli.output import answer, columns

private = App(name="private", help="Aggregates with noise under a privacy budget: what is told of no single person.")


@private.command
def budget(
    table: str,
    /,
    *,
    epsilon: Annotated[float, Parameter(help="All that may be spent; 1 protects well, 10 hardly.")],
    unit: Annotated[str | None, Parameter(help="The column that names a person; each row is one if not given.")] = None,
    rows_each: Annotated[AtLeastOne, Parameter(help="How many rows of a person take part in a query.")] = 1,
    common: Common = COMMON,
) -> None:
    """Give a table a privacy budget, or a larger one. What was spent stays spent.

    Args:
        table: the table.
    """
    held = common.open().set_privacy_budget(table, epsilon, unit=unit, rows_each=rows_each)
    answer(
        common,
        {**msgspec.to_builtins(held), "left": held.left},
        f"{table} has a privacy budget of epsilon = {held.epsilon:g}; {held.left:.4g} is left.",
    )


@private.command
def show(*, common: Common = COMMON) -> None:
    """Show all budgets, and what is left of each. The ledger is the audit log: action private-query."""
    found = common.open().privacy_budgets()
    lines = [
        (one.table, f"{one.epsilon:g}", f"{one.spent:.4g}", f"{one.left:.4g}", one.unit or "each row", one.rows_each)
        for one in found
    ]
    heads = ("table", "epsilon", "spent", "left", "a person is", "rows each")
    document = [{**msgspec.to_builtins(one), "left": one.left} for one in found]
    answer(common, document, columns(lines, heads, none="No table has a privacy budget."))


@private.command
def ask(
    table: str,
    aggregate: Literal["count", "sum", "mean"],
    column: str | None = None,
    /,
    *,
    epsilon: Annotated[float, Parameter(help="What is spent; less means more noise.")],
    low: Annotated[float | None, Parameter(help="The least value that is possible.")] = None,
    high: Annotated[float | None, Parameter(help="The greatest value that is possible.")] = None,
    by: Annotated[str | None, Parameter(help="A column of groups.")] = None,
    keys: Annotated[str, Parameter(help="The groups that are asked for: a,b,c.")] = "",
    where: Annotated[str | None, Parameter(help="An SQL condition on a row.")] = None,
    common: Common = COMMON,
) -> None:
    """Ask for a count, a sum or a mean with noise; ends with 1 when the budget does not pay for it.

    Args:
        table: the table.
        aggregate: count, sum or mean.
        column: what is summed.
    """
    groups = [one.strip() for one in keys.split(",") if one.strip()]
    found = common.open().ask_privately(
        table, aggregate, column, epsilon=epsilon, low=low, high=high, by=by, keys=groups, where=where
    )
    lines = [
        (*([row[by]] if by else []), f"{row['value']:,.6g}", "" if row["within"] is None else f"± {row['within']:,.4g}")
        for row in found.rows
    ]
    text = columns(lines, (*([by] if by else []), aggregate, "in 95 of 100 cases"))
    answer(common, found.as_dict(), f"{text}\nCost epsilon = {found.epsilon:g}; {found.left:.4g} is left.")
