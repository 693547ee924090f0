"""Writing files of a set into a folder that nobody looks at yet."""

from __future__ import annotations

import os
import stat as modes
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from bascule.errors import EnvironmentProblem
from bascule.lake.filesets.entries import EXECUTABLE, LINK, PACKED, Entry
from bascule.lake.filesets.packs import read_items
from bascule.lake.filesets.paths import checked_link
from bascule.lake.filesets.reading import pieces, verified, whole_blob
from bascule.lake.filesets.statcache import StatCache, known_of
from bascule.store import BlobStore

How = Literal["copied", "cloned", "linked", "there"]
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_FICLONE = 0x40049409  # linux/fs.h


class Writer:
    """Writes entries below a folder, and knows each file's digest from then on.

    A finished file has the modification time `stamp`, in nanoseconds: one without it was being written when its writer
    was killed, and is written anew.

    Args:
        root: the folder that files are renamed into later, under whose name they are known.
        link: make hard links to blobs that hold one file.
    """

    def __init__(
        self, store: BlobStore, staging: Path, stamp: int, root: Path, cache: StatCache, where: str, link: bool
    ) -> None:
        self.store, self.staging, self.stamp, self.root = store, str(staging), stamp, str(root)
        self.cache, self.where, self.link = cache, where, link
        self._made: set[str] = set()
        self._begun = any(True for _ in staging.iterdir())

    def write(self, window: list[Entry]) -> Iterator[tuple[Entry, How]]:
        """Write some files; those of packs in the order in which they lie there.

        Raises:
            EnvironmentProblem: a blob is missing or damaged, or the disk is full.
        """
        try:
            left = window
            if self._begun:
                left = [entry for entry in window if not self._is_there(entry)]
                done = {entry.path for entry in left}
                yield from ((entry, "there") for entry in window if entry.path not in done)
            packed = sorted((e for e in left if e.how == PACKED), key=lambda e: (e.pack, e.offset))
            for entry, data in read_items(self.store, packed, self.where):
                self._put(entry, verified(self.store, entry, data, self.where))
                yield entry, "copied"
            for entry in left:
                if entry.how != PACKED:
                    yield entry, self._large(entry)
        except OSError as error:
            raise EnvironmentProblem(
                f"Cannot write to {self.root}: {error.strerror or error}.",
                hint="Free some space or check the rights, then repeat: it goes on where it stopped.",
            ) from error

    def _is_there(self, entry: Entry) -> bool:
        try:
            stat = os.lstat(f"{self.staging}/{entry.path}")
        except OSError:
            return False
        # A hard link has its blob's time, and is made whole or not at all.
        return stat.st_size == entry.size and (stat.st_mtime_ns == self.stamp) and modes.S_ISREG(stat.st_mode)

    def _put(self, entry: Entry, data: bytes) -> None:
        path = self._place(entry)
        if entry.mode == LINK:
            target = checked_link(entry.path, os.fsdecode(data), self.where)
            if os.path.lexists(path):
                os.unlink(path)
            os.symlink(target, path)
            return
        handle = self._opened(path, entry)
        try:
            written = os.write(handle, data)
            while written < len(data):
                written += os.write(handle, data[written:])
            self._finish(handle, path, entry)
        finally:
            os.close(handle)

    def _large(self, entry: Entry) -> How:
        path = self._place(entry)
        blob = whole_blob(self.store, entry, self.where)
        if blob is not None and self.link and entry.mode != EXECUTABLE and self._linked(blob, path, entry):
            return "linked"
        handle = self._opened(path, entry)
        try:
            cloned = blob is not None and _clone(blob, handle)
            if not cloned:
                for data in pieces(self.store, entry, self.where):
                    view = memoryview(data)
                    while view:
                        view = view[os.write(handle, view) :]
            self._finish(handle, path, entry)
        finally:
            os.close(handle)
        return "cloned" if cloned else "copied"

    def _linked(self, blob: Path, path: str, entry: Entry) -> bool:
        if os.path.lexists(path):
            os.unlink(path)
        try:
            # Read-only first: nothing that can be written to may share the store's bytes for a moment.
            os.chmod(blob, 0o444)
            os.link(blob, path)
        except OSError:
            return False  # another disk, or one without links
        self._remember(entry, os.lstat(path))
        return True

    def _place(self, entry: Entry) -> str:
        folder, _, _ = entry.path.rpartition("/")
        if folder not in self._made:
            os.makedirs(f"{self.staging}/{folder}", exist_ok=True)
            self._made.add(folder)
        return f"{self.staging}/{entry.path}"

    def _opened(self, path: str, entry: Entry) -> int:
        if self._begun and os.path.lexists(path):
            os.unlink(path)
        return os.open(path, _FLAGS, 0o777 if entry.mode == EXECUTABLE else 0o666)

    def _finish(self, handle: int, path: str, entry: Entry) -> None:
        if sys.platform == "win32":
            os.utime(path, ns=(self.stamp, self.stamp))
        else:
            os.utime(handle, ns=(self.stamp, self.stamp))
        self._remember(entry, os.fstat(handle))

    def _remember(self, entry: Entry, stat: os.stat_result) -> None:
        folder, _, name = entry.path.rpartition("/")
        self.cache.remember(f"{self.root}/{folder}" if folder else self.root, name, known_of(stat, entry.digest))


def _clone(blob: Path, handle: int) -> bool:
    """Let a file share the blocks of a blob until either is written to, where the disk can (Btrfs, XFS)."""
    if not sys.platform.startswith("linux"):
        return False
    import fcntl

    with open(blob, "rb") as source:
        try:
            fcntl.ioctl(handle, _FICLONE, source.fileno())
        except OSError:
            return False
    return True
