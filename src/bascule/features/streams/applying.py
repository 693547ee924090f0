"""From events to tiles in the online store, exactly once.

A view's place in the log is written in the transaction of its tiles (as the version of its record): a batch counts
once, whenever a process is killed, and readers see it whole or not at all. A view without a place in this log is filled
from the table first, which has all events up to where the lake was landed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa

from bascule.errors import InputError
from bascule.features.columns import first_line, quoted
from bascule.features.definitions import Entity, FeatureView, definition_digest
from bascule.features.online.keys import NEWEST, encoder
from bascule.features.online.store import OnlineStore, Transaction, ViewRecord, current, taken_up
from bascule.features.online.tiles import PARTS, lengths_of, merger, shape_of, tiles_sql

AT_ONCE = 65_536
HELD = 400_000
ARRIVED = "__arrived"
OLDEST = -(2**63)


class TiledView:
    """The tiles of one bound view in one store.

    Args:
        view: bound, with a hop.
        table: the stream's table, as the view's SQL calls it.
        lateness: how late an event may be (µs): tiles are kept so much longer than the longest window.
    """

    def __init__(self, view: FeatureView, entity: Entity, store: OnlineStore, table: str, lateness: int) -> None:
        self.view, self.entity, self.table = view, entity, table
        self.digest = definition_digest(view, entity)
        self.kept = max(view.lengths.values()) + lateness
        self._store = store
        self._lengths = lengths_of(view)
        self._tracks = [store.track(self.digest, PARTS[level]) for level in range(len(self._lengths))]
        self._merge = merger(shape_of(view))
        self._encode = encoder([view.types[key] for key in entity.keys])
        self._sql = [tiles_sql(view, entity, length) for length in self._lengths]
        # What this process wrote last: it is what the store has, as long as the place in the log says so.
        self._held: dict[bytes, bytes] = {}
        self._place = ""

    def place(self, log: str) -> int | None:
        """Return up to which entry of a log the tiles count, or None when they were not made from it."""
        with self._store.snapshot() as snapshot:
            return _number(snapshot.view(self.digest), log)

    def take_up(self) -> None:
        """Let the view's name mean this definition: it may have been another one since."""
        with self._store.snapshot() as snapshot:
            record = snapshot.view(self.digest)
            if record is None or current(snapshot)[self.view.name].digest == self.digest:
                return
        self._store.write(lambda transaction: taken_up(transaction, record))

    def apply(
        self,
        connection: duckdb.DuckDBPyConnection,
        rows: pa.Table,
        log: str,
        after: int,
        through: int,
        watermark: int | None,
    ) -> bool:
        """Count the events of entries (after, through], unless they are counted already.

        Args:
            connection: one of its own, in UTC; the rows are registered in it under the table's name.
            watermark: the newest event time; what no window of it reaches is removed.

        Returns:
            Whether they were counted now.

        Raises:
            InputError: the view's SQL fails on them. Nothing was changed.
            EnvironmentProblem: the store cannot be written. Nothing was changed.
        """
        connection.register(ARRIVED, rows)
        try:
            _see(connection, self.table, f"SELECT * FROM {ARRIVED}")
            deltas = [self._tiles(connection, sql) for sql in self._sql]
        finally:
            connection.unregister(ARRIVED)
        fresh: dict[bytes, bytes] = {}

        def work(transaction: Transaction) -> bool:
            record = transaction.view(self.digest)
            if _number(record, log) != after or record is None:
                return False
            fresh.clear()
            if record.version != self._place:
                self._held.clear()
            for track, batches in zip(self._tracks, deltas, strict=True):
                for batch in batches:
                    fresh.update(self._put(transaction, track, batch))
            self._prune(transaction, record.through, watermark)
            transaction.record(self._record(log, through, record.rows + rows.num_rows, watermark))
            return True

        done = self._store.write(work)
        if done:
            if len(self._held) + len(fresh) > HELD:
                self._held.clear()
            self._held.update(fresh)
            self._place = f"{log}:{through}"
        return done

    def fill(
        self, connection: duckdb.DuckDBPyConnection, source: str | None, log: str, through: int, watermark: int | None
    ) -> int:
        """Make the tiles anew from the table, in one transaction: readers see the old ones or the new ones.

        Args:
            connection: sees what `source` names.
            source: what the table's rows are, after FROM; None when there is no table yet.
            through: up to which entry of the log the table has the events.

        Returns:
            How many rows the table has.
        """
        rows = 0
        if source is not None:
            _see(connection, self.table, f"SELECT * FROM {source}")
            rows = connection.execute(f"SELECT count(*) FROM {quoted(self.table)}").fetchall()[0][0]
        since = None if watermark is None else (watermark - self.kept) // self._lengths[-1] * self._lengths[-1]

        def work(transaction: Transaction) -> None:
            for track in self._tracks:
                for prefix in list(transaction.prefixes(track)):
                    transaction.cut(prefix, OLDEST)
            for track, length in zip(self._tracks, self._lengths, strict=True):
                if source is not None:
                    for batch in self._tiles(connection, tiles_sql(self.view, self.entity, length, since)):
                        self._put(transaction, track, batch, first=True)
            transaction.record(self._record(log, through, rows, watermark))

        self._held.clear()
        self._place = ""
        self._store.write(work)
        return rows

    def _tiles(self, connection: duckdb.DuckDBPyConnection, sql: str) -> list[pa.RecordBatch]:
        try:
            found: list[pa.RecordBatch] = list(connection.sql(sql).to_arrow_reader(AT_ONCE))
        except (duckdb.Error, pa.ArrowException) as error:
            message = f"[features.{self.view.name}] sql failed on the events: {first_line(error)}"
            raise InputError(message, hint="Correct the SQL; the events wait.") from None
        return found

    def _put(
        self, transaction: Transaction, track: bytes, batch: pa.RecordBatch, *, first: bool = False
    ) -> dict[bytes, bytes]:
        if not batch.num_rows:
            return {}
        moments = batch.column("__time").to_numpy()
        times = (np.uint64(NEWEST) - moments.astype(np.int64).astype(np.uint64)).astype(">u8").tobytes()
        held = self._held
        keys = [track + key + times[place * 8 : place * 8 + 8] for place, key in enumerate(self._keys(batch))]
        before: list[bytes | None] = [None] * len(keys) if first else [held.get(key) for key in keys]
        if not first:
            for place, found in enumerate(before):
                if found is None:
                    moment = int(moments[place])
                    entry = next(iter(transaction.between(keys[place][:-8], moment, moment)), None)
                    before[place] = entry[1] if entry is not None else None
        values = self._merge(batch, before)
        transaction.put_many(zip(keys, values, strict=True))
        return dict(zip(keys, values, strict=True))

    def _keys(self, batch: pa.RecordBatch) -> Iterator[bytes]:
        columns = [batch.column(name).to_pylist() for name in self.entity.keys]
        encode = self._encode
        for values in zip(*columns, strict=True):
            yield encode(values) or b""

    def _prune(self, transaction: Transaction, before: int | None, watermark: int | None) -> None:
        """Remove tiles that no window will reach, whenever another longest window has passed."""
        period = max(self.view.lengths.values())
        if watermark is None or before is None or before // period == watermark // period:
            return
        for track, length in zip(self._tracks, self._lengths, strict=True):
            horizon = watermark - self.kept - length
            for prefix in list(transaction.prefixes(track)):
                if next(iter(transaction.between(prefix, OLDEST + 1, horizon)), None) is not None:
                    kept = list(transaction.between(prefix, horizon + 1, NEWEST))
                    transaction.cut(prefix, OLDEST)
                    transaction.put(prefix, kept)
        self._held.clear()

    def _record(self, log: str, through: int, rows: int, watermark: int | None) -> ViewRecord:
        return ViewRecord(
            view=self.view.name,
            digest=self.digest,
            entity=self.entity.name,
            keys=self.entity.keys,
            key_types=tuple(self.view.types[key] for key in self.entity.keys),
            through=watermark,
            rows=rows,
            version=f"{log}:{through}",
            updated_at=time.time_ns() // 1000,
            bound=self.view,
        )


def opened() -> duckdb.DuckDBPyConnection:
    """A connection for tiles: in UTC, on one core, with nothing in it."""
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'; SET threads = 1")
    return connection


def _see(connection: duckdb.DuckDBPyConnection, table: str, query: str) -> None:
    schema, _, name = table.rpartition(".")
    place = f"{quoted(schema)}.{quoted(name)}" if schema else quoted(name)
    if schema:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
    connection.execute(f"CREATE OR REPLACE VIEW {place} AS {query}")


def _number(record: ViewRecord | None, log: str) -> int | None:
    if record is None:
        return None
    name, _, number = record.version.rpartition(":")
    return int(number) if name == log and number.isdigit() else None
