"""Grids: of many events only those shortly before an example are kept as they are read.

Time is cut into at most 62 cells, and each key has a number with a bit for each cell: set for the cells in which one of
its examples is, and for some before. They reach so far back that few examples find no event there; these are told, and
look among all events of their keys. Where cells begin and how many are marked changes no answer, only what it costs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt

from bascule.features.columns import body, microseconds, quoted
from bascule.features.definitions import FeatureView
from bascule.features.moments import FARTHEST, Asked, Flags, Numbers

MOST_CELLS = 62
STEPS = 20  # bits of a time within the grid, before it is divided: what a cell's length is exact to
MANY_ROWS = 200_000  # of a view; fewer are read faster than they are chosen from
MOST_READ = 0.5  # of a key's cells, or all its events may as well be read
LOOSE = 0.3  # examples in all that may find nothing in the cells they look at, were events as far apart as by chance
STEPS_ON = 2  # from one example to the next of a cell, before the rest is searched for
NARROWED = (8, 16, 32)  # batches after which no more cells are marked than events that were found leave
SLICE = 32_768  # events that are sifted at a time, so that what is computed of them stays in the processor's cache
BACK = 3  # cells before its own that an example looks at


@dataclass(frozen=True)
class Grid:
    """Cells of the time between the first and the last event that can matter.

    Attributes:
        start, end: the first and the last time (µs).
        count: how many cells there are.
        back: how many cells before its own an example looks at.
    """

    start: int
    end: int
    count: int
    back: int

    def cells(self, times: Numbers) -> Numbers:
        """The cells of times (µs): the first of all before, the last of all after."""
        return self.cells_within(np.clip(times, self.start, self.end))

    def cells_within(self, times: Numbers) -> Numbers:
        """The cells of times (µs) in the grid; of others any number."""
        shift = max(0, (self.end - self.start).bit_length() - STEPS)
        cells = times - self.start
        cells >>= shift
        cells *= (self.count << STEPS) // (((self.end - self.start) >> shift) + 1)
        cells >>= STEPS
        return cells

    def settled(self, view: FeatureView, asked: Asked, best: Numbers) -> Flags:
        """Whether the marked cells say what each example's event is.

        Args:
            best: the moment of the last event that was found for each example, however old; -1 for none.
        """
        first = self.cells(asked.at) - self.back
        known = (first <= 0) | ((best >= 0) & (self.cells(asked.times(best)) >= first))
        if view.ttl_us is not None and view.ttl_us < FARTHEST:  # with a longer one all are looked for
            known |= self.cells(np.maximum(asked.at, view.ttl_us - FARTHEST) - view.ttl_us) >= first
        settled: Flags = known
        return settled


def grid_of(connection: duckdb.DuckDBPyConnection, view: FeatureView, asked: Asked, rows: int) -> Grid | None:
    """Return the grid by which a view of so many rows is read; None where that saves little."""
    if view.event_time is None or rows < MANY_ROWS or not len(asked.moments):
        return None
    name, kind = quoted(view.event_time), view.types[view.event_time]
    first, last = connection.execute(
        f"SELECT {microseconds(f'min({name})', kind)}, {microseconds(f'max({name})', kind)} FROM (\n{body(view.sql)}\n)"
    ).fetchall()[0]
    if first is None or last is None:
        return None
    apart = max(1, last - first) * asked.keys.num_rows / rows  # of a key's events, if each key has as many
    start = first if view.ttl_us is None else max(first, asked.first - view.ttl_us)
    end = min(last, asked.last)
    if start >= end or start <= asked.base:
        return None
    reach = apart * math.log(max(len(asked.moments) / LOOSE, math.e))
    count = max(1, min(MOST_CELLS, int((end - start) * BACK / reach)))
    back = max(1, math.ceil(reach * count / (end - start)))
    read = len(asked.moments) / asked.keys.num_rows * (back + 1) / count
    return Grid(start, end, count, back) if read <= MOST_READ else None


class Sieve:
    """Keeps, of events that are read a batch at a time, those that may be an example's.

    Where events are known when they happen, that is each which is no earlier than the others so far before the same
    example; else each in a marked cell.
    """

    def __init__(self, grid: Grid, asked: Asked, known: bool) -> None:
        """
        Args:
            known: whether events become known later.
        """
        self._grid, self._asked, self._known = grid, asked, known
        self._codes = asked.moments >> asked.bits
        self._begins = np.flatnonzero(np.diff(self._codes, prepend=-1))
        self._cells = grid.cells(asked.at)
        self._masks = self._marked(self._cells - grid.back)
        self._batches = 0
        # Of each cell the first example in it or after: as many as are in the cells before, where the last one of each
        # says it of the next cell.
        self._nexts = np.zeros(len(self._masks) * grid.count + 1, np.int32)
        self._nexts[self._codes * grid.count + self._cells + 1] = np.arange(1, len(self._codes) + 1, dtype=np.int32)
        np.maximum.accumulate(self._nexts, out=self._nexts)
        self._moments = np.append(asked.moments, 2**63 - 1)  # the last stands for no example
        self._best = np.full(len(self._moments), -1)
        self._count = 0  # of the events that were kept
        self._rows = np.zeros(len(self._moments), np.int64)  # of the best events, among those that were kept
        self._tied = np.zeros(len(self._moments), np.bool_)

    def _marked(self, firsts: Numbers) -> Numbers:
        """For each code up to the greatest of a key the bits of the cells of its examples.

        Args:
            firsts: the first cell that each example looks at; the last is its own.
        """
        # The first cell's bit is the sign, later ones' are below it: after a shift by a cell its own is the sign.
        marks = (np.int64(2) << (63 - np.maximum(firsts, 0))) - (np.int64(1) << (63 - self._cells))
        masks = np.zeros(int(self._codes[-1]) + 1, np.int64)
        masks[self._codes[self._begins]] = np.bitwise_or.reduceat(marks, self._begins)
        return masks

    def _narrow(self) -> None:
        """Mark no more cells before that of the best event so far of an example."""
        best = self.best()
        firsts = self._cells - self._grid.back
        known = np.flatnonzero(best >= 0)
        nearest = self._grid.cells(self._asked.times(best[known]))
        firsts[known] = np.maximum(firsts[known], nearest)
        self._masks = self._marked(firsts)

    def sift(self, codes: Numbers, events: Numbers) -> tuple[Numbers, Numbers]:
        """Return the places of the events that are kept, and their moments.

        Args:
            codes: of their keys; any number where no example has the key.
            events: their times (µs), whatever they are.
        """
        places = self._near(codes, events)
        codes, events = codes.take(places), events.take(places)
        moments = (codes << self._asked.bits) | (events - self._asked.base)
        if self._known:
            return places, moments
        nexts = self._nexts.take(codes * self._grid.count + self._grid.cells_within(events))
        # What is after this example is later than its best, too.
        better = np.flatnonzero(moments >= self._best.take(nexts))
        nexts, moments = nexts.take(better), moments.take(better)
        kept = self._latest(codes.take(better), moments, nexts)
        self._count += len(kept)
        self._batches += 1
        if self._batches in NARROWED:
            self._narrow()
        return places.take(better.take(kept)), moments.take(kept)

    def _near(self, codes: Numbers, events: Numbers) -> Numbers:
        """The places of events in marked cells."""
        found = [np.zeros(0, np.int64)]
        for begin in range(0, len(codes), SLICE):
            slices = codes[begin : begin + SLICE], events[begin : begin + SLICE]
            marked = self._masks.take(slices[0], mode="clip")
            # None is left of a number that is shifted by more bits than it has, or by less than none.
            marked <<= self._grid.cells_within(slices[1])
            places = np.flatnonzero(marked < 0)
            places += begin
            found.append(places)
        places = np.concatenate(found)
        codes, events = codes.take(places), events.take(places)
        inside = (codes >= 0) & (codes < len(self._masks)) & (events >= self._grid.start) & (events <= self._grid.end)
        return places if inside.all() else places[inside]

    def _latest(self, codes: Numbers, moments: Numbers, nexts: npt.NDArray[np.int32]) -> Numbers:
        """The places of moments that none so far is later than, of those before the same example.

        Args:
            nexts: for each an example that is not after the first that may have it.
        """
        ends = self._moments.take(nexts)
        late = np.flatnonzero(moments > ends)
        for _ in range(STEPS_ON):  # there may be another in the same cell
            nexts[late] += 1
            ends[late] = self._moments[nexts[late]]
            late = late[moments[late] > ends[late]]
        nexts[late] = np.searchsorted(self._asked.moments, moments[late])
        ends[late] = self._moments[nexts[late]]
        ends >>= self._asked.bits
        kept = np.flatnonzero((ends == codes) & (moments >= self._best.take(nexts)))
        nexts, moments = nexts[kept], moments[kept]
        before = self._best.take(nexts)
        np.maximum.at(self._best, nexts, moments)
        places = np.flatnonzero(moments == self._best.take(nexts))
        self._note(nexts[places], moments[places] == before[places])
        latest: Numbers = kept[places]
        return latest

    def _note(self, nexts: npt.NDArray[np.int32], again: Flags) -> None:
        """Keep the rows of the best events of examples, and whether several are as good.

        Args:
            again: whether each is as good as one of an earlier batch.
        """
        rows = np.arange(self._count, self._count + len(nexts))
        self._tied[nexts] = again
        self._rows[nexts] = rows
        self._tied[nexts[self._rows[nexts] != rows]] = True

    def best(self) -> Numbers:
        """The moment of the last event that was kept for each example, however old; -1 for none.

        Only where events are known when they happen.
        """
        best = np.maximum.accumulate(self._best[:-1])
        return np.where(best >> self._asked.bits == self._codes, best, -1)

    def rows(self) -> Numbers | None:
        """The place of that event among those that were kept, any for none; None where several are as good."""
        found = np.flatnonzero(self._best[:-1] >= 0)
        if not len(found) or self._tied[found].any():
            return None
        last = np.zeros(len(self._codes), np.int64)
        last[found] = found
        return self._rows.take(np.maximum.accumulate(last))
