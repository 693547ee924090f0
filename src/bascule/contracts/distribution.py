"""How values are distributed: histograms part by part, how far two are from each other, what lies beyond fences.

The cells are chosen once, from what is compared with: shares that a contract states, or a reference state of the table
(deciles of numbers and times, the commonest of other values). Counts of cells add up, so a histogram merges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bascule.contracts.accumulators import Accumulator
from bascule.contracts.checks import Measure
from bascule.contracts.narrow import World
from bascule.contracts.parts import measure_of
from bascule.contracts.quantiles import Quantile
from bascule.contracts.sql import literal

DECILES = 10
MOST_VALUES = 50
OTHERS = "\0others"  # the cell of every value that has none of its own

Cells = Mapping[str, float]


def distance(measure: Measure, before: Cells, after: Cells) -> float | None:
    """How far one histogram is from another, beyond what chance alone puts between samples of their sizes.

    `psi` is the population stability index and `js` the Jensen-Shannon distance to base 2 (0 to 1); from both is taken
    what two samples of one distribution have between them on average. `linf` is the greatest difference of a share,
    `tvd` half the sum of all of them; those are as measured.

    Args:
        before, after: cell to count. Counts that sum to 1 are shares known exactly.

    Returns:
        The distance; None when one of the two is empty.
    """
    n, m = sum(before.values()), sum(after.values())
    if not n or not m:
        return None
    cells = sorted(before.keys() | after.keys())
    p = [before.get(cell, 0) / n for cell in cells]
    q = [after.get(cell, 0) / m for cell in cells]
    if measure == "linf":
        return max(abs(a - b) for a, b in zip(p, q, strict=True))
    if measure == "tvd":
        return sum(abs(a - b) for a, b in zip(p, q, strict=True)) / 2
    chance = (len(cells) - 1) * ((1 / n if n > 1 else 0) + 1 / m)
    if measure == "psi":
        # Half a row in an empty cell: without it one new value would be infinitely far.
        return max(0.0, sum((b - a) * math.log(b / a) for a, b in _smoothed(p, q, n, m)) - chance)
    square = sum(_relative(a, (a + b) / 2) + _relative(b, (a + b) / 2) for a, b in zip(p, q, strict=True)) / 2
    return math.sqrt(max(0.0, square - chance / (8 * math.log(2))))


def _smoothed(p: Sequence[float], q: Sequence[float], n: float, m: float) -> list[tuple[float, float]]:
    least = 0.5 / max(n if n > 1 else m, m)
    return [(max(a, least), max(b, least)) for a, b in zip(p, q, strict=True)]


def _relative(a: float, b: float) -> float:
    return a * math.log2(a / b) if a > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Histogram:
    """A query that counts the rows of each cell; its results over parts add up.

    Attributes:
        cell: SQL of a row's cell, a text.
        present: the condition for a row to take part.
    """

    cell: str
    present: str

    def text(self, relation: str) -> str:
        """The query."""
        return f"SELECT {self.cell}, count(*) FROM {relation} AS t WHERE {self.present} GROUP BY 1"

    def counts(self, world: World) -> dict[str, int]:
        """The count of each cell that is not empty, over all rows."""
        if not world.incremental:
            return self._read(world, world.relation)
        measure = measure_of("histogram", self.cell, self.present)
        known = {part: found for (part, _), found in world.memory.load(world.parts.ids, [measure]).items()}
        lacking = [part for part in world.parts.ids if part not in known]
        fresh = {part: self._read(world, world.parts.relation([part])) for part in lacking}
        world.memory.keep(world.parts.scope, {(part, measure): found for part, found in fresh.items()})
        found: dict[str, int] = self._read(world, world.parts.rest) if world.parts.rest is not None else {}
        for counts in (*known.values(), *fresh.values()):
            for cell, number in counts.items():
                found[cell] = found.get(cell, 0) + number
        return found

    def _read(self, world: World, relation: str) -> dict[str, int]:
        return {str(cell): int(number) for cell, number in world.connection.execute(self.text(relation)).fetchall()}


@dataclass(frozen=True, slots=True)
class Distance:
    """How far a column's values are from a reference relation's, or from stated shares.

    Attributes:
        value: SQL of the value; a double when `numeric`, else a text.
        present: the condition for a row to take part; it implies that the value is not NULL.
        reference: text usable after FROM with the rows to compare with; None with stated shares.
        shares: value to its share.
    """

    measure_name: Measure
    value: str
    present: str
    numeric: bool
    reference: str | None
    shares: tuple[tuple[str, float], ...] = ()
    needs: tuple[Accumulator, ...] = ()

    def states(self) -> tuple[str, ...]:
        """What the reference is like. What parts keep is known with it."""
        return () if self.reference is None else (self._like(self.reference),)

    def _like(self, reference: str) -> str:
        return measure_of("reference", self.value, self.present, reference)

    def text(self, relation: str) -> str:
        """The queries, for people; their cells are chosen when they run."""
        if self.reference is None:
            return self._by_value([value for value, _ in self.shares]).text(relation)
        what = "deciles" if self.numeric else f"{MOST_VALUES} commonest values"
        plain = f"SELECT {self.value}, count(*) FROM {relation} AS t WHERE {self.present} GROUP BY 1"
        return f"{plain}\n-- in cells by the {what} of the reference"

    def measure(self, world: World) -> float | None:
        """The distance; None when no row has a value."""
        if self.reference is None:
            rest = max(0.0, 1.0 - sum(share for _, share in self.shares))
            stated = {**dict(self.shares), **({OTHERS: rest} if rest > 1e-9 else {})}
            return distance(self.measure_name, stated, self._by_value([v for v, _ in self.shares]).counts(world))
        held = self._reference(world, self.reference)
        histogram = self._by_edges(held["edges"]) if self.numeric else self._by_value(held["values"])
        return distance(self.measure_name, held["counts"], histogram.counts(world))

    def _reference(self, world: World, reference: str) -> dict[str, Any]:
        """Cells and counts of the reference, measured once."""
        place = (world.parts.scope or "reference", self._like(reference))
        held: dict[str, Any] | None = world.memory.load([place[0]], [place[1]]).get(place)
        if held is None:
            held = self._measured(world, reference)
            if world.incremental:
                world.memory.keep(place[0], {place: held})
        return held

    def _measured(self, world: World, reference: str) -> dict[str, Any]:
        rows = f"SELECT {self.value} AS v FROM {reference} AS t WHERE {self.present}"
        held: dict[str, Any] = {"edges": [], "values": []}
        if self.numeric:
            levels = [level / DECILES for level in range(1, DECILES)]
            found = world.one(f"SELECT quantile_disc(v, {levels}) FROM ({rows}) AS q")
            held["edges"] = sorted({float(edge) for edge in found or ()})
            histogram = self._by_edges(held["edges"])
        else:
            common = f"SELECT v FROM ({rows}) AS q GROUP BY v ORDER BY count(*) DESC, v LIMIT {MOST_VALUES}"
            held["values"] = [str(row[0]) for row in world.connection.execute(common).fetchall()]
            histogram = self._by_value(held["values"])
        counted = world.connection.execute(histogram.text(reference)).fetchall()
        return {**held, "counts": {str(cell): int(number) for cell, number in counted}}

    def _by_edges(self, edges: Sequence[float]) -> Histogram:
        steps = " ".join(f"WHEN {self.value} <= '{edge!r}'::DOUBLE THEN '{n}'" for n, edge in enumerate(edges))
        return Histogram(f"CASE {steps} ELSE '{len(edges)}' END" if steps else "'0'", self.present)

    def _by_value(self, values: Sequence[str]) -> Histogram:
        if not values:
            return Histogram("chr(0) || 'others'", self.present)
        listed = ", ".join(literal(value) for value in values)
        others = "chr(0) || 'others'"
        return Histogram(f"CASE WHEN {self.value} IN ({listed}) THEN {self.value} ELSE {others} END", self.present)


@dataclass(frozen=True, slots=True)
class Outlying:
    """How many values lie outside of fences around the quartiles.

    Attributes:
        value: SQL of the value, a double.
        present: the condition for a row to take part; it implies that the value is not NULL.
        fences: how far they are from the quartiles, in multiples of the distance between those.
        reference: text usable after FROM with the rows that give the quartiles; None for the checked rows.
    """

    value: str
    present: str
    fences: float
    rows: Accumulator
    reference: str | None = None

    @property
    def needs(self) -> tuple[Accumulator, ...]:
        """The row count."""
        return (self.rows,)

    def states(self) -> tuple[str, ...]:
        """The quartiles of the reference, or what those of the rows keep."""
        if self.reference is None:
            return tuple(state for level in self._levels() for state in level.states())
        return (self._of(self.reference),)

    def _of(self, reference: str) -> str:
        return measure_of("quartiles", self.value, self.present, reference)

    def _levels(self) -> list[Quantile]:
        return [Quantile(self.value, self.present, at, self.rows) for at in (0.25, 0.75)]

    def text(self, relation: str) -> str:
        """The queries, for people."""
        quartiles = f"SELECT quantile_cont({self.value}, [0.25, 0.75]) FROM {self.reference or relation} AS t"
        return f"{quartiles} WHERE {self.present};\nSELECT count(*) FROM {relation} AS t WHERE {self.present}"

    def measure(self, world: World) -> int:
        """Count the values beyond the fences."""
        bad = self._beyond(world)
        return int(world.one(f"SELECT count_if({bad}) FROM {world.relation} AS t") or 0) if bad else 0

    def failing(self, world: World) -> str | None:
        """The query that selects their rows."""
        bad = self._beyond(world)
        return f"SELECT * FROM {world.relation} AS t WHERE {bad}" if bad else None

    def _beyond(self, world: World) -> str | None:
        low, high = self._quartiles(world)
        if low is None or high is None or not math.isfinite(high - low):
            return None
        reach = self.fences * (high - low)
        ends = (f"{self.value} {sign} '{end!r}'::DOUBLE" for sign, end in (("<", low - reach), (">", high + reach)))
        return f"{self.present} AND ({' OR '.join(ends)})"

    def _quartiles(self, world: World) -> Sequence[float | None]:
        if self.reference is None:
            return [level.measure(world) for level in self._levels()]
        place = (world.parts.scope or "reference", self._of(self.reference))
        held: Sequence[float | None] | None = world.memory.load([place[0]], [place[1]]).get(place)
        if held is None:
            quartiles = f"SELECT quantile_cont({self.value}, [0.25, 0.75]) FROM {self.reference} AS t"
            held = world.one(f"{quartiles} WHERE {self.present}") or [None, None]
            if world.incremental:
                world.memory.keep(place[0], {place: list(held)})
        return held
