"""What is known of rows before one of them is read: from a table's metadata, or from the footers of files.

A file's metadata say exactly how many values it has of a column and between which ends they lie. A range that holds
the ends holds every value; a count of missing values is there already. What they leave open is measured.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

import duckdb

from bascule.contracts.checks import Between, Scalar
from bascule.contracts.sql import quoted

State = tuple[Any, ...]
_PARQUET = "READ_PARQUET"
_KNOWN = frozenset({"COLUMN_DATA_SCAN", "DUMMY_SCAN", "PROJECTION"})
_READ = frozenset({_PARQUET, "PROJECTION", "UNGROUPED_AGGREGATE"})


class Facts(Protocol):
    """What is known of some rows.

    Attributes:
        rows: how many there are; None when that is not known.
    """

    @property
    def rows(self) -> int | None: ...  # noqa: D102

    def missing(self, column: str) -> int | None:
        """How many rows have no value of a column, NaN being none; None when it is not known."""
        ...

    def ends(self, column: str) -> tuple[Any, Any] | None:
        """The least and the greatest number of a column, exactly, or a pair of None when there is no value.

        None when it is not known, and for columns that hold no numbers.
        """
        ...


@dataclass(frozen=True, slots=True)
class Told:
    """The state of an accumulator that facts about a column give without reading a row.

    Attributes:
        column: the column.
        state: gives the state; None where the facts leave it open.
        ends: whether it is the ends of numbers that say it.
    """

    column: str
    state: Callable[[Facts], State | None]
    ends: bool = False


def missing(column: str) -> Told:
    """How many rows have no value."""

    def state(facts: Facts) -> State | None:
        found = facts.missing(column)
        return None if found is None else (found,)

    return Told(column, state)


def present(column: str) -> Told:
    """How many rows have a value."""

    def state(facts: Facts) -> State | None:
        found, rows = facts.missing(column), facts.rows
        return None if found is None or rows is None else (rows - found,)

    return Told(column, state)


def end(column: str, which: str, number: Callable[[Any], Any] = int) -> Told:
    """The least (`min`) or the greatest (`max`) number.

    Args:
        number: makes of an end what the aggregate answers.
    """

    def state(facts: Facts) -> State | None:
        found = facts.ends(column)
        if found is None:
            return None
        value = found[0 if which == "min" else 1]
        return (None if value is None else number(value),)

    return Told(column, state, ends=True)


def within(rule: Between, kind: str) -> Told | None:
    """That no number lies outside of a range; None for a range or a type of which ends cannot say it.

    Args:
        kind: the column's SQL type.
    """
    bounds = (rule.minimum, rule.maximum, rule.above, rule.below)
    if any(isinstance(bound, str | bool) for bound in bounds) or not _is_exact(kind):
        return None
    low, high, above, below = (_as(bound, kind) for bound in bounds)

    def state(facts: Facts) -> State | None:
        found = facts.ends(rule.column)
        if found is None:
            return None
        least, most = found
        if least is None:
            return (0,)
        inside = (low is None or least >= low) and (high is None or most <= high)
        return (0,) if inside and (above is None or least > above) and (below is None or most < below) else None

    return Told(rule.column, state, ends=True)


def _is_exact(kind: str) -> bool:
    # A FLOAT is compared after the bound was rounded to one: ends cannot be held to the bound itself.
    name = kind.upper()
    return name.startswith("DECIMAL") or name in ("DOUBLE", "TINYINT", "SMALLINT", "INTEGER", "BIGINT")


def _as(bound: Scalar, kind: str) -> Any:
    """A bound as SQL reads its text beside a column of a type: `0.1` is a decimal unless the column is a double."""
    if bound is None or isinstance(bound, str):
        return None
    if kind.upper() == "DOUBLE":
        return float(bound)
    return bound if isinstance(bound, int) else Decimal(repr(bound))


class Footers:
    """What DuckDB tells of a relation by the footers of its Parquet files alone.

    Attributes:
        rows: how many there are; None when more than footers is needed to say it.
    """

    def __init__(self, rows: int | None, ends: dict[str, tuple[Any, Any]]) -> None:
        self.rows = rows
        self._ends = ends

    def missing(self, column: str) -> int | None:
        """Footers say it, but DuckDB does not tell."""
        return None

    def ends(self, column: str) -> tuple[Any, Any] | None:
        """The least and the greatest number."""
        return self._ends.get(column)


def footers(connection: duckdb.DuckDBPyConnection, relation: str, columns: Collection[str]) -> Footers:
    """Ask for the ends of some columns of a relation, where they are known without a scan.

    Args:
        columns: columns of numbers.
    """
    free = _free(connection, relation, sorted(columns))
    if free is None:
        return Footers(None, {})
    found = connection.execute(_asking(relation, free)).fetchall()[0]
    pairs = zip(free, zip(found[1::2], found[2::2], strict=True), strict=True)
    # NaN is greater than every number: where it is an end, the end is not known.
    return Footers(found[0], {name: pair for name, pair in pairs if pair[1] == pair[1] and pair[0] == pair[0]})


def _asking(relation: str, columns: Sequence[str]) -> str:
    ends = [f"{which}(t.{quoted(name)})" for name in columns for which in ("min", "max")]
    return f"SELECT {', '.join(['count(*)', *ends])} FROM {relation} AS t"


def _free(connection: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str]) -> list[str] | None:
    """The columns whose ends DuckDB knows without reading rows; those that have none are found by halving.

    None for rows that are more than those of files.
    """
    try:
        text = connection.execute(f"EXPLAIN (FORMAT json) {_asking(relation, columns)}").fetchall()[0][1]
    except duckdb.Error:
        return None
    operators = set(_operators(json.loads(text)))
    if operators <= _KNOWN:
        return list(columns)
    if not operators <= _READ:
        return None
    if len(columns) < 2:
        return []
    half = len(columns) // 2
    parts = [_free(connection, relation, some) for some in (columns[:half], columns[half:])]
    return [name for part in parts for name in part or ()]


def _operators(nodes: list[dict[str, Any]]) -> list[str]:
    return [
        name
        for node in nodes
        for name in (str(node["name"]).strip().upper().replace(" ", "_"), *_operators(node.get("children", [])))
    ]
