"""What a check's value usually is: bounds from its own past.

Two ways to foretell the next value are tried on the past: that it stays where it was (the median), and that it goes on
as it went (the last value and the median step). The one that was less often wrong gives the bounds, so a table that
grows every day is not unusual for having grown. Medians bear a few odd days.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median

LEAST = 8  # past values; fewer say nothing
MOST = 60
WIDTH = 4.0  # robust standard deviations on either side
_SCALE = 1.4826  # of the median absolute deviation, for it to be a standard deviation of normal values
_FLOOR = 0.005  # of the median's size: what differs less than this is the same


def usual(past: Sequence[float], width: float = WIDTH) -> tuple[float, float] | None:
    """The bounds within which the next value is not unusual; None when the past is too short to say.

    Args:
        past: the values, oldest first. Only the newest `MOST` count.
        width: how many robust standard deviations lie on either side.
    """
    values = [value for value in past if value == value and abs(value) != float("inf")][-MOST:]
    if len(values) < LEAST:
        return None
    middle = median(values)
    steps = [after - before for before, after in pairwise(values)]
    step = median(steps)
    stays, goes = _spread(values, middle), _spread(steps, step)
    # To go on has two parameters more to fit by, so it must be clearly better.
    centre, spread = (values[-1] + step, goes) if goes < 0.5 * stays else (middle, stays)
    half = max(width * spread, _FLOOR * abs(middle))
    return centre - half, centre + half


def _spread(values: Sequence[float], centre: float) -> float:
    deviations = [abs(value - centre) for value in values]
    robust, mean = _SCALE * median(deviations), 1.2533 * sum(deviations) / len(deviations)
    # When most values are equal, but for rounding, only the mean deviation knows of the others.
    return robust if robust > 1e-6 * mean else mean
