"""Intervals by resampling, paired where two models are compared.

The bootstrap of Efron and Tibshirani (1993, An Introduction to the Bootstrap, chapters 6 and 13): B resamples with
replacement, percentile intervals. Rows of one day share weather, holidays and news, so where there is a time the
days are resampled, not the rows (Cameron, Gelbach and Miller 2008, Review of Economics and Statistics 90:414). Two
models are compared on the same resamples, so what they have in common cancels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np

from bascule.evaluation.metrics import Metric, RankedScores

DAY = 86_400_000_000
FEWEST_DAYS = 10
MOST_GROUPS = 2_000
RANK_WORK = 60_000_000
CHUNK = 2_000_000


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """A metric with its interval. `low` and `high` are None where the interval is not defined."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Resampling:
    """How often each cluster of rows is drawn in each resample.

    Attributes:
        cluster: int64 [rows], the cluster of each row.
        draws: float64 [B, clusters]; each row of it sums to the number of clusters.
        unit: what is resampled: days, rows, or groups of rows drawn at random.
        level: of the intervals, such as 0.95.
        seed: of the draws.
    """

    cluster: np.ndarray
    draws: np.ndarray
    unit: Literal["days", "rows", "groups of rows"]
    level: float
    seed: int


def resample(
    rows: int, times: np.ndarray | None = None, *, resamples: int = 1_000, level: float = 0.95, seed: int = 0
) -> Resampling:
    """Draw the resamples that all intervals of one evaluation share.

    Days (UTC) are resampled when `times` is given and spans at least ten of them. Otherwise rows are, as up to 2,000
    random groups of equal size: rows without an order are exchangeable, and 2,000 groups estimate a variance to
    about 3 %.

    Args:
        rows: how many rows there are.
        times: int64 [rows], microseconds UTC, or None.
        resamples: B.
        level: of the intervals.
        seed: equal seeds give equal draws.
    """
    random = np.random.default_rng(seed)
    unit: Literal["days", "rows", "groups of rows"] = "rows"
    cluster = np.arange(rows)
    days = np.unique(times // DAY, return_inverse=True)[1] if times is not None else np.zeros(rows, dtype=np.int64)
    if days.max(initial=0) + 1 >= FEWEST_DAYS:
        unit, cluster = "days", days
    elif rows > MOST_GROUPS:
        unit, cluster = "groups of rows", random.permutation(np.arange(rows) * MOST_GROUPS // rows)
    clusters = int(cluster.max()) + 1
    draws = np.empty((resamples, clusters))
    for place in range(resamples):
        draws[place] = np.bincount(random.integers(0, clusters, clusters), minlength=clusters)
    return Resampling(cluster=cluster, draws=draws, unit=unit, level=level, seed=seed)


def resampled_values(
    metric: Metric, label: np.ndarray, prediction: np.ndarray, resampling: Resampling, where: np.ndarray | None = None
) -> np.ndarray:
    """Return the metric of each resample, float64 [B] or less; NaN where it is not defined.

    The area under the curve is taken of the first resamples only when there are many rows (60 million row weights, at
    least 100 resamples): it costs rows times resamples, the other metrics clusters times resamples.

    Args:
        metric: what to measure.
        label: [rows].
        prediction: [rows] or [rows, classes].
        resampling: the draws.
        where: bool [rows] of the rows of `resampling` that label and prediction belong to; None means all.
    """
    cluster = resampling.cluster if where is None else resampling.cluster[where]
    if metric.statistics is None or metric.finish is None:
        if prediction.ndim == 1:
            return _resampled_auc(label, prediction, cluster, resampling.draws)
        codes = np.arange(prediction.shape[1])
        each = [
            _resampled_auc(label == one, prediction[:, one], cluster, resampling.draws, len(codes)) for one in codes
        ]
        return np.asarray(np.mean(each, axis=0))
    statistics = metric.statistics(label, prediction)
    clusters = resampling.draws.shape[1]
    sums = np.column_stack([np.bincount(cluster, weights=one, minlength=clusters) for one in statistics.T])
    with np.errstate(invalid="ignore", divide="ignore"):
        return metric.finish(resampling.draws @ sums)


def interval(values: np.ndarray, level: float) -> tuple[float | None, float | None]:
    """Return the percentile interval of resampled values, or (None, None) when any of a tenth is not defined."""
    defined = values[np.isfinite(values)]
    if len(defined) < 0.9 * len(values) or len(defined) < 20:
        return None, None
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def with_interval(
    metric: Metric, label: np.ndarray, prediction: np.ndarray, value: float | None, resampling: Resampling
) -> Measure:
    """Return a metric's value together with its interval."""
    if value is None:
        return Measure(value=None)
    low, high = interval(resampled_values(metric, label, prediction, resampling), resampling.level)
    return Measure(value=value, low=low, high=high)


def _resampled_auc(
    label: np.ndarray, score: np.ndarray, cluster: np.ndarray, draws: np.ndarray, share: int = 1
) -> np.ndarray:
    ranked = RankedScores(label, score)
    ordered = cluster[ranked.order]
    resamples = min(len(draws), max(100, RANK_WORK // (len(label) * share)))
    step = max(1, CHUNK // len(label))
    found = [
        ranked.weighted(draws[start : min(start + step, resamples)][:, ordered]) for start in range(0, resamples, step)
    ]
    return np.concatenate(found)
