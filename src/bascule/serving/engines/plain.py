"""A linear model for one row in plain Python: for so few numbers NumPy's calls cost more than the numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bascule.training.linear import read_linear


class PlainRuntime:
    """A `Runtime` over the JSON of a linear model. Many rows go to NumPy.

    Raises:
        InputError: the bytes are no linear model.
    """

    def __init__(self, model: bytes) -> None:
        self._model = read_linear(model)
        self._task, self._intercept = self._model.task, list(self._model.intercept)
        self._terms = [
            (
                None if term.codes is None else dict(zip(map(float, term.codes), term.weights, strict=True)),
                term.median,
                term.mean,
                term.scale,
                term.weights[0] if term.weights else (),
            )
            for term in self._model.terms
        ]

    def predict_one(self, row: Sequence[float]) -> Sequence[float]:
        """Return the outputs for one row."""
        scores = self._intercept[:]
        for value, (codes, median, mean, scale, weights) in zip(row, self._terms, strict=True):
            if codes is None:
                scaled = ((value if -math.inf < value < math.inf else median) - mean) / scale
                for place, weight in enumerate(weights):
                    scores[place] += scaled * weight
            else:
                for place, weight in enumerate(codes.get(value, ())):
                    scores[place] += weight
        if self._task == "regression":
            return scores
        if self._task == "binary":
            return [_logistic(scores[0])]
        most = max(scores)
        powers = [math.exp(one - most) for one in scores]
        total = math.fsum(powers)
        return [one / total for one in powers]

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs for many rows."""
        return self._model.predict(matrix)

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return what each input adds to the score, and the base last."""
        return self._model.contributions(matrix)


def _logistic(score: float) -> float:
    if score >= 0:
        return 1.0 / (1.0 + math.exp(-score))
    power = math.exp(score)
    return power / (1.0 + power)
