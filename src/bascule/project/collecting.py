"""Collecting everywhere: deleted runs first, then what nothing leads to any more once they are gone."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from bascule.catalog import now
from bascule.history import Workspace, reserve
from bascule.lake.maintenance import Collected, Collection, let_go_of_models, retention
from bascule.lake.maintenance import collect as collect_rest
from bascule.lake.maintenance.collection import GRACE
from bascule.lake.maintenance.telling import Tell
from bascule.project.remembering import let_go_unused
from bascule.project.reproducing.leavings import clear_away
from bascule.project.streaming.leftovers import collect_logs
from bascule.project.withdrawing import settle
from bascule.tracking.purging import came_from, kept, purge


def collect(
    workspace: Workspace, *, dry_run: bool = False, grace: int | None = None, tell: Tell | None = None
) -> Collection:
    """Let go of runs, experiments and logged models that were deleted before the time of retention, then of the rest.

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
        if ids := kept(workspace, before):
            ended = let_go_of_models(workspace, partial(came_from, ids), dry_run=dry_run, grace=grace)
            commits, objects = ended.expired_commits, ended.expired_objects
            expired = {one.name for one in ended.expired}
        gone = purge(workspace, before, dry_run=dry_run, expired=expired)
        logs = collect_logs(workspace, before, dry_run=dry_run)
        if not dry_run:
            clear_away(workspace)
            with workspace.catalog.write() as conn:
                let_go_unused(conn)
        settled = settle(workspace, dry_run=dry_run)
        done = collect_rest(workspace, dry_run=dry_run, grace=grace, tell=tell)
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
    )
