"""Space kept back for the command that makes space: on a disk that is full to the last byte no database opens."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

FILE = "reserve"
BYTES = 1 << 20  # the catalog's shared memory and the pages that a collection writes, many times over
LEAST = BYTES // 4


def keep(folder: Path, *, spare: int = 4 * BYTES) -> None:
    """Write the reserve of a workspace if there is none and so many bytes stay free beside it."""
    place = folder / FILE
    with suppress(OSError):
        size = min(BYTES, shutil.disk_usage(folder).free - spare)
        if place.exists() or size < LEAST:
            return
        try:
            place.write_bytes(os.urandom(size))  # noise, which no disk compresses
        except OSError:
            place.unlink(missing_ok=True)


@contextmanager
def released(folder: Path) -> Iterator[None]:
    """Give the reserve of a full disk to what runs in the block, and write it anew afterwards."""
    with suppress(OSError):
        if shutil.disk_usage(folder).free < BYTES:
            (folder / FILE).unlink(missing_ok=True)
    try:
        yield
    finally:
        keep(folder, spare=BYTES // 16)
