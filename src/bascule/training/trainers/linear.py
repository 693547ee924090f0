"""Logistic or ridge regression as the model itself: small, fast, and easy to explain."""

from __future__ import annotations

import numpy as np

from bascule.errors import InputError
from bascule.training.linear import fit_linear, write_linear
from bascule.training.trainer import Progress, Step, TrainedModel, TrainerSettings, TrainingData


def train(data: TrainingData, settings: TrainerSettings, progress: Progress) -> TrainedModel:
    """Fit a linear model; there is nothing to search, so `trials` does not matter.

    Raises:
        InputError: `params` is not empty: this trainer has none.
        MissingExtra: scikit-learn is not installed.
    """
    if settings.params:
        raise InputError(
            f"The trainer 'linear' has no parameter {next(iter(settings.params))!r}.",
            hint="Remove [model] params, or use the trainer 'lightgbm'.",
        )
    progress(Step("fit", 0, 1))
    matrix, label = data.matrix(data.train), data.train.label
    if settings.refit:
        matrix = np.vstack([matrix, data.matrix(data.validation)])
        label = np.concatenate([label, data.validation.label])
    model = fit_linear(matrix, label, data.signature, seed=settings.seed)
    progress(Step("fit", 1, 1))
    return TrainedModel(
        format="linear", artifact=write_linear(model), signature=data.signature, params={"penalty": 1.0}, baseline=model
    )
