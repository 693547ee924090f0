"""Exact SHAP values of decision trees, by the C kernel: what inputs add that are not known goes by the training rows.

It is path-dependent TreeSHAP (Lundberg et al. 2020): no rows are needed, for each node knows how many came to it.
"""

from __future__ import annotations

import numpy as np

from bascule.serving.engines.compiled import CompiledRuntime, prepared
from bascule.serving.engines.forest import Forest, Unfit
from bascule.serving.engines.kernel import shap_library

DEEPEST = 4_096  # levels of a tree; the kernel calls itself for each
LOGISTIC = ("logistic", "softmax", "each_logistic")


class TreeShap:
    """What the inputs of a forest add to its score.

    Attributes:
        scale: of its score.

    Args:
        made_of: int32 [the forest's inputs], the input that each is made of, where they are encoded before. What is
            made of one input is known together.
        inputs: how many there are before that.

    Raises:
        Unfit: its nodes do not say how many training rows came to them, or it is too deep.
        EnvironmentProblem: there is no C compiler here.
    """

    def __init__(self, forest: Forest, task: str, made_of: np.ndarray | None = None, inputs: int = 0) -> None:
        if not len(forest.covers):
            raise Unfit("its nodes do not say how many rows came to them")
        if int(forest.depths.max()) > DEEPEST:
            raise Unfit(f"a tree has more than {DEEPEST:,} levels")
        self._library = shap_library()
        self._runtime = CompiledRuntime(forest)
        self._forest, self._covers = forest, np.ascontiguousarray(forest.covers)
        self._made_of = np.arange(forest.inputs) if made_of is None else made_of
        self._made_of = np.ascontiguousarray(self._made_of, dtype=np.int32)
        self._inputs = inputs or forest.inputs
        self._base = self._expected()
        plain = "value" if task == "regression" else "probability"
        self.scale = {"none": plain, "exponential": "log of the value"}.get(forest.link, "log-odds")

    def __call__(self, matrix: np.ndarray) -> np.ndarray:
        """Return [rows, outputs, inputs + 1] for float64 [rows, the forest's inputs]; each sums up to the score."""
        forest = self._forest
        rows = prepared(forest.steps, matrix) if forest.steps else matrix
        if forest.single:
            with np.errstate(over="ignore"):
                rows = rows.astype(np.float32)
        rows = np.ascontiguousarray(rows, dtype=np.float64)
        found = np.zeros((len(rows), forest.outputs, self._inputs))
        if self._library.forest_shap(
            self._runtime.address,
            self._covers.ctypes.data,
            self._made_of.ctypes.data,
            self._inputs,
            rows.ctypes.data,
            len(rows),
            found.ctypes.data,
        ):
            raise MemoryError
        base = np.broadcast_to(self._base, (len(rows), forest.outputs))[..., np.newaxis]
        return np.concatenate([found / forest.divide, base], axis=2) * forest.factor

    def _expected(self) -> np.ndarray:
        forest, held = self._forest, np.empty(len(self._forest.nodes))
        found = forest.base.astype(np.float64)
        self._library.forest_expected(
            self._runtime.address, self._covers.ctypes.data, len(held), held.ctypes.data, found.ctypes.data
        )
        return np.asarray(found / forest.divide)
