"""Lost columns and new ones: which new column is probably an old one under another name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from bascule.contracts.checks import Between, Check, Length, Matches, NotNull, OneOf
from bascule.contracts.compile import Types, bad_rows, unfit
from bascule.contracts.contract import Contract
from bascule.contracts.families import accepts, family_of
from bascule.contracts.sql import quoted

_ENOUGH = 0.5
# Pairs are compared by value with one narrow query each; wide tables that changed wholly get names and places only.
_MOST_PAIRS = 60


@dataclass(frozen=True, slots=True)
class Lookalike:
    """A new column that looks like a lost one, and why."""

    column: str
    reasons: tuple[str, ...]

    def text(self) -> str:
        """For a sentence: `departure_delay is new and looks like it (same type, same place)`."""
        why = f" ({', '.join(self.reasons)})" if self.reasons else ""
        return f"{self.column} is new and looks like it{why}"


def find_renames(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    contract: Contract,
    types: Types,
    held: Collection[str] = (),
) -> dict[str, Lookalike]:
    """For each column that the contract declares and the relation lacks, the new column that it probably became.

    Judged by name, type, place among the neighbours that stayed, and by how many rows of the new column pass the lost
    column's own checks. Each new column answers for one lost column at most; a weak likeness is not told.

    Args:
        held: the columns of the table that the relation is a batch of: they are not new, declared or not.
    """
    declared = [column.name for column in contract.columns]
    lost = [name for name in declared if name not in types]
    new = [name for name in types if name not in declared and name not in held]
    pairs: list[tuple[float, str, Lookalike]] = []
    for name in lost:
        for candidate in new:
            score, reasons = _likeness(name, candidate, declared, list(types), contract, types)
            if len(lost) * len(new) <= _MOST_PAIRS and score > 0.2:
                share = _share_passing(connection, relation, contract, name, candidate, types)
                if share is not None:
                    score += 0.4 * (share - 0.5)
                    reasons += [f"{share:.0%} of its rows pass the checks of {name}"] if share > 0.5 else []
            pairs.append((score, name, Lookalike(candidate, tuple(reasons))))
    found: dict[str, Lookalike] = {}
    taken: set[str] = set()
    for score, name, alike in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2].column)):
        if score >= _ENOUGH and name not in found and alike.column not in taken:
            found[name] = alike
            taken.add(alike.column)
    return found


def _likeness(
    lost: str, new: str, declared: Sequence[str], present: Sequence[str], contract: Contract, types: Types
) -> tuple[float, list[str]]:
    """A score from 0 to 1 from names, types and places, and what speaks for the pair."""
    column = next(column for column in contract.columns if column.name == lost)
    same_type = column.family is None or accepts(column.family, family_of(types[new]))
    name_score = _name_likeness(lost, new)
    place = _same_place(lost, new, declared, present)
    reasons = [reason for reason, true in (("same type", same_type and column.family), ("same place", place)) if true]
    score = 0.55 * name_score + (0.2 if same_type else -0.15) + (0.25 if place else 0.0)
    return score, reasons


def _name_likeness(lost: str, new: str) -> float:
    """Likeness of two names: letters, or words that start alike (`dep_delay` and `departure_delay`)."""
    a, b = lost.lower(), new.lower()
    letters = difflib.SequenceMatcher(None, a, b).ratio()
    words_a, words_b = _words(lost), _words(new)
    alike = sum(any(x.startswith(y) or y.startswith(x) for y in words_b) for x in words_a)
    return max(letters, alike / max(len(words_a), len(words_b), 1))


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name)
    return [word.lower() for word in re.split(r"[^A-Za-z0-9]+", spaced) if word]


def _same_place(lost: str, new: str, declared: Sequence[str], present: Sequence[str]) -> bool:
    """Whether the column stands between the same neighbours that are still there."""

    def neighbours(names: Sequence[str], name: str, stayed: set[str]) -> tuple[str | None, str | None]:
        at = names.index(name)
        before = next((other for other in reversed(names[:at]) if other in stayed), None)
        after = next((other for other in names[at + 1 :] if other in stayed), None)
        return before, after

    stayed = set(declared) & set(present)
    return bool(stayed) and neighbours(declared, lost, stayed) == neighbours(present, new, stayed)


def _share_passing(
    connection: duckdb.DuckDBPyConnection, relation: str, contract: Contract, lost: str, new: str, types: Types
) -> float | None:
    """The share of rows whose value in `new` passes what the contract asks of `lost`; None when it asks nothing."""
    stand_in: Mapping[str, str] = {lost: types[new]}
    telling = [check for check in contract.checks if lost in check.columns and _tells(check)]
    rules = [check.rule for check in telling if unfit(check, stand_in) is None]
    conditions = [
        f"({bad_rows(rule, stand_in)})" for rule in rules if isinstance(rule, OneOf | Between | Matches | Length)
    ]
    if not conditions:
        return None
    rows = f"SELECT {quoted(new)} AS {quoted(lost)} FROM {relation} AS t WHERE {quoted(new)} IS NOT NULL"
    query = f"SELECT count_if(NOT ({' OR '.join(conditions)})) / count(*) FROM ({rows}) AS t"
    try:
        answer = connection.execute(query).fetchone()
    except duckdb.Error:
        return None
    return float(answer[0]) if answer and answer[0] is not None and answer[0] == answer[0] else None


def _tells(check: Check) -> bool:
    return not check.where and not isinstance(check.rule, NotNull)
