"""Bounds are on the right side of every value, for every value."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.lake.iceberg import bounds


@given(st.text())
def test_text_lies_between_its_bounds(value: str) -> None:
    low, high = bounds.lower("string", value), bounds.upper("string", value)
    assert low is not None
    assert low <= value.encode()
    assert high is None or high >= value.encode()
    assert high is None or len(high.decode()) <= bounds.CUT


@given(st.binary())
def test_bytes_lie_between_their_bounds(value: bytes) -> None:
    low, high = bounds.lower("binary", value), bounds.upper("binary", value)
    assert low is not None
    assert low <= value
    assert high is None or high >= value


@given(st.decimals(allow_nan=False, allow_infinity=False, places=9, min_value=-(10**28), max_value=10**28))
def test_decimals_come_back_exactly(value: Decimal) -> None:
    data = bounds.lower("decimal(38,9)", value)
    assert data is not None
    assert bounds.decode("decimal(38,9)", data) == value
    number = int.from_bytes(data, "big", signed=True)
    assert len(data) == 1 or not -(2 ** (8 * len(data) - 9)) <= number < 2 ** (8 * len(data) - 9)  # no byte too many


@given(st.integers(-(2**63), 2**63 - 1))
def test_longs_come_back(value: int) -> None:
    data = bounds.lower("long", value)
    assert data is not None
    assert bounds.decode("long", data) == value


@pytest.mark.parametrize(("kind", "short", "value"), [("long", "int", -7), ("double", "float", 0.5)])
def test_a_widened_column_keeps_the_short_bounds_of_its_old_files(kind: str, short: str, value: float) -> None:
    data = bounds.lower(short, value)
    assert data is not None
    assert bounds.decode(kind, data) == value


def test_times_are_compared_as_bounds_hold_them() -> None:
    moment = dt.datetime(2013, 1, 1, 5, tzinfo=dt.timezone(dt.timedelta(hours=-5)))
    assert bounds.comparable("timestamptz", moment) == 1357034400_000000
    assert bounds.comparable("date", dt.date(1970, 1, 2)) == 1
    assert bounds.comparable("timestamp", dt.date(1970, 1, 2)) == 86_400_000_000
    assert bounds.comparable("time", dt.time(0, 0, 1)) == 1_000_000
