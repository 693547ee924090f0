from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bascule.errors import InputError, NotFound
from bascule.training import encode_target, infer_target


def column(values: Any, kind: pa.DataType | None = None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, kind)])


@pytest.mark.parametrize(
    ("values", "task", "classes"),
    [
        ([True, False, None], "binary", ("false", "true")),
        ([0, 1, 1], "binary", ("0", "1")),
        ([1.0, 0.0, float("nan")], "binary", ("0", "1")),
        (["no", "yes", "no"], "binary", ("no", "yes")),
        ([7, 3, 7], "binary", ("3", "7")),
        (["a", "b", "c"], "multiclass", ("a", "b", "c")),
        ([0, 1, 2, 2], "multiclass", ("0", "1", "2")),
        ([0, 2, 5, 2], "regression", ()),
        ([0.5, 1.5, 2.5], "regression", ()),
    ],
)
def test_the_task_follows_from_the_values(values: list[Any], task: str, classes: tuple[str, ...]) -> None:
    target = infer_target(column(values))
    assert (target.task, target.classes) == (task, classes)


def test_codes_are_places_among_the_classes_and_nulls_stay_unknown() -> None:
    values = column(["b", None, "a", "c"])
    assert np.array_equal(encode_target(values, infer_target(values)), [1, np.nan, 0, 2], equal_nan=True)
    numbers = column([2.5, None, 1.0, 0.25])
    assert np.array_equal(encode_target(numbers, infer_target(numbers)), [2.5, np.nan, 1, 0.25], equal_nan=True)
    halves = column([0.5, 1.5, 0.5])
    assert encode_target(halves, infer_target(halves)).tolist() == [0, 1, 0]


def test_the_positive_class_can_be_named() -> None:
    values = column(["churned", "stayed", "churned"])
    target = infer_target(values, positive="churned")
    assert target.classes == ("stayed", "churned")
    assert encode_target(values, target).tolist() == [1, 0, 1]
    with pytest.raises(NotFound) as error:
        infer_target(values, positive="churnd")
    assert "Did you mean 'churned'?" in error.value.hint


def test_a_declared_task_overrides_the_inferred_one() -> None:
    assert infer_target(column([0, 1, 2]), task="regression").task == "regression"
    assert infer_target(column([3, 5, 9]), task="multiclass").classes == ("3", "5", "9")
    assert infer_target(column([1, 2, 1], pa.decimal128(5, 2)), task="regression").task == "regression"


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([None, None], {}, "null in all 2 rows"),
        ([float("nan")], {}, "null in all 1 rows"),
        ([True, True], {}, "one class only: 'true'"),
        ([1.5, float("inf")], {}, "infinite"),
        ([[1], [2]], {}, "cannot be learned"),
        ([np.datetime64("2013-01-01", "us")], {}, "cannot be learned"),
        ([str(one) for one in range(200)], {}, "200 classes"),
        ([1, 2, 3], {"task": "binary"}, "has 3 classes"),
        (["a", "b"], {"task": "regression"}, "has the type string"),
        ([1, 2, 0], {"positive": "1"}, "3 classes"),
    ],
)
def test_a_label_that_cannot_be_learned_is_refused(values: list[Any], options: Any, message: str) -> None:
    with pytest.raises(InputError) as error:
        infer_target(column(values), name="late", **options)
    assert message in error.value.message
    assert error.value.hint


def test_a_class_that_the_model_does_not_know_is_named() -> None:
    target = infer_target(column(["a", "b"]))
    with pytest.raises(InputError, match="'z'"):
        encode_target(column(["a", "z"]), target)
