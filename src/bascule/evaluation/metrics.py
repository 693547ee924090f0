"""What is measured of predictions, in numpy. Each metric states its range and the source of its definition.

Labels are float64 [rows]: 0 or 1 (binary), class codes (multiclass) or values (regression). Predictions are what
`ModelBundle.predict` gives. Most metrics are functions of sums over rows, so one resampling of the sums gives the
intervals of all of them; the area under the curve is one of ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bascule.errors import NotFound

Task = Literal["binary", "multiclass", "regression"]
SMALLEST = float(np.finfo(np.float64).eps)
ROWS_PER_BIN = 200
MOST_BINS = 15


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: such as `log_loss`.
        tasks: the tasks that have it.
        higher_is_better: its direction.
        statistics: from label and prediction to float64 [rows, k], whose sums decide the metric; None for ranks.
        finish: from the sums [..., k] to the metric [...]; NaN where it is not defined.
    """

    name: str
    tasks: tuple[Task, ...]
    higher_is_better: bool
    statistics: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    finish: Callable[[np.ndarray], np.ndarray] | None = None


def log_loss(label: np.ndarray, prediction: np.ndarray) -> float:
    """Mean of −ln(probability of what happened); 0 is perfect, no upper end.

    Probabilities are kept off 0 and 1 by 2e-16. Good (1952), Rational Decisions.
    """
    return float(log_loss_of_rows(label, prediction).mean())


def brier(label: np.ndarray, prediction: np.ndarray) -> float:
    """Mean squared distance of probability and outcome, 0 (perfect) to 1. Brier (1950), Monthly Weather Review 78:1."""
    return float(((prediction - label) ** 2).mean())


def accuracy(label: np.ndarray, prediction: np.ndarray) -> float:
    """Share of rows whose likeliest class happened, 0 to 1; a binary probability of 0.5 counts as positive."""
    return float(1 - _errors(label, prediction).mean())


def auc(label: np.ndarray, prediction: np.ndarray) -> float:
    """Probability that a positive row is ranked above a negative one, ties count half; NaN with one class only.

    With several classes, the mean over classes of one against the rest. Hanley and McNeil (1982), Radiology 143:29.
    """
    if prediction.ndim == 1:
        return RankedScores(label, prediction).auc()
    present = np.unique(label).astype(np.int64)
    if len(present) < prediction.shape[1]:
        return float("nan")
    return float(np.mean([RankedScores(label == one, prediction[:, one]).auc() for one in present]))


def ece(label: np.ndarray, prediction: np.ndarray, bins: int | None = None) -> float:
    """Expected calibration error: mean distance of probability and frequency over bins of equal mass, 0 to 1.

    The number of bins is rows / 200, at most 15 and at least 1, unless given. With several classes, of the likeliest
    class's probability. Naeini et al. (2015), AAAI; equal mass: Nixon et al. (2019), arXiv:1904.01685.
    """
    hit, confidence = confidences(label, prediction)
    places = equal_mass_bins(confidence, bins)
    gaps = np.bincount(places, weights=confidence - hit)
    return float(np.abs(gaps).sum() / len(label))


def rmse(label: np.ndarray, prediction: np.ndarray) -> float:
    """Square root of the mean squared error, in the label's unit."""
    return float(np.sqrt(((prediction - label) ** 2).mean()))


def mae(label: np.ndarray, prediction: np.ndarray) -> float:
    """Mean absolute error, in the label's unit."""
    return float(np.abs(prediction - label).mean())


def r2(label: np.ndarray, prediction: np.ndarray) -> float:
    """One minus the squared error over that of the mean: 1 is perfect, 0 is the mean's; NaN for a constant label."""
    return float(_r2(_r2_statistics(label, prediction).sum(axis=0)))


