"""pandera schemas as `to_yaml` and `to_json` write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bascule.contracts.importing.draft import Draft, plain, sql_name, sql_value

_TYPES = {
    "integer": r"u?int(8|16|32|64)?",
    "number": r"float(16|32|64)?|decimal.*",
    "string": r"str|string(\[.*\])?",
    "boolean": r"bool(ean)?",
    "date": r"date",
    "timestamp": r"datetime.*|timestamp.*",
}
_ENDS = {
    "greater_than_or_equal_to": "minimum",
    "ge": "minimum",
    "less_than_or_equal_to": "maximum",
    "le": "maximum",
    "greater_than": "exclusiveMinimum",
    "gt": "exclusiveMinimum",
    "less_than": "exclusiveMaximum",
    "lt": "exclusiveMaximum",
}
_OPTIONS = ("raise_warning", "ignore_na", "error", "title", "description", "n_failure_cases", "statistics")
_WORDS = {
    *("dtype", "nullable", "unique", "coerce", "required", "regex", "title", "description", "checks", "metadata"),
    *("default", "report_duplicates", "drop_invalid_rows", "parsers", "name"),
}


def read(document: Mapping[str, Any], table: str) -> Draft:
    """Return the contract that a schema of a data frame asks."""
    named = document.get("name")
    draft = Draft(table or (str(named) if isinstance(named, str) and named.isidentifier() else ""), "a pandera schema")
    draft.description = " ".join(str(document.get("description") or "").split())
    strict = document.get("strict")
    if strict is True:
        draft.unexpected = "refuse"
    elif strict:
        draft.refuse("the table", f"strict: {strict}", "a contract takes no columns away")
    if document.get("ordered"):
        draft.refuse("the table", "ordered", "a contract promises columns, not their order")
    if document.get("coerce"):
        draft.refuse("the table", "coerce", "a contract converts nothing; the types are asked of what comes")
    for name, column in (document.get("columns") or {}).items():
        _column(draft, str(name), column or {})
    together = document.get("unique")
    if together:
        _together(draft, [together] if isinstance(together, str) else [str(name) for name in together])
    for kind, _, _ in _checks(document.get("checks")):
        draft.refuse("the table", kind, "a check of the whole frame is code")
    if document.get("index"):
        draft.refuse("the index", "index", "a table has columns only")
    return draft


def _column(draft: Draft, name: str, column: Mapping[str, Any]) -> None:
    if column.get("regex"):
        draft.refuse(name, "regex", "a contract names its columns")
        return
    if column.get("required") is False:
        draft.refuse(name, "required: false", "a column of a contract is there; leave it out to allow both")
        return
    made = draft.column(name)
    draft.describe(name, column.get("description") or column.get("title"))
    _typed(draft, made, name, column.get("dtype"))
    if column.get("coerce"):
        draft.refuse(name, "coerce", "a contract converts nothing; the type is asked of what comes")
    nullable = column.get("nullable") is True
    if not nullable:
        made["required"] = True
    for word in ("default", "parsers", "drop_invalid_rows"):
        if column.get(word):
            draft.refuse(name, word, "a contract changes no rows")
    if column.get("unique"):
        if nullable:
            draft.refuse(name, "unique", "missing values are alike there, and take no part here")
        else:
            made["unique"] = True
    # Newer ones write the checks beside the other words.
    beside = {key: asked for key, asked in column.items() if key not in _WORDS}
    for kind, asked, options in (*_checks(column.get("checks")), *_checks(beside)):
        _check(draft, name, kind, asked, options)


def _typed(draft: Draft, made: dict[str, Any], name: str, dtype: Any) -> None:
    if dtype in (None, "object"):
        return
    word = str(dtype).lower().rpartition(".")[2] if "[" not in str(dtype) else str(dtype).lower()
    for logical, pattern in _TYPES.items():
        if re.fullmatch(pattern, word):
            made["logicalType"] = logical
            return
    draft.refuse(name, f"dtype {dtype}", "it has no equal in the standard")


def _checks(written: Any) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Yield every check with what it asks and its options, in all of the forms that pandera wrote."""
    if isinstance(written, Mapping):
        for kind, asked in written.items():
            yield str(kind), *_split(asked)
    for one in written if isinstance(written, list) else ():
        if not isinstance(one, Mapping):
            yield str(one), None, {}
            continue
        options = dict(one.get("options") or {})
        kind = options.pop("check_name", None) or one.get("check_name") or one.get("name")
        rest = {key: value for key, value in one.items() if key not in ("options", "check_name", "name")}
        asked, more = _split(rest)
        yield str(kind), asked, {**more, **options}


