"""Models in the format of skops: written where it is installed and can hold them, as the same bytes each time."""

from __future__ import annotations

import importlib
import os
import re
import sys
import threading
import zipfile
from collections.abc import Sequence
from typing import Any

# Importing skops imports all of scikit-learn, which looks for these by the way: up to seconds, and used for nothing.
NOT_FOR_US = ("torch", "cupy", "dask", "jax")
SCHEMA = "schema.json"
_IDS = re.compile(r'("__id__": )(\d+)|("file": ")(\d+)(?=\.)')


# Data, which skops leaves to its caller; `bascule.training.foreign` and `bascule.tracking.mlmodel` have the same.
HARMLESS = frozenset(
    (
        "functools.partial",
        "numpy.dtype",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
        "sklearn.utils.validation.check_array",
    )
)


def write(model: Any, path: str) -> list[str]:
    """Write a model to a file, and return the types in it that whoever reads it must trust: all of them are data.

    Raises:
        TypeError: it holds what is not known as data, such as a function of the script's.
        Exception: skops cannot hold it.
    """
    skops = _imported()
    raw = f"{path}.raw"
    try:
        skops.dump(model, raw)
        found = sorted(map(str, skops.get_untrusted_types(file=raw)))
        if not HARMLESS.issuperset(found):
            raise TypeError(f"it holds {', '.join(sorted(set(found) - HARMLESS)[:3])}")
        settle(raw, path)
        return found
    finally:
        if os.path.exists(raw):
            os.unlink(raw)


def settle(source: str, target: str) -> None:
    """Write a skops file again, with numbers in their order where skops has addresses in memory, and without times."""
    order: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        own = found[2] or found[4]
        return (found[1] or found[3]) + order.setdefault(own, str(len(order)))

    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as after:
        schema = _IDS.sub(number, before.read(SCHEMA).decode())
        names = {}
        for name in before.namelist():
            stem, dot, ending = name.partition(".")
            names[order.get(stem, stem) + dot + ending] = name
        for name in sorted(names):
            data = schema.encode() if name == SCHEMA else before.read(names[name])
            after.writestr(zipfile.ZipInfo(name), data)


def _imported() -> Any:
    if "skops.io" in sys.modules:
        return sys.modules["skops.io"]
    guard = _Guard()
    sys.meta_path.insert(0, guard)  # type: ignore[arg-type]
    try:
        return importlib.import_module("skops.io")
    finally:
        sys.meta_path.remove(guard)  # type: ignore[arg-type]


class _Guard:
    """Lets an import in this thread go on without large modules that it only looks for."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> None:
        if name in NOT_FOR_US and threading.get_ident() == self._thread:
            raise ImportError(f"{name} is not imported for skops' sake")
