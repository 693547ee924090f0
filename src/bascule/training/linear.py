"""Linear models as plain numbers: the baseline that every model must beat, and the trainer called `linear`.

The fit is scikit-learn's; what is kept is JSON: medians, means, scales, weights. Prediction is numpy alone.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from bascule.errors import InputError, MissingExtra
from bascule.training.signature import Signature
from bascule.training.spec import Task

MOST_COLUMNS_OF_ONE = 50
MOST_FIT_ROWS = 50_000
SURE = 15.0  # a log-odds that stands for a class that did not occur: three in ten million


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """The part of one input.

    A number is filled with `median` when it is missing, then standardised by `mean` and `scale`, then weighted. A
    category adds the weights of its code; a code without weights (rare, unseen, missing) adds nothing.

    Attributes:
        name: the input.
        weights: [columns][outputs]; one row for a number, one for each code in `codes` for a category.
        codes: the category codes that have weights; None for a number.
    """

    name: str
    weights: tuple[tuple[float, ...], ...]
    median: float = 0.0
    mean: float = 0.0
    scale: float = 1.0
    codes: tuple[int, ...] | None = None


class LinearModel(msgspec.Struct, frozen=True, kw_only=True):
    """A logistic regression (binary, multiclass) or ridge regression as plain numbers.

    Attributes:
        task: what it predicts.
        intercept: one number for each output.
        terms: one for each input, in the order of the signature.
        prior: what the training rows say without any input: the share of each class, or the mean.
    """

    task: Task
    intercept: tuple[float, ...]
    terms: tuple[Term, ...]
    prior: tuple[float, ...]

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return probabilities of the positive class [rows], of each class [rows, classes], or values [rows].

        Args:
            matrix: float64 [rows, inputs], from `encode`.
        """
        scores = np.tile(np.asarray(self.intercept, dtype=np.float64), (len(matrix), 1))
        for place, term in enumerate(self.terms):
            _add(scores, term, matrix[:, place])
        if self.task == "regression":
            return scores[:, 0]
        if self.task == "binary":
            return _logistic(scores[:, 0])
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return what each input adds to the scores, and the intercept last: [rows, outputs, inputs + 1]."""
        parts = np.zeros((len(self.terms) + 1, len(matrix), len(self.intercept)))
        for place, term in enumerate(self.terms):
            _add(parts[place], term, matrix[:, place])
        parts[-1] += np.asarray(self.intercept, dtype=np.float64)
        return parts.transpose(1, 2, 0)

    def importance(self) -> np.ndarray:
        """Return for each input the size of its standardised weights, summed over columns and outputs."""
        return np.array([float(np.abs(np.asarray(term.weights)).sum()) if term.weights else 0.0 for term in self.terms])


def fit_linear(matrix: np.ndarray, label: np.ndarray, signature: Signature, *, seed: int = 0) -> LinearModel:
    """Fit a logistic or ridge regression: one-hot categories, median-filled and standardised numbers, L2 penalty 1.

    At most 50,000 rows are used, drawn by the seed: with a few hundred columns more rows change nothing that matters.
    The same input gives the same numbers (one thread of linear algebra).

    Args:
        matrix: float64 [rows, inputs], from `encode`.
        label: float64 [rows]: class codes or values.
        signature: the inputs and the task.
        seed: of the draw.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    if len(matrix) > MOST_FIT_ROWS:
        drawn = np.sort(np.random.default_rng(seed).choice(len(matrix), MOST_FIT_ROWS, replace=False))
        matrix, label = matrix[drawn], label[drawn]
    categorical = set(signature.categorical())
    terms, columns = [], []
    for place, field in enumerate(signature.inputs):
        values = matrix[:, place]
        term, block = _one_hot(field.name, values) if place in categorical else _standardised(field.name, values)
        terms.append(term)
        columns.append(block)
    weights, intercept = _solve(np.hstack(columns), label, signature)
    return LinearModel(
        task=signature.output.task,
        intercept=tuple(_short(one) for one in intercept),
        terms=tuple(_with_weights(terms, columns, weights)),
        prior=_prior(label, signature),
    )


def write_linear(model: LinearModel) -> bytes:
    """Return the model as JSON."""
    return msgspec.json.encode(model, order="deterministic")


def read_linear(data: bytes) -> LinearModel:
    """Return the model that `write_linear` wrote.

    Raises:
        InputError: the bytes are not such a model.
    """
    try:
        return msgspec.json.decode(data, type=LinearModel)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"This is not a linear model: {error}.") from None


