"""Logistic and ridge regression with an L2 penalty of 1, the intercept free: scikit-learn's problem, and its answer.

Solved by Newton's method, as its solver `newton-cholesky` does. It is written here because each training fits a
baseline, and to read scikit-learn for that took a second: a quarter of the run of a small project.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
MOST_STEPS = 100
ENOUGH = 1e-12  # of the loss: what the last step may still gain; the steps square what is missing
DECREASE = 1e-4
SMALLEST = 2.0**-30
SHIFT = 1e-9  # curvature for each row that keeps intercepts of several classes where they are: only differences count


def ridge(design: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return the weights [columns, 1] and the intercept [1] of a ridge regression.

    Args:
        design: [rows, columns].
        values: [rows].
    """
    middle, mean = design.mean(axis=0), values.mean()
    centred = design - middle
    weights = np.linalg.solve(centred.T @ centred + np.eye(design.shape[1]), centred.T @ (values - mean))
    return weights[:, None], np.atleast_1d(mean - middle @ weights)


def logistic(design: Floats, codes: npt.NDArray[np.int64], classes: int) -> tuple[Floats, Floats]:
    """Return the weights [columns, outputs] and intercepts [outputs] of a logistic regression.

    Two classes have one output, the log-odds of the second; more have one each (softmax).

    Args:
        design: [rows, columns].
        codes: [rows]: from 0 to `classes` - 1, each at least once.
    """
    rows = np.hstack([design, np.ones((len(design), 1))])
    truth = codes[:, None].astype(np.float64) if classes == 2 else np.eye(classes)[codes]
    penalty = np.append(np.ones(design.shape[1]), 0.0)[:, None]
    found = np.zeros((rows.shape[1], truth.shape[1]))
    loss = _loss(rows, truth, penalty, found)
    for _ in range(MOST_STEPS):
        said = _said(rows @ found)
        gradient = rows.T @ (said - truth) + penalty * found
        step = np.linalg.solve(_curvature(rows, said, penalty), gradient.T.ravel()).reshape(found.T.shape).T
        gain = float((gradient * step).sum())
        if gain <= ENOUGH * (1 + loss):
            found = found - step
            break
        size = 1.0
        while (after := _loss(rows, truth, penalty, found - size * step)) > loss - DECREASE * size * gain:
            size /= 2
            if size < SMALLEST:
                return found[:-1], found[-1]
        found, loss = found - size * step, after
    return found[:-1], found[-1]


def _said(scores: Floats) -> Floats:
    """Probabilities [rows, outputs]: of the second of two classes, or of each of more."""
    if scores.shape[1] == 1:
        with np.errstate(over="ignore"):
            return np.asarray(1.0 / (1.0 + np.exp(-scores)))
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _loss(rows: Floats, truth: Floats, penalty: Floats, weights: Floats) -> float:
    scores = rows @ weights
    whole = np.logaddexp(0.0, scores) if scores.shape[1] == 1 else np.logaddexp.reduce(scores, axis=1)
    return float(whole.sum() - (scores * truth).sum() + (penalty * weights**2).sum() / 2)


def _curvature(rows: Floats, said: Floats, penalty: Floats) -> Floats:
    """The second derivatives of the loss: [outputs * columns, outputs * columns], an output's columns together."""
    columns, outputs = rows.shape[1], said.shape[1]
    found = np.zeros((outputs, columns, outputs, columns))
    own = np.diag(np.append(penalty[:-1, 0], SHIFT * len(rows)))
    for one in range(outputs):
        for other in range(one, outputs):
            weight = said[:, one] * ((one == other) - said[:, other])
            block = rows.T @ (weight[:, None] * rows)
            found[one, :, other] = found[other, :, one] = block
        found[one, :, one] += own
    return found.reshape(outputs * columns, outputs * columns)
