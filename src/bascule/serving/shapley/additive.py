"""SHAP values of a model that adds its inputs up, found out by asking it about one input after the other.

Then what an input adds depends on no other one: it is what it changes in one row, less what it changes there on average
over the background. That takes as many rows as there are inputs, where mixing takes thousands.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bascule.errors import InputError

CLOSE = 1e-7  # of the largest answer: so far the parts may be from the whole
AT_ONCE = 1 << 22  # numbers of rows that the model is asked about at once
Asked = Callable[[np.ndarray], np.ndarray]


class NotAdditive(Exception):
    """The model does not add its inputs up."""


class AdditiveShap:
    """What the inputs of a model that adds them up add to its answer, against background rows.

    Args:
        asked: the model: outputs [rows, outputs], finite, for float64 [rows, inputs].
        background: float64 [rows, inputs]; its rows mix inputs that have nothing to do with one another.

    Raises:
        NotAdditive: the answer to a row of the background is not what its inputs add, one by one.
    """

    def __init__(self, asked: Asked, background: np.ndarray) -> None:
        self._asked, self._first = asked, background[:1]
        if len(background) < 2:
            raise NotAdditive  # for all that is known
        try:
            self._start = asked(self._first)[0]
            alone, whole = self._alone(background), asked(background)
        except InputError as error:  # it takes no such mixes
            raise NotAdditive from error
        self._close = CLOSE * (1.0 + float(np.abs(whole).max()))
        if not self._adds_up(alone, whole).all():
            raise NotAdditive
        self._usual = alone.mean(axis=0)
        self._base = whole.mean(axis=0)

    def __call__(self, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return [rows, outputs, inputs + 1], the base last, for float64 [rows, inputs]; and of which rows it is right.

        Raises:
            InputError: the model answers no finite number to a row.
        """
        alone, whole = self._alone(matrix), self._asked(matrix)
        added = np.swapaxes(alone - self._usual, 1, 2)
        base = np.broadcast_to(self._base, whole.shape)[..., np.newaxis]
        return np.concatenate([added, base], axis=2), self._adds_up(alone, whole)

    def _adds_up(self, alone: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.asarray((np.abs(self._start + alone.sum(axis=1) - whole) <= self._close).all(axis=1))

    def _alone(self, matrix: np.ndarray) -> np.ndarray:
        """Return what each input of each row changes in the first row of the background: [rows, inputs, outputs]."""
        rows, width = matrix.shape
        each = max(1, AT_ONCE // max(1, width * width))
        found = np.empty((rows, width, len(self._start)))
        places = np.arange(width)
        for at in range(0, rows, each):
            part = matrix[at : at + each]
            mixed = np.broadcast_to(self._first[0], (len(part), width, width)).copy()
            mixed[:, places, places] = part
            answers = self._asked(mixed.reshape(-1, width))
            found[at : at + each] = answers.reshape(len(part), width, -1) - self._start
        return found
