"""How much one feature alone tells of the label."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from types import NoneType
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
BINS = 64
PRIOR = 5.0


def strength(values: Sequence[Any], label: Floats, binary: bool) -> float:
    """How well a label is predicted from one feature by a table of means, judged on rows that the table has not seen.

    The feature is cut into at most 64 quantile bins (nulls are one; each text is one). Each bin predicts the mean label
    of one half of the rows for the other half, shrunk towards the overall mean as if by 5 more rows.

    Args:
        values: the feature; numbers, texts, booleans, times or None.
        label: 0 and 1 when `binary`, else any numbers.

    Returns:
        The Gini coefficient (2 AUC - 1) of a binary label, or R² of a numeric one; 0 when there is nothing to learn.
    """
    codes = binned(values)
    # Drawn, because rows may follow a rhythm; from a fixed seed, because the answer should not change.
    half = np.random.default_rng(7919).random(len(label)) < 0.5
    found: list[float] = []
    for fit, judge in ((half, ~half), (~half, half)):
        predicted = _means(codes[fit], label[fit], int(codes.max(initial=0)) + 1)[codes[judge]]
        found.append(gini(predicted, label[judge]) if binary else r_squared(predicted, label[judge]))
    return max(sum(found) / 2, 0.0)


def binned(values: Sequence[Any]) -> npt.NDArray[np.int64]:
    """Bin numbers: 0 for null, then quantile bins of numbers and times, or one bin for each text."""
    kinds = set(map(type, values))  # few, where looking at each of many values takes a second
    if any(issubclass(kind, date) for kind in kinds):
        values = [_moment(value) if isinstance(value, date) else value for value in values]
        kinds = set(map(type, values))
    if all(issubclass(kind, (int, float, NoneType)) for kind in kinds):
        numbers = np.array(values, dtype=np.float64)  # None is NaN
        known = np.isfinite(numbers)
        codes = np.zeros(len(numbers), dtype=np.int64)
        if known.any():
            edges = np.unique(np.quantile(numbers[known], np.linspace(0, 1, BINS + 1)[1:-1]))
            codes[known] = 1 + np.searchsorted(edges, numbers[known], side="right")
        return codes
    names: dict[Any, int] = {None: 0}
    return np.array([names.setdefault(value, len(names)) for value in values], dtype=np.int64)


def _moment(value: date) -> float:
    """Days since the year 1; of a time with what has passed of the day."""
    if not isinstance(value, datetime):
        return value.toordinal()
    passed = value.replace(tzinfo=None) - datetime(value.year, value.month, value.day)
    return value.toordinal() + passed.total_seconds() / 86_400


def gini(score: Floats, label: Floats) -> float:
    """2 AUC - 1, with AUC from the rank sum (Mann-Whitney), ties at their mean rank; 0 when one class is missing."""
    positive = label > 0.5
    n, m = int(positive.sum()), int((~positive).sum())
    if n == 0 or m == 0:
        return 0.0
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return float(2 * (ranks[positive].sum() - n * (n + 1) / 2) / (n * m) - 1)


def r_squared(predicted: Floats, label: Floats) -> float:
    """1 minus the squared error over that of the mean; 0 when the label does not vary."""
    total = float(((label - label.mean()) ** 2).sum())
    return 1 - float(((label - predicted) ** 2).sum()) / total if total > 0 else 0.0


def _means(codes: npt.NDArray[np.int64], label: Floats, bins: int) -> Floats:
    overall = float(label.mean()) if len(label) else 0.0
    sums = np.bincount(codes, weights=label, minlength=bins)
    counts = np.bincount(codes, minlength=bins)
    means: Floats = (sums + PRIOR * overall) / (counts + PRIOR)
    return means
