"""Branches, tags, merges: the history as Python."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bascule.verbs.bound import Bound

if TYPE_CHECKING:
    from bascule.history import Commit
    from bascule.history.refs import Ref
    from bascule.project.comparing import Comparison
    from bascule.project.overview import Entry, Status
    from bascule.project.publishing import Published


class HistoryVerbs(Bound):
    """The history: each method is the command of that name."""

    def status(self) -> Status:
        """Return the current branch, what it holds, what it has that main has not, and what is served."""
        from bascule.project.overview import status

        return status(self.place)

    def log(
        self, ref: str | None = None, *, path: str | None = None, limit: int | None = 20, full_history: bool = False
    ) -> list[Entry]:
        """Return the commits of a branch, youngest first, with what each changed; a merge stands for what it brought.

        Args:
            full_history: also the commits that merges brought.
        """
        from bascule.project.overview import log

        return log(self.place, ref, path=path, limit=limit, full_history=full_history)

    def branches(self) -> list[Ref]:
        """Return all branches."""
        return self.workspace.history.branches()

    def branch(self, name: str, *, at: str | None = None) -> Ref:
        """Make a branch at a state, the current branch by default. It costs no copy, whatever the data."""
        return self.workspace.history.create_branch(name, at or self.place.branch)

    def delete_branch(self, name: str, *, force: bool = False) -> None:
        """Remove a branch's name; with `force` even if main does not have all of it."""
        if name == self.place.branch:
            from bascule.errors import InputError

            others = [ref.name for ref in self.branches() if ref.name != name]
            other = "main" if "main" in others else next(iter(others), "")
            hint = f"Switch to another one first: bascule switch {other}" if other else "It is the only one; it stays."
            raise InputError(f"{name!r} is the current branch.", hint=hint)
        self.workspace.history.delete_branch(name, force=force)

    def protect(self, name: str, protected: bool = True) -> None:
        """Set whether required checks hold what lands on a branch, and nobody may delete it."""
        self.workspace.history.protect(name, protected)

    def switch(self, name: str, *, create: bool = False) -> None:
        """Make a branch the current one; where git is followed this is `git switch`."""
        self.place.switch(name, create=create)

    def diff(
        self,
        before: str,
        after: str | None = None,
        *,
        path: str | Sequence[str] = "",
        rows: int = 5,
        stat: bool = False,
        whole: bool | None = None,
    ) -> list[Comparison]:
        """Compare two states, the second one by default the current branch, each kind of object in its own words.

        Args:
            path: only paths that begin so, or so.
            rows: show at most so many rows of a table that were added, removed and changed, each.
            stat: only say which paths differ; no data is read.
            whole: read whole tables for each column's figures; None does so for small ones.
        """
        from bascule.project.comparing import compare

        return compare(self.workspace, before, after or self.place.branch, path, rows, stat=stat, whole=whole)

    def merge(
        self,
        source: str,
        into: str | None = None,
        *,
        message: str | None = None,
        ours: Iterable[str] = (),
        theirs: Iterable[str] = (),
        rows: Iterable[str] | None = None,
        cells: bool = False,
        conflicts: Path | None = None,
        ship: bool = True,
        squash: bool = False,
        with_git: bool = False,
        allow_breaking: str | None = None,
    ) -> Published:
        """Merge a branch after its checks, and ship what is new; see `publish`.

        Args:
            into: the branch that was named when the project was opened, else the current one, else main.
            rows: merge tables that both sides changed row by row, by their keys: these, or all when none is named.
            cells: with `rows`, merge a row of which each side changed other columns.
            conflicts: with `rows`, a file that gets every row in conflict, as JSON lines.
            squash: land as one commit that does not lead to those of the source.
            with_git: merge git's branch of that name too: both land, or neither.
            allow_breaking: why it lands although readers of a table break; the audit log keeps it.
        """
        from contextlib import nullcontext

        from bascule.project.publishing import publish
        from bascule.project.required import required_of
        from bascule.project.settling import RowRules
        from bascule.project.tandem import Pair

        target = into or self.place.target(source)
        here = self.workspace, self.folder
        with Pair(*here, source, target, message=message, squash=squash) if with_git else nullcontext() as pair:
            return publish(
                self.workspace,
                source,
                target,
                ours=ours,
                theirs=theirs,
                rows=RowRules.of(rows, cells, conflicts) if rows is not None else None,
                message=message,
                ship=ship,
                squash=squash,
                required=required_of(self.place),
                pair=pair,
                allow_breaking=allow_breaking,
            )

    def cherry_pick(
        self,
        ref: str,
        *,
        message: str | None = None,
        ours: Iterable[str] = (),
        theirs: Iterable[str] = (),
        ship: bool = True,
        allow_breaking: str | None = None,
    ) -> Published:
        """Bring what one commit changed onto the current branch, after the checks of a merge; see `pick`."""
        from bascule.project.publishing import pick
        from bascule.project.required import required_of

        told: dict[str, Any] = {"message": message, "ours": ours, "theirs": theirs, "ship": ship}
        told["allow_breaking"] = allow_breaking
        return pick(self.workspace, ref, self.place.branch, required=required_of(self.place), **told)

    def revert(self, ref: str, *, message: str | None = None, force: str | None = None) -> Commit:
        """Undo one commit on the current branch by a new one.

        Args:
            force: why to land it although a check refuses the state that comes out.
        """
        from bascule.project.required import required_of
        from bascule.project.reverting import revert

        return revert(self.workspace, ref, self.place.branch, message, force=force, required=required_of(self.place))

    def restore(self, paths: Sequence[str], source: str, *, message: str | None = None) -> Published:
        """Give paths of the current branch the objects that they have at another state, after a merge's checks."""
        from bascule.project.publishing import restore
        from bascule.project.required import required_of

        required = required_of(self.place)
        return restore(self.workspace, paths, source, self.place.branch, message=message, required=required)

    def tags(self) -> list[Ref]:
        """Return all tags."""
        return self.workspace.history.tags()

    def tag(self, name: str, at: str | None = None) -> Ref:
        """Name a state for good, the current branch by default."""
        return self.workspace.history.tag(name, at or self.place.branch)
