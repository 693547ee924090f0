"""Rows into floats: equal to training's own encoding, and errors that name the column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.errors import InputError
from bascule.serving import Rows, load_model, rows_of_records, rows_of_split
from bascule.serving.encoding import Encoder
from bascule.serving.model import LoadedModel
from bascule.training import encode
from tests.serving.conftest import NUMBERS, bundle

SIGNATURE = bundle().signature
ROW = {"distance": 1000.5, "hour": 12, "night": False, "carrier": "UA"}

VALUES = st.fixed_dictionaries(
    {
        "distance": st.none() | st.floats(),
        "hour": st.none() | st.integers(-(2**53), 2**53),
        "night": st.none() | st.booleans(),
        "carrier": st.none() | st.sampled_from(["AA", "UA", "ZZ", ""]) | st.text(max_size=3),
    }
)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model("delays", 1, bundle(), lambda feature_set: None)


@given(st.lists(VALUES, min_size=1, max_size=5))
def test_it_equals_the_encoding_of_training(rows: list[dict[str, Any]]) -> None:
    types = {"distance": pa.float64(), "hour": pa.int64(), "night": pa.bool_(), "carrier": pa.string()}
    table = pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()})
    expected = encode(SIGNATURE, table)
    encoder = Encoder(SIGNATURE)
    columns = {name: [row[name] for row in rows] for name in types}
    assert np.array_equal(encoder.encode(columns, len(rows)), expected, equal_nan=True)
    for place in range(len(rows)):
        one = encoder.encode_one({name: [values[place]] for name, values in columns.items()})
        assert np.array_equal(one, expected[place], equal_nan=True)


def test_scores_equal_the_bundles_own(model: LoadedModel) -> None:
    from tests.serving.conftest import flights

    table = flights(300, seed=9)
    expected = bundle().predict(table)
    many = model.score(Rows(300, table.to_pydict()), 0)[0]
    assert many == expected.tolist()
    ones = [model.score(Rows(1, table.slice(n, 1).to_pydict()), 0)[0][0] for n in range(300)]
    assert ones == many


def test_whole_rows_of_numbers() -> None:
    model = load_model("numbers", 1, bundle(fields=NUMBERS), lambda feature_set: None)
    matrix = np.random.default_rng(0).normal(size=(5, 30))
    many = model.score(Rows(5, None, matrix), 0)[0]
    assert many == [model.score(Rows(1, None, row=row.tolist()), 0)[0][0] for row in matrix]
    with pytest.raises(InputError, match="30 inputs a row; the request has rows of 29"):
        model.score(Rows(5, None, matrix[:, :29]), 0)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"distance": "far"}, "'distance' needs a number; row 0 has 'far'"),
        ({"distance": True}, "'distance' needs a number; row 0 has True"),
        ({"hour": 10**400}, "'hour' needs a whole number"),
        ({"hour": 7.5}, "'hour' needs a whole number; row 0 has 7.5"),
        ({"hour": math.inf}, "'hour' needs a whole number; row 0 has inf"),
        ({"night": 2}, "'night' needs true or false; row 0 has 2"),
        ({"night": "yes"}, "'night' needs true or false"),
        ({"carrier": 7}, "'carrier' needs a text; row 0 has 7"),
        ({"carrier": ["UA"]}, "'carrier' needs a text"),
        ({"distance": None}, ""),
        ({"carrier": math.nan}, ""),
        ({"night": 1.0}, ""),
        ({"hour": 3.0}, ""),
        ({"hour": math.nan}, ""),
    ],
)
def test_values_of_the_wrong_type_are_named(model: LoadedModel, change: dict[str, Any], text: str) -> None:
    row = {**ROW, **change}
    for count in (1, 3):
        rows = Rows(count, {name: [value] * count for name, value in row.items()})
        if text:
            with pytest.raises(InputError, match=text):
                model.score(rows, 0)
        else:
            assert len(model.score(rows, 0)[0]) == count


def test_missing_and_unknown_columns_are_named_with_the_nearest(model: LoadedModel) -> None:
    for count in (1, 2):
        columns: dict[str, list[Any]] = {name: [value] * count for name, value in ROW.items()}
        hour = columns.pop("hour")
        with pytest.raises(InputError, match="no column 'hour'"):
            model.score(Rows(count, columns), 0)
        with pytest.raises(InputError, match="does not know the column 'huor'") as unknown:
            model.score(Rows(count, {**columns, "huor": hour}), 0)
        assert unknown.value.hint == "Did you mean 'hour'?"
        with pytest.raises(InputError, match="does not know the column 'weight'"):
            model.score(Rows(count, {**columns, "hour": hour, "weight": hour}), 0)
    with pytest.raises(InputError, match="no columns 'distance', 'hour', 'night', 'carrier'"):
        model.score(Rows(1, {}), 0)


def test_rows_from_objects_and_from_columns_are_the_same() -> None:
    records = rows_of_records([{"a": 1, "b": "x"}, {"b": "y", "c": 2.5}])
    assert records.count == 2
    assert records.columns == {"a": [1, None], "b": ["x", "y"], "c": [None, 2.5]}
    split = rows_of_split(["a", "b"], [[1, "x"], [None, "y"]])
    assert split.columns == {"a": [1, None], "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("names", "data", "text"),
    [
        (["a", "a"], [[1, 2]], "'a' is named twice"),
        (["a", "b"], [[1, 2], [3]], "Row 1 of the data has 1 values"),
        (["a"], [[[1]]], "'a' has \\[1\\] in row 0"),
        (["a"], [[{"b": 1}]], "'a' has"),
        (["a"], [[2**70]], "'a' has"),
    ],
)
def test_rows_that_are_no_rows(names: list[str], data: list[list[Any]], text: str) -> None:
    with pytest.raises(InputError, match=text):
        rows_of_split(names, data)


class Fussy:
    """A runtime that refuses what many do: no rows, missing values, infinities."""

    def predict_one(self, row: Sequence[float]) -> Sequence[float]:
        return [float(self.predict(np.array([row]))[0])]

    def predict(self, matrix: np.ndarray) -> np.ndarray:
        if not len(matrix):
            raise ValueError("Found array with 0 sample(s)")
        if np.isinf(matrix).any():
            raise ValueError("Check failed: Input data contains `inf`, while `missing` is not set to `inf`")
        if np.abs(matrix).max() > 1e39:
            raise ValueError("Input X contains infinity or a value too large for dtype('float32').")
        return matrix.sum(axis=1)


def test_no_rows_are_not_asked_about() -> None:
    model = LoadedModel("numbers", 1, bundle(fields=NUMBERS), Fussy())
    assert model.score(Rows(0, None, np.zeros((0, 30))), 0)[0] == []
    assert model.score(Rows(0, {name: [] for name in model.encoder.names}), 0)[0] == []
    with pytest.raises(InputError, match="no column 'x0'"):
        model.score(Rows(0, {name: [] for name in model.encoder.names[1:]}), 0)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("value", [math.inf, -math.inf, 1e300])
def test_a_number_that_the_model_cannot_hold_is_named(count: int, value: float) -> None:
    model = LoadedModel("numbers", 1, bundle(fields=NUMBERS), Fussy())
    matrix = np.zeros((count, 30))
    matrix[-1, 4] = value
    with pytest.raises(
        InputError, match=f"'{model.encoder.names[4]}' of row {count - 1} is {value:.6g}".replace("+", "[+]")
    ):
        model.score(Rows(count, None, matrix), 0)
    assert model.score(Rows(count, None, np.zeros((count, 30))), 0)[0] == [0.0] * count
