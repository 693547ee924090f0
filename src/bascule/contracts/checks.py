"""What a contract can ask of a table: rules, the bound on what they measure, and checks that join the two."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from bascule.contracts.families import Family

Scalar = str | int | float | bool | None
Severity = Literal["info", "warning", "critical"]
Policy = Literal["allow", "warn", "refuse"]
Measure = Literal["js", "psi", "linf", "tvd"]
Function = Literal["mean", "min", "max", "sum", "std", "median", "quantile", "distinct"]


# Rules that hold row by row: a row passes, or fails and can be shown. A NULL passes every rule but the first two.


@dataclass(frozen=True, slots=True)
class NotNull:
    """The column holds a value. In a floating-point column NaN is a missing value, as NULL is."""

    column: str


@dataclass(frozen=True, slots=True)
class NotMissing:
    """The column holds a value that is not NULL and not one of the stand-ins, such as '' or 'N/A'."""

    column: str
    stand_ins: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value is one of an accepted set."""

    column: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """The value is none of a refused set."""

    column: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """The value lies in a range; an open end is None."""

    column: str
    minimum: Scalar = None
    maximum: Scalar = None
    above: Scalar = None  # exclusive minimum
    below: Scalar = None  # exclusive maximum


@dataclass(frozen=True, slots=True)
class Matches:
    """The text holds a match of a regular expression (RE2); anchor it with ^ and $ to match the whole."""

    column: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Length:
    """The number of characters of a text, or of items of an array."""

    column: str
    minimum: int | None
    maximum: int | None


@dataclass(frozen=True, slots=True)
class MultipleOf:
    """The value is a whole multiple of a number."""

    column: str
    of: int | float


@dataclass(frozen=True, slots=True)
class Holds:
    """A SQL expression over the row is not false; like SQL's own CHECK, NULL passes."""

    sql: str
    column: str | None = None


# Rules over many rows that still count failing rows.


@dataclass(frozen=True, slots=True)
class Unique:
    """No two rows share the values of these columns. Rows with a missing value in one of them take no part.

    What fails is counted as surplus: the rows that would have to go.
    """

    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class References:
    """The values of these columns occur in another table. Rows with a missing value take no part."""

    columns: tuple[str, ...]
    table: str
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoRowsFrom:
    """A query that selects failing rows finds none."""

    sql: str


@dataclass(frozen=True, slots=True)
class Outliers:
    """The value lies within fences: the quartiles, moved outwards by `fences` times the distance between them.

    The quartiles are those of the rows that are checked, or of the same table at a reference state.
    """

    column: str
    fences: float
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Called:
    """A Python function that is given the rows finds nothing wrong."""

    function: str  # module:function


# Rules that measure one number.


@dataclass(frozen=True, slots=True)
class RowCount:
    """The number of rows."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An aggregate of a column's values that are not missing; `at` is the level of a quantile, 0 to 1."""

    function: Function
    column: str
    at: float = 0.5


