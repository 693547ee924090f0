"""What was told of some rows, whichever way."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

Method = Literal["shap", "sampled shap"]


class Told(NamedTuple):
    """What each input adds to the scores of rows.

    Attributes:
        values: float64 [rows, outputs, inputs + 1], the base last; each sums up to the score.
        method: `shap` is exact, of the model's own trees or terms; `sampled shap` is found out by asking the model.
        scale: of the numbers: `log-odds`, `probability`, `value`, `log of the value`, `raw score`.
        samples: of `sampled shap`, in how many orders the inputs of each row were put in; 0 for exact ones.
        at_once: how many rows had better be asked about at once, so that others get their turn.
    """

    values: np.ndarray
    method: Method
    scale: str
    samples: int = 0
    at_once: int = 1_000
