"""The input example that a client logged with its model: a few rows, as MLflow's clients write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from bascule.errors import InputError, NotFound
from bascule.serving.encoding import Encoder
from bascule.serving.pickled.signature import LONE_TEXT
from bascule.serving.rows import rows_of_split
from bascule.training import Field, Signature
from bascule.training.background import background_of

LARGEST = 16 << 20
Read = Callable[[str, int], bytes]
TELL = ("lightgbm", "xgboost", "catboost", "linear")  # what models of these formats owe to each input, they tell


class _Example(msgspec.Struct):
    """Named columns with rows of values, or a matrix."""

    columns: list[str | int] = []
    data: list[list[Any]] = []
    inputs: list[list[float]] = []


def encoded_example(text: str | bytes, signature: Signature) -> np.ndarray | None:
    """Return an example's rows as a model reads them (`Encoder.encode`); None when they do not fit it."""
    try:
        # MLflow's clients write NaN where a value is missing, which the stricter reader of JSON refuses.
        plain = json.loads(text) if text else {}
        if isinstance(plain, list) and signature.is_raw:
            known = rows_of_split(signature.names(), [one if isinstance(one, list) else [one] for one in plain])
            return Encoder(signature).encode(known.columns or {}, known.count) if known.count else None
        told = msgspec.convert(plain, _Example)
        if told.columns:
            known = rows_of_split([str(one) for one in told.columns], told.data)
            return Encoder(signature).encode(known.columns or {}, known.count) if known.count else None
        rows = np.array(told.inputs, dtype=np.float64)
    except (msgspec.MsgspecError, InputError, ValueError, RecursionError):
        return None
    return rows if rows.ndim == 2 and rows.shape[1] == len(signature.inputs) else None


def example_background(about: Mapping[str, Any], read: Read, format: str, signature: Signature) -> np.ndarray | None:
    """Return what a model's inputs are like by its input example.

    Args:
        about: what its MLmodel file says.
        read: reads a file beside that, of at most so many bytes; NotFound or KeyError when there is none.

    Returns:
        As `background_of`; None without an example that fits, and for models that need none.
    """
    if format in TELL:
        return None
    rows = example_rows(about, read, signature)
    return None if rows is None else background_of(rows)


def example_rows(about: Mapping[str, Any], read: Read, signature: Signature) -> np.ndarray | None:
    """Return the rows of a model's input example as it reads them; None without one that fits."""
    text = _text(about, read)
    return None if text is None else encoded_example(text, signature)


def inputs_of_example(about: Mapping[str, Any], read: Read) -> tuple[Field, ...] | None:
    """Return the inputs that a model's input example shows, of which MLflow made no signature; None without texts.

    A list of texts is one input. Of named columns those with a text are texts, and all others numbers.
    """
    text = _text(about, read)
    try:
        found = json.loads(text) if text else None
        told = msgspec.convert(found, _Example) if isinstance(found, dict) else None
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if isinstance(found, list) and found and all(isinstance(one, str) for one in found):
        return (LONE_TEXT,)
    names = [str(one) for one in told.columns] if told is not None else []
    if told is None or not names or any(len(row) != len(names) for row in told.data):
        return None
    texts = {place for row in told.data for place, value in enumerate(row) if isinstance(value, str)}
    fields = tuple(Field(name=one, type="varchar" if at in texts else "double") for at, one in enumerate(names))
    return fields if texts else None


def _text(about: Mapping[str, Any], read: Read) -> bytes | None:
    info = about.get("saved_input_example_info")
    path = info.get("artifact_path") if isinstance(info, dict) else None
    if not isinstance(path, str):
        return None
    try:
        return read(path, LARGEST)
    except (NotFound, InputError, KeyError):
        return None
