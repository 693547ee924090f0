"""Updates one by one: what each changes, what each refuses, and what passes through that nobody here knows."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from bascule.errors import InputError
from bascule.lake.iceberg.updates import UPDATES, apply, created

COLUMNS = {
    "type": "struct",
    "schema-id": 0,
    "fields": [
        {"id": 1, "name": "id", "required": True, "type": "long"},
        {"id": 2, "name": "at", "required": False, "type": "timestamptz"},
    ],
}
BUCKETS = {"fields": [{"source-id": 1, "field-id": 1000, "transform": "bucket[4]", "name": "id_bucket"}]}
BY_TIME = {"fields": [{"source-id": 2, "transform": "identity", "direction": "asc", "null-order": "nulls-first"}]}


def table(version: int = 2) -> dict[str, Any]:
    return created("u-1", "/lake/t", COLUMNS, properties={"format-version": str(version)})


def snapshot(number: int, sequence: int, parent: int | None = None, **more: Any) -> dict[str, Any]:
    found = {
        "snapshot-id": number,
        "sequence-number": sequence,
        "timestamp-ms": 1_900_000_000_000 + sequence,
        "manifest-list": f"/lake/t/metadata/snap-{number}.avro",
        "summary": {"operation": "append"},
        "schema-id": 0,
        **more,
    }
    return found if parent is None else {**found, "parent-snapshot-id": parent}


def on_main(number: int) -> dict[str, Any]:
    return {"action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": number}


def added(*snapshots: dict[str, Any]) -> list[dict[str, Any]]:
    return [u for s in snapshots for u in ({"action": "add-snapshot", "snapshot": s}, on_main(s["snapshot-id"]))]


def filled() -> dict[str, Any]:
    found = apply(table(), added(snapshot(11, 1)))
    found = apply(found, added(snapshot(12, 2, 11)))
    return apply(
        found,
        [
            {"action": "set-snapshot-ref", "ref-name": "v1", "type": "tag", "snapshot-id": 11},
            {"action": "set-statistics", "statistics": {"snapshot-id": 12, "statistics-path": "/lake/t/metadata/s"}},
        ],
    )


def test_nothing_that_changes_nothing_is_written() -> None:
    before = filled()
    same = [
        {"action": "assign-uuid", "uuid": "u-1"},
        {"action": "upgrade-format-version", "format-version": 2},
        {"action": "add-schema", "schema": COLUMNS},
        {"action": "set-current-schema", "schema-id": -1},
        {"action": "add-spec", "spec": {"fields": []}},
        {"action": "set-default-spec", "spec-id": -1},
        {"action": "add-sort-order", "sort-order": {"fields": []}},
        {"action": "set-default-sort-order", "sort-order-id": -1},
        {"action": "set-location", "location": "/lake/t/"},
        on_main(12),
        {"action": "remove-properties", "removals": ["not there"]},
        {"action": "remove-snapshots", "snapshot-ids": [99]},
    ]
    assert apply(before, same) is before


def test_the_argument_stays_as_it_is() -> None:
    before = filled()
    kept = copy.deepcopy(before)
    apply(before, [{"action": "remove-snapshots", "snapshot-ids": [11]}, *added(snapshot(13, 3, 12))])
    assert before == kept


def test_facts_that_nobody_knows_pass_through() -> None:
    before = {**filled(), "a-newer-fact": {"x": [1]}}
    before["schemas"][0]["fields"].append(
        {"id": 3, "name": "where", "required": False, "type": "geometry(OGC:CRS84)", "newer": True}
    )
    after = apply(before, [{"action": "set-properties", "updates": {"a": "b"}}])
    assert after["a-newer-fact"] == {"x": [1]}
    assert after["schemas"] == before["schemas"]
    assert after["properties"]["a"] == "b"


def test_schemas() -> None:
    wider = {
        **COLUMNS,
        "fields": [*COLUMNS["fields"], {"id": 3, "name": "x", "required": False, "type": "int", "doc": "d"}],
    }
    after = apply(
        table(), [{"action": "add-schema", "schema": wider}, {"action": "set-current-schema", "schema-id": -1}]
    )
    assert (after["current-schema-id"], after["last-column-id"]) == (1, 3)
    assert after["schemas"][1]["fields"][2]["doc"] == "d"
    again = apply(
        after, [{"action": "add-schema", "schema": COLUMNS}, {"action": "set-current-schema", "schema-id": -1}]
    )
    assert (again["current-schema-id"], len(again["schemas"])) == (0, 2)
    assert [s["schema-id"] for s in apply(again, [{"action": "remove-schemas", "schema-ids": [1]}])["schemas"]] == [0]


def test_specs_and_orders() -> None:
    after = apply(
        table(),
        [
            {"action": "add-spec", "spec": BUCKETS},
            {"action": "set-default-spec", "spec-id": -1},
            {"action": "add-sort-order", "sort-order": BY_TIME},
            {"action": "set-default-sort-order", "sort-order-id": -1},
        ],
    )
    assert (after["default-spec-id"], after["last-partition-id"], after["default-sort-order-id"]) == (1, 1000, 1)
    # Java adds an order again that the table has, in CREATE OR REPLACE.
    again = apply(
        after,
        [
            {"action": "add-sort-order", "sort-order": {"order-id": 1, **BY_TIME}},
            {"action": "set-default-sort-order", "sort-order-id": -1},
        ],
    )
    assert again is after
    # A field without an id of its own gets that of its like, or a fresh one.
    parts = [{"source-id": 1, "transform": "bucket[4]", "name": "b"}, {"source-id": 2, "transform": "day", "name": "d"}]
    spec = apply(after, [{"action": "add-spec", "spec": {"fields": parts}}])["partition-specs"][-1]
    assert [part["field-id"] for part in spec["fields"]] == [1000, 1001]
    fewer = apply(after, [{"action": "remove-partition-specs", "spec-ids": [0]}])
    assert [spec["spec-id"] for spec in fewer["partition-specs"]] == [1]


def test_snapshots_and_the_log() -> None:
    after = filled()
    assert after["current-snapshot-id"] == 12
    assert after["last-sequence-number"] == 2
    assert after["last-updated-ms"] >= 1_900_000_000_002
    assert [entry["snapshot-id"] for entry in after["snapshot-log"]] == [11, 12]
    # What was current only within one commit was never seen.
    twice = apply(after, added(snapshot(13, 3, 12), snapshot(14, 4, 13)))
    assert [entry["snapshot-id"] for entry in twice["snapshot-log"]] == [11, 12, 14]
    back = apply(after, [on_main(11)])
    assert back["current-snapshot-id"] == 11
    assert back["last-updated-ms"] >= after["last-updated-ms"]


def test_snapshots_that_go_take_along_what_is_about_them() -> None:
    after = apply(filled(), [{"action": "remove-snapshots", "snapshot-ids": [11]}])
    assert list(after["refs"]) == ["main"]
    assert [entry["snapshot-id"] for entry in after["snapshot-log"]] == [12]
    after = apply(filled(), [{"action": "remove-snapshots", "snapshot-ids": [12]}])
    assert "current-snapshot-id" not in after
    assert (list(after["refs"]), after["statistics"], after["snapshot-log"]) == (["v1"], [], [])


def test_refs() -> None:
    told = {"min-snapshots-to-keep": 3, "max-snapshot-age-ms": 5, "max-ref-age-ms": 7}
    branch = {"action": "set-snapshot-ref", "ref-name": "b", "type": "branch", "snapshot-id": 11, **told}
    after = apply(filled(), [branch])
    assert after["refs"]["b"] == {"snapshot-id": 11, "type": "branch", **told}
    assert after["current-snapshot-id"] == 12
    gone = apply(after, [{"action": "remove-snapshot-ref", "ref-name": "main"}])
    assert "current-snapshot-id" not in gone
    assert gone["snapshot-log"] == []
    assert sorted(gone["refs"]) == ["b", "v1"]


def test_statistics() -> None:
    file = {"snapshot-id": 12, "statistics-path": "/lake/t/metadata/p", "file-size-in-bytes": 1}
    after = apply(filled(), [{"action": "set-partition-statistics", "partition-statistics": file}])
    assert after["partition-statistics"] == [file]
    after = apply(
        after,
        [
            {"action": "remove-partition-statistics", "snapshot-id": 12},
            {"action": "remove-statistics", "snapshot-id": 12},
        ],
    )
    assert (after["partition-statistics"], after["statistics"]) == ([], [])


def test_keys() -> None:
    key = {"key-id": "k", "encrypted-key-metadata": "AA=="}
    after = apply(table(3), [{"action": "add-encryption-key", "encryption-key": key}])
    assert after["encryption-keys"] == [key]
    assert apply(after, [{"action": "remove-encryption-key", "key-id": "k"}])["encryption-keys"] == []


def test_version_3_counts_rows() -> None:
    after = apply(table(3), added(snapshot(11, 1, **{"first-row-id": 0, "added-rows": 10})))
    assert after["next-row-id"] == 10
    upgraded = apply(filled(), [{"action": "upgrade-format-version", "format-version": 3}])
    assert (upgraded["format-version"], upgraded["next-row-id"]) == (3, 0)
    with pytest.raises(InputError, match="first-row-id is null"):
        apply(after, added(snapshot(12, 2, 11)))
    with pytest.raises(InputError, match="first-row-id behind table next-row-id: 5 < 10"):
        apply(after, added(snapshot(12, 2, 11, **{"first-row-id": 5, "added-rows": 1})))


def test_version_1_says_some_things_twice() -> None:
    after = apply(table(1), [{"action": "add-spec", "spec": BUCKETS}, {"action": "set-default-spec", "spec-id": -1}])
    assert after["schema"] == after["schemas"][0]
    assert after["partition-spec"] == after["partition-specs"][1]["fields"]
    assert "last-sequence-number" not in after
    second = apply(after, [{"action": "upgrade-format-version", "format-version": 2}])
    assert "schema" not in second
    assert second["last-sequence-number"] == 0
    # A document of an old engine, without the lists.
    old = {
        k: v for k, v in after.items() if k not in ("schemas", "partition-specs", "sort-orders", "last-partition-id")
    }
    old = apply({**old, "current-snapshot-id": -1}, [{"action": "set-properties", "updates": {"a": "b"}}])
    assert old["schemas"] == after["schemas"]
    assert old["last-partition-id"] == 1000


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"action": "dance"}, "no update 'dance'"),
    ({"action": "assign-uuid", "uuid": "u-2"}, "Cannot reassign uuid"),
    ({"action": "upgrade-format-version", "format-version": 1}, "Cannot downgrade v2 table to v1"),
    ({"action": "upgrade-format-version", "format-version": 9}, "unsupported format version: v9"),
    ({"action": "upgrade-format-version", "format-version": "3"}, "Wanted is a whole number|has '3'"),
    ({"action": "add-schema", "schema": {"type": "struct"}}, "The schema is not one"),
    ({"action": "set-current-schema", "schema-id": -1}, "no schema has been added"),
    ({"action": "set-current-schema", "schema-id": 8}, "unknown schema: 8"),
    ({"action": "set-default-spec", "spec-id": -1}, "no spec has been added"),
    ({"action": "set-default-spec", "spec-id": 8}, "unknown spec: 8"),
    ({"action": "set-default-sort-order", "sort-order-id": -1}, "no sort order has been added"),
    ({"action": "set-default-sort-order", "sort-order-id": 8}, "unknown sort order: 8"),
    (
        {"action": "add-spec", "spec": {"fields": [{"source-id": 9, "transform": "day", "name": "d"}]}},
        "Cannot find source column",
    ),
    (
        {"action": "add-spec", "spec": {"fields": [{"source-id": 1, "transform": "day", "name": "d"}]}},
        "Invalid source type long for transform: day",
    ),
    (
        {"action": "add-spec", "spec": {"fields": [{"source-id": 1, "transform": "bucket[4]", "name": "at"}]}},
        "name that exists in schema: at",
    ),
    (
        {"action": "add-sort-order", "sort-order": {"fields": [{"source-id": 1, "transform": "identity"}]}},
        "no direction or null order",
    ),
    ({"action": "add-snapshot", "snapshot": snapshot(12, 3)}, "Snapshot already exists for id: 12"),
    ({"action": "add-snapshot", "snapshot": snapshot(13, 2, 12)}, "sequence number 2 older than last"),
    ({"action": "add-snapshot", "snapshot": {}}, "lacks the key"),
    (on_main(99), "Cannot set main to unknown snapshot: 99"),
    ({"action": "set-snapshot-ref", "ref-name": "main", "type": "tag", "snapshot-id": 11}, "it must be a branch"),
    (
        {
            "action": "set-snapshot-ref",
            "ref-name": "t",
            "type": "tag",
            "snapshot-id": 11,
            "min-snapshots-to-keep": 1,
        },
        "Tags do not support",
    ),
    ({"action": "remove-schemas", "schema-ids": [0]}, "Cannot remove the current schema"),
    ({"action": "remove-partition-specs", "spec-ids": [0]}, "Cannot remove the default partition spec"),
    ({"action": "set-properties", "updates": {"a": 1}}, "are texts"),
    ({"action": "enable-row-lineage"}, "row lineage"),
    ({"action": "set-location"}, "lacks the key 'location'"),
]


@pytest.mark.parametrize(("update", "said"), REFUSED, ids=lambda value: str(value)[:60])
def test_what_is_refused(update: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        apply(filled(), [update])


def test_every_update_is_tried_here() -> None:
    text = Path(__file__).read_text("utf-8")
    assert [name for name in UPDATES if f'"{name}"' not in text] == []


def column(kind: Any, **more: Any) -> dict[str, Any]:
    return {"type": "struct", "fields": [{"id": 1, "name": "c", "required": False, "type": kind, **more}]}


@pytest.mark.parametrize("kind", ["timestamp_ns", "timestamptz_ns", "variant", "unknown", "geometry(srid:3857)"])
def test_types_of_version_3_need_it(kind: str) -> None:
    schema = column({"type": "list", "element-id": 2, "element": kind, "element-required": False})
    with pytest.raises(InputError, match=r"Invalid type for c\.element: .* is not supported until v3"):
        created("u", "/lake/t", schema)
    made = created("u", "/lake/t", schema, properties={"format-version": "3"})
    assert made["schemas"][0]["fields"][0]["type"]["element"] == kind


@pytest.mark.parametrize("version", ["2", "3"])
@pytest.mark.parametrize("kind", ["nonsense", "", "Long", "decimal", "fixed", {"type": "row", "fields": []}])
def test_a_type_that_iceberg_does_not_have_is_refused(kind: Any, version: str) -> None:
    for schema in (column(kind), column({"type": "list", "element-id": 2, "element": kind, "element-required": False})):
        with pytest.raises(InputError, match=r"Invalid schema: the type .* of column 'c(\.element)?' is none of"):
            created("u", "/lake/t", schema, properties={"format-version": version})


def test_defaults_of_version_3_need_it_and_are_kept() -> None:
    schema = column("int", **{"initial-default": 3, "write-default": 4})
    with pytest.raises(InputError, match="Invalid initial default for c"):
        created("u", "/lake/t", schema)
    made = created("u", "/lake/t", schema, properties={"format-version": "3"})
    assert made["schemas"][0]["fields"][0]["initial-default"] == 3
    assert "format-version" not in made["properties"]


def test_fresh_ids_come_in_java_s_order() -> None:
    point = {"type": "struct", "fields": [{"id": 90, "name": "lat", "required": True, "type": "float"}]}
    schema = {
        "type": "struct",
        "schema-id": 7,
        "identifier-field-ids": [40],
        "fields": [
            {"id": 40, "name": "id", "required": True, "type": "long"},
            {"id": 50, "name": "where", "required": False, "type": point},
            {
                "id": 60,
                "name": "tags",
                "required": False,
                "type": {"type": "map", "key-id": 70, "key": "string", "value-id": 80, "value": point | {}},
            },
            {"id": 61, "name": "last", "required": False, "type": "date"},
        ],
    }
    schema["fields"][2]["type"]["value"] = {
        "type": "list",
        "element-id": 91,
        "element": "int",
        "element-required": True,
    }
    spec = {"spec-id": 5, "fields": [{"source-id": 61, "field-id": 1200, "transform": "year", "name": "y"}]}
    order = {"order-id": 9, **BY_TIME, "fields": [{**BY_TIME["fields"][0], "source-id": 40}]}
    made = created("u", "/lake/t", schema, spec=spec, order=order)
    fields = made["schemas"][0]["fields"]
    assert [field["id"] for field in fields] == [1, 2, 3, 4]
    assert fields[1]["type"]["fields"][0]["id"] == 5
    assert (fields[2]["type"]["key-id"], fields[2]["type"]["value-id"]) == (6, 7)
    assert fields[2]["type"]["value"]["element-id"] == 8
    assert made["schemas"][0]["identifier-field-ids"] == [1]
    assert made["last-column-id"] == 8
    assert made["partition-specs"][0]["fields"][0] == {
        "source-id": 4,
        "field-id": 1000,
        "transform": "year",
        "name": "y",
    }
    assert (made["last-partition-id"], made["default-sort-order-id"]) == (1000, 1)
    assert made["sort-orders"][0]["fields"][0]["source-id"] == 1


@pytest.mark.parametrize(
    "fields",
    [
        [{"id": 1, "name": "a", "type": "int"}, {"id": 1, "name": "b", "type": "int"}],
        [{"id": 1, "name": "a", "type": "int"}, {"id": 2, "name": "A", "type": "int"}],
        [{"id": "1", "name": "a", "type": "int"}],
        [{"id": 1, "name": "a"}],
        [{"id": 1, "name": "", "type": "int"}],
        [{"id": 1, "name": "a", "type": {"type": "list"}}],
        [3],
        "no",
    ],
    ids=str,
)
def test_schemas_that_are_none(fields: Any) -> None:
    with pytest.raises(InputError):
        created("u", "/lake/t", {"type": "struct", "fields": fields})
