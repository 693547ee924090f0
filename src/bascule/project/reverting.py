"""Undoing a commit: the history brings objects back, and what serves is recorded as every change of it is."""

from __future__ import annotations

from sqlalchemy import Connection, insert

from bascule.catalog import actor, new_id, now
from bascule.catalog.schema import approvals
from bascule.delivery.reverting import fresh, has_moved, record_revert, undone, with_versions
from bascule.delivery.traffic import needed, out_of_service
from bascule.errors import CheckFailed, Conflict, InputError
from bascule.history import REMOVED, Commit, Staged, Workspace
from bascule.history.commits import Object
from bascule.lake import Lake
from bascule.lake.iceberg.datafiles import Record
from bascule.project.holding import check_staged
from bascule.project.required import Required, check_required
from bascule.registry import undo_model
from bascule.registry.deletions import refuse_purged

DEPLOYMENTS, MODELS, TABLES = "deployments/", "models/", "tables/"
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
    """Undo one commit on a branch by a new one.

    A deployment whose traffic it moved serves as before, and one that serves a version which goes with it is rolled
    back to the newest traffic whose versions remain, in the same commit and recorded in `rollouts`. Traffic that was
    moved since the commit stays; what came to a model later stays, too.

    What it appended to a table is taken out, also when others have appended since; its files may be ingested again.

    On a protected branch a state that has never been is checked as a merge's is: the undoing together with what came
    after the commit. The way back to the state before the commit is not: its checks are on record, and it must be open
    in an emergency.

    Args:
        force: why to land a state that a check refuses, or to take a deployment out of service that has nothing to go
            back to; kept as an approval, and in the commit with what was refused.
        required: the project's own checks.

    Returns:
        The new commit, or the branch's head when it is undone already.

    Raises:
        NotFound: there is no such state or branch.
        Conflict: a path was changed again since; nothing was changed.
        CheckFailed: a check refused the state, or a deployment has nothing to go back to; nothing was changed.
        InputError: `force` is no reason.
    """
    if force is not None and not force.strip():
        raise InputError("A forced revert needs a reason.", hint='Say why, such as: --force "hotfix for #12".')
    commit = workspace.history.resolve(ref)
    return _Reverting(workspace, commit, on, force, required).land(message)


class _Reverting:
    """One undoing: what is tried anew when somebody else moved the branch meanwhile, and what it leaves on record."""

    def __init__(
        self, workspace: Workspace, commit: Commit, on: str, force: str | None, required: Required | None
    ) -> None:
        self.workspace, self.commit, self.on, self.force, self.required = workspace, commit, on, force, required
        self.author = actor()
        self._protected = any(branch.name == on and branch.protected for branch in workspace.history.branches())
        self._refused = f"{commit.short} is not reverted on {on!r}"
        self._served: list[tuple[Object | None, Object | None]] = []
        self._meta: dict[str, str] = {}

    def land(self, message: str | None) -> Commit:
        settle = _Resolver(Lake(self.workspace))
        try:
            made = self.workspace.history.revert(
                self.commit.id,
                on=self.on,
                author=self.author,
                message=message,
                resolve=settle,
                adapt=self._adapt,
                check=self._check,
                meta=self._meta,
                also=self._record,
            )
        except (CheckFailed, Conflict, InputError):  # of any other error nobody knows whether the revert landed
            settle.discard(None)
            raise
        settle.discard(made)
        return made

    def _adapt(self, staged: Staged) -> dict[str, Object | None]:
        self._meta.clear()
        self._served.clear()
        refuse_purged(self.workspace, staged)
        landing, lost = _deployments(self.workspace, staged, self.commit)
        if lost:
            said = _told(self._refused, lost)
            if self.force is None:
                raise said
            self._meta.update(forced=self.force, refused=said.message)
        for path, after in landing.items():
            current = self.workspace.history.read(staged.target, path)
            if has_moved(current, after):
                self._served.append((current, after))
        return landing

    def _check(self, staged: Staged) -> None:
        if not self._protected:
            self._meta["unchecked"] = f"{self.on} is not protected"
            return
        if _has_been(self.workspace, staged, self.commit):
            self._meta["unchecked"] = "that state has landed before"
            return
        try:
            check_staged(self.workspace, staged, self._refused, f"{self.on!r} is unchanged.", REPAIR)
            if self.required is not None:
                check_required(self.workspace, self.required, staged, self.on, self._refused)
        except CheckFailed as failed:
            if self.force is None:
                raise
            said = [*filter(None, [self._meta.get("refused")]), failed.message]
            self._meta.update(forced=self.force, refused="\n\n".join(said))

    def _record(self, conn: Connection, made: Commit) -> None:
        for before, after in self._served:
            record_revert(conn, self.on, before, after, self.author, made)
        if "forced" in self._meta:
            decision = {"decision": "forced", "actor": self.author, "reason": self.force}
            row = {"id": new_id("approval"), "at": now(), "subject": f"commits/{made.id}", **decision}
            conn.execute(insert(approvals).values(**row))


