"""LightGBM through its C interface: one row costs about two microseconds, where Booster.predict costs twenty-five.

The library is the one inside the installed `lightgbm` package, found without importing that package (which would bring
scikit-learn's and pandas' checks with it). One row goes through the "single row fast" functions, whose configuration
belongs to one thread; many rows go through the matrix function.
"""

from __future__ import annotations

import ctypes
import importlib.util
import threading
import weakref
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from bascule.errors import InputError, MissingExtra
from bascule.training import ModelBundle
from bascule.training.attempts import ask
from bascule.training.formats import lightgbm_text
from bascule.training.lightgbm_trees import pairs, readable

FLOAT64, NORMAL, ROW_MAJOR, ALL_ROUNDS = 1, 0, 1, -1
CONTRIBUTIONS = 3
THREADS = 2
MANY = 64  # rows; fewer are done before another thread has woken
LIBRARY_NAMES = ("lib_lightgbm.so", "lib_lightgbm.dylib", "lib_lightgbm.dll")


def load(bundle: ModelBundle) -> LightGbmRuntime:
    """Load a bundle whose format is `lightgbm`.

    Raises:
        InputError: the text is not a LightGBM model, or does not belong to the signature.
        MissingExtra: LightGBM is not installed.
    """
    text = lightgbm_text(bundle.model, bundle.signature)
    return LightGbmRuntime(text, inputs=len(bundle.signature.inputs))


def attempt(data: bytes) -> None:
    """Try a model's text in a process that may die of it (`bascule.training.trials`).

    Raises:
        InputError: a tree in it leads out of itself, or LightGBM refuses it.
    """
    text = data.decode("utf-8", "replace")
    inputs = int(pairs(text.partition("\nTree=")[0]).get("max_feature_idx", "-1")) + 1
    runtime = LightGbmRuntime(readable(text, inputs), inputs)
    ask(runtime.predict, inputs)
    ask(runtime.contributions, inputs)
    ask(lambda rows: runtime.predict_one(rows[0].tolist()), inputs)


class LightGbmRuntime:
    """A booster, its handle in the C library, and one single-row configuration for each thread that calls.

    Args:
        text: the model's text; it is trusted to be whole (see `lightgbm_text`).
        inputs: how many inputs a row has.
    """

    only_reads = True

    def __init__(self, text: str, inputs: int) -> None:
        self._inputs = inputs
        self._threaded, self._quick = _libraries()
        self._handle = ctypes.c_void_p()
        rounds = ctypes.c_int()
        _check(
            self._threaded,
            self._threaded.LGBM_BoosterLoadModelFromString(
                text.encode(), ctypes.byref(rounds), ctypes.byref(self._handle)
            ),
        )
        self._booster = _Owned(self._threaded.LGBM_BoosterFree, self._handle)
        per_row = ctypes.c_int()
        _check(self._threaded, self._threaded.LGBM_BoosterGetNumClasses(self._handle, ctypes.byref(per_row)))
        self._outputs = per_row.value
        self._local = threading.local()
        self._call = self._quick.LGBM_BoosterPredictForMatSingleRowFast

    def predict_one(self, row: Sequence[float]) -> Sequence[float]:
        """Return the outputs for one row.

        The returned list is the caller's own.
        """
        try:
            place = self._local.place
        except AttributeError:
            place = self._local.place = _RowPlace(self._threaded, self._booster, self._inputs, self._outputs)
        place.row[:] = row
        if self._call(*place.pointers):
            raise RuntimeError(_reason(self._threaded))
        return place.out[:]  # type: ignore[no-any-return]

    def predict_packed(self, row: bytes) -> Sequence[float]:
        """Return the outputs for one row of little-endian float64. The returned list is the caller's own."""
        if len(row) != 8 * self._inputs:
            raise InputError(f"The model reads {self._inputs} inputs a row; the row has {len(row) / 8:g}.")
        try:
            place = self._local.place
        except AttributeError:
            place = self._local.place = _RowPlace(self._threaded, self._booster, self._inputs, self._outputs)
        config, _, written, out = place.pointers
        if self._call(config, row, written, out):
            raise RuntimeError(_reason(self._threaded))
        return place.out[:]  # type: ignore[no-any-return]

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        """Return the outputs for many rows. The interpreter is free for other threads meanwhile."""
        rows = len(matrix)
        shape = (rows, self._outputs) if self._outputs > 1 else (rows,)
        return self._for_matrix(matrix, np.empty(shape, dtype=np.float64), NORMAL)

    def contributions(self, matrix: np.ndarray) -> np.ndarray:
        """Return the SHAP values of each input and the base, for each output: [rows, outputs, inputs + 1]."""
        shape = (len(matrix), self._outputs, self._inputs + 1)
        return self._for_matrix(matrix, np.empty(shape, dtype=np.float64), CONTRIBUTIONS)

    def _for_matrix(self, matrix: np.ndarray, out: np.ndarray, kind: int) -> np.ndarray:
        rows = len(matrix)
        if rows == 0:
            return out
        matrix = np.ascontiguousarray(matrix, dtype=np.float64)
        if matrix.shape != (rows, self._inputs):
            raise InputError(f"The model reads {self._inputs} inputs a row; the matrix has the shape {matrix.shape}.")
        written = ctypes.c_int64()
        failed = self._threaded.LGBM_BoosterPredictForMat(
            self._handle,
            ctypes.c_void_p(matrix.ctypes.data),
            FLOAT64,
            ctypes.c_int32(rows),
            ctypes.c_int32(self._inputs),
            ROW_MAJOR,
            kind,
            0,
            ALL_ROUNDS,
            b"num_threads=%d" % (THREADS if rows >= MANY else 1),
            ctypes.byref(written),
            ctypes.c_void_p(out.ctypes.data),
        )
        if failed:
            raise RuntimeError(_reason(self._threaded))
        return out


