"""Files that appear whole or not at all, on disk or in object storage.

On disk a file is written beside its place, made durable and renamed into it. In object storage it is written to a local
file and sent: there an object is whole or not there by itself.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
from blake3 import blake3

from bascule.errors import EnvironmentProblem
from bascule.store import ObjectPath, Place, locking, places

# Nothing ever reads a file with this ending; `doctor` lists what a killed writer left behind.
UNFINISHED = ".unfinished"
CHUNK = 1 << 20
READERS = 16

T = TypeVar("T")
U = TypeVar("U")


def write(path: Place, data: bytes) -> None:
    """Write a file durably. Raises `EnvironmentProblem` when it cannot be; then nothing is left."""
    if isinstance(path, ObjectPath):
        path.write_bytes(data)
        return
    with creating(path) as temporary, told(path), open(temporary, "wb") as out:
        out.write(data)


@contextmanager
def creating(path: Place) -> Iterator[Path]:
    """Give a local path to write to; what is there when the block ends becomes `path`, durably.

    When the block raises, nothing is left of it.
    """
    with working(path.parent, path.name) as temporary:
        yield temporary
        publish(temporary, path)


@contextmanager
def working(folder: Place, name: str) -> Iterator[Path]:
    """Give a local path for a file that `publish` will put into a folder; what is there in the end is removed."""
    if isinstance(folder, ObjectPath):
        folder.shelf.temporary.mkdir(parents=True, exist_ok=True)
        folder = folder.shelf.temporary
    temporary = folder / f"{name}.{uuid.uuid4().hex[:8]}{UNFINISHED}"
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Place) -> None:
    """Make a file that was written durable, and let it take its place."""
    if isinstance(path, ObjectPath):
        path.upload(temporary)
        return
    with told(path):
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)


def replace(new: Place, old: Place) -> None:
    """Let a file take another's place; readers see the one or the other, whole."""
    if isinstance(new, ObjectPath) and isinstance(old, ObjectPath):
        new.replace(old)
        return
    with told(old):
        os.replace(str(new), str(old))


def remove_folder(path: Place) -> None:
    """Delete a folder with all that is in it; what cannot be deleted, or is not there, stays."""
    if isinstance(path, ObjectPath):
        path.remove_tree()
    else:
        shutil.rmtree(path, ignore_errors=True)


def readable(path: Place) -> Path | pa.NativeFile:
    """Return a file as Arrow reads it at any position: its path on disk, else what it opens."""
    return path.opened() if isinstance(path, ObjectPath) else path


def digest(path: Place) -> str:
    """Return the BLAKE3 of a file's content, streamed."""
    hasher = blake3()
    # Not mapped: what was read of a map counts as this process' memory, and a data file may be most of it.
    with path.opened() if isinstance(path, ObjectPath) else open(path, "rb") as source:
        while chunk := source.read(CHUNK):
            hasher.update(chunk)
    return hasher.hexdigest()


def read_unless(path: Place, mark: str | None) -> bytes:
    """Return a file's content; from the cache when it was read while something else was `mark`, too.

    Args:
        mark: None to read the file itself.
    """
    if isinstance(path, ObjectPath) and path.shelf.cache is not None and mark is not None:
        return path.shelf.cache.whole(path.key, mark)
    return path.read_bytes()


def at_once(work: Callable[[T], U], items: Sequence[T], place: Place) -> Iterator[U]:
    """Do something with each of several files, in order; where every file is a way off, many at a time."""
    if isinstance(place, Path) or len(items) < 2:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(READERS, thread_name_prefix="bascule-read") as readers:
        yield from readers.map(work, items)


def warm(paths: Iterable[Place]) -> None:
    """Fetch the ends of files that are far away, many at once, before a query asks for one after the other."""
    remote = [path for path in paths if isinstance(path, ObjectPath) and path.shelf.cache is not None]
    if remote and remote[0].shelf.cache is not None:
        remote[0].shelf.cache.warm([path.key for path in remote])


def make_folder(path: Place) -> None:
    """Make a folder and those above it."""
    if isinstance(path, Path):
        with told(path):
            path.mkdir(parents=True, exist_ok=True)


def sync_folder(path: Place) -> None:
    """Make the names in a folder durable; in object storage they are."""
    if isinstance(path, ObjectPath) or not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def told(path: Place) -> Iterator[None]:
    """Turn what the operating system says about a path into an error that a user can act on."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        reason = "the disk is full" if full else (error.strerror or str(error))
        raise EnvironmentProblem(
            f"Cannot write {path}: {reason}. Nothing was changed.",
            hint="Free some space, then repeat." if full else "Check the disk and the rights, then repeat.",
        ) from error


@contextmanager
def locked(path: Place, *, exclusive: bool, wait: bool = True) -> Iterator[None]:
    """Hold a lock for the length of a block: many may share it, or one has it alone.

    It is given back when its process ends, however it ends. On disk it is one on the file, in object storage one of
    the catalog.

    Args:
        wait: for whoever holds it; else `BlockingIOError` is raised at once.
    """
    if isinstance(path, ObjectPath):
        with places.locked(path, exclusive=exclusive, wait=wait):
            yield
        return
    make_folder(path.parent)
    with ExitStack() as stack:
        try:
            stack.enter_context(locking.held(path, exclusive=exclusive, wait=wait))
        except BlockingIOError:
            raise
        except OSError:
            with told(path):
                raise
        yield
