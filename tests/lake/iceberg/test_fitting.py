"""Values of one type as another: what Arrow loses without a word is told, and what fits comes as it is."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.lake.iceberg.fitting import Lossy, Unlike, fitted, misfits

MONEY = pa.decimal128(20, 2)


@pytest.mark.parametrize(
    ("good", "bad", "old", "new"),
    [
        (0.25, 0.125, pa.float64(), MONEY),
        (7, 10**18, pa.int64(), MONEY),
        (Decimal("1.10"), Decimal("123456789012345678.91"), MONEY, pa.float64()),
        (Decimal("3.00"), Decimal("3.50"), MONEY, pa.int64()),
        (1.5, 1e300, pa.float64(), pa.float32()),
        ("7", "007", pa.string(), pa.int64()),
        ("1.5", "1e400", pa.string(), pa.float64()),
        (1, 5, pa.int64(), pa.bool_()),
        (0.0, 2.5, pa.float64(), pa.bool_()),
        (dt.datetime(2025, 1, 1), dt.datetime(2025, 1, 1, 5), pa.timestamp("us"), pa.date32()),
        ([1.0], [1.5], pa.list_(pa.float64()), pa.list_(pa.int64())),
        ([Decimal(1)], [Decimal("123456789012345678.91")], pa.list_(MONEY), pa.list_(pa.float64())),
        ({"a": "7"}, {"a": "007"}, pa.struct([("a", pa.string())]), pa.struct([("a", pa.int64())])),
    ],
)
def test_only_what_would_change_does_not_fit(good: Any, bad: Any, old: pa.DataType, new: pa.DataType) -> None:
    assert fitted(pa.array([None, good, good], old), new).null_count == 1
    values = pa.array([bad, None, good, bad, good, bad], old)
    with pytest.raises(Lossy):
        fitted(values, new)
    assert misfits(values, new, 9) == [0, 3, 5]
    assert misfits(values, new, 2) == [0, 3]
    assert misfits(values.slice(2), new, 9) == [1, 3]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (pa.int64(), pa.timestamp("us")),
        (pa.timestamp("us"), pa.int64()),
        (pa.list_(pa.int64()), pa.int64()),
        (pa.struct([("a", pa.int64()), ("b", pa.int64())]), pa.struct([("a", pa.int64())])),
        (pa.list_(pa.int64()), pa.list_(pa.timestamp("us"))),
    ],
)
def test_types_that_are_not_each_others(old: pa.DataType, new: pa.DataType) -> None:
    with pytest.raises(Unlike):
        fitted(pa.nulls(1, old), new)


@given(st.lists(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**20), max_value=10**20)))
def test_a_decimal_that_becomes_a_double_is_written_as_it_was(numbers: list[Decimal]) -> None:
    values = pa.array(numbers, pa.decimal128(38, 4))
    exact = [n for n, one in enumerate(numbers) if Decimal(repr(float(one))) == one]
    wrong = misfits(values, pa.float64(), len(numbers) + 1)
    assert sorted({*exact, *wrong}) == list(range(len(numbers)))
    assert not set(exact) & set(wrong)
