"""A journal: records that are in the operating system's hands before anyone is told that they are kept.

Records of one turn of the event loop are written with one `write`. A thread puts them on the disk (`fdatasync`) shortly
after; so a killed process loses nothing, and a machine that loses its power loses at most the last `sync_s` seconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from zlib_ng.zlib_ng import crc32

from bascule.catalog import new_id
from bascule.errors import EnvironmentProblem
from bascule.serving.log.frames import HEADER
from bascule.serving.log.segment import SUFFIX, Bytes, Segment

SEAL = "seal"
_pack = HEADER.pack
PROBE = 4096


class JournalLimits(msgspec.Struct, frozen=True):
    """When a segment ends: after so many bytes, or so many seconds; and how long a record may wait for the disk."""

    segment_bytes: int = 64 << 20
    segment_s: float = 30.0
    sync_s: float = 0.1


class Journal:
    """The segments that one process writes for one record table. All but its syncing belongs to one thread.

    Attributes:
        epoch: changes whenever what was appended before must be said again: a new segment began, or a write failed.
        failing: the last write failed, and none has worked since.
        unlogged: answers that left though they could not be kept, as their deployment has it.

    Args:
        folder: where the segments go; made when it is not there.
    """

    def __init__(self, folder: Path, limits: JournalLimits | None = None) -> None:
        self.folder = folder
        self.epoch = 0
        self.failing = False
        self.unlogged = 0
        self._limits = limits or JournalLimits()
        self._worker = new_id("w").replace("_", "")
        self._number = 0
        self._parts: list[Bytes] = []
        self._large = False  # some of them had better not be copied
        self._segment: Segment | None = None
        self._began = 0.0
        self._asked = 0
        self._closing: deque[Segment] = deque()
        self._dirty = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sync_forever, name=f"sync-{folder.name}", daemon=True)
        self._thread.start()

    def append(self, payload: bytes) -> None:
        """Add a record to the turn. It is kept when `commit` has returned."""
        self._parts += (_pack(len(payload), crc32(payload)), payload)

    def append_parts(self, parts: Sequence[Bytes]) -> None:
        """Add a large record that lies in several pieces, without copying it; none may change before `commit`."""
        length, checksum = 0, 0
        for part in parts:
            length += len(part)
            checksum = crc32(part, checksum)
        self._parts += (_pack(length, checksum), *parts)
        self._large = True

    def commit(self) -> None:
        """Write the turn's records.

        Raises:
            EnvironmentProblem: none of them is kept; the segment is as it was before.
        """
        parts = self._parts
        if not parts:
            return
        try:
            segment = self._segment or self._open()
            if self._large:
                segment.write_parts(parts)
            else:
                segment.write(b"".join(parts))
        except OSError as error:
            self.epoch += 1
            self.failing = True
            raise _refused(self.folder, error) from error
        finally:
            self._parts, self._large = [], False
        self.failing = False
        if not self._dirty.is_set():
            self._dirty.set()
        if segment.size >= self._limits.segment_bytes:
            self._end()

    @property
    def base(self) -> Journal:
        """Itself."""
        return self

    def spares(self) -> bool:
        """Nothing leaves that was not kept."""
        return False

    def tick(self) -> None:
        """End the segment when its time has come or somebody asked for it. Call it a few times a second."""
        if self._segment is None or self._parts:
            return
        if time.monotonic() - self._began >= self._limits.segment_s or _asked(self.folder) != self._asked:
            self._end()

    def works(self) -> bool:
        """Return whether records can be written now; after a failure this tries a write and takes it back."""
        if not self.failing:
            return True
        try:
            segment = self._segment or self._open()
            segment.write(bytes(PROBE))
            os.ftruncate(segment.descriptor, segment.size - PROBE)
            segment.size -= PROBE
        except OSError:
            return False
        self.failing = False
        return True

    def close(self) -> None:
        """Write what is left, put everything on the disk and let go of the segments."""
        try:
            self.commit()
        finally:
            self._end()
            self._stopped.set()
            self._dirty.set()
            self._thread.join()

    def _open(self) -> Segment:
        self.folder.mkdir(parents=True, exist_ok=True)
        while True:
            self._number += 1
            try:
                segment = Segment(self.folder / f"{self._worker}-{self._number:06}{SUFFIX}")
                break
            except (BlockingIOError, FileNotFoundError):
                continue  # a mover found the file empty and took it away
        self._segment = segment
        self._began = time.monotonic()
        self._asked = _asked(self.folder)
        return segment

    def _end(self) -> None:
        if self._segment is None:
            return
        self._closing.append(self._segment)
        self._segment = None
        self.epoch += 1
        self._dirty.set()

    def _sync_forever(self) -> None:
        while not self._stopped.is_set():
            self._dirty.wait()
            self._stopped.wait(self._limits.sync_s)
            self._dirty.clear()
            self._sync()
        self._sync()

    def _sync(self) -> None:
        segment = self._segment
        try:
            while self._closing:
                self._closing[0].close()
                self._closing.popleft()
            if segment is not None:
                os.fdatasync(segment.descriptor)
        except OSError:
            self._dirty.set()  # the disk refuses: the next round tries again


class Spared:
    """A journal for answers that leave also when it cannot be written; they are counted."""

    def __init__(self, journal: Journal) -> None:
        self.base = journal
        self.commit = journal.commit

    def spares(self) -> bool:
        """Count an answer that is not in the log."""
        self.base.unlogged += 1
        return True


class Counted:
    """A journal for the answers of one version, which is told of each that does not leave because it was not kept."""

    def __init__(self, journal: Journal, missed: Callable[[], None]) -> None:
        self.base = journal
        self.commit = journal.commit
        self._missed = missed

    def spares(self) -> bool:
        """Nothing leaves that was not kept; count it."""
        self._missed()
        return False


def seal(folder: Path) -> None:
    """Ask the writers of a folder to end their segments, so that they can be moved. They do so within a second."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SEAL
    path.touch()
    os.utime(path)


def _asked(folder: Path) -> int:
    """Return when the segments of a folder were last asked to end; only a change of it means anything."""
    try:
        return (folder / SEAL).stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def _refused(folder: Path, error: OSError) -> EnvironmentProblem:
    return EnvironmentProblem(
        f"The record could not be written to {folder}: {error.strerror or error}.",
        hint="Make room on the disk; what was answered before is kept, and this request may be repeated.",
    )
