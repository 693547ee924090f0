"""Fills an online store from a feature set's queries.

Each view is written in one transaction: a reader sees a view's new state whole or not at all. What is written is what
changed (`online/changes.py` finds it), so running it again writes nothing, and in whatever order rows arrive, late or
corrected, the store ends up the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from bascule.errors import InputError
from bascule.features.columns import body, first_line, microseconds, quoted
from bascule.features.definitions import Entity, FeatureSet, FeatureView, definition_digest
from bascule.features.online.changes import Changes, find_changes, prints_sql, reversed_times
from bascule.features.online.keys import NEWEST, encoder
from bascule.features.online.parts import Part, parts_of
from bascule.features.online.store import OnlineStore, Transaction, ViewRecord

BATCH = 65_536
CHANGED = "__changed_keys"
Progress = Callable[[str, int, int], None]


class ViewReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was done for one view.

    Attributes:
        rows: source rows that are in now.
        changed_keys: keys whose timeline changed, or that are gone.
        written, removed: entries.
        through: rows that became known up to then (µs) are in; None for a reference table, or when there is none.
    """

    view: str
    rows: int
    changed_keys: int = 0
    written: int = 0
    removed: int = 0
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
) -> MaterialiseReport:
    """Bring a store up to date with a feature set's source tables.

    Args:
        through: only rows that became known up to then (µs); None means all. It never takes back what is in.
        progress: called with the view, the entries written and at most how many there will be.
        version: says what all source tables are now (such as a digest of theirs); a view that the store has at this
            version is left alone, unread.

    Raises:
        InputError: a view's SQL fails on the data.
        EnvironmentProblem: the store cannot be written.
        Either leaves the view in question as it was.
    """
    reports = []
    for view in feature_set.views:
        if view.hop_us is not None:  # its tiles are the stream's
            continue
        run = _Run(connection, store, view, feature_set.entity(view), through, version, progress)
        try:
            reports.append(store.write(run.work))
        except (duckdb.Error, pa.ArrowException) as error:
            message = f"[features.{view.name}] sql failed on the data: {first_line(error)}"
            raise InputError(message, hint="Correct the SQL, or the data.") from None
    return MaterialiseReport(tuple(reports))


@dataclass(frozen=True)
class _Run:
    """One view's part. `work` may be called again from the start."""

    connection: duckdb.DuckDBPyConnection
    store: OnlineStore
    view: FeatureView
    entity: Entity
    through: int | None
    version: str
    progress: Progress | None

    def work(self, transaction: Transaction) -> ViewReport:
        begun = time.perf_counter()
        digest = definition_digest(self.view, self.entity)
        record = transaction.view(digest)
        if record is not None and self.version and record.version == self.version:
            return ViewReport(view=self.view.name, rows=record.rows, through=record.through)
        held = record.through if record else None
        limit = self.through if self.through is None or held is None else max(self.through, held)
        view = limited(self.view, limit)
        changes = self._changes(transaction, view, digest, record)
        parts = parts_of(view, self.entity)
        removed = self._cut(transaction, [self.store.track(digest, part.name) for part in parts], changes)
        written = 0
        for part in parts:
            written += self._fill(transaction, digest, part, changes, record is None, written)
        reached = [time for time in (held, limit, changes.newest) if time is not None]
        through = max(reached) if reached and view.event_time is not None else None
        transaction.record(self._record(digest, through, changes.total))
        return ViewReport(
            view=view.name,
            rows=changes.total,
            changed_keys=changes.count + len(changes.lost),
            written=written,
            removed=removed,
            through=through,
            seconds=time.perf_counter() - begun,
        )

    def _changes(self, transaction: Transaction, view: FeatureView, digest: str, record: ViewRecord | None) -> Changes:
        through = record.through if record else None
        if record is not None and view.event_time is None:
            through = NEWEST  # a reference table has no new rows, only different ones
        sql = prints_sql(view, self.entity, through)
        track = self.store.track(digest, "prints")
        return find_changes(transaction, track, lambda: self._stream(sql), self._keys, record is None)

    def _cut(self, transaction: Transaction, tracks: list[bytes], changes: Changes) -> int:
        since = [*changes.since, *((key, -(2**63)) for key in changes.lost)]
        return sum(transaction.cut(track + key, first) for key, first in since for track in tracks)

    def _fill(
        self, transaction: Transaction, digest: str, part: Part, changes: Changes, first: bool, before: int
    ) -> int:
        if not changes.count:
            return 0
        keys = ", ".join(map(quoted, self.entity.keys))
        track, written = self.store.track(digest, part.name), 0
        sql = f"SELECT t.* FROM ({part.sql}) t"
        if not first:
            sql += f" JOIN {CHANGED} c USING ({keys}) WHERE t.__time >= c.__since"
            self.connection.register(CHANGED, changes.table())
        try:
            for batch in self._stream(f"{sql} ORDER BY {keys}, __time DESC"):
                transaction.put_many(self._entries(track, part, batch))
                written += batch.num_rows
                if self.progress is not None:
                    self.progress(self.view.name, before + written, max(changes.rows, before + written))
        finally:
            if not first:
                self.connection.unregister(CHANGED)
        return written

    def _entries(self, track: bytes, part: Part, batch: pa.RecordBatch) -> Iterator[tuple[bytes, bytes]]:
        times = reversed_times(batch.column("__time").to_numpy())
        for place, (key, value) in enumerate(zip(self._keys(batch), part.encode(batch), strict=True)):
            yield track + key + times[place * 8 : place * 8 + 8], value

    def _keys(self, batch: pa.RecordBatch) -> list[bytes]:
        """The encoded entity key of each row; rows come in runs of one key."""
        encode = encoder([self.view.types[key] for key in self.entity.keys])
        columns = [batch.column(name).to_pylist() for name in self.entity.keys]
        last: Any = None
        encoded, keys = b"", []
        for values in zip(*columns, strict=True):
            if values != last:
                last, encoded = values, encode(values) or b""
            keys.append(encoded)
        return keys

    def _stream(self, sql: str) -> Iterator[pa.RecordBatch]:
        yield from self.connection.sql(sql).to_arrow_reader(BATCH)

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
            version="" if self.through is not None else self.version,
            updated_at=time.time_ns() // 1000,
        )


def limited(view: FeatureView, through: int | None) -> FeatureView:
    """A view of the rows that became known up to a time. Reference tables have no time, and stay whole."""
    if through is None or view.event_time is None:
        return view
    times = (view.event_time, view.known_time or view.event_time)
    known = " AND ".join(f"{microseconds(quoted(name), view.types[name])} <= {through}" for name in times)
    return msgspec.structs.replace(view, sql=f"SELECT * FROM (\n{body(view.sql)}\n) WHERE {known}")
