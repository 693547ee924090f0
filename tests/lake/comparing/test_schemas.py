"""How the columns of two states differ."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bascule.lake.comparing import column_changes
from bascule.lake.iceberg.schemas import Field


def field(number: int, name: str, kind: Any = "long", required: bool = False) -> Field:
    return {"id": number, "name": name, "type": kind, "required": required}


def changes(before: list[Field], after: list[Field], **settings: bool) -> list[tuple[str, str, str, str]]:
    found = column_changes({"fields": before}, {"fields": after}, **settings)
    return [(one.kind, one.column, one.before, one.after) for one in found]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([field(1, "a")], [field(1, "a"), field(2, "b")], ("added", "b", "", "BIGINT")),
        ([field(1, "a"), field(2, "b")], [field(2, "b")], ("dropped", "a", "BIGINT", "")),
        ([field(1, "a")], [field(1, "b")], ("renamed", "b", "a", "b")),
        ([field(1, "a", "int")], [field(1, "a")], ("widened", "a", "INTEGER", "BIGINT")),
        (
            [field(1, "a", "decimal(9, 2)")],
            [field(1, "a", "decimal(18, 2)")],
            ("widened", "a", "DECIMAL(9, 2)", "DECIMAL(18, 2)"),
        ),
        ([field(1, "a")], [field(1, "a", "string")], ("retyped", "a", "BIGINT", "VARCHAR")),
        ([field(1, "a", required=True)], [field(1, "a")], ("nullable", "a", "required", "optional")),
        (
            [field(1, "a"), field(2, "b"), field(3, "c")],
            [field(3, "c"), field(1, "a"), field(2, "b")],
            ("moved", "c", "3", "1"),
        ),
    ],
)
def test_one_change(before: list[Field], after: list[Field], expected: tuple[str, ...]) -> None:
    assert changes(before, after) == [expected]
    assert changes(before, before) == []


def test_a_column_that_was_dropped_and_made_again_is_another(  # its id says so: its values are gone
) -> None:
    assert [kind for kind, *_ in changes([field(1, "a")], [field(2, "a")])] == ["dropped", "added"]


def test_columns_of_another_table_are_matched_by_name() -> None:
    before, after = [field(1, "A"), field(2, "b")], [field(7, "a"), field(1, "c")]
    assert changes(before, after, by_name=True) == [
        ("renamed", "a", "A", "a"),
        ("dropped", "b", "BIGINT", ""),
        ("added", "c", "", "BIGINT"),
    ]


@given(st.permutations(range(6)))
def test_as_few_columns_as_possible_are_said_to_have_moved(order: list[int]) -> None:
    before = [field(number, f"c{number}") for number in range(6)]
    moved = {column for kind, column, *_ in changes(before, [before[number] for number in order])}
    stayed = [number for number in order if f"c{number}" not in moved]
    assert stayed == sorted(stayed)
    longest = [1] * 6
    for at in range(6):
        longest[at] = 1 + max((longest[i] for i in range(at) if order[i] < order[at]), default=0)
    assert len(stayed) == max(longest)
