"""The engine beside pyiceberg's `update_table_metadata`: any row of commits leaves both with the same table."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from pyiceberg.table.metadata import TableMetadataUtil
from pyiceberg.table.update import TableRequirement, TableUpdate, update_table_metadata

from bascule.lake.iceberg.updates import RequirementFailed, apply, created, demand

UPDATES: TypeAdapter[Any] = TypeAdapter(tuple[TableUpdate, ...])
REQUIREMENT: TypeAdapter[Any] = TypeAdapter(TableRequirement)

COLUMNS = {
    "type": "struct",
    "schema-id": 0,
    "fields": [
        {"id": 1, "name": "id", "required": True, "type": "long"},
        {"id": 2, "name": "name", "required": False, "type": "string"},
        {"id": 3, "name": "at", "required": False, "type": "timestamp"},
    ],
}

STEPS = (
    "column",
    "spec",
    "order",
    "append",
    "tag",
    "branch",
    "untag",
    "expire",
    "set",
    "unset",
    "statistics",
    "unstatistics",
    "forget schema",
    "forget spec",
    "back",
)


def commit(table: dict[str, Any], step: str, draw: int) -> list[dict[str, Any]]:
    """Return the updates that a client would send for a step, or none when the step makes no sense now."""
    snapshots = [s["snapshot-id"] for s in table["snapshots"]]
    current = table.get("current-snapshot-id")
    number = 1000 + len(table["snapshot-log"]) * 100 + draw
    match step:
        case "column":
            last = table["last-column-id"] + 1
            old = next(s for s in table["schemas"] if s["schema-id"] == table["current-schema-id"])
            fields = [*old["fields"], {"id": last, "name": f"c{last}", "required": False, "type": "int"}]
            new = max(s["schema-id"] for s in table["schemas"]) + 1
            schema = {"type": "struct", "schema-id": new, "fields": fields}
            return [{"action": "add-schema", "schema": schema}, {"action": "set-current-schema", "schema-id": -1}]
        case "spec":
            new = max(s["spec-id"] for s in table["partition-specs"]) + 1
            last = table["last-partition-id"] + 1
            field = {"source-id": 1, "field-id": last, "transform": f"bucket[{last}]", "name": f"b{last}"}
            spec = {"spec-id": new, "fields": [field]}
            return [{"action": "add-spec", "spec": spec}, {"action": "set-default-spec", "spec-id": -1}]
        case "order":
            new = max(s["order-id"] for s in table["sort-orders"]) + 1
            field = {"source-id": 1, "transform": f"bucket[{new}]", "direction": "asc", "null-order": "nulls-first"}
            order = {"order-id": new, "fields": [field]}
            return [
                {"action": "add-sort-order", "sort-order": order},
                {"action": "set-default-sort-order", "sort-order-id": -1},
            ]
        case "append":
            if number in snapshots:
                return []
            snapshot = {
                "snapshot-id": number,
                "sequence-number": table["last-sequence-number"] + 1,
                "timestamp-ms": table["last-updated-ms"] + 10,
                "manifest-list": f"/lake/t/metadata/{number}.avro",
                "summary": {"operation": "append", "added-records": str(draw)},
                "schema-id": table["current-schema-id"],
                **({"parent-snapshot-id": current} if current else {}),
            }
            ref = {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": number}
            return [{"action": "add-snapshot", "snapshot": snapshot}, ref]
        case "tag" | "branch" if snapshots:
            chosen = snapshots[draw % len(snapshots)]
            return [{"action": "set-snapshot-ref", "ref-name": f"{step}{draw}", "type": step, "snapshot-id": chosen}]
        case "untag":
            names = [name for name in table["refs"] if name != "main"]
            return [{"action": "remove-snapshot-ref", "ref-name": names[draw % len(names)]}] if names else []
        case "expire":
            oldest = snapshots[:1]
            return [{"action": "remove-snapshots", "snapshot-ids": oldest}] if oldest and oldest[0] != current else []
        case "set":
            return [{"action": "set-properties", "updates": {f"p{draw}": str(draw), "q": "1"}}]
        case "unset" if "q" in table["properties"]:
            return [{"action": "remove-properties", "removals": ["q"]}]
        case "statistics" if snapshots:
            file = {
                "snapshot-id": snapshots[draw % len(snapshots)],
                "statistics-path": f"/lake/t/metadata/{draw}.puffin",
                "file-size-in-bytes": draw,
                "file-footer-size-in-bytes": 1,
                "blob-metadata": [],
            }
            return [{"action": "set-statistics", "statistics": file}]
        case "unstatistics" if table["statistics"]:
            return [{"action": "remove-statistics", "snapshot-id": table["statistics"][0]["snapshot-id"]}]
        case "forget schema":
            ids = [s["schema-id"] for s in table["schemas"] if s["schema-id"] != table["current-schema-id"]]
            return [{"action": "remove-schemas", "schema-ids": ids[:1]}] if ids else []
        case "forget spec":
            ids = [s["spec-id"] for s in table["partition-specs"] if s["spec-id"] != table["default-spec-id"]]
            return [{"action": "remove-partition-specs", "spec-ids": ids[:1]}] if ids else []
        case "back" if snapshots:
            chosen = snapshots[draw % len(snapshots)]
            return [{"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": chosen}]
    return []


def told(metadata: Any) -> dict[str, Any]:
    """Return what both must agree on."""
    found: dict[str, Any] = metadata.model_dump(by_alias=True, exclude_none=True)
    for moving in ("last-updated-ms", "metadata-log"):
        found.pop(moving, None)
    for snapshot in found["snapshots"]:  # pyiceberg takes a parent away that is gone; Java, and we, do not
        snapshot.pop("parent-snapshot-id", None)
    for entry in found["snapshot-log"]:  # going back is stamped with the time of day
        entry.pop("timestamp-ms")
    return found


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 5)), min_size=1, max_size=14))
def test_both_engines_agree(steps: list[tuple[str, int]]) -> None:
    ours = created("9c12d441-03fe-4693-9a96-a0705ddf69c1", "/lake/t", COLUMNS)
    theirs = TableMetadataUtil.parse_obj(copy.deepcopy(ours))
    for step, draw in steps:
        updates = commit(ours, step, draw)
        ours = apply(ours, updates)
        theirs = update_table_metadata(theirs, UPDATES.validate_python(copy.deepcopy(updates)))
        assert told(TableMetadataUtil.parse_obj(copy.deepcopy(ours))) == told(theirs), step


ASKED = st.one_of(
    st.fixed_dictionaries(
        {
            "type": st.just("assert-ref-snapshot-id"),
            "ref": st.sampled_from(["main", "tag1", "none"]),
            "snapshot-id": st.sampled_from([None, 1001, 1102]),
        }
    ),
    st.fixed_dictionaries(
        {"type": st.just("assert-last-assigned-field-id"), "last-assigned-field-id": st.integers(2, 5)}
    ),
    st.fixed_dictionaries({"type": st.just("assert-current-schema-id"), "current-schema-id": st.integers(0, 2)}),
    st.fixed_dictionaries({"type": st.just("assert-default-spec-id"), "default-spec-id": st.integers(0, 2)}),
    st.fixed_dictionaries(
        {"type": st.just("assert-last-assigned-partition-id"), "last-assigned-partition-id": st.integers(998, 1001)}
    ),
    st.fixed_dictionaries(
        {"type": st.just("assert-default-sort-order-id"), "default-sort-order-id": st.integers(0, 1)}
    ),
    st.fixed_dictionaries({"type": st.just("assert-create")}),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["column", "spec", "append", "tag"]), max_size=4), ASKED)
def test_both_engines_demand_alike(steps: list[str], requirement: dict[str, Any]) -> None:
    table = created("9c12d441-03fe-4693-9a96-a0705ddf69c1", "/lake/t", COLUMNS)
    for step in ["append", *steps]:  # pyiceberg has an opinion of its own on tables without a snapshot
        table = apply(table, commit(table, step, 1))
    theirs = TableMetadataUtil.parse_obj(copy.deepcopy(table))
    try:
        REQUIREMENT.validate_python(requirement).validate(theirs)
    except Exception:
        with pytest.raises(RequirementFailed):
            demand(table, requirement)
    else:
        demand(table, requirement)
