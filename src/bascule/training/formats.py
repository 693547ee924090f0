"""Model formats: how the bytes of a model become a function. Every format is safe to read: no format runs code.

`FORMATS` maps a format to `module:function`; further ones come in through the entry point group
`bascule.model_formats`. The function takes the model's bytes and its signature, refuses what it cannot read with an
`InputError`, and returns a `Predictor`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np

from bascule.errors import InputError, MissingExtra, NotFound
from bascule.training.lightgbm_trees import pairs, readable
from bascule.training.linear import read_linear
from bascule.training.signature import Signature
from bascule.training.threads import THREADS, calm_threads

FORMATS = {
    "catboost": "bascule.training.catboost_models:load_catboost",
    "lightgbm": "bascule.training.formats:load_lightgbm",
    "linear": "bascule.training.formats:load_linear",
    "onnx": "bascule.training.foreign:load_onnx",
    "skops": "bascule.training.foreign:load_skops",
    "xgboost": "bascule.training.boosters:load_xgboost",
}


class Predictor(Protocol):
    """A loaded model."""

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return probabilities [rows] or [rows, classes], or values [rows], for a matrix from `encode`."""
        ...

    def importance(self) -> np.ndarray:
        """Return one number ≥ 0 for each input: how much the model leans on it."""
        ...


def load_predictor(name: str, model: bytes, signature: Signature) -> Predictor:
    """Return the model of a format as a predictor.

    Raises:
        InputError: the format is not known or the bytes are not a model of that format.
        MissingExtra: the format's library is not installed.
    """
    loader: Callable[[bytes, Signature], Predictor] = _loader(name)
    return loader(model, signature)


def signature_for(name: str, model: bytes, signature: Signature) -> Signature:
    """Return a signature with the codes of texts that the models of a format read; most read a category's place.

    Raises:
        InputError: the bytes are not a model of that format, or belong to another signature.
    """
    if name != "catboost" or not signature.categorical():
        return signature
    from bascule.training.catboost_models import open_catboost, with_hashed

    return with_hashed(open_catboost(model), signature)


def _loader(name: str) -> Any:
    if name in FORMATS:
        module, _, function = FORMATS[name].partition(":")
        return getattr(import_module(module), function)
    found = {point.name: point for point in entry_points(group="bascule.model_formats")}
    if name not in found:
        raise NotFound("model format", name, [*FORMATS, *found])
    return found[name].load()


def load_linear(model: bytes, signature: Signature) -> Predictor:
    """Load the JSON of a linear model."""
    linear = read_linear(model)
    names = tuple(term.name for term in linear.terms)
    if names != signature.names() or linear.task != signature.output.task:
        raise InputError("The linear model does not belong to its signature.")
    return linear


class LightGbmPredictor:
    """A LightGBM booster behind its signature."""

    def __init__(self, booster: Any, rounds: int) -> None:
        self._booster = booster
        self._rounds = rounds

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return what the booster says; a matrix without rows gives no rows."""
        if len(matrix) == 0:
            per_row = self._booster.num_model_per_iteration()
            return np.empty((0, per_row) if per_row > 1 else (0,))
        return np.asarray(self._booster.predict(matrix, num_iteration=self._rounds, num_threads=THREADS))

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return SHAP values (TreeSHAP), in scores, and the base last: [rows, outputs, inputs + 1]."""
        found = self._booster.predict(matrix, num_iteration=self._rounds, num_threads=THREADS, pred_contrib=True)
        return np.asarray(found).reshape(len(matrix), -1, matrix.shape[1] + 1)

    def importance(self) -> np.ndarray:
        """Return the total gain of the splits on each input."""
        return np.asarray(self._booster.feature_importance("gain"), dtype=np.float64)


def load_lightgbm(model: bytes, signature: Signature) -> Predictor:
    """Load the text of a LightGBM model.

    LightGBM's parser trusts its input, so the outline is compared with the signature first.
    """
    calm_threads()
    try:
        import lightgbm
    except ImportError:
        raise MissingExtra("LightGBM models", "train") from None
    text = lightgbm_text(model, signature)
    try:
        booster = lightgbm.Booster(model_str=text)
    except lightgbm.basic.LightGBMError as error:
        raise InputError(f"LightGBM cannot read this model: {error}.") from None
    return LightGbmPredictor(booster, booster.current_iteration())


def lightgbm_text(model: bytes, signature: Signature) -> str:
    """Return the text of a LightGBM model, as LightGBM may be given it, after comparing it with its signature.

    Raises:
        InputError: the bytes are not a LightGBM model, or belong to another signature.
    """
    try:
        text = model.decode("utf-8")
    except UnicodeDecodeError:
        raise InputError("This is not a LightGBM model: the bytes are not text.") from None
    if not text.startswith("tree\n") or "\nend of trees" not in text:
        raise InputError("This is not a LightGBM model: its first or last part is missing.")
    try:
        header = pairs(text.partition("\nTree=")[0])
    except ValueError as error:
        raise InputError(f"This is not a LightGBM model: its head says {str(error)[:40]!r} twice.") from None
    classes = len(signature.output.classes) if signature.output.task == "multiclass" else 1
    found = (header.get("max_feature_idx"), header.get("num_class"))
    wanted = (str(len(signature.inputs) - 1), str(classes))
    if found != wanted:
        raise InputError(
            "The LightGBM model does not belong to its signature: "
            f"last input and classes are {found}, the signature says {wanted}."
        )
    if header.get("num_tree_per_iteration") != str(classes):
        raise InputError("This is not a LightGBM model: it has other trees a round than classes.")
    return readable(text, len(signature.inputs))
