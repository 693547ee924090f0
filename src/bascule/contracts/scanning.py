"""The one streaming SELECT, over the parts of a relation whose states are not known yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import duckdb

from bascule.contracts.accumulators import Accumulator
from bascule.contracts.facts import State, footers
from bascule.contracts.parts import LABEL, Memory, Parts, Whole, measure_of

# A part's id, or what stands for the rows that are in no part.
REST = ""
LARGE = 200_000  # rows of a part
LOOKED_AT = 50_000  # rows, about, in which the different values of a column are counted
FEW = 256  # of them: then a look at each value costs less than one at each row
MOST_GROUPS = 8  # of parts that lack different measures


class Scan:
    """Accumulators measured over a relation: known states are taken, the others measured together and kept.

    Attributes:
        read: the parts that were read to measure what was not known.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        parts: Parts,
        memory: Memory,
        stable: Collection[Accumulator],
        fleeting: Collection[Accumulator],
        beside: Sequence[tuple[Accumulator, Accumulator]] = (),
    ) -> None:
        """Measure.

        Args:
            stable: what says the same of a part whenever it is asked; only that is kept.
            fleeting: what may say something else tomorrow, as an age does.
            beside: what may be asked for later by `later`, each with one of the stable ones: where it was measured of
                other parts before, it is measured at once of the parts that are read for that one anyway.
        """
        self.connection, self.parts, self.memory = connection, parts, memory
        self._states: dict[tuple[str, str], State] = {}
        self._measures = {item.columns: measure_of(*item.columns) for item in (*stable, *fleeting)}
        self._stable = {self._measures[item.columns] for item in stable}
        self.read: set[str] = set()
        perhaps = {measure_of(*item.columns): (item, other) for item, other in beside} if parts.ids else {}
        known = memory.load(parts.ids, self._stable | set(perhaps)) if parts.ids else {}
        self._states |= {place: tuple(state) for place, state in known.items()}
        items = list({item.columns: item for item in (*stable, *fleeting)}.values())
        self._states |= told(parts, items, self._states)
        for measure, (item, other) in perhaps.items():
            lacking = self._lacking(measure)
            if len(lacking) < len(parts.ids) and lacking <= self._lacking(self._measures[other.columns]):
                self._measures[item.columns] = measure
                self._stable.add(measure)
                items.append(item)
        self._files = self._footers(items)
        self._gather(items)

    def later(self, item: Accumulator, *, stable: bool) -> Any:
        """The number of an accumulator that was not asked for at first; see `value`."""
        if item.columns not in self._measures:
            measure = self._measures[item.columns] = measure_of(*item.columns)
            if stable:
                self._stable.add(measure)
                known = self.memory.load(self.parts.ids, [measure]) if self.parts.ids else {}
                self._states |= {place: tuple(state) for place, state in known.items()}
            self._states |= told(self.parts, [item], self._states)
        return self.value(item)

    def value(self, item: Accumulator) -> Any:
        """The number of an accumulator over all rows.

        Raises:
            duckdb.Error: it cannot be computed.
        """
        measure = self._measures[item.columns]
        lacking = [place for place in self._places() if (place, measure) not in self._states]
        if lacking:
            self._measure(lacking, [item])
        return item.total([self._states[place, measure] for place in self._places()])

    def over(self, item: Accumulator, places: Collection[str]) -> Any:
        """The number of an accumulator over some parts and, when `REST` is among them, the rows in none."""
        self.value(item)
        return item.total([self._states[place, self._measures[item.columns]] for place in places])

    # Inside ----------------------------------------------------------------------------------------------------------

    def _lacking(self, measure: str) -> set[str]:
        return {part for part in self.parts.ids if (part, measure) not in self._states}

    def _places(self) -> list[str]:
        return [*self.parts.ids, *([REST] if self.parts.rest is not None else [])]

    def _footers(self, items: Sequence[Accumulator]) -> bool:
        """Take what the footers of files say of the rows that are in no part; tell whether these rows are of files."""
        if self.parts.rest is None:
            return False
        columns = {item.told.column for item in items if item.told is not None and item.told.ends}
        if not columns and not any(item.each for item in items):
            return False
        files = self.parts.files if isinstance(self.parts, Whole) else self.parts.rest
        found = footers(self.connection, files, columns)
        for item in items:
            state = item.told.state(found) if item.told is not None else None
            if state is not None:
                self._states[REST, self._measures[item.columns]] = state
        return found.rows is not None and found.rows > LARGE

    def _gather(self, items: Sequence[Accumulator]) -> None:
        """Measure together what the same parts lack. What cannot be computed is asked again alone, by `value`."""
        groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for place in self._places():
            lacking = tuple(m for m in self._measures.values() if (place, m) not in self._states)
            groups[lacking].append(place)
        if len(groups) > MOST_GROUPS:  # a query for each would cost more than what it spares
            lacking = tuple(dict.fromkeys(measure for group in groups for measure in group))
            groups = {lacking: [place for group, places in groups.items() if group for place in places]}
        for lacking, places in groups.items():
            wanted = [item for item in items if self._measures[item.columns] in lacking]
            if wanted:
                try:
                    self._measure(places, wanted)
                except duckdb.Error:
                    continue

    def _measure(self, places: Sequence[str], items: Sequence[Accumulator]) -> None:
        ids = [place for place in places if place != REST]
        found: dict[str, dict[str, Any]] = {}
        if ids:
            found |= self._by_part(ids, items)
            self.read |= set(ids)
        if REST in places:
            found[REST] = self._of(str(self.parts.rest), items, few=self._files)
        fresh: dict[tuple[str, str], State] = {}
        for item in items:
            measure = self._measures[item.columns]
            for place in places:
                said = found.get(place, {})
                fresh[place, measure] = tuple(said.get(column) for column in item.columns)
        self._states |= fresh
        kept = {key: list(state) for key, state in fresh.items() if key[0] != REST and key[1] in self._stable}
        if kept:
            self.memory.keep(self.parts.scope, kept)

    def _by_part(self, ids: Sequence[str], items: Sequence[Accumulator]) -> Mapping[str, dict[str, Any]]:
        many = self.parts.rows(ids) > LARGE * len(ids)
        if len(ids) == 1 or many:  # groups cost more than a query does
            return {part: self._of(self.parts.relation([part]), items, few=many) for part in ids}
        columns = list(dict.fromkeys(column for item in items for column in item.columns))
        listed = ", ".join(columns)
        relation, labels = self.parts.labelled(ids)
        rows = self.connection.execute(f"SELECT {LABEL}, {listed} FROM {relation} AS t GROUP BY 1").fetchall()
        return {labels[row[0]]: dict(zip(columns, row[1:], strict=True)) for row in rows}

    def _of(self, relation: str, items: Sequence[Accumulator], *, few: bool) -> dict[str, Any]:
        """What the aggregates of some accumulators answer over a relation.

        Args:
            few: look whether columns have few different values; where one has, its conditions are asked of each value.
        """
        grouped: dict[str, dict[str, str]] = defaultdict(dict)
        for item in items if few else ():
            if item.each is not None:
                grouped[item.each[0]][item.columns[0]] = item.each[1]
        few_of = self._of_few(relation, list(grouped))
        found: dict[str, Any] = {}
        for column in few_of:
            sums = ", ".join(f"sum(__rows_of_it) FILTER (WHERE {test})" for test in grouped[column].values())
            values = f"SELECT {column}, count(*) AS __rows_of_it FROM {relation} AS t GROUP BY 1"
            answer = self.connection.execute(f"SELECT {sums} FROM ({values}) AS t").fetchall()[0]
            found |= zip(grouped[column], answer, strict=True)
        columns = [c for c in dict.fromkeys(c for item in items for c in item.columns) if c not in found]
        if columns:
            answer = self.connection.execute(f"SELECT {', '.join(columns)} FROM {relation} AS t").fetchall()[0]
            found |= zip(columns, answer, strict=True)
        return found

    def _of_few(self, relation: str, columns: Sequence[str]) -> list[str]:
        """The columns that have few different values, by a look at rows from all over the relation."""
        if not columns:
            return []
        rows = int(self.connection.execute(f"SELECT count(*) FROM {relation} AS t").fetchall()[0][0])
        share = min(100.0, 100 * LOOKED_AT / max(rows, 1))
        listed = ", ".join(f"{column} AS c{place}" for place, column in enumerate(columns))
        some = f"SELECT * FROM (SELECT {listed} FROM {relation} AS t) AS s USING SAMPLE {share:.6f}% (system, 7)"
        counts = ", ".join(f"count(DISTINCT c{place})" for place in range(len(columns)))
        numbers = self.connection.execute(f"SELECT {counts} FROM ({some}) AS q").fetchall()[0]
        return [column for column, number in zip(columns, numbers, strict=True) if number <= FEW]


def told(
    parts: Parts, items: Sequence[Accumulator], known: Collection[tuple[str, str]] = ()
) -> dict[tuple[str, str], State]:
    """The states that follow from what is known of parts without reading them, by part and measure.

    Args:
        known: leave these out.
    """
    asked = {measure_of(*item.columns): item.told for item in items if item.told is not None}
    found: dict[tuple[str, str], State] = {}
    for part in parts.ids:
        open_ones = [measure for measure in asked if (part, measure) not in known]
        facts = parts.facts(part) if open_ones else None
        for measure in open_ones if facts is not None else ():
            state = asked[measure].state(facts) if facts is not None else None
            if state is not None:
                found[part, measure] = state
    return found
