"""Logs of streams on branches that there are no more: nobody reads on from them, and a new branch must not."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from bascule.history import Workspace
from bascule.lake.maintenance import Collected
from bascule.store.locking import FileLock, Locked

FOLDER = "streams"
CONSUMER = "consumer"


def collect_logs(workspace: Workspace, before: int, *, dry_run: bool = False) -> list[Collected]:
    """Remove the logs of deleted branches that nothing was written to since a moment; return what went, by stream.

    A log that a process consumes stays, as do those of branches that there are.

    Args:
        before: microseconds since 1970 UTC.
    """
    branches = {workspace.namespace(ref.name) for ref in workspace.history.branches()}
    gone: dict[str, list[int]] = {}
    for folder in _logs(workspace):
        if unquote(folder.parent.name) in branches:
            continue
        files = [path for path in folder.rglob("*") if path.is_file()]
        # The consumer's lock is touched by whoever looks whether it is held, so it tells nothing of age.
        times = [path.stat().st_mtime_ns // 1000 for path in files if path.name not in (CONSUMER, "lock.mdb")]
        if max(times, default=0) >= before:
            continue
        size = sum(path.stat().st_blocks * 512 for path in files)
        if dry_run or _removed(folder):
            gone.setdefault(unquote(folder.name), []).append(size)
    return [Collected("streams", name, len(sizes), sum(sizes)) for name, sizes in sorted(gone.items())]


def _logs(workspace: Workspace) -> Iterator[Path]:
    for branch in sorted((workspace.folder / FOLDER).glob("*")):
        yield from (one for one in sorted(branch.glob("*")) if one.is_dir())


def _removed(folder: Path) -> bool:
    from bascule.features.streams.entries import close_one

    try:
        with FileLock(folder / CONSUMER, "bascule gc"):
            close_one(folder)
            shutil.rmtree(folder)
    except Locked:
        return False
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()
    return True
