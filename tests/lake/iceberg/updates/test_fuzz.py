"""Updates and requirements that are anything at all: taken, or refused in words; never an error of ours."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.errors import BasculeError
from bascule.lake.iceberg.updates import REQUIREMENTS, UPDATES, apply, created, demand
from bascule.lake.iceberg.updates.viewing import VIEW_UPDATES, apply_to_view, new_view

COLUMNS = {"type": "struct", "fields": [{"id": 1, "name": "id", "required": False, "type": "long"}]}
SNAPSHOT = {"snapshot-id": 1, "sequence-number": 1, "timestamp-ms": 1, "manifest-list": "/lake/t/x", "summary": {}}
GOOD: dict[str, Any] = {
    "uuid": "u",
    "format-version": 2,
    "schema": COLUMNS,
    "schema-id": 0,
    "schema-ids": [0],
    "spec": {"fields": [{"source-id": 1, "transform": "bucket[2]", "name": "b"}]},
    "spec-id": 0,
    "spec-ids": [0],
    "sort-order": {
        "fields": [{"source-id": 1, "transform": "identity", "direction": "asc", "null-order": "nulls-last"}]
    },
    "sort-order-id": 0,
    "snapshot": {**SNAPSHOT, "snapshot-id": 2, "sequence-number": 2},
    "snapshot-id": 1,
    "snapshot-ids": [1],
    "ref-name": "main",
    "ref": "main",
    "type": "branch",
    "location": "/lake/t",
    "updates": {"a": "b"},
    "removals": ["a"],
    "statistics": {"snapshot-id": 1, "statistics-path": "/lake/t/s"},
    "partition-statistics": {"snapshot-id": 1, "statistics-path": "/lake/t/s"},
    "encryption-key": {"key-id": "k"},
    "key-id": "k",
    "view-version": {"schema-id": 0, "representations": [{"type": "sql", "dialect": "a", "sql": "b"}]},
    "view-version-id": 1,
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*GOOD, "fields", "id", "name", "transform", "source-id"]), inner, max_size=4)
    ),
    max_leaves=8,
)


def places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value inside a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(place for key, found in inner for place in places(found, (*here, key)))]


@st.composite
def bent(draw: st.DrawFn, actions: Any, key: str) -> dict[str, Any]:
    """Make an update that is well formed but for one place."""
    made = {**copy.deepcopy(GOOD), key: draw(st.sampled_from(sorted(actions)))}
    *way, last = draw(st.sampled_from([place for place in places(made) if place and place != (key,)]))
    found: Any = made
    for step in way:
        found = found[step]
    if draw(st.booleans()):
        found[last] = draw(ANYTHING)
    else:
        del found[last]
    return made


def table() -> dict[str, Any]:
    made = created("u", "/lake/t", COLUMNS)
    ref = {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": 1}
    return apply(made, [{"action": "add-snapshot", "snapshot": SNAPSHOT}, ref])


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.lists(bent(UPDATES, "action"), min_size=1, max_size=3), st.booleans())
def test_updates(updates: list[dict[str, Any]], fresh: bool) -> None:
    with contextlib.suppress(BasculeError):
        found = apply(None if fresh else table(), updates)
        assert apply(found, [{"action": "set-properties", "updates": {"x": "y"}}])["properties"]["x"] == "y"
        msgspec.json.encode(found)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(bent(REQUIREMENTS, "type"))
def test_requirements(requirement: dict[str, Any]) -> None:
    with contextlib.suppress(BasculeError):
        demand(table(), requirement)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(st.lists(bent(VIEW_UPDATES, "action"), min_size=1, max_size=3))
def test_view_updates(updates: list[dict[str, Any]]) -> None:
    view = new_view("u", "/lake/v", COLUMNS, GOOD["view-version"], {})
    with contextlib.suppress(BasculeError):
        msgspec.json.encode(apply_to_view(view, updates))


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(ANYTHING, ANYTHING, ANYTHING)
def test_new_tables(schema: Any, spec: Any, order: Any) -> None:
    with contextlib.suppress(BasculeError):
        created("u", "/lake/t", schema, spec=spec, order=order)
