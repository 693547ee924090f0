"""Exact quantiles, also of a table that grows: a quantile is found between two pivots that enclose it.

How many values lie below the pivots, and which lie between them, merges.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bascule.contracts.accumulators import Accumulator
from bascule.contracts.narrow import SAMPLED, World
from bascule.contracts.parts import LABEL, measure_of
from bascule.contracts.scanning import LARGE

MANY_ROWS = 1_000_000  # below, an exact quantile costs less than its state
WINDOW = 5_000


@dataclass(frozen=True, slots=True)
class Quantile:
    """The value below which a share of the values lies, interpolated as `quantile_cont` does.

    Attributes:
        value: SQL of the value, a double.
        present: the condition for a row to take part; it implies that the value is not NULL.
        at: the share, 0 to 1.
        rows: how many rows take part.
    """

    value: str
    present: str
    at: float
    rows: Accumulator
    needs: tuple[Accumulator, ...] = ()

    def states(self) -> tuple[str, ...]:
        """The pivots, of the table, and how many rows take part. What else parts keep is known with the pivots."""
        return self._enclosing, measure_of(*self.rows.columns)

    @property
    def _enclosing(self) -> str:
        return measure_of("pivots", self.value, self.present, repr(self.at))

    def text(self, relation: str) -> str:
        """The query over all rows."""
        answer = f"CAST(quantile_cont(v, {self.at!r}) AS DOUBLE)"
        return f"SELECT {answer} FROM ({self._values(relation)}) AS q"

    def measure(self, world: World) -> float | None:
        """The quantile: from what parts keep between two pivots, when those still enclose it."""
        # How many there are is asked for where it matters only: to count them may be to read the column once more.
        rows = int(world.scan.later(self.rows, stable=world.stable)) if world.incremental else 0
        if rows < MANY_ROWS:
            found: float | None = world.one(self.text(world.relation))
            return found
        place = (world.parts.scope, self._enclosing)
        pivots = world.memory.load([place[0]], [place[1]]).get(place)
        told = self._between(world, rows, pivots) if pivots else None
        if told is None:
            pivots = self._pivots(world, rows)
            if pivots is None:
                found = world.one(self.text(world.relation))
                return found
            world.memory.keep(place[0], {place: pivots})
            told = self._between(world, rows, pivots)
        return told if told is not None else world.one(self.text(world.relation))

    def _values(self, relation: str, between: Sequence[float] | None = None) -> str:
        more = f" AND {self.value} BETWEEN {_double(between[0])} AND {_double(between[1])}" if between else ""
        return f"SELECT CAST({self.value} AS DOUBLE) AS v FROM {relation} AS t WHERE {self.present}{more}"

    def _pivots(self, world: World, rows: int) -> list[float] | None:
        """Two values that enclose the quantile closely; None when a sample did not find it."""
        share = min(100.0, 100 * SAMPLED / rows)
        sample = f"SELECT v FROM ({self._values(world.relation)}) AS q USING SAMPLE {share:.6f}% (system, 7)"
        ends = f"[{max(0.0, self.at - 0.02)!r}, {min(1.0, self.at + 0.02)!r}]"
        wide = world.one(f"SELECT quantile_disc(v, {ends}) FROM ({sample}) AS q")
        if not wide:
            return None
        low = -math.inf if self.at <= 0.02 else wide[0]
        high = math.inf if self.at >= 0.98 else wide[1]
        counts = f"count_if(v < {_double(low)}), count_if(v BETWEEN {_double(low)} AND {_double(high)})"
        query = f"SELECT {counts} FROM ({self._values(world.relation)}) AS q"
        below, inside = map(int, world.connection.execute(query).fetchall()[0])
        rank = self.at * (rows - 1) - below
        if not 0 <= rank <= inside - 1:
            return None
        wanted = [max(0.0, (rank - WINDOW) / inside), min(1.0, (rank + WINDOW) / inside)]
        found = world.one(
            f"SELECT quantile_disc(v, {wanted!r}) FROM ({self._values(world.relation, (low, high))}) AS q"
        )
        return [float(found[0]), float(found[1])]

    def _between(self, world: World, rows: int, pivots: Sequence[float]) -> float | None:
        """The quantile, if it lies between two pivots: from the values there, and how many are below."""
        measure = measure_of("window", self.value, self.present, repr(list(pivots)))
        known = {part: found for (part, _), found in world.memory.load(world.parts.ids, [measure]).items()}
        lacking = [part for part in world.parts.ids if part not in known]
        fresh = self._windows(world, lacking, pivots)
        world.memory.keep(world.parts.scope, {(part, measure): found for part, found in fresh.items()})
        windows = [*known.values(), *fresh.values()]
        if world.parts.rest is not None:
            windows.append(self._window(world, world.parts.rest, pivots))
        return _at_rank(self.at * (rows - 1), windows)

    def _windows(self, world: World, ids: Sequence[str], pivots: Sequence[float]) -> Mapping[str, list[Any]]:
        if len(ids) < 2:
            return {p: self._window(world, world.parts.relation([p]), pivots, world.parts.rows([p])) for p in ids}
        relation, labels = world.parts.labelled(ids)
        low, high = map(_double, pivots)
        # All that lie below are one group.
        values = f"SELECT {LABEL}, CASE WHEN {self.value} >= {low} THEN {self.value} END, count(*) FROM {relation} AS t"
        query = f"{values} WHERE {self.present} AND {self.value} <= {high} GROUP BY 1, 2"
        found: dict[str, list[Any]] = {part: [0, [], []] for part in ids}
        for label, value, number in world.connection.execute(query).fetchall():
            window = found[labels[label]]
            if value is None:
                window[0] = int(number)
            else:
                window[1].append(value)
                window[2].append(number)
        return found

    def _window(self, world: World, relation: str, pivots: Sequence[float], rows: int | None = None) -> list[Any]:
        low, high = map(_double, pivots)
        if rows is not None and rows <= LARGE:  # to list the values costs less than to group them
            listed = f"count_if(v < {low}), list(v) FILTER (WHERE v >= {low})"
            below, values = world.connection.execute(
                f"SELECT {listed} FROM ({self._values(relation)}) AS q WHERE v <= {high}"
            ).fetchall()[0]
            counts = Counter(values or ())
            return [int(below or 0), list(counts), list(counts.values())]  # over no row the count is null
        under = f"CASE WHEN v >= {low} THEN v END"
        query = f"SELECT {under}, count(*) FROM ({self._values(relation)}) AS q WHERE v <= {high} GROUP BY 1"
        found = dict(world.connection.execute(query).fetchall())
        below = found.pop(None, 0)
        return [int(below), list(found), list(found.values())]


def _at_rank(place: float, windows: Iterable[Sequence[Any]]) -> float | None:
    """The value at a place between two ranks; None when one of the two lies in no window."""
    below, counts = 0, Counter[float]()
    for start, values, numbers in windows:
        below += start
        for value, number in zip(values, numbers, strict=True):
            counts[value] += number
    first = math.floor(place)
    low = high = None
    for value in sorted(counts):
        after = below + counts[value]
        if low is None and below <= first < after:
            low = value
        if below <= math.ceil(place) < after:
            high = value
        below = after
    if low is None or high is None:
        return None
    return low if low == high else low + (place - first) * (high - low)


def _double(value: float) -> str:
    return f"'{value!r}'::DOUBLE"
