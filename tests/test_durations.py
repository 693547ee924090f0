"""Spans of time, read and written in one place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.durations import DAY, format_duration, parse_duration, rough_duration
from bascule.errors import InputError


@pytest.mark.parametrize(
    ("text", "micros"),
    [("30d", 30 * DAY), ("1.5h", 5_400_000_000), (" 250ms ", 250_000), ("1d12h", 3 * DAY // 2), ("0s", 0)],
)
def test_what_people_write_is_read(text: str, micros: int) -> None:
    assert parse_duration(text) == micros


@pytest.mark.parametrize("text", ["", "6", "h", "6 h", "-6h", "6h!", "6x", "1.h", "6h 3m"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"split\.embargo is .* which is not a span of time") as told:
        parse_duration(text, key="split.embargo")
    assert "1d12h" in told.value.hint


@given(st.integers(min_value=0, max_value=10**15))
def test_what_is_written_is_read_back(span: int) -> None:
    assert parse_duration(format_duration(span)) == span


@pytest.mark.parametrize("text", ["-1d", " -2h30m", "-0s"])
def test_a_span_is_not_negative(text: str) -> None:
    with pytest.raises(InputError, match=r"--keep is .* not a span of time: it is negative"):
        parse_duration(text, key="--keep")


@pytest.mark.parametrize(
    ("span", "text"),
    [(DAY + 7_384_000_000, "1d2h"), (61_900_000, "1m1s"), (5_000_000, "5s"), (12, "0s"), (8 * DAY + 3, "1w1d")],
)
def test_a_rough_span_has_two_units(span: int, text: str) -> None:
    assert rough_duration(span) == text
