"""A lane as a runtime: for threads that may wait for the answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bascule.serving.engines.loading import read_recipe
from bascule.serving.runtime import NATIVE
from bascule.serving.shapley.part import Background, Told
from bascule.serving.workers.job import CONTRIBUTIONS, PREDICT, Job
from bascule.serving.workers.lane import Lane


class WorkerRuntime:
    """A model in worker processes, behind the contract of a runtime.

    Attributes:
        engine: which engines answer there, in words.

    Args:
        lane: its workers.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        recipe = lane.program.recipe
        self.engine = read_recipe(recipe).names() if recipe else NATIVE

    def predict_one(self, row: Sequence[float]) -> Sequence[float]:
        """Return the outputs for one row."""
        kind = object if any(one is None or isinstance(one, str) for one in row) else np.float64
        found: list[float] = np.atleast_1d(self.predict(np.array([row], dtype=kind))[0]).tolist()
        return found

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs for many rows."""
        found: np.ndarray = self.lane.ask(Job(PREDICT, len(matrix), matrix))
        return found

    @property
    def possible(self) -> bool:
        """Whether the model can be explained there."""
        return self.lane.explains

    def tell(self, matrix: np.ndarray, background: Background | None = None) -> Told:
        """Return what each input adds to the scores, as an `Explainer` does, by that of a worker."""
        found: Told = self.lane.ask(Job(CONTRIBUTIONS, len(matrix), matrix, background=background))
        return found