@dataclass(frozen=True, slots=True)
class Contains:
    """How many of some values never occur."""

    column: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Differs:
    """How far the values are from other ones: shares that the contract states, or a reference state of the table.

    Attributes:
        shares: value to its share; the rest up to 1 is of other values. Empty with a reference.
        reference: a branch, a tag or a commit.
    """

    column: str
    measure: Measure
    shares: tuple[tuple[Scalar, float], ...] = ()
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Freshness:
    """The age of the newest time in a column, in seconds, when the check runs."""

    column: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The single number or truth that a SQL query answers."""

    sql: str
    column: str | None = None


# Rules about columns; they are judged from the schema alone.


@dataclass(frozen=True, slots=True)
class Declared:
    """The column is there and its type is of a family; without a family any type will do."""

    column: str
    family: Family | None


@dataclass(frozen=True, slots=True)
class NoOthers:
    """There are no columns that the contract does not name."""

    policy: Policy


RowRule = NotNull | NotMissing | OneOf | NoneOf | Between | Matches | Length | MultipleOf | Holds
SetRule = Unique | References | NoRowsFrom | Outliers | Called
NumberRule = RowCount | Aggregate | Contains | Differs | Freshness | Answer
SchemaRule = Declared | NoOthers
Rule = RowRule | SetRule | NumberRule | SchemaRule


Operator = Literal["=", "!=", ">", ">=", "<", "<=", "between", "not between", "usual"]
_WORDS: dict[str, str] = {"=": "", "!=": "not ", ">": "over ", ">=": "at least ", "<": "under ", "<=": "at most "}


@dataclass(frozen=True, slots=True)
class Bound:
    """What a measured number must satisfy. `unit` percent compares 100 × failing rows / rows looked at.

    The operator `usual` asks for at most `low` robust standard deviations from the check's own past; `settled` makes
    it a range, once that past is known.
    """

    operator: Operator
    low: float
    high: float = 0.0
    unit: Literal["rows", "percent", "value"] = "rows"

    def settled(self, past: tuple[float, float]) -> Bound:
        """A bound on what is usual, as the range that the past gives."""
        return replace(self, operator="between", low=past[0], high=past[1])

    def holds(self, observed: float) -> bool:
        """Whether a number satisfies the bound; NaN satisfies none, and what is usual must be settled before."""
        if observed != observed:
            return False
        low, high = self.low, self.high
        outcome = {
            "=": observed == low,
            "!=": observed != low,
            ">": observed > low,
            ">=": observed >= low,
            "<": observed < low,
            "<=": observed <= low,
            "between": low <= observed <= high,
            "not between": not low <= observed <= high,
        }
        return outcome[self.operator]

    def text(self) -> str:
        """The bound in words, for example `at most 0.1 %` or `850 to 1,200`."""
        mark = " %" if self.unit == "percent" else ""
        if self.operator == "usual":
            return "as usual"
        if self.operator in ("between", "not between"):
            inside = f"{shown_number(self.low)} to {shown_number(self.high)}{mark}"
            return inside if self.operator == "between" else f"outside {inside}"
        return f"{_WORDS[self.operator]}{shown_number(self.low)}{mark}"


NONE_FAILING = Bound("<=", 0)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a contract asks.

    Attributes:
        name: unique within the contract.
        rule: what is measured.
        bound: what the measure must satisfy: for rules that count failing rows their number or share.
        severity: only a failed `critical` check fails a report.
        where: a SQL condition; only rows for which it is true are looked at.
        minimum_rows: with fewer rows to look at the check passes, because it could say nothing.
        owner: who is asked when it fails.
        line: where the contract asks it.
    """

    name: str
    rule: Rule
    bound: Bound = NONE_FAILING
    severity: Severity = "critical"
    where: str | None = None
    minimum_rows: int = 0
    description: str = ""
    dimension: str = ""
    owner: str = ""
    line: int = field(default=0, compare=False)

    @property
    def kind(self) -> str:
        """The word for the rule: not_null, unique, range, …"""
        if isinstance(self.rule, Differs):
            return "drift" if self.rule.reference else "distribution"
        return KINDS[type(self.rule)] if not isinstance(self.rule, Aggregate) else self.rule.function

    @property
    def quality(self) -> str:
        """The dimension of data quality: the written one, or the usual one for the rule."""
        return self.dimension or DIMENSIONS.get(self.kind, "accuracy" if self._measures() else "conformity")

    def _measures(self) -> bool:
        return isinstance(self.rule, Aggregate | Between)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the rule names itself; its SQL may read others."""
        rule = self.rule
        if isinstance(rule, Unique | References):
            return rule.columns
        column = getattr(rule, "column", None)
        return (column,) if column else ()


KINDS: dict[type, str] = {
    NotNull: "not_null",
    NotMissing: "not_missing",
    OneOf: "values",
    NoneOf: "not_values",
    Between: "range",
    Matches: "pattern",
    Length: "length",
    MultipleOf: "multiple_of",
    Holds: "expression",
    Unique: "unique",
    References: "relationship",
    NoRowsFrom: "query",
    Outliers: "outliers",
    Called: "python",
    RowCount: "row_count",
    Contains: "contains",
    Freshness: "freshness",
    Answer: "sql",
    Declared: "column",
    NoOthers: "columns",
}


DIMENSIONS: dict[str, str] = {
    "not_null": "completeness",
    "not_missing": "completeness",
    "row_count": "completeness",
    "unique": "uniqueness",
    "relationship": "consistency",
    "expression": "consistency",
    "query": "consistency",
    "freshness": "timeliness",
    "contains": "coverage",
    "drift": "accuracy",
    "distribution": "accuracy",
    "outliers": "accuracy",
    "sql": "",
    "python": "",
}


def shown_number(value: float) -> str:
    """A number for people: thousands separated, at most six significant digits, no trailing zeros."""
    if value != value or value in (float("inf"), float("-inf")):
        return str(value)
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1e15 or abs(value) < 1e-4:
        return f"{value:.4g}"
    places = max(0, 6 - len(str(int(abs(value)))))
    return f"{value:,.{places}f}".rstrip("0").rstrip(".")
