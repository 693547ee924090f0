"""Reading files that are to be stored, by as many threads as the disk keeps waiting."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from blake3 import blake3

from bascule.errors import InputError
from bascule.lake.filesets.entries import LINK, Digest, Entry
from bascule.lake.filesets.scanning import Found, check_rights, read_link
from bascule.lake.filesets.statcache import Known, is_settled, known_of, same_state
from bascule.store import BlobStore

try:
    import resource
except ImportError:  # Windows
    WHO = None
else:
    WHO = getattr(resource, "RUSAGE_THREAD", None)

# Up to SMALL a file goes into a pack, up to LARGE into a blob of its own, above it is cut into chunks.
SMALL, LARGE = 4 << 20, 64 << 20
READERS = min(8, (os.cpu_count() or 2) + 2)
# So many blocks (of 512 bytes) read in a task mean that files come from the disk and not from memory.
BLOCKS = 1000

_FLAGS = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_TRIES, _PIECE = 3, 1 << 20

_Task = TypeVar("_Task")
_Done = TypeVar("_Done")


class Read(NamedTuple):
    """A file that was read.

    Attributes:
        digest: of its content; empty for a large one, which is left to be cut into chunks.
        size: of what was read.
        data: its bytes; None when they are in the store already.
        known: what to remember of it, if that is safe.
    """

    file: Found
    digest: Digest
    size: int
    data: bytes | None
    known: Known | None


@dataclass(slots=True)
class Settled:
    """An edit that needs no reading: a file that went, or one whose content is where another entry has it."""

    path: str
    entry: Entry | None = None
    like: Entry | None = None


def in_order(
    tasks: Iterable[_Task], work: Callable[[_Task], _Done], is_large: Callable[[_Task], bool]
) -> Iterator[_Done]:
    """Iterate over what tasks give, in their order, a few of them running ahead.

    Small files that are in memory already are read by the caller's thread: others would only take turns with it in the
    interpreter. As soon as a task had to wait for the disk, the next ones go to threads, and so do large ones.
    """
    with ThreadPoolExecutor(READERS, thread_name_prefix="files") as pool:
        running: deque[Future[_Done]] = deque()
        waits = WHO is None
        try:
            for task in tasks:
                if waits or is_large(task):
                    running.append(pool.submit(work, task))
                else:
                    done, before = Future[_Done](), _blocks()
                    done.set_result(work(task))
                    waits = _blocks() - before > BLOCKS
                    running.append(done)
                while running and (len(running) > READERS or running[0].done()):
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def _blocks() -> int:
    """Return how many blocks this thread has had read from a disk."""
    return resource.getrusage(WHO).ru_inblock if WHO is not None else 0


def read_files(folder: str, store: BlobStore, task: Sequence[Found | Settled]) -> list[Read | Settled]:
    """Read the files of a task. One that is not small goes into the store at once.

    Raises:
        InputError: a file cannot be read, or is written to all the time.
    """
    began = time.time_ns()
    return [one if isinstance(one, Settled) else _read(f"{folder}/{one.path}", one, store, began) for one in task]


def _read(path: str, file: Found, store: BlobStore, began: int) -> Read:
    try:
        if file.mode == LINK:
            data = read_link(path)
            return Read(file, blake3(data).digest(), len(data), data, None)
        if file.size > LARGE:
            return Read(file, b"", file.size, None, None)
        if file.size > SMALL:
            return _stored(path, file, store, began)
        data, stat = _whole(path, file.stat)
    except OSError as error:
        raise check_rights(path, error) from error
    digest = blake3(data).digest()
    return Read(file, digest, len(data), data, known_of(stat, digest) if is_settled(stat, began) else None)


def _stored(path: str, file: Found, store: BlobStore, began: int) -> Read:
    before = os.stat(path)
    digest = bytes.fromhex(store.put_file(Path(path)))
    after = os.stat(path)
    unchanged(path, before, after)
    known = known_of(after, digest) if is_settled(after, began) else None
    return Read(file, digest, after.st_size, None, known)


def _whole(path: str, before: os.stat_result) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a file in one state; `before` is what the walk saw of it."""
    handle = os.open(path, _FLAGS)
    try:
        for _ in range(_TRIES):
            data = os.read(handle, before.st_size + 1)
            after = os.fstat(handle)
            if len(data) == after.st_size and same_state(before, after):
                return data, after
            # It changed since the walk, or the disk gives it piece by piece.
            before = after
            os.lseek(handle, 0, os.SEEK_SET)
            data = b"".join(iter(lambda: os.read(handle, _PIECE), b""))
            after = os.fstat(handle)
            if len(data) == after.st_size and same_state(before, after):
                return data, after
            os.lseek(handle, 0, os.SEEK_SET)
    finally:
        os.close(handle)
    raise _changed(path)


def unchanged(path: str, before: os.stat_result, after: os.stat_result) -> None:
    """Raise `InputError` when a file was written to while it was read."""
    if not same_state(before, after):
        raise _changed(path)


def _changed(path: str) -> InputError:
    return InputError(
        f"{path} changed while it was read. Nothing was committed.",
        hint="Repeat when nobody writes to it; what was read already is not read again.",
    )
