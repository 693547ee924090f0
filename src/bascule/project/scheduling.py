"""What `bascule up` does again and again: settle logs, judge rollouts, measure monitors, run jobs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bascule.history import Workspace
from bascule.project.retraining import reclaim, run_next
from bascule.project.watching import judge_rollouts, watch
from bascule.serving.log import move_segments

if TYPE_CHECKING:
    from bascule.server.scheduler import Tick

MAIN = "main"
ROLLOUT_SECONDS = 1.0
MONITOR_SECONDS = 5.0
JOB_SECONDS = 1.0
SETTLE_SECONDS = 30.0


def ticks(folder: Path) -> Sequence[Tick]:
    """Return the scheduler's work for a project. A job runs in processes of its own; the others take milliseconds."""
    from bascule.server.scheduler import Tick

    first = iter([True])

    def jobs(workspace: Workspace) -> None:
        if next(first, False):
            reclaim(workspace)
        run_next(workspace, folder)

    return (
        Tick("rollouts", ROLLOUT_SECONDS, lambda workspace: judge_rollouts(workspace, MAIN)),
        Tick("monitors", MONITOR_SECONDS, lambda workspace: watch(workspace, MAIN)),
        Tick("jobs", JOB_SECONDS, jobs),
        Tick("logs", SETTLE_SECONDS, move_segments),
    )
