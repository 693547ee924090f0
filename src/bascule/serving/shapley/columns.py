"""Which input each column is made of that a scikit-learn pipeline makes before its last step.

It is found out by trying: one input is changed after the other, through the values that it may have.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from bascule.serving.engines.forest import Unfit
from bascule.training import Field

# They make of each column columns of its own, whatever the others say.
SINGLE = (
    "ColumnTransformer", "FunctionTransformer", "KBinsDiscretizer", "MaxAbsScaler", "MinMaxScaler", "OneHotEncoder",
    "OrdinalEncoder", "Pipeline", "PowerTransformer", "QuantileTransformer", "RobustScaler", "SimpleImputer",
    "StandardScaler", "TargetEncoder",
)  # fmt: skip
MOST_KNOWN = 300
TRIED = (0.37, -1.3, 1e3, -1e3, 0.0, np.nan)


@dataclass(frozen=True)
class Columns:
    """What comes before a pipeline's last step.

    Attributes:
        encoded: what the last step reads, float64 [rows, columns], of float64 [rows, inputs].
        made_of: int32 [columns], the input that each is made of.
    """

    encoded: Callable[[np.ndarray], np.ndarray]
    made_of: np.ndarray


def columns_of(predictor: Any, fields: Sequence[Field]) -> Columns:
    """Return what a pipeline makes of each input of its own.

    Args:
        predictor: a `SkopsPredictor` of a pipeline.
        fields: the model's inputs.

    Raises:
        Unfit: it is no pipeline, or a column is made of several inputs, or of what nobody can tell.
    """
    if any(one.is_raw for one in fields):
        raise Unfit("it reads texts as they are, and may make many columns of one")
    steps = getattr(predictor.estimator, "steps", ())
    if len(steps) < 2:
        raise Unfit("nothing comes before its last step")
    parts = list(_parts([step for _, step in steps[:-1]]))
    for one in parts:
        if type(one).__name__ not in SINGLE or getattr(one, "func", None) is not None:
            raise Unfit(f"{type(one).__name__} may make a column of several inputs")
    before = predictor.estimator[:-1]

    def encoded(matrix: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of texts that it has not seen
            found = before.transform(predictor.rows(matrix))
        return np.asarray(found.toarray() if hasattr(found, "toarray") else found, dtype=np.float64)

    return Columns(encoded, _tried(encoded, fields, (*TRIED, *_known(parts))))


def _parts(steps: Sequence[Any]) -> Iterator[Any]:
    for one in steps:
        if isinstance(one, str) or one is None:
            continue  # `passthrough` and `drop`
        yield one
        inner = [step for _, step in getattr(one, "steps", ())]
        yield from _parts([*inner, *(step for _, step, _ in getattr(one, "transformers_", ()))])


def _known(parts: Sequence[Any]) -> list[float]:
    """Return numbers that encoders tell apart."""
    held = [list(one) for part in parts for name in ("categories_", "bin_edges_") for one in getattr(part, name, ())]
    numbers = {float(one) for column in held for one in column if isinstance(one, (int, float, np.number))}
    return sorted(one for one in numbers if np.isfinite(one))[:MOST_KNOWN]


def _tried(
    encoded: Callable[[np.ndarray], np.ndarray], fields: Sequence[Field], numbers: Sequence[float]
) -> np.ndarray:
    rows, places = [np.array([0.0 if one.is_text else 1.0 for one in fields])], [-1]
    for place, field in enumerate(fields):
        values = numbers if field.categories is None else (*range(len(field.categories)), np.nan)
        for value in (0.0, 1.0, np.nan) if field.type == "boolean" else values:
            rows.append(rows[0].copy())
            rows[-1][place] = value
            places.append(place)
    found, changes = _taken(encoded, np.array(rows), np.array(places))
    changed = ~((found == found[0]) | (np.isnan(found) & np.isnan(found[0])))
    by_input = np.array([changed[changes == place].any(axis=0) for place in range(len(fields))])
    if (by_input.sum(axis=0) != 1).any():
        raise Unfit("a column before its trees is made of no single input")
    return np.asarray(by_input.argmax(axis=0), dtype=np.int32)


def _taken(
    encoded: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows as they are encoded, and their places, of those that the pipeline takes; the first must be.

    Raises:
        Unfit: it takes not even the first.
    """
    with suppress(Exception):  # whatever an encoder raises for what it has not seen
        return encoded(rows), places
    found: list[np.ndarray] = []
    kept: list[int] = []
    for row, place in zip(rows, places, strict=True):
        with suppress(Exception):
            found.append(encoded(row[np.newaxis])[0])
            kept.append(int(place))
        if not found:
            raise Unfit("a column before its trees is made in a way that was not found out")
    return np.array(found), np.array(kept)
