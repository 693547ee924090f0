"""A model of Bascule's for MLflow's clients: it needs numpy and the library of its format, and nothing of Bascule.

`predict` takes a DataFrame with the model's inputs (further columns are ignored), a mapping of columns, or a matrix
with the inputs in order, and returns the positive class' probability [rows], each class' probability (a DataFrame
[rows, classes]), or the value [rows]. A missing number or text is missing to the model, too; so is an unseen text.
"""

import json
import os

import numpy as np


def _load_pyfunc(path):
    with open(os.path.join(path, "signature.json"), encoding="utf-8") as file:
        told = json.load(file)
    with open(os.path.join(path, told["file"]), "rb") as file:
        return BasculeModel(told, _FORMATS[told["format"]](file.read(), told))


class BasculeModel:
    """A loaded model."""

    def __init__(self, told, scorer):
        self.inputs, self.task, self.classes = told["inputs"], told["task"], told["classes"]
        self._score = scorer

    def predict(self, data, params=None):
        """Return what the model says of some rows; see the module."""
        found = self._score(self._matrix(data))
        if self.task != "multiclass":
            return found
        import pandas as pd

        return pd.DataFrame(found, columns=list(self.classes))

    def _matrix(self, data):
        if not hasattr(data, "columns") and not hasattr(data, "keys"):
            rows = np.atleast_2d(np.asarray(data, dtype=object))
            if rows.shape[1] != len(self.inputs):
                raise ValueError(f"The model reads {len(self.inputs)} inputs a row; the data has {rows.shape[1]}.")
            columns = {field["name"]: rows[:, place] for place, field in enumerate(self.inputs)}
        else:
            columns = data
        missing = [field["name"] for field in self.inputs if field["name"] not in columns]
        if missing:
            raise ValueError(f"The data has no column {', '.join(map(repr, missing))}, which the model reads.")
        return np.column_stack([_encoded(field, columns[field["name"]]) for field in self.inputs])


def _encoded(field, values):
    values = np.atleast_1d(np.asarray(values, dtype=object))
    try:
        if field["categories"] is not None:
            codes = {text: float(code) for code, text in enumerate(field["categories"])}
            return np.array([np.nan if _absent(one) else codes.get(_text(one), np.nan) for one in values])
        return np.array([np.nan if _absent(one) else float(one) for one in values])
    except (TypeError, ValueError) as error:
        raise ValueError(f"Column {field['name']!r} must hold {field['type']}: {error}") from None


def _absent(value):
    if value is None:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # pandas' NA is neither equal nor unequal
        return True


def _text(value):
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value


def _linear(data, told):
    model = json.loads(data)

    def score(matrix):
        scores = np.tile(np.asarray(model["intercept"], dtype=np.float64), (len(matrix), 1))
        for place, term in enumerate(model["terms"]):
            weights = np.asarray(term["weights"], dtype=np.float64).reshape(len(term["weights"]), scores.shape[1])
            values, codes = matrix[:, place], term.get("codes")
            if codes is None:
                filled = np.where(np.isfinite(values), values, term.get("median", 0.0))
                standard = (filled - term.get("mean", 0.0)) / term.get("scale", 1.0)
                scores += standard[:, None] * weights[0]
            elif codes:
                table = np.zeros((max(codes) + 2, scores.shape[1]))
                table[list(codes)] = weights
                within = (values >= 0) & (values <= max(codes))
                scores += table[np.where(within, values, len(table) - 1).astype(np.int64)]
        if told["task"] == "regression":
            return scores[:, 0]
        if told["task"] == "binary":
            with np.errstate(over="ignore"):
                return 1.0 / (1.0 + np.exp(-scores[:, 0]))
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    return score


def _lightgbm(data, told):
    import lightgbm

    booster = lightgbm.Booster(model_str=data.decode("utf-8"))
    return lambda matrix: np.asarray(booster.predict(matrix, num_iteration=booster.current_iteration()))


def _skops(data, told):
    from skops import io

    if io.get_untrusted_types(data=data):
        raise ValueError("The skops file holds types that are not known as harmless.")
    estimator = io.loads(data, trusted=[])

    def score(matrix):
        if hasattr(estimator, "feature_names_in_"):
            import pandas as pd

            matrix = pd.DataFrame(matrix, columns=[field["name"] for field in told["inputs"]])
        if told["task"] == "regression":
            return np.asarray(estimator.predict(matrix), dtype=np.float64).reshape(len(matrix))
        found = estimator.predict_proba(matrix)
        return found[:, 1] if told["task"] == "binary" else found

    return score


_FORMATS = {"linear": _linear, "lightgbm": _lightgbm, "skops": _skops}
