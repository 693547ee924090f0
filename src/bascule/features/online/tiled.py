"""Tiled windows read from a store: the tiles between two ends, merged, and what aggregates make of them."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any

import msgspec
import numpy as np

from bascule.features.aggregates import ENDS, HASHES, OF_ITS_TYPE, SUMS, Aggregate
from bascule.features.definitions import FeatureView
from bascule.features.online.inputs import stored
from bascule.features.online.store import Snapshot
from bascule.features.online.tiles import (
    PARTS,
    ROUNDED,
    Bag,
    Held,
    Shape,
    bag_of,
    beyond_bigint,
    lengths_of,
    merge_bags,
    rounded_off,
    shape_of,
)
from bascule.features.sums import GROWN, bounded

Look = Callable[[Snapshot, bytes, int], Sequence[Any]]
State = tuple[list[Any], list[Bag]]
Finish = Callable[[State], list[Any]]


def tiling(view: FeatureView, track: Callable[[str], bytes]) -> tuple[list[str], Look]:
    """Read a tiled view's aggregates: each window is merged of the longest tiles that fit into it.

    Windows share their end, so each is the one before it and some more tiles.

    Args:
        track: from the name of a part to its track.

    Returns:
        The outputs' names, in the order in which the function gives their values, and the function.
    """
    shape, lengths = shape_of(view), lengths_of(view)
    tracks = [track(PARTS[level]) for level in range(len(lengths))]
    read, add = _reader(shape), _adder(shape)
    widths = sorted(set(view.lengths.values()))
    finishes = [_finish(aggregate, view, shape) for aggregate in view.parsed.values()]
    order = [widths.index(length) for length in view.lengths.values()]
    names = [n for window in view.windows for name, a in view.parsed.items() for n in a.outputs(name, window)]

    def look(snapshot: Snapshot, key: bytes, at: int) -> Sequence[Any]:
        end = at // lengths[0] * lengths[0]
        state, found = _empty(shape), []
        for before, width in zip((0, *widths), widths, strict=False):
            for level, first, last in spans(lengths, end - width, end - before):
                for _, value in snapshot.between(tracks[level] + key, first, last - 1):
                    state = add(state, read(value))
            found.append([value for finish in finishes for value in finish(state)])
        return [value for place in order for value in found[place]]

    return names, look


def spans(lengths: Sequence[int], first: int, last: int) -> Iterator[tuple[int, int, int]]:
    """Cover [first, last) by tiles: (level, first, last) for runs of tiles of one length, the longest that fit."""
    level = len(lengths) - 1
    while level > 0:
        length = lengths[level]
        begin, end = -(-first // length) * length, last // length * length
        if begin < end:
            yield level, begin, end
            yield from spans(lengths[:level], first, begin)
            yield from spans(lengths[:level], end, last)
            return
        level -= 1
    if first < last:
        yield 0, first, last


def _reader(shape: Shape) -> Callable[[bytes], State]:
    numbers = struct.Struct("<" + "".join("q" if one.exact else "d" for one in shape.numbers))
    decode, size = msgspec.msgpack.Decoder(list[Any]).decode, numbers.size
    if not shape.bags:
        return lambda value: (list(numbers.unpack(value)), [])
    return lambda value: (list(numbers.unpack(value[:size])), decode(value[size:]))


def _empty(shape: Shape) -> State:
    return [0 if one.exact else 0.0 for one in shape.numbers], [[] for _ in shape.bags]


def _adder(shape: Shape) -> Callable[[State, State], State]:
    steps = []
    for place, one in enumerate(shape.numbers):
        mean = shape.averaging(one.column) if one.kind == "m" else None
        steps.append((place, one.kind, shape.place("n", one.column), mean))

    def add(left: State, right: State) -> State:
        (a, bags), (b, more) = left, right
        out = []
        for place, kind, count, mean in steps:
            x, y = a[place], b[place]
            if kind in ("n", "s"):
                out.append(x + y)
            elif kind == "c":
                out.append(x + y + rounded_off(a[place - 1], b[place - 1]))
            elif not a[count] or not b[count]:
                out.append(x if a[count] else y)
            elif mean is not None:
                first, second = bounded(mean(a, a[count])), bounded(mean(b, b[count]))
                apart = first - second if abs(first - second) > abs(first) * ROUNDED else 0.0
                out.append(x + y + apart * (a[count] * (b[count] / (a[count] + b[count]))) * apart)
            else:
                out.append(min(x, y) if kind == "lo" else max(x, y))
        return out, [merge_bags(one, x, y) for one, x, y in zip(shape.bags, bags, more, strict=True)]

    return add


def _finish(aggregate: Aggregate, view: FeatureView, shape: Shape) -> Finish:
    """What an aggregate gives of a window's state, in the order of its outputs."""
    held = bag_of(aggregate)
    found = _of_numbers(aggregate, shape) if held is None else _of_bag(aggregate, held, shape)
    column_type = view.types.get(str(aggregate.column), "")
    if aggregate.function not in OF_ITS_TYPE:
        return found
    change = stored(column_type) or (_boolean if column_type == "BOOLEAN" else None)
    return found if change is None else lambda state: [None if one is None else change(one) for one in found(state)]


