"""Where one stands: the state of a branch at a glance, and what its commits changed."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bascule.delivery import Waiting, waiting_for
from bascule.delivery.environments import lacking
from bascule.errors import InputError, NotFound
from bascule.history import Change, Commit, History
from bascule.project.place import MAIN, Place
from bascule.registry import get_version, production
from bascule.registry.versions import LATEST
from bascule.serving.case import UNLOADABLE
from bascule.serving.incidents import Incident, incidents_of
from bascule.serving.wanted import wanted


@dataclass(frozen=True)
class Status:
    """A branch at a glance.

    Attributes:
        objects: how many objects of each kind it holds: `{"tables": 3, …}`.
        ahead_of_main: what differs from `main`; empty on `main` itself.
        deployments: the traffic of each deployment.
        waiting: versions that were merged and come into service later, and what has to happen first.
        follows_git: whether the branch is git's.
        to_deploy: the command that brings each deployment into service which is not, and could be.
        incidents: for each deployment what broke of late, of versions that answer or are wanted there.
        mend: for each of these what to do next.
        rollouts: for each deployment that tries versions, which, against which, and by which strategy.
    """

    branch: str
    commit: Commit
    objects: dict[str, int]
    ahead_of_main: tuple[Change, ...]
    deployments: dict[str, list[dict[str, int]]]
    follows_git: bool
    waiting: tuple[Waiting, ...] = ()
    to_deploy: dict[str, str] = field(default_factory=dict)
    incidents: dict[str, list[Incident]] = field(default_factory=dict)
    mend: dict[str, str] = field(default_factory=dict)
    rollouts: dict[str, dict[str, Any]] = field(default_factory=dict)

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
            "to_deploy": self.to_deploy,
            "incidents": {name: [one.as_dict() for one in found] for name, found in self.incidents.items()},
            "mend": self.mend,
            "rollouts": self.rollouts,
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
    told = dict(sorted(kinds.items())), tuple(ahead), deployed, place.follows_git, later
    broken = _broken(place, head, [obj for _, obj in deployments])
    mend = {obj["name"]: _mend(place, obj, broken[obj["name"]]) for _, obj in deployments if obj["name"] in broken}
    tried = {obj["name"]: _tried(obj["rollout"]) for _, obj in deployments if obj["rollout"]}
    return Status(current, head, *told, to_deploy(place, head), broken, mend, tried)


def _tried(rollout: Mapping[str, Any]) -> dict[str, Any]:
    strategy, versions = rollout.get("strategy", "canary"), [rollout["canary"], *rollout.get("others", ())]
    return {"strategy": strategy, "versions": versions, "against": rollout["stable"]}


def _broken(place: Place, head: Commit, deployments: Sequence[Mapping[str, Any]]) -> dict[str, list[Incident]]:
    """Return by deployment what broke of late in versions that it has in service, or means to have."""
    found = {}
    for deployment, incidents in zip(deployments, incidents_of(place.workspace, head, deployments), strict=True):
        needed = {version for version, answers in wanted(deployment).items() if answers}
        open_ones = [one for one in incidents if one.open and one.version in needed]
        if open_ones:
            found[str(deployment["name"])] = open_ones
    return found


def _mend(place: Place, deployment: Mapping[str, Any], incidents: Sequence[Incident]) -> str:
    """Return what to do about what broke."""
    name, where = deployment["name"], f" --branch {place.branch}" if place.branch != MAIN else ""
    found = []
    if any(one.kind == UNLOADABLE for one in incidents):
        found.append("bascule doctor (what is missing)")
    if any(one.kind != UNLOADABLE for one in incidents):
        query = f"select at, version, inputs, output from predictions where deployment = '{name}' and score is null"
        found.append(f'bascule sql "{query}" (the requests)')
    trail = deployment.get("trail") or []
    if deployment["rollout"] or trail:
        before = deployment["rollout"] or trail[-1]["traffic"]
        what = "the version before" if before else "out of service: there is no version before"
        found.append(f"bascule rollback deployments/{name}{where} ({what})")
    return "; ".join(found)


def to_deploy(place: Place, head: Commit) -> dict[str, str]:
    """Return the command for each deployment of the current branch that serves nothing, and has a version that may."""
    found = {}
    for path, deployment in place.workspace.history.entries(head, "deployments/"):
        version = None if deployment["traffic"] else _deployable(place, head, deployment)
        if version is not None:
            name, model = path.partition("/")[2], deployment["model"]
            words = ["bascule", "deploy", name, str(version)]
            words += ["--model", model] if model != name else []
            words += ["--branch", place.branch] if place.has_chosen_branch else []
            found[name] = shlex.join(words)
    return found


def _deployable(place: Place, head: Commit, deployment: Mapping[str, Any]) -> int | None:
    """Return the version that `bascule deploy` takes: the production one, else the last; None when it takes neither."""
    workspace, model = place.workspace, deployment["model"]
    try:
        version = get_version(workspace, head, model, production(workspace, head, model) or LATEST)
    except NotFound:
        return None
    judged_fit = version.passed or version.forced or not version.evaluation_id
    return version.version if judged_fit and not lacking(workspace, place.branch, deployment, version) else None


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
