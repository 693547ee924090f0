"""Where one stands: the state of a branch at a glance, and what its commits changed."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from bascule.delivery import Waiting, waiting_for
from bascule.errors import InputError, NotFound
from bascule.history import Change, Commit, History
from bascule.project.place import MAIN, Place


@dataclass(frozen=True)
class Status:
    """A branch at a glance.

    Attributes:
        objects: how many objects of each kind it holds: `{"tables": 3, …}`.
        ahead_of_main: what differs from `main`; empty on `main` itself.
        deployments: the traffic of each deployment.
        waiting: versions that were merged and come into service later, and what has to happen first.
        follows_git: whether the branch is git's.
    """

    branch: str
    commit: Commit
    objects: dict[str, int]
    ahead_of_main: tuple[Change, ...]
    deployments: dict[str, list[dict[str, int]]]
    follows_git: bool
    waiting: tuple[Waiting, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The status as one JSON object."""
        return {
            "branch": self.branch,
            "commit": self.commit.as_dict(),
            "objects": self.objects,
            "ahead_of_main": _paths(self.ahead_of_main),
            "deployments": self.deployments,
            "waiting": [asdict(one) for one in self.waiting],
            "follows_git": self.follows_git,
        }


@dataclass(frozen=True)
class Entry:
    """A commit and what it changed against its first parent; nothing for the first commit of all."""

    commit: Commit
    changes: tuple[Change, ...]

    def as_dict(self) -> dict[str, Any]:
        """The entry as one JSON object."""
        return {**self.commit.as_dict(), "changes": _paths(self.changes)}


def status(place: Place) -> Status:
    """Return the status of the current branch."""
    history, current = place.workspace.history, place.branch
    head = history.resolve(current)
    kinds = Counter(path.partition("/")[0] for path in history.digests(head))
    ahead = history.diff(MAIN, head) if current != MAIN else []
    deployments = history.entries(head, "deployments/")
    deployed = {path.partition("/")[2]: obj["traffic"] for path, obj in deployments}
    later = tuple(
        one for _, obj in deployments if (one := waiting_for(place.workspace, head, obj, current)) is not None
    )
    return Status(current, head, dict(sorted(kinds.items())), tuple(ahead), deployed, place.follows_git, later)


def log(
    place: Place,
    ref: str | None = None,
    *,
    path: str | None = None,
    limit: int | None = 20,
    full_history: bool = False,
) -> list[Entry]:
    """Return the commits of a state, youngest first, with what each changed.

    Args:
        ref: a branch, a tag or a commit; the current branch when None.
        path: only commits that changed it or anything below it.
        full_history: also the commits that came in by a merge; without them a merge stands for all that it brought,
            as in `git log --first-parent`.

    Raises:
        NotFound: there is no such state, or no commit of it changed the path.
        InputError: the path is empty.
    """
    history, of = place.workspace.history, ref or place.branch
    if path is not None and not path.strip("/"):
        raise InputError("--path is empty.", hint="Name a path, such as tables/flights, or leave it out.")
    found = history.log(of, limit, path, first_parent=not full_history)
    if path is not None and not found:
        paths = list(history.digests(of))
        known = {*paths, *(one.partition("/")[0] for one in paths)}
        raise NotFound("path", path, known, where=f"{of!r}, nor was there: no commit changed it")
    return [_entry(history, commit) for commit in found]


def _entry(history: History, commit: Commit) -> Entry:
    return Entry(commit, tuple(history.diff(commit.parents[0], commit)) if commit.parents else ())


def _paths(changes: tuple[Change, ...]) -> list[dict[str, str]]:
    return [{"path": change.path, "kind": change.kind} for change in changes]
