"""The contract of a runtime: a loaded model that scores encoded rows, one at once or many.

`RUNTIMES` maps a model format to `module:function`; further ones come in through the entry point group
`bascule.runtimes`. The function takes the bundle and returns a `Runtime`. A format without a runtime of its own is
served by its predictor, which every format has.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np

from bascule.training import ModelBundle, Output, Predictor
from bascule.training.threads import calm_threads

NATIVE = "native"  # the version's own library
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
        """Return the outputs [rows] or [rows, classes] for float64 [rows, inputs].

        Where an input has no code (`Field.is_raw`), rows are of objects, as `training.encode` gives them.
        """
        ...

    # A runtime may also have `contributions(matrix)`: what each input adds to the raw score (log-odds, or the value) of
    # each output, and the base last, as float64 [rows, outputs, inputs + 1]. It sums up to that score.
    # And `only_reads`: True when `predict` never writes to its matrix and takes one at any address, so that it may be
    # given a request's body as it came.


def load_runtime(bundle: ModelBundle) -> Runtime:
    """Load a model for serving.

    Threads that score many rows sleep afterwards: they would else spin on the core that writes and sends the answer.

    Raises:
        InputError: the bytes are not a model of their format, or do not belong to the signature.
        MissingExtra: the format's library is not installed.
    """
    calm_threads()
    loader = _loader(bundle.format)
    if loader is None:
        return PredictorRuntime(bundle.predictor, bundle.signature.output, bundle.signature.is_raw)
    runtime: Runtime = loader(bundle)
    return runtime


WORTH_S = 100e-6  # a call that costs less is not worth waiting for others
TOGETHER = 8
LONG_S = 0.2


def warm(runtime: Runtime, inputs: int) -> bool:
    """Score a row and a few, so that the first request need not wait for what is made only once.

    Returns:
        Whether requests that wait anyway had better be scored together: a row costs much, and eight not eight times it.
    """
    rows = np.zeros((TOGETHER, inputs))
    one = many = float("inf")
    with suppress(Exception):  # a model may refuse zeros; it is asked for what it takes later
        for _ in range(3):
            began = time.perf_counter()
            runtime.predict(rows[:1])
            middle = time.perf_counter()
            runtime.predict(rows)
            one, many = min(one, middle - began), min(many, time.perf_counter() - middle)
            if middle - began > LONG_S:
                break
    return WORTH_S < one < float("inf") and many < TOGETHER / 2 * one


def outputs_of(runtime: Runtime, matrix: np.ndarray) -> np.ndarray:
    """Return the outputs of rows, of a single one by the way that is made for it."""
    if len(matrix) != 1:
        return runtime.predict(matrix)
    found = runtime.predict_one(matrix[0].tolist())
    return np.array(found if len(found) == 1 else [found], dtype=np.float64)


class PredictorRuntime:
    """A format's predictor as a runtime: as right as the format, and as fast as it is for a matrix of one row.

    Attributes:
        predictor: the predictor itself.
    """

    def __init__(self, predictor: Predictor, output: Output, is_raw: bool = False) -> None:
        self.predictor = predictor
        self._kind = object if is_raw else np.float64
        self._per_row = (len(output.classes),) if output.task == "multiclass" else ()
        self.contributions = getattr(predictor, "contributions", None)

    def predict_one(self, row: Sequence[float]) -> Sequence[float]:
        """Return the outputs for one row."""
        answer: list[float] = np.atleast_1d(self.predict(np.array([row], dtype=self._kind))[0]).tolist()
        return answer

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs for many rows.

        Raises:
            RuntimeError: the model answered in another shape than its signature says.
        """
        found = self.predictor.predict(matrix)
        wanted = (len(matrix), *self._per_row)
        if found.shape != wanted:
            raise RuntimeError(f"it answered the shape {list(found.shape)}; asked is {list(wanted)}")
        return found


def _loader(name: str) -> Any:
    if name in RUNTIMES:
        module, _, function = RUNTIMES[name].partition(":")
        return getattr(import_module(module), function)
    for point in entry_points(group="bascule.runtimes"):
        if point.name == name:
            return point.load()
    return None
