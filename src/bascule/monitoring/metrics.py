"""Intervals of quality metrics, on scores and labels that fit in memory: one window at a time.

The values are those of `evaluation`, so that what was measured at release and what is measured now are the same thing.

Sources:
    DeLong, DeLong & Clarke-Pearson, Comparing the areas under two or more correlated ROC curves, Biometrics 1988; with
    midranks as in Sun & Xu, IEEE Signal Processing Letters 2014.
    Wilson, Probable inference, the law of succession, and statistical inference, JASA 1927.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bascule.evaluation import measure, metrics_of, wilson
from bascule.evaluation.metrics import Task, confidences, equal_mass_bins, log_loss_of_rows
from bascule.monitoring.statistics import Z95

Floats = NDArray[np.float64]

DRAWS = 500


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


def estimate_metrics(task: Task, scores: Floats, labels: Floats) -> dict[str, Estimate]:
    """All metrics of a task that are defined on these rows, as `evaluation` defines them.

    Args:
        scores: probabilities of the positive class (`binary`) or values (`regression`), shape [n]; probabilities of
            each class, shape [n, classes] (`multiclass`).
        labels: 0 or 1, class codes, or values, shape [n].
    """
    found = {metric.name: measure(metric.name, task, labels, scores) for metric in metrics_of(task)}
    return {name: _INTERVALS[name](value, scores, labels) for name, value in found.items() if value is not None}


def _auc(value: float, scores: Floats, labels: Floats) -> Estimate:
    """DeLong's interval. Ties count one half.

    Of several classes the mean of their radii, which is the radius of the mean if they went together: no narrower one.
    """
    if scores.ndim == 2:
        radii = [_auc_radius(scores[:, code], labels == code) for code in range(scores.shape[1])]
        radius = sum(radii) / len(radii)
    else:
        radius = _auc_radius(scores, labels == 1)
    return Estimate(value, max(0.0, value - radius), min(1.0, value + radius))


def _auc_radius(scores: Floats, happened: NDArray[np.bool_]) -> float:
    positive, negative = scores[happened], scores[~happened]
    n1, n0 = len(positive), len(negative)
    ranks = _midranks(np.concatenate([positive, negative]))
    above = (ranks[:n1] - _midranks(positive)) / n0
    below = 1.0 - (ranks[n1:] - _midranks(negative)) / n1
    variance = (above.var(ddof=1) / n1 if n1 > 1 else 0.25) + (below.var(ddof=1) / n0 if n0 > 1 else 0.25)
    return Z95 * math.sqrt(variance)


def _ece(value: float, scores: Floats, labels: Floats) -> Estimate:
    """A basic parametric bootstrap: the gaps of the bins are drawn again from their normal distributions.

    It is seeded by the rows' number, so that the same rows give the same interval. The error is biased upward by
    chance; the basic bootstrap takes that out of the interval.
    """
    hit, confidence = confidences(labels, scores)
    n, gaps, place = len(hit), confidence - hit, equal_mass_bins(confidence)
    count = np.bincount(place)
    total, squares = np.bincount(place, weights=gaps), np.bincount(place, weights=gaps**2)
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = np.sqrt(np.maximum(np.where(count > 0, squares - total**2 / count, 0.0), 0.0))
    draws = np.abs(np.random.default_rng(n).normal(total, spread, (DRAWS, len(count)))).sum(axis=1) / n
    high, low = 2 * value - np.quantile(draws, [0.025, 0.975])
    return Estimate(value, max(0.0, float(low)), max(0.0, float(high)))


def _accuracy(value: float, scores: Floats, labels: Floats) -> Estimate:
    low, high = wilson(min(1.0, max(0.0, value)), len(labels))
    return Estimate(value, low, high)


def _rmse(value: float, scores: Floats, labels: Floats) -> Estimate:
    square = _around(value**2, (scores - labels) ** 2)
    return Estimate(value, math.sqrt(max(0.0, square.low)), math.sqrt(square.high))


def _r2(value: float, scores: Floats, labels: Floats) -> Estimate:
    """The delta method, on the mean squared error and the variance of the labels."""
    errors, spread = (scores - labels) ** 2, (labels - labels.mean()) ** 2
    influence = -errors / spread.mean() + errors.mean() / spread.mean() ** 2 * spread
    return _around(value, influence)


def _around(value: float, terms: Floats) -> Estimate:
    """An interval of a mean, or of what has these terms as its influences."""
    radius = Z95 * float(terms.std(ddof=1)) / math.sqrt(len(terms)) if len(terms) > 1 else math.inf
    return Estimate(value, value - radius, value + radius)


def _midranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    upto = np.cumsum(counts)
    ranks: Floats = (upto - (counts - 1) / 2.0)[place]
    return ranks


_INTERVALS: Mapping[str, Callable[[float, Floats, Floats], Estimate]] = {
    "auc": _auc,
    "log_loss": lambda value, scores, labels: _around(value, log_loss_of_rows(labels, scores)),
    "brier": lambda value, scores, labels: _around(value, (scores - labels) ** 2),
    "accuracy": _accuracy,
    "ece": _ece,
    "rmse": _rmse,
    "mae": lambda value, scores, labels: _around(value, np.abs(scores - labels)),
    "r2": _r2,
}
