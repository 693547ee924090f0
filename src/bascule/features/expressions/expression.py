"""What an expression is once it is compiled, and what the names in it stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

Values = Sequence[Any]
Run = Callable[[Values], Any]


class Input(NamedTuple):
    """What a name in an expression stands for: a DuckDB type, a place in the slots, and SQL."""

    type: str
    slot: int
    sql: str


class Expression(NamedTuple):
    """A compiled expression.

    Attributes:
        type: DuckDB type of the answer: BOOLEAN, BIGINT, DOUBLE, VARCHAR or TIMESTAMP (UTC).
        sql: the same as DuckDB SQL over the inputs' SQL.
        run: the answer for one sequence of slots; None is NULL, times have no zone. It never raises for values of the
            inputs' types.
        names: the inputs that it reads.
    """

    type: str
    sql: str
    run: Run
    names: tuple[str, ...]
