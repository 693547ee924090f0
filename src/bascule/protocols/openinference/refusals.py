"""Requests that are refused after their answer was begun: in a thread, or by a worker."""

from __future__ import annotations

import time
from typing import Any

from bascule.errors import BasculeError
from bascule.serving.http import Deferred, Response
from bascule.serving.stats import VersionStats


def counting(found: Response | Deferred, stats: VersionStats, began: int) -> Response | Deferred:
    """Return an answer that counts as a failure of a version when what is still to be done for it ends with a refusal.

    Args:
        found: the answer; nothing is left to count when it is a response.
        began: when the request came, on the performance counter.
    """
    if not isinstance(found, Deferred):
        return found
    rescue, finish = found.rescue, found.finish

    def rescued(error: Exception) -> Any:
        try:
            if rescue is None:
                raise error
            return rescue(error)
        except BasculeError:
            stats.failed(time.perf_counter_ns() - began)
            raise

    def finished(result: Any) -> Response | Deferred:
        try:
            return counting(finish(result), stats, began)
        except BasculeError:
            stats.failed(time.perf_counter_ns() - began)
            raise

    found.rescue, found.finish = rescued, finished
    return found


def counting_work(found: Deferred, stats: VersionStats, began: int) -> Deferred:
    """Do as `counting` for the work alone: what finishes it counts by itself."""
    finish = found.finish
    counting(found, stats, began)
    found.finish = finish
    return found
