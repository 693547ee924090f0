"""Finishing or forgetting a merge with git that was killed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bascule.catalog import actor, audit
from bascule.errors import BasculeError, Conflict
from bascule.history import Workspace
from bascule.project.git import Git
from bascule.project.tandem import journal, moving
from bascule.project.tandem.journal import GitHalf
from bascule.store.locking import FileLock, Locked

# How far back the merge is looked for: others may have landed since.
FAR = 10_000


@dataclass(frozen=True)
class Settled:
    """What became of a merge that was killed.

    Attributes:
        outcome: `finished` (both are merged), `forgotten` (neither is) or `stuck` (Bascule is and git is not).
        message: the same as a sentence, with what to do when it is stuck.
    """

    outcome: Literal["finished", "forgotten", "stuck"]
    message: str


def pending(workspace: Workspace) -> GitHalf | None:
    """Return the merge with git that is under way or was killed, or None."""
    return journal.read(workspace)


def settle(workspace: Workspace) -> Settled | None:
    """Finish or forget a merge with git that was killed. Does nothing when there is none, or its process lives."""
    if not journal.exists(workspace.folder):
        return None
    try:
        with FileLock(journal.lock_file(workspace)):
            return settle_held(workspace)
    except Locked:
        return None


def settle_held(workspace: Workspace) -> Settled | None:
    """As `settle`, for whoever holds the lock."""
    half = journal.read(workspace)
    if half is None:
        return None
    named = f"the merge of {half.source[:10]} into {half.into} with git"
    if not half.alone and not has_landed(workspace, half):
        _release(half)
        journal.clear(workspace)
        return _told(workspace, half, Settled("forgotten", f"{named} was killed before it landed: nothing was changed"))
    try:
        bring_git(half)
    except BasculeError as error:
        told = f"{named} landed in Bascule, and git's {half.ref.removeprefix('refs/heads/')} cannot follow"
        return Settled("stuck", f"{told}: {error.message} {error.hint}".strip())
    journal.clear(workspace)
    return _told(workspace, half, Settled("finished", f"{named} was killed half-way, and is finished now"))


def has_landed(workspace: Workspace, half: GitHalf) -> bool:
    """Tell whether Bascule's half is in its branch."""
    for commit in workspace.history.log(half.into, limit=FAR, first_parent=True):
        if commit.meta.get("git", {}).get("commit") == half.after:
            return True
        if commit.id == half.head:
            return False
    return False


def bring_git(half: GitHalf) -> None:
    """Bring git's branch and the files of whoever stands on it to where Bascule's is. Again changes nothing.

    When others moved the branch meanwhile, what was merged is merged into what they left.

    Raises:
        Conflict, InputError: it cannot be done before somebody has settled files; the message names them.
    """
    git = Git(Path(half.repository))
    moving.drop_lock(git, half.ref, half.after)
    for _ in range(20):
        now = git.commit(half.ref)
        if now is None:
            raise Conflict(f"git has no branch {half.ref} any more.", hint=f"Make it: git branch NAME {half.after}")
        if now == half.after or git.contains(now, half.after):
            moving.files_follow(git, half.ref, half.before, now)
            return
        after = half.after
        if now != half.before:
            name = half.ref.removeprefix("refs/heads/")
            names = half.source[:10], name
            text = f"Merge {half.source[:10]} into {name}"
            after = moving.merge_commit(git, now, half.source, names, text, squash=False)
        if after == now:
            return
        moving.files_allow(git, half.ref, now, after)
        if moving.move(git, half.ref, now, after):
            moving.files_follow(git, half.ref, now, after)
            return
    raise Conflict(f"git's branch {half.ref} never stood still.", hint="Repeat when the others are done.")


def _release(half: GitHalf) -> None:
    """Let git's branch go, where a killed machine left it locked; a repository that is gone holds nothing."""
    try:
        moving.drop_lock(Git(Path(half.repository)), half.ref, half.after)
    except BasculeError:
        return


def _told(workspace: Workspace, half: GitHalf, done: Settled) -> Settled:
    detail = {"outcome": done.outcome, "git": half.after, "ref": half.ref}
    with workspace.catalog.write() as conn:
        audit.append(conn, actor=actor(), action="merge-with-git", subject=f"refs/{half.into}", detail=detail)
    return done
