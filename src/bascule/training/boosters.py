"""Boosters in the files of their own library: XGBoost's JSON and UBJSON. CatBoost's are in `catboost_models`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from bascule.errors import EnvironmentProblem, InputError
from bascule.training.formats import Predictor
from bascule.training.signature import Signature
from bascule.training.trials import demand_survived
from bascule.training.xgboost_trees import is_sound


def open_xgboost(model: bytes) -> Any:
    """Return the booster in XGBoost's JSON or UBJSON.

    Raises:
        InputError: the bytes are none.
        EnvironmentProblem: XGBoost is not installed.
    """
    xgboost = library_of("XGBoost")
    if not model[:1] == b"{":
        raise InputError("This is no XGBoost model in JSON or UBJSON.", hint="Log it with model_format='ubj'.")
    demand_survived("XGBoost", "bascule.training.attempts:xgboost", xgboost.__version__, model)
    return read_xgboost(model)


def read_xgboost(model: bytes) -> Any:
    """Return the booster in bytes that its library is known to live through (`trials`), or may die of.

    Raises:
        InputError: the bytes are none, or hold trees that lead out of themselves.
    """
    import xgboost

    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(model))
    except Exception as error:  # its library raises its own error for everything
        raise InputError(f"XGBoost cannot read this model: {str(error)[:200]}.") from None
    if not is_sound(bytes(booster.save_raw("json"))):
        raise InputError("A tree in this XGBoost model leads out of itself.", hint="Log the model again.")
    return booster


def gains_of(booster: Any) -> dict[str, float]:
    """Return how much a booster leans on the inputs that it uses, by their names in it."""
    try:
        found = booster.get_score(importance_type="total_gain")
    except ValueError:  # a linear one has weights alone
        found = booster.get_score(importance_type="weight")
    return {name: float(np.abs(gain).sum()) for name, gain in found.items()}


def library_of(name: str) -> Any:
    """Return a booster's library, which no extra brings.

    Raises:
        EnvironmentProblem: it is not installed.
    """
    package = name.lower()
    try:
        return import_module(package)
    except ImportError:
        raise EnvironmentProblem(
            f"{name} models need the package {package}, which is not installed.",
            hint=f"Install it: pip install {package}",
        ) from None


class XgboostPredictor:
    """An XGBoost booster behind its signature."""

    def __init__(self, booster: Any, signature: Signature) -> None:
        self._booster, self._names, self._task = booster, booster.feature_names, signature.output.task
        self._inputs = signature.names()

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return probabilities [rows] or [rows, classes], or values [rows]."""
        rows = self._rows(matrix)
        if self._task == "multiclass":
            scores = np.asarray(self._booster.predict(rows, output_margin=True), dtype=np.float64)
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        return np.asarray(self._booster.predict(rows), dtype=np.float64)

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return SHAP values (TreeSHAP; a linear booster's terms), in raw scores, and the base last: [rows, outputs,
        inputs + 1]."""
        found = np.asarray(self._booster.predict(self._rows(matrix), pred_contribs=True), dtype=np.float64)
        return found.reshape(len(matrix), -1, matrix.shape[1] + 1)

    def importance(self) -> np.ndarray:
        """Return the total gain of the splits on each input; the size of its weights in a linear booster."""
        gains = gains_of(self._booster)
        names = self._names or [f"f{i}" for i in range(len(self._inputs))]
        return np.array([gains.get(name, 0.0) for name in names])

    def _rows(self, matrix: np.ndarray) -> Any:
        import xgboost

        return xgboost.DMatrix(matrix, feature_names=self._names, nthread=1)


def load_xgboost(model: bytes, signature: Signature) -> Predictor:
    """Load an XGBoost model."""
    booster = open_xgboost(model)
    if booster.num_features() != len(signature.inputs):
        raise InputError(
            f"The model reads {booster.num_features()} inputs; its signature says {len(signature.inputs)}."
        )
    return XgboostPredictor(booster, signature)
