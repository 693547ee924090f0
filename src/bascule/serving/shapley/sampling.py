"""SHAP values of any model, found out by asking it: inputs are put into rows of the background one after another.

What an input adds is how much the answer changes when it is put in, on average over orders and background rows
(Štrumbelj and Kononenko 2014). Each order is walked there and back (antithetic pairs), so what inputs add is exact for
models that add their inputs up, and for two inputs; and the numbers always sum up to the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np

from bascule.errors import InputError
from bascule.serving.encoding import missing_in
from bascule.serving.shapley.additive import AdditiveShap, NotAdditive

Predict = Callable[[np.ndarray], np.ndarray]
EVALUATIONS = 4_096  # rows that the model is asked about for one that is explained, where it has few inputs
MOST_INPUTS = 2_000
AT_ONCE = 1 << 22  # numbers of rows that the model is asked about at once


class SampledShap:
    """What the inputs of a model add to its answer, against background rows.

    The same row gives the same numbers, whatever rows come beside it.

    Attributes:
        samples: in how many orders the inputs are put in.
        evaluations: how many rows the model is asked about at most for one that is explained.
        rows: how many background rows there are.
        additive: the model adds its inputs up, so a row costs it as many rows as there are inputs.

    Args:
        predict: the model: outputs [rows] or [rows, outputs] for float64 [rows, inputs].
        background: float64 [rows, inputs]; objects where the model reads texts or times as they are.
        held: inputs that are in each background row what they are in the row that is explained; they add nothing.

    Raises:
        InputError: there are too many inputs.
    """

    def __init__(self, predict: Predict, background: np.ndarray, held: Sequence[int] = ()) -> None:
        width = background.shape[1]
        if width > MOST_INPUTS:
            raise InputError(
                f"The model reads {width:,} inputs; what more than {MOST_INPUTS:,} add to an answer is not found out.",
                hint="Models of trees and linear models tell it themselves. Ask without explain.",
            )
        steps = 2 * max(1, width - 1)
        self._predict = predict
        self._background = background[: max(1, EVALUATIONS // steps)]
        self._held = list(held)
        self._bases: np.ndarray | None = None
        self.rows = len(self._background)
        self.samples = 2 * len(self._background)
        self._alone = None if held else _alone(self._asked, self._background)
        self.additive = self._alone is not None
        self.evaluations = width + 1 if self.additive else self.rows * (2 * (width - 1) + bool(held)) + 1

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        """Return [rows, outputs, inputs + 1], the base last, for float64 [rows, inputs].

        Raises:
            InputError: the model answers no finite number to a row.
        """
        rows = np.asarray(matrix, dtype=self._background.dtype)
        if self._alone is None or not len(rows):
            return np.stack([self._row(row, *self._against(row)) for row in rows])
        found, right = self._alone(rows)
        for place in np.flatnonzero(~right):
            found[place] = self._row(rows[place], *self._against(rows[place]))
        return found

    def _against(self, row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the background of a row, and what the model answers to it: [rows, outputs]."""
        if self._held:
            background = self._background.copy()
            background[:, self._held] = row[self._held]
            return background, self._asked(background)
        if self._bases is None:
            self._bases = self._asked(self._background)
        return self._background, self._bases

    def _row(self, row: np.ndarray, background: np.ndarray, bases: np.ndarray) -> np.ndarray:
        differs = ~((background == row) | (missing_in(background) & missing_in(row[np.newaxis])))
        players = np.flatnonzero(differs.any(axis=0))
        answer = self._asked(row[np.newaxis])[0]
        found = np.zeros((len(answer), len(row) + 1))
        found[:, -1] = bases.mean(axis=0)
        if len(players):
            turns = _turns(row, len(background), len(players))
            found[:, players] = self._added(row, answer, background, bases, players, turns).T
        return found

    def _added(
        self,
        row: np.ndarray,
        answer: np.ndarray,
        background: np.ndarray,
        bases: np.ndarray,
        players: np.ndarray,
        turns: np.ndarray,
    ) -> np.ndarray:
        """Return what each player adds: [players, outputs]. `turns` are theirs in the order of each background row."""
        count = len(players)
        steps = np.arange(1, count)[:, np.newaxis]
        total = np.zeros((count, len(answer)))
        each = max(1, AT_ONCE // (2 * count * len(row)))
        for start in range(0, len(turns), each):
            part = turns[start : start + each]
            both = np.stack([part, count - 1 - part], axis=1)  # [rows, 2, players]: there and back
            known = both[:, :, np.newaxis, :] < steps
            asked = np.repeat(background[start : start + each], 2 * (count - 1), axis=0)
            asked[:, players] = np.where(known.reshape(-1, count), row[players], asked[:, players])
            between = self._asked(asked).reshape(*both.shape[:2], count - 1, len(answer))
            begins = bases[start : start + each][:, np.newaxis, np.newaxis]
            first = np.broadcast_to(begins, (*both.shape[:2], 1, len(answer)))
            last = np.broadcast_to(answer, first.shape)
            jumps = np.diff(np.concatenate([first, between, last], axis=2), axis=2)
            total += np.take_along_axis(jumps, both[..., np.newaxis], axis=2).sum(axis=(0, 1))
        return total / (2 * len(turns))

    def _asked(self, rows: np.ndarray) -> np.ndarray:
        """Return the outputs [rows, outputs]."""
        if not len(rows):
            return np.empty((0, 1))
        found = np.asarray(self._predict(rows), dtype=np.float64).reshape(len(rows), -1)
        if not np.isfinite(found).all():
            raise InputError(
                "The model answers no finite number to rows with some of the inputs of this one.",
                hint="Ask without explain.",
            )
        return found


def _alone(asked: Predict, background: np.ndarray) -> AdditiveShap | None:
    try:
        return AdditiveShap(asked, background)
    except NotAdditive:
        return None


def _turns(row: np.ndarray, rows: int, players: int) -> np.ndarray:
    """Return for each background row which turn each player has, drawn by the row that is explained."""
    if row.dtype == object:
        told = repr(row.tolist()).encode("utf-8", "surrogatepass")
    else:
        told = np.where(np.isnan(row), np.nan, row + 0.0).tobytes()  # zeros and NaN have several bit patterns
    seed = int.from_bytes(blake2b(told, digest_size=16).digest(), "little")
    every = np.tile(np.arange(players), (rows, 1))
    return np.asarray(np.random.default_rng(seed).permuted(every, axis=1))