def _boolean(value: Any) -> bool:
    return bool(value)


def _of_numbers(aggregate: Aggregate, shape: Shape) -> Finish:
    function, column = aggregate.function, aggregate.column
    n = shape.place("n", column)
    if function == "count":
        return lambda state: [state[0][n]]
    if function in ("min", "max"):
        end = shape.place("lo" if function == "min" else "hi", column)
        return lambda state: [state[0][end] if state[0][n] else None]
    if function in SUMS:
        return _of_sum(function, column, n, shape)
    m, root = shape.place("m", column), function == "stddev"

    def spread(state: State) -> list[Any]:
        if state[0][n] < 2:
            return [None]
        variance = max(state[0][m], 0.0) / (state[0][n] - 1)
        return [math.sqrt(variance) if root else variance]

    return spread


def _of_sum(function: str, column: str | None, n: int, shape: Shape) -> Finish:
    s, mean = shape.place("s", column), shape.averaging(column)
    if function == "mean":
        return lambda state: [bounded(mean(state[0], state[0][n])) if state[0][n] else None]
    if not shape.numbers[s].exact:
        return lambda state: [(state[0][s] + state[0][s + 1]) * GROWN if state[0][n] else None]

    def exactly(state: State) -> list[Any]:
        if not -(2**63) <= state[0][s] < 2**63:
            raise beyond_bigint(column)
        return [state[0][s] if state[0][n] else None]

    return exactly


def _of_bag(aggregate: Aggregate, held: Held, shape: Shape) -> Finish:
    place, several, share = shape.bags.index(held), aggregate.several, aggregate.share
    if aggregate.function in ENDS:
        most = max(several, 1)
        return lambda state: _filled([value for _, value in state[1][place][:most]], most)
    if aggregate.function == "top_k":

        def top(state: State) -> list[Any]:
            counted = sorted(state[1][place], key=lambda one: (-one[1], one[0]))
            return _filled([value for value, _ in counted], several)

        return top
    if aggregate.function == "distinct":
        return lambda state: [len(state[1][place])]
    if aggregate.function == "approx_distinct":
        return lambda state: [_estimate(state[1][place])]
    if aggregate.function == "percentile":
        return lambda state: [_between(state[1][place], share)]
    return lambda state: [_nearest(state[1][place], share)]


def _filled(values: list[Any], several: int) -> list[Any]:
    return [*values[:several], *repeat(None, several - len(values))]


def _estimate(hashes: Bag) -> int:
    if len(hashes) < HASHES:
        return len(hashes)
    return math.floor((HASHES - 1) / (float(hashes[HASHES - 1]) / 2.0**64) + 0.5)


def _ordered(counts: Bag) -> tuple[np.ndarray, np.ndarray]:
    """Values in order, and how many there are up to each."""
    ordered = sorted((float(value), count) for value, count in counts)
    return np.array([value for value, _ in ordered]), np.cumsum([count for _, count in ordered])


def _between(counts: Bag, share: float) -> float | None:
    if not counts:
        return None
    values, ranks = _ordered(counts)
    place = (int(ranks[-1]) - 1) * share
    low, high = (float(values[np.searchsorted(ranks, at + 1)]) for at in (math.floor(place), math.ceil(place)))
    return low + (high - low) * (place - math.floor(place))


def _nearest(counts: Bag, share: float) -> float | None:
    if not counts:
        return None
    values, ranks = _ordered(counts)
    return float(values[np.searchsorted(ranks, max(math.ceil(int(ranks[-1]) * share), 1))])
