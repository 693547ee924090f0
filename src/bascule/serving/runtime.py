"""The contract of a runtime: a loaded model that scores encoded rows, one at once or many.

`RUNTIMES` maps a model format to `module:function`; further ones come in through the entry point group
`bascule.runtimes`. The function takes the bundle and returns a `Runtime`. A format without a runtime of its own is
served by its predictor, which every format has.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np

from bascule.training import ModelBundle, Predictor

RUNTIMES = {
    "lightgbm": "bascule.serving.runtimes.lightgbm:load",
    "onnx": "bascule.serving.engines.onnx:load",
}


class Runtime(Protocol):
    """A loaded model. It may be called from several threads at once.

    Its answers equal those of the library that trained it, bit by bit, for every input: NaN, infinities and numbers
    that lie exactly on a threshold too.
    """

    def predict_one(self, row: Sequence[float]) -> Sequence[float]:
        """Return the outputs for one row: [1] for binary (the positive class' probability) and regression, else
        [classes].

        Args:
            row: one float for each input in the signature's order; NaN is missing.
        """
        ...

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs [rows] or [rows, classes] for float64 [rows, inputs]."""
        ...

    # A runtime may also have `contributions(matrix)`: what each input adds to the raw score (log-odds, or the value) of
    # each output, and the base last, as float64 [rows, outputs, inputs + 1]. It sums up to that score.


def load_runtime(bundle: ModelBundle) -> Runtime:
    """Load a model for serving.

    Raises:
        InputError: the bytes are not a model of their format, or do not belong to the signature.
        MissingExtra: the format's library is not installed.
    """
    loader = _loader(bundle.format)
    if loader is None:
        return PredictorRuntime(bundle.predictor)
    runtime: Runtime = loader(bundle)
    return runtime


class PredictorRuntime:
    """A format's predictor as a runtime: as right as the format, and as fast as it is for a matrix of one row."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.contributions = getattr(predictor, "contributions", None)

    def predict_one(self, row: Sequence[float]) -> Sequence[float]:
        """Return the outputs for one row."""
        found = self._predictor.predict(np.array([row], dtype=np.float64))
        answer: list[float] = np.atleast_1d(found[0]).tolist()
        return answer

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs for many rows."""
        return self._predictor.predict(matrix)


def _loader(name: str) -> Any:
    if name in RUNTIMES:
        module, _, function = RUNTIMES[name].partition(":")
        return getattr(import_module(module), function)
    for point in entry_points(group="bascule.runtimes"):
        if point.name == name:
            return point.load()
    return None
