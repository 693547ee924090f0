"""One merge of both, from git's merge commit to the files of whoever stands on the branch."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
from sqlalchemy import Connection

from bascule.errors import Busy, Conflict, EnvironmentProblem, InputError
from bascule.history import Commit, Workspace
from bascule.project.git import Git
from bascule.project.tandem import journal, moving
from bascule.project.tandem.journal import GitHalf
from bascule.project.tandem.settling import bring_git, settle_held
from bascule.store.locking import FileLock, Locked

# What git calls Bascule's main where nobody chose another name.
OLD_NAMES = {"main": "master"}


class Pair:
    """The git half of one merge: `with Pair(…) as pair:` around Bascule's, which calls `hold` and then `finish`.

    When the block ends by an error, git is where Bascule is: both merged, or neither.
    """

    def __init__(
        self,
        workspace: Workspace,
        folder: Path,
        source: str,
        into: str,
        *,
        message: str | None = None,
        squash: bool = False,
    ) -> None:
        """Prepare git's merge; nothing that anyone sees is changed.

        Args:
            folder: the project's, within a working tree.
            source, into: branches, by the same name in both.

        Raises:
            Conflict: files that both sides changed in git.
            InputError: there is no repository or no such branch, or files in the way have changes.
        """
        self.workspace, self.git, self.squash = workspace, Git(folder), squash
        self.data = workspace.history.resolve(source).id
        theirs, ref = self.git.branch(source, OLD_NAMES), self.git.branch(into, OLD_NAMES)
        if not ref.startswith("refs/heads/"):
            raise InputError(
                f"git's branch {into!r} is only at the remote.", hint=f"Make it here: git branch {into} origin/{into}"
            )
        commits = self.git.commit(theirs), self.git.commit(ref)
        assert commits[0] is not None
        assert commits[1] is not None
        text = message or (f"Squash {source} into {into}" if squash else f"Merge {source} into {into}")
        made = moving.merge_commit(
            self.git, commits[1], commits[0], (source, into), f"{text}\n\nBascule-Commit: {self.data}", squash=squash
        )
        head = workspace.history.resolve(into).id
        self.half = GitHalf(str(folder), ref, commits[1], made, commits[0], into, head)
        self._lock = FileLock(journal.lock_file(workspace), note="bascule merge --with-git")
        self._held: moving.Hold | None = None

    @property
    def meta(self) -> dict[str, Any]:
        """What Bascule's commit says of git's."""
        half = self.half
        return {"git": {"commit": half.after, "ref": half.ref, "source": half.source}}

    def __enter__(self) -> Pair:
        half = self.half
        if half.moves:
            moving.files_allow(self.git, half.ref, half.before, half.after)
        try:
            self._lock.__enter__()
        except Locked:
            raise Busy("Another merge with git is under way.", hint="Wait for it to end, then repeat.") from None
        try:
            stuck = settle_held(self.workspace)
            if stuck is not None and stuck.outcome == "stuck":
                raise EnvironmentProblem(stuck.message)
            if half.moves:
                journal.write(self.workspace, half)
        except BaseException:
            self._lock.__exit__(None, None, None)
            raise
        return self

    def hold(self, conn: Connection, commit: Commit) -> None:
        """Lock git's branch; called in the transaction in which Bascule's moves, which it undoes by raising.

        Raises:
            Conflict: git's branch moved, or the one that is merged did in Bascule.
            InputError: files in the way were changed meanwhile.
        """
        half = self.half
        if self.data not in (*commit.parents[1:], commit.meta.get("squashes")):
            raise Conflict(
                "The branch that is merged moved meanwhile. Neither git nor Bascule was changed.",
                hint="Repeat the merge.",
            )
        if not half.moves:
            return
        moving.files_allow(self.git, half.ref, half.before, half.after)
        if self._held is not None:
            self._held.release()
        self._held = moving.Hold(self.git, half.ref, half.before, half.after)

    def finish(self) -> None:
        """Bring git's branch and files after Bascule's. Bascule had everything already when nothing was held."""
        half = self.half
        if not half.moves:
            return
        if self._held is None:
            half = msgspec.structs.replace(half, alone=True)
            journal.write(self.workspace, half)
        else:
            self._held.commit()
            self._held = None
        bring_git(half)
        journal.clear(self.workspace)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._held is not None:
                self._held.release()
                self._held = None
            if kind is not None:
                settle_held(self.workspace)
        finally:
            self._lock.__exit__(None, None, None)