def _split(asked: Any) -> tuple[Any, Mapping[str, Any]]:
    """Return what a check asks and its options, which may stand beside it or in a place of their own."""
    if not isinstance(asked, Mapping):
        return asked, {}
    options = {**(asked.get("options") or {}), **{key: asked[key] for key in _OPTIONS if key in asked}}
    rest = {key: one for key, one in asked.items() if key not in (*_OPTIONS, "options")}
    return (next(iter(rest.values())) if len(rest) == 1 else rest), options


def _check(draft: Draft, name: str, kind: str, asked: Any, options: Mapping[str, Any]) -> None:
    labels: dict[str, Any] = {"severity": "warning"} if options.get("raise_warning") else {}
    if options.get("ignore_na") is False:
        draft.refuse(name, kind, "missing values take part in it; here they take no part")
    elif kind in _ENDS and not isinstance(asked, Mapping):
        draft.ours(name, "range", labels, **{_ENDS[kind]: asked})
    elif kind in ("in_range", "between") and isinstance(asked, Mapping):
        low = "minimum" if asked.get("include_min", True) else "exclusiveMinimum"
        high = "maximum" if asked.get("include_max", True) else "exclusiveMaximum"
        draft.ours(name, "range", labels, **{low: asked.get("min_value"), high: asked.get("max_value")})
    elif kind in ("isin", "notin", "equal_to", "eq", "not_equal_to", "ne"):
        _values(draft, name, kind, asked, labels)
    elif kind in ("str_matches", "str_contains", "str_startswith", "str_endswith"):
        _text(draft, name, kind, asked, labels)
    elif kind == "str_length":
        ends = asked if isinstance(asked, Mapping) else {"min_value": asked, "max_value": asked}
        exact = ends.get("exact_value")
        sizes = {"minimum": ends.get("min_value", exact), "maximum": ends.get("max_value", exact)}
        if any(size is not None for size in sizes.values()):
            draft.ours(name, "length", labels, **sizes)
    else:
        draft.refuse(name, kind, "it has no equal in a contract")


def _values(draft: Draft, name: str, kind: str, asked: Any, labels: Mapping[str, Any]) -> None:
    if isinstance(asked, Mapping):
        asked = next(iter(asked.values()), None)
    values = plain(asked if kind in ("isin", "notin") else [asked])
    if values is None:
        draft.refuse(name, kind, "its values are not plain")
    elif kind in ("isin", "equal_to", "eq"):
        draft.ours(name, "values", labels, values=values)
    else:
        listed = ", ".join(map(sql_value, values))
        draft.ours(name, "expression", labels, sql=f"{sql_name(name)} NOT IN ({listed})")


def _text(draft: Draft, name: str, kind: str, asked: Any, labels: Mapping[str, Any]) -> None:
    if isinstance(asked, Mapping):
        asked = next(iter(asked.values()), None)
    pattern: str | None
    if kind in ("str_startswith", "str_endswith"):
        exact = re.escape(str(asked)).replace(r"\ ", " ")
        pattern = f"^{exact}" if kind == "str_startswith" else f"{exact}$"
    else:
        pattern = draft.pattern(name, kind, asked)
        if pattern is not None and kind == "str_matches":
            pattern = f"^(?:{pattern})"  # it begins to match at the beginning
    if pattern is not None:
        draft.ours(name, "pattern", labels, pattern=pattern)


def _together(draft: Draft, names: list[str]) -> None:
    if all(draft.columns.get(name, {}).get("required") for name in names):
        draft.ours(None, "unique", {}, columns=names)
    else:
        draft.refuse(", ".join(names), "unique", "missing values are alike there, and take no part here")
