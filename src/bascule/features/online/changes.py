"""Which keys of a view have changed since the store was filled, and from which time on.

Each key keeps a print of its source rows: how many, and the sum of their hashes. Rows that became known after the last
run are new. When the older rows do not match the print, some came late, were corrected or deleted: then all of the key
is written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from bascule.features.aggregates import value_columns
from bascule.features.columns import quoted
from bascule.features.definitions import Entity, FeatureView
from bascule.features.online.keys import NEWEST, reversed_time
from bascule.features.online.parts import PRINT
from bascule.features.online.store import Transaction
from bascule.features.timelines import rows_sql

OLDEST = -(2**62) - 1
_WRAP = 2**64


@dataclass
class Changes:
    """What has to be written anew.

    Attributes:
        count, rows: changed keys, and how many source rows these have.
        since: (encoded key, time): the timeline changes from then on. Empty when the store held nothing before.
        lost: encoded keys that have no rows any more.
        total: source rows of all keys.
        newest: when the last row became known (µs).
    """

    count: int = 0
    rows: int = 0
    total: int = 0
    newest: int | None = None
    since: list[tuple[bytes, int]] = field(default_factory=list)
    lost: list[bytes] = field(default_factory=list)
    batches: list[pa.RecordBatch] = field(default_factory=list)

    def table(self) -> pa.Table:
        """Changed keys in their columns, with `__since`."""
        return pa.Table.from_batches(self.batches)


def prints_sql(view: FeatureView, entity: Entity, through: int | None) -> str:
    """SQL of each key's print: of all rows and of those known by `through`; and the first time newer rows touch."""
    keys = ", ".join(map(quoted, entity.keys))
    columns = value_columns(view.parsed.values()) if view.windows else view.fields
    hashed = ", ".join(("__event", "__known", *map(quoted, columns)))
    old = f"__from <= {OLDEST if through is None else through}"
    total = f"sum(CAST(hash({hashed}) AS HUGEINT))"
    return f"""
SELECT {keys}, count(*) AS __n, CAST({total} % {_WRAP} AS UBIGINT) AS __h,
  count(*) FILTER ({old}) AS __n0, CAST(coalesce({total} FILTER ({old}), 0) % {_WRAP} AS UBIGINT) AS __h0,
  min({"__event" if view.windows else "__from"}) FILTER (NOT {old}) AS __since, max(__from) AS __newest
FROM ({rows_sql(view, entity, columns)}) GROUP BY {keys}"""


def find_changes(
    transaction: Transaction,
    track: bytes,
    batches: Callable[[], Iterable[pa.RecordBatch]],
    encode: Callable[[pa.RecordBatch], Sequence[bytes]],
    first: bool,
) -> Changes:
    """Compare every key's rows with its print, and write the new prints.

    Args:
        track: of the prints.
        batches: the rows of `prints_sql`; read a second time when keys have been lost.
        encode: the encoded entity keys of a batch.
        first: the store holds nothing of the view yet.
    """
    changes, seen = Changes(), 0
    for batch in batches():
        _compare(transaction, track, batch, encode(batch), changes, first)
        seen += batch.num_rows
    held = 0 if first else sum(1 for _ in transaction.prefixes(track))
    if held > seen:
        present = {key for batch in batches() for key in encode(batch)}
        known = (prefix[len(track) :] for prefix in transaction.prefixes(track))
        changes.lost = [key for key in known if key not in present]
        for key in changes.lost:
            transaction.cut(track + key, -(2**63))
    return changes


def _compare(
    transaction: Transaction,
    track: bytes,
    batch: pa.RecordBatch,
    keys: Sequence[bytes],
    changes: Changes,
    first: bool,
) -> None:
    columns = [batch.column(name).to_pylist() for name in ("__n", "__h", "__n0", "__h0", "__since", "__newest")]
    fresh, touched = [], []
    for place, (key, n, h, n0, h0, since, newest) in enumerate(zip(keys, *columns, strict=True)):
        changes.total += n
        changes.newest = newest if changes.newest is None else max(changes.newest, newest)
        held = None if first else transaction.newest(track + key, 0)
        if held is None or PRINT.unpack(held) != (n0, h0):
            since = OLDEST
        elif since is None:
            continue
        changes.count += 1
        changes.rows += n
        fresh.append((track + key + reversed_time(0), PRINT.pack(n, h)))
        if not first:
            changes.since.append((key, since))
            touched.append((place, since))
    transaction.put_many(fresh)
    if touched:
        places, times = zip(*touched, strict=True)
        kept = batch.take(pa.array(places)).drop_columns(["__n", "__h", "__n0", "__h0", "__since", "__newest"])
        changes.batches.append(kept.append_column("__since", pa.array(np.array(times, dtype=np.int64))))


def reversed_times(times: np.ndarray) -> bytes:
    """`reversed_time` of many, 8 bytes each."""
    return (np.uint64(NEWEST) - times.astype(np.int64).astype(np.uint64)).astype(">u8").tobytes()
