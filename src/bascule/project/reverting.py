"""Undoing a commit: the history brings objects back, and what serves is recorded as every change of it is."""

from __future__ import annotations

from sqlalchemy import Connection

from bascule.catalog import actor
from bascule.delivery.reverting import brought_back, record_revert
from bascule.history import Commit, Workspace
from bascule.history.commits import Object

DEPLOYMENTS = "deployments/"


def revert(workspace: Workspace, ref: str, on: str, message: str | None = None) -> Commit:
    """Undo one commit on a branch by a new one. A deployment that it changed serves as before, recorded in `rollouts`.

    Raises:
        NotFound: there is no such state or branch.
        Conflict: a path was changed again since; nothing was changed.
    """
    who, served = actor(), list[tuple[Object | None, Object | None]]()

    def adapt(path: str, current: Object | None, back: Object | None) -> Object | None:
        if not path.startswith(DEPLOYMENTS):
            return back
        after = brought_back(current, back)
        served.append((current, after))
        return after

    def also(conn: Connection, commit: Commit) -> None:
        for before, after in served:
            if before is not None or after is not None:
                record_revert(conn, on, before, after, who, commit)

    return workspace.history.revert(ref, on=on, author=who, message=message, adapt=adapt, also=also)
