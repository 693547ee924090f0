"""A forest walked by the C kernel: one row costs about two microseconds, of which half is the way from Python."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np

from bascule.errors import InputError
from bascule.serving.engines.forest import LINKS, STEPS, Forest
from bascule.serving.engines.kernel import libraries

_POINTERS = ("nodes", "values", "roots", "depths", "targets", "sets", "base")
_NUMBERS = ("trees", "inputs", "outputs", "width", "single", "single_sums", "categorical", "link")
FEWEST_A_THREAD = 256


class _Struct(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_int32) for name in _NUMBERS),
        ("divide", ctypes.c_double),
        ("factor", ctypes.c_double),
        ("steps", ctypes.c_void_p),
        ("kinds", ctypes.c_void_p),
        ("step_count", ctypes.c_int64),
        ("above", ctypes.c_double),
    )


class CompiledRuntime:
    """A `Runtime` over a forest whose indices were checked.

    Attributes:
        address: of the forest, as the kernel reads it.

    Args:
        threads: how many walk a matrix of many rows; each takes a part of them.

    Raises:
        EnvironmentProblem: there is no C compiler here.
    """

    def __init__(self, forest: Forest, threads: int = 1) -> None:
        self._threaded, self._quick = libraries()
        self._inputs, self._outputs, self._single = forest.inputs, forest.outputs, forest.single
        self._threads = threads
        self._held = {name: np.ascontiguousarray(getattr(forest, name)) for name in _POINTERS}
        self._steps = forest.steps
        self._held["steps"] = np.array([by for _, by in forest.steps], dtype=np.float64)
        self._held["kinds"] = np.array([STEPS.index(kind) for kind, _ in forest.steps], dtype=np.int32)
        numbers = {
            "step_count": len(forest.steps),
            "trees": len(forest.roots),
            "inputs": forest.inputs,
            "outputs": forest.outputs,
            "width": forest.values.shape[1],
            "single": forest.single,
            "single_sums": forest.single_sums,
            "categorical": forest.categorical,
            "link": LINKS.index(forest.link),
        }
        pointers = {name: array.ctypes.data for name, array in self._held.items()}
        self._forest = _Struct(**pointers, **numbers, divide=forest.divide, factor=forest.factor, above=forest.above)
        self.address = ctypes.addressof(self._forest)
        self._local = threading.local()
        self._call = self._quick.forest_one

    def predict_one(self, row: Sequence[float]) -> Sequence[float]:
        """Return the outputs for one row. The list is the caller's own."""
        try:
            given, out, pointers = self._local.place
        except AttributeError:
            given, out = (ctypes.c_double * self._inputs)(), (ctypes.c_double * self._outputs)()
            pointers = (self.address, ctypes.addressof(given), ctypes.addressof(out))
            self._local.place = given, out, pointers
        given[:] = row
        self._call(*pointers)
        return out[:]  # type: ignore[no-any-return]

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs for many rows. The interpreter is free for other threads meanwhile."""
        rows = len(matrix)
        if matrix.ndim != 2 or matrix.shape[1] != self._inputs:
            raise InputError(f"The model reads {self._inputs} inputs a row; the matrix has the shape {matrix.shape}.")
        if self._steps:
            matrix = prepared(self._steps, matrix)
        if self._single:
            with np.errstate(over="ignore"):
                matrix = matrix.astype(np.float32)
        given = np.ascontiguousarray(matrix, dtype=np.float64)
        out = np.empty((rows, self._outputs) if self._outputs > 1 else (rows,), dtype=np.float64)
        parts = min(self._threads, max(1, rows // FEWEST_A_THREAD))
        if parts == 1:
            self._walk(given, out)
        else:
            cuts = [rows * k // parts for k in range(parts + 1)]
            sides = [slice(a, b) for a, b in pairwise(cuts)]
            list(_pool(self._threads).map(lambda side: self._walk(given[side], out[side]), sides))
        return out

    def _walk(self, given: np.ndarray, out: np.ndarray) -> None:
        self._threaded.forest_many(self.address, given.ctypes.data, len(given), out.ctypes.data)


def prepared(steps: Sequence[tuple[str, np.ndarray]], matrix: np.ndarray) -> np.ndarray:
    """Return rows as the trees read them."""
    rows = np.array(matrix, dtype=np.float64)
    with np.errstate(all="ignore"):
        for kind, by in steps:
            rows = np.where(np.isnan(rows), by, rows) if kind == "fill" else _STEPS[kind](rows, by)
    return rows


_STEPS = {"subtract": np.subtract, "divide": np.divide, "multiply": np.multiply, "add": np.add}


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="forest")
