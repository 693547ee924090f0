"""What the signature in an MLmodel file says of the inputs: columns with types, a matrix of numbers, or texts alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.serving.pickled.signature import LONE_TEXT
from bascule.training import Field

# MLflow's types of columns, and those of an input here.
TYPES = {"double": "double", "float": "double", "long": "bigint", "integer": "bigint", "boolean": "boolean"}
RAW_TYPES = {"string": "varchar", "datetime": "timestamp"}
TEXT_ARRAYS = ("str", "object")  # NumPy's types of a matrix of texts
NUMBER_ARRAYS = ("float16", "float32", "float64", "int32", "int64")
MOST_WIDE = 100_000
Columns = tuple[Field, ...] | None


def inputs_told(about: Mapping[str, Any], raw: tuple[str, ...] = ()) -> Columns:
    """Return the inputs that the signature names; None when it has none, or a matrix without a width.

    Args:
        about: what the MLmodel file says.
        raw: those of `RAW_TYPES` that the model's format may read.

    Raises:
        InputError: the signature cannot be read, or has an input of another type.
    """
    listed = _listed(about)
    if not listed:
        return None
    if len(listed) == 1 and listed[0].get("type") == "tensor":
        dtype, shape = _tensor(listed[0])
        if dtype in TEXT_ARRAYS and raw:
            return _texts(shape)
        width = shape[1] if len(shape) == 2 and isinstance(shape[1], int) else 0
        return numbered(width) if 0 < width < MOST_WIDE else None
    if len(listed) == 1 and not listed[0].get("name") and listed[0].get("type") == "string" and raw:
        return (LONE_TEXT,)
    fields = []
    for one in listed:
        name, kind = str(one.get("name", "")), str(one.get("type", ""))
        known = TYPES | {key: RAW_TYPES[key] for key in raw}
        if not name or kind not in known:
            raise of_another_type(name, kind)
        optional = True if one.get("required") is False else msgspec.UNSET
        fields.append(Field(name=name, type=known[kind], optional=optional))  # type: ignore[arg-type]
    return tuple(fields)


def of_another_type(name: str, kind: str) -> InputError:
    """Return what is said of an input of a type that the model's format does not read."""
    return InputError(
        f"The input {name[:80]!r} has the type {kind[:40]!r}; numbers and truths are served.",
        hint="Encode texts and times before the model, and log that model; or log it as a scikit-learn pipeline or a "
        "Python function, which are given texts and times as they are.",
    )


def kinds_told(about: Mapping[str, Any]) -> tuple[tuple[str, str], ...] | None:
    """Return the names of the inputs with MLflow's own types; None for a matrix, or when nothing is said."""
    named = tuple((str(one.get("name", "")), str(one.get("type", ""))) for one in _listed(about))
    known = TYPES | RAW_TYPES
    return named if named and all(name and kind in known for name, kind in named) else None


def matrix_told(about: Mapping[str, Any]) -> tuple[int, str]:
    """Return the width and the type of the one matrix that the signature says is read; 0 and nothing otherwise.

    An array of texts without columns has no width, and the type of its texts.
    """
    listed = _listed(about)
    if len(listed) != 1 or listed[0].get("type") != "tensor":
        return 0, ""
    kind, shape = _tensor(listed[0])
    if kind in TEXT_ARRAYS:
        return len(_texts(shape)) if len(shape) > 1 else 0, kind
    columns = inputs_told(about)
    return (0, "") if columns is None else (len(columns), kind if kind in NUMBER_ARRAYS else "")


def numbered(width: int) -> tuple[Field, ...]:
    """Return inputs without names of their own."""
    return tuple(Field(name=f"x{place}", type="double") for place in range(width))


def _texts(shape: list[Any]) -> tuple[Field, ...]:
    """Return the inputs of an array of texts.

    Raises:
        InputError: nothing says how many texts a row has.
    """
    if len(shape) == 1 or shape[1:] == [1]:
        return (LONE_TEXT,)
    width = shape[1] if len(shape) == 2 and isinstance(shape[1], int) else 0
    if not 0 < width < MOST_WIDE:
        raise InputError(
            f"The model reads an array of texts of the shape {str(shape)[:60]}, of which nobody knows the columns.",
            hint="Log it with named columns, or with one text a row.",
        )
    return tuple(Field(name=f"x{place}", type="varchar") for place in range(width))


def _tensor(told: Mapping[str, Any]) -> tuple[str, list[Any]]:
    spec = told.get("tensor-spec")
    spec = spec if isinstance(spec, dict) else {}
    shape = spec.get("shape")
    return str(spec.get("dtype", "")), shape if isinstance(shape, list) else []


def _listed(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    told = about.get("signature")
    text = told.get("inputs") if isinstance(told, dict) else None
    try:
        return msgspec.json.decode(str(text), type=list[dict[str, Any]]) if text else []
    except msgspec.MsgspecError:
        raise InputError("The model's signature cannot be read.", hint="Log the model again.") from None
