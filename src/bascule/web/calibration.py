"""The reliability diagram: whether what was said to be 30 % likely happened three times in ten."""

from __future__ import annotations

from dataclasses import dataclass

from bascule.evaluation import Calibration

TICKS = (0, 0.25, 0.5, 0.75, 1)


@dataclass(frozen=True, slots=True)
class Reliability:
    """A square drawing of 100 × 100 units: x is what was predicted, y (downwards) what happened."""

    points: list[tuple[float, float]]
    whiskers: list[tuple[float, float, float]]
    ticks: list[tuple[float, str]]
    top: float


def reliability(found: Calibration) -> Reliability | None:
    """Draw a calibration, zoomed in on the part of the square that it uses; None without bins."""
    if not found.bins:
        return None
    most = max(max(one.predicted, one.high) for one in found.bins)
    top = next(limit for limit in (0.25, 0.5, 0.75, 1.0) if most <= limit or limit == 1.0)
    scale = 100 / top
    points = [(one.predicted * scale, 100 - one.observed * scale) for one in found.bins]
    whiskers = [(one.predicted * scale, 100 - one.low * scale, 100 - one.high * scale) for one in found.bins]
    return Reliability(points, whiskers, [(share * 100, f"{100 * share * top:.3g}") for share in TICKS], top)
