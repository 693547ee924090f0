"""A contract in the words of another tool, where the meaning is equal; what is not, is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bascule.contracts import checks
from bascule.contracts.checks import Check
from bascule.contracts.contract import Contract
from bascule.contracts.importing.draft import NotImported
from bascule.contracts.words import expected_text
from bascule.errors import InputError, suggestion


@dataclass(frozen=True, slots=True)
class Exported:
    """A contract in other words.

    Attributes:
        form: whose.
        text: the file.
        left_out: what it does not ask although the contract does.
    """

    form: str
    text: str
    left_out: tuple[NotImported, ...]

    def as_dict(self) -> dict[str, Any]:
        """It as one JSON object."""
        lost = [{"where": one.where, "what": one.what, "why": one.why} for one in self.left_out]
        return {"form": self.form, "text": self.text, "left_out": lost}


def export_contract(contract: Contract, form: str) -> Exported:
    """Return a contract as another tool reads it.

    Args:
        form: `odcs` (the file as it was written, with all parts that nothing here reads), `json-schema`, `avro`, `dbt`
            or `great-expectations`.

    Raises:
        InputError: for another form.
    """
    if form == "odcs":
        return Exported(form, contract.text, ())
    if form not in _WRITERS:
        raise InputError(f"A contract is not exported as {form!r}.", hint=suggestion(form, list(EXPORTS), "form"))
    left_out: list[NotImported] = []
    text = _WRITERS[form](contract, lambda check, why: left_out.append(_lost(contract, check, why)))
    return Exported(form, text, tuple(left_out))


Lose = Callable[[Check, str], None]


def _lost(contract: Contract, check: Check, why: str) -> NotImported:
    return NotImported(", ".join(check.columns) or contract.table, expected_text(check, contract), why)


def _plain(check: Check, lose: Lose, *, where: bool = False, warnings: bool = False) -> bool:
    """Tell whether a check says no more than its rule; else note what it says."""
    if check.bound != checks.NONE_FAILING and isinstance(check.rule, _ROWS) and not _is_none(check):
        lose(check, "it forgives some rows")
    elif check.where and not where:
        lose(check, "it looks at some rows only")
    elif check.minimum_rows:
        lose(check, "it lets small batches pass")
    elif check.severity != "critical" and not warnings:
        lose(check, "it only warns")
    else:
        return True
    return False


_ROWS = (
    checks.NotNull
    | checks.OneOf
    | checks.Between
    | checks.Matches
    | checks.Length
    | checks.MultipleOf
    | checks.Unique
    | checks.References
    | checks.Holds
)


def _is_none(check: Check) -> bool:
    return check.bound.operator in ("=", "<=") and check.bound.low == 0


def _required(contract: Contract) -> set[str]:
    return {
        check.rule.column
        for check in contract.checks
        if isinstance(check.rule, checks.NotNull) and _plain(check, lambda *_: None)
    }


def _ends(rule: checks.Between) -> dict[str, Any]:
    ends = {
        "minimum": rule.minimum,
        "maximum": rule.maximum,
        "exclusiveMinimum": rule.above,
        "exclusiveMaximum": rule.below,
    }
    return {name: end for name, end in ends.items() if end is not None}


_JSON_TYPES: dict[str, tuple[str, str]] = {
    "date": ("string", "date"),
    "timestamp": ("string", "date-time"),
    "time": ("string", "time"),
    "map": ("object", ""),
    "binary": ("string", ""),
}


def _json_schema(contract: Contract, lose: Lose) -> str:
    required = _required(contract)
    properties: dict[str, dict[str, Any]] = {}
    for column in contract.columns:
        said: dict[str, Any] = {"description": column.description} if column.description else {}
        if column.family is not None:
            kind, form = _JSON_TYPES.get(column.family, (column.family, ""))
            said["type"] = kind if column.name in required else [kind, "null"]
            said |= {"format": form} if form else {}
        properties[column.name] = said
    for check in contract.checks:
        rule = check.rule
        if isinstance(rule, checks.Declared | checks.NoOthers) or not _plain(check, lose):
            continue
        if isinstance(rule, checks.NotNull):
            if "type" not in properties[rule.column]:
                properties[rule.column]["not"] = {"type": "null"}
        elif isinstance(rule, checks.OneOf):
            nothing = [] if rule.column in required else [None]
            properties[rule.column]["enum"] = [*rule.values, *nothing]
        elif isinstance(rule, checks.Between) and all(not isinstance(end, str) for end in _ends(rule).values()):
            properties[rule.column] |= _ends(rule)
        elif isinstance(rule, checks.Matches):
            properties[rule.column]["pattern"] = rule.pattern
        elif isinstance(rule, checks.MultipleOf):
            properties[rule.column]["multipleOf"] = rule.of
        elif isinstance(rule, checks.Length):
            what = "Items" if _family(contract, rule.column) == "array" else "Length"
            ends = {f"min{what}": rule.minimum, f"max{what}": rule.maximum}
            properties[rule.column] |= {name: end for name, end in ends.items() if end is not None}
        else:
            lose(check, "a JSON Schema looks at one row at a time" if not isinstance(rule, _ROWS) else "no equal")
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": contract.table,
        "type": "object",
        "properties": properties,
        "required": sorted(required),
        "additionalProperties": contract.unexpected != "refuse",
    }
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _family(contract: Contract, column: str) -> str | None:
    return next((one.family for one in contract.columns if one.name == column), None)


_AVRO: dict[str, Any] = {
    "integer": "long",
    "number": "double",
    "string": "string",
    "boolean": "boolean",
    "binary": "bytes",
    "date": {"type": "int", "logicalType": "date"},
    "timestamp": {"type": "long", "logicalType": "timestamp-micros"},
    "time": {"type": "long", "logicalType": "time-micros"},
}


def _avro(contract: Contract, lose: Lose) -> str:
    required = _required(contract)
    fields = []
    for column in contract.columns:
        kind = _AVRO.get(column.family or "")
        if kind is None:
            declared = next(check for check in contract.checks if check.rule == _declared(contract, column.name))
            lose(declared, "Avro asks what is inside, or of which type it is")
            continue
        doc = {"doc": column.description} if column.description else {}
        nullable = column.name not in required
        fields.append({"name": column.name, "type": ["null", kind] if nullable else kind, **doc})
    named = {field["name"] for field in fields}
    for check in contract.checks:
        kept = isinstance(check.rule, checks.Declared | checks.NoOthers | checks.NotNull)
        if not kept:
            lose(check, "an Avro schema says types")
        elif isinstance(check.rule, checks.NotNull) and _plain(check, lose) and check.rule.column not in named:
            lose(check, "its column is left out")
    return json.dumps({"type": "record", "name": contract.table, "fields": fields}, ensure_ascii=False, indent=2) + "\n"


def _declared(contract: Contract, column: str) -> checks.Declared:
    return next(
        check.rule
        for check in contract.checks
        if isinstance(check.rule, checks.Declared) and check.rule.column == column
    )


def _dbt(contract: Contract, lose: Lose) -> str:
    tests: dict[str, list[Any]] = {column.name: [] for column in contract.columns}
    for check in contract.checks:
        rule = check.rule
        if isinstance(rule, checks.Declared | checks.NoOthers) or not _plain(check, lose, where=True, warnings=True):
            continue
        config = {"severity": "warn"} if check.severity != "critical" else {}
        config |= {"where": check.where} if check.where else {}
        asked = _dbt_test(rule)
        if asked is None:
            lose(check, "dbt has no test that asks it")
            continue
        column, name, arguments = asked
        arguments = {**arguments, **({"config": config} if config else {})}
        tests[column].append({name: arguments} if arguments else name)
    columns = [
        {
            "name": column.name,
            **({"description": column.description} if column.description else {}),
            **({"data_tests": tests[column.name]} if tests[column.name] else {}),
        }
        for column in contract.columns
    ]
    # JSON is YAML, and dbt reads it.
    document = {"version": 2, "models": [{"name": contract.table, "columns": columns}]}
    return json.dumps(document, ensure_ascii=False, indent=2) + "\n"


def _dbt_test(rule: Any) -> tuple[str, str, dict[str, Any]] | None:
    match rule:
        case checks.NotNull():
            return rule.column, "not_null", {}
        case checks.Unique() if len(rule.columns) == 1:
            return rule.columns[0], "unique", {}
        case checks.OneOf():
            quote = {} if all(isinstance(one, str) for one in rule.values) else {"quote": False}
            return rule.column, "accepted_values", {"values": list(rule.values), **quote}
        case checks.References() if len(rule.columns) == 1:
            return rule.columns[0], "relationships", {"to": f"ref('{rule.table}')", "field": rule.to[0]}
        case checks.Between():
            ends = _ends(rule)
            if all(not isinstance(end, str) for end in ends.values()) and len({name[:3] for name in ends}) == 1:
                inclusive = "minimum" in ends or "maximum" in ends
                low, high = ends.get("minimum", rule.above), ends.get("maximum", rule.below)
                named = {"min_value": low, "max_value": high}
                told = {name: end for name, end in named.items() if end is not None}
                return rule.column, "dbt_utils.accepted_range", {**told, **({} if inclusive else {"inclusive": False})}
    return None


def _great_expectations(contract: Contract, lose: Lose) -> str:
    found: list[dict[str, Any]] = []
    for check in contract.checks:
        rule = check.rule
        if isinstance(rule, checks.NoOthers):
            if rule.policy == "refuse":
                names = [column.name for column in contract.columns]
                asked = {"column_set": names, "exact_match": True}
                found.append({"type": "expect_table_columns_to_match_set", "kwargs": asked})
            continue
        if not isinstance(rule, checks.Declared) and not _plain(check, lose, warnings=True):
            continue
        if isinstance(rule, checks.Declared) and rule.family is not None:
            lose(check, "types are called otherwise by each engine there")
        told = _expectation(rule, check)
        if told is None:
            lose(check, "no expectation asks it")
            continue
        kind, kwargs = told
        severity = {"severity": check.severity} if check.severity != "critical" else {}
        found.append({"type": kind, "kwargs": kwargs, **severity})
    return json.dumps({"name": contract.table, "expectations": found}, ensure_ascii=False, indent=2) + "\n"


_FUNCTIONS = {"mean": "mean", "min": "min", "max": "max", "median": "median", "sum": "sum", "std": "stdev"}


def _expectation(rule: Any, check: Check) -> tuple[str, dict[str, Any]] | None:
    match rule:
        case checks.Declared():
            return "expect_column_to_exist", {"column": rule.column}
        case checks.NotNull():
            return "expect_column_values_to_not_be_null", {"column": rule.column}
        case checks.Unique() if len(rule.columns) == 1:
            return "expect_column_values_to_be_unique", {"column": rule.columns[0]}
        case checks.Unique():
            asked = {"column_list": list(rule.columns), "ignore_row_if": "any_value_is_missing"}
            return "expect_compound_columns_to_be_unique", asked
        case checks.OneOf():
            return "expect_column_values_to_be_in_set", {"column": rule.column, "value_set": list(rule.values)}
        case checks.Matches():
            return "expect_column_values_to_match_regex", {"column": rule.column, "regex": rule.pattern}
        case checks.Length():
            sizes = {"min_value": rule.minimum, "max_value": rule.maximum}
            return "expect_column_value_lengths_to_be_between", {"column": rule.column, **sizes}
        case checks.Between() if None in (rule.minimum, rule.above) and None in (rule.maximum, rule.below):
            between = {
                "min_value": rule.minimum if rule.above is None else rule.above,
                "max_value": rule.maximum if rule.below is None else rule.below,
            }
            between |= {"strict_min": True} if rule.above is not None else {}
            between |= {"strict_max": True} if rule.below is not None else {}
            return "expect_column_values_to_be_between", {"column": rule.column, **between}
        case checks.Aggregate() if rule.function in _FUNCTIONS and (ends := _value_ends(check)) is not None:
            return f"expect_column_{_FUNCTIONS[rule.function]}_to_be_between", {"column": rule.column, **ends}
        case checks.RowCount() if (ends := _value_ends(check)) is not None:
            return "expect_table_row_count_to_be_between", ends
    return None


def _value_ends(check: Check) -> dict[str, Any] | None:
    """The ends of a measured value, which belong to it; None when the bound is of another form."""
    bound = check.bound
    if bound.operator == "between":
        return {"min_value": bound.low, "max_value": bound.high}
    if bound.operator == ">=" or (bound.operator == ">" and isinstance(check.rule, checks.RowCount)):
        return {"min_value": bound.low + (bound.operator == ">")}
    if bound.operator == "<=":
        return {"max_value": bound.low}
    return None


_WRITERS: dict[str, Callable[[Contract, Lose], str]] = {
    "json-schema": _json_schema,
    "avro": _avro,
    "dbt": _dbt,
    "great-expectations": _great_expectations,
}
EXPORTS = ("odcs", *_WRITERS)
