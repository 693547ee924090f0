"""The label: what kind of question it answers, and its values as numbers."""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import InputError, NotFound
from bascule.training.spec import Task

MOST_CLASSES = 100
MOST_COUNTED = 20


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What a model predicts: the task and, for a classification, its classes in the order of their codes.

    For `binary` the second class is the positive one: a prediction is its probability.
    """

    task: Task
    classes: tuple[str, ...] = ()


def infer_target(
    values: pa.ChunkedArray,
    *,
    name: str = "label",
    task: Literal["auto", "binary", "multiclass", "regression"] = "auto",
    positive: str | None = None,
) -> Target:
    """Infer the task and the classes from the values of a label. Nulls and NaN are ignored.

    Two distinct values make a binary label, whatever their type. Texts with more values make a multiclass label, as do
    whole numbers that run from 0 to at most 19 without a gap. All other numbers make a regression.

    Args:
        values: the label of every row.
        name: what to call the label in a message.
        task: a task that overrides the inferred one.
        positive: the class that a binary model gives the probability of.

    Raises:
        InputError: the label is null everywhere, has one class, holds infinite values, has a type that
            cannot be learned or more than 100 classes; or the task that was asked for does not fit.
        NotFound: `positive` is not one of the classes.
    """
    known = known_values(values, name)
    if task == "regression":
        _refuse_unless_number(known.type, name)
        return Target(task="regression")
    distinct = known.unique()
    if task == "auto":
        task = _infer_task(distinct)
    if task == "regression":
        return Target(task="regression")
    classes = _classes(distinct, name)
    if task == "binary":
        if len(classes) != 2:
            raise InputError(
                f"The label {name!r} was declared binary and has {len(classes)} classes: {_some(classes)}.",
                hint="Write the label as a comparison, such as delay > 15, or set task to multiclass.",
            )
        classes = _positive_last(classes, positive, name)
    elif positive is not None:
        raise InputError(
            f"A positive class ({positive!r}) was declared for a label with {len(classes)} classes.",
            hint="Remove `positive`, or write the label as a comparison.",
        )
    return Target(task=task, classes=classes)


def known_values(values: pa.ChunkedArray, name: str = "label") -> pa.ChunkedArray:
    """Return the values that are neither null nor NaN, after refusing a label that cannot be learned."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        values = values.cast(kind.value_type)
        kind = values.type
    if pa.types.is_decimal(kind) or pa.types.is_float16(kind):
        values = values.cast(pa.float64())
    elif not (_is_text(kind) or _is_number(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind)):
        raise InputError(
            f"The label {name!r} has the type {kind}, which cannot be learned.",
            hint="A label is a boolean, a number or a text; write an expression such as date_diff('day', a, b).",
        )
    known = values.drop_null()
    if pa.types.is_floating(known.type):
        known = known.filter(pc.invert(pc.is_nan(known)))
        if pc.any(pc.is_inf(known)).as_py():
            raise InputError(
                f"The label {name!r} holds infinite values.",
                hint="Leave those rows out of the population or bound the label with least() and greatest().",
            )
    if len(known) == 0:
        raise InputError(
            f"The label {name!r} is null in all {len(values):,} rows.",
            hint="Look at the label expression and at the join that brings its columns.",
        )
    return known


def encode_target(values: pa.ChunkedArray, target: Target) -> np.ndarray:
    """Return the label as float64 [rows]: the code of the class, or the value itself; NaN where it is not known.

    Raises:
        InputError: a class is not one of the target's.
    """
    if target.task == "regression":
        return np.asarray(pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
    texts = _as_text(values)
    codes = pc.index_in(texts, value_set=pa.array(target.classes, pa.string()))
    unseen = pc.and_(pc.is_null(codes), pc.is_valid(texts))
    if pc.any(unseen).as_py():
        raise InputError(
            f"The label has classes that the model does not know: {_some(texts.filter(unseen).unique().to_pylist())}.",
            hint=f"Known classes: {_some(target.classes)}. Train again with the new classes.",
        )
    return np.asarray(pc.cast(codes, pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _infer_task(distinct: pa.ChunkedArray) -> Task:
    if len(distinct) <= 2:
        return "binary"
    if _is_text(distinct.type):
        return "multiclass"
    if pa.types.is_integer(distinct.type) and len(distinct) <= MOST_COUNTED:
        values = sorted(distinct.to_pylist())
        if values == list(range(len(values))):
            return "multiclass"
    return "regression"


def _classes(distinct: pa.ChunkedArray, name: str) -> tuple[str, ...]:
    ordered = sorted(distinct.to_pylist())
    classes = tuple(dict.fromkeys(_as_text(pa.chunked_array([pa.array(ordered, distinct.type)])).to_pylist()))
    if len(classes) == 1:
        raise InputError(
            f"The label {name!r} has one class only: {classes[0]!r} in every row.",
            hint="Look at the label expression: nothing can be learned from a constant.",
        )
    if len(classes) > MOST_CLASSES:
        raise InputError(
            f"The label {name!r} has {len(classes):,} classes; the most that can be learned is {MOST_CLASSES}.",
            hint="It looks like an identifier. Group its values, or write it as a comparison or a number.",
        )
    return classes


def _positive_last(classes: tuple[str, ...], positive: str | None, name: str) -> tuple[str, ...]:
    if positive is None:
        return classes
    if positive not in classes:
        raise NotFound(f"class of the label {name!r}", positive, classes)
    return (*(one for one in classes if one != positive), positive)


def _as_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_floating(values.type) or pa.types.is_decimal(values.type):
        numbers = pc.cast(values, pa.float64())
        numbers = pc.if_else(pc.is_nan(numbers), None, numbers)
        whole = pc.all(pc.equal(numbers, pc.floor(numbers))).as_py()
        values = pc.cast(numbers, pa.int64()) if whole else numbers
    return pc.cast(values, pa.string())


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _refuse_unless_number(kind: pa.DataType, name: str) -> None:
    if not _is_number(kind):
        raise InputError(
            f"The label {name!r} was declared a regression and has the type {kind}.",
            hint="A regression needs a number: cast the label or change the task.",
        )


def _some(values: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(repr(one) for one in values[:5])
    return f"{shown}, …" if len(values) > 5 else shown
