"""Window aggregates read from a store: the arithmetic of `features/windows.py`, for one key at one time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from bascule.features.aggregates import ENDS, Aggregate
from bascule.features.definitions import FeatureView
from bascule.features.online.gathered import reduction
from bascule.features.online.parts import running_struct, scanned_inputs
from bascule.features.online.store import Snapshot
from bascule.features.windows import bucket_length, components

# What a look-up gives: a function of a snapshot, a key's bytes and a time to the outputs' values.
Look = Callable[[Snapshot, bytes, int], Sequence[Any]]
Pick = Callable[[Sequence[float], Sequence[float]], Any]


def subtracting(view: FeatureView, track: bytes) -> tuple[list[str], Look]:
    """Read the aggregates that are differences of running ones: one seek for t, and one for each window.

    Returns the outputs' names in the order in which the function gives their values.
    """
    shape, length = components(view), bucket_length(view)
    unpack, count = running_struct(shape).unpack, len(shape)
    zeros = [0] * count
    widths = list(view.lengths.values())
    wanted = [(name, a) for name, a in view.parsed.items() if a.subtractable]
    picks = [_difference(aggregate, view) for _, aggregate in wanted]
    names = [f"{name}_{window}" for window in view.windows for name, _ in wanted]
    nothing = [pick(zeros, zeros) for _ in widths for pick in picks]

    def look(snapshot: Snapshot, key: bytes, at: int) -> Sequence[Any]:
        prefix = track + key
        found = snapshot.newest(prefix, at - 1)
        if found is None:
            return nothing
        bucket = (at - 1) // length * length
        now = _reached(unpack(found), bucket, length, count, zeros)
        if now is zeros:
            return nothing
        answer: list[Any] = []
        for width in widths:
            found = snapshot.newest(prefix, at - 1 - width)
            then = zeros if found is None else _reached(unpack(found), bucket, length, count, zeros)
            answer.extend([pick(now, then) for pick in picks])
        return answer

    return names, look


def _reached(entry: tuple[Any, ...], bucket: int, length: int, count: int, zeros: Sequence[Any]) -> Sequence[Any]:
    """What the components had reached at an entry, counted from the start of the bucket before the current one."""
    if entry[0] == bucket:
        return entry[1 + count :]
    return entry[1 : 1 + count] if entry[0] == bucket - length else zeros


def _difference(aggregate: Aggregate, view: FeatureView) -> Pick:
    places = {(part.kind, part.column): place for place, part in enumerate(components(view))}
    n, column = places["n", aggregate.column], aggregate.column
    if aggregate.function == "count":
        return lambda now, then: now[n] - then[n]
    s = places["s", column]
    if aggregate.function == "sum":
        return lambda now, then: now[s] - then[s] if now[n] > then[n] else None
    if aggregate.function == "mean":
        return lambda now, then: float(now[s] - then[s]) / (now[n] - then[n]) if now[n] > then[n] else None
    m = places["m", column]
    root = aggregate.function == "stddev"

    def spread(now: Sequence[float], then: Sequence[float]) -> float | None:
        count = now[n] - then[n]
        if count < 2:
            return None
        between = 0.0
        if then[n]:
            distance = (now[s] - then[s]) / count - then[s] / then[n]
            between = distance * distance * count * then[n] / now[n]
        variance = max(now[m] - then[m] - between, 0.0) / (count - 1)
        return math.sqrt(variance) if root else variance

    return spread


def scanning(view: FeatureView, track: bytes) -> tuple[list[str], Look]:
    """Read aggregates by going through the longest window's events: those that cannot be subtracted, or any by `known`.

    Returns the outputs' names in the order in which the function gives their values.
    """
    slots = {(str(a.column), a.taken): place for place, a in enumerate(scanned_inputs(view), 1)}
    decode = msgspec.msgpack.Decoder(list[list[Any]]).decode
    longest = bucket_length(view)
    by_known = view.known_time is not None
    wanted = [(name, a) for name, a in view.parsed.items() if by_known or not a.subtractable]
    outputs = [
        (width, None if a.column is None else slots[a.column, a.taken], a.function in ENDS, reduction(a, view))
        for width in view.lengths.values()
        for _, a in wanted
    ]
    names = [output for window in view.windows for name, a in wanted for output in a.outputs(name, window)]

    def look(snapshot: Snapshot, key: bytes, at: int) -> Sequence[Any]:
        inside = [
            (event, item)
            for event, value in snapshot.between(track + key, at - longest, at - 1)
            for item in decode(value)
            if not by_known or item[0] <= at
        ]
        answer: list[Any] = []
        for width, place, timed, reduce in outputs:
            if place is None:
                answer += reduce([1 for event, _ in inside if event >= at - width])
            elif timed:
                placed = ((event, item[place]) for event, item in inside if event >= at - width)
                answer += reduce([one for one in placed if one[1] is not None])
            else:
                values = (item[place] for event, item in inside if event >= at - width)
                answer += reduce([value for value in values if value is not None])
        return answer

    return names, look
