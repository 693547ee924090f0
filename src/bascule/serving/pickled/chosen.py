"""What was chosen to answer for a model that runs code when it is loaded, as long as consent to that model holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bascule.serving.engines import load_recipe, read_recipe
from bascule.serving.pickled.runtime import PickledRuntime
from bascule.training import ModelBundle


class ChosenPickled:
    """A `Runtime` over the engines that were chosen for such a model.

    ONNX answers in the server itself, for it is data; TorchScript in a process of its own. Where the consent to the
    model does not hold any more, nothing answers; where that to its TorchScript does not, the model's own process does.

    Attributes:
        engine: which engines answer, in words.
        apart: whether an answer waits for another process.
        consents: all whose consents have to hold.

    Args:
        own: the model itself; its process is started when it is first needed.
        runtime: what was chosen.
        read: gives a file of the store by its digest.

    Raises:
        BasculeError: an engine cannot be loaded here; the model itself may be.
    """

    contributions = None

    def __init__(
        self, own: PickledRuntime, runtime: Mapping[str, Any], bundle: ModelBundle, read: Callable[[str], bytes]
    ) -> None:
        self._own = own
        self._stages = load_recipe(read_recipe(runtime["recipe"]), bundle, read, own)
        apart = [one for one in self._stages.answering if isinstance(one, PickledRuntime)]
        self.engine = self._stages.engine
        self.apart = bool(apart)
        self.consents = (own, *(one for one in apart if one is not own))
        if own in apart:
            own.start()

    @property
    def allowed(self) -> bool:
        """Whether consent to the model holds."""
        return self._own.allowed

    def predict_one(self, row: Sequence[float]) -> Sequence[float]:
        """Return the outputs for one row."""
        return (self._stages if self._agreed() else self._own).predict_one(row)

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs for many rows.

        Raises:
            EnvironmentProblem: the consent to the model was taken back, or a process cannot be started.
        """
        return (self._stages if self._agreed() else self._own).predict(matrix)

    def _agreed(self) -> bool:
        return all(one.allowed for one in self.consents)
