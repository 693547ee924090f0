"""One segment file and its writer. The writer holds a lock on it that the operating system drops when it dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

SUFFIX = ".log"
MOST_PARTS = os.sysconf("SC_IOV_MAX")
Bytes = bytes | bytearray | memoryview


class Segment:
    """A segment file that is being written.

    Args:
        path: the file; it must not be there yet.

    Raises:
        OSError: it cannot be made, or a mover took the empty file first (BlockingIOError, FileNotFoundError).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(self.descriptor).st_nlink == 0:
                raise FileNotFoundError(path)
        except OSError:
            os.close(self.descriptor)
            raise

    def write(self, data: Bytes) -> None:
        """Write frames, all of them or none.

        Raises:
            OSError: the disk is full or gone. The file is as long as before.
        """
        done = os.write(self.descriptor, data)
        if done == len(data):
            self.size += done
            return
        try:
            left = memoryview(data)[done:]
            while left:
                left = left[os.write(self.descriptor, left) :]
        except OSError:
            os.ftruncate(self.descriptor, self.size)
            raise
        self.size += len(data)

    def write_parts(self, parts: Sequence[Bytes]) -> None:
        """Write frames that lie in pieces, one after the other, all of them or none.

        Raises:
            OSError: as `write`.
        """
        length = sum(map(len, parts))
        if len(parts) > MOST_PARTS:
            self.write(b"".join(parts))
            return
        done = os.writev(self.descriptor, parts)
        self.size += done
        if done == length:
            return
        try:
            self.write(b"".join(parts)[done:])
        except OSError:
            self.size -= done
            os.ftruncate(self.descriptor, self.size)
            raise

    def close(self) -> None:
        """Put the file on the disk and let go of it. It may be called again when the disk refused."""
        os.fdatasync(self.descriptor)
        os.close(self.descriptor)


def segment_paths(folder: Path) -> list[Path]:
    """Return the segment files of a folder, oldest first."""
    return sorted(folder.glob(f"*{SUFFIX}"))


@contextmanager
def taken(path: Path) -> Iterator[bool]:
    """Hold a segment that its writer has let go of. Gives False when the writer lives, or the file is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield os.fstat(descriptor).st_nlink > 0
    finally:
        os.close(descriptor)
