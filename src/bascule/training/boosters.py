"""Boosters in the files of their own libraries: XGBoost's JSON and UBJSON, CatBoost's `cbm`."""

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
    xgboost = _library("XGBoost")
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


def _library(name: str) -> Any:
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
        import xgboost

        rows = xgboost.DMatrix(matrix, feature_names=self._names, nthread=1)
        if self._task == "multiclass":
            scores = np.asarray(self._booster.predict(rows, output_margin=True), dtype=np.float64)
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            return np.asarray(powers / powers.sum(axis=1, keepdims=True))
        return np.asarray(self._booster.predict(rows), dtype=np.float64)

    def importance(self) -> np.ndarray:
        """Return the total gain of the splits on each input."""
        gains = self._booster.get_score(importance_type="total_gain")
        names = self._names or [f"f{i}" for i in range(len(self._inputs))]
        return np.array([float(gains.get(name, 0.0)) for name in names])


def load_xgboost(model: bytes, signature: Signature) -> Predictor:
    """Load an XGBoost model."""
    booster = open_xgboost(model)
    if booster.num_features() != len(signature.inputs):
        raise InputError(
            f"The model reads {booster.num_features()} inputs; its signature says {len(signature.inputs)}."
        )
    return XgboostPredictor(booster, signature)


def open_catboost(model: bytes) -> Any:
    """Return the model in CatBoost's own file (`cbm`).

    Raises:
        InputError: the bytes are none.
        EnvironmentProblem: CatBoost is not installed.
    """
    catboost = _library("CatBoost")
    if not model.startswith(b"CBM1"):
        raise InputError("This is no CatBoost model in its own format.", hint="Save it with format='cbm'.")
    demand_survived("CatBoost", "bascule.training.attempts:catboost", catboost.__version__, model)
    return read_catboost(model)


def read_catboost(model: bytes) -> Any:
    """Return the model in bytes that its library is known to live through (`trials`), or may die of.

    Raises:
        InputError: the bytes are none.
    """
    import catboost

    found = catboost.CatBoost()
    try:
        found.load_model(blob=model, format="cbm")
    except Exception as error:  # its library raises its own error for everything
        raise InputError(f"CatBoost cannot read this model: {str(error)[:200]}.") from None
    return found


_CATBOOST_ANSWERS = {"binary": "Probability", "multiclass": "Probability", "regression": "Exponent"}
_CATBOOST_EXPONENTS = ("Poisson", "Tweedie")


class CatboostPredictor:
    """A CatBoost model behind its signature."""

    def __init__(self, model: Any, signature: Signature) -> None:
        self._model, self._task = model, signature.output.task
        loss = str((model.get_all_params() or {}).get("loss_function", ""))
        plain = self._task == "regression" and not loss.startswith(_CATBOOST_EXPONENTS)
        self._answer = "RawFormulaVal" if plain else _CATBOOST_ANSWERS[self._task]

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return probabilities [rows] or [rows, classes], or values [rows]."""
        if len(matrix) == 0:
            return np.empty(0)
        rows = np.ascontiguousarray(matrix)
        found = np.asarray(self._model.predict(rows, prediction_type=self._answer, thread_count=1), dtype=np.float64)
        return found[:, 1] if self._task == "binary" else found

    def importance(self) -> np.ndarray:
        """Return how much the predictions change with each input."""
        return np.asarray(self._model.get_feature_importance(), dtype=np.float64)


def load_catboost(model: bytes, signature: Signature) -> Predictor:
    """Load a CatBoost model of numbers alone."""
    found = open_catboost(model)
    if found.get_cat_feature_indices() or found.get_text_feature_indices():
        raise InputError("This CatBoost model reads texts as they are; models of numbers are served.")
    width = len(found.feature_names_)
    if width != len(signature.inputs):
        raise InputError(f"The model reads {width} inputs; its signature says {len(signature.inputs)}.")
    return CatboostPredictor(found, signature)
