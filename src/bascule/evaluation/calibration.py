"""Whether a probability of 30 % means three times in ten."""

from __future__ import annotations

import math
from statistics import NormalDist

import msgspec
import numpy as np

from bascule.evaluation.metrics import confidences, ece, equal_mass_bins


class CalibrationBin(msgspec.Struct, frozen=True, kw_only=True):
    """Rows with like probabilities: what was said on average, what happened, and the interval of the latter."""

    rows: int
    predicted: float
    observed: float
    low: float
    high: float


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The calibration curve over bins of equal mass.

    Attributes:
        ece: mean distance of probability and frequency, 0 to 1.
        noise: what a perfectly calibrated model would show on this many rows, on average; an `ece` near it is chance.
        bins: by rising probability.
    """

    ece: float
    noise: float
    bins: tuple[CalibrationBin, ...]


def calibrate(label: np.ndarray, prediction: np.ndarray, *, level: float = 0.95) -> Calibration:
    """Measure the calibration of probabilities; of several classes, of the likeliest one's.

    The intervals are Wilson's score intervals (1927, JASA 22:209) and take rows as independent. The noise is the mean
    absolute value of a normal, √(2/π) σ, in each bin.

    Args:
        label: float64 [rows], 0 or 1, or class codes.
        prediction: float64 [rows] or [rows, classes].
        level: of the intervals.
    """
    hit, said = confidences(label, prediction)
    places = equal_mass_bins(said)
    bins, noise = [], 0.0
    for place in np.unique(places):
        of_bin = places == place
        rows, predicted, observed = int(of_bin.sum()), float(said[of_bin].mean()), float(hit[of_bin].mean())
        low, high = wilson(observed, rows, level)
        bins.append(CalibrationBin(rows=rows, predicted=predicted, observed=observed, low=low, high=high))
        spread = math.sqrt(float((said[of_bin] * (1 - said[of_bin])).mean()) / rows)
        noise += math.sqrt(2 / math.pi) * spread * rows / len(label)
    return Calibration(ece=ece(label, prediction), noise=noise, bins=tuple(bins))


def wilson(share: float, rows: int, level: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval of a share of `rows` independent rows."""
    z = NormalDist().inv_cdf((1 + level) / 2)
    centre = (share + z * z / (2 * rows)) / (1 + z * z / rows)
    half = z / (1 + z * z / rows) * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return max(0.0, centre - half), min(1.0, centre + half)
