"""The few that a search can be about: subjects that fulfil conditions which an index answers without a look at runs.

A database that reads the youngest runs first, or the best of a metric, and asks each what else is wanted, is quick when
many fulfil it and slow when few do. So what an index tells is counted first, up to a limit, and when it is few they are
the ones to look at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, CompoundSelect, Connection, Select, func, intersect, literal_column, not_, select

from bascule.catalog.schema import latest_metrics, run_params, run_tags
from bascule.tracking.search.conditions import NUMBERS, TEXTS, demand, of_number
from bascule.tracking.search.grammar import Comparison

NEAR = 100  # characters of a value that its index holds
MANY = 20_000  # candidates from which on it is better to ask runs one after the other
WIDER = 8  # a condition that so many times more fulfil is asked of each candidate instead


@dataclass(frozen=True)
class Candidates:
    """Those that fulfil some conditions.

    Attributes:
        subjects: a query for their numbers.
        most: there are no more than that.
        conditions: the places of the conditions that all of them fulfil.
    """

    subjects: Select[Any] | CompoundSelect[Any]
    most: int
    conditions: frozenset[int]


def candidates(
    conn: Connection, conditions: Sequence[Comparison], numbers: Mapping[str, int], most: int | None = MANY
) -> Candidates | None:
    """Return the fewest that indexes can tell, or None when they are more than `most` or no condition has an index.

    Raises:
        InputError: for an operator or a value that a key does not take.
    """
    told = {place: found for place, one in enumerate(conditions) if (found := _indexed(one, numbers)) is not None}
    if not told:
        return None
    light = conn.dialect.name == "sqlite"  # counting an index costs PostgreSQL ten times as much
    if most is None and not light:
        return None  # and who counts all is served best by its own plan
    limit = None if most is None else most * (WIDER if light else 1) + 1
    counts = {place: _count(conn, query, limit) for place, query in told.items()}
    fewest = min(counts.values())
    if most is not None and fewest > most:
        return None
    used = sorted((place for place in told if counts[place] <= fewest * WIDER), key=counts.__getitem__)
    queries = [told[place] for place in used]
    return Candidates(queries[0] if len(queries) == 1 else intersect(*queries), fewest, frozenset(used))


def _count(conn: Connection, query: Select[Any], limit: int | None) -> int:
    found: int = conn.execute(select(func.count()).select_from(query.limit(limit).subquery())).scalar_one()
    return found


def _indexed(one: Comparison, numbers: Mapping[str, int]) -> Select[Any] | None:
    number = numbers.get(one.key, -1)
    if one.entity == "metric" and one.operator != "!=":
        demand(one, NUMBERS, text=False)
        m = latest_metrics.c
        return select(m.subject).where(m.name == number, not_(m.is_nan), of_number(m.value, one))
    if one.entity in ("param", "tag") and one.operator == "=":
        demand(one, TEXTS, text=True)
        table = run_params if one.entity == "param" else run_tags
        return select(table.c.subject).where(table.c.name == number, *equal(table.c.value, str(one.value)))
    return None


def equal(value: ColumnElement[Any], text: str) -> list[ColumnElement[bool]]:
    """Return conditions that hold for one value, by the index of the beginnings of values.

    The value itself is not compared: SQLite would put the constant into the index's expression too, and not use it.
    """
    begins = near(value) == text[:NEAR]
    return [begins] if len(text) < NEAR else [begins, func.substr(value, NEAR + 1) == text[NEAR:]]


def near(value: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return the beginning of a value as its index has it: with numbers that are written out, not given."""
    return func.substr(value, literal_column("1"), literal_column(str(NEAR)))


def beginning(conn: Connection, value: ColumnElement[Any], like: str) -> list[ColumnElement[bool]]:
    """Return a condition on the index of beginnings which all values that are LIKE something fulfil; [] for none."""
    fixed = min((like.find(sign) for sign in "%_" if sign in like), default=len(like))
    start = like[: min(fixed, NEAR - 1)]
    if not start or conn.dialect.name != "sqlite":  # another database's order of texts would not find them by it
        return []
    begins = near(value)
    last = start[:-1] + chr(ord(start[-1]) + 1)
    return [begins >= start, begins < last] if start[-1] < "\ud7ff" else [begins >= start]


def unordered(conn: Connection, column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return a number column as a term by which SQLite's planner does not look things up."""
    return column + 0 if conn.dialect.name == "sqlite" else column


__all__ = ["MANY", "Candidates", "beginning", "candidates", "equal", "near", "unordered"]
