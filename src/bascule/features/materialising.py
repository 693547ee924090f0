"""Fills an online store from a feature set's queries.

Each view is written in one transaction: a reader sees a view's new state whole or not at all. What is written is what
changed (`online/changes.py` finds it), so running it again writes nothing, and in whatever order rows arrive, late or
corrected, the store ends up the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import InputError
from bascule.features.columns import body, first_line, microseconds, quoted
from bascule.features.definitions import Entity, FeatureSet, FeatureView, definition_digest
from bascule.features.online import packing
from bascule.features.online.changes import BUCKETS, Changes, Finder, bucket_of, reversed_times
from bascule.features.online.keys import NEWEST, encoder
from bascule.features.online.parts import Part, parts_of
from bascule.features.online.store import OnlineStore, Transaction, ViewRecord, taken_up
from bascule.features.online.ties import Ties

BATCH = 65_536
CHANGED = "__changed_keys"
Progress = Callable[[str, int, int], None]


class ViewReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was done for one view.

    Attributes:
        rows: source rows that are in now.
        changed_keys: keys whose timeline changed, or that are gone; source rows when all was written.
        written, removed: entries.
        bytes: of the entries that were written.
        through: rows that became known up to then (µs) are in; None for a reference table, or when there is none.
    """

    view: str
    rows: int
    changed_keys: int = 0
    written: int = 0
    removed: int = 0
    bytes: int = 0
    through: int | None = None
    seconds: float = 0.0


class MaterialiseReport(msgspec.Struct, frozen=True):
    """What was done, view by view."""

    views: tuple[ViewReport, ...]

    @property
    def written(self) -> int:
        """Entries written."""
        return sum(view.written for view in self.views)


def materialise(
    connection: duckdb.DuckDBPyConnection,
    feature_set: FeatureSet,
    store: OnlineStore,
    through: int | None = None,
    progress: Progress | None = None,
    *,
    version: str = "",
    since: int | None = None,
    full: bool = False,
) -> MaterialiseReport:
    """Bring a store up to date with a feature set's source tables.

    Args:
        through: only rows that became known up to then (µs); None means all. It never takes back what is in.
        progress: called with the view, the entries written and at most how many there will be.
        version: says what all source tables are now (such as a digest of theirs); a view that the store has at this
            version is left alone, unread.
        since: write only answers that begin at this time (µs) or later, for a store that need not hold what was before.
        full: write everything anew, whatever the store holds.

    Raises:
        InputError: a view's SQL fails on the data.
        EnvironmentProblem: the store cannot be written.
        Either leaves the view in question as it was.
    """
    reports = []
    for view in feature_set.views:
        if view.hop_us is not None:  # its tiles are the stream's
            continue
        run = _Run(connection, store, view, feature_set.entity(view), through, version, progress, since, full)
        try:
            reports.append(store.write(run.work))
        except (duckdb.Error, pa.ArrowException) as error:
            message = f"[features.{view.name}] sql failed on the data: {first_line(error)}"
            raise InputError(message, hint="Correct the SQL, or the data.") from None
    return MaterialiseReport(tuple(reports))


