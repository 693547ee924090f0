"""What `bascule up` does by itself: move logs, judge rollouts, measure monitors, run jobs."""

from __future__ import annotations

from pathlib import Path

from bascule.history import Workspace
from bascule.project.watching import judge_rollouts, watch_all
from bascule.server.jobs import JobRunner
from bascule.server.scheduler import Tick
from bascule.serving.log import move_segments

LOG_EVERY, ROLLOUTS_EVERY, MONITORS_EVERY, JOBS_EVERY = 2.0, 2.0, 10.0, 2.0


def ticks(folder: Path) -> list[Tick]:
    """Return the ticks of a project.

    Args:
        folder: the project's folder, where jobs run.
    """
    jobs = JobRunner(folder)
    return [
        Tick("log", LOG_EVERY, move_segments),
        Tick("rollouts", ROLLOUTS_EVERY, _judge),
        Tick("monitors", MONITORS_EVERY, _measure),
        Tick("jobs", JOBS_EVERY, jobs.run, jobs.stop),
    ]


def _judge(workspace: Workspace) -> None:
    for branch in _branches_with(workspace, "deployments/"):
        judge_rollouts(workspace, branch)


def _measure(workspace: Workspace) -> None:
    watch_all(workspace)


def _branches_with(workspace: Workspace, prefix: str) -> list[str]:
    history = workspace.history
    return [ref.name for ref in history.branches() if history.digests(ref.head, prefix)]
