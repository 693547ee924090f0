"""What lands on a branch over HTTP: merges, picked commits, undone commits, paths brought back; and forgetting.

Each is the verb of that name, with its checks. What lands on a protected branch can ship, so it takes the role that may
deploy; on any other branch it takes the role that may write.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from bascule.project import sections
from bascule.project.file import load_project
from bascule.project.forgetting import forget_subject, with_policy
from bascule.project.place import PROJECT_FILE
from bascule.project.publishing import pick, publish, restore
from bascule.project.releasing import go_back
from bascule.project.required import Required, required_in
from bascule.project.reverting import revert
from bascule.project.settling import RowRules
from bascule.server.environments import demand_landing, demand_role
from bascule.server.reads import history
from bascule.server.routes import Call, Route

BASE = "/api/bascule/v1"
Names = tuple[str, ...]


class Merge(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is merged where, as `bascule merge` says it. `rows`: these tables row by row, or all when it is empty."""

    source: str
    into: str = "main"
    message: str | None = None
    ours: Names = ()
    theirs: Names = ()
    rows: Names | None = None
    cells: bool = False
    ship: bool = True
    squash: bool = False
    allow_breaking: str | None = None


class CherryPick(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which commit is brought where, as `bascule cherry-pick` says it."""

    ref: str
    on: str = "main"
    message: str | None = None
    ours: Names = ()
    theirs: Names = ()
    ship: bool = True
    allow_breaking: str | None = None


class Revert(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which commit is undone where; `force` is why, although a check refuses what comes out."""

    ref: str
    on: str = "main"
    message: str | None = None
    force: str | None = None


class Restore(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which paths are brought back, from which state."""

    paths: Annotated[Names, msgspec.Meta(min_length=1)]
    source: str
    on: str = "main"
    message: str | None = None


class GoBack(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """To which tag or commit a branch goes back; `expect` is the head that it must have now."""

    to: str
    branch: str = "main"
    reason: str = ""
    expect: str | None = None


class Forget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose rows go, by column and value; without `dry_run` they are gone for good."""

    subject: Annotated[dict[str, str], msgspec.Meta(min_length=1)]
    dry_run: bool = False
    reason: str = ""
    despite_hold: str = ""
    policy: Literal["retrain", "schedule", "justify"] | None = None
    withdraw: bool = False


def merge(call: Call[None, Merge]) -> dict[str, Any]:
    """Merge a ref into a branch after its checks, and ship what is new, as `bascule merge --json` says it."""
    body = call.body
    into = branch_to_land(call, body.into)
    done = publish(
        call.workspace,
        body.source,
        into,
        ours=body.ours,
        theirs=body.theirs,
        rows=RowRules.of(body.rows, body.cells, None) if body.rows is not None else None,
        message=body.message,
        ship=body.ship,
        squash=body.squash,
        required=_required(call),
        allow_breaking=body.allow_breaking,
    )
    return done.as_dict()


def cherry_pick(call: Call[None, CherryPick]) -> dict[str, Any]:
    """Bring what one commit changed onto a branch, after the checks of a merge."""
    body = call.body
    done = pick(
        call.workspace,
        body.ref,
        branch_to_land(call, body.on),
        ours=body.ours,
        theirs=body.theirs,
        message=body.message,
        ship=body.ship,
        required=_required(call),
        allow_breaking=body.allow_breaking,
    )
    return done.as_dict()


def revert_commit(call: Call[None, Revert]) -> history.CommitInfo:
    """Undo one commit on a branch by a new one, after the checks of a merge."""
    body = call.body
    on = branch_to_land(call, body.on)
    made = revert(call.workspace, body.ref, on, body.message, force=body.force, required=_required(call))
    return history.commit_info(made)


def restore_paths(call: Call[None, Restore]) -> dict[str, Any]:
    """Give paths of a branch the objects that they have at another state, after the checks of a merge."""
    body = call.body
    on = branch_to_land(call, body.on)
    done = restore(call.workspace, body.paths, body.source, on, message=body.message, required=_required(call))
    return done.as_dict()


def roll_back_to(call: Call[None, GoBack]) -> dict[str, Any]:
    """Give a branch the whole state of a release: data, features, models and deployments, in one commit."""
    body = call.body
    branch = branch_to_land(call, body.branch)
    for path, _ in call.workspace.history.entries(branch, "deployments/"):
        demand_role(call.workspace, call.principal, branch, path.partition("/")[2])
    done = go_back(call.workspace, body.to, branch, reason=body.reason, by=call.principal.name, expect=body.expect)
    return done.as_dict()


def forget(call: Call[None, Forget]) -> dict[str, Any]:
    """Remove a subject's rows from every state of a table, and from all that was made of them."""
    body = call.body
    done = forget_subject(
        call.workspace,
        call.path["table"],
        body.subject,
        dry_run=body.dry_run,
        reason=body.reason,
        despite_hold=body.despite_hold,
        policy=with_policy(_policy(_folder(call)), body.policy),
        withdraw=body.withdraw,
    )
    return done.as_dict()


def branch_to_land(call: Call[Any, Any], name: str) -> str:
    """Return a branch's name if the one who asks may land something on it."""
    history.demand_branch(call.workspace, name)
    demand_landing(call.workspace, call.principal, name)
    return name


def _folder(call: Call[None, Any]) -> Path:
    return call.workspace.folder.parent


def _required(call: Call[None, Any]) -> Required | None:
    return required_in(_folder(call))


def _policy(folder: Path) -> sections.Forget | None:
    return load_project(folder).forget if (folder / PROJECT_FILE).is_file() else None


ROUTES = [
    Route("POST", f"{BASE}/merges", merge, "write"),
    Route("POST", f"{BASE}/cherry-picks", cherry_pick, "write"),
    Route("POST", f"{BASE}/reverts", revert_commit, "write"),
    Route("POST", f"{BASE}/restores", restore_paths, "write"),
    Route("POST", f"{BASE}/rollbacks", roll_back_to, "deploy"),
    Route("POST", f"{BASE}/tables/{{table}}/forget", forget, "admin"),
]