@dataclass
class _Run:
    """One view's part. `work` may be called again from the start."""

    connection: duckdb.DuckDBPyConnection
    store: OnlineStore
    view: FeatureView
    entity: Entity
    through: int | None
    version: str
    progress: Progress | None
    since: int | None
    full: bool
    _written: int = 0
    _bytes: int = 0
    _most: int = 0
    _registered: list[str] = field(default_factory=list)

    def work(self, transaction: Transaction) -> ViewReport:
        begun = time.perf_counter()
        self._written = self._bytes = 0
        digest = definition_digest(self.view, self.entity)
        record = transaction.view(digest)
        same = record is not None and bool(self.version) and record.version == self.version
        if record is not None and same and record.bound == self.view and not self.full:
            taken_up(transaction, record)
            return ViewReport(view=self.view.name, rows=record.rows, through=record.through)
        try:
            return self._brought_up(transaction, digest, record, begun)
        finally:
            for name in self._registered:
                self.connection.unregister(name)
            self._registered.clear()

    def _brought_up(self, transaction: Transaction, digest: str, record: ViewRecord | None, begun: float) -> ViewReport:
        held = record.through if record else None
        limit = self.through if self.through is None or held is None else max(self.through, held)
        view = limited(self.view, limit)
        parts = parts_of(view, self.entity)
        tracks = [self.store.track(digest, part.name) for part in parts]
        finder = self._finder(view, digest, tracks[0], record)
        changes = finder.find(transaction, record is None or self.full or self.since is not None)
        self._most = changes.rows
        removed = self._cut(transaction, tracks, changes, record)
        for place, part in enumerate(parts):
            self._fill(transaction, tracks[place], self._part(view, part, changes), changes, counted=place == 0)
        if self.since is None:
            finder.write(transaction, changes.prints, record is None)
        reached = [time for time in (held, limit, changes.newest) if time is not None]
        through = max(reached) if reached and view.event_time is not None else None
        transaction.record(self._record(digest, through, changes.total))
        return ViewReport(
            view=self.view.name,
            rows=changes.total,
            changed_keys=changes.count + len(changes.lost),
            written=self._written,
            removed=removed,
            bytes=self._bytes,
            through=through,
            seconds=time.perf_counter() - begun,
        )

    def _finder(self, view: FeatureView, digest: str, main: bytes, record: ViewRecord | None) -> Finder:
        through = record.through if record else None
        if record is not None and view.event_time is None:
            through = NEWEST  # a reference table has no new rows, only different ones
        prints = self.store.track(digest, "buckets")
        return Finder(view, self.entity, prints, main, through, self._stream, self._register, self._encoded)

    def _cut(self, transaction: Transaction, tracks: list[bytes], changes: Changes, record: ViewRecord | None) -> int:
        if changes.whole:
            if record is None or self.since is not None:
                return 0
            whole = [(prefix, -(2**63)) for track in tracks for prefix in transaction.prefixes(track)]
            return transaction.cut_many(whole)
        since = [*changes.since, *((key, -(2**63)) for key in changes.lost)]
        return transaction.cut_many([(track + key, first) for key, first in since for track in tracks])

    def _part(self, view: FeatureView, part: Part, changes: Changes) -> Part:
        """The part, of the changed keys alone when it is not all."""
        if changes.whole or not changes.count:
            return part
        self._register(CHANGED, changes.table())
        same = " AND ".join(
            f"CAST(__row.{quoted(key)} AS {view.types[key]}) = __changed.{quoted(key)}" for key in self.entity.keys
        )
        sql = f"SELECT __row.* FROM (\n{body(view.sql)}\n) __row SEMI JOIN {CHANGED} __changed ON {same}"
        found = parts_of(msgspec.structs.replace(view, sql=sql), self.entity)
        return next(one for one in found if one.name == part.name)

    def _fill(self, transaction: Transaction, track: bytes, part: Part, changes: Changes, counted: bool) -> None:
        if not changes.count:
            return
        keys = ", ".join(map(quoted, self.entity.keys))
        if changes.whole:
            sql = f"SELECT t.*, {bucket_of(self.entity)} AS __spread FROM ({part.sql}) t"
            if self.since is not None:
                sql += f" WHERE __time >= {self.since}"
        else:
            sql = f"SELECT t.*, 0 AS __spread FROM ({part.sql}) t JOIN {CHANGED} c USING ({keys})"
            sql += " WHERE t.__time >= c.__since"
        self._last = b""
        with closing(self._stream(f"{sql} ORDER BY {keys}, __time DESC")) as rows:
            batches: Iterable[pa.RecordBatch] = rows
            if part.best:
                batches = Ties(self.connection, self.entity.keys, part.best).settled(rows)
            for batch in batches:
                transaction.put_many(self._entries(track, part, batch, changes if counted and changes.whole else None))
                if self.progress is not None:
                    self.progress(self.view.name, self._written, max(self._most, self._written))

    def _entries(
        self, track: bytes, part: Part, batch: pa.RecordBatch, counting: Changes | None
    ) -> Iterable[tuple[bytes, bytes]]:
        names = self._names(track, batch)
        values = part.encode(batch.drop_columns(["__spread"]))
        if counting is not None and names:
            self._count(names, batch, counting)
        self._written += batch.num_rows
        self._bytes += sum(map(len, values)) + sum(map(len, names))
        return zip(names, values, strict=True)

    def _count(self, names: list[bytes], batch: pa.RecordBatch, changes: Changes) -> None:
        """Count the keys of each bucket: rows come in runs of one key."""
        first = np.zeros(len(names), dtype=bool)
        for key in self.entity.keys:
            column = batch.column(key)
            same = pc.equal(column.slice(1), column.slice(0, len(column) - 1))
            first[1:] |= ~same.to_numpy(zero_copy_only=False)
        first[0] = names[0][:-8] != self._last
        self._last = names[-1][:-8]
        buckets = batch.column("__spread").to_numpy()
        changes.prints[:, 2] += np.bincount(buckets[first], minlength=BUCKETS).astype(np.uint64)

    def _names(self, track: bytes, batch: pa.RecordBatch) -> list[bytes]:
        """Track, entity key and reversed time of each row."""
        times = reversed_times(batch.column("__time").to_numpy())
        columns = [batch.column(name) for name in self.entity.keys]
        cells = packing.keys(columns, [self.view.types[key] for key in self.entity.keys])
        if cells is not None:
            return packing.joined([packing.constant(len(times), track), *cells, packing.Cells(times)])
        data = times.tobytes()
        return [track + key + data[at * 8 : at * 8 + 8] for at, key in enumerate(self._encoded(batch))]

    def _encoded(self, batch: pa.RecordBatch) -> list[bytes]:
        """The encoded entity key of each row; rows come in runs of one key."""
        types = [self.view.types[key] for key in self.entity.keys]
        cells = packing.keys([batch.column(name) for name in self.entity.keys], types)
        if cells is not None:
            return packing.joined(cells)
        encode = encoder(types)
        columns = [batch.column(name).to_pylist() for name in self.entity.keys]
        last: Any = None
        encoded, keys = b"", []
        for values in zip(*columns, strict=True):
            if values != last:
                last, encoded = values, encode(values) or b""
            keys.append(encoded)
        return keys

    def _stream(self, sql: str) -> Generator[pa.RecordBatch]:
        reader = self.connection.sql(sql).to_arrow_reader(BATCH)
        try:
            yield from reader
        finally:
            reader.close()  # or the connection takes no other query

    def _register(self, name: str, table: pa.Table) -> None:
        self.connection.register(name, table)
        self._registered.append(name)

    def _record(self, digest: str, through: int | None, rows: int) -> ViewRecord:
        return ViewRecord(
            view=self.view.name,
            digest=digest,
            entity=self.entity.name,
            keys=self.entity.keys,
            key_types=tuple(self.view.types[key] for key in self.entity.keys),
            through=through,
            rows=rows,
            # A run that holds rows back does not have all of that version.
            version="" if self.through is not None or self.since is not None else self.version,
            updated_at=time.time_ns() // 1000,
            bound=self.view,
        )


def limited(view: FeatureView, through: int | None) -> FeatureView:
    """A view of the rows that became known up to a time. Reference tables have no time, and stay whole."""
    if through is None or view.event_time is None:
        return view
    times = (view.event_time, view.known_time or view.event_time)
    known = " AND ".join(f"{microseconds(quoted(name), view.types[name])} <= {through}" for name in times)
    return msgspec.structs.replace(view, sql=f"SELECT * FROM (\n{body(view.sql)}\n) WHERE {known}")
