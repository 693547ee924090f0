"""What is known of files on this machine's disk, so that nothing is read twice: whose content had which digest.

A file is taken for unchanged when its size, its inode, its time of modification and its time of change (ctime, which no
tool can set) are those of when it was read. That is safe only if a later change must show in one of them. A disk's
clock ticks, so a change in the same tick as the reading would not; hence, as in git's rule for "racily clean" files,
what was changed within `TICK` before it was read is not remembered. A checkout gives its files a time in the past
instead: any later write gives another one.

Beside it stand the places: which version of which set a folder has, and the packs of an `add` that has not ended.

The file is a cache. What cannot be written into it is only asked of the disk again; a damaged one is made anew.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from operator import attrgetter
from os.path import isdir
from pathlib import Path
from typing import Any

import msgspec

from bascule.errors import EnvironmentProblem
from bascule.lake.filesets.entries import Digest, Object

# Two ticks of the coarsest clock that a disk has (FAT's); of one that tells less than microseconds, two of Linux's.
COARSE_TICK, TICK = 4_000_000_000, 20_000_000
FLUSH = 10_000

# Size, modified, changed (both in nanoseconds), inode, digest.
Known = tuple[int, int, int, int, Digest]

_decode = msgspec.msgpack.Decoder(dict[str, Known]).decode
_encode = msgspec.msgpack.Encoder().encode
_TABLES = """
CREATE TABLE IF NOT EXISTS folders (path TEXT PRIMARY KEY, known BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS places (path TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS packs (digest BLOB PRIMARY KEY, held BLOB NOT NULL) WITHOUT ROWID;
"""


class Place(msgspec.Struct, frozen=True):
    """Which version of a set a folder has.

    Attributes:
        name: the set.
        branch: the branch that was current.
        value: the object of that version.
        only: the patterns that a partial checkout was limited to; none for the whole set.
    """

    name: str
    branch: str
    value: Object
    only: tuple[str, ...] = ()


# What a finished pack of an unfinished `add` holds: digest, offset, length.
Held = list[tuple[Digest, int, int]]


class StatCache:
    """The cache of one workspace. For one thread."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._fresh: dict[str, dict[str, Known]] = {}
        self._moving: dict[str, dict[str, Known]] = {}
        self._unsaved = 0
        self._largest = FLUSH
        self._connection: sqlite3.Connection | None = None

    # Files -----------------------------------------------------------------------------------------------------------

    def folder(self, path: str) -> dict[str, Known]:
        """Return what is known of the files of a folder, by name."""
        found = self._ask("SELECT known FROM folders WHERE path = ?", (path,))
        known = {}
        if found:
            with suppress(msgspec.DecodeError):
                known = _decode(found[0][0])
        return known | self._fresh[path] if path in self._fresh else known

    def remember(self, folder: str, name: str, known: Known) -> None:
        """Know a file's digest from now on."""
        names = self._fresh.get(folder)
        if names is None:
            names = self._fresh[folder] = {}
        names[name] = known
        self._unsaved += 1
        if len(names) > self._largest:
            self._largest = len(names)
        if self._unsaved >= self._largest:
            self.save()

    def moved(self, folder: str, name: str, stat: os.stat_result) -> None:
        """Go on knowing a file that was only renamed."""
        known = self._moving.get(folder)
        if known is None:
            self._moving = {folder: self.folder(folder)}
            known = self._moving[folder]
        was = known.get(name)
        if was is not None and was[3] == inode(stat) and was[:2] == (stat.st_size, stat.st_mtime_ns):
            self.remember(folder, name, known_of(stat, was[4]))

    def replace(self, folder: str, known: dict[str, Known]) -> None:
        """Know just this of a folder: the rest of it is gone."""
        self._write("REPLACE INTO folders VALUES (?, ?)", [(folder, _encode(known))])

    def save(self) -> None:
        """Write down what is not yet."""
        if self._fresh:
            rows = [(path, _encode(self.folder(path))) for path in self._fresh]
            self._largest = max(FLUSH, *(len(names) for names in self._fresh.values()))
            self._write("REPLACE INTO folders VALUES (?, ?)", rows)
        self._fresh, self._unsaved = {}, 0

    # Places ----------------------------------------------------------------------------------------------------------

    def place(self, folder: Path) -> Place | None:
        """Return which version a folder has, if one was added from there or checked out to there."""
        found = self._ask("SELECT body FROM places WHERE path = ?", (str(folder),))
        return _place(found[0][0]) if found else None

    def places(self, name: str) -> list[Path]:
        """Return the folders that have a version of a set, and are there."""
        found = self._ask("SELECT path, body FROM places ORDER BY path")
        return [Path(path) for path, body in found if (place := _place(body)) and place.name == name and isdir(path)]

    def settle(self, folder: Path, place: Place) -> None:
        """Write down which version a folder has. Raises `EnvironmentProblem` when that cannot be written."""
        with self._told():
            self._open().execute("REPLACE INTO places VALUES (?, ?)", (str(folder), _encode(place)))

    # Packs of an unfinished add --------------------------------------------------------------------------------------

    def packs(self) -> Iterator[tuple[Digest, Held]]:
        """Iterate over the packs that killed additions have put into the store."""
        for digest, held in self._ask("SELECT digest, held FROM packs"):
            with suppress(msgspec.DecodeError):
                yield digest, msgspec.msgpack.decode(held, type=Held)

    def purge(self) -> None:
        """Forget the names and digests of all files, and leave no old page of them behind; places stay.

        Files are only read again. Of places, the versions stay whose manifests are there.
        """
        self._fresh, self._unsaved = {}, 0
        with suppress(sqlite3.Error, OSError):
            connection = self._open()
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("DELETE FROM folders")
            connection.execute("DELETE FROM packs")
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def keep_pack(self, digest: Digest, held: Held) -> None:
        """Remember a pack until the addition that made it has ended."""
        self._write("REPLACE INTO packs VALUES (?, ?)", [(digest, _encode(held))])

    def drop_packs(self, digests: Sequence[Digest]) -> None:
        """Forget packs, because what they hold is in the history or they are gone."""
        self._write("DELETE FROM packs WHERE digest = ?", [(digest,) for digest in digests])

    # Inside ----------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Write down what is known and close the file."""
        self.save()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> StatCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._connection = self._connected()
            except sqlite3.DatabaseError as error:
                if isinstance(error, sqlite3.OperationalError):
                    raise
                for name in (self.file, *(self.file.with_name(self.file.name + end) for end in ("-wal", "-shm"))):
                    name.unlink(missing_ok=True)
                self._connection = self._connected()
        return self._connection

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, timeout=30, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.executescript(_TABLES)
        return connection

    def _ask(self, query: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        try:
            return self._open().execute(query, values).fetchall()
        except (sqlite3.Error, OSError):
            return []

    def _write(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        with suppress(sqlite3.Error, OSError):
            connection = self._open()
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.executemany(statement, rows)
                connection.execute("COMMIT")
            except BaseException:
                connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise EnvironmentProblem(
                f"Cannot write to {self.file}: {error}.", hint="Free some space or check the rights, then repeat."
            ) from error


def _place(body: bytes) -> Place | None:
    try:
        return msgspec.msgpack.decode(body, type=Place)
    except msgspec.DecodeError:
        return None


if sys.platform == "win32":  # which knows of changes of the content only, and no inodes when it lists a folder

    def changed_at(stat: os.stat_result) -> int:
        """Return when a file was last changed in any way, in nanoseconds."""
        return stat.st_mtime_ns

    def inode(stat: os.stat_result) -> int:
        """Return a file's inode."""
        return 0
else:
    changed_at: Callable[[os.stat_result], int] = attrgetter("st_ctime_ns")
    inode: Callable[[os.stat_result], int] = attrgetter("st_ino")


def known_of(stat: os.stat_result, digest: Digest) -> Known:
    """Return what is remembered of a file: the state that it had when its content had a digest."""
    return stat.st_size, stat.st_mtime_ns, changed_at(stat), inode(stat), digest


def is_settled(stat: os.stat_result, read_at: int) -> bool:
    """Tell whether a later change must show.

    Args:
        stat: of the file, from after it was read; the same as before.
        read_at: when reading began (`time.time_ns`).
    """
    changed = changed_at(stat)
    tick = COARSE_TICK if changed % 1_000_000 == 0 else TICK
    return changed + tick < read_at


def past() -> int:
    """Return a modification time, in nanoseconds, that no later write gets, and that every disk can hold."""
    return (time.time_ns() // 2_000_000_000 - 3) * 2_000_000_000


def same_state(a: os.stat_result, b: os.stat_result) -> bool:
    """Tell whether nothing happened to a file between two looks at it."""
    same: bool = a.st_mtime_ns == b.st_mtime_ns and a.st_size == b.st_size and changed_at(a) == changed_at(b)
    return same and bool(inode(a) == inode(b))
