"""Great Expectations suites, of 0.x and of 1.x."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from bascule.contracts.importing.draft import Draft, percent, plain, sql_name, sql_value, tolerated
from bascule.contracts.vocabulary import SEVERITIES

_TYPES = {
    "integer": "int int8 int16 int32 int64 uint8 uint16 uint32 uint64 integer integertype longtype bigint smallint",
    "number": "float float32 float64 double doubletype floattype numeric decimal number",
    "string": "str string stringtype varchar text char",
    "boolean": "bool boolean booleantype",
    "date": "date datetype",
    "timestamp": "datetime datetime64 datetime64[ns] timestamp timestamptype timestamptz",
}
_LOGICAL = {word: logical for logical, words in _TYPES.items() for word in words.split()}
_AGGREGATES = {
    "expect_column_mean_to_be_between": "mean",
    "expect_column_min_to_be_between": "min",
    "expect_column_max_to_be_between": "max",
    "expect_column_median_to_be_between": "median",
    "expect_column_sum_to_be_between": "sum",
    "expect_column_stdev_to_be_between": "std",
    "expect_column_unique_value_count_to_be_between": "distinct",
}


class _Expectation:
    """One expectation, and the contract that gets it."""

    def __init__(self, draft: Draft, written: Mapping[str, Any]) -> None:
        self.draft = draft
        self.kind = str(written.get("type") or written.get("expectation_type") or "")
        self.asked: Mapping[str, Any] = written.get("kwargs") or {}
        self.column = str(self.asked["column"]) if self.asked.get("column") is not None else None
        severity = str(written.get("severity") or "critical")
        notes = written.get("notes") or (written.get("meta") or {}).get("notes") or written.get("description") or ""
        notes = notes.get("content", "") if isinstance(notes, Mapping) else notes
        text = " ".join(str(" ".join(notes) if isinstance(notes, list) else notes).split())
        self.labels: dict[str, Any] = {}
        if SEVERITIES.get(severity, "critical") != "critical":
            self.labels["severity"] = SEVERITIES[severity]
        if text:
            self.labels["description"] = text

    @property
    def share(self) -> float:
        """The share of rows that may fail."""
        return max(0.0, 1.0 - float(self.asked.get("mostly", 1.0)))

    def refuse(self, why: str) -> None:
        self.draft.refuse(self.column or "the table", self.kind, why)

    def rule(self, check: str, **asked: Any) -> None:
        """A rule over the column's values; its share is of those that are there, as there."""
        assert self.column is not None
        forgiven = tolerated(self.share)
        where = f"{sql_name(self.column)} IS NOT NULL" if forgiven else None
        self.draft.ours(self.column, check, self.labels, **asked, tolerate=forgiven, where=where)


def read(document: Mapping[str, Any], table: str) -> Draft:
    """Return the contract that a suite asks, expectation by expectation."""
    draft = Draft(table, "a Great Expectations suite")
    for place, one in enumerate(document["expectations"], 1):
        if not isinstance(one, Mapping) or not isinstance(one.get("kwargs", {}), Mapping):
            raise ValueError(f"expectation {place} has no type and kwargs: {str(one)[:80]}")
    strict = {
        str(one.get("kwargs", {}).get("column"))
        for one in document["expectations"]
        if str(one.get("type") or one.get("expectation_type")) == "expect_column_values_to_not_be_null"
        and float(one.get("kwargs", {}).get("mostly", 1.0)) == 1.0
    }
    for written in document["expectations"]:
        one = _Expectation(draft, written)
        if one.column is not None:
            draft.column(one.column)
        if one.asked.get("row_condition"):
            one.refuse("its row_condition is in the words of another engine")
        elif one.kind in _AGGREGATES:
            _aggregate(one, _AGGREGATES[one.kind])
        elif one.kind == "expect_compound_columns_to_be_unique":
            _compound(one, strict)
        elif one.kind in _READERS:
            _READERS[one.kind](one)
        else:
            one.refuse("it has no equal in a contract" if one.kind else "it has no type")
    return draft


def _not_null(one: _Expectation) -> None:
    assert one.column is not None
    if one.share or one.labels:
        bound = {"unit": "percent", "mustBeLessOrEqualTo": percent(one.share)} if one.share else {"mustBe": 0}
        one.draft.rule(one.column, {"metric": "nullValues", **bound, **one.labels})
    else:
        one.draft.column(one.column)["required"] = True


def _null(one: _Expectation) -> None:
    assert one.column is not None
    sql = f"{sql_name(one.column)} IS NULL"
    one.draft.ours(one.column, "expression", one.labels, sql=sql, tolerate=tolerated(one.share))


def _unique(one: _Expectation) -> None:
    if one.share:
        one.refuse("with `mostly` it counts every row of a repeated value; here those count that would have to go")
        return
    assert one.column is not None
    if one.labels:
        one.draft.ours(one.column, "unique", one.labels)
    else:
        one.draft.column(one.column)["unique"] = True


