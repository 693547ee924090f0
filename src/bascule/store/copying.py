"""Copying all blobs of one store into another, and folders of files: what is there already is not sent again."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bascule.errors import EnvironmentProblem
from bascule.store.blobs import DIGEST_LENGTH, BlobStore, open_store
from bascule.store.places import Place, below, copy, listed, sizes

AT_ONCE = 8
CHUNK = 1 << 20

# Told the size of each blob that is there.
Progress = Callable[[int], None]


def blob_sizes(folder: Place) -> dict[str, int]:
    """Return every blob of the store in a folder with its size in bytes: a request for every thousand."""
    return {path.name: size for path, size in sizes(folder) if len(path.name) == DIGEST_LENGTH}


def copy_blobs(source: Place, target: Place, temporary: Path, progress: Progress) -> None:
    """Bring every blob of the store in one folder into that in another.

    Args:
        temporary: a local folder for what comes from afar.
        progress: called from any thread.

    Raises:
        EnvironmentProblem: when a blob of the source does not hold what its name says, or a store does not answer.
    """
    had, given, taken = blob_sizes(target), open_store(source), open_store(target)

    def bring(pair: tuple[str, int]) -> None:
        digest, size = pair
        if had.get(digest) != size:
            _bring(given, taken, digest, temporary)
        progress(size)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="bascule-copy") as workers:
        for _ in workers.map(bring, blob_sizes(source).items()):
            pass


def file_sizes(folder: Place) -> dict[str, int]:
    """Return every file below a folder, by the way to it, with its size in bytes."""
    return {way: size for path, size in sizes(folder) if (way := below(path, folder)) is not None}


def copy_files(source: Place, target: Place, progress: Progress) -> None:
    """Make a folder what another is. Nobody may write to either meanwhile.

    Args:
        progress: called from any thread with the size of each file that is there.
    """
    had = {below(path, target): (size, at) for path, size, at in listed(target)}
    there = {way: (path, size, at) for path, size, at in listed(source) if (way := below(path, source)) is not None}

    def bring(way: str) -> None:
        path, size, at = there[way]
        before = had.get(way)
        if before is None or before[0] != size or before[1] < at:  # an earlier attempt may have brought another one
            copy(path, target / way)
        progress(size)

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="bascule-copy") as workers:
        for _ in workers.map(bring, there):
            pass
    for way in had.keys() - there.keys():
        if way is not None:
            (target / way).unlink(missing_ok=True)


def _bring(source: BlobStore, target: BlobStore, digest: str, temporary: Path) -> None:
    if target.has(digest):  # cut short: it has another size
        target.delete(digest)
    path = source.local_path(digest)
    fetched = path is None
    if path is None:
        temporary.mkdir(parents=True, exist_ok=True)
        path = temporary / f"{uuid.uuid4().hex}.unfinished"
    try:
        if fetched:
            with source.open(digest) as given, open(path, "xb") as out:
                shutil.copyfileobj(given, out, CHUNK)
        if target.put_file(path) != digest:
            raise EnvironmentProblem(
                f"The blob {digest[:12]} in {source.url} does not hold what its name says.",
                hint="Restore it from a copy, or remove what needs it; `bascule doctor --deep` lists all such blobs.",
            )
    except OSError as error:
        raise EnvironmentProblem(f"Cannot copy the blob {digest[:12]}: {error}", hint="Then repeat.") from error
    finally:
        if fetched:
            path.unlink(missing_ok=True)
