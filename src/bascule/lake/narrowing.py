"""What a query's WHERE says of columns, so that files which cannot hold such rows need not be opened.

Only what is sure is taken: comparisons with a constant that hold for every row that a SELECT from one table yields. All
else is left to the engine, which looks at every row of the files that remain.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from bascule.lake.iceberg.schemas import Schema

# Column name → the least and the greatest value, either of them None.
Limits = dict[str, tuple[Any, Any]]

_LONG = range(-(2**63), 2**63)
_DATE = re.compile(r"\d{4}-\d\d-\d\d\Z")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)?\Z")
_FLIPPED = {"=": "=", "<=": ">=", ">=": "<="}
# Limits are inclusive: to open a file too many is no mistake.
_SIGNS = {
    "COMPARE_EQUAL": "=",
    "COMPARE_LESSTHAN": "<=",
    "COMPARE_LESSTHANOREQUALTO": "<=",
    "COMPARE_GREATERTHAN": ">=",
    "COMPARE_GREATERTHANOREQUALTO": ">=",
}
_WHOLE = re.compile(r"-?\d+\Z")
_CASTS = {"DATE": _DATE, "TIMESTAMP": _MOMENT, "TIMESTAMP WITH TIME ZONE": _MOMENT, "TIMESTAMPTZ": _MOMENT}


@dataclass(frozen=True, slots=True)
class Condition:
    """A column compared with a constant, as the engine's parser gives it."""

    column: str
    sign: str
    constant: Mapping[str, Any]


def conditions(tree: Mapping[str, Any], tables: int) -> tuple[Condition, ...]:
    """Return what holds for every row of the only table of a statement; nothing when it is not as simple as that.

    Args:
        tree: the statement, as `json_serialize_sql` gives it.
        tables: how often it names a table anywhere.
    """
    node = tree["statements"][0]["node"]
    if tables != 1 or node.get("type") != "SELECT_NODE" or node["cte_map"]["map"] or not node.get("where_clause"):
        return ()
    table = node["from_table"]
    if table["type"] != "BASE_TABLE" or any(table[name] for name in ("column_name_alias", "at_clause", "sample")):
        return ()
    known = {table["table_name"].casefold(), table["alias"].casefold()}
    return tuple(_conditions(node["where_clause"], known))


def limits(found: Sequence[Condition], params: Any, schema: Schema) -> Limits:
    """Return what conditions say of a table's columns, as `scans.pruned` takes it."""
    fields = {field["name"].casefold(): field for field in schema["fields"]}
    wanted: Limits = {}
    for one in found:
        field = fields.get(one.column.casefold())
        value = _value(field["type"], one.constant, params) if field else None
        if field is None or value is None:
            continue
        low, high = wanted.get(field["name"], (None, None))
        if one.sign != "<=":
            low = value if low is None else max(low, value)
        if one.sign != ">=":
            high = value if high is None else min(high, value)
        wanted[field["name"]] = low, high
    return wanted


def _conditions(node: Mapping[str, Any], known: set[str]) -> Iterator[Condition]:
    if node["type"] == "CONJUNCTION_AND":
        for child in node["children"]:
            yield from _conditions(child, known)
    elif node["type"] == "COMPARE_BETWEEN":
        if column := _column(node["input"], known):
            yield Condition(column, ">=", node["lower"])
            yield Condition(column, "<=", node["upper"])
    elif sign := _SIGNS.get(node["type"]):
        if column := _column(node["left"], known):
            yield Condition(column, sign, node["right"])
        elif column := _column(node["right"], known):
            yield Condition(column, _FLIPPED[sign], node["left"])


def _column(node: Mapping[str, Any], known: set[str]) -> str:
    if node["class"] != "COLUMN_REF":
        return ""
    *of, name = node["column_names"]
    return name if not of or (len(of) == 1 and of[0].casefold() in known) else ""


def _value(kind: Any, node: Mapping[str, Any], params: Any) -> Any:
    """Return a constant as a value that can be compared with a column's bounds; None when that is not sure."""
    if node["class"] == "PARAMETER":
        return _param(kind, node["identifier"], params)
    form = None
    if node["class"] == "CAST" and kind in ("date", "timestamp", "timestamptz"):
        form, node = _CASTS.get(node["type_expr"].get("type_name", "")), node["child"]
        if form is None:
            return None
    literal = (node.get("literal") or {}) if node["class"] == "CONSTANT" else {}
    text = str(literal.get("text"))
    if literal.get("kind") == "INTEGER" and form is None and _WHOLE.match(text):
        return _fit(kind, int(text))
    if literal.get("kind") == "STRING" and (form is None or form.match(text)):
        return _fit(kind, text)
    return None


def _param(kind: Any, name: str, params: Any) -> Any:
    if isinstance(params, Mapping):
        return _fit(kind, params.get(name))
    if isinstance(params, list | tuple) and name.isdecimal() and 0 < int(name) <= len(params):
        return _fit(kind, params[int(name) - 1])
    return None


def _fit(kind: Any, value: Any) -> Any:
    if kind in ("int", "long"):
        return value if type(value) is int and value in _LONG else None
    if kind == "string":
        return value if type(value) is str else None
    if kind == "date":
        return _moment(value, _DATE, date) if type(value) is str else value if type(value) is date else None
    if kind in ("timestamp", "timestamptz"):
        return _moment(value, _MOMENT, datetime) if type(value) is str else None
    return None


def _moment(text: str, form: re.Pattern[str], of: type[date]) -> Any:
    try:
        return of.fromisoformat(text) if form.match(text) else None
    except ValueError:
        return None
