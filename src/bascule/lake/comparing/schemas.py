"""How the columns of two states differ, and which of them rows can be compared by."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal

from bascule.lake.iceberg import types
from bascule.lake.iceberg.schemas import Field, Schema
from bascule.lake.iceberg.tables import Table

Kind = Literal["added", "dropped", "renamed", "widened", "retyped", "moved", "nullable"]


@dataclass(frozen=True, slots=True)
class ColumnChange:
    """One column that differs.

    Attributes:
        kind: `widened` keeps every value, `retyped` is any other change of type; `moved` is another place in the order.
        column: its name, the later one when it was renamed.
        before, after: its names for a rename, its places (from 1) when it moved, `required` or `optional`; else its
            types. "" where it is not.
    """

    kind: Kind
    column: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the later state (of the earlier one, when there is no later one).

    Attributes:
        place: its number, which names it in the SQL of a comparison.
        kind: its type as DuckDB calls it.
        old: what it is read from in the earlier state; None when that has nothing to compare it with.
        compared: whether a row differs when its value does: not when its types before and after do not go together.
    """

    place: int
    field: Field
    kind: str
    old: Field | None
    compared: bool

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.field["name"])


def same_table(before: Table, after: Table) -> bool:
    """Tell whether two states are of one table, and not of two that had the same name."""
    return bool(before.metadata["table-uuid"] == after.metadata["table-uuid"])


def column_changes(before: Schema, after: Schema, *, by_name: bool = False) -> tuple[ColumnChange, ...]:
    """Return how the columns of one schema differ from another's.

    Args:
        by_name: match columns by their names and not by their ids: for schemas of two tables, whose ids mean nothing
            to each other.
    """
    old, new = _keyed(before, by_name), _keyed(after, by_name)
    found: list[ColumnChange] = []
    for key, was in old.items():
        now = new.get(key)
        if now is None:
            found.append(ColumnChange("dropped", was["name"], types.to_duckdb(was["type"]), ""))
        else:
            found += _changes(was, now)
    found += [
        ColumnChange("added", f["name"], "", types.to_duckdb(f["type"])) for key, f in new.items() if key not in old
    ]
    shared = [key for key in new if key in old]
    places = {key: place for place, key in enumerate(old, 1)}, {key: place for place, key in enumerate(new, 1)}
    for key in _out_of_order(shared, [places[0][key] for key in shared]):
        found.append(ColumnChange("moved", new[key]["name"], str(places[0][key]), str(places[1][key])))
    return tuple(found)


def columns(before: Table | None, after: Table | None) -> tuple[Column, ...]:
    """Return the columns that rows are compared by: the later state's, each with the earlier one's that it was."""
    latest = after or before
    assert latest is not None
    by_name = before is not None and after is not None and not same_table(before, after)
    old = _keyed(before.schema, by_name) if before is not None else {}
    found = []
    for place, (key, field) in enumerate(_keyed(latest.schema, by_name).items()):
        was = old.get(key)
        goes = was is None or types.to_duckdb(was["type"]) == types.to_duckdb(field["type"])
        goes = goes or (was is not None and types.may_widen(was["type"], field["type"]))
        found.append(Column(place, field, types.to_duckdb(field["type"]), was if goes else None, goes))
    return tuple(found)


def _keyed(schema: Schema, by_name: bool) -> dict[int | str, Field]:
    return {(f["name"].casefold() if by_name else f["id"]): f for f in schema["fields"]}


def _changes(was: Field, now: Field) -> list[ColumnChange]:
    found = []
    if was["name"] != now["name"]:
        found.append(ColumnChange("renamed", now["name"], was["name"], now["name"]))
    kinds = types.to_duckdb(was["type"]), types.to_duckdb(now["type"])
    if kinds[0] != kinds[1]:
        wider = types.may_widen(was["type"], now["type"])
        found.append(ColumnChange("widened" if wider else "retyped", now["name"], *kinds))
    words = tuple("required" if field.get("required") else "optional" for field in (was, now))
    if words[0] != words[1]:
        found.append(ColumnChange("nullable", now["name"], *words))
    return found


def _out_of_order(keys: list[int | str], places: list[int]) -> list[int | str]:
    """Return the fewest keys without which the others stand in their former order."""
    # The longest rising run of former places stays (patience sorting); whatever is not in it has moved.
    tails: list[int] = []
    ends: list[int] = []
    before: list[int | None] = []
    for at, place in enumerate(places):
        pile = bisect_left(tails, place)
        before.append(ends[pile - 1] if pile else None)
        tails[pile : pile + 1] = [place]
        ends[pile : pile + 1] = [at]
    stays = set()
    last = ends[-1] if ends else None
    while last is not None:
        stays.add(last)
        last = before[last]
    return [key for at, key in enumerate(keys) if at not in stays]
