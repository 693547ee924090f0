"""One LMDB file, open once in this process.

LMDB wants three things of its callers that are taken care of here: a file is opened once in a process, is not carried
through a fork, and its map grows only while no transaction is open. The file may also move (when forgotten data is
scrubbed): it then holds a note of its successor, which every reader and writer follows.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from bascule.errors import Busy, EnvironmentProblem

T = TypeVar("T")
MAP_SIZE = 16 << 30  # address space, not disk: the file grows as it fills
MOVED = b"moved"
FIRST = "timelines.mdb"
_PATIENCE = 30.0
_open: weakref.WeakValueDictionary[str, Environment] = weakref.WeakValueDictionary()
_opening = threading.Lock()


def environment(folder: Path, map_size: int) -> Environment:
    """Return the environment of a folder: the same object for everyone in this process."""
    path = os.path.realpath(folder)
    with _opening:
        found = _open.get(path)
        if found is None:
            found = _open[path] = Environment(Path(path), map_size)
        return found


class Environment:
    """The file, its readers in this process, and its growth."""

    def __init__(self, folder: Path, map_size: int) -> None:
        self.folder = folder
        self._map_size = map_size
        self._env: Any = None
        self._active = 0
        self._exclusive = False
        self._inherited = False
        # A plain lock: what the forking thread acquires, its child may release.
        self._changed = threading.Condition(threading.Lock())

    def begin(self) -> Any:
        """Begin a read transaction. Every `begin` is followed by one `end`."""
        while True:
            env = self._enter()
            try:
                transaction = env.begin()
            except lmdb.MapResizedError:
                self._leave()
                self._grow(0)
                continue
            except lmdb.Error as error:
                self._leave()
                raise self._problem("read", error) from error
            if transaction.get(MOVED) is None:
                return transaction
            self.end(transaction)
            self.close()

    def end(self, transaction: Any) -> None:
        """End a read transaction."""
        transaction.abort()
        self._leave()

    def write(self, work: Callable[[Any], T]) -> T:
        """Run `work` in one write transaction; again from the start when the map had to grow or the file has moved."""
        while True:
            env = self._enter()
            grow: int | None = None
            try:
                env.reader_check()  # readers that were killed would keep old pages from being reused
                with env.begin(write=True) as transaction:
                    if transaction.get(MOVED) is None:
                        return work(transaction)
            except lmdb.MapFullError:
                grow = env.info()["map_size"] * 2
            except lmdb.MapResizedError:
                grow = 0
            except lmdb.Error as error:
                raise self._problem("written", error) from error
            finally:
                self._leave()
            if grow is None:
                self.close()
            else:
                self._grow(grow)

    def close(self) -> None:
        """Close the file once nobody reads it; the next use opens it again."""
        with self._alone():
            self._close()

    def replace(self, copy: Callable[[Any, Any], None]) -> None:
        """Rebuild the file: `copy` gets a read transaction of the old and a write transaction of the new one.

        Writers wait meanwhile. Whoever has the old file open goes over to the new one at its next read; the old one is
        removed, and its bytes are gone once the last reader has gone over. A crash on the way leaves one of the two.
        """

        def move(transaction: Any) -> None:
            old = self._current()
            new = self.folder / f"timelines-{_number(old) + 1}.mdb"
            remove(new)  # what a crash left
            with lmdb.open(str(new), subdir=False, map_size=self._map_size) as env, env.begin(write=True) as target:
                copy(transaction, target)
            transaction.put(MOVED, new.name.encode())

        self.write(move)
        self.close()
        self._enter()
        self._leave()

    def _enter(self) -> Any:
        with self._changed:
            while self._exclusive:
                self._changed.wait()
            if self._env is None:
                self._env = self._opened()
            self._active += 1
            return self._env

    def _leave(self) -> None:
        with self._changed:
            self._active -= 1
            if self._active == 0 and self._exclusive:  # somebody waits for the last reader
                self._changed.notify_all()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._changed:
            if not self._changed.wait_for(lambda: not self._exclusive, _PATIENCE):
                raise Busy(f"The online store at {self.folder} is busy.", hint="Try again.")
            self._exclusive = True
            idle = self._changed.wait_for(lambda: not self._active, _PATIENCE)
        try:
            if not idle:
                raise Busy(f"Readers hold the online store at {self.folder}.", hint="End them, and try again.")
            yield
        finally:
            with self._changed:
                self._exclusive = False
                self._changed.notify_all()

    def _grow(self, size: int) -> None:
        with self._alone():
            if self._env is not None:
                # 0 adopts the size that another process has set.
                self._env.set_mapsize(size)
                self._map_size = max(self._map_size, self._env.info()["map_size"])

    def _opened(self) -> Any:
        if self._inherited:
            raise EnvironmentProblem(
                f"The online store at {self.folder} was being used while this process was forked.",
                hint="Start processes before reading from the store, or use the spawn method of multiprocessing.",
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            while True:
                path = self._current()
                env = lmdb.open(str(path), subdir=False, map_size=self._map_size, max_readers=1024)
                successor = self._successor(env)
                if successor is None and path == self._current():
                    return env
                env.close()
                if successor is not None:
                    self._point_to(successor)
                remove(path)
        except (lmdb.Error, OSError) as error:
            raise self._problem("opened", error) from error

    def _current(self) -> Path:
        try:
            return self.folder / (self.folder / "current").read_text()
        except FileNotFoundError:
            return self.folder / FIRST

    def _successor(self, env: Any) -> str | None:
        try:
            with env.begin() as transaction:
                moved = transaction.get(MOVED)
        except lmdb.MapResizedError:
            env.set_mapsize(0)
            return self._successor(env)
        return None if moved is None else bytes(moved).decode()

    def _point_to(self, name: str) -> None:
        # Two processes may do this at once: each has a file of its own until the rename.
        fresh = self.folder / f"current-{os.getpid()}-{threading.get_ident()}"
        fresh.write_text(name)
        fresh.replace(self.folder / "current")

    def _close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None

    def before_fork(self) -> None:
        """Close the file for the moment of the fork: neither side may carry it over. Both open it again when needed."""
        self._changed.acquire()
        if self._changed.wait_for(lambda: not self._active and not self._exclusive, 1.0):
            self._close()

    def after_fork(self, child: bool) -> None:
        """Go on. A child that was forked in the middle of a read cannot use the file, and says so when asked to."""
        if child:
            self._inherited = self._env is not None
            self._env, self._active, self._exclusive = None, 0, False
        self._changed.release()

    def _problem(self, verb: str, error: Exception) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"The online store at {self.folder} could not be {verb}: {error}.",
            hint="Free some space if the disk is full, or check the folder's permissions; then repeat.",
        )


def _number(path: Path) -> int:
    return int(path.stem.split("-")[1]) if "-" in path.stem else 0


def remove(path: Path) -> None:
    """Remove an LMDB file and its lock file."""
    for name in (path, path.with_name(path.name + "-lock")):
        with suppress(FileNotFoundError):
            name.unlink()


def _before_fork() -> None:
    for found in list(_open.values()):
        found.before_fork()


def _after_fork(child: bool) -> None:
    for found in list(_open.values()):
        found.after_fork(child)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=lambda: _after_fork(False), after_in_child=lambda: _after_fork(True)
    )
