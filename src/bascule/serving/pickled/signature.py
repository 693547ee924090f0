"""What a model that was loaded in its process says of itself, as a signature."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bascule.errors import InputError
from bascule.training import Field, Output, Signature

MOST_INPUTS = 100_000
MOST_OUTPUTS = 10_000
SHOWN = 200
LONE_TEXT = Field(name="text", type="varchar")  # the input of a model that reads a text a row, and names no column


def signed_by(told: Mapping[str, Any], columns: tuple[Field, ...] | None) -> Signature:
    """Return the signature of a model.

    Args:
        told: `names` and `width` of its inputs, `classes` when it gives probabilities, `outputs` how many numbers a
            row, `texts` which inputs it reads as texts (names, or true for the only one). It comes from a process that
            ran foreign code, so it is only looked at.
        columns: what its MLmodel file says of the inputs; None when it does not.

    Raises:
        InputError: nothing says how many inputs it reads, or what it says is odd.
    """
    names, width, outputs = told.get("names"), told.get("width"), told.get("outputs")
    names = [str(one)[:SHOWN] for one in names] if isinstance(names, list) else None
    width = width if isinstance(width, int) and not isinstance(width, bool) else 0
    width = len(names) if names else width or len(columns or ())
    texts = told.get("texts")
    if columns is None and texts is True and not width:
        columns, width = (LONE_TEXT,), 1
    known = frozenset(str(one) for one in texts) if columns is None and isinstance(texts, list) else frozenset()
    if not 0 < width < MOST_INPUTS:
        raise InputError("Nothing says how many inputs the model reads.", hint="Log it with a signature.")
    if not isinstance(outputs, int) or not 0 < outputs <= MOST_OUTPUTS:
        raise InputError(f"The model answers {outputs!r:.40} numbers a row; 1 to {MOST_OUTPUTS:,} are served.")
    return Signature(inputs=_inputs(names, width, columns, known), output=_output(told.get("classes"), outputs))


def _inputs(
    names: list[str] | None, width: int, columns: tuple[Field, ...] | None, texts: frozenset[str]
) -> tuple[Field, ...]:
    known = {field.name: field for field in columns or ()}
    if columns is not None and len(columns) == width and not (names and set(names) <= known.keys()):
        return columns
    if names and len(set(names)) == width:
        return tuple(known.get(name, Field(name=name, type="varchar" if name in texts else "double")) for name in names)
    return tuple(Field(name=f"x{place}", type="double") for place in range(width))


def _output(classes: Any, outputs: int) -> Output:
    if not isinstance(classes, list):
        return Output(task="regression") if outputs == 1 else _many(tuple(str(one) for one in range(outputs)))
    texts = tuple(str(one)[:SHOWN] for one in classes)
    if len(texts) == 2 and outputs == 1:
        return Output(task="binary", classes=texts)
    if len(texts) != outputs:
        raise InputError(f"The model names {len(texts)} classes and answers {outputs} numbers a row.")
    return _many(texts)


def _many(classes: tuple[str, ...]) -> Output:
    return Output(task="multiclass", classes=classes)
