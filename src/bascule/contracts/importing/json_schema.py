"""JSON Schemas of an object, or of an array of objects: each property is a column of a row.

A key that is absent and one that is null are both a missing value in a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bascule.contracts.importing.draft import Draft, plain

_TYPES = {"string", "integer", "number", "boolean", "array", "object"}
_FORMATS = {"date": "date", "date-time": "timestamp", "time": "time"}
_NUMBERS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
_SIZES = {"string": ("minLength", "maxLength"), "array": ("minItems", "maxItems")}
_READ = {
    *_NUMBERS,
    *("type", "enum", "const", "format", "pattern", "minLength", "maxLength", "minItems", "maxItems"),
    *("description", "title", "default", "examples", "deprecated", "$comment", "readOnly", "writeOnly", "anyOf"),
}


def read(document: Mapping[str, Any], table: str) -> Draft:
    """Return the contract that a JSON Schema asks of each row."""
    root = document
    if root.get("type") == "array" and isinstance(root.get("items"), Mapping):
        root = root["items"]
    draft = Draft(table or _word(document.get("title")), "a JSON Schema")
    draft.description = " ".join(str(root.get("description") or "").split())
    if root.get("additionalProperties") is False:
        draft.unexpected = "refuse"
    listed = root.get("required") or []
    if not isinstance(listed, list):
        raise ValueError(f"`required` is no list of names: {str(listed)[:60]!r}")
    required = set(map(str, listed))
    definitions = {**(document.get("definitions") or {}), **(document.get("$defs") or {})}
    for name, schema in (root.get("properties") or {}).items():
        _property(draft, str(name), schema, name in required, definitions)
    for name in sorted(required - set(root.get("properties") or ())):
        draft.refuse(str(name), "required", "it has no schema of its own, so whether null is a value is not said")
    for key in ("allOf", "anyOf", "oneOf", "not", "if", "patternProperties", "dependentRequired", "dependencies"):
        if key in root:
            draft.refuse("the object", key, "it asks of several properties together")
    for key in ("minProperties", "maxProperties", "propertyNames"):
        if key in root:
            draft.refuse("the object", key, "a table has the same columns in every row")
    return draft


def _property(draft: Draft, name: str, schema: Any, required: bool, definitions: Mapping[str, Any]) -> None:
    column = draft.column(name)
    if not isinstance(schema, Mapping):
        if schema is False:
            draft.refuse(name, "false", "a column that may never be there")
        elif schema is not True:
            draft.refuse(name, str(schema)[:60], "it is no schema")
        return
    schema = _resolved(schema, definitions)
    kinds = _kinds(schema)
    if isinstance(schema.get("anyOf"), list):  # a type or null, as pydantic writes an optional value
        others = [_resolved(one, definitions) for one in schema["anyOf"] if one != {"type": "null"}]
        if len(others) == 1 and len(schema["anyOf"]) == 2:
            described = {key: value for key, value in schema.items() if key != "anyOf"}
            schema, kinds = {**others[0], **described}, [*_kinds(others[0]), "null"]
        else:
            draft.refuse(name, "anyOf", "a column has one type")
    draft.describe(name, schema.get("description") or schema.get("title"))
    never_null = schema.get("not") == {"type": "null"}
    if never_null:
        schema = {key: value for key, value in schema.items() if key != "not"}
    if required and (never_null or (kinds and "null" not in kinds)) and None not in (schema.get("enum") or ()):
        column["required"] = True
    elif required and not kinds and "enum" not in schema and "const" not in schema:
        draft.refuse(name, "required", "null is a value where no type is said")
    named = [kind for kind in kinds if kind != "null"]
    kind = named[0] if len(named) == 1 and named[0] in _TYPES else None
    if len(named) == 1 and kind is None:
        draft.refuse(name, f"type {named[0]}", "JSON Schema knows no such type")
    if len(named) > 1:
        draft.refuse(name, f"type {', '.join(named)}", "a column has one type")
    if kind is not None:
        column["logicalType"] = _FORMATS.get(str(schema.get("format")), kind) if kind == "string" else kind
    _asked(draft, column, name, schema, kind)


def _asked(draft: Draft, column: dict[str, Any], name: str, schema: Mapping[str, Any], kind: str | None) -> None:
    options: dict[str, Any] = {}
    for key in _NUMBERS:
        if key not in schema:
            continue
        if kind not in ("number", "integer"):
            draft.refuse(name, key, "it asks nothing of what is no number")
        elif isinstance(schema[key], bool):  # draft 4: beside `minimum`
            end = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}[key]
            if schema[key] and end in schema:
                options[key] = schema[end]
                options.pop(end, None)
        elif isinstance(schema[key], int | float):
            options.setdefault(key, schema[key])
        else:
            draft.refuse(name, key, f"{str(schema[key])[:60]!r} is no number")
    for key in ("minLength", "maxLength", "minItems", "maxItems"):
        if key in schema and kind is not None:
            if key in _SIZES.get(kind, ()) and column.get("logicalType") == kind:
                options[key] = schema[key]
            else:
                draft.refuse(name, key, "the column is of another type")
    if "pattern" in schema:
        pattern = draft.pattern(name, "pattern", schema["pattern"])
        if pattern is not None and column.get("logicalType") == "string":
            options["pattern"] = pattern
    if options:
        column["logicalTypeOptions"] = options
    if "format" in schema and str(schema["format"]) not in _FORMATS:
        draft.refuse(name, f"format {schema['format']}", "an annotation that validators need not hold")
    _values(draft, name, schema)
    for key in schema.keys() - _READ:
        if not str(key).startswith("x-"):
            draft.refuse(
                name,
                str(key),
                "checks look at columns, not inside them"
                if kind in ("array", "object")
                else "it has no equal in a contract",
            )


def _values(draft: Draft, name: str, schema: Mapping[str, Any]) -> None:
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    if listed is None:
        return
    values = plain([one for one in listed if one is not None])
    if values is None:
        draft.refuse(name, "enum", "its values are not plain")
        return
    draft.rule(name, {"metric": "invalidValues", "arguments": {"validValues": values}, "mustBe": 0})


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    found = schema.get("type")
    kinds = found if isinstance(found, list) else [found] if found else []
    return [*map(str, kinds), *(["null"] if schema.get("nullable") is True else [])]


def _resolved(schema: Any, definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """A schema behind one reference to a definition of the same document."""
    if not isinstance(schema, Mapping):
        return {}
    reference = str(schema.get("$ref", ""))
    name = reference.rpartition("/")[2]
    if reference in (f"#/definitions/{name}", f"#/$defs/{name}") and isinstance(definitions.get(name), Mapping):
        return {**definitions[name], **{key: value for key, value in schema.items() if key != "$ref"}}
    return schema


def _word(title: Any) -> str:
    """A title as a table's name; nothing when it is none."""
    text = str(title or "")
    return text if text.isidentifier() else ""
