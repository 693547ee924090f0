"""The reliability diagram: whether what was said to be 30 % likely happened three times in ten."""

from __future__ import annotations

from dataclasses import dataclass

from bascule.evaluation import Calibration

# How far the axes go, and the step of their ticks.
SCALES = ((0.25, 0.05), (0.5, 0.1), (0.75, 0.25), (1.0, 0.25))


@dataclass(frozen=True, slots=True)
class Reliability:
    """A square drawing of 100 × 100 units: x is what was predicted, y (downwards) what happened.

    `rows` are the numbers behind it: (rows, predicted, observed, low, high) of each bin.
    """

    points: list[tuple[float, float]]
    whiskers: list[tuple[float, float, float]]
    ticks: list[tuple[float, str]]
    top: float
    rows: list[tuple[int, float, float, float, float]]


def reliability(found: Calibration) -> Reliability | None:
    """Draw a calibration, zoomed in on the part of the square that it uses; None without bins."""
    if not found.bins:
        return None
    most = max(max(one.predicted, one.high) for one in found.bins)
    top, step = next(scale for scale in SCALES if most <= scale[0] or scale[0] == 1.0)
    scale = 100 / top
    points = [(one.predicted * scale, 100 - one.observed * scale) for one in found.bins]
    whiskers = [(one.predicted * scale, 100 - one.low * scale, 100 - one.high * scale) for one in found.bins]
    ticks = [(100 * step * n / top, f"{100 * step * n:.0f}") for n in range(round(top / step) + 1)]
    rows = [(one.rows, one.predicted, one.observed, one.low, one.high) for one in found.bins]
    return Reliability(points, whiskers, ticks, top, rows)
