"""Window aggregates read from a store: the arithmetic of `features/windows.py`, for one key at one time.

A difference of doubles is taken only where enough of what they had reached is in the window, so that at most 10 of its
52 bits are lost; else the window's events are gone through. So reading costs two seeks as a rule, and a huge value that
has left the window costs time and no digits.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from operator import neg
from typing import Any

import msgspec

from bascule.features.aggregates import ENDS, SPREADS, SUMS, Aggregate
from bascule.features.components import Component
from bascule.features.definitions import FeatureView
from bascule.features.online.gathered import reduction
from bascule.features.online.parts import kept_running, running_struct, scanned, scanned_inputs
from bascule.features.online.store import Snapshot
from bascule.features.windows import bucket_length

# What a look-up gives: a function of a snapshot, a key's bytes and a time to the outputs' values.
Look = Callable[[Snapshot, bytes, int], Sequence[Any]]
Pick = Callable[[Sequence[float], Sequence[float]], Any]
# What a difference gives whose digits are gone, and the share of what was reached that must be in a window.
LOST = object()
LEFT = 2.0**-10
# Of what the absolute values in a window come to, the share that must be left of the values.
CANCELLED = 2.0**-12
# Beyond it running sums may have gone beyond the largest double.
LARGE = 2.0**1000


def reading(view: FeatureView, track: Callable[[str], bytes]) -> tuple[list[str], Look]:
    """Read a window view's aggregates, by differences where that is exact enough and by going through events.

    Args:
        track: from the name of a part to its track.

    Returns:
        The outputs' names, in the order in which the function gives their values, and the function.
    """
    shape = kept_running(view) if view.known_time is None else ()
    kept = {(part.kind, part.column) for part in shape}
    differences = [name for name, a in view.parsed.items() if {(kind, a.column) for kind in _needed(a, view)} <= kept]
    close = [name for name in differences if scanned(view.parsed[name], view)]
    others = [name for name in view.parsed if name not in differences]
    if not differences:
        return scanning(view, track("events"), others)
    names, look = subtracting(view, track("running"), shape, differences)
    if close:
        return names, _made_sure(names, look, *scanning(view, track("events"), close))
    if not others:
        return names, look
    more, scan = scanning(view, track("events"), others)
    return names + more, lambda snapshot, key, at: [*look(snapshot, key, at), *scan(snapshot, key, at)]


def _made_sure(names: Sequence[str], look: Look, close: Sequence[str], scan: Look) -> Look:
    """What `look` gives; where digits are lost, with what `scan` gives."""
    places = [names.index(name) for name in close]

    def sure(snapshot: Snapshot, key: bytes, at: int) -> Sequence[Any]:
        answer = look(snapshot, key, at)
        if any(value is LOST for value in answer):
            answer = list(answer)
            for place, value in zip(places, scan(snapshot, key, at), strict=True):
                answer[place] = value
        return answer

    return sure


def subtracting(
    view: FeatureView, track: bytes, shape: Sequence[Component], wanted: Sequence[str]
) -> tuple[list[str], Look]:
    """Read aggregates that are differences of running ones: one seek for t, and one for each window.

    Returns the outputs' names in the order in which the function gives their values; `LOST` where digits are.
    """
    length = bucket_length(view)
    unpack, count = running_struct(shape).unpack, len(shape)
    zeros = [0] * count
    widths = list(view.lengths.values())
    picks = [_difference(view.parsed[name], view, shape) for name in wanted]
    names = [f"{name}_{window}" for window in view.windows for name in wanted]
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


def _needed(aggregate: Aggregate, view: FeatureView) -> str:
    """The kinds of components that an aggregate is a difference of."""
    if aggregate.function == "count":
        return "n"
    if aggregate.function in SPREADS:
        return "nsam"
    return "ns" if aggregate.subtractable(view.types) else "nsa" if aggregate.function in SUMS else "?"


def _difference(aggregate: Aggregate, view: FeatureView, shape: Sequence[Component]) -> Pick:
    places = {(part.kind, part.column): place for place, part in enumerate(shape)}
    n, column = places["n", aggregate.column], aggregate.column
    if aggregate.function == "count":
        return lambda now, then: now[n] - then[n]
    s, mean = places["s", column], aggregate.function == "mean"
    if aggregate.subtractable(view.types):
        if mean:
            return lambda now, then: float(now[s] - then[s]) / (now[n] - then[n]) if now[n] > then[n] else None
        return lambda now, then: now[s] - then[s] if now[n] > then[n] else None
    a = places["a", column]
    if aggregate.function in SPREADS:
        return _spread(n, s, a, places["m", column], aggregate.function == "stddev")

    def total(now: Sequence[float], then: Sequence[float]) -> Any:
        count = now[n] - then[n]
        if not count:
            return None
        amounts, left = now[a] - then[a], now[s] - then[s]
        if not amounts >= now[a] * LEFT or now[a] > LARGE or (amounts and abs(left) < amounts * CANCELLED):
            return LOST
        return left / count if mean else left

    return total


def _spread(n: int, s: int, a: int, m: int, root: bool) -> Pick:
    """A variance or its root, from the places of the components."""

    def spread(now: Sequence[float], then: Sequence[float]) -> Any:
        count = now[n] - then[n]
        if count < 2:
            return None
        between = 0.0
        if then[n]:
            distance = (now[s] - then[s]) / count - then[s] / then[n]
            between = distance * distance * count * then[n] / now[n]
        apart = now[m] - then[m] - between
        if not (apart >= now[m] * LEFT and now[a] - then[a] >= now[a] * LEFT and 0 <= now[m] <= LARGE >= now[a]):
            return LOST
        variance = apart / (count - 1)
        return math.sqrt(variance) if root else variance

    return spread


def scanning(view: FeatureView, track: bytes, wanted: Sequence[str]) -> tuple[list[str], Look]:
    """Read aggregates by going through the longest window's events.

    Returns the outputs' names in the order in which the function gives their values.
    """
    slots = {(str(a.column), a.taken): place for place, a in enumerate(scanned_inputs(view))}
    decode = msgspec.msgpack.Decoder(list[list[Any]]).decode
    longest = bucket_length(view)
    by_known = view.known_time is not None
    aggregates = [view.parsed[name] for name in wanted]
    outputs = [
        (None if a.column is None else slots[a.column, a.taken], a.function in ENDS, reduction(a, view))
        for a in aggregates
    ]
    names = [n for window in view.windows for name in wanted for n in view.parsed[name].outputs(name, window)]
    widths = list(view.lengths.values())

    def look(snapshot: Snapshot, key: bytes, at: int) -> Sequence[Any]:
        events, items = [], []
        for event, value in snapshot.between(track + key, at - longest, at - 1):
            for item in decode(value):
                if not by_known or item[0] <= at:
                    events.append(event)
                    items.append(item)
        columns = [[item[place] for item in items] for place in range(1, len(slots) + 1)]
        answer: list[Any] = []
        for width in widths:
            count = bisect_right(events, width - at, key=neg)  # the newest come first
            inside = [[value for value in column[:count] if value is not None] for column in columns]
            for place, timed, reduce in outputs:
                if place is None:
                    answer += reduce(events[:count])
                elif timed:
                    placed = zip(events[:count], columns[place], strict=False)
                    answer += reduce([one for one in placed if one[1] is not None])
                else:
                    answer += reduce(inside[place])
        return answer

    return names, look
