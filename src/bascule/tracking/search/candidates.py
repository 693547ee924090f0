"""The few that a search can be about: subjects that fulfil conditions which an index answers without a look at runs.

A database that reads the youngest runs first, or the best of a metric, and asks each what else is wanted, is quick when
many fulfil it and slow when few do. So what an index tells is counted first, up to a limit, and when it is few they are
the ones to look at. SQLite hands over the very few at once: to count them costs it no less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection

from bascule.tracking.search.conditions import NUMBERS, TEXTS, demand, number_sql
from bascule.tracking.search.grammar import Comparison
from bascule.tracking.search.pieces import Sql, asked, joined

NEAR = 100  # characters of a value that its index holds
MANY = 20_000  # candidates from which on it is better to ask runs one after the other
RARE = 2_000  # subjects that are read by a condition's index at once
WIDER = 8  # a condition that so many times more fulfil is asked of each candidate instead


@dataclass(frozen=True)
class Candidates:
    """Those that fulfil some conditions.

    Attributes:
        subjects: a query for their numbers.
        most: there are no more than that.
        conditions: the places of the conditions that all of them fulfil.
    """

    subjects: Sql
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
    rare = _rare(conn, told, RARE if most is None else min(RARE, most)) if light else None
    if rare is not None:
        return rare
    limit = None if most is None else most * (WIDER if light else 1) + 1
    counts = _counts(conn, told, limit)
    fewest = min(counts.values())
    if most is not None and fewest > most:
        return None
    used = sorted((place for place in told if counts[place] <= fewest * WIDER), key=counts.__getitem__)
    return Candidates(joined([told[place] for place in used], " INTERSECT "), fewest, frozenset(used))


def _rare(conn: Connection, queries: Mapping[int, Sql], most: int) -> Candidates | None:
    """Return those that fulfil each condition which no more than `most` do; None when there is no such condition."""
    each = [
        joined(["(SELECT json_group_array(subject) FROM (", query, f"LIMIT {most + 1}))"]) for query in queries.values()
    ]
    (row,) = asked(conn, joined(["SELECT", joined(each, ", ")]))
    read = {place: msgspec.json.decode(told, type=set[int]) for place, told in zip(queries, row, strict=True)}
    rare = {place: found for place, found in read.items() if len(found) <= most}
    if not rare:
        return None
    found = set.intersection(*rare.values())
    listed = Sql("SELECT value AS subject FROM json_each(?)", (msgspec.json.encode(found).decode(),))
    return Candidates(listed, len(found), frozenset(rare))


def _counts(conn: Connection, queries: Mapping[int, Sql], limit: int | None) -> dict[int, int]:
    """Count what queries find, each up to a limit, in one statement."""
    end = "" if limit is None else f"LIMIT {limit}"
    each = [joined(["(SELECT count(*) FROM (", query, end, ") AS found)"]) for query in queries.values()]
    (row,) = asked(conn, joined(["SELECT", joined(each, ", ")]))
    return dict(zip(queries, row, strict=True))


def _indexed(one: Comparison, numbers: Mapping[str, int]) -> Sql | None:
    number = numbers.get(one.key, -1)
    if one.entity == "metric" and one.operator != "!=":
        demand(one, NUMBERS, text=False)
        mine = Sql("SELECT subject FROM latest_metrics WHERE name = ? AND is_nan = FALSE AND", (number,))
        return joined([mine, number_sql("value", one)])
    if one.entity in ("param", "tag") and one.operator == "=":
        demand(one, TEXTS, text=True)
        mine = Sql(f"SELECT subject FROM run_{one.entity}s WHERE name = ? AND", (number,))
        return joined([mine, equal("value", str(one.value))])
    return None


def equal(value: str, text: str) -> Sql:
    """Return the condition that holds for one value, by the index of the beginnings of values.

    The value itself is not compared: SQLite would put the constant into the index's expression too, and not use it.
    """
    begins = f"{near(value)} = ?"
    if len(text) < NEAR:
        return Sql(begins, (text,))
    return Sql(f"{begins} AND substr({value}, {NEAR + 1}) = ?", (text[:NEAR], text[NEAR:]))


def near(value: str) -> str:
    """Return the beginning of a value as its index has it."""
    return f"substr({value}, 1, {NEAR})"


def beginning(conn: Connection, value: str, like: str) -> Sql | None:
    """Return a condition on the index of beginnings which all values that are LIKE something fulfil; None for none."""
    fixed = min((like.find(sign) for sign in "%_" if sign in like), default=len(like))
    start = like[: min(fixed, NEAR - 1)]
    if not start or conn.dialect.name != "sqlite":  # another database's order of texts would not find them by it
        return None
    begins = near(value)
    if start[-1] < "\ud7ff":  # of those above, not each has one that follows it
        return Sql(f"{begins} >= ? AND {begins} < ?", (start, start[:-1] + chr(ord(start[-1]) + 1)))
    return Sql(f"{begins} >= ?", (start,))


def unordered(conn: Connection, column: str) -> str:
    """Return a number column as a term by which SQLite's planner does not look things up."""
    return f"{column} + 0" if conn.dialect.name == "sqlite" else column


__all__ = ["MANY", "Candidates", "beginning", "candidates", "equal", "near", "unordered"]
