"""What `bascule up` does by itself: move logs, judge rollouts, measure monitors, run jobs."""

from __future__ import annotations

from pathlib import Path

from bascule.project.watching import judge_all, watch_all
from bascule.server.jobs import JobRunner
from bascule.server.scheduler import Tick
from bascule.server.webhooks import EVERY as WEBHOOKS_EVERY
from bascule.server.webhooks import deliver
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
        Tick("rollouts", ROLLOUTS_EVERY, judge_all),
        Tick("monitors", MONITORS_EVERY, watch_all),
        Tick("jobs", JOBS_EVERY, jobs.run, jobs.stop),
        Tick("webhooks", WEBHOOKS_EVERY, deliver),
    ]
