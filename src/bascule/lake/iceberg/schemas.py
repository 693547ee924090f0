"""Table schemas as Iceberg metadata holds them: fields with ids that survive renames, and how a schema evolves.

A schema is the plain dict `{"type": "struct", "schema-id": n, "fields": [{"id", "name", "required", "type"}, …]}`.
Every function returns a new one and leaves its argument alone; facts it does not know stay in the dicts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from bascule.errors import InputError, NotFound
from bascule.lake.iceberg import types

Schema = dict[str, Any]
Field = dict[str, Any]


def from_arrow(schema: pa.Schema, first_id: int = 1) -> tuple[Schema, int]:
    """Give every column and every part of one a fresh id, a struct's own fields before their parts.

    Args:
        first_id: the smallest id that is free.

    Returns:
        The schema (id 0) and the last id that was used.

    Raises:
        InputError: for a type that no table holds, or for names that differ in nothing but case.
    """
    refuse_twins(schema.names)
    ids = _Ids(first_id)
    fields = _fields(list(schema), ids, "")
    return {"type": "struct", "schema-id": 0, "fields": fields}, ids.last


def to_arrow(schema: Schema) -> pa.Schema:
    """Return the schema in Arrow's words, with field ids where Parquet keeps them."""
    return pa.schema([types.arrow_field(field) for field in schema["fields"]])


def names(schema: Schema) -> list[str]:
    """Return the columns' names in order."""
    return [field["name"] for field in schema["fields"]]


def find(schema: Schema, name: str) -> Field:
    """Return a column, matched without regard to case as SQL does, or raise `NotFound`."""
    for field in schema["fields"]:
        if field["name"].casefold() == name.casefold():
            found: Field = field
            return found
    raise NotFound("column", name, names(schema))


def add_columns(schema: Schema, columns: Sequence[pa.Field], last_id: int) -> tuple[Schema, int]:
    """Add columns at the end. They are nullable, whatever Arrow says: rows that exist have no value in them."""
    refuse_twins([*names(schema), *(column.name for column in columns)])
    ids = _Ids(last_id + 1)
    added = _fields([column.with_nullable(True) for column in columns], ids, "")
    return {**schema, "fields": [*schema["fields"], *added]}, max(last_id, ids.last)


def rename_column(schema: Schema, old: str, new: str) -> Schema:
    """Give a column another name; its id, and so its data, stays."""
    field = find(schema, old)
    refuse_twins([new if name == field["name"] else name for name in names(schema)])
    return _replace(schema, field["id"], {**field, "name": new})


def drop_column(schema: Schema, name: str) -> Schema:
    """Take a column out. Its id is never used again, so a new column of that name starts empty."""
    field = find(schema, name)
    kept = [other for other in schema["fields"] if other["id"] != field["id"]]
    if not kept:
        raise InputError(
            f"Column {name!r} is the table's only one and cannot be dropped.",
            hint="Drop the table, or add another column first.",
        )
    return {**schema, "fields": kept}


def widen_column(schema: Schema, name: str, kind: types.Type) -> Schema:
    """Give a column a type that holds every value of its present one: int to long, float to double, more digits."""
    field = find(schema, name)
    if not types.may_widen(field["type"], kind):
        raise InputError(
            f"Column {name!r} is {field['type']} and cannot become {kind} without rewriting its data.",
            hint="Possible are int to long, float to double, and a decimal with more digits.",
        )
    return _replace(schema, field["id"], {**field, "type": kind})


def same(a: Schema, b: Schema) -> bool:
    """Tell whether two schemas have the same columns with the same ids, in the same order."""
    return bool(a["fields"] == b["fields"])


def merged(base: Schema, ours: Schema, theirs: Schema) -> Schema | None:
    """Return the schema that has both sides' changes, or None when both changed it differently."""
    if same(ours, theirs) or same(base, theirs):
        return ours
    return theirs if same(base, ours) else None


def refuse_twins(columns: Sequence[str], where: str = "") -> None:
    """Raise `InputError` for columns without a name, or whose names differ in nothing but case."""
    seen: dict[str, str] = {}
    for name in columns:
        if not name:
            raise InputError(f"A column{where} has no name.", hint="Give every column a name.")
        twin = seen.get(name.casefold())
        seen[name.casefold()] = name
        if twin is not None:
            what = f"is there twice{where}" if twin == name else f"and {twin!r}{where} differ in nothing but case"
            raise InputError(f"Column {name!r} {what}; SQL cannot tell the two apart.", hint="Rename one of them.")


def _replace(schema: Schema, number: int, field: Field) -> Schema:
    return {**schema, "fields": [field if other["id"] == number else other for other in schema["fields"]]}


class _Ids:
    def __init__(self, first: int) -> None:
        self.last = first - 1

    def take(self) -> int:
        self.last += 1
        return self.last


def _fields(columns: Sequence[pa.Field], ids: _Ids, above: str) -> list[Field]:
    numbers = [ids.take() for _ in columns]
    return [
        {
            "id": number,
            "name": column.name,
            "required": not column.nullable,
            "type": _type(column.type, ids, f"{above}{column.name}"),
        }
        for number, column in zip(numbers, columns, strict=True)
    ]


def _type(kind: pa.DataType, ids: _Ids, column: str) -> types.Type:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_dictionary(kind):
        return _type(kind.value_type, ids, column)
    if pa.types.is_struct(kind):
        parts = [kind.field(i) for i in range(kind.num_fields)]
        refuse_twins([part.name for part in parts], f" in {column!r}")
        return {"type": "struct", "fields": _fields(parts, ids, f"{column}.")}
    if pa.types.is_map(kind):
        key, value = ids.take(), ids.take()
        return {
            "type": "map",
            "key-id": key,
            "key": _type(kind.key_type, ids, f"{column}.key"),
            "value-id": value,
            "value": _type(kind.item_type, ids, f"{column}.value"),
            "value-required": not kind.item_field.nullable,
        }
    if _is_list(kind):
        number = ids.take()
        return {
            "type": "list",
            "element-id": number,
            "element": _type(kind.value_type, ids, f"{column}.element"),
            "element-required": not kind.value_field.nullable,
        }
    return types.primitive_from_arrow(kind, column)


def _is_list(kind: pa.DataType) -> bool:
    tests: tuple[Callable[[pa.DataType], bool], ...] = (
        pa.types.is_list,
        pa.types.is_large_list,
        pa.types.is_fixed_size_list,
    )
    return any(test(kind) for test in tests)
