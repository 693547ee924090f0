"""Merging as users mean it: the merged state is checked before anyone sees it, and a merge into production ships."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, select

from bascule.catalog import actor
from bascule.catalog.schema import rollouts
from bascule.delivery import Waiting, engine_left, has_own_traffic, keep_traffic, merge_deployments
from bascule.delivery import ship as bring_into_service
from bascule.errors import CheckFailed, Conflict, InputError, NotFound
from bascule.history import REMOVED, Change, Commit, Staged, Workspace
from bascule.history.commits import Object
from bascule.lake import Lake, RowMerge, filesets
from bascule.naming import model_path
from bascule.project.holding import DEPLOYMENTS, check_staged
from bascule.project.judging import Judge, Judgement
from bascule.project.measuring import refuse_unmeasurable
from bascule.project.place import MAIN
from bascule.project.required import Required, check_required
from bascule.project.settling import RowRules, TableSettler
from bascule.project.shipping import Shipped
from bascule.project.tandem import Pair
from bascule.registry import merge_models, production
from bascule.registry.deletions import refuse_purged

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
        kept: deployments that the source removed, and that stay since they are in service on the target.
        git: the commit that git's branch is at, when git was merged too.
        judged: what the changes of tables and contracts do to their readers.
    """

    commit: Commit
    changes: tuple[Change, ...]
    checked: tuple[str, ...]
    shipped: tuple[Shipped, ...]
    waiting: tuple[Waiting, ...] = ()
    rows: Mapping[str, RowMerge] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    git: str | None = None
    judged: tuple[Judgement, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The merge as one JSON object."""
        return {
            "commit": self.commit.as_dict(),
            "changes": [{"path": change.path, "kind": change.kind} for change in self.changes],
            "checked": list(self.checked),
            "shipped": [asdict(one) for one in self.shipped],
            "waiting": [asdict(one) for one in self.waiting],
            "rows": {path: done.as_dict() for path, done in self.rows.items()},
            "kept": list(self.kept),
            "git": self.git,
            "schema": [one.as_dict() for one in self.judged],
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
    pair: Pair | None = None,
    allow_breaking: str | None = None,
) -> Published:
    """Merge a ref into a branch after its checks: contracts on changed tables, gates on changed models.

    A table without a contract is held to its key. Of a deployment its rules are merged; its traffic is the target's own
    and a new one serves nothing before it is shipped. Only a branch that has deployed nothing itself takes the traffic
    of main when main is merged into it.

    Args:
        ours: paths in conflict where the target's side is kept; of a table whose rows are merged, only of the rows in
            conflict; a file of a set as files/NAME/FILE.
        theirs: paths in conflict where the source's side is taken, likewise.
        rows: merge tables that both sides changed row by row, by their keys.
        ship: bring a new production version of a model into its deployments, and the one that there is into a new
            deployment: the first one at once, a later one by the strategy that the deployment says, when a rollout
            that is under way has ended.
        run: the run on whose behalf it is done.
        required: the project's own checks, which are run when the target is protected.
        squash: land as one commit that does not lead to those of the source.
        pair: git's merge, which lands with this one or not at all.
        allow_breaking: why it lands on a protected branch although readers of a table break; the audit log keeps it.

    Raises:
        Conflict: names paths that both sides changed.
        CheckFailed: a check refused the merged state, or readers would break; the target is unchanged.
        NotFound: `ours` or `theirs` names a path that only one side changed.
    """
    if not ship and meta is None:
        meta = {"ship": False}  # a merge that is repeated is not one that was killed before it shipped
    if pair is not None:
        meta = {**(meta or {}), **pair.meta}
    judge = Judge(workspace, into, allow_breaking)

    def also(conn: Connection, commit: Commit) -> None:
        judge.record(conn, commit)
        if pair is not None:
            pair.hold(conn, commit)

    act = partial(workspace.history.merge, source, into, message=message, meta=meta, squash=squash, also=also)
    refused = f"{source!r} is not merged into {into!r}"
    repair = MERGE_REPAIR.format(source)
    tables = TableSettler(Lake(workspace), rows, f"bascule merge {source}")
    resolve = _Resolver(tables, ours, theirs, follows=_follower(workspace, source, into))
    done = _land(workspace, act, into, refused, repair, resolve, run, required, judge)
    if pair is not None:
        pair.finish()
        done = replace(done, git=pair.half.after)
    if not ship:
        return done
    names = _to_ship(workspace, done) or _left_over(workspace, source, into)
    shipped, waiting = _ship(workspace, into, names)
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
    allow_breaking: str | None = None,
) -> Published:
    """Bring what one commit changed onto a branch, after a merge's checks. Arguments and errors are as `publish`."""
    judge = Judge(workspace, on, allow_breaking)
    act = partial(workspace.history.cherry_pick, ref, on, message=message, also=judge.record)
    refused = f"{workspace.history.resolve(ref).short} is not picked onto {on!r}"
    repair = "Pick what it needs first, or change the data or the contract where it comes from."
    resolve = _Resolver(TableSettler(Lake(workspace), None, "", picks=True), ours, theirs)
    done = _land(workspace, act, on, refused, repair, resolve, None, required, judge)
    shipped, waiting = _ship(workspace, on, _to_ship(workspace, done)) if ship else ((), ())
    return replace(done, shipped=shipped, waiting=waiting)


def restore(
    workspace: Workspace,
    paths: Sequence[str],
    source: str,
    on: str,
    *,
    message: str | None = None,
    required: Required | None = None,
) -> Published:
    """Give paths of a branch the objects that they have at another state, after a merge's checks. Nothing is shipped.

    Of a deployment the rules come back; its traffic stays (`rollback` moves that).

    Args:
        source: the state that they are taken from. What is not there is removed.

    Raises:
        NotFound: neither state has a path; the nearest is offered.
        CheckFailed: a check refused the state; nothing was changed.
    """
    history = workspace.history
    state, head = history.resolve(source), history.resolve(on)
    known = {**history.digests(state), **history.digests(head)}
    for path in paths:
        if path not in known:
            raise NotFound("path", path, list(known), where=source)
    shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
    text = message or f"Restore {shown} from {state.short}"
    act = lambda resolve, **asked: history.restore(on, state, paths, message=text, **asked)  # noqa: E731
    refused, repair = f"Nothing is restored on {on!r}", "Restore what belongs to it, too."
    return _land(
        workspace, act, on, refused, repair, _Resolver(TableSettler(Lake(workspace), None, ""), (), ()), None, required
    )


def _land(
    workspace: Workspace,
    act: Callable[..., Commit],
    into: str,
    refused: str,
    repair: str,
    resolve: _Resolver,
    run: str | None,
    required: Required | None,
    judge: Judge | None = None,
) -> Published:
    seen: dict[str, Any] = {"changes": (), "checked": (), "kept": ()}

    def adapt(staged: Staged) -> dict[str, Object | None]:
        refuse_purged(workspace, staged)
        instead = keep_traffic(workspace, into, staged, resolve.follows)
        gone = {change.path for change in staged.changes if change.after is None}
        seen["kept"] = tuple(path.partition("/")[2] for path, lands in instead.items() if lands and path in gone)
        return instead

    def check(staged: Staged) -> None:
        resolve.refuse_unused()
        seen["changes"] = staged.changes
        refuse_unmeasurable(workspace, into, staged, refused)
        checked = check_staged(workspace, staged, refused, f"{into!r} is unchanged.", repair, run)
        if judge is not None:
            judge.look(staged, refused)
        if required is not None:
            checked = (*checked, *check_required(workspace, required, staged, into, refused, run))
        seen["checked"] = checked

    try:
        commit = act(resolve=resolve, check=check, adapt=adapt)
    except Conflict as error:
        resolve.tables.discard(None)
        raise resolve.tables.explained(error) from error
    except (CheckFailed, InputError):  # of any other error nobody knows whether it landed
        resolve.tables.discard(None)
        raise
    resolve.tables.discard(commit)
    rows = resolve.tables.merged(commit)
    judged = tuple(judge.found) if judge is not None else ()
    return Published(commit, seen["changes"], seen["checked"], (), (), rows, seen["kept"], judged=judged)


def _follower(workspace: Workspace, source: str, into: str) -> Callable[[str], bool]:
    """Return what tells whether a branch takes a deployment's traffic from main, which it has only inherited."""
    if source != MAIN or into == MAIN:
        return lambda name: False
    return lambda name: not has_own_traffic(workspace, into, name)


class _Resolver:
    """Settles paths that both sides changed: by the user's word, else by kind."""

    def __init__(
        self,
        tables: TableSettler,
        keep: Iterable[str],
        take: Iterable[str],
        *,
        follows: Callable[[str], bool] = lambda name: False,
    ) -> None:
        self.tables, self.ours, self.theirs = tables, frozenset(keep), frozenset(take)
        self.follows = follows
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
        if path.startswith("deployments/") and ours and theirs:
            follow = self.follows(path.partition("/")[2])
            return merge_deployments(path, base, ours, theirs, prefer=side, follow=follow)
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
        if path.startswith(filesets.PREFIX):
            return self._merge_files(path, base, ours, theirs)
        return None

    def _merge_files(self, path: str, base: Object | None, ours: Object, theirs: Object) -> Object:
        """Merge two versions of a file set, file by file; `ours` and `theirs` may name a file as PATH/FILE."""

        def choose(file: str) -> Literal["ours", "theirs"] | None:
            self.asked.add(f"{path}/{file}")
            return "ours" if f"{path}/{file}" in self.ours else "theirs" if f"{path}/{file}" in self.theirs else None

        store, name = self.tables.lake.workspace.store, path.removeprefix(filesets.PREFIX)
        old, mine, other = (filesets.manifest_of(store, value, name) for value in (base, ours, theirs))
        return filesets.merge(old, mine, other, choose) or REMOVED

    def refuse_unused(self) -> None:
        """Raise `NotFound` when a path was named that only one side changed: the user meant something else."""
        for path in sorted((self.ours | self.theirs) - self.asked):
            hint = "" if self.asked else "Both sides go together without a choice: leave --ours and --theirs out."
            raise NotFound("path in conflict", path, self.asked, hint=hint)
        self.tables.refuse_unused()


def _to_ship(workspace: Workspace, done: Published) -> set[str]:
    """Return the deployments that what landed concerns: their model changed, or they are new here."""
    landed = {change.path: change for change in done.changes if change.after is not None}
    return {
        path.partition("/")[2]
        for path, deployment in workspace.history.entries(done.commit, DEPLOYMENTS)
        if model_path(deployment["model"]) in landed or (path in landed and landed[path].before is None)
    }


def _left_over(workspace: Workspace, source: str, into: str) -> set[str]:
    """Return the deployments whose model an earlier merge of the same state brought, killed before it shipped."""
    history, head = workspace.history, workspace.history.resolve(into)
    theirs = history.resolve(source).id
    found = set()
    for path, deployment in history.entries(head, DEPLOYMENTS):
        last = history.log(head, limit=1, path=model_path(deployment["model"]))
        version = production(workspace, head, deployment["model"])
        if last and theirs in last[0].parents[1:] and last[0].meta.get("ship", True) and version is not None:
            name = path.partition("/")[2]
            if not _has_served(workspace, into, name, version):
                found.add(name)
    return found


def _has_served(workspace: Workspace, branch: str, deployment: str, version: int) -> bool:
    """Tell whether a version was ever given traffic: then whoever took it out of service meant it."""
    query = select(rollouts.c.to_json).where(rollouts.c.branch == branch, rollouts.c.deployment == deployment)
    with workspace.catalog.read() as conn:
        served = [msgspec.json.decode(text) for text in conn.execute(query).scalars()]
    return any(entry["version"] == version for traffic in served for entry in traffic)


def _ship(workspace: Workspace, into: str, names: Container[str]) -> tuple[tuple[Shipped, ...], tuple[Waiting, ...]]:
    """Bring the production version of their model into deployments, where it is a new one."""
    head = workspace.history.resolve(into)
    shipped, waiting = [], []
    for path, deployment in workspace.history.entries(head, DEPLOYMENTS):
        name = path.partition("/")[2]
        version = production(workspace, head, deployment["model"]) if name in names else None
        if version is None or version in {entry["version"] for entry in deployment["traffic"]}:
            continue
        left = engine_left(workspace, head, deployment, version)
        done = bring_into_service(workspace, into, name, version, by=actor())
        if isinstance(done, Waiting):
            waiting.append(done)
            continue
        traffic = workspace.history.get(done, path)["traffic"]
        share = next((entry["weight"] for entry in traffic if entry["version"] == version), 0)
        shipped.append(Shipped(name, version, share, deployment["model"], left))
    return tuple(shipped), tuple(waiting)


class _Seen(InputError):
    """Stops a merge that was only to be looked at, where it would have landed."""


def preview(
    workspace: Workspace,
    source: str,
    into: str,
    *,
    required: Required | None = None,
    allow_breaking: str | None = None,
) -> tuple[Change, ...]:
    """Return what a merge would change, after its checks; nothing lands. Arguments are as those of `publish`.

    Raises:
        Conflict, CheckFailed: what the merge would be refused for.
    """
    seen: list[tuple[Change, ...]] = []

    def act(*, resolve: Any, check: Callable[[Staged], None], adapt: Any) -> Commit:
        def look(staged: Staged) -> None:
            check(staged)
            seen.append(staged.changes)
            raise _Seen("")

        return workspace.history.merge(source, into, resolve=resolve, check=look, adapt=adapt)

    tables = TableSettler(Lake(workspace), None, f"bascule merge {source}")
    resolve = _Resolver(tables, (), (), follows=_follower(workspace, source, into))
    refused = f"{source!r} cannot be merged into {into!r}"
    try:
        judge = Judge(workspace, into, allow_breaking)
        _land(workspace, act, into, refused, MERGE_REPAIR.format(source), resolve, None, required, judge)
    except _Seen:
        return seen[-1]
    return ()
