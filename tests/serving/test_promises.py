"""Requests are held to the model's contract, value by value, where a deployment says so."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from bascule.errors import InputError
from bascule.serving.promises import Promises
from bascule.serving.rows import Rows, rows_of_records
from tests.contracts.writing import column, contract_of, ours

CONTRACT = contract_of([
    column("x", ours("range", minimum=0, maximum=10, tolerate="0.1 %"), ours("mean", between=[4, 5])),
    column("code", ours("values", values=["a", "b"]), required=True),
    column("y", ours("range", minimum=0, where="x > 1"), ours("not_null", tolerate="5 %")),
    column("z", {**ours("range", exclusiveMaximum=1), "severity": "warning"}),
    column("n", ours("values", values=[1, 2]), ours("not_values", values=[3])),
    column("mail", ours("pattern", pattern="^[a-z]+@"), ours("length", maximum=9), classification="pii"),
])  # fmt: skip
GOOD = {"x": 5.0, "code": "a", "y": -1.0, "z": 7.0, "n": 1.0, "mail": "ann@x"}


def held(**changed: Any) -> None:
    Promises(CONTRACT).hold(rows_of_records([GOOD, {**GOOD, **changed}]), ())


@pytest.mark.parametrize(
    "fine", [{}, {"x": None}, {"x": math.nan}, {"x": 10}, {"y": None}, {"mail": None}, {"n": 2}, {"x": "a text"}]
)
def test_what_fits_passes(fine: dict[str, Any]) -> None:
    held(**fine)


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"x": -0.5}, "'x' breaks the model's contract: row 1 has -0.5; asked is 0 to 10."),
        ({"x": math.inf}, "row 1 has inf"),
        ({"code": "z"}, "asked is one of 'a', 'b'"),
        ({"code": None}, "a value in every row"),
        ({"n": 3}, "one of 1, 2"),
        ({"mail": "ANN@x"}, "row 1 has •••"),
        ({"mail": "annabella@x"}, "length at most 9"),
    ],
)
def test_what_breaks_it_is_refused_by_name(broken: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as caught:
        held(**broken)
    assert words in caught.value.message
    assert "ANN" not in caught.value.message


def test_rows_that_came_as_numbers() -> None:
    promises, names = Promises(CONTRACT), ("x", "y")
    promises.hold(Rows(1, None, row=[1.0, -5.0]), names)
    promises.hold(Rows(2, None, matrix=np.array([[1.0, 0.0], [math.nan, 0.0]])), names)
    with pytest.raises(InputError, match="row 1 has 11"):
        promises.hold(Rows(2, None, matrix=np.array([[1.0, 0.0], [11.0, 0.0]])), names)
    with pytest.raises(InputError, match="'x'"):
        promises.hold(Rows(1, None, row=[-1.0, 0.0]), names)
