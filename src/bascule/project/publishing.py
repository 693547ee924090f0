"""Merging as users mean it: the merged state is checked before anyone sees it, and a merge into production ships."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Literal

import msgspec
from sqlalchemy import select

from bascule.catalog import actor
from bascule.catalog.schema import rollouts
from bascule.contracts import Contract
from bascule.delivery import Waiting, merge_deployments
from bascule.delivery import ship as bring_into_service
from bascule.errors import CheckFailed, Conflict, InputError, NotFound
from bascule.history import REMOVED, Change, Commit, Staged, Workspace
from bascule.history.commits import Object
from bascule.lake import Lake, RowMerge
from bascule.project.checking import check_table, refuse
from bascule.project.related import related
from bascule.project.required import Required, check_required
from bascule.project.settling import RowRules, TableSettler
from bascule.project.shipping import Shipped
from bascule.registry import merge_models

PRODUCTION = "production"
MERGE_REPAIR = "Repair the data on {!r}, or change the contract there, then merge again."


@dataclass(frozen=True)
class Published:
    """What a merge did.

    Attributes:
        commit: the merge commit (or the target's head, when there was nothing to merge).
        changes: what it changed on the target.
        checked: the tables and models whose checks passed.
        shipped: the new versions that came into service.
        waiting: the new versions that come into service later, and what has to happen first.
        rows: the tables that were merged row by row, and how that went.
    """

    commit: Commit
    changes: tuple[Change, ...]
    checked: tuple[str, ...]
    shipped: tuple[Shipped, ...]
    waiting: tuple[Waiting, ...] = ()
    rows: Mapping[str, RowMerge] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The merge as one JSON object."""
        return {
            "commit": self.commit.as_dict(),
            "changes": [{"path": change.path, "kind": change.kind} for change in self.changes],
            "checked": list(self.checked),
            "shipped": [asdict(one) for one in self.shipped],
            "waiting": [asdict(one) for one in self.waiting],
            "rows": {path: done.as_dict() for path, done in self.rows.items()},
        }


def publish(
    workspace: Workspace,
    source: str,
    into: str,
    *,
    ours: Iterable[str] = (),
    theirs: Iterable[str] = (),
    rows: RowRules | None = None,
    message: str | None = None,
    ship: bool = True,
    run: str | None = None,
    meta: dict[str, Any] | None = None,
    required: Required | None = None,
    squash: bool = False,
) -> Published:
    """Merge a ref into a branch after its checks: contracts on changed tables, gates on changed models.

    A table without a contract is held to its key.

    Args:
        ours: paths in conflict where the target's side is kept; of a table whose rows are merged, only of the rows in
            conflict.
        theirs: paths in conflict where the source's side is taken, likewise.
        rows: merge tables that both sides changed row by row, by their keys.
        ship: bring a new production version of a model into its deployments: the first one at once, a later one by
            the strategy that the deployment says, when a rollout that is under way has ended.
        run: the run on whose behalf it is done.
        required: the project's own checks, which are run when the target is protected.
        squash: land as one commit that does not lead to those of the source.

    Raises:
        Conflict: names paths that both sides changed.
        CheckFailed: a check refused the merged state; the target is unchanged.
        NotFound: `ours` or `theirs` names a path that only one side changed.
    """
    act = partial(workspace.history.merge, source, into, message=message, meta=meta, squash=squash)
    refused = f"{source!r} is not merged into {into!r}"
    repair = MERGE_REPAIR.format(source)
    tables = TableSettler(Lake(workspace), rows, f"bascule merge {source}")
    done = _land(workspace, act, into, refused, repair, _Resolver(tables, ours, theirs), run, required)
    models = _changed_models(done.changes) or _left_over(workspace, source, into)
    shipped, waiting = _ship(workspace, into, models) if ship else ((), ())
    return replace(done, shipped=shipped, waiting=waiting)


def pick(
    workspace: Workspace,
    ref: str,
    on: str,
    *,
    ours: Iterable[str] = (),
    theirs: Iterable[str] = (),
    message: str | None = None,
    ship: bool = True,
    required: Required | None = None,
) -> Published:
    """Bring what one commit changed onto a branch, after a merge's checks. Arguments and errors are as `publish`."""
    act = partial(workspace.history.cherry_pick, ref, on, message=message)
    refused = f"{workspace.history.resolve(ref).short} is not picked onto {on!r}"
    repair = "Pick what it needs first, or change the data or the contract where it comes from."
    tables = TableSettler(Lake(workspace), None, "", picks=True)
    done = _land(workspace, act, on, refused, repair, _Resolver(tables, ours, theirs), None, required)
    shipped, waiting = _ship(workspace, on, _changed_models(done.changes)) if ship else ((), ())
    return replace(done, shipped=shipped, waiting=waiting)


def _land(
    workspace: Workspace,
    act: Callable[..., Commit],
    into: str,
    refused: str,
    repair: str,
    resolve: _Resolver,
    run: str | None,
    required: Required | None,
) -> Published:
    seen: dict[str, Any] = {"changes": (), "checked": ()}

    def check(staged: Staged) -> None:
        resolve.refuse_unused()
        seen["changes"] = staged.changes
        checked = check_staged(workspace, staged, refused, f"{into!r} is unchanged.", repair, run)
        if required is not None:
            checked = (*checked, *check_required(workspace, required, staged, into, refused, run))
        seen["checked"] = checked

    try:
        commit = act(resolve=resolve, check=check)
    except Conflict as error:
        resolve.tables.discard(None)
        raise resolve.tables.explained(error) from error
    except (CheckFailed, InputError):  # of any other error nobody knows whether it landed
        resolve.tables.discard(None)
        raise
    resolve.tables.discard(commit)
    return Published(commit, seen["changes"], seen["checked"], (), (), resolve.tables.merged(commit))


class _Resolver:
    """Settles paths that both sides changed: by the user's word, else by kind."""

    def __init__(self, tables: TableSettler, keep: Iterable[str], take: Iterable[str]) -> None:
        self.tables, self.ours, self.theirs = tables, frozenset(keep), frozenset(take)
        if both := self.ours & self.theirs:
            raise InputError(f"{', '.join(sorted(both))} cannot keep both sides.", hint="Name a path once.")
        tables.sides |= dict.fromkeys(self.ours, "ours")
        tables.sides |= dict.fromkeys(self.theirs, "theirs")
        self.asked: set[str] = set()

    def __call__(self, path: str, base: Object | None, ours: Object | None, theirs: Object | None) -> Object | None:
        self.asked.add(path)
        side: Literal["ours", "theirs"] | None
        side = "ours" if path in self.ours else "theirs" if path in self.theirs else None
        if path.startswith("models/") and ours and theirs:
            return merge_models(path, base, ours, theirs, prefer=side)
        if ours and theirs and self.tables.takes(path):
            settled = self.tables.settle(path, base, ours, theirs)
            if settled is not None or path in self.tables.listed:
                return settled
        if side is not None:
            return (ours if side == "ours" else theirs) or REMOVED
        if ours is None or theirs is None:
            return None
        if path.startswith("tables/"):
            return None if self.tables.takes(path) else self.tables.settle(path, base, ours, theirs)
        if path.startswith("deployments/"):
            return merge_deployments(path, base, ours, theirs)
        return None

    def refuse_unused(self) -> None:
        """Raise `NotFound` when a path was named that only one side changed: the user meant something else."""
        for path in sorted((self.ours | self.theirs) - self.asked):
            hint = "" if self.asked else "Both sides go together without a choice: leave --ours and --theirs out."
            raise NotFound("path in conflict", path, self.asked, hint=hint)
        self.tables.refuse_unused()


def check_staged(
    workspace: Workspace, staged: Staged, refused: str, unchanged: str, repair: str, run: str | None = None
) -> tuple[str, ...]:
    """Check a state that no branch has yet: contracts on changed tables, gates on changed models.

    Args:
        refused: what does not happen when a check fails, as the beginning of a sentence.
        unchanged: what stays as it is then, as a sentence.
        repair: what to do about a table that fails, as a sentence.

    Returns:
        The tables and models whose checks passed.

    Raises:
        CheckFailed: with the failing rows.
    """
    paths = {change.path for change in staged.changes if change.after is not None}
    names = {path.partition("/")[2] for path in paths if path.startswith(("tables/", "contracts/"))}
    tables = [change.path.removeprefix("tables/") for change in staged.changes if change.path.startswith("tables/")]
    for _, contract in staged.entries("contracts/") if tables else ():
        if related(Contract.parse(contract["text"]), tables):
            names.add(contract["table"])
    commit = staged.source.id
    reports = [
        report
        for name in sorted(names)
        if (report := check_table(workspace, name, staged.read, commit=commit, run=run, key_at_least=True)) is not None
    ]
    refuse(reports, refused, f"{unchanged} {repair}")
    models = sorted(path for path in paths if path.startswith("models/"))
    for path in models:
        _check_model(staged, path, refused, unchanged)
    return (*(f"tables/{report.table}" for report in reports), *models)


def _check_model(staged: Staged, path: str, refused: str, unchanged: str) -> None:
    model = staged.read(path) or {}
    number = model.get("aliases", {}).get(PRODUCTION)
    version = model.get("versions", {}).get(str(number))
    if version is not None and not version["passed"] and not version.get("forced"):
        raise CheckFailed(
            f"{refused}: version {number} of {path} did not pass its gates.",
            details=[{"path": path, "version": number}],
            hint=f"{unchanged} See why with: bascule models {path.partition('/')[2]} {number}",
        )


def _changed_models(changes: Iterable[Change]) -> set[str]:
    return {c.path.partition("/")[2] for c in changes if c.path.startswith("models/") and c.after is not None}


def _left_over(workspace: Workspace, source: str, into: str) -> set[str]:
    """Return the models that an earlier merge of the same state brought, and that it was killed before shipping."""
    history, head = workspace.history, workspace.history.resolve(into)
    theirs = history.resolve(source).id
    found = set()
    for path, deployment in history.entries(head, "deployments/"):
        last = history.log(head, limit=1, path=f"models/{deployment['model']}")
        version = _production(workspace, head, deployment["model"])
        if last and theirs in last[0].parents[1:] and version is not None:
            name = path.partition("/")[2]
            if not _has_served(workspace, into, name, version):
                found.add(deployment["model"])
    return found


def _has_served(workspace: Workspace, branch: str, deployment: str, version: int) -> bool:
    """Tell whether a version was ever given traffic: then whoever took it out of service meant it."""
    query = select(rollouts.c.to_json).where(rollouts.c.branch == branch, rollouts.c.deployment == deployment)
    with workspace.catalog.read() as conn:
        served = [msgspec.json.decode(text) for text in conn.execute(query).scalars()]
    return any(entry["version"] == version for traffic in served for entry in traffic)


def _production(workspace: Workspace, head: Commit, model: str) -> int | None:
    found = workspace.history.read(head, f"models/{model}") or {}
    version: int | None = found.get("aliases", {}).get(PRODUCTION)
    return version


def _ship(workspace: Workspace, into: str, models: Container[str]) -> tuple[tuple[Shipped, ...], tuple[Waiting, ...]]:
    """Bring the production version of models into their deployments, where it is a new one."""
    head = workspace.history.resolve(into)
    shipped, waiting = [], []
    for path, deployment in workspace.history.entries(head, "deployments/"):
        if deployment["model"] not in models:
            continue
        version = _production(workspace, head, deployment["model"])
        serving = {entry["version"] for entry in deployment["traffic"]}
        if version is None or version in serving:
            continue
        name = path.partition("/")[2]
        done = bring_into_service(workspace, into, name, version, by=actor())
        if isinstance(done, Waiting):
            waiting.append(done)
            continue
        traffic = workspace.history.get(done, path)["traffic"]
        share = next((entry["weight"] for entry in traffic if entry["version"] == version), 0)
        shipped.append(Shipped(name, version, share))
    return tuple(shipped), tuple(waiting)
