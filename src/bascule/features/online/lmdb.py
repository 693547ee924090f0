"""Timelines in LMDB: one file in a folder, read by memory map from any number of processes.

Keys: `e` + track (16 bytes) + entity key + reversed time for entries; `v` + namespace and digest for what is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import msgspec

from bascule.features.online.environment import MAP_SIZE, MOVED, environment
from bascule.features.online.keys import reversed_time, time_of
from bascule.features.online.store import Entry, ViewRecord
from bascule.features.online.subjects import EVER, TRACK, timelines_of, track_of

T = TypeVar("T")
_VIEWS = b"v"


class LmdbStore:
    """An `OnlineStore` in a folder of its own.

    Args:
        folder: made when missing. Stores on one folder share one open file.
        namespace: keeps the timelines of one branch apart from those of others.
        map_size: address space to begin with, in bytes; it grows by itself.
    """

    far = False

    def __init__(self, folder: Path | str, namespace: str = "main", *, map_size: int = MAP_SIZE) -> None:
        self.namespace = namespace
        self._environment = environment(Path(folder), map_size)

    def snapshot(self) -> LmdbSnapshot:
        """Open a consistent state for reading; use it in a `with`."""
        return LmdbSnapshot(self)

    def write(self, work: Callable[[LmdbTransaction], T]) -> T:
        """Run `work` in one durable transaction, from the start again when the file's map had to grow."""
        return self._environment.write(lambda transaction: work(LmdbTransaction(self, transaction)))

    def track(self, digest: str, part: str) -> bytes:
        """`e` and 16 bytes that stand for the namespace, the definition and the part."""
        return track_of(self.namespace, digest, part)

    def count(self, subject: Mapping[str, object]) -> int:
        """How many entries an entity has, in all namespaces."""
        with self.snapshot() as snapshot:
            return sum(1 for prefix in timelines_of(snapshot, subject) for _ in snapshot.between(prefix, *EVER))

    def forget(self, subject: Mapping[str, object], *, rewrite: bool = False) -> int:
        """Remove an entity's timelines in all namespaces, then rewrite the file so that its old pages are gone too.

        Returns the number of entries removed.

        Args:
            rewrite: also when nothing was removed, as after a forgetting that was killed in between.
        """
        removed = self.write(
            lambda transaction: sum(transaction.cut(prefix, EVER[0]) for prefix in timelines_of(transaction, subject))
        )
        if removed or rewrite:
            self._environment.replace(_copy)
        return removed

    def close(self) -> None:
        """Close the file for this process; the next use opens it again."""
        self._environment.close()


class LmdbSnapshot:
    """A read transaction."""

    def __init__(self, store: LmdbStore) -> None:
        self._store = store
        self._transaction: Any = None
        self._cursor: Any = None

    def __enter__(self) -> LmdbSnapshot:
        self._transaction = self._store._environment.begin()
        self._cursor = self._transaction.cursor()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._store._environment.end(self._transaction)

    def newest(self, prefix: bytes, at: int) -> bytes | None:
        """The value of the newest entry not after `at`: one seek."""
        cursor = self._cursor
        if cursor.set_range(prefix + reversed_time(at)):
            key: bytes
            value: bytes
            key, value = cursor.item()
            if key[:-8] == prefix:
                return value
        return None

    def newest_time(self, prefix: bytes, at: int) -> int | None:
        """The time of the newest entry not after `at`: one seek."""
        cursor = self._cursor
        if not cursor.set_range(prefix + reversed_time(at)):
            return None
        key: bytes = cursor.key()
        return time_of(key) if key[:-8] == prefix else None

    def newest_many(self, wanted: Sequence[tuple[bytes, int]]) -> list[bytes | None]:
        """What `newest` gives for each."""
        return [self.newest(prefix, at) for prefix, at in wanted]

    def between(self, prefix: bytes, first: int, last: int) -> Iterator[Entry]:
        """Entries with first <= time <= last, newest first: one seek, then steps."""
        cursor = self._cursor
        found = cursor.set_range(prefix + reversed_time(last))
        while found:
            key, value = cursor.item()
            if key[:-8] != prefix or (at := time_of(key)) < first:
                return
            yield at, value
            found = cursor.next()

    def gather(self, work: Callable[[], T]) -> T:
        """Run `work`, once: its look-ups cost nothing to speak of."""
        return work()

    def view(self, digest: str) -> ViewRecord | None:
        """What is held of a definition in this namespace."""
        found = self._transaction.get(self._view_key(digest))
        return None if found is None else msgspec.msgpack.decode(found, type=ViewRecord)

    def views(self) -> list[ViewRecord]:
        """What is held in this namespace."""
        return sorted((r for name, r in self.records() if name == self._store.namespace), key=lambda r: r.view)

    def records(self) -> Iterator[tuple[str, ViewRecord]]:
        """What is held, with its namespace."""
        with self._transaction.cursor() as cursor:
            found = cursor.set_range(_VIEWS)
            while found and cursor.key()[:1] == _VIEWS:
                namespace = cursor.key()[1:].split(b"\0")[0].decode()
                yield namespace, msgspec.msgpack.decode(cursor.value(), type=ViewRecord)
                found = cursor.next()

    def prefixes(self, track: bytes) -> Iterator[bytes]:
        """The timelines of a track, in the order of their entity keys."""
        with self._transaction.cursor() as cursor:
            found = cursor.set_range(track)
            while found:
                prefix = cursor.key()[:-8]
                if prefix[:TRACK] != track:
                    return
                yield prefix
                # The oldest entry a timeline can have is the last of its keys.
                found = cursor.set_range(prefix + b"\xff" * 9)

    def _view_key(self, digest: str) -> bytes:
        return _VIEWS + self._store.namespace.encode() + b"\0" + digest.encode()


class LmdbTransaction(LmdbSnapshot):
    """A write transaction."""

    def __init__(self, store: LmdbStore, transaction: Any) -> None:
        super().__init__(store)
        self._transaction = transaction
        self._cursor = transaction.cursor()

    def put(self, prefix: bytes, entries: Sequence[Entry]) -> None:
        """Write entries to one timeline."""
        self.put_many((prefix + reversed_time(at), value) for at, value in entries)

    def put_many(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Write entries of any timelines."""
        self._cursor.putmulti(items)

    def cut(self, prefix: bytes, first: int) -> int:
        """Remove entries with time >= first."""
        cursor, removed = self._cursor, 0
        found = cursor.set_range(prefix + reversed_time(2**63 - 1))
        while found and cursor.key()[:-8] == prefix and time_of(cursor.key()) >= first:
            # Deleting moves the cursor to the next entry.
            found = cursor.delete() and cursor.key() != b""
            removed += 1
        return removed

    def cut_many(self, wanted: Sequence[tuple[bytes, int]]) -> int:
        """Cut each; return how many entries were removed in all."""
        return sum(self.cut(prefix, first) for prefix, first in wanted)

    def record(self, record: ViewRecord) -> None:
        """Write what is held of a definition."""
        self._transaction.put(self._view_key(record.digest), msgspec.msgpack.encode(record))


def _copy(source: Any, target: Any) -> None:
    with source.cursor() as cursor, target.cursor() as fresh:
        fresh.putmulti((item for item in cursor if item[0] != MOVED), append=True)
