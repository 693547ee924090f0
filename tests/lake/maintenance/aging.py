"""Time that passes at once: everything of a workspace is made older."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import update

from bascule.catalog.schema import commits, ref_log, refs
from bascule.history import Workspace


def files_below(folder: Path) -> list[Path]:
    """All files below a folder but for the locks."""
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


def age(workspace: Workspace, span: int) -> Workspace:
    """Make all that a workspace holds older by a span in microseconds, and open it anew."""
    with workspace.catalog.write() as conn:
        conn.execute(update(commits).values(created_at=commits.c.created_at - span))
        conn.execute(update(ref_log).values(at=ref_log.c.at - span))
        conn.execute(update(refs).values(created_at=refs.c.created_at - span, updated_at=refs.c.updated_at - span))
    for path in [*files_below(workspace.lake_folder), *files_below(workspace.folder / "blobs")]:
        found = path.stat()
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns - span * 1000))
    workspace.close()
    return Workspace.open(workspace.folder)
