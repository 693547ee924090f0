"""Which keys of a view have changed since the store was filled, and from which time on.

Keys are spread over buckets, and each bucket keeps a print of its source rows: how many, the sum of their hashes, and
how many keys they have. Rows that became known after the last run are new. When a bucket's older rows do not match its
print, some came late, were corrected or deleted: then all of its keys are written anew.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from bascule.features.aggregates import value_columns
from bascule.features.columns import quoted
from bascule.features.definitions import Entity, FeatureView
from bascule.features.online.keys import NEWEST, reversed_time
from bascule.features.online.store import Transaction
from bascule.features.timelines import rows_sql

OLDEST = -(2**62) - 1
BUCKETS = 1 << 16
MISMATCHED = "__mismatched"
_CHUNK = 256  # buckets that are written together
_WRAP = 2**63
_OWN = ["__bucket", "__n", "__since"]
Stream = Callable[[str], Iterable[pa.RecordBatch]]
Encode = Callable[[pa.RecordBatch], Sequence[bytes]]


@dataclass
class Changes:
    """What has to be written anew.

    Attributes:
        whole: all of the view, because the store held nothing or most of it is different.
        count, rows: changed keys, and how many source rows of them were looked at.
        since: (encoded key, time): the timeline changes from then on. Empty when `whole`.
        lost: encoded keys that have no rows any more.
        total: source rows of all keys.
        newest: when the last row became known (µs).
        prints: [buckets, 3]: rows, hash and keys as they will be.
    """

    whole: bool = False
    count: int = 0
    rows: int = 0
    total: int = 0
    newest: int | None = None
    since: list[tuple[bytes, int]] = field(default_factory=list)
    lost: list[bytes] = field(default_factory=list)
    batches: list[pa.RecordBatch] = field(default_factory=list)
    prints: np.ndarray = field(default_factory=lambda: np.zeros((BUCKETS, 3), dtype=np.uint64))

    def table(self) -> pa.Table:
        """Changed keys in their columns, with `__since`."""
        return pa.Table.from_batches(self.batches)


def bucket_of(entity: Entity) -> str:
    """SQL of the bucket of a key."""
    return f"CAST(hash({', '.join(map(quoted, entity.keys))}) % {BUCKETS} AS INTEGER)"


@dataclass(frozen=True)
class Finder:
    """Compares a view's rows with the prints.

    Attributes:
        prints, main: the tracks of the prints, and of timelines that every key has.
        through: rows that became known up to then (µs) are in the store.
        stream: runs SQL.
        register: makes a table known to SQL under a name.
        encode: the encoded entity keys of a batch.
    """

    view: FeatureView
    entity: Entity
    prints: bytes
    main: bytes
    through: int | None
    stream: Stream
    register: Callable[[str, pa.Table], None]
    encode: Encode

    def find(self, transaction: Transaction, whole: bool) -> Changes:
        """Return what has changed.

        Args:
            whole: nothing of the view is in the store, so that all of it is new.
        """
        changes = Changes(whole=whole)
        old = np.zeros((BUCKETS, 2), dtype=np.uint64)
        for batch in self.stream(self._prints_sql(whole)):
            places = batch.column("__bucket").to_numpy()
            for place, name in enumerate(("__n", "__h")):
                changes.prints[places, place] = batch.column(name).to_numpy()
                if not whole:
                    old[places, place] = batch.column(f"{name}0").to_numpy()
            newest = max(batch.column("__newest").to_pylist())
            changes.newest = newest if changes.newest is None else max(newest, changes.newest)
        changes.total = int(changes.prints[:, 0].sum())
        if whole:
            changes.count = changes.rows = changes.total
            return changes
        held = self._held(transaction)
        different = (held[:, :2] != old).any(axis=1)
        if changes.total > BUCKETS and changes.prints[different, 0].sum() > changes.total / 2:
            changes.whole, changes.count, changes.rows = True, changes.total, changes.total
            return changes
        changes.prints[:, 2] = np.where(different, 0, held[:, 2])
        if different.any() or (old[:, 0] != changes.prints[:, 0]).any():
            self._find_keys(transaction, changes, different, held)
        return changes

    def write(self, transaction: Transaction, prints: np.ndarray, whole: bool) -> None:
        """Write the prints that are different."""
        held = np.zeros_like(prints) if whole else self._held(transaction)
        for place in range(BUCKETS // _CHUNK):
            part = slice(place * _CHUNK, (place + 1) * _CHUNK)
            if (held[part] == prints[part]).all():
                continue
            prefix = self.prints + bytes([place])
            if prints[part].any():
                said = zlib.compress(prints[part].astype("<u8").tobytes(), 1)
                transaction.put_many([(prefix + reversed_time(0), said)])
            else:
                transaction.cut(prefix, 0)

    def _held(self, transaction: Transaction) -> np.ndarray:
        wanted = [(self.prints + bytes([place]), 0) for place in range(BUCKETS // _CHUNK)]
        nothing = bytes(_CHUNK * 3 * 8)
        found = [nothing if one is None else zlib.decompress(one) for one in transaction.newest_many(wanted)]
        return np.frombuffer(b"".join(found), dtype="<u8").reshape(BUCKETS, 3).astype(np.uint64)

    def _find_keys(self, transaction: Transaction, changes: Changes, different: np.ndarray, held: np.ndarray) -> None:
        self.register(MISMATCHED, pa.table({"__bucket": pa.array(np.flatnonzero(different), pa.int32())}))
        still = np.zeros(BUCKETS, dtype=np.uint64)
        for batch in self.stream(self._keys_sql()):
            keys = self.encode(batch)
            found = transaction.newest_many([(self.main + key, NEWEST) for key in keys])
            known = np.array([one is not None for one in found], dtype=bool)
            buckets = batch.column("__bucket").to_numpy()
            np.add.at(still, buckets[known], np.uint64(1))
            anew = different[buckets]
            np.add.at(changes.prints[:, 2], buckets[anew | ~known], np.uint64(1))
            since = [OLDEST if a else s for a, s in zip(anew, batch.column("__since").to_pylist(), strict=True)]
            changes.count += len(keys)
            changes.rows += int(batch.column("__n").to_numpy().sum())
            changes.since += zip(keys, since, strict=True)
            kept = batch.drop_columns(_OWN)
            changes.batches.append(kept.append_column("__since", pa.array(since, pa.int64())))
        if (still[different] < held[different, 2]).any():
            present = {key for batch in self.stream(self._all_keys_sql()) for key in self.encode(batch)}
            size = len(self.main)
            changes.lost = [p[size:] for p in transaction.prefixes(self.main) if p[size:] not in present]

    def _prints_sql(self, whole: bool) -> str:
        hashed = ", ".join((*map(quoted, self.entity.keys), "__event", "__known", *map(quoted, self._columns)))
        total = f"sum(CAST(hash({hashed}) >> 1 AS BIGINT))"
        before = f"""
  count(*) FILTER ({self._old}) AS __n0,
  CAST(coalesce({total} FILTER ({self._old}), 0) % {_WRAP} AS UBIGINT) AS __h0,"""
        return f"""