class _Owned:
    """A handle of the C library that is given back when the last reference to it goes, and before `inside` is."""

    def __init__(self, free: Any, handle: ctypes.c_void_p, inside: _Owned | None = None) -> None:
        self.handle = handle
        weakref.finalize(self, _give_back, free, handle, inside).atexit = False


def _give_back(free: Any, handle: ctypes.c_void_p, _inside: _Owned | None) -> None:
    free(handle)


class _RowPlace:
    """What one thread needs to score a row: the buffers, and the configuration that points at the booster."""

    def __init__(self, library: Any, booster: _Owned, inputs: int, outputs: int) -> None:
        self.row = (ctypes.c_double * inputs)()
        self.out = (ctypes.c_double * outputs)()
        self.written = ctypes.c_int64()
        config = ctypes.c_void_p()
        settings = (NORMAL, 0, ALL_ROUNDS, FLOAT64, ctypes.c_int32(inputs), b"num_threads=1")
        _check(
            library,
            library.LGBM_BoosterPredictForMatSingleRowFastInit(booster.handle, *settings, ctypes.byref(config)),
        )
        self.config = _Owned(library.LGBM_FastConfigFree, config, inside=booster)
        self.pointers = (
            config.value,
            ctypes.addressof(self.row),
            ctypes.addressof(self.written),
            ctypes.addressof(self.out),
        )


@cache
def _libraries() -> tuple[Any, Any]:
    """Return the library twice: with calls that let other Python threads run, and with calls that are too short to."""
    found = importlib.util.find_spec("lightgbm")
    if found is None or found.origin is None:
        raise MissingExtra("Serving a LightGBM model", "train")
    folder = Path(found.origin).parent
    paths = [folder / part / name for part in ("lib", "bin", ".") for name in LIBRARY_NAMES]
    path = next((path for path in paths if path.exists()), None)
    if path is None:
        raise MissingExtra("Serving a LightGBM model", "train")
    threaded, quick = ctypes.CDLL(str(path)), ctypes.PyDLL(str(path))
    threaded.LGBM_GetLastError.restype = ctypes.c_char_p
    quick.LGBM_BoosterPredictForMatSingleRowFast.argtypes = [ctypes.c_void_p] * 4
    return threaded, quick


def _check(library: Any, code: int) -> None:
    if code:
        raise InputError(f"LightGBM cannot use this model: {_reason(library)}.")


def _reason(library: Any) -> str:
    return str(library.LGBM_GetLastError().decode(errors="replace"))
