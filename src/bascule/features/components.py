"""Running numbers that aggregates are differences of, and the aggregates made of them."""

from __future__ import annotations

from typing import NamedTuple

from bascule.features.aggregates import SPREADS, Aggregate, value_columns
from bascule.features.columns import FLOATS
from bascule.features.definitions import FeatureView


class Component(NamedTuple):
    """One running number: rows (`n`), values (`n`), their sum (`s`), and of doubles or for variances more.

    Attributes:
        kind: n, s, the sum of the absolute values (`a`), or the squared deviations from the mean (`m`).
        column: the view's column; None for rows.
        exact: whether it is a whole number.
    """

    kind: str
    column: str | None
    name: str
    exact: bool = True


def components(view: FeatureView, doubles: bool = False) -> tuple[Component, ...]:
    """The running numbers that a bound view's subtractable aggregates need, in the order in which they are stored.

    Args:
        doubles: also what sums and means of doubles and variances need.
    """
    wanted = [a for a in view.parsed.values() if doubles or a.subtractable(view.types)]
    found: list[Component] = []
    if any(a.column is None for a in wanted):
        found.append(Component("n", None, "__n"))
    for place, column in enumerate(value_columns(wanted)):
        functions = {a.function for a in wanted if a.column == column}
        found.append(Component("n", column, f"__n{place}"))
        floating = view.types[column] in FLOATS
        if functions - {"count"}:
            found.append(Component("s", column, f"__s{place}", not floating))
        if functions & set(SPREADS) or (floating and functions - {"count"}):
            found.append(Component("a", column, f"__a{place}", False))
        if functions & set(SPREADS):
            found.append(Component("m", column, f"__m{place}", False))
    return tuple(found)


def difference(aggregate: Aggregate, view: FeatureView, place: int) -> str:
    """SQL of an aggregate of one window, from its components at the window's end (`_at0`) and start (`_atPLACE`)."""
    parts = {(part.kind, part.column): part for part in components(view)}

    def taken(kind: str) -> str:
        name = parts[kind, aggregate.column].name
        return f"({name}_at0 - {name}_at{place})"

    count = taken("n")
    if aggregate.function == "count":
        return f"CAST({count} AS BIGINT)"
    total = taken("s")
    if aggregate.function == "sum":
        return f"CASE WHEN {count} > 0 THEN {total} END"
    return f"CASE WHEN {count} > 0 THEN CAST({total} AS DOUBLE) / {count} END"
