"""Avro schemas: a record's fields are columns, and a field that is no union with null has a value in every row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bascule.contracts.importing.draft import Draft

_TYPES = {
    "boolean": "boolean",
    "int": "integer",
    "long": "integer",
    "float": "number",
    "double": "number",
    "string": "string",
    "array": "array",
    "map": "map",
    "record": "object",
    "enum": "string",
}
_LOGICAL = {
    "date": "date",
    "time-millis": "time",
    "time-micros": "time",
    "timestamp-millis": "timestamp",
    "timestamp-micros": "timestamp",
    "timestamp-nanos": "timestamp",
    "local-timestamp-millis": "timestamp",
    "local-timestamp-micros": "timestamp",
    "decimal": "number",
    "uuid": "string",
}


def read(document: Mapping[str, Any], table: str) -> Draft:
    """Return the contract that an Avro record promises."""
    draft = Draft(table or str(document.get("name") or "").rpartition(".")[2], "an Avro schema")
    draft.description = " ".join(str(document.get("doc") or "").split())
    draft.unexpected = "refuse"  # a record has its fields and no other
    for field in document["fields"]:
        _field(draft, field)
    return draft


def _field(draft: Draft, field: Mapping[str, Any]) -> None:
    name = str(field["name"])
    column = draft.column(name)
    draft.describe(name, field.get("doc"))
    kind = field["type"]
    required = True
    if isinstance(kind, list):
        required = "null" not in kind
        kinds = [one for one in kind if one != "null"]
        if len(kinds) != 1:
            draft.refuse(name, "its type", "a union of several types; a column has one")
            if required and kinds:
                column["required"] = True
            return
        kind = kinds[0]
    if required:
        column["required"] = True
    _typed(draft, column, name, kind)
    if field.get("aliases"):
        draft.refuse(name, "aliases", "a column has one name")


def _typed(draft: Draft, column: dict[str, Any], name: str, kind: Any) -> None:
    details = kind if isinstance(kind, Mapping) else {}
    word = details.get("type", kind)
    while isinstance(word, Mapping):  # a type may be wrapped
        details, word = word, word.get("type")
    logical = _LOGICAL.get(str(details.get("logicalType"))) or _TYPES.get(str(word))
    if logical is None:
        why = "a type of bytes has no name in the standard" if word in ("bytes", "fixed") else "a named type"
        draft.refuse(name, f"type {word}", why)
        return
    column["logicalType"] = logical
    if word == "enum":
        values = {"validValues": [str(one) for one in details["symbols"]]}
        draft.rule(name, {"metric": "invalidValues", "arguments": values, "mustBe": 0})
    if details.get("logicalType") == "uuid":
        column["logicalTypeOptions"] = {"format": "uuid"}
    if details.get("logicalType") == "decimal":
        draft.refuse(name, "precision and scale", "the physical type of the table says them")
    if word in ("array", "map", "record"):
        draft.refuse(name, "what is inside", "checks look at columns, not inside them")
