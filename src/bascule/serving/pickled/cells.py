"""Rows with texts and times among their numbers, on their way to the process of a model and as it reads them.

Both ends read this file, and `worker.py` loads it beside itself: it imports nothing of Bascule.

Rows are a matrix of objects: a text, a time in microseconds since the epoch, None where one is missing, and floats of
all else. On the way they are the floats [rows, numbers] as `<f8`; the times [rows, times] as `<i8`, the least of which
is a missing one; the length of each text [rows, texts] as `<i8`, -1 for a missing one; and the texts' UTF-8.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

MISSING_TIME = -(2**63)
# What a column of numbers is to MLflow, and to NumPy.
KINDS = {"long": "int64", "integer": "int32", "float": "float32", "boolean": "bool"}


def pack(matrix: np.ndarray, texts: Sequence[int], times: Sequence[int]) -> tuple[dict[str, Any], bytes]:
    """Return what a message says of rows, and their bytes.

    Args:
        matrix: objects [rows, inputs].
        texts, times: the places of the inputs that are such.
    """
    raw = {*texts, *times}
    numbers = [place for place in range(matrix.shape[1]) if place not in raw]
    moments = [[MISSING_TIME if one is None else one for one in row] for row in matrix[:, list(times)].tolist()]
    written = [
        None if one is None else one.encode("utf-8", "surrogatepass")
        for row in matrix[:, list(texts)].tolist()
        for one in row
    ]
    lengths = np.array([-1 if one is None else len(one) for one in written], dtype="<i8")
    parts = (
        matrix[:, numbers].astype("<f8").tobytes(),
        np.array(moments, dtype="<i8").tobytes() if times else b"",
        lengths.tobytes(),
        *(one for one in written if one is not None),
    )
    return {"shape": list(matrix.shape), "texts": list(texts), "times": list(times)}, b"".join(parts)


def unpack(message: dict[str, Any], data: bytes | bytearray) -> np.ndarray:
    """Return the rows that `pack` made a message of."""
    (rows, width), texts, times = message["shape"], message["texts"], message["times"]
    numbers = [place for place in range(width) if place not in {*texts, *times}]
    found = np.empty((rows, width), dtype=object)
    at = 0
    for places, kind in ((numbers, "<f8"), (times, "<i8"), (texts, "<i8")):
        count = rows * len(places)
        part = np.frombuffer(data, dtype=kind, count=count, offset=at).reshape(rows, len(places)).tolist()
        at += 8 * count
        if places is texts:
            part = _texts(part, data, at)
        elif places is times:
            part = [[None if one == MISSING_TIME else one for one in row] for row in part]
        for place, column in zip(places, zip(*part, strict=True) if rows else (), strict=False):
            found[:, place] = column
    return found


def _texts(lengths: list[list[int]], data: bytes | bytearray, at: int) -> list[list[str | None]]:
    found: list[list[str | None]] = []
    for row in lengths:
        texts: list[str | None] = []
        for length in row:
            texts.append(None if length < 0 else str(data[at : at + length], "utf-8", "surrogatepass"))
            at += max(0, length)
        found.append(texts)
    return found


def frame(
    matrix: np.ndarray, names: Sequence[str], kinds: dict[str, str], known: dict[int, Any] | list[Any] | None = None
) -> Any:
    """Return rows as a DataFrame of pandas, each column of the type that the model was trained on.

    Texts and missing ones are what pandas makes of a list of texts and None, a time is one of nanoseconds or NaT, and a
    number is a double where nothing else is said; whole numbers of which one is missing stay doubles, and truths
    objects.

    Args:
        matrix: objects [rows, inputs].
        kinds: MLflow's types of columns by their names, as far as they are known; times are told by nothing else.
        known: what `categories_of` gave.

    Raises:
        TypeError: there are not as many columns of texts as the model has lists of categories.
    """
    import pandas as pd

    words: list[int] = []
    columns, text = {}, pd.Series([""]).dtype  # as this release of pandas has texts, and their gaps
    for place, name in enumerate(names):
        values = matrix[:, place]
        if kinds.get(name) == "datetime":
            moments = np.array(["NaT" if one is None else one for one in values.tolist()], dtype="datetime64[us]")
            columns[name] = pd.Series(moments).astype("datetime64[ns]")
        elif any(one is None or isinstance(one, str) for one in values.tolist()):
            columns[name] = pd.Series(values.tolist(), dtype=text)
            words.append(place)
        else:
            columns[name] = _typed(pd.Series(values.astype("<f8")), kinds.get(name, ""))
    if isinstance(known, list) and len(known) != len(words):
        raise TypeError(f"{len(known)} columns were categories of pandas, and the signature has {len(words)} of texts")
    for at, place in enumerate(words):
        if isinstance(known, list):  # in the order of the columns
            column = columns[names[place]].where(columns[names[place]].isin(known[at]))  # unseen is missing to it
            columns[names[place]] = pd.Series(pd.Categorical(column, categories=known[at]))
        elif known and place in known:
            column = columns[names[place]]  # XGBoost refuses what it has not seen, and needs some categories
            unseen = [one for one in column.dropna().unique() if one not in known[place]]
            columns[names[place]] = pd.Series(pd.Categorical(column, categories=[*known[place], *unseen]))
    return pd.DataFrame(columns)


def _typed(column: Any, kind: str) -> Any:
    to = KINDS.get(kind)
    if to is None:
        return column
    if to == "float32" or not column.isna().any():
        return column.astype(to)
    if to == "bool":
        return column.map({0.0: False, 1.0: True}).astype(object).where(column.notna(), None)
    return column


def texts_of(held: Any) -> Any:
    """Return what an estimator says itself of the texts that it reads.

    Returns:
        The names of columns that it was fitted on as texts; True where it reads one text a row, and no columns; None
        where it says nothing of the kind.
    """
    first = _first(held)
    if type(first).__name__.endswith("Vectorizer") and callable(getattr(first, "build_analyzer", None)):
        return True
    found = set()
    for _, step, chosen in getattr(first, "transformers_", ()):
        if isinstance(chosen, str):
            found.add(chosen)
            continue
        parts = [one for _, one in step.steps] if hasattr(step, "steps") else [step]
        lists = next((one.categories_ for one in parts if hasattr(one, "categories_")), ())
        names = [one for one in chosen if isinstance(one, str)] if not isinstance(chosen, slice) else []
        for name, known in zip(names, lists, strict=False):
            if any(isinstance(one, str) for one in known):
                found.add(name)
    return sorted(found) or None


def categories_of(held: Any) -> dict[int, Any] | list[Any] | None:
    """Return which columns of texts a booster was fitted on as categories of pandas.

    Returns:
        LightGBM's lists of categories, in the order of such columns; XGBoost's by the places of such columns; None
        where there are none.

    Raises:
        TypeError: XGBoost is of a release that takes a category for another one.
    """
    first = _first(held)
    lists = getattr(getattr(first, "_Booster", None), "pandas_categorical", None)
    if lists:
        return list(lists)
    booster = getattr(first, "_Booster", None)
    if booster is None or "c" not in (getattr(booster, "feature_types", None) or ()):
        return None
    if not hasattr(booster, "get_categories"):
        raise TypeError(
            "columns were categories of pandas, which this release of XGBoost knows by their places alone and would "
            "take for others; fit and log the model with XGBoost 3.1 or newer"
        )
    told = booster.get_categories(export_to_arrow=True).to_arrow()
    return {place: held.to_pylist() for place, (_, held) in enumerate(told) if held is not None}


def _first(held: Any) -> Any:
    """Return what reads the rows first: of a pipeline its first step, of a search what it found."""
    first = getattr(held, "best_estimator_", held)
    first = getattr(first, "estimator", first)
    while getattr(first, "steps", None):
        first = first.steps[0][1]
    return first
