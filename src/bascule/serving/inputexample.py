"""The input example that a client logged with its model: a few rows, as MLflow's clients write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from bascule.errors import InputError, NotFound
from bascule.serving.encoding import Encoder
from bascule.serving.rows import rows_of_split
from bascule.training import Signature
from bascule.training.background import background_of

LARGEST = 16 << 20
TELL = ("lightgbm", "xgboost", "catboost", "linear")  # what models of these formats owe to each input, they tell


class _Example(msgspec.Struct):
    """Named columns with rows of values, or a matrix."""

    columns: list[str | int] = []
    data: list[list[Any]] = []
    inputs: list[list[float]] = []


def encoded_example(text: str | bytes, signature: Signature) -> np.ndarray | None:
    """Return an example's rows as a model reads them, float64 [rows, inputs]; None when they do not fit it."""
    try:
        # MLflow's clients write NaN where a value is missing, which the stricter reader of JSON refuses.
        told = msgspec.convert(json.loads(text), _Example) if text else _Example()
        if told.columns:
            known = rows_of_split([str(one) for one in told.columns], told.data)
            return Encoder(signature).encode(known.columns or {}, known.count) if known.count else None
        rows = np.array(told.inputs, dtype=np.float64)
    except (msgspec.MsgspecError, InputError, ValueError, RecursionError):
        return None
    return rows if rows.ndim == 2 and rows.shape[1] == len(signature.inputs) else None


def example_background(
    about: Mapping[str, Any], read: Callable[[str, int], bytes], format: str, signature: Signature
) -> np.ndarray | None:
    """Return what a model's inputs are like by its input example.

    Args:
        about: what its MLmodel file says.
        read: reads a file beside that, of at most so many bytes; NotFound or KeyError when there is none.

    Returns:
        As `background_of`; None without an example that fits, and for models that need none.
    """
    info = about.get("saved_input_example_info")
    path = info.get("artifact_path") if isinstance(info, dict) else None
    if not isinstance(path, str) or format in TELL:
        return None
    try:
        rows = encoded_example(read(path, LARGEST), signature)
    except (NotFound, InputError, KeyError):
        return None
    return None if rows is None else background_of(rows)
