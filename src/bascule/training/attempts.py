"""What the process does that tries a model's file: reads it, and asks it rows of many kinds (`trials`)."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import msgspec
import numpy as np

from bascule.errors import BasculeError, EnvironmentProblem
from bascule.training.trials import REFUSED, Refusal, patience

MEMORY, MEMORY_A_BYTE = 4 << 30, 40
WIDEST = 100_000
MOST_CELLS = 1 << 22
_FILLS = {"tensor(string)": "a", "tensor(bool)": False}
_KINDS = {"tensor(float)": "f4", "tensor(double)": "f8", "tensor(int64)": "i8", "tensor(int32)": "i4"}


def main(attempt: str) -> int:
    """Try what comes over standard input; return the code to end with."""
    answer = os.dup(1)
    os.dup2(2, 1)  # libraries write what they think of a file to the standard output
    data = sys.stdin.buffer.read()
    _limit(len(data))
    try:
        module, _, function = attempt.partition(":")
        getattr(import_module(module), function)(data)
    except BasculeError as error:
        told = Refusal(error.message, error.hint, passing=isinstance(error, EnvironmentProblem))
    except MemoryError:
        told = Refusal("This model cannot be read: MemoryError.", passing=True)
    except Exception as error:  # whatever a library raises of its own
        told = Refusal(f"This model cannot be read: {type(error).__name__}: {str(error)[:200]}.")
    else:
        return 0
    os.write(answer, msgspec.json.encode(told))
    return REFUSED


def rows_of_kinds(width: int) -> Iterator[np.ndarray]:
    """Give float64 matrices of so many columns: plain numbers, whole ones such as categories have, and none."""
    rng = np.random.default_rng(0)
    rows = max(1, min(32, MOST_CELLS // max(1, width)))
    yield np.zeros((1, width))
    for scale in (1.0, 100.0, 1e6):
        yield rng.normal(0, scale, (rows, width))
    yield rng.integers(0, 40, (rows, width)).astype(np.float64)
    for value in (-1.0, 2.0**24, 2.0**31, 2.0**63, 1e300, -1e300, np.nan, np.inf, -np.inf):
        yield np.full((1, width), value)
    mixed = rng.normal(size=(rows, width))
    mixed[rng.random(mixed.shape) < 0.3] = np.nan
    yield mixed


def ask(predict: Callable[[np.ndarray], Any], width: int) -> None:
    """Ask rows of all kinds; what refuses some in words is a model like any other."""
    if 0 < width <= WIDEST:
        for rows in rows_of_kinds(width):
            with suppress(Exception):
                predict(rows)


def xgboost(data: bytes) -> None:
    """Try an XGBoost model: what it says, and what each input adds to it."""
    import xgboost as library

    from bascule.training.boosters import gains_of, read_xgboost

    booster = read_xgboost(data)
    booster.save_config()
    gains_of(booster)
    names = booster.feature_names

    def predict(rows: np.ndarray) -> None:
        given = library.DMatrix(rows, feature_names=names, nthread=1)
        booster.predict(given, output_margin=True)
        booster.predict(given)
        booster.predict(given, pred_contribs=True)

    ask(predict, booster.num_features())


def catboost(data: bytes) -> None:
    """Try a CatBoost model: what it says, and what each input adds to it."""
    import catboost as library

    from bascule.training.catboost_models import given_to, read_catboost
    from bascule.training.signature import Field, Output, Signature

    model = read_catboost(data)
    model.get_all_params()
    width, categories = len(model.feature_names_), [int(one) for one in model.get_cat_feature_indices()]
    inputs = tuple(Field(name=str(place), type="varchar", hashed=True) for place in range(width))
    signature = Signature(inputs=inputs, output=Output(task="regression"))

    def predict(rows: np.ndarray) -> None:
        with np.errstate(all="ignore"):
            rows[:, categories] = np.nan_to_num(np.floor(np.abs(rows[:, categories])) % 2**32)
        given = given_to(rows, signature, categories)
        model.predict(given, prediction_type="RawFormulaVal", thread_count=1)
        pool = library.Pool(given, cat_features=categories, thread_count=1)
        model.get_feature_importance(pool, type="ShapValues", thread_count=1)

    ask(predict, width)
    with suppress(Exception):
        model.get_feature_importance()


def onnx(data: bytes) -> None:
    """Try an ONNX model."""
    from bascule.training.foreign import read_onnx

    session = read_onnx(data)
    given = session.get_inputs()
    widths = [one.shape[1] if len(one.shape) == 2 and isinstance(one.shape[1], int) else 1 for one in given]

    def predict(rows: np.ndarray) -> None:
        parts = np.split(rows, np.cumsum(widths)[:-1], axis=1)
        session.run(None, {one.name: _as_type(part, one.type) for one, part in zip(given, parts, strict=True)})

    if all(0 < one <= WIDEST for one in widths):
        ask(predict, sum(widths))


def _as_type(part: np.ndarray, kind: str) -> np.ndarray:
    if kind in _FILLS:
        return np.full(part.shape, _FILLS[kind], dtype=object if kind == "tensor(string)" else bool)
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(part, dtype=_KINDS[kind])


def skops(data: bytes) -> None:
    """Try a scikit-learn estimator in a skops file."""
    import pandas as pd

    from bascule.training.foreign import read_skops

    estimator = read_skops(data)
    names = getattr(estimator, "feature_names_in_", None)

    def predict(rows: np.ndarray) -> None:
        given = rows if names is None else pd.DataFrame(rows, columns=list(names))
        getattr(estimator, "predict_proba", estimator.predict)(given)

    ask(predict, int(getattr(estimator, "n_features_in_", 0)))


def _limit(size: int) -> None:
    """Hold this process to its time and its memory, and let it leave no image of itself."""
    most = MEMORY + MEMORY_A_BYTE * size
    seconds = int(patience(size)) + 1
    for what, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_DATA, most),
    ):
        with suppress(ValueError, OSError):  # a tighter limit holds already
            resource.setrlimit(what, (limit, limit))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
