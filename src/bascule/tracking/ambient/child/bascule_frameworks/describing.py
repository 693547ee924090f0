"""What data look like, without knowing who made them: rows, columns with types, and the first rows."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from bascule_frameworks.telling import LARGEST_VALUE, plain

MOST_COLUMNS = 1000
EXAMPLE_ROWS = 5
EXAMPLE_COLUMNS = 200
# `off`: no rows of data go into the record, only names and types.
EXAMPLES = "BASCULE_TRACK_EXAMPLES"

Columns = list[tuple[str, str]]


def rows_of(data: Any) -> int | None:
    """Return how many rows data have, or None where only reading them would tell."""
    shape = getattr(data, "shape", None)
    if isinstance(shape, tuple) and shape and isinstance(shape[0], int):
        return shape[0]
    rows = getattr(data, "num_rows", None)
    if isinstance(rows, int):
        return rows
    return len(data) if isinstance(data, list | tuple) else None


def columns_of(data: Any) -> Columns:
    """Return the names and types of columns; those of an array are called `x0`, `x1`, …"""
    if hasattr(data, "num_rows") and hasattr(data, "schema"):  # Arrow
        return [(str(field.name), str(field.type)) for field in list(data.schema)[:MOST_COLUMNS]]
    dtypes = getattr(data, "dtypes", None)
    if dtypes is not None and hasattr(data, "columns"):  # pandas and Polars
        return [(str(name), str(kind)) for name, kind in zip(list(data.columns)[:MOST_COLUMNS], dtypes, strict=False)]
    dtype = getattr(data, "dtype", None)
    if dtype is not None:
        shape = getattr(data, "shape", ())
        if getattr(data, "name", None) is not None and len(shape) == 1:  # a series
            return [(str(data.name), str(dtype))]
        width = int(shape[1]) if len(shape) > 1 else 1
        return [(f"x{place}", str(dtype)) for place in range(min(width, MOST_COLUMNS))]
    if isinstance(data, list | tuple) and data:
        first = data[0]
        if isinstance(first, list | tuple):
            return [(f"x{place}", type(value).__name__) for place, value in enumerate(first[:MOST_COLUMNS])]
        return [("x0", type(first).__name__)]
    return []


def width_of(data: Any) -> int:
    """Return how many columns data have."""
    shape = getattr(data, "shape", None)
    if isinstance(shape, tuple):
        return int(shape[1]) if len(shape) > 1 else 1
    return len(columns_of(data))


def signature(data: Any, target: Any = None) -> dict[str, Any]:
    """Return what a model that learned from data takes and gives: `inputs` and `outputs`, each names and types."""
    told: dict[str, Any] = {"inputs": columns_of(data), "columns": width_of(data)}
    if target is not None:
        outputs = columns_of(target)
        told["outputs"] = [("target", kind) if name == "x0" else (name, kind) for name, kind in outputs]
    return told


def example(data: Any) -> list[list[Any]] | None:
    """Return the first rows as lists; None where they cannot be had cheaply, or are not wanted."""
    if os.environ.get(EXAMPLES, "").lower() in ("off", "0", "no"):
        return None
    if isinstance(data, list | tuple):
        first: Iterable[Any] = data[:EXAMPLE_ROWS]
    elif hasattr(data, "iloc"):
        first = data.iloc[:EXAMPLE_ROWS].to_numpy().tolist()
    elif hasattr(data, "rows") and hasattr(data, "head"):  # Polars
        first = data.head(EXAMPLE_ROWS).rows()
    elif hasattr(data, "toarray"):  # sparse
        first = data[:EXAMPLE_ROWS].toarray().tolist()
    elif hasattr(data, "tolist") and getattr(data, "ndim", 0) in (1, 2):
        first = data[:EXAMPLE_ROWS].tolist()
    else:
        return None
    rows = [list(row) if isinstance(row, list | tuple) else [row] for row in first]
    return [[plain(value) for value in row[:EXAMPLE_COLUMNS]] for row in rows]


def short(text: str) -> str:
    """Return text cut to what an entry holds."""
    return text if len(text) <= LARGEST_VALUE else text[: LARGEST_VALUE - 1] + "…"
