"""dbt properties files: the tests and constraints of one model, source table, seed or snapshot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from bascule.contracts.families import LOGICAL_TYPES, family_of
from bascule.contracts.importing.draft import Draft, percent, plain, sql_name, sql_value
from bascule.errors import InputError, NotFound

_REFERENCE = re.compile(r"(?:ref|source)\(\s*(?:'[^']*'\s*,\s*)?'([^']+)'\s*\)")
_DATEPARTS = {"minute": "min", "hour": "h", "day": "d", "week": "w"}


def read(document: Mapping[str, Any], table: str) -> Draft:
    """Return the contract that the tests of one table ask.

    Raises:
        InputError: the file holds several tables and none is named. NotFound: it does not hold the one that is.
    """
    known = {str(one["name"]): one for one in _tables(document)}
    if not known:
        raise InputError("The dbt file holds no model, source, seed or snapshot.", hint="Take the properties file.")
    if not table and len(known) > 1:
        raise InputError(
            f"The dbt file holds {len(known)} tables: {', '.join(list(known)[:6])}.", hint="Say which: --table NAME"
        )
    name = table or next(iter(known))
    if name not in known:
        raise NotFound("table in the dbt file", name, known)
    model, draft = known[name], Draft(name, "a dbt properties file")
    draft.description = " ".join(str(model.get("description") or "").split())
    config = model.get("config") or {}
    if ((config.get("contract") or model.get("contract")) or {}).get("enforced"):
        draft.unexpected = "refuse"
    for column in model.get("columns") or ():
        _column(draft, column)
    for test in [*(model.get("tests") or ()), *(model.get("data_tests") or ())]:
        _Test(draft, None, test).read()
    for constraint in model.get("constraints") or ():
        _constraint(draft, None, constraint)
    if model.get("freshness"):
        draft.refuse("the table", "freshness", "it is of the time of loading, not of a column of the rows")
    return draft


def _tables(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for group in ("models", "seeds", "snapshots"):
        yield from document.get(group) or ()
    for source in document.get("sources") or ():
        yield from source.get("tables") or ()


def _column(draft: Draft, column: Mapping[str, Any]) -> None:
    name = str(column["name"])
    made = draft.column(name)
    draft.describe(name, column.get("description"))
    if column.get("data_type"):
        family = family_of(str(column["data_type"]))
        if family in LOGICAL_TYPES:
            made["logicalType"] = family
        made["physicalType"] = str(column["data_type"])
    if column.get("tags"):
        made["tags"] = [str(tag) for tag in column["tags"]]
    for test in [*(column.get("tests") or ()), *(column.get("data_tests") or ())]:
        _Test(draft, name, test).read()
    for constraint in column.get("constraints") or ():
        _constraint(draft, name, constraint)


def _constraint(draft: Draft, column: str | None, constraint: Mapping[str, Any]) -> None:
    kind = str(constraint.get("type"))
    names = [column] if column is not None else [str(one) for one in constraint.get("columns") or ()]
    if kind == "not_null" and names:
        for name in names:
            draft.column(name)["required"] = True
    elif kind == "unique" and column is not None:
        draft.column(column)["unique"] = True
    elif kind == "primary_key" and names:
        for place, name in enumerate(names, 1):
            draft.column(name).update(primaryKey=True, primaryKeyPosition=place)
    elif kind == "check" and constraint.get("expression"):
        draft.ours(column, "expression", {}, sql=str(constraint["expression"]))
    else:
        draft.refuse(column or "the table", f"constraint {kind}", "it has no equal in a contract")


class _Test:
    """One test, written as a word or as a word with arguments."""

    def __init__(self, draft: Draft, column: str | None, written: Any) -> None:
        self.draft, self.column = draft, column
        if isinstance(written, Mapping) and "test_name" in written:  # the long form
            self.kind, asked = str(written["test_name"]), dict(written)
        elif isinstance(written, Mapping) and len(written) == 1:
            self.kind, asked = next(iter(written)), dict(next(iter(written.values())) or {})
        else:
            self.kind, asked = str(written), {}
        asked.update(asked.pop("arguments", None) or {})
        config = {**asked, **(asked.pop("config", None) or {})}
        self.asked = asked
        self.column = self.column or (str(asked["column_name"]) if asked.get("column_name") else None)
        self.where = config.get("where")
        self.limits = [key for key in ("warn_if", "error_if", "fail_calc") if config.get(key)]
        self.labels: dict[str, Any] = {}
        if str(config.get("severity", "error")).lower() == "warn":
            self.labels["severity"] = "warning"
        if asked.get("name"):
            self.labels["name"] = str(asked["name"])
        if asked.get("description"):
            self.labels["description"] = " ".join(str(asked["description"]).split())

    def refuse(self, why: str) -> None:
        self.draft.refuse(self.column or "the table", self.kind, why)

    def ours(self, check: str, **asked: Any) -> None:
        """A rule of Bascule's own, over the rows that the test looks at."""
        self.draft.ours(self.column, check, self.labels, **asked, where=self.where)

    def read(self) -> None:
        """Add what the test asks to the contract, or note that it can't be."""
        method = _METHODS.get(self.kind)
        if self.limits:
            self.refuse(f"{' and '.join(self.limits)} count in the test's own way")
        elif "{" in str(self.where or "") + str(self.asked.get("expression") or ""):
            self.refuse("its SQL is a template")
        elif method is None:
            self.refuse("it has no equal in a contract")
        elif self.column is None and self.kind not in _OF_TABLES:
            self.refuse("it names no column")
        else:
            method(self)

    def simple(self, key: str, check: str) -> None:
        """What the standard has a word for, unless the test says more."""
        assert self.column is not None
        if self.labels or self.where:
            self.ours(check)
        else:
            self.draft.column(self.column)[key] = True

    def accepted(self) -> None:
        """`accepted_values`."""
        values = plain(self.asked.get("values"))
        if values is None:
            self.refuse("its values are not plain")
            return
        quoted = self.asked.get("quote", True) is not False
        self.ours("values", values=[str(one) for one in values] if quoted else values)

    def not_accepted(self) -> None:
        """`not_accepted_values`."""
        values = plain(self.asked.get("values"))
        if values is None or self.column is None:
            self.refuse("its values are not plain")
            return
        quoted = self.asked.get("quote", True) is not False
        listed = ", ".join(sql_value(str(one) if quoted else one) for one in values)
        self.ours("expression", sql=f"{sql_name(self.column)} NOT IN ({listed})")

    def relationship(self) -> None:
        """`relationships`: dbt leaves out missing values, too."""
        to = re.fullmatch(
            r"\s*(?:ref|source)\(\s*(?:'[^']*'\s*,\s*)?'([^']+)'\s*\)\s*",
            str(self.asked.get("to", "")).replace('"', "'"),
        )
        if to is None or not self.asked.get("field"):
            self.refuse("the other table is not named by ref('…') or source('…', '…')")
        else:
            self.ours("relationship", table=to[1], to=[str(self.asked["field"])])

    def range(self) -> None:
        """`accepted_range`."""
        inclusive = self.asked.get("inclusive", True) is not False
        low, high = self.asked.get("min_value"), self.asked.get("max_value")
        if any(isinstance(end, str) for end in (low, high)):
            self.refuse("its ends are expressions")
            return
        names = ("minimum", "maximum") if inclusive else ("exclusiveMinimum", "exclusiveMaximum")
        self.ours("range", **{name: end for name, end in zip(names, (low, high), strict=True) if end is not None})

    def not_empty(self) -> None:
        """`not_empty_string`."""
        assert self.column is not None
        name = sql_name(self.column)
        trimmed = f"trim({name})" if self.asked.get("trim_whitespace", True) is not False else name
        self.ours("expression", sql=f"{trimmed} <> ''")

    def proportion(self) -> None:
        """`not_null_proportion`."""
        least = self.asked.get("at_least")
        if not isinstance(least, int | float) or self.asked.get("at_most", 1) != 1 or self.where:
            self.refuse("only `at_least` has an equal")
        else:
            bound = {"unit": "percent", "mustBeLessOrEqualTo": percent(1 - least)}
            self.draft.rule(self.column, {"metric": "nullValues", **bound, **self.labels})

    def expression(self) -> None:
        """`expression_is_true`: a NULL passes here, and there only when it is compared with a column."""
        self.refuse("a row for which the expression is NULL fails there, and passes here")

    def combination(self) -> None:
        """`unique_combination_of_columns`: rows with missing values take part there."""
        names = [str(name) for name in self.asked.get("combination_of_columns") or ()]
        strict = all(
            self.draft.columns.get(name, {}).get("required") or self.draft.columns.get(name, {}).get("primaryKey")
            for name in names
        )
        if not names or not strict:
            self.refuse("rows with missing values take part there, and not here; require the columns first")
        else:
            self.ours("unique", columns=names)

    def recency(self) -> None:
        """`recency`."""
        unit, count = _DATEPARTS.get(str(self.asked.get("datepart"))), self.asked.get("interval")
        field = str(self.asked.get("field") or "")
        if unit is None or not isinstance(count, int) or not field.isidentifier() or self.asked.get("group_by_columns"):
            self.refuse("only a column with minutes, hours, days or weeks has an equal")
        else:
            self.column = field
            self.draft.column(field)
            self.ours("freshness", within=f"{count}{unit}")


_OF_TABLES = {"dbt_utils.unique_combination_of_columns", "dbt_utils.recency", "dbt_utils.expression_is_true"}
_METHODS = {
    "not_null": lambda test: test.simple("required", "not_null"),
    "unique": lambda test: test.simple("unique", "unique"),
    "accepted_values": _Test.accepted,
    "relationships": _Test.relationship,
    "dbt_utils.accepted_range": _Test.range,
    "dbt_utils.not_empty_string": _Test.not_empty,
    "dbt_utils.not_null_proportion": _Test.proportion,
    "dbt_utils.not_accepted_values": _Test.not_accepted,
    "dbt_utils.expression_is_true": _Test.expression,
    "dbt_utils.unique_combination_of_columns": _Test.combination,
    "dbt_utils.recency": _Test.recency,
}
