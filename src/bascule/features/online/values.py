"""How values lie in the online store, and how features come out of them again."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from bascule.features.aggregates import Aggregate
from bascule.features.definitions import FeatureView

decode_row = msgspec.msgpack.Decoder(list[Any]).decode
encode_row = msgspec.msgpack.Encoder(enc_hook=str).encode
EPOCH = datetime(1970, 1, 1)


def summed_columns(view: FeatureView) -> list[str]:
    """Return the columns that running sums are kept of, in their order."""
    return sorted({a.column for a in view.parsed.values() if a.column and a.subtractable})


def layout(view: FeatureView) -> struct.Struct:
    """Return how running sums lie: the count of events, then count and sum of each column, as float64."""
    return struct.Struct(f"<{1 + 2 * len(summed_columns(view))}d")


Difference = Callable[[Sequence[float], Sequence[float]], Any]


def difference(aggregate: Aggregate, view: FeatureView) -> Difference:
    """Return the function that takes running sums at the end and the begin of a window to the aggregate."""
    if aggregate.column is None:
        return lambda end, begin: int(end[0] - begin[0])
    place = 1 + 2 * summed_columns(view).index(aggregate.column)
    if aggregate.function == "count":
        return lambda end, begin: int(end[place] - begin[place])
    if aggregate.function == "mean":

        def mean(end: Sequence[float], begin: Sequence[float]) -> float | None:
            count = end[place] - begin[place]
            return (end[place + 1] - begin[place + 1]) / count if count else None

        return mean
    whole = view.types.get(aggregate.column) not in ("FLOAT", "DOUBLE")

    def total(end: Sequence[float], begin: Sequence[float]) -> float | int | None:
        if not end[place] - begin[place]:
            return None
        value = end[place + 1] - begin[place + 1]
        return int(value) if whole else value

    return total


def restored(kind: str) -> Callable[[Any], Any] | None:
    """Return what makes a stored value the Python value of its type again, or None when it is that already."""
    if kind == "DATE":
        return lambda value: date.fromisoformat(value) if value is not None else None
    if kind.startswith("TIMESTAMP"):
        zone = UTC if kind.endswith("ZONE") else None
        return lambda value: datetime.fromisoformat(value).replace(tzinfo=zone) if value is not None else None
    return None
