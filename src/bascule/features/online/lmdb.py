"""The embedded online store: one LMDB file a branch, readable by any number of processes while one writes.

A key is the view (8 bytes of its definition's digest), the entity (16 bytes) and the time (8 bytes, big-endian), so a
timeline lies together and "the last at or before t" is one seek.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from bascule.errors import EnvironmentProblem, NotFound
from bascule.features.online.store import Entry, Lookup, moment_key

VERSIONS = b"versions"
TIMELINES = b"timelines"
VIEW_BYTES = 8
FIRST_SIZE = 1 << 28
LARGEST = 1 << 40


def open_online_store(folder: Path, branch: str, *, readonly: bool = False) -> LmdbStore:
    """Open the online store of a branch; it is made when it is opened for writing.

    Raises:
        NotFound: it is opened for reading and there is none.
    """
    return LmdbStore(folder / (branch.replace("/", "%2F") + ".lmdb"), readonly=readonly)


class LmdbStore:
    """See `OnlineStore`. Use it as a context manager, or call `close`."""

    def __init__(self, path: Path, *, readonly: bool = False) -> None:
        if readonly and not (path / "data.mdb").exists():
            raise NotFound("online store", path.stem, hint="Fill it with: bascule run")
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.readonly = readonly
        self._pid = os.getpid()
        self._environment = self._open()

    def replace(self, view: str, entries: Iterable[Entry], version: str) -> int:
        """See `OnlineStore.replace`. The file grows as needed."""
        kept = [(prefix(view) + key + moment_key(at), value) for key, at, value in entries]
        kept.sort()
        while True:
            try:
                return self._replace(view, kept, version)
            except lmdb.MapFullError:
                self._grow()

    def version(self, view: str) -> str | None:
        """See `OnlineStore.version`."""
        with self._environment.begin(db=self._versions) as transaction:
            found = transaction.get(view.encode())
        return bytes(found).decode() if found is not None else None

    def delete_entity(self, key: bytes) -> int:
        """See `OnlineStore.delete_entity`."""
        count = 0
        with self._environment.begin(write=True) as transaction:
            cursor = transaction.cursor(self._timelines)
            for name in list(transaction.cursor(self._versions).iternext(keys=True, values=False)):
                start = prefix(bytes(name).decode()) + key
                while cursor.set_range(start) and bytes(cursor.key()).startswith(start):
                    cursor.delete()
                    count += 1
        return count

    def count_entity(self, key: bytes) -> int:
        """Return how many entries an entity has over all views."""
        count = 0
        with self._environment.begin() as transaction:
            cursor = transaction.cursor(self._timelines)
            for name in list(transaction.cursor(self._versions).iternext(keys=True, values=False)):
                start = prefix(bytes(name).decode()) + key
                found = cursor.set_range(start)
                while found and bytes(cursor.key()).startswith(start):
                    count += 1
                    found = cursor.next()
        return count

    @contextmanager
    def reading(self, view: str) -> Iterator[Lookup]:
        """See `OnlineStore.reading`."""
        start, length = prefix(view), VIEW_BYTES + 16
        with self._environment.begin(db=self._timelines, buffers=False) as transaction:
            cursor = transaction.cursor()

            def last(key: bytes, at: int) -> bytes | None:
                wanted = start + key
                found = cursor.set_range(wanted + moment_key(at + 1))
                if not (cursor.prev() if found else cursor.last()):
                    return None
                held: bytes = cursor.key()
                return cursor.value() if held[:length] == wanted else None

            yield last

    def close(self) -> None:
        """Give the file back. A process that was forked from the one that opened it leaves it alone."""
        if self._pid == os.getpid():
            self._environment.close()

    def __enter__(self) -> LmdbStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> lmdb.Environment:
        try:
            size = max(FIRST_SIZE, (self.path / "data.mdb").stat().st_size * 2) if not self.readonly else LARGEST
        except FileNotFoundError:
            size = FIRST_SIZE
        try:
            made = lmdb.open(
                str(self.path),
                map_size=size,
                max_dbs=2,
                max_readers=1024,
                readonly=self.readonly,
                lock=True,
                readahead=False,
            )
            self._versions = made.open_db(VERSIONS, create=not self.readonly)
            self._timelines = made.open_db(TIMELINES, create=not self.readonly)
        except lmdb.NotFoundError:
            raise NotFound("online store", self.path.stem, hint="Fill it with: bascule run") from None
        except lmdb.Error as error:
            raise EnvironmentProblem(
                f"The online store {self.path} cannot be opened: {error}",
                hint="Check the rights of the folder; `bascule step run materialise` fills an empty one again.",
            ) from error
        return made

    def _replace(self, view: str, entries: list[tuple[bytes, bytes]], version: str) -> int:
        start = prefix(view)
        try:
            with self._environment.begin(write=True) as transaction:
                cursor = transaction.cursor(self._timelines)
                while cursor.set_range(start) and bytes(cursor.key()).startswith(start):
                    cursor.delete()
                cursor.putmulti(entries, dupdata=False)
                transaction.put(view.encode(), version.encode(), db=self._versions)
        except lmdb.MapFullError:
            raise
        except lmdb.Error as error:
            raise EnvironmentProblem(
                f"The online store {self.path} cannot be written: {error}. It is as it was before.",
                hint="Free some space if the disk is full, then repeat.",
            ) from error
        return len(entries)

    def _grow(self) -> None:
        size = self._environment.info()["map_size"] * 2
        if size > LARGEST:
            raise EnvironmentProblem(
                f"The online store {self.path} would grow beyond {LARGEST >> 30} GiB.",
                hint="Materialise fewer views or a shorter past, or use a store of another kind.",
            )
        self._environment.set_mapsize(size)


def prefix(view: str) -> bytes:
    """Return the first bytes of a view's keys, from the digest of its definition."""
    return bytes.fromhex(view[: 2 * VIEW_BYTES])
