"""Collecting everywhere: deleted versions and runs first, then what nothing leads to any more once they are gone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from bascule.catalog import actor, audit, now
from bascule.history import Workspace, reserve
from bascule.history.deleted import deletions as all_deletions
from bascule.lake.maintenance import Collected, Collection, let_go_of_models, retention
from bascule.lake.maintenance import collect as collect_rest
from bascule.lake.maintenance.collection import GRACE
from bascule.lake.maintenance.purged import Due, due, purged_of
from bascule.lake.maintenance.reaching import Library
from bascule.lake.maintenance.references import Purged
from bascule.lake.maintenance.telling import Tell
from bascule.project.remembering import let_go_unused
from bascule.project.reproducing.leavings import clear_away
from bascule.project.streaming.leftovers import collect_logs
from bascule.project.withdrawing import settle
from bascule.registry import deletions
from bascule.tracking.purging import came_from, kept, purge


def collect(
    workspace: Workspace, *, dry_run: bool = False, grace: int | None = None, tell: Tell | None = None
) -> Collection:
    """Let go of versions, runs, experiments and logged models that were deleted before the time of retention, then of
    the rest.

    A version goes when no branch, tag or hold has it, whatever rules keep of a branch's past.

    What states of models came from stays with them; those that no rule keeps expire with it.

    Bundles of models that have to go, as a forgotten subject stands in them, go as soon as nothing needs them.

    Logs of streams on deleted branches go, too. All are kept as long as the states of a deleted branch
    (`bascule retention unnamed`), and at least the grace time.
    On a full disk the workspace's reserve is used. Arguments and errors as `lake.maintenance.collect`.
    """
    with reserve.released(workspace.folder):
        with workspace.catalog.read() as conn:
            span = retention.load(conn).unnamed
        before = now() - max(span, GRACE if grace is None else grace)
        expired: set[str] = set()
        commits = objects = 0
        versions, gone_before = _let_go_of_versions(workspace, dry_run, GRACE if grace is None else grace)
        if ids := kept(workspace, before, gone_before):
            ended = let_go_of_models(
                workspace, partial(came_from, ids), dry_run=dry_run, grace=grace, purged=gone_before
            )
            commits, objects = ended.expired_commits, ended.expired_objects
            expired = {one.name for one in ended.expired}
        gone = purge(workspace, before, dry_run=dry_run, expired=expired, versions=gone_before)
        logs = collect_logs(workspace, before, dry_run=dry_run)
        if not dry_run:
            clear_away(workspace)
            with workspace.catalog.write() as conn:
                let_go_unused(conn)
        settled = settle(workspace, dry_run=dry_run)
        done = collect_rest(workspace, dry_run=dry_run, grace=grace, tell=tell, purged=gone_before)
    counts = {"runs": gone.runs, "models": gone.models, "experiments": gone.experiments, "points": gone.points}
    rows = (Collected("artifacts", "", gone.files, gone.bytes),) if gone.files else ()
    bundles = (Collected("withdrawn", one.names, 1, size) for one, size in settled.gone)
    collected = (*done.collected, *rows, *logs, *bundles)
    # A dry run notes nothing, so the rest counts what expired with models' states a second time.
    if dry_run:
        commits, objects = max(commits - done.expired_commits, 0), max(objects - done.expired_objects, 0)
    return replace(
        done,
        collected=collected,
        expired_commits=done.expired_commits + commits,
        expired_objects=done.expired_objects + objects,
        tracking={**counts, "kept": gone.kept},
        versions=tuple(one.name for one in versions.going),
        staying={one.name: why for one, why in versions.staying},
    )


def _let_go_of_versions(workspace: Workspace, dry_run: bool, grace: int) -> tuple[Due, Purged]:
    """Note which deleted versions go for good; return that, and all that went so far.

    The note is what lets their files go: killed after it, the next collection goes on.
    """
    library, began = Library(workspace), now()
    with workspace.catalog.read() as conn:
        found = due(conn, library, retention.load(conn), now=began, grace=grace)
        gone = all_deletions(conn, purged=True)
    if dry_run or not found.going:
        return found, purged_of([*gone, *(deletions.purged(one) for one in found.going)])
    with workspace.catalog.write() as conn:  # again, where nobody can restore what goes
        audit.take_turn(conn)
        found = due(conn, library, retention.load(conn), now=began, grace=grace)
        deletions.purge(conn, found.going, actor())
        return found, purged_of(all_deletions(conn, purged=True))
