from __future__ import annotations

import math

import pytest

from bascule.tracking.values import as_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (None, "null"),
        (0.5, "0.5"),
        ("null", "null"),
        ({"a": math.nan, "b": [None, (math.inf, 1)]}, '{"a":"NaN","b":[null,["Infinity",1]]}'),
    ],
)
def test_what_json_has_not_is_told_apart_from_null(value: object, text: str) -> None:
    assert as_text(value) == text
