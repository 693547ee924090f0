"""Requirements: each holds of the table it was made from, and fails in Java's words when the table has moved on."""

from __future__ import annotations

from typing import Any

import pytest

from bascule.errors import InputError
from bascule.lake.iceberg.updates import REQUIREMENTS, RequirementFailed, demand

TABLE: dict[str, Any] = {
    "format-version": 2,
    "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1",
    "last-column-id": 3,
    "current-schema-id": 1,
    "last-partition-id": 1001,
    "default-spec-id": 2,
    "default-sort-order-id": 4,
    "refs": {"main": {"snapshot-id": 7, "type": "branch"}, "v1": {"snapshot-id": 5, "type": "tag"}},
}

HOLD = [
    {"type": "assert-table-uuid", "uuid": "9C12D441-03FE-4693-9A96-A0705DDF69C1"},
    {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 7},
    {"type": "assert-ref-snapshot-id", "ref": "v1", "snapshot-id": 5},
    {"type": "assert-ref-snapshot-id", "ref": "none", "snapshot-id": None},
    {"type": "assert-last-assigned-field-id", "last-assigned-field-id": 3},
    {"type": "assert-current-schema-id", "current-schema-id": 1},
    {"type": "assert-last-assigned-partition-id", "last-assigned-partition-id": 1001},
    {"type": "assert-default-spec-id", "default-spec-id": 2},
    {"type": "assert-default-sort-order-id", "default-sort-order-id": 4},
]

FAIL = [
    (
        {"type": "assert-table-uuid", "uuid": "2cbf"},
        "UUID does not match: expected 9c12d441-03fe-4693-9a96-a0705ddf69c1 != 2cbf",
    ),
    (
        {"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": 6},
        "branch main has changed: expected id 6 != 7",
    ),
    ({"type": "assert-ref-snapshot-id", "ref": "main", "snapshot-id": None}, "branch main was created concurrently"),
    ({"type": "assert-ref-snapshot-id", "ref": "v1"}, "tag v1 was created concurrently"),
    ({"type": "assert-ref-snapshot-id", "ref": "no", "snapshot-id": 1}, "branch or tag no is missing, expected 1"),
    (
        {"type": "assert-last-assigned-field-id", "last-assigned-field-id": 2},
        "last assigned field id changed: expected id 2 != 3",
    ),
    ({"type": "assert-current-schema-id", "current-schema-id": 0}, "current schema changed: expected id 0 != 1"),
    (
        {"type": "assert-last-assigned-partition-id", "last-assigned-partition-id": 1000},
        "last assigned partition id changed: expected id 1000 != 1001",
    ),
    ({"type": "assert-default-spec-id", "default-spec-id": 0}, "default partition spec changed: expected id 0 != 2"),
    (
        {"type": "assert-default-sort-order-id", "default-sort-order-id": 0},
        "default sort order changed: expected id 0 != 4",
    ),
    ({"type": "assert-create"}, "table already exists"),
]


def test_every_requirement_is_tried_here() -> None:
    assert {r["type"] for r in HOLD} == set(REQUIREMENTS) == {r["type"] for r, _ in FAIL} - {"assert-create"}


@pytest.mark.parametrize("requirement", HOLD, ids=str)
def test_what_holds(requirement: dict[str, Any]) -> None:
    demand(TABLE, requirement)


@pytest.mark.parametrize(("requirement", "said"), FAIL, ids=str)
def test_what_fails(requirement: dict[str, Any], said: str) -> None:
    with pytest.raises(RequirementFailed) as caught:
        demand(TABLE, requirement)
    assert caught.value.message == f"Requirement failed: {said}"


def test_a_table_that_is_not_there() -> None:
    demand(None, {"type": "assert-create"})
    with pytest.raises(RequirementFailed, match="table does not exist"):
        demand(None, HOLD[0])


def test_requirements_that_are_none() -> None:
    with pytest.raises(InputError, match=r"no requirement of the type 'assert-luck'.*"):
        demand(TABLE, {"type": "assert-luck"})
    with pytest.raises(InputError, match="lacks the key 'uuid'"):
        demand(TABLE, {"type": "assert-table-uuid"})
