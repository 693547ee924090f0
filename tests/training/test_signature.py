from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from bascule.errors import InputError
from bascule.training import Target, encode, infer_signature, read_signature
from bascule.training.signature import MOST_CATEGORIES

TARGET = Target(task="binary", classes=("false", "true"))
ROWS = pa.table(
    {
        "number": [1.5, None, 3.0],
        "count": pa.array([1, 2, None], pa.int32()),
        "price": pa.array([Decimal("1.25"), Decimal("2.50"), None]),
        "flag": [True, None, False],
        "carrier": ["UA", "AA", None],
        "origin": pa.array(["JFK", "EWR", "JFK"]).dictionary_encode(),
        "nothing": pa.nulls(3),
    }
)


def test_types_and_categories_come_from_the_training_rows() -> None:
    signature = infer_signature(ROWS, TARGET)
    assert {one.name: one.type for one in signature.inputs} == {
        "number": "double",
        "count": "bigint",
        "price": "double",
        "flag": "boolean",
        "carrier": "varchar",
        "origin": "varchar",
        "nothing": "double",
    }
    assert signature.inputs[4].categories == ("AA", "UA")
    assert [one.nullable for one in signature.inputs] == [True, True, True, True, True, False, True]
    assert signature.categorical() == [4, 5]
    assert read_signature(signature.as_dict()) == signature


def test_encoding_keeps_the_order_of_the_inputs_and_makes_the_unknown_nan() -> None:
    signature = infer_signature(ROWS, TARGET)
    nan = np.nan
    expected = [
        [1.5, 1, 1.25, 1, 1, 1, nan],
        [nan, 2, 2.5, nan, 0, 0, nan],
        [3, nan, nan, 0, nan, 1, nan],
    ]
    assert np.array_equal(encode(signature, ROWS), expected, equal_nan=True)
    turned = ROWS.select(ROWS.column_names[::-1]).append_column("more", pa.array([1, 2, 3]))
    assert np.array_equal(encode(signature, turned), expected, equal_nan=True)
    unseen = ROWS.set_column(4, "carrier", pa.array(["ZZ", "UA", "AA"], pa.large_string()))
    assert np.array_equal(encode(signature, unseen)[:, 4], [nan, 1, 0], equal_nan=True)
    batch = ROWS.to_batches()[0]
    assert np.array_equal(encode(signature, batch), expected, equal_nan=True)


def test_only_the_most_frequent_categories_are_kept() -> None:
    names = [f"n{one:05}" for one in range(MOST_CATEGORIES + 50)]
    field = infer_signature(pa.table({"tail": [*names, *names[50:]]}), TARGET).inputs[0]
    assert field.categories == tuple(names[50:])


@pytest.mark.parametrize(
    ("column", "hint"),
    [
        (pa.array([datetime(2013, 1, 1)]), "hour(when)"),
        (pa.array([[1.0]]), "leave it out"),
        (pa.array([b"x"]), "leave it out"),
    ],
)
def test_a_type_that_no_model_reads_is_refused_with_a_way_out(column: pa.Array, hint: str) -> None:
    with pytest.raises(InputError, match="'when' has the type") as error:
        infer_signature(pa.table({"when": column}), TARGET)
    assert hint in error.value.hint


@pytest.mark.parametrize(
    ("name", "column", "message"),
    [
        ("carrier", pa.array([1, 2, 3]), "'carrier' has the type int64; the model was trained on varchar"),
        ("number", pa.array(["1", "2", "3"]), "'number' has the type string; the model was trained on double"),
        ("flag", pa.array([1, 0, 1]), "'flag' has the type int64; the model was trained on boolean"),
    ],
)
def test_another_type_than_the_model_was_trained_on_is_refused(name: str, column: pa.Array, message: str) -> None:
    signature = infer_signature(ROWS, TARGET)
    with pytest.raises(InputError) as error:
        encode(signature, ROWS.set_column(ROWS.column_names.index(name), name, column))
    assert message in error.value.message


def test_a_missing_input_is_named_with_the_nearest_column() -> None:
    signature = infer_signature(ROWS, TARGET)
    renamed = ROWS.rename_columns(["number", "count", "price", "flag", "carier", "origin", "nothing"])
    with pytest.raises(InputError, match="no column for 1 of the model's 7 inputs: 'carrier'") as error:
        encode(signature, renamed)
    assert error.value.hint == "Did you mean 'carier'?"


def test_rows_without_features_are_refused() -> None:
    with pytest.raises(InputError, match="no features"):
        infer_signature(pa.table({}), TARGET)
