"""Files of the workspace that can be made anew, or that nobody reads: caches, temporary files, damaged log segments."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bascule.lake.filesets.fileset import cache_of
from bascule.lake.forgetting import Forgotten, Request
from bascule.project.erasing.values import holds, needles


def from_leftovers(request: Request) -> list[Forgotten]:
    """Delete such files when they hold a distinctive value."""
    wanted = needles(request.key)
    found = [path for path in _files(request) if holds(path, wanted)] if wanted else []
    known = cache_of(request.workspace).file
    names = [path for path in (known, known.with_name(known.name + "-wal")) if holds(path, wanted)]
    if not request.dry_run:
        for path in found:
            path.unlink(missing_ok=True)
        if names:
            with cache_of(request.workspace) as cache:
                cache.purge()
    count = len(found) + bool(names)
    return [Forgotten("caches and temporary files", count)] if count else []


def _files(request: Request) -> Iterator[Path]:
    workspace = request.workspace
    for folder in (workspace.temporary_folder, workspace.cache_folder):
        yield from (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    yield from workspace.log_folder.rglob("*.damaged")
