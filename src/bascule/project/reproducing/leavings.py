"""What a reproduction makes beside the project, noted while it lasts, so that what a killed one left is cleared away.

The note is a file that its process holds locked: the system lets go of it however the process ends.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import select, update

from bascule.catalog import has_ended
from bascule.catalog.schema import runs
from bascule.errors import BasculeError
from bascule.history import Workspace
from bascule.project.reproducing.code import remove_worktree
from bascule.store.locking import FileLock, Locked

FOLDER = "reproducing"


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What one reproduction makes.

    Attributes:
        beside: its temporary folder.
        former: a copy of outputs, to compare with.
        project: whose repository has a worktree in `beside`.
        branch: the one that its command works on.
        name, was_on: what its runs are called when it is over, and their branch.
    """

    beside: str
    former: str
    project: str
    branch: str
    name: str
    was_on: str | None


@contextmanager
def noted(workspace: Workspace, project: Path, row: dict[str, Any]) -> Iterator[Left]:
    """Note what a reproduction of a run is about to make, make its temporary folder, and remove that at the end."""
    mark = uuid.uuid4().hex[:12]
    beside = Path(tempfile.gettempdir()).resolve() / f"bascule-reproduce-{mark}"
    left = Left(
        beside=str(beside),
        former=str(workspace.temporary_folder / f"former-{mark}"),
        project=str(project),
        branch=f"reproduce/{row['id']}-{mark[:6]}",
        name=f"reproduce {row['name']}",
        was_on=row["branch"],
    )
    path = workspace.folder / FOLDER / f"{mark}.json"
    with FileLock(path, msgspec.json.encode(left).decode()):
        beside.mkdir(mode=0o700)
        try:
            yield left
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            path.unlink(missing_ok=True)


def let_go(workspace: Workspace, left: Left) -> None:
    """Say of the runs on a reproduction's branch what they are, and delete the branch."""
    with workspace.catalog.write() as conn:  # also of a run that was interrupted
        values = {"kind": "reproduce", "name": left.name, "branch": left.was_on}
        conn.execute(update(runs).where(runs.c.branch == left.branch).values(**values))
    if left.branch in {ref.name for ref in workspace.history.branches()}:
        workspace.history.delete_branch(left.branch, force=True)


def clear_away(workspace: Workspace) -> int:
    """Remove what killed reproductions left: branches, worktrees, temporary folders.

    One whose command still runs is left alone until it has ended.

    Returns:
        How many there were.
    """
    done = 0
    for path in sorted((workspace.folder / FOLDER).glob("*.json")):
        with contextlib.suppress(Locked, OSError, msgspec.MsgspecError, BasculeError):
            text = path.read_text("utf-8")
            with FileLock(path, text):
                if text:
                    left = msgspec.json.decode(text, type=Left)
                    if _runs_still(workspace, left):
                        continue
                    _clear(workspace, left)
                    done += 1
                path.unlink(missing_ok=True)
    return done


def _runs_still(workspace: Workspace, left: Left) -> bool:
    query = select(runs.c.environment_json).where(runs.c.branch == left.branch, runs.c.status == "running")
    with workspace.catalog.read() as conn:
        places = [msgspec.json.decode(text) for text in conn.execute(query).scalars()]
    return any(not has_ended(place.get("process") or f"{place.get('host')}:{place.get('pid')}") for place in places)


def _clear(workspace: Workspace, left: Left) -> None:
    let_go(workspace, left)
    beside = Path(left.beside)
    if beside.name.startswith("bascule-reproduce-"):
        remove_worktree(Path(left.project), beside / "project")
        shutil.rmtree(beside, ignore_errors=True)
    shutil.rmtree(workspace.temporary_folder / Path(left.former).name, ignore_errors=True)
