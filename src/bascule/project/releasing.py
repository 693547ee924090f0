"""Going back to a release: data, contracts, features, labels, models, deployments and monitors, in one commit."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from bascule.catalog import actor
from bascule.counting import counted
from bascule.delivery.merging import RULES, part
from bascule.delivery.reverting import fresh, has_moved, record_revert
from bascule.delivery.traffic import in_service, out_of_service
from bascule.errors import Conflict, InputError, NotFound
from bascule.history import Commit, Staged, Workspace
from bascule.history.commits import Object

DEPLOYMENTS = "deployments/"
TRIES = 5


class _MovedMeanwhile(Exception):
    """Something else landed between looking and landing: look again."""


@dataclass(frozen=True)
class WentBack:
    """A branch at a state that it had before.

    Attributes:
        paths: what was changed by it, sorted.
        deployments: the traffic of every deployment of the branch now.
        changed: whether anything was.
    """

    branch: str
    to: str
    commit: Commit
    paths: tuple[str, ...]
    deployments: dict[str, list[dict[str, int]]]
    changed: bool

    def as_dict(self) -> dict[str, Any]:
        """The change as one JSON object."""
        told = {"branch": self.branch, "to": self.to, "commit": self.commit.as_dict(), "paths": list(self.paths)}
        return told | {"deployments": self.deployments, "changed": self.changed}

    @property
    def kinds(self) -> str:
        """What went back, counted by kind: `2 tables, 1 model, 1 deployment`."""
        return counted_kinds(self.paths)


def counted_kinds(paths: Iterable[str]) -> str:
    """Return paths counted by kind: `2 tables, 1 model, 1 deployment`."""
    found: dict[str, int] = {}
    for path in paths:
        kind = path.partition("/")[0]
        found[kind] = found.get(kind, 0) + 1
    return ", ".join(counted(n, SINGULAR.get(kind, kind)) for kind, n in sorted(found.items()))


@dataclass(frozen=True)
class Back:
    """What going back to a state changes.

    Attributes:
        head: the branch's state that was looked at.
        paths: what changes, sorted.
        landing: how each deployment of either state lands.
    """

    state: Commit
    head: Commit
    paths: list[str]
    landing: dict[str, Object | None]


def going_back(workspace: Workspace, ref: str, branch: str) -> Back:
    """Return what going back to a release would change; errors as `go_back`."""
    history = workspace.history
    state, head = history.resolve(ref), history.resolve(branch)
    _demand_past(workspace, state, head, branch, ref)
    landing = _landing(workspace, state, head)
    paths = sorted({change.path for change in history.diff(head, state)} | set(landing))
    return Back(state, head, [path for path in paths if landing.get(path, ...) != history.read(head, path)], landing)


SINGULAR = {"entities": "definition", "features": "feature view", "files": "file set", "labels": "label set"} | {
    f"{name}s": name for name in ("table", "contract", "service", "model", "deployment", "monitor", "trigger")
}


def is_release(workspace: Workspace, ref: str) -> bool:
    """Tell whether something is called so that can be gone back to: a tag or a commit, such as main~1."""
    if any(tag.name == ref for tag in workspace.history.tags()):
        return True
    counted = bool({"~", "@"} & set(ref))  # no deployment is called so
    try:
        return (counted or len(ref) >= 7) and (workspace.history.resolve(ref).id.startswith(ref) or counted)
    except (NotFound, InputError):
        return False


def release_or_deployment(workspace: Workspace, ref: str, branch: str) -> NotFound:
    """Return the error for a name that is neither a deployment, nor a tag, nor a commit."""
    names = [path.partition("/")[2] for path, _ in workspace.history.entries(branch, DEPLOYMENTS)]
    known = [*names, *(tag.name for tag in workspace.history.tags())]
    return NotFound("deployment or release", ref, known, where=branch)


def go_back(
    workspace: Workspace, ref: str, branch: str, *, reason: str = "", by: str | None = None, expect: str | None = None
) -> WentBack:
    """Give a branch the whole state of a release, in one commit. Nothing is lost: the commits since are still there.

    Tables, file sets, contracts, features, labels, models and monitors are as they were. Deployments serve what they
    served then, each under a revision of its own; one that is younger than the release is taken out of service. It is
    recorded in `rollouts` and in the audit log. No check is run, for the state was checked when it landed first, and
    the way back must be open in an emergency.

    Args:
        ref: a tag or a commit.
        expect: the branch's head that was looked at; None takes the present one.

    Returns:
        What was changed; nothing when the branch has that state.

    Raises:
        NotFound: there is no such state or branch.
        InputError: the state is not one of the branch's past.
        Conflict: the branch is not where it was looked at, or never stood still.
        Expired: the data of the state are gone.
    """
    history, who = workspace.history, by or actor()
    if not any(one.name == branch for one in history.branches()):
        raise NotFound("branch", branch, [one.name for one in history.branches()])
    for _ in range(TRIES):
        back = going_back(workspace, ref, branch)
        if expect is not None and back.head.id != expect:
            raise Conflict(
                f"Branch {branch!r} is at {back.head.short}, not where it was looked at.", hint="Look again."
            )
        if not back.paths:
            return WentBack(branch, ref, back.head, (), _traffic(workspace, back.head), changed=False)
        try:
            commit = _land(workspace, back, branch, ref, reason, who)
        except _MovedMeanwhile:
            continue
        return WentBack(branch, ref, commit, tuple(back.paths), _traffic(workspace, commit), changed=True)
    raise Conflict(
        f"Branch {branch!r} moved {TRIES} times while it was brought back to {ref}.",
        hint="Stop what writes to it, then repeat.",
    )


def _land(workspace: Workspace, back: Back, branch: str, ref: str, reason: str, who: str) -> Commit:
    history, state, head = workspace.history, back.state, back.head

    def check(staged: Staged) -> None:
        if staged.target.id != head.id:
            raise _MovedMeanwhile

    def also(conn: Connection, commit: Commit) -> None:
        for path, after in back.landing.items():
            before = history.read(head, path)
            if path in back.paths and has_moved(before, after):
                record_revert(conn, branch, before, after, who, commit)

    named = f"{ref} ({state.short})" if not state.id.startswith(ref) else state.short
    text = f"Roll back to {named}" + (f" ({reason})" if reason else "")
    within = {path: after for path, after in back.landing.items() if path in back.paths}
    return history.restore(
        branch, state, back.paths, message=text, author=who, check=check, adapt=lambda _: within, also=also
    )


def _landing(workspace: Workspace, state: Commit, head: Commit) -> dict[str, Object | None]:
    """Return how every deployment of either state lands."""
    history = workspace.history
    then, now = dict(history.entries(state, DEPLOYMENTS)), dict(history.entries(head, DEPLOYMENTS))
    landing: dict[str, Object | None] = {}
    for path in {*then, *now}:
        back, current = then.get(path), now.get(path)
        if back is None:
            assert current is not None
            served = out_of_service(current) if in_service(current) else current
            landing[path] = served if current["revision"] else None
        elif current is not None and _alike(back, current):
            landing[path] = current
        else:
            landing[path] = fresh(current, back)
    return landing


def _alike(back: Object, current: Object) -> bool:
    """Tell whether two states of a deployment say and serve the same, whatever their revisions and trails."""
    return not has_moved(back, current) and part(back, (*RULES, "model", "log")) == part(
        current, (*RULES, "model", "log")
    )


def _demand_past(workspace: Workspace, state: Commit, head: Commit, branch: str, ref: str) -> None:
    if not workspace.history.is_ancestor(state, head):
        raise InputError(
            f"{ref} is not in the past of {branch!r}: {branch!r} never had that state.",
            hint=f"Merge it, or take one of: bascule log {branch}",
        )


def _traffic(workspace: Workspace, commit: Commit) -> dict[str, list[dict[str, int]]]:
    entries = workspace.history.entries(commit, DEPLOYMENTS)
    return {path.partition("/")[2]: deployment["traffic"] for path, deployment in entries}
