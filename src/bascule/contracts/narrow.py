"""Measures that take a narrow query of their own: distinct values, also grown by an append alone.

How many distinct values there are does not merge, but grows: those of the old rows are known, and only the few new
ones are looked for among them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import duckdb
import numpy as np

from bascule.contracts.accumulators import Accumulator
from bascule.contracts.parts import Memory, Parts, measure_of
from bascule.contracts.scanning import REST, Scan
from bascule.errors import InputError

MOST_BITS = 1 << 29  # a map of that many integers is 64 MB
BITS_PER_ROW = 64
MOST_FEW = 4096  # a part with no more distinct values than this keeps them, as hashes
KEPT_SETS = 4
SAMPLED = 100_000
LEAST_HASHED = 100_000  # rows; below, one query is over sooner
MOST_HASHED = 200_000_000
HASHED_AT_ONCE = 1 << 24  # their hashes are 128 MB


@dataclass(frozen=True, slots=True)
class World:
    """What a narrow measure is taken of.

    Attributes:
        relation: all rows, as text usable after FROM.
        scan: the accumulators that it needs.
        stable: whether a state of it may be kept.
    """

    connection: duckdb.DuckDBPyConnection
    relation: str
    parts: Parts
    memory: Memory
    scan: Scan
    stable: bool

    def one(self, query: str) -> Any:
        """The one value that a query answers."""
        return self.connection.execute(query).fetchall()[0][0]

    @property
    def incremental(self) -> bool:
        """Whether states of parts can be used."""
        return self.stable and bool(self.parts.ids)

    def fresh(self, known: Collection[str]) -> str | None:
        """All rows but those of some parts; None when there are none."""
        ids = [part for part in self.parts.ids if part not in known]
        sources = [self.parts.relation(ids)] if ids else []
        sources += [self.parts.rest] if self.parts.rest is not None else []
        if not sources:
            return None
        return sources[0] if len(sources) == 1 else f"({' UNION ALL '.join(f'SELECT * FROM {s}' for s in sources)})"


class Narrow(Protocol):
    """A measure with a query of its own."""

    @property
    def needs(self) -> tuple[Accumulator, ...]:
        """What the scan measures for it."""
        ...

    def states(self) -> tuple[str, ...]:
        """The measures of the states that it keeps, as far as they are known beforehand."""
        ...

    def text(self, relation: str) -> str:
        """The query over all rows, for people."""
        ...

    def measure(self, world: World) -> Any:
        """The number."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """A query over the whole relation; its one value is the measure."""

    query: str
    needs: tuple[Accumulator, ...] = ()

    def states(self) -> tuple[str, ...]:
        """None."""
        return ()

    def text(self, relation: str) -> str:
        """The query."""
        return self.query

    def measure(self, world: World) -> Any:
        """Its answer, told as an error when it is not one value."""
        rows = world.connection.execute(self.query).fetchall()
        if len(rows) != 1 or len(rows[0]) != 1:
            raise InputError(f"the query answers {len(rows)} rows; one row with one value is read")
        return rows[0][0]


@dataclass(frozen=True, slots=True)
class Counted:
    """A query that counts rows of a relation; the counts of its parts add up."""

    query: Callable[[str], str]
    needs: tuple[Accumulator, ...] = ()

    def states(self) -> tuple[str, ...]:
        """The count of each part."""
        return (measure_of("counted", self.query("PART")),)

    def text(self, relation: str) -> str:
        """The query over all rows."""
        return self.query(relation)

    def measure(self, world: World) -> int:
        """The sum over what is known of parts and what is read now."""
        if not world.incremental:
            return int(world.one(self.query(world.relation)) or 0)
        (measure,) = self.states()
        known = world.memory.load(world.parts.ids, [measure])
        found = {part: int(value) for (part, _), value in known.items()}
        fresh = {
            p: int(world.one(self.query(world.parts.relation([p]))) or 0) for p in world.parts.ids if p not in found
        }
        world.memory.keep(world.parts.scope, {(part, measure): value for part, value in fresh.items()})
        rest = world.parts.rest
        return sum(found.values()) + sum(fresh.values()) + (int(world.one(self.query(rest)) or 0) if rest else 0)


@dataclass(frozen=True, slots=True)
class Distinct:
    """How many different values there are, of one column or of several together.

    Attributes:
        values: SQL of each column.
        present: the condition for a row to take part; it implies that no value is NULL.
        extent: the least and the greatest value, when it is one column of integers: dense ones are counted in a map of
            bits, which costs no hash table.
        rows: how many rows take part.
        few: that there are few is to be expected: then each part keeps them.
        hashed: values that are alike have one hash, so that rows with different hashes have different values.
    """

    values: tuple[str, ...]
    present: str
    rows: Accumulator
    extent: tuple[Accumulator, Accumulator] | None = None
    few: bool = False
    hashed: bool = False

    @property
    def needs(self) -> tuple[Accumulator, ...]:
        """The row count, and the extent."""
        return (self.rows, *(self.extent or ()))

    def states(self) -> tuple[str, ...]:
        """How many there are, of the table; the values of each part, when few are expected."""
        return (self._number, self._kept_values) if self.few else (self._number,)

    @property
    def _number(self) -> str:
        return measure_of("distinct", *self.values, self.present)

    @property
    def _kept_values(self) -> str:
        return measure_of("values", *self.values, self.present)

    def text(self, relation: str) -> str:
        """The query over all rows, when the values are not dense integers."""
        return f"SELECT count(*) FROM ({self.groups(relation)}) AS q"

    def groups(self, relation: str) -> str:
        """One row for each distinct value, with columns `k0`, `k1`, …"""
        keys = ", ".join(f"{value} AS k{i}" for i, value in enumerate(self.values))
        return f"SELECT {keys} FROM {relation} AS t WHERE {self.present} GROUP BY {', '.join(self.values)}"

    def known(self, new: str, old: str) -> str:
        """The query for how many of the distinct values of `new` are in `old` too."""
        match = " AND ".join(f"{value} = e.k{i}" for i, value in enumerate(self.values))
        rows = f"SELECT * FROM {old} AS t WHERE {self.present}"
        found = f"SELECT 1 FROM ({rows}) AS t SEMI JOIN ({self.groups(new)}) AS e ON {match}"
        return f"SELECT count(*) FROM ({found} GROUP BY {', '.join(self.values)}) AS q"

    def measure(self, world: World) -> int:
        """Count: from what is known of parts, else from what was known before parts came, else all."""
        if not world.incremental:
            return self._all(world)
        if self.few:
            told = self._of_parts(world)
            if told is not None:
                return told
        measure = self._number
        place = (world.parts.scope, measure)
        sets: list[dict[str, Any]] = world.memory.load([place[0]], [measure]).get(place, [])
        ids = set(world.parts.ids)
        base = max((s for s in sets if ids.issuperset(s["parts"])), key=lambda s: len(s["parts"]), default=None)
        found = self._grown(world, base) if base else self._all(world)
        if world.parts.rest is None and (base is None or len(base["parts"]) < len(ids)):
            others = [s for s in sets if s is not base][: KEPT_SETS - 1]
            world.memory.keep(place[0], {place: [{"parts": sorted(ids), "value": found}, *others]})
        return found

    def _grown(self, world: World, base: dict[str, Any]) -> int:
        new = world.fresh(base["parts"])
        if new is None:
            return int(base["value"])
        near = self._near(world, base["parts"])
        old = world.parts.relation(near) if near else None
        both = int(world.one(self.known(new, old))) if old else 0
        rows = int(world.scan.over(self.rows, self._since(world, base["parts"])))
        fresh = rows if self._all_differ(world, new, rows) else int(world.one(self.text(new)))
        return int(base["value"]) + fresh - both

    def _since(self, world: World, old: Collection[str]) -> list[str]:
        """The places of the rows that are in none of some parts."""
        new = [part for part in world.parts.ids if part not in set(old)]
        return [*new, REST] if world.parts.rest is not None else new

    def _near(self, world: World, old: Sequence[str]) -> list[str]:
        """The old parts that may hold a value of the new rows, by the least and the greatest one of each."""
        if self.extent is None:
            return list(old)
        least, most = (world.scan.over(end, self._since(world, old)) for end in self.extent)
        found = []
        for part in old if least is not None else ():
            low, high = (world.scan.over(end, [part]) for end in self.extent)
            if low is not None and low <= most and high >= least:
                found.append(part)
        return found

    def _all(self, world: World) -> int:
        if self.extent is not None:
            bits = self._bits(world, *self.extent)
            if bits is not None:
                return bits
        rows = int(world.scan.value(self.rows))
        if self._all_differ(world, world.relation, rows):
            return rows
        return int(world.one(self.text(world.relation)))

    def _all_differ(self, world: World, relation: str, rows: int) -> bool:
        """Whether the hashes of all rows of a relation differ: then their values do. Two that are alike say nothing.

        Sorted numbers cost a fifth of a hash table over the values; of many rows they are sorted share by share.
        """
        if not self.hashed or self.few or not LEAST_HASHED <= rows <= MOST_HASHED:
            return False
        hashes = f"SELECT hash({', '.join(self.values)}) AS h FROM {relation} AS t WHERE {self.present}"
        shares = -(-rows // HASHED_AT_ONCE)
        for share in range(shares):
            some = f"SELECT h FROM ({hashes}) AS q WHERE h % {shares} = {share}" if shares > 1 else hashes
            found = np.asarray(world.connection.execute(some).fetchnumpy()["h"])
            found.sort()
            if bool(np.any(found[1:] == found[:-1])):
                return False
        return True

    def _bits(self, world: World, least: Accumulator, most: Accumulator) -> int | None:
        rows, low, high = world.scan.value(self.rows), world.scan.value(least), world.scan.value(most)
        if not rows:
            return 0
        if high - low >= min(MOST_BITS, max(1 << 16, BITS_PER_ROW * rows)) or not -(2**63) <= low <= high < 2**63:
            return None
        bits = f"bitstring_agg(CAST({self.values[0]} AS BIGINT), CAST({low} AS BIGINT), CAST({high} AS BIGINT))"
        return int(world.one(f"SELECT bit_count({bits}) FROM {world.relation} AS t WHERE {self.present}"))

    def _of_parts(self, world: World) -> int | None:
        """Count the values that the parts keep; None when a part has too many to keep."""
        measure = self._kept_values
        known = {part: found for (part, _), found in world.memory.load(world.parts.ids, [measure]).items()}
        lacking = [part for part in world.parts.ids if part not in known]
        if lacking and None not in known.values():
            fresh = self._kept(world, lacking)
            world.memory.keep(world.parts.scope, {(part, measure): found for part, found in fresh.items()})
            known |= fresh
        if not all(known.get(part) is not None for part in world.parts.ids):
            return None
        together = {item for found in known.values() for item in found}
        if world.parts.rest is not None:
            rest = self._hashes(world, world.parts.rest, 2 * SAMPLED)
            if rest is None:
                return None
            together |= set(rest)
        return len(together)

    def _kept(self, world: World, ids: Sequence[str]) -> dict[str, list[int] | None]:
        found: dict[str, list[int] | None] = {}
        for part in ids:
            found[part] = self._hashes(world, world.parts.relation([part]), world.parts.rows([part]))
            if found[part] is None:  # the others have too many as well, most likely
                break
        return found

    def _hashes(self, world: World, relation: str, size: int) -> list[int] | None:
        some = [f"(SELECT * FROM {relation} AS t LIMIT {SAMPLED})"] if size >= 2 * SAMPLED else []
        for rows in (*some, relation):
            query = (
                f"SELECT hash({', '.join(f'k{i}' for i in range(len(self.values)))}) FROM ({self.groups(rows)}) AS q"
            )
            found = world.connection.execute(f"{query} LIMIT {MOST_FEW + 1}").fetchall()
            if len(found) > MOST_FEW:
                return None
        return [int(row[0]) for row in found]


@dataclass(frozen=True, slots=True)
class Surplus:
    """How many rows would have to go for a key to be unique, beside rows that are there already.

    Attributes:
        existing: the rows that are there already, as text usable after FROM; None when there are none.
    """

    keys: Distinct
    existing: str | None

    @property
    def needs(self) -> tuple[Accumulator, ...]:
        """What counting the keys needs."""
        return self.keys.needs

    def states(self) -> tuple[str, ...]:
        """Those of the keys."""
        return self.keys.states()

    def text(self, relation: str) -> str:
        """The query whose answer is taken from the number of rows."""
        text = self.keys.text(relation)
        return text if self.existing is None else f"{text};\n{self.keys.known(relation, self.existing)}"

    def measure(self, world: World) -> int:
        """Rows that take part, less the keys that are new."""
        fresh = self.keys.measure(world)
        if self.existing is not None:
            fresh -= int(world.one(self.keys.known(world.relation, self.existing)))
        return int(world.scan.value(self.keys.rows)) - fresh