def _compound(one: _Expectation, strict: set[str]) -> None:
    columns = [str(name) for name in one.asked["column_list"]]
    skips = one.asked.get("ignore_row_if", "all_values_are_missing") == "any_value_is_missing"
    if one.share:
        one.refuse("with `mostly` it counts every row of a repeated value; here those count that would have to go")
    elif not skips and not set(columns) <= strict:
        one.refuse("rows with some values missing take part there, and not here; require the columns first")
    else:
        for name in columns:
            one.draft.column(name)
        one.draft.ours(None, "unique", one.labels, columns=columns)


def _in_set(one: _Expectation) -> None:
    values = plain(one.asked.get("value_set"))
    if values is None:
        one.refuse("its set is not of plain values")
    else:
        one.rule("values", values=values)


def _not_in_set(one: _Expectation) -> None:
    values = plain(one.asked.get("value_set"))
    if values is None:
        one.refuse("its set is not of plain values")
    else:
        assert one.column is not None
        listed = ", ".join(sql_value(value) for value in values)
        one.rule("expression", sql=f"{sql_name(one.column)} NOT IN ({listed})")


def _between(one: _Expectation) -> None:
    ends = {}
    for end, strict in (("minimum", "strict_min"), ("maximum", "strict_max")):
        value = one.asked.get(f"{end[:3]}_value")
        if isinstance(value, Mapping):
            one.refuse("its ends are parameters")
            return
        if value is not None:
            ends[f"exclusive{end.capitalize()}" if one.asked.get(strict) else end] = value
    if ends:
        one.rule("range", **ends)


def _matches(one: _Expectation) -> None:
    pattern = one.draft.pattern(one.column or "", one.kind, one.asked.get("regex"))
    if pattern is not None:
        one.rule("pattern", pattern=pattern)


def _does_not_match(one: _Expectation) -> None:
    pattern = one.draft.pattern(one.column or "", one.kind, one.asked.get("regex"))
    if pattern is not None:
        assert one.column is not None
        one.rule("expression", sql=f"NOT regexp_matches({sql_name(one.column)}, {sql_value(pattern)})")


def _length(one: _Expectation) -> None:
    if one.asked.get("strict_min") or one.asked.get("strict_max"):
        one.refuse("its ends do not belong to it; write the next whole number")
        return
    exact = one.asked.get("value")
    low, high = one.asked.get("min_value", exact), one.asked.get("max_value", exact)
    if low is not None or high is not None:
        one.rule("length", minimum=low, maximum=high)


def _type(one: _Expectation) -> None:
    listed = one.asked.get("type_list") or [one.asked.get("type_")]
    logical = {_LOGICAL.get(str(word).lower()) for word in listed}
    found = logical.pop() if len(logical) == 1 else None
    if found is None or one.share:
        one.refuse(f"{', '.join(map(str, listed))} is no one type of the standard")
    else:
        assert one.column is not None
        one.draft.column(one.column)["logicalType"] = found


def _aggregate(one: _Expectation, function: str) -> None:
    if one.asked.get("strict_min") or one.asked.get("strict_max"):
        one.refuse("its ends do not belong to it")
        return
    low, high = one.asked.get("min_value"), one.asked.get("max_value")
    if not all(
        value is None or (isinstance(value, int | float) and not isinstance(value, bool)) for value in (low, high)
    ):
        one.refuse("its ends are no numbers")
    elif low is not None or high is not None:
        one.draft.ours(one.column, function, one.labels, minimum=low, maximum=high)


def _rows(one: _Expectation) -> None:
    exact = one.asked.get("value")
    low, high = one.asked.get("min_value", exact), one.asked.get("max_value", exact)
    if one.asked.get("strict_min") or one.asked.get("strict_max"):
        one.refuse("its ends do not belong to it")
    elif low is not None or high is not None:
        one.draft.ours(None, "row_count", one.labels, minimum=low, maximum=high)


def _columns(one: _Expectation) -> None:
    for name in one.asked.get("column_set") or one.asked.get("column_list") or ():
        one.draft.column(str(name))
    if one.kind.endswith("ordered_list"):
        one.refuse("a contract promises columns, not their order")
        one.draft.unexpected = "refuse"
    elif one.asked.get("exact_match", True) is not False:
        one.draft.unexpected = "refuse"


def _exists(one: _Expectation) -> None:
    if one.asked.get("column_index") is not None:
        one.refuse("a contract promises columns, not their order")


_READERS: dict[str, Callable[[_Expectation], None]] = {
    "expect_column_to_exist": _exists,
    "expect_column_values_to_not_be_null": _not_null,
    "expect_column_values_to_be_null": _null,
    "expect_column_values_to_be_unique": _unique,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_distinct_values_to_be_in_set": _in_set,
    "expect_column_values_to_not_be_in_set": _not_in_set,
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_match_regex": _matches,
    "expect_column_values_to_not_match_regex": _does_not_match,
    "expect_column_value_lengths_to_be_between": _length,
    "expect_column_value_lengths_to_equal": _length,
    "expect_column_values_to_be_of_type": _type,
    "expect_column_values_to_be_in_type_list": _type,
    "expect_table_row_count_to_be_between": _rows,
    "expect_table_row_count_to_equal": _rows,
    "expect_table_columns_to_match_set": _columns,
    "expect_table_columns_to_match_ordered_list": _columns,
}
