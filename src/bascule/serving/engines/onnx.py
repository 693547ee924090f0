"""ONNX Runtime behind the contract of a runtime: one row goes through buffers that were bound once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from bascule.training.bundle import ModelBundle
from bascule.training.foreign import OnnxPredictor, open_onnx
from bascule.training.signature import Signature

_KINDS = {"tensor(float)": np.float32, "tensor(double)": np.float64}


def load(bundle: ModelBundle) -> OnnxRuntime:
    """Load a bundle whose format is `onnx`.

    Raises:
        InputError: the bytes are no ONNX model, or one that does not belong to the signature.
        MissingExtra: ONNX Runtime is not installed.
    """
    return OnnxRuntime(bundle.model, bundle.signature)


class OnnxRuntime:
    """A session as a `Runtime`, of a model that reads one matrix of numbers and gives numbers.

    What it answers to many rows is what `OnnxPredictor` answers; another kind of model goes through that one alone.
    """

    def __init__(self, model: bytes, signature: Signature, threads: int = 1) -> None:
        self._session = open_onnx(model, threads)
        self._predictor = OnnxPredictor(self._session, signature)
        self._signature = signature
        self._local = threading.local()
        given, told = self._session.get_inputs(), self._predictor.output
        answers = {one.name: one.type for one in self._session.get_outputs()}
        self._kind, self._answer = _KINDS.get(given[0].type), _KINDS.get(answers[told])
        self._bound = len(given) == 1 and self._kind is not None and self._answer is not None

    def predict_one(self, row: Sequence[float]) -> Sequence[float]:
        """Return the outputs for one row."""
        try:
            run, binding, given, out, single = self._local.place
        except AttributeError:
            self._local.place = run, binding, given, out, single = self._place(len(row))
        if run is None:
            found = self._predictor.predict(np.array([row], dtype=np.float64))
            answer: list[float] = np.atleast_1d(found[0]).tolist()
            return answer
        with np.errstate(over="ignore"):
            given[0] = row
        run(binding, None)
        told: list[float] = out.tolist()
        return told[-1:] if single else told

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs for many rows. The interpreter is free for other threads meanwhile."""
        return self._predictor.predict(matrix)

    def _place(self, width: int) -> tuple[Any, Any, Any, Any, bool]:
        """Bind one thread's buffers; where the model's output has no fixed shape for one row, nothing is bound."""
        single = self._signature.output.task != "multiclass"
        nothing = None, None, None, None, single
        if not self._bound or width != len(self._signature.inputs):
            return nothing
        given = np.zeros((1, width), dtype=self._kind)
        name = self._predictor.output
        (sample,) = self._session.run([name], {self._session.get_inputs()[0].name: given})
        if not isinstance(sample, np.ndarray) or sample.size != max(sample.shape, default=1):
            return nothing
        out = np.zeros(sample.shape, dtype=self._answer)
        binding = self._session.io_binding()
        binding.bind_input(self._session.get_inputs()[0].name, "cpu", 0, self._kind, given.shape, given.ctypes.data)
        binding.bind_output(name, "cpu", 0, self._answer, out.shape, out.ctypes.data)
        return self._session.run_with_iobinding, binding, given, out.reshape(-1), single
