"""Tiles: what a view's aggregates need of the events of one key in one span of time, and how two of them become one.

A tile is a mergeable partial state, so that events may come in any order and any number of batches: numbers (rows,
values, sums, squared deviations from the mean by Chan's formula, extremes) at fixed places, and behind them what has no
fixed size (the first or last n, how often each value came, the smallest hashes). It is computed of a batch by the SQL
that batch aggregates are computed by, and merged in columns with numpy.

A view has tiles of several lengths: its hop, and multiples of that for its longer windows, so that reading a day of
minutes takes some dozens of tiles and not all 1,440.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from bascule.errors import InputError
from bascule.features.aggregates import ENDS, HASHES, NUMBERS, SPREADS, SUMS, Aggregate, value_columns
from bascule.features.columns import FLOATS, family, microseconds, quoted
from bascule.features.definitions import Entity, FeatureView
from bascule.features.sums import GROWN, LARGEST, parts, shrunk, spread_sql
from bascule.features.taking import taken_sql
from bascule.features.windows import bucket_sql, events_sql

FACTOR = 32
# Means that are no further apart, in proportion, are one that was rounded.
ROUNDED = 2.0**-51
PARTS = ("tiles", "tiles1", "tiles2", "tiles3")
Bag = list[Any]


class Number(NamedTuple):
    """One number of a tile: `n` rows or values, `s` their sum, `m` squared deviations, `lo` and `hi` extremes.

    The sum of doubles is two numbers at a 2^32nd of their size (`sums.py`): `s`, of whole
    numbers, and in `c` what they leave and what `s` was rounded by.
    """

    kind: str
    column: str | None
    exact: bool


class Held(NamedTuple):
    """What has no fixed size in a tile: `first` or `last` values, `counts` of each value, or the smallest `hashes`."""

    kind: str
    column: str
    taken: str
    most: int


class Shape(NamedTuple):
    """What a view's tiles hold, in the order in which it is stored."""

    numbers: tuple[Number, ...]
    bags: tuple[Held, ...]

    @property
    def layout(self) -> np.dtype[Any]:
        """The numbers' bytes."""
        return np.dtype([(f"f{place}", "<i8" if one.exact else "<f8") for place, one in enumerate(self.numbers)])

    def place(self, kind: str, column: str | None) -> int:
        """Where a number is."""
        return next(place for place, one in enumerate(self.numbers) if one[:2] == (kind, column))

    def averaging(self, column: str | None) -> Callable[[Any, Any], Any]:
        """From the numbers of a tile, or arrays of those of many, and how many values they are of, to their mean."""
        s = self.place("s", column)
        if self.numbers[s].exact:
            return lambda numbers, count: numbers[s] * 1.0 / count
        # Divided before it grows again: the sum may be beyond a double.
        return lambda numbers, count: (numbers[s] + numbers[s + 1]) / count * GROWN


def shape_of(view: FeatureView) -> Shape:
    """What the tiles of a bound view hold."""
    aggregates = list(view.parsed.values())
    numbers = [Number("n", None, True)]
    for column in value_columns(aggregates):
        functions = {a.function for a in aggregates if a.column == column}
        floating = view.types[column] in FLOATS
        if functions & set(NUMBERS):
            numbers.append(Number("n", column, True))
        if functions & {*SUMS, *SPREADS}:
            numbers.append(Number("s", column, not floating))
            if floating:
                numbers.append(Number("c", column, False))
        if functions & set(SPREADS):
            numbers.append(Number("m", column, False))
        numbers += [Number(kind, column, not floating) for kind, f in (("lo", "min"), ("hi", "max")) if f in functions]
    return Shape(tuple(numbers), tuple(sorted({held for a in aggregates if (held := bag_of(a)) is not None})))


def bag_of(aggregate: Aggregate) -> Held | None:
    """Where an aggregate is kept, when not in numbers."""
    if aggregate.function in NUMBERS:
        return None
    column = str(aggregate.column)
    if aggregate.function in ENDS:
        return Held(aggregate.function, column, "", max(aggregate.several, 1))
    if aggregate.function == "approx_distinct":
        return Held("hashes", column, "hash", HASHES)
    return Held("counts", column, "round" if aggregate.taken == "round" else "plain", 0)