class _Resolver:
    """Settles paths that were changed again since: rows that others appended stay, and so does what came later."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.made: list[tuple[str, Object, list[Record]]] = []

    def __call__(self, path: str, added: Object | None, now: Object | None, before: Object | None) -> Object | None:
        if not path.startswith(TABLES):
            return _resolve(path, added, now, before)
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


def _resolve(path: str, made: Object | None, current: Object | None, back: Object | None) -> Object | None:
    """Settle a path that was changed again since the commit: what came later stays."""
    if path.startswith(MODELS):
        left = undo_model(made, current, back)
        return REMOVED if left is not None and not left["versions"] and back is None else left
    return undone(made, current, back) if path.startswith(DEPLOYMENTS) else None


def _deployments(
    workspace: Workspace, staged: Staged, commit: Commit
) -> tuple[dict[str, Object | None], dict[str, set[int]]]:
    """Return how the deployments land, by path, and those that lose versions which they serve and cannot go back.

    One that is not in service any more since it lost a version is among both.

    Raises:
        Conflict: the commit moved traffic and did nothing else, and the traffic was moved since.
    """
    history, before = workspace.history, commit.parents[0]
    landing: dict[str, Object | None] = {}
    stays = []
    for change in history.diff(before, commit, DEPLOYMENTS):
        current, after = history.read(staged.target, change.path), staged.read(change.path)
        if current is not None and change.after is not None:
            found = undone(change.after, current, change.before)
            after = None if found is REMOVED else found
            if after == current and has_moved(change.before, change.after) and has_moved(change.before, current):
                stays.append(change.path)
        elif current is None and after is not None:
            after = fresh(current, after)
        landing[change.path] = after
    if stays and all(change.path in landing for change in staged.changes):
        raise Conflict(
            f"The traffic of {', '.join(stays)} was moved again since {commit.short}.",
            paths=stays,
            hint=f"Go back with `bascule rollback {stays[0]}`, or revert the later commits first, youngest first.",
        )
    lost: dict[str, set[int]] = {}
    for path, held in (dict(staged.entries(DEPLOYMENTS)) | landing).items():
        known = _versions(staged, held)
        if held is None or known is None:
            continue
        landing[path] = with_versions(held, known)
        if landing[path] is None:
            lost[path], landing[path] = needed(held) - known, out_of_service(held)
    return landing, lost


def _versions(staged: Staged, deployment: Object | None) -> set[int] | None:
    """Return the versions that a deployment may serve; None when it names no model, or asks for none."""
    if deployment is None or not (needed(deployment) or deployment.get("waits")):
        return None
    return {int(number) for number in (staged.read(MODELS + deployment["model"]) or {"versions": {}})["versions"]}


def _told(refused: str, lost: dict[str, set[int]]) -> CheckFailed:
    told = [f"{path} serves version {', '.join(map(str, sorted(gone)))}" for path, gone in sorted(lost.items())]
    return CheckFailed(
        f"{refused}: {'; '.join(told)}, which would be gone, and nothing that served before it is left to go back to.",
        details=[{"path": path, "versions": sorted(gone)} for path, gone in sorted(lost.items())],
        hint='Deploy another version first, or take it out of service, too: --force "why"',
    )


def _has_been(workspace: Workspace, staged: Staged, commit: Commit) -> bool:
    """Tell whether all that checks look at is as it was before the commit that is undone."""
    history, before = workspace.history, commit.parents[0]
    for prefix in CHECKED:
        staged.depend(prefix)
    differ = {change.path for change in (*history.diff(before, staged.target), *staged.changes)}
    return all(history.read(before, path) == staged.read(path) for path in differ if path.startswith(CHECKED))
