"""A lock file that one process holds and that falls away with it, on every system."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from bascule.errors import Busy, EnvironmentProblem

# Locked far behind the text, because Windows lets nobody read the bytes that are locked.
FAR = 1 << 30


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock, and what of it others should know."""

    pid: int
    note: str


@contextmanager
def hold(path: Path, *, what: str, note: str = "") -> Iterator[Callable[[str], None]]:
    """Hold a lock file while the block runs. The system gives it back when the process dies, however it dies.

    The block gets a function that changes the note.

    Args:
        what: what is done under the lock, as a sentence's subject: "This workspace is served".
        note: what others are told of the holder.

    Raises:
        Busy: another process holds it; the message says which one.
        EnvironmentProblem: the file cannot be written.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise EnvironmentProblem(f"Cannot write {path}: {error.strerror}.") from error
    try:
        if not _try_lock(handle):
            raise _busy(handle, what)
        _write(handle, Holder(os.getpid(), note))
        yield lambda said: _write(handle, Holder(os.getpid(), said))
        os.ftruncate(handle, 0)
    finally:
        os.close(handle)


def _busy(handle: int, what: str) -> Busy:
    holder = _read(handle)
    where = f" at {holder.note}" if holder and holder.note else ""
    who = f"process {holder.pid}" if holder else "another process"
    stop = f"kill {holder.pid}" if holder else "end that process"
    return Busy(f"{what} already{where}, by {who}.", hint=f"Use that one, or stop it first: {stop}")


def _write(handle: int, holder: Holder) -> None:
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
    os.write(handle, msgspec.json.encode(holder))
    with suppress(OSError):  # only a note: a full disk must not keep the lock from being held
        os.fsync(handle)


def _read(handle: int) -> Holder | None:
    os.lseek(handle, 0, os.SEEK_SET)
    try:
        return msgspec.json.decode(os.read(handle, 4096), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None


if sys.platform == "win32":  # pragma: no cover
    import msvcrt

    def _try_lock(handle: int) -> bool:
        os.lseek(handle, FAR, os.SEEK_SET)
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _try_lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