def confidences(label: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return whether the forecast class happened (0 or 1) and its probability, [rows] each.

    The forecast class is the positive one of a binary model and the likeliest of a multiclass model.
    """
    if prediction.ndim == 1:
        return label.astype(np.float64), prediction
    best = prediction.argmax(axis=1)
    return (best == label).astype(np.float64), prediction[np.arange(len(label)), best]


def equal_mass_bins(values: np.ndarray, bins: int | None = None) -> np.ndarray:
    """Return for each row its bin, 0 to bins − 1, by rank: bins hold equally many rows; equal values share a bin."""
    count = bins or int(np.clip(len(values) // ROWS_PER_BIN, 1, MOST_BINS))
    ordered = np.sort(values)
    first = np.searchsorted(ordered, values, side="left")
    return np.asarray(first * count // len(values))


def log_loss_of_rows(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return −ln(probability of what happened) for each row."""
    if prediction.ndim == 2:
        happened = prediction[np.arange(len(label)), label.astype(np.int64)]
    else:
        happened = np.where(label > 0.5, prediction, 1 - prediction)
    return np.asarray(-np.log(np.clip(happened, SMALLEST, 1)))


class RankedScores:
    """Scores sorted once, so that the area under the curve can be taken for many weightings of the rows."""

    def __init__(self, label: np.ndarray, score: np.ndarray) -> None:
        self.order = np.argsort(score, kind="stable")
        self._positive = np.asarray(label)[self.order].astype(np.float64)
        ordered = score[self.order]
        self._starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])

    def auc(self) -> float:
        """Return the area with all rows weighted alike."""
        return float(self.weighted(np.ones((1, len(self.order))))[0])

    def weighted(self, weights: np.ndarray) -> np.ndarray:
        """Return the areas for weights [weightings, rows], whose columns are in `order`; NaN with one class only."""
        positive = np.add.reduceat(weights * self._positive, self._starts, axis=1)
        negative = np.add.reduceat(weights * (1 - self._positive), self._starts, axis=1)
        below = np.cumsum(negative, axis=1) - negative / 2
        pairs = positive.sum(axis=1) * negative.sum(axis=1)
        with np.errstate(invalid="ignore"):
            return np.asarray((positive * below).sum(axis=1) / np.where(pairs > 0, pairs, np.nan))


def _errors(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    chosen = prediction.argmax(axis=1) if prediction.ndim == 2 else prediction >= 0.5
    return np.asarray(chosen != label, dtype=np.float64)


def _with_count(values: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(values)), values])


def _mean(sums: np.ndarray) -> np.ndarray:
    return np.asarray(sums[..., 1] / sums[..., 0])


def _r2_statistics(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    # Centred first: sums of squares of large numbers would cancel.
    centred = label - label.mean()
    return np.column_stack([np.ones(len(label)), (prediction - label) ** 2, centred, centred**2])


def _r2(sums: np.ndarray) -> np.ndarray:
    total = sums[..., 3] - sums[..., 2] ** 2 / sums[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - sums[..., 1] / np.where(total > 0, total, np.nan))


def _ece_statistics(label: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    hit, confidence = confidences(label, prediction)
    places = equal_mass_bins(confidence)
    statistics = np.zeros((len(label), int(places.max()) + 2))
    statistics[:, 0] = 1
    statistics[np.arange(len(label)), places + 1] = confidence - hit
    return statistics


CLASSES: tuple[Task, ...] = ("binary", "multiclass")
METRICS: dict[str, Metric] = {
    one.name: one
    for one in (
        Metric("log_loss", CLASSES, False, lambda y, p: _with_count(log_loss_of_rows(y, p)), _mean),
        Metric("auc", CLASSES, True),
        Metric("brier", ("binary",), False, lambda y, p: _with_count((p - y) ** 2), _mean),
        Metric("accuracy", CLASSES, True, lambda y, p: _with_count(1 - _errors(y, p)), _mean),
        Metric("ece", CLASSES, False, _ece_statistics, lambda sums: np.abs(sums[..., 1:]).sum(axis=-1) / sums[..., 0]),
        Metric("rmse", ("regression",), False, lambda y, p: _with_count((p - y) ** 2), lambda s: np.sqrt(_mean(s))),
        Metric("mae", ("regression",), False, lambda y, p: _with_count(np.abs(p - y)), _mean),
        Metric("r2", ("regression",), True, _r2_statistics, _r2),
    )
}
MAIN_METRIC: dict[Task, str] = {"binary": "log_loss", "multiclass": "log_loss", "regression": "rmse"}


def metrics_of(task: Task) -> list[Metric]:
    """Return the metrics that a task has, the main one first."""
    return [one for one in METRICS.values() if task in one.tasks]


def metric_named(name: str, task: Task) -> Metric:
    """Return a metric by its name.

    Raises:
        NotFound: the task has no such metric.
    """
    found = METRICS.get(name)
    if found is None or task not in found.tasks:
        raise NotFound(f"metric for a {task} model", name, [one.name for one in metrics_of(task)])
    return found


def measure(name: str, task: Task, label: np.ndarray, prediction: np.ndarray) -> float | None:
    """Return one metric of predictions, or None where it is not defined, such as `auc` with one class only.

    Raises:
        NotFound: the task has no such metric.
    """
    metric = metric_named(name, task)
    if len(label) == 0:
        return None
    if metric.statistics is None or metric.finish is None:
        value = auc(label, prediction)
    else:
        value = float(metric.finish(metric.statistics(label, prediction).sum(axis=0)))
    return value if np.isfinite(value) else None
