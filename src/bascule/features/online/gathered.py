"""What aggregates make of the values of a window's events: the arithmetic of `features/windows.py`, in Python."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import repeat
from typing import Any

from bascule.features.aggregates import ENDS, HASHES, OF_ITS_TYPE, Aggregate
from bascule.features.columns import FLOATS
from bascule.features.definitions import FeatureView
from bascule.features.online.inputs import stored
from bascule.features.sums import averaged, summed, varied

# From a window's values, none of them null, in any order, to the outputs. first and last get (event time, value).
Reduction = Callable[[list[Any]], list[Any]]


def reduction(aggregate: Aggregate, view: FeatureView) -> Reduction:
    """A function from what was kept of a window's events to what an aggregate gives, in the order of its outputs."""
    if aggregate.function in ENDS:
        found = _end(aggregate)
    elif aggregate.function == "top_k":
        found = _most_frequent(aggregate.several)
    else:
        found = _single(aggregate, view)
    change = stored(view.types[str(aggregate.column)]) if aggregate.function in OF_ITS_TYPE else None
    return found if change is None else lambda values: [change(value) for value in found(values)]


def _end(aggregate: Aggregate) -> Reduction:
    several, last = max(aggregate.several, 1), aggregate.function == "last"
    if several == 1:
        choose = max if last else min
        return lambda placed: [choose(placed)[1] if placed else None]
    return lambda placed: _filled([value for _, value in sorted(placed, reverse=last)], several)


def _most_frequent(several: int) -> Reduction:
    def found(values: list[Any]) -> list[Any]:
        counted = sorted(Counter(values).items(), key=lambda one: (-one[1], one[0]))
        return _filled([value for value, _ in counted], several)

    return found


def _filled(values: list[Any], several: int) -> list[Any]:
    return [*values[:several], *repeat(None, several - len(values))]


def _single(aggregate: Aggregate, view: FeatureView) -> Reduction:
    function, share = _FUNCTIONS[aggregate.function], aggregate.share
    if aggregate.function in ("count", "distinct", "approx_distinct"):
        return lambda values: [function(values)]
    if aggregate.function == "percentile":
        return lambda values: [_between(values, share) if values else None]
    if aggregate.function == "approx_percentile":
        return lambda values: [_nearest(values, share) if values else None]
    fewest = 2 if aggregate.function in ("variance", "stddev") else 1
    if aggregate.function == "sum" and view.types[str(aggregate.column)] not in FLOATS:
        function = sum
    return lambda values: [function(values) if len(values) >= fewest else None]


def _between(values: list[Any], share: float) -> float:
    ordered = sorted(map(float, values))
    place = (len(ordered) - 1) * share
    low, high = ordered[math.floor(place)], ordered[math.ceil(place)]
    return low + (high - low) * (place - math.floor(place))


def _nearest(values: list[Any], share: float) -> float:
    return float(sorted(values)[max(math.ceil(len(values) * share), 1) - 1])


def _estimate(hashes: list[int]) -> int:
    found = set(hashes)
    if len(found) < HASHES:
        return len(found)
    return math.floor((HASHES - 1) / (float(sorted(found)[HASHES - 1]) / 2.0**64) + 0.5)


_FUNCTIONS: dict[str, Callable[[list[Any]], Any]] = {
    "count": len,
    "sum": summed,
    "mean": averaged,
    "min": min,
    "max": max,
    "variance": varied,
    "stddev": lambda values: math.sqrt(varied(values)),
    "distinct": lambda values: len(set(values)),
    "approx_distinct": _estimate,
    "percentile": len,
    "approx_percentile": len,
}
