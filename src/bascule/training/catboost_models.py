"""CatBoost's models in its own file (`cbm`), those that read texts as categories too.

The file knows a text by its number alone (`texthash`), so that is a text's code in a matrix; CatBoost is given a text
of that number. A missing category is the text `nan`, which is what CatBoost asks to make of it before a fit, and what
`astype(str)` makes: a model that was not fitted on it takes it for one that it has not seen.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec
import numpy as np

from bascule.errors import InputError
from bascule.training.boosters import library_of
from bascule.training.formats import Predictor
from bascule.training.signature import Field, Signature
from bascule.training.texthash import texts_of
from bascule.training.trials import demand_survived

MISSING = "nan"
_EXACT, _LAST = 2.0**53, 2.0**63  # from the first to the last of them, two whole numbers are one float
_ANSWERS = {"binary": "Probability", "multiclass": "Probability", "regression": "Exponent"}
_EXPONENTS = ("Poisson", "Tweedie")


def open_catboost(model: bytes) -> Any:
    """Return the model in CatBoost's own file.

    Raises:
        InputError: the bytes are none.
        EnvironmentProblem: CatBoost is not installed.
    """
    catboost = library_of("CatBoost")
    if not model.startswith(b"CBM1"):
        raise InputError("This is no CatBoost model in its own format.", hint="Save it with format='cbm'.")
    demand_survived("CatBoost", "bascule.training.attempts:catboost", catboost.__version__, model)
    return read_catboost(model)


def read_catboost(model: bytes) -> Any:
    """Return the model in bytes that its library is known to live through (`trials`), or may die of.

    Raises:
        InputError: the bytes are none, or the model reads texts or vectors otherwise than as categories.
    """
    import catboost

    found = catboost.CatBoost()
    try:
        found.load_model(blob=model, format="cbm")
    except Exception as error:  # its library raises its own error for everything
        raise InputError(f"CatBoost cannot read this model: {str(error)[:200]}.") from None
    if found.get_text_feature_indices() or found.get_embedding_feature_indices():
        raise InputError(
            "This CatBoost model reads the words of texts, or embeddings; numbers and categories are served.",
            hint="Fit it with the texts as cat_features, or on numbers that are made of them before.",
        )
    return found


def with_hashed(model: Any, signature: Signature) -> Signature:
    """Return a signature whose texts have the codes that CatBoost knows them by.

    Args:
        model: what `open_catboost` gave.

    Raises:
        InputError: the model reads another input as a category than the signature says, or of another type.
    """
    width = len(model.feature_names_)
    if width != len(signature.inputs):
        raise InputError(f"The model reads {width} inputs; its signature says {len(signature.inputs)}.")
    places = frozenset(model.get_cat_feature_indices())
    inputs = tuple(_hashed(field, place in places) for place, field in enumerate(signature.inputs))
    return msgspec.structs.replace(signature, inputs=inputs)


def _hashed(field: Field, category: bool) -> Field:
    if field.type == "varchar" and category:
        return msgspec.structs.replace(field, hashed=True)
    if field.type == "double" and category:
        raise InputError(
            f"The model reads {field.name[:80]!r} as a category, and its signature says that it is a number with a "
            "fraction, which CatBoost takes for none.",
            hint="Log it with a signature in which it is a text or a whole number.",
        )
    if field.type == "varchar" and field.categories is None:
        raise InputError(
            f"The input {field.name[:80]!r} is a text, and the model does not read it as a category.",
            hint="Name it in cat_features, or encode it before the model.",
        )
    return field


def given_to(matrix: np.ndarray, signature: Signature, categories: Collection[int]) -> np.ndarray:
    """Return rows as CatBoost takes them: numbers as they are, and categories as texts.

    Args:
        matrix: float64 [rows, inputs].
        categories: the places of the inputs that are.

    Raises:
        InputError: a category is a whole number so large that it may have been another one.
    """
    if not categories:
        return np.ascontiguousarray(matrix)
    rows = matrix.astype(object)
    for place in categories:
        field, codes = signature.inputs[place], matrix[:, place]
        known = ~np.isnan(codes)
        rows[~known, place] = MISSING
        if not field.hashed:
            _demand_exact(field.name, codes)
        rows[known, place] = texts_of(codes[known]) if field.hashed else list(map(_text_of, codes[known].tolist()))
    return rows


def _demand_exact(name: str, codes: np.ndarray) -> None:
    size = np.abs(codes)
    if (large := np.flatnonzero((size >= _EXACT) & (size <= _LAST))).size:
        raise InputError(
            f"The column {name!r} of row {large[0]} is a category of 2^53 or more, where whole numbers are not told "
            "apart any more.",
            hint="Fit the model on this column as texts, and send texts: any are told apart.",
        )


def _text_of(code: float) -> str:
    """Return a whole number as CatBoost reads it as a category; any other is one that no model has seen."""
    return str(int(code)) if code.is_integer() else repr(code)


class CatboostPredictor:
    """A CatBoost model behind its signature."""

    def __init__(self, model: Any, signature: Signature) -> None:
        self._model, self._signature, self._task = model, signature, signature.output.task
        self._categories = [int(one) for one in model.get_cat_feature_indices()]
        loss = str((model.get_all_params() or {}).get("loss_function", ""))
        plain = self._task == "regression" and not loss.startswith(_EXPONENTS)
        self._answer = "RawFormulaVal" if plain else _ANSWERS[self._task]

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return probabilities [rows] or [rows, classes], or values [rows]."""
        if len(matrix) == 0:
            classes = len(self._signature.output.classes)
            return np.empty((0, classes) if self._task == "multiclass" else 0)
        rows = given_to(matrix, self._signature, self._categories)
        found = np.asarray(self._model.predict(rows, prediction_type=self._answer, thread_count=1), dtype=np.float64)
        return found[:, 1] if self._task == "binary" else found

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return SHAP values (TreeSHAP), in raw scores, and the base last: [rows, outputs, inputs + 1]."""
        import catboost

        rows = given_to(matrix, self._signature, self._categories)
        pool = catboost.Pool(rows, cat_features=self._categories, thread_count=1)
        found = np.asarray(self._model.get_feature_importance(pool, type="ShapValues", thread_count=1))
        return found.reshape(len(matrix), -1, matrix.shape[1] + 1)

    def importance(self) -> np.ndarray:
        """Return how much the predictions change with each input."""
        return np.asarray(self._model.get_feature_importance(), dtype=np.float64)


def load_catboost(model: bytes, signature: Signature) -> Predictor:
    """Load a CatBoost model."""
    found = open_catboost(model)
    if with_hashed(found, signature) != signature:
        raise InputError(
            "This CatBoost model reads texts as categories, and its signature gives them other codes.",
            hint="Register it again: its signature is made of the model then.",
        )
    return CatboostPredictor(found, signature)
