"""The one streaming SELECT, over the parts of a relation whose states are not known yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import duckdb

from bascule.contracts.accumulators import Accumulator, State
from bascule.contracts.parts import LABEL, Memory, Parts, measure_of

# A part's id, or what stands for the rows that are in no part.
REST = ""


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
    ) -> None:
        """Measure.

        Args:
            stable: what says the same of a part whenever it is asked; only that is kept.
            fleeting: what may say something else tomorrow, as an age does.
        """
        self.connection, self.parts, self.memory = connection, parts, memory
        self._states: dict[tuple[str, str], State] = {}
        self._measures = {item.columns: measure_of(*item.columns) for item in (*stable, *fleeting)}
        self._stable = {self._measures[item.columns] for item in stable}
        self.read: set[str] = set()
        known = memory.load(parts.ids, self._stable) if parts.ids else {}
        self._states |= {place: tuple(state) for place, state in known.items()}
        self._gather(list({item.columns: item for item in (*stable, *fleeting)}.values()))

    def later(self, item: Accumulator, *, stable: bool) -> Any:
        """The number of an accumulator that was not asked for at first; see `value`."""
        if item.columns not in self._measures:
            measure = self._measures[item.columns] = measure_of(*item.columns)
            if stable:
                self._stable.add(measure)
                known = self.memory.load(self.parts.ids, [measure]) if self.parts.ids else {}
                self._states |= {place: tuple(state) for place, state in known.items()}
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

    # Inside ----------------------------------------------------------------------------------------------------------

    def _places(self) -> list[str]:
        return [*self.parts.ids, *([REST] if self.parts.rest is not None else [])]

    def _gather(self, items: Sequence[Accumulator]) -> None:
        """Measure together what the same parts lack. What cannot be computed is asked again alone, by `value`."""
        groups: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for place in self._places():
            lacking = tuple(m for m in self._measures.values() if (place, m) not in self._states)
            groups[lacking].append(place)
        for lacking, places in groups.items():
            wanted = [item for item in items if self._measures[item.columns] in lacking]
            if wanted:
                try:
                    self._measure(places, wanted)
                except duckdb.Error:
                    continue

    def _measure(self, places: Sequence[str], items: Sequence[Accumulator]) -> None:
        columns = list(dict.fromkeys(column for item in items for column in item.columns))
        ids = [place for place in places if place != REST]
        found: dict[str, dict[str, Any]] = {}
        if ids:
            found |= self._by_part(ids, columns)
            self.read |= set(ids)
        if REST in places:
            query = f"SELECT {', '.join(columns)} FROM {self.parts.rest} AS t"
            found[REST] = dict(zip(columns, self.connection.execute(query).fetchall()[0], strict=True))
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

    def _by_part(self, ids: Sequence[str], columns: Sequence[str]) -> Mapping[str, dict[str, Any]]:
        listed = ", ".join(columns)
        if len(ids) == 1:  # without groups it is a little faster
            query = f"SELECT {listed} FROM {self.parts.relation(ids)} AS t"
            return {ids[0]: dict(zip(columns, self.connection.execute(query).fetchall()[0], strict=True))}
        relation, labels = self.parts.labelled(ids)
        rows = self.connection.execute(f"SELECT {LABEL}, {listed} FROM {relation} AS t GROUP BY 1").fetchall()
        return {labels[row[0]]: dict(zip(columns, row[1:], strict=True)) for row in rows}
