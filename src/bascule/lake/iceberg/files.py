"""Files that appear whole or not at all: written beside their place, made durable, renamed into it."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bascule.errors import EnvironmentProblem

# Nothing ever reads a file with this ending; `doctor` lists what a killed writer left behind.
UNFINISHED = ".unfinished"


def write(path: Path, data: bytes) -> None:
    """Write a file durably. Raises `EnvironmentProblem` when the disk does not take it; then nothing is left."""
    with creating(path) as temporary, told(path), open(temporary, "wb") as out:
        out.write(data)


@contextmanager
def creating(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; what is there when the block ends becomes `path`, durably.

    When the block raises, nothing is left of it.
    """
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}{UNFINISHED}")
    try:
        yield temporary
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def publish(temporary: Path, path: Path) -> None:
    """Make a file that was written durable, then let it take its place."""
    with told(path):
        with open(temporary, "rb+") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)


def make_folder(path: Path) -> None:
    """Make a folder and those above it."""
    with told(path):
        path.mkdir(parents=True, exist_ok=True)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def told(path: Path) -> Iterator[None]:
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
def locked(path: Path, *, exclusive: bool, wait: bool = True) -> Iterator[None]:
    """Hold a lock on a file for the length of a block: many may share it, or one has it alone.

    The operating system gives it back when the process ends, however it ends.

    Args:
        wait: for whoever holds it; else `BlockingIOError` is raised at once.
    """
    try:
        import fcntl
    except ImportError:  # a system without advisory locks: writers there take turns by the history's compare-and-swap
        yield
        return
    make_folder(path.parent)
    with told(path):
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)
