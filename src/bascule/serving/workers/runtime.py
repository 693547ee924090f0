"""A lane as a runtime: for threads that may wait for the answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bascule.serving.workers.lane import CONTRIBUTIONS, PREDICT, Job, Lane


class WorkerRuntime:
    """A model in worker processes, behind the contract of a runtime.

    Args:
        lane: its workers.
    """

    def __init__(self, lane: Lane) -> None:
        self.lane = lane

    def predict_one(self, row: Sequence[float]) -> Sequence[float]:
        """Return the outputs for one row."""
        found: list[float] = np.atleast_1d(self.predict(np.array([row], dtype=np.float64))[0]).tolist()
        return found

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs for many rows."""
        found: np.ndarray = self.lane.ask(Job(PREDICT, len(matrix), matrix))
        return found

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return what each input adds to the raw score: [rows, outputs, inputs + 1]."""
        found: np.ndarray = self.lane.ask(Job(CONTRIBUTIONS, len(matrix), matrix))
        return found
