"""Partition specs and sort orders as clients send them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bascule.errors import InputError
from bascule.lake.iceberg.metadata import Metadata
from bascule.lake.iceberg.schemas import Schema
from bascule.lake.iceberg.updates import columns
from bascule.lake.iceberg.updates.draft import FIRST_PARTITION_ID

Spec = dict[str, Any]
Order = dict[str, Any]

_TRANSFORM = re.compile(r"^(identity|void|year|month|day|hour|bucket\[[1-9]\d*\]|truncate\[[1-9]\d*\])$")
_TIMES = ("timestamp", "timestamptz", "timestamp_ns", "timestamptz_ns")
# Kinds of transforms and the column types that they take.
_TAKES = {
    "year": ("date", *_TIMES),
    "month": ("date", *_TIMES),
    "day": ("date", *_TIMES),
    "hour": _TIMES,
    "truncate": ("int", "long", "string", "binary", "decimal"),
    "bucket": ("int", "long", "decimal", "date", "time", *_TIMES, "string", "uuid", "fixed", "binary"),
}


def checked_spec(spec: Any, schema: Schema, document: Metadata) -> Spec:
    """Return a partition spec with an id for every field, if a table can have it.

    A field that an older spec has too gets the id that it has there.

    Raises:
        InputError: for a column that is not there, a transform that it does not take, or a name that is taken.
    """
    names = dict(columns.fields_of(schema))
    last = int(document["last-partition-id"])
    parts: list[dict[str, Any]] = []
    for part in _fields(spec, "partition spec"):
        part = _single_source(part)
        source = _source(part, schema, "partition")
        name = part.get("name")
        if not isinstance(name, str) or not name or any(name == other["name"] for other in parts):
            raise InputError(f"Cannot use partition name more than once: {name}")
        if name in names and (part["transform"] != "identity" or names[name]["id"] != source["id"]):
            raise InputError(f"Cannot create partition with a name that exists in schema: {name}")
        if part.get("field-id") is None:
            known = _known(part, document)
            last = last if known else last + 1
            part = {**part, "field-id": known or last}
        parts.append(part)
    if document["format-version"] == 1:
        for place, part in enumerate(parts):
            if part["field-id"] != FIRST_PARTITION_ID + place:
                raise InputError(f"Spec does not use sequential IDs that are required in v1: {spec}")
    return {**spec, "fields": parts}


def checked_order(order: Any, schema: Schema) -> Order:
    """Return a sort order if a table can have it.

    Raises:
        InputError: for a column that is not there, or a transform that it does not take.
    """
    parts = []
    for part in _fields(order, "sort order"):
        part = _single_source(part)
        _source(part, schema, "sort")
        if part.get("direction") not in ("asc", "desc") or part.get("null-order") not in ("nulls-first", "nulls-last"):
            raise InputError(
                f"The sort field on column {part['source-id']} has no direction or null order.",
                hint='Send "direction": "asc" or "desc", "null-order": "nulls-first" or "nulls-last".',
            )
        parts.append(part)
    return {**order, "fields": parts}


def compatible(a: Spec, b: Spec) -> bool:
    """Tell whether two specs divide rows alike and name it alike, whatever their ids."""
    told = [[(_sources(f), f["transform"], f["name"]) for f in spec["fields"]] for spec in (a, b)]
    return told[0] == told[1]


def same_order(a: Order, b: Order) -> bool:
    """Tell whether two orders sort alike."""
    told = [
        [(_sources(f), f["transform"], f["direction"], f["null-order"]) for f in order["fields"]] for order in (a, b)
    ]
    return told[0] == told[1]


def freshened_spec(spec: Spec, ids: Mapping[int, int]) -> Spec:
    """Return a new table's spec, with the columns' fresh ids and fresh ids of its own."""
    fields = [
        {**_renumbered(part, ids), "field-id": FIRST_PARTITION_ID + place}
        for place, part in enumerate(_fields(spec, "partition spec"))
    ]
    return {**spec, "spec-id": 0, "fields": fields}


def freshened_order(order: Order, ids: Mapping[int, int]) -> Order:
    """Return a new table's sort order, with the columns' fresh ids."""
    fields = [_renumbered(part, ids) for part in _fields(order, "sort order")]
    return {**order, "order-id": 1 if fields else 0, "fields": fields}


def _renumbered(part: Mapping[str, Any], ids: Mapping[int, int]) -> dict[str, Any]:
    part = _single_source(part)
    if part.get("source-id") not in ids:
        raise InputError(f"Cannot find source column with id {part.get('source-id')} in schema.")
    return {**part, "source-id": ids[part["source-id"]]}


def _single_source(part: Mapping[str, Any]) -> dict[str, Any]:
    if "source-id" not in part and len(part.get("source-ids") or ()) == 1:
        return {**part, "source-id": part["source-ids"][0]}
    return dict(part)


def _fields(value: Any, what: str) -> list[Mapping[str, Any]]:
    fields = value.get("fields") if isinstance(value, dict) else None
    if not isinstance(fields, list) or not all(isinstance(field, dict) for field in fields):
        raise InputError(f"The {what} has no list of fields.", hint='Send {"fields": […]}.')
    return fields


def _source(part: Mapping[str, Any], schema: Schema, what: str) -> Mapping[str, Any]:
    number, transform = part.get("source-id"), part.get("transform")
    found = next((f for _, f in columns.fields_of(schema) if f["id"] == number), None)
    if found is None:
        raise InputError(f"Cannot find source column for {what} field: {part.get('name', transform)} ({number})")
    if not isinstance(transform, str):
        raise InputError(f"The {what} field on column {found['name']!r} has no transform.")
    if _TRANSFORM.match(transform):  # of any other, a newer specification may know what it means
        _demand_type(found, transform)
    return found


def _demand_type(field: Mapping[str, Any], transform: str) -> None:
    kind = field["type"] if isinstance(field["type"], str) else field["type"]["type"]
    word = transform.partition("[")[0]
    takes = _TAKES.get(word)
    nested = kind in columns.NESTED
    if (nested and word != "void") or (takes and re.split(r"[\[(]", kind)[0] not in takes):
        raise InputError(f"Invalid source type {kind} for transform: {transform}")


def _known(part: Mapping[str, Any], document: Metadata) -> int | None:
    for spec in document["partition-specs"]:
        for other in spec["fields"]:
            if (_sources(other), other["transform"]) == (_sources(part), part["transform"]):
                return int(other["field-id"])
    return None


def _sources(part: Mapping[str, Any]) -> Any:
    return part.get("source-ids") if "source-id" not in part else [part["source-id"]]
