"""Undoing a commit: the history brings objects back, and what serves is recorded as every change of it is."""

from __future__ import annotations

from sqlalchemy import Connection, insert

from bascule.catalog import actor, new_id, now
from bascule.catalog.schema import approvals
from bascule.delivery.reverting import brought_back, record_revert
from bascule.errors import CheckFailed, InputError
from bascule.history import Commit, Staged, Workspace
from bascule.history.commits import Object
from bascule.project.publishing import check_staged

DEPLOYMENTS = "deployments/"
# What the checks of a merge look at. Traffic and rules are none of it.
CHECKED = ("contracts/", "models/", "tables/")
REPAIR = 'Revert what came after it first, youngest first, or land it all the same with: --force "why"'


def revert(workspace: Workspace, ref: str, on: str, message: str | None = None, *, force: str | None = None) -> Commit:
    """Undo one commit on a branch by a new one. A deployment that it changed serves as before, recorded in `rollouts`.

    On a protected branch a state that has never been is checked as a merge's is: the undoing together with what came
    after the commit. The way back to the state before the commit is not: its checks are on record, and it must be open
    in an emergency.

    Args:
        force: why to land a state that a check refuses; kept as an approval, and in the commit with what was refused.

    Raises:
        NotFound: there is no such state or branch.
        Conflict: a path was changed again since; nothing was changed.
        CheckFailed: a check refused the state; nothing was changed.
        InputError: `force` is no reason.
    """
    if force is not None and not force.strip():
        raise InputError("A forced revert needs a reason.", hint='Say why, such as: --force "hotfix for #12".')
    history, who = workspace.history, actor()
    undone = history.resolve(ref)
    protected = any(branch.name == on and branch.protected for branch in history.branches())
    served: dict[str, tuple[Object | None, Object | None]] = {}
    meta: dict[str, str] = {}

    def adapt(path: str, current: Object | None, back: Object | None) -> Object | None:
        if not path.startswith(DEPLOYMENTS):
            return back
        after = brought_back(current, back)
        served[path] = current, after
        return after

    def check(staged: Staged) -> None:
        meta.clear()
        if not protected or _has_been(workspace, staged, undone):
            return
        try:
            check_staged(
                workspace, staged, f"{undone.short} is not reverted on {on!r}", f"{on!r} is unchanged.", REPAIR
            )
        except CheckFailed as refused:
            if force is None:
                raise
            meta.update(forced=force, refused=refused.message)

    def also(conn: Connection, commit: Commit) -> None:
        for before, after in served.values():
            if before is not None or after is not None:
                record_revert(conn, on, before, after, who, commit)
        if meta:
            decision = {"subject": f"commits/{commit.id}", "decision": "forced", "actor": who, "reason": force}
            conn.execute(insert(approvals).values(id=new_id("approval"), at=now(), **decision))

    return history.revert(undone.id, on=on, author=who, message=message, adapt=adapt, check=check, meta=meta, also=also)


def _has_been(workspace: Workspace, staged: Staged, undone: Commit) -> bool:
    """Tell whether all that checks look at is as it was before the commit that is undone."""
    history, before = workspace.history, undone.parents[0]
    for prefix in CHECKED:
        staged.depend(prefix)
    differ = {change.path for change in (*history.diff(before, staged.target), *staged.changes)}
    return all(history.read(before, path) == staged.read(path) for path in differ if path.startswith(CHECKED))