def lengths_of(view: FeatureView) -> tuple[int, ...]:
    """The lengths of a view's tiles in µs, the shortest first."""
    hop, longest = int(view.hop_us or 0), max(view.lengths.values())
    found = [hop]
    while len(found) < len(PARTS) and found[-1] * FACTOR * 2 <= longest:
        found.append(found[-1] * FACTOR)
    return tuple(found)


def tiles_sql(view: FeatureView, entity: Entity, length: int, since: int | None = None) -> str:
    """SQL of the tiles of a view's rows: keys, `__time` (µs, where a tile begins), numbers `f0`…, bags `b0`….

    Args:
        since: leave out the rows of events before (µs).
    """
    shape, keys = shape_of(view), ", ".join(map(quoted, entity.keys))
    numbers = [f"{_number(one)} AS f{place}" for place, one in enumerate(shape.numbers)]
    bags = [f"{_bag(one, view)} AS b{place}" for place, one in enumerate(shape.bags)]
    kept = "" if since is None else f" WHERE __event >= {since}"
    return (
        f"SELECT {keys}, {bucket_sql('__event', length)} AS __time, {', '.join([*numbers, *bags])} "
        f"FROM {events_sql(view, entity)}{kept} GROUP BY {keys}, __time"
    )


def _number(one: Number) -> str:
    if one.column is None:
        return "count(*)"
    column, kind = quoted(one.column), "BIGINT" if one.exact else "DOUBLE"
    if one.kind == "n":
        return f"count({column})"
    if one.kind == "s" and one.exact:
        return f"CAST(coalesce(sum(CAST({column} AS HUGEINT)), 0) AS BIGINT)"
    if one.kind in ("s", "c"):
        whole, fraction, large = parts(f"CAST({column} AS DOUBLE)")
        rounded = f"CAST(sum({whole}) AS DOUBLE)"
        if one.kind == "s":
            return f"coalesce({shrunk(rounded)} + fsum({shrunk(large)}), 0)"
        off = f"CAST(sum({whole}) - CAST({rounded} AS HUGEINT) AS DOUBLE)"
        return f"coalesce({shrunk(off)} + fsum({shrunk(fraction)}), 0)"
    if one.kind == "m":
        return f"coalesce({spread_sql(f'var_pop(CAST({column} AS DOUBLE))')} * count({column}), 0)"
    return f"coalesce({'min' if one.kind == 'lo' else 'max'}(CAST({column} AS {kind})), 0)"


def _bag(one: Held, view: FeatureView) -> str:
    column = quoted(one.column)
    if one.kind in ENDS:
        end = "max" if one.kind == "last" else "min"
        placed = f"{{'t': __event, 'v': {_kept(one, view)}}}"
        return f"{end}({placed}, {one.most}) FILTER ({column} IS NOT NULL)"
    if one.kind == "hashes":
        return f"list_sort(list(DISTINCT {_kept(one, view)}) FILTER ({column} IS NOT NULL))[1:{one.most}]"
    return f"map_entries(histogram({_kept(one, view)}) FILTER ({column} IS NOT NULL))"


def _kept(one: Held, view: FeatureView) -> str:
    """A value as it is kept: times as whole numbers, the others as aggregates take them."""
    known = view.types[one.column]
    if one.taken != "hash" and family(known) == "time":
        return microseconds(quoted(one.column), known)
    if one.taken != "hash" and family(known) == "date":
        return f"date_diff('day', DATE '1970-01-01', {quoted(one.column)})"
    if one.kind in ENDS:
        return quoted(one.column)
    function = {"hash": "approx_distinct", "round": "approx_percentile", "plain": "top_k"}[one.taken]
    return taken_sql(Aggregate(function, one.column), view)


# Merging ------------------------------------------------------------------------------------------------------------


