"""Aggregates that merge: what one part of the rows says, how two parts say it together, and the number that comes out.

A state is a tuple of plain values, so that it can be kept as JSON; None in it means that no row had anything to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import reduce
from typing import Any

from bascule.contracts.facts import State, Told


@dataclass(frozen=True, slots=True)
class Accumulator:
    """A number that is measured part by part.

    Attributes:
        columns: SQL aggregates over a relation named `t`; their values are a part's state.
        merge: two states as one.
        finish: the number of a state; None when there was nothing to measure.
        told: gives the state where the metadata of files say it.
        each: a column and a condition on its value alone, when it counts the rows that meet the condition.
    """

    columns: tuple[str, ...]
    merge: Callable[[State, State], State]
    finish: Callable[[State], Any]
    told: Told | None = None
    each: tuple[str, str] | None = None

    @property
    def empty(self) -> State:
        """The state of no rows."""
        return (None,) * len(self.columns)

    def total(self, states: Sequence[State]) -> Any:
        """The number of several parts together."""
        return self.finish(reduce(self.merge, states, self.empty))


def count(condition: str | None, told: Told | None = None, of: str | None = None) -> Accumulator:
    """The number of rows, or of those for which a condition is true.

    Args:
        of: the column, as it stands in the condition, when that looks at its value and at nothing else.
    """
    text = f"count_if({condition})" if condition else "count(*)"
    each = (of, condition) if of and condition else None
    return Accumulator((text,), _added, lambda state: int(state[0] or 0), told, each)


def extreme(function: str, value: str, where: str | None, told: Told | None = None) -> Accumulator:
    """The least (`min`) or the greatest (`max`) value, as DuckDB returns it."""
    choose = min if function == "min" else max
    return Accumulator(
        (f"{function}({value}){_filter(where)}",),
        lambda a, b: (_either(choose, a[0], b[0]),),
        lambda state: state[0],
        told,
    )


def extremes(value: str, where: str | None) -> Accumulator:
    """The least and the greatest value, as a pair."""
    ends = extreme("min", value, where), extreme("max", value, where)

    def merge(a: State, b: State) -> State:
        return tuple(end.merge((x,), (y,))[0] for end, x, y in zip(ends, a, b, strict=True))

    return Accumulator(tuple(end.columns[0] for end in ends), merge, lambda state: state)


def total(value: str, where: str | None) -> Accumulator:
    """The sum. Of whole numbers and decimals it is exact, also over many parts; a decimal is a text in SQL."""
    return Accumulator((f"sum({value}){_filter(where)}",), _added, lambda state: _number(state[0]))


def exact_total(value: str, where: str | None) -> Accumulator:
    """The sum of decimals: exact, and a text in its state."""
    return Accumulator((f"CAST(sum({value}){_filter(where)} AS VARCHAR)",), _added_decimals, _decimal_number)


def mean(value: str, where: str | None, *, decimal: bool) -> Accumulator:
    """The mean: a sum over a count."""
    summed = exact_total(value, where) if decimal else total(value, where)

    def merge(a: State, b: State) -> State:
        return (*summed.merge(a[:1], b[:1]), _sum_of(a[1], b[1]))

    def finish(state: State) -> float | None:
        if not state[1]:
            return None
        # Of whole numbers Python divides exactly, then rounds once.
        number = state[0] if isinstance(state[0], int) else summed.finish(state[:1])
        return None if number is None else float(number / state[1])

    return Accumulator((summed.columns[0], f"count({value}){_filter(where)}"), merge, finish)


def deviation(value: str, where: str | None) -> Accumulator:
    """The standard deviation of a sample, from counts, means and variances of parts (Chan, Golub and LeVeque)."""
    columns = tuple(f"{name}({value}){_filter(where)}" for name in ("count", "avg", "var_pop"))

    def merge(a: State, b: State) -> State:
        if not a[0]:
            return b
        if not b[0]:
            return a
        n, difference = a[0] + b[0], b[1] - a[1]
        squares = a[2] * a[0] + b[2] * b[0] + difference * difference * a[0] * b[0] / n
        return n, a[1] + difference * b[0] / n, squares / n

    def finish(state: State) -> float | None:
        rows = state[0] or 0
        return math.sqrt(state[2] * rows / (rows - 1)) if rows > 1 else None

    return Accumulator(columns, merge, finish)


def _filter(where: str | None) -> str:
    return f" FILTER (WHERE {where})" if where else ""


def _either(choose: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    return a if b is None else b if a is None else choose(a, b)


def _sum_of(a: Any, b: Any) -> Any:
    return _either(lambda x, y: x + y, a, b)


def _added(a: State, b: State) -> State:
    return (_sum_of(a[0], b[0]),)


def _added_decimals(a: State, b: State) -> State:
    return (_either(lambda x, y: str(Decimal(x) + Decimal(y)), a[0], b[0]),)


def _decimal_number(state: State) -> float | None:
    return None if state[0] is None else float(Decimal(state[0]))


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
