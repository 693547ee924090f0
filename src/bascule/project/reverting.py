"""Undoing a commit: the history brings objects back, and what serves is recorded as every change of it is."""

from __future__ import annotations

from sqlalchemy import Connection, insert

from bascule.catalog import actor, new_id, now
from bascule.catalog.schema import approvals
from bascule.delivery.reverting import brought_back, record_revert
from bascule.errors import CheckFailed, Conflict, InputError
from bascule.history import Commit, Staged, Workspace
from bascule.history.commits import Object
from bascule.lake import Lake
from bascule.lake.iceberg.datafiles import Record
from bascule.project.publishing import check_staged
from bascule.project.required import Required, check_required

DEPLOYMENTS, TABLES = "deployments/", "tables/"
# What the checks of a merge look at. Traffic and rules are none of it.
CHECKED = ("contracts/", "models/", "tables/")
REPAIR = 'Revert what came after it first, youngest first, or land it all the same with: --force "why"'


def revert(
    workspace: Workspace,
    ref: str,
    on: str,
    message: str | None = None,
    *,
    force: str | None = None,
    required: Required | None = None,
) -> Commit:
    """Undo one commit on a branch by a new one. A deployment that it changed serves as before, recorded in `rollouts`.

    What it appended to a table is taken out, also when others have appended since; its files may be ingested again.

    On a protected branch a state that has never been is checked as a merge's is: the undoing together with what came
    after the commit. The way back to the state before the commit is not: its checks are on record, and it must be open
    in an emergency.

    Args:
        force: why to land a state that a check refuses; kept as an approval, and in the commit with what was refused.
        required: the project's own checks.

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
            refused = f"{undone.short} is not reverted on {on!r}"
            check_staged(workspace, staged, refused, f"{on!r} is unchanged.", REPAIR)
            if required is not None:
                check_required(workspace, required, staged, on, refused)
        except CheckFailed as failed:
            if force is None:
                raise
            meta.update(forced=force, refused=failed.message)

    def also(conn: Connection, commit: Commit) -> None:
        for before, after in served.values():
            if before is not None or after is not None:
                record_revert(conn, on, before, after, who, commit)
        if meta:
            decision = {"subject": f"commits/{commit.id}", "decision": "forced", "actor": who, "reason": force}
            conn.execute(insert(approvals).values(id=new_id("approval"), at=now(), **decision))

    settle = _Appends(Lake(workspace))
    try:
        commit = history.revert(
            undone.id,
            on=on,
            author=who,
            message=message,
            resolve=settle,
            adapt=adapt,
            check=check,
            meta=meta,
            also=also,
        )
    except (CheckFailed, Conflict, InputError):  # of any other error nobody knows whether the revert landed
        settle.discard(None)
        raise
    settle.discard(commit)
    return commit


class _Appends:
    """Takes the rows that a commit appended out of tables that others have appended to since."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.made: list[tuple[str, Object, list[Record]]] = []

    def __call__(self, path: str, added: Object | None, now: Object | None, before: Object | None) -> Object | None:
        if not path.startswith(TABLES):
            return None
        found = self.lake.revert_append(added, now, before)
        if found is None:
            return None
        self.made.append((path, *found))
        return found[0]

    def discard(self, landed: Commit | None) -> None:
        """Delete what was written for states that are not the ones which landed."""
        for path, made, written in self.made:
            if landed is None or self.lake.workspace.history.read(landed, path) != made:
                self.lake.discard(made, written)


def _has_been(workspace: Workspace, staged: Staged, undone: Commit) -> bool:
    """Tell whether all that checks look at is as it was before the commit that is undone."""
    history, before = workspace.history, undone.parents[0]
    for prefix in CHECKED:
        staged.depend(prefix)
    differ = {change.path for change in (*history.diff(before, staged.target), *staged.changes)}
    return all(history.read(before, path) == staged.read(path) for path in differ if path.startswith(CHECKED))