def merger(shape: Shape) -> Callable[[pa.RecordBatch, Sequence[bytes | None]], list[bytes]]:
    """A function that merges tiles into what was held of each, and gives them as bytes.

    It takes rows of `tiles_sql` and, for each, what is held now: bytes, or None where there is no tile yet.
    """
    layout, decode = shape.layout, msgspec.msgpack.Decoder(list[Any]).decode
    encode, size = msgspec.msgpack.Encoder().encode, shape.layout.itemsize
    nothing = bytes(size)

    def merge(rows: pa.RecordBatch, held: Sequence[bytes | None]) -> list[bytes]:
        fresh = np.empty(rows.num_rows, layout)
        for name in layout.names or ():
            fresh[name] = rows.column(name).to_numpy(zero_copy_only=False)
        old = np.frombuffer(b"".join([nothing if one is None else one[:size] for one in held]), layout)
        data = _merged(shape, old, fresh).tobytes()
        packed = [data[at : at + size] for at in range(0, len(data), size)]
        if not shape.bags:
            return packed
        columns = [rows.column(f"b{place}").to_pylist() for place in range(len(shape.bags))]
        found = []
        for number, before, bags in zip(packed, held, zip(*columns, strict=True), strict=True):
            new = [_listed(one, bag) for one, bag in zip(shape.bags, bags, strict=True)]
            if before is not None:
                new = [merge_bags(one, a, b) for one, a, b in zip(shape.bags, decode(before[size:]), new, strict=True)]
            found.append(number + encode(new))
        return found

    return merge


def _merged(shape: Shape, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    out = np.empty_like(new)
    names = list(shape.layout.names or ())
    left, right = ([tiles[name] for name in names] for tiles in (old, new))
    for place, (one, name, a, b) in enumerate(zip(shape.numbers, names, left, right, strict=True)):
        if one.kind in ("n", "s"):
            out[name] = a + b
            if one.exact and ((a ^ out[name]) & (b ^ out[name]) < 0).any():
                raise beyond_bigint(one.column)
        elif one.kind == "c":
            out[name] = a + b + rounded_off(left[place - 1], right[place - 1])
        else:
            count = shape.place("n", one.column)
            na, nb = left[count], right[count]
            if one.kind == "m":
                mean = shape.averaging(one.column)
                with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                    first, second = (np.clip(one, -LARGEST, LARGEST) for one in (mean(left, na), mean(right, nb)))
                    apart = first - second
                    between = apart * (na * (nb / (na + nb))) * apart
                    between[abs(apart) <= abs(first) * ROUNDED] = 0.0
                    out[name] = a + b + np.where((na > 0) & (nb > 0), between, 0.0)
            else:
                better = np.minimum(a, b) if one.kind == "lo" else np.maximum(a, b)
                out[name] = np.where(na == 0, b, np.where(nb == 0, a, better))
    return out


def rounded_off(a: Any, b: Any) -> Any:
    """What adding two doubles rounds off (Knuth's two-sum): numbers, or arrays of them."""
    total = a + b
    other = total - a
    return (a - (total - other)) + (b - other)


def beyond_bigint(column: str | None) -> InputError:
    """A sum of whole numbers that no BIGINT holds; the batch SQL refuses it, too."""
    message = f"The sum of {column!r} is beyond what a BIGINT holds."
    return InputError(message, hint="CAST the column to DOUBLE in the view's SQL.")


def _listed(one: Held, bag: Any) -> Bag:
    """A bag as it is stored: [[time, value], …], [[value, count], …] or [hash, …]."""
    if bag is None:
        return []
    if one.kind in ENDS:
        return [[placed["t"], placed["v"]] for placed in bag]
    return [[entry["key"], entry["value"]] for entry in bag] if one.kind == "counts" else bag


def merge_bags(one: Held, a: Bag, b: Bag) -> Bag:
    """Merge two bags of one kind. It does not matter which comes first."""
    if not a or not b:
        return a or b
    if one.kind in ENDS:
        return sorted(a + b, reverse=one.kind == "last")[: one.most]
    if one.kind == "hashes":
        return sorted({*a, *b})[: one.most]
    counts = dict(map(tuple, a))
    for value, count in b:
        counts[value] = counts.get(value, 0) + count
    return [[value, count] for value, count in counts.items()]
