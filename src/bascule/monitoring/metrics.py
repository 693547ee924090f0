"""Quality metrics with 95 % intervals, on scores and labels that fit in memory: one window at a time.

Sources:
    DeLong, DeLong & Clarke-Pearson, Comparing the areas under two or more correlated ROC curves, Biometrics 1988; with
    midranks as in Sun & Xu, IEEE Signal Processing Letters 2014.
    Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.
    Naeini, Cooper & Hauskrecht, Obtaining well calibrated probabilities using Bayesian binning, AAAI 2015 (ECE).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bascule.monitoring.statistics import Z95

Floats = NDArray[np.float64]

CLIP = 1e-15
ECE_BINS = 10
DRAWS = 500


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def binary_metrics(scores: Floats, labels: Floats) -> dict[str, Estimate]:
    """Metrics of probabilities against labels that are 0 or 1.

    Args:
        scores: probabilities of the positive class, shape [n].
        labels: 0 or 1, shape [n].

    Returns:
        `log_loss`, `brier`, `ece`, `accuracy` (at one half) and, when both classes are there, `auc`.
    """
    p = np.clip(scores, CLIP, 1 - CLIP)
    found = {
        "log_loss": _mean(-(labels * np.log(p) + (1 - labels) * np.log1p(-p))),
        "brier": _mean((scores - labels) ** 2),
        "ece": calibration_error(scores, labels),
        "accuracy": _share(int(((scores >= 0.5) == (labels == 1)).sum()), len(labels)),
    }
    if 0 < labels.sum() < len(labels):
        found["auc"] = auc(scores, labels)
    return found


def regression_metrics(scores: Floats, labels: Floats) -> dict[str, Estimate]:
    """Metrics of predicted values: `mae`, `rmse`, and `bias` (prediction less truth)."""
    errors = scores - labels
    square = _mean(errors**2)
    low, high = math.sqrt(max(0.0, square.low)), math.sqrt(square.high)
    return {
        "mae": _mean(np.abs(errors)),
        "rmse": Estimate(math.sqrt(square.value), low, high),
        "bias": _mean(errors),
    }


def auc(scores: Floats, labels: Floats) -> Estimate:
    """The area under the ROC curve with DeLong's interval. Ties count one half. Both classes must be there."""
    positive, negative = scores[labels == 1], scores[labels != 1]
    n1, n0 = len(positive), len(negative)
    ranks = _midranks(np.concatenate([positive, negative]))
    above = (ranks[:n1] - _midranks(positive)) / n0
    below = 1.0 - (ranks[n1:] - _midranks(negative)) / n1
    value = float(above.mean())
    variance = (above.var(ddof=1) / n1 if n1 > 1 else 0.25) + (below.var(ddof=1) / n0 if n0 > 1 else 0.25)
    radius = Z95 * math.sqrt(variance)
    return Estimate(value, max(0.0, value - radius), min(1.0, value + radius))


def calibration_error(scores: Floats, labels: Floats, bins: int = ECE_BINS) -> Estimate:
    """The expected calibration error over equal-width bins, with a basic parametric bootstrap interval.

    The gaps of the bins are drawn again from their normal distributions (seeded, so that the same rows give the same
    interval). The error is biased upward by chance; the basic bootstrap takes that out of the interval.
    """
    n = len(scores)
    place = np.clip((scores * bins).astype(int), 0, bins - 1)
    gaps = scores - labels
    count = np.bincount(place, minlength=bins)
    total = np.bincount(place, weights=gaps, minlength=bins)
    squares = np.bincount(place, weights=gaps**2, minlength=bins)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.maximum(np.where(count > 0, squares - total**2 / count, 0.0), 0.0))
    value = float(np.abs(total).sum() / n)
    draws = np.abs(np.random.default_rng(n).normal(total, spread, (DRAWS, bins))).sum(axis=1) / n
    high, low = 2 * value - np.quantile(draws, [0.025, 0.975])
    return Estimate(value, max(0.0, float(low)), max(0.0, float(high)))


def _mean(values: Floats) -> Estimate:
    value = float(values.mean())
    radius = Z95 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.inf
    return Estimate(value, value - radius, value + radius)


def _share(hits: int, n: int) -> Estimate:
    """A share with Wilson's interval."""
    p, z2 = hits / n, Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    radius = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return Estimate(p, max(0.0, centre - radius), min(1.0, centre + radius))


def _midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    upto = np.cumsum(counts)
    ranks: Floats = (upto - (counts - 1) / 2.0)[place]
    return ranks
