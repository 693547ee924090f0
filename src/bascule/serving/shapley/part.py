"""What was told of some rows, whichever way."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

Method = Literal["shap", "sampled shap"]


class Background(NamedTuple):
    """Rows to hold a row against that did not come with the model's file.

    Attributes:
        rows: float64 [rows, inputs].
        held: the inputs that nobody knows: they stay as the row has them that is explained, and are told nothing of.
        of: how many rows that were asked it is made of.
        version: stands for all of it: where it is the same, equal rows are told the same.
    """

    rows: np.ndarray
    held: tuple[int, ...]
    of: int
    version: str


class Told(NamedTuple):
    """What each input adds to the scores of rows.

    Attributes:
        values: float64 [rows, outputs, inputs + 1], the base last; each sums up to the score.
        method: `shap` is exact, of the model's own trees or terms; `sampled shap` is found out by asking the model.
        scale: of the numbers: `log-odds`, `probability`, `value`, `log of the value`, `raw score`.
        samples: of `sampled shap`, in how many orders the inputs of each row were put in; 0 for exact ones.
        rows: of `sampled shap`, how many background rows they were held against; 0 for exact ones.
        at_once: how many rows had better be asked about at once, so that others get their turn.
    """

    values: np.ndarray
    method: Method
    scale: str
    samples: int = 0
    rows: int = 0
    at_once: int = 1_000