def _add(scores: np.ndarray, term: Term, values: np.ndarray) -> None:
    weights = np.asarray(term.weights, dtype=np.float64).reshape(len(term.weights), scores.shape[1])
    if term.codes is None:
        filled = np.where(np.isfinite(values), values, term.median)
        scores += ((filled - term.mean) / term.scale)[:, None] * weights[0]
        return
    if not term.codes:
        return
    table = np.zeros((max(term.codes) + 2, scores.shape[1]))
    table[list(term.codes)] = weights
    within = (values >= 0) & (values <= max(term.codes))
    scores += table[np.where(within, values, len(table) - 1).astype(np.int64)]


def _logistic(scores: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-scores)))


def _standardised(name: str, values: np.ndarray) -> tuple[Term, np.ndarray]:
    finite = values[np.isfinite(values)]
    median = float(np.median(finite)) if len(finite) else 0.0
    filled = np.where(np.isfinite(values), values, median)
    mean, scale = _short(filled.mean()), _short(filled.std())
    scale = scale if scale > 1e-12 * max(1.0, abs(mean)) else 1.0
    return Term(name=name, weights=(), median=median, mean=mean, scale=scale), ((filled - mean) / scale)[:, None]


def _one_hot(name: str, values: np.ndarray) -> tuple[Term, np.ndarray]:
    codes, counts = np.unique(values[np.isfinite(values)].astype(np.int64), return_counts=True)
    kept = np.sort(codes[np.lexsort((codes, -counts))[:MOST_COLUMNS_OF_ONE]])
    return Term(name=name, weights=(), codes=tuple(int(one) for one in kept)), np.asarray(
        values[:, None] == kept[None, :], dtype=np.float64
    )


def _solve(design: np.ndarray, label: np.ndarray, signature: Signature) -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.linear_model import LogisticRegression, Ridge
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    except ImportError:
        raise MissingExtra("Training", "train") from None
    output = signature.output
    if output.task != "regression" and len(np.unique(label)) == 1:
        return np.zeros((design.shape[1], _outputs(signature))), _certain(int(label[0]), _outputs(signature))
    with threadpool_limits(limits=1):
        if output.task == "regression":
            ridge = Ridge(alpha=1.0, solver="cholesky").fit(design, label)
            return np.atleast_2d(ridge.coef_).T, np.atleast_1d(ridge.intercept_)
        solver: Any = LogisticRegression(C=1.0, solver="newton-cholesky", max_iter=100, tol=1e-6)
        fitted = solver.fit(design, label.astype(np.int64))
    if output.task == "binary":
        return fitted.coef_.T, fitted.intercept_
    return _spread(fitted.coef_.T, fitted.intercept_, fitted.classes_, len(output.classes))


def _outputs(signature: Signature) -> int:
    return len(signature.output.classes) if signature.output.task == "multiclass" else 1


def _certain(code: int, outputs: int) -> np.ndarray:
    """The intercepts of a model that has seen one class only, which a rare class can do to a draw of rows."""
    if outputs == 1:
        return np.array([SURE if code else -SURE])
    return np.where(np.arange(outputs) == code, 0.0, -SURE)


def _spread(
    weights: np.ndarray, intercept: np.ndarray, present: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    if weights.shape[1] == 1:
        weights, intercept = np.hstack([-weights, weights]) / 2, np.array([-intercept[0], intercept[0]]) / 2
    wide, shift = np.zeros((len(weights), classes)), np.full(classes, -SURE)
    wide[:, present] = weights
    shift[present] = intercept
    return wide, shift


def _with_weights(terms: list[Term], columns: list[np.ndarray], weights: np.ndarray) -> list[Term]:
    ends = np.cumsum([block.shape[1] for block in columns])
    parts = np.split(weights, ends[:-1])
    return [
        msgspec.structs.replace(term, weights=tuple(tuple(_short(one) for one in row) for row in part))
        for term, part in zip(terms, parts, strict=True)
    ]


def _short(value: float) -> float:
    """Ten digits: what lies behind them is rounding, and may differ from one processor to the next."""
    return float(f"{value:.10g}")


def _prior(label: np.ndarray, signature: Signature) -> tuple[float, ...]:
    if signature.output.task == "regression":
        return (float(label.mean()),)
    counts = np.bincount(label.astype(np.int64), minlength=len(signature.output.classes))
    return tuple(float(one) for one in counts / counts.sum())