SELECT {bucket_of(self.entity)} AS __bucket, count(*) AS __n, CAST({total} % {_WRAP} AS UBIGINT) AS __h,
  {"" if whole else before} max(__from) AS __newest
FROM ({rows_sql(self.view, self.entity, self._columns)}) GROUP BY __bucket"""

    def _keys_sql(self) -> str:
        """SQL of the keys of the buckets that do not match, and of those with new rows; `__since` of these."""
        keys = ", ".join(map(quoted, self.entity.keys))
        first = f"min({'__event' if self.view.windows else '__from'}) FILTER (NOT {self._old})"
        return f"""
SELECT {keys}, {bucket_of(self.entity)} AS __bucket, count(*) AS __n, coalesce({first}, {OLDEST}) AS __since
FROM ({rows_sql(self.view, self.entity, ())})
WHERE NOT {self._old} OR {bucket_of(self.entity)} IN (SELECT __bucket FROM {MISMATCHED}) GROUP BY ALL"""

    def _all_keys_sql(self) -> str:
        keys = ", ".join(map(quoted, self.entity.keys))
        return f"SELECT DISTINCT {keys} FROM ({rows_sql(self.view, self.entity, ())})"

    @property
    def _old(self) -> str:
        return f"(__from <= {OLDEST if self.through is None else self.through})"

    @property
    def _columns(self) -> Sequence[str]:
        return value_columns(self.view.parsed.values()) if self.view.windows else self.view.fields


def reversed_times(times: np.ndarray) -> np.ndarray:
    """`reversed_time` of many: [times, 8] bytes."""
    reversed_ = (np.uint64(NEWEST) - times.astype(np.int64).astype(np.uint64)).astype(">u8")
    return np.ascontiguousarray(reversed_).view(np.uint8).reshape(len(times), 8)
