"""Schemas as clients send them: whether they can be a table's, and fresh ids in the order in which Java gives them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bascule.errors import InputError
from bascule.lake.iceberg import schemas
from bascule.lake.iceberg.schemas import Field, Schema
from bascule.lake.iceberg.types import Type, is_known

NESTED = ("struct", "list", "map")
# Types and the first format version that has them.
_LATE = re.compile(r"^(timestamp_ns|timestamptz_ns|unknown|variant|geometry|geography)(\(.*\))?$")
LATE_VERSION = 3
MOST_LEVELS = 100


def fields_of(schema: Schema) -> Iterator[tuple[str, Field]]:
    """Yield every field with its full name, parts of lists and maps too; a field comes before its parts.

    Parts of lists and maps come as fields with `id`, `name` and `type`.
    """
    for field in schema["fields"]:
        yield from _walk("", field)


def _walk(above: str, field: Field, level: int = 1) -> Iterator[tuple[str, Field]]:
    if level > MOST_LEVELS:
        raise InputError(f"A column has more than {MOST_LEVELS} levels, one in the other.", hint="Flatten it.")
    name = f"{above}{field['name']}"
    yield name, field
    kind = field["type"]
    if isinstance(kind, dict):
        for part in _parts(kind):
            yield from _walk(f"{name}.", part, level + 1)


def _parts(kind: Mapping[str, Any]) -> list[Field]:
    if kind["type"] == "struct":
        return list(kind["fields"])
    if kind["type"] == "list":
        return [{"id": kind["element-id"], "name": "element", "type": kind["element"]}]
    if kind["type"] == "map":
        return [
            {"id": kind["key-id"], "name": "key", "type": kind["key"]},
            {"id": kind["value-id"], "name": "value", "type": kind["value"]},
        ]
    return []


def checked(schema: Any, version: int) -> Schema:
    """Return a schema if a table of a format version can have it.

    Raises:
        InputError: saying which column is wrong, and how.
    """
    try:
        found = list(fields_of(schema))
        _check_columns(schema)
        ids = [field["id"] for _, field in found]
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"The schema is not one: {type(error).__name__} {error}.",
            hint='Send {"type": "struct", "fields": [{"id", "name", "required", "type"}, …]}.',
        ) from error
    numbers = Counter(number for number in ids if isinstance(number, int))
    for name, field in found:
        if not isinstance(field["id"], int) or isinstance(field["id"], bool) or numbers[field["id"]] > 1:
            raise InputError(
                f"Invalid schema: the id {field['id']!r} of column {name!r} is not its own.",
                hint="Give every column and every part of one an id.",
            )
        _check_type(name, field["type"])
    for number in schema.get("identifier-field-ids") or ():
        if number not in ids:
            raise InputError(f"Cannot add field {number} as an identifier field: not found in the schema.")
    problems = [line for name, field in found for line in _too_new(name, field, version)]
    if problems:
        raise InputError(
            "\n- ".join([f"Invalid schema for v{version}:", *problems]),
            hint=f"Make the table with format version {LATE_VERSION}, or choose other types.",
        )
    result: Schema = schema
    return result


def _check_type(name: str, kind: Any) -> None:
    known = kind.get("type") in NESTED if isinstance(kind, dict) else is_known(kind) or _LATE.match(str(kind))
    if not known:
        shown = kind.get("type") if isinstance(kind, dict) else kind
        raise InputError(
            f"Invalid schema: the type {str(shown)[:60]!r} of column {name!r} is none of Iceberg's.",
            hint="Choose one such as long, double, string, date, timestamptz, decimal(9,2), struct, list or map.",
        )


def highest(schema: Schema) -> int:
    """Return the greatest id in a schema, 0 when it has no columns."""
    return max((field["id"] for _, field in fields_of(schema)), default=0)


def alike(a: Schema, b: Schema) -> bool:
    """Tell whether two schemas have the same columns and the same identifier."""
    identifiers = [sorted(schema.get("identifier-field-ids") or ()) for schema in (a, b)]
    return identifiers[0] == identifiers[1] and [_told(f) for f in a["fields"]] == [_told(f) for f in b["fields"]]


def freshened(schema: Schema) -> tuple[Schema, dict[int, int]]:
    """Give every column a fresh id: those of a struct before their parts, as Java does.

    Returns:
        The schema with the id 0, and which old id became which.
    """
    ids: dict[int, int] = {}

    def take(old: int) -> int:
        ids[old] = len(ids) + 1
        return ids[old]

    fields = _freshened(schema["fields"], take)
    fresh = {**schema, "schema-id": 0, "fields": fields}
    if schema.get("identifier-field-ids"):
        fresh["identifier-field-ids"] = [ids[number] for number in schema["identifier-field-ids"]]
    return fresh, ids


def _freshened(fields: list[Field], take: Callable[[int], int]) -> list[Field]:
    numbers = [take(field["id"]) for field in fields]
    return [
        {**field, "id": number, "type": _fresh_type(field["type"], take)}
        for number, field in zip(numbers, fields, strict=True)
    ]


def _fresh_type(kind: Type, take: Callable[[int], int]) -> Type:
    if isinstance(kind, str):
        return kind
    if kind["type"] == "struct":
        return {**kind, "fields": _freshened(kind["fields"], take)}
    if kind["type"] == "list":
        number = take(kind["element-id"])
        return {**kind, "element-id": number, "element": _fresh_type(kind["element"], take)}
    if kind["type"] == "map":
        key, value = take(kind["key-id"]), take(kind["value-id"])
        return {
            **kind,
            "key-id": key,
            "value-id": value,
            "key": _fresh_type(kind["key"], take),
            "value": _fresh_type(kind["value"], take),
        }
    return kind


def _check_columns(schema: Schema) -> None:
    if schema.get("type", "struct") != "struct":
        raise InputError(f"A schema is a struct and not {schema['type']!r}.")
    levels = [("", schema["fields"])]
    for name, field in fields_of(schema):
        if not isinstance(field["name"], str) or not isinstance(field["type"], str | dict):
            raise InputError(f"Column {name!r} has no type.", hint="Give every column a name and a type.")
        if isinstance(field["type"], dict) and field["type"]["type"] == "struct":
            levels.append((name, field["type"]["fields"]))
    for name, fields in levels:
        schemas.refuse_twins([field["name"] for field in fields], f" in {name!r}" if name else "")


def _too_new(name: str, field: Field, version: int) -> list[str]:
    if version >= LATE_VERSION:
        return []
    found = []
    kind = field["type"] if isinstance(field["type"], str) else field["type"]["type"]
    if _LATE.match(str(kind)):
        found.append(f"Invalid type for {name}: {kind} is not supported until v{LATE_VERSION}")
    for key in ("initial-default", "write-default"):
        if field.get(key) is not None:
            what = key.replace("-", " ")
            found.append(
                f"Invalid {what} for {name}: non-null default ({field[key]}) is not supported until v{LATE_VERSION}"
            )
    return found


def _told(field: Field) -> Any:
    # What is the same whether a client writes it out or leaves it out.
    found = {key: value for key, value in field.items() if value is not None}
    found["required"] = bool(field.get("required"))
    found["type"] = _type_told(field["type"])
    return found


def _type_told(kind: Type) -> Any:
    if isinstance(kind, str):
        return kind.replace(" ", "")
    found = {k: _type_told(v) if k in ("element", "key", "value") else v for k, v in kind.items()}
    if kind["type"] == "struct":
        found["fields"] = [_told(field) for field in kind["fields"]]
    for key in ("element-required", "value-required"):
        found.pop(key, None)
    return {**found, "parts": [bool(kind.get(key)) for key in ("element-required", "value-required")]}
