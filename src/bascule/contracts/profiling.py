"""What a relation holds: types, missing values, distinct values, ranges, moments, quantiles and common values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import duckdb
import msgspec

from bascule.contracts.families import Family, family_of, is_float
from bascule.contracts.sql import columns_of, error_text, quoted, unforetold
from bascule.errors import InputError

LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
# Above this many distinct values the commonest ones tell little and counting them would need memory for each.
_COUNTABLE = 10_000
_COLUMNS_A_SCAN = 60
_MORE = "more "
_ORDERED = frozenset[Family]({"integer", "number", "string", "date", "timestamp", "time"})
_COUNTED = frozenset[Family]({"integer", "number", "string", "boolean", "date", "timestamp", "time"})
_TOPPED = frozenset[Family]({"integer", "string", "boolean", "date"})


class ColumnProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One column.

    Attributes:
        missing: rows without a value: NULL, or NaN in a floating-point column.
        infinite: rows that hold an infinity; they take no part in the numbers below.
        distinct: about how many different values (HyperLogLog, within a few percent); None for nested columns.
        minimum, maximum: numbers for numeric columns, else text; None without values.
        mean, std, quantiles: of numeric columns; quantiles as (level, value) by t-digest, levels in `LEVELS`.
        shortest, longest: characters of a text column's values.
        top: the commonest values as text and their exact counts, of columns with at most 10,000 distinct values.
        more: what the caller asked for besides, by its own names.
    """

    name: str
    type: str
    family: str
    missing: int
    infinite: int = 0
    distinct: int | None = None
    minimum: int | float | str | None = None
    maximum: int | float | str | None = None
    mean: float | None = None
    std: float | None = None
    quantiles: tuple[tuple[float, float], ...] = ()
    shortest: int | None = None
    longest: int | None = None
    top: tuple[tuple[str, int], ...] = ()
    more: dict[str, Any] = {}

    def quantile(self, level: float) -> float | None:
        """The quantile at one of `LEVELS`, or None without numeric values."""
        return dict(self.quantiles).get(level)


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A relation: how many rows, and its columns in order. JSON-able with msgspec."""

    rows: int
    columns: tuple[ColumnProfile, ...]

    def column(self, name: str) -> ColumnProfile | None:
        """A column by name."""
        return next((column for column in self.columns if column.name == name), None)

    def missing_share(self, name: str) -> float:
        """The share of rows without a value, 0 to 1; 0 for an empty relation or an unknown column."""
        column = self.column(name)
        return column.missing / self.rows if column is not None and self.rows else 0.0


def profile(
    connection: duckdb.DuckDBPyConnection,
    relation_sql: str,
    *,
    top: int = 8,
    quantiles: bool = True,
    more: Callable[[str, str], Mapping[str, str]] = lambda name, type_name: {},
) -> Profile:
    """Profile a relation in one scan, with bounded memory whatever its size.

    Distinct counts and quantiles are sketches. Up to 60 columns share a scan; wider relations take one scan for each 60
    columns, which reads every column once all the same. Common values take one narrow query a column.

    Args:
        connection: a DuckDB connection whose time zone is UTC. Nothing is written.
        relation_sql: text usable after FROM.
        top: how many of the commonest values are kept; 0 leaves them out.
        quantiles: also measure these; they are half the cost of the scan.
        more: gives for a column's name and type more aggregates for the same scan, as SQL by name.

    Raises:
        InputError: the relation cannot be read.
    """
    try:
        types = columns_of(connection, relation_sql)
        relation_sql = unforetold(connection, relation_sql, types)
        rows, scanned = 0, dict[str, dict[str, Any]]()
        names = list(types)
        for start in range(0, len(names), _COLUMNS_A_SCAN):
            part = {name: types[name] for name in names[start : start + _COLUMNS_A_SCAN]}
            rows, found = _scan(connection, relation_sql, part, _Wanted(quantiles, more))
            scanned |= found
        columns = tuple(
            _column(connection, relation_sql, name, types[name], scanned[name], rows, top) for name in names
        )
    except duckdb.Error as error:
        raise InputError(
            f"The rows cannot be read: {error_text(error)}", hint="Look at the rows with: bascule sql"
        ) from error
    return Profile(rows=rows, columns=columns)


class _Wanted(NamedTuple):
    quantiles: bool
    more: Callable[[str, str], Mapping[str, str]]


def _scan(
    connection: duckdb.DuckDBPyConnection, relation: str, types: dict[str, str], asked: _Wanted
) -> tuple[int, dict[str, dict[str, Any]]]:
    wanted = [
        (name, measure, sql)
        for name, type_ in types.items()
        for measure, sql in (*_measures(name, type_), *(((_MORE + n, s) for n, s in asked.more(name, type_).items())))
        if measure != "quantiles" or asked.quantiles
    ]
    items = ", ".join(sql for _, _, sql in wanted)
    row = connection.execute(f"SELECT count(*), {items} FROM {relation} AS t").fetchall()[0]
    found: dict[str, dict[str, Any]] = {name: {} for name in types}
    for (name, measure, _), value in zip(wanted, row[1:], strict=True):
        # Over no rows at all DuckDB's count_if answers NULL.
        found[name][measure] = value or 0 if measure in ("missing", "infinite") else value
    return int(row[0]), found


def _measures(name: str, type_name: str) -> Iterator[tuple[str, str]]:
    """The aggregates of one column, by the attribute that they fill."""
    column, family = quoted(name), family_of(type_name)
    yield "missing", f"count_if({column} IS NULL{f' OR isnan({column})' if is_float(type_name) else ''})"
    value = f"CASE WHEN isfinite({column}) THEN {column} END" if is_float(type_name) else column
    if is_float(type_name):
        yield "infinite", f"count_if(isinf({column}))"
    if family in _COUNTED:
        yield "distinct", f"approx_count_distinct({value})"
    if family in ("integer", "number"):
        plain = value if family == "integer" else f"CAST({value} AS DOUBLE)"
        number = f"CAST({value} AS DOUBLE)"
        levels = ", ".join(str(level) for level in LEVELS)
        yield "minimum", f"min({plain})"
        yield "maximum", f"max({plain})"
        yield "mean", f"avg({number})"
        yield "std", f"stddev_samp({number})"
        yield "quantiles", f"approx_quantile({number}, [{levels}])"
    elif family in _ORDERED:
        yield "minimum", f"left(CAST(min({column}) AS VARCHAR), 80)"
        yield "maximum", f"left(CAST(max({column}) AS VARCHAR), 80)"
    if family == "string":
        yield "shortest", f"min(length(CAST({column} AS VARCHAR)))"
        yield "longest", f"max(length(CAST({column} AS VARCHAR)))"


def _column(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    name: str,
    type_name: str,
    found: dict[str, Any],
    rows: int,
    top: int,
) -> ColumnProfile:
    family = family_of(type_name)
    quantiles = found.pop("quantiles", None) or ()
    more = {measure.removeprefix(_MORE): found.pop(measure) for measure in tuple(found) if measure.startswith(_MORE)}
    distinct = found.get("distinct")
    values: Sequence[tuple[str, int]] = ()
    if top and family in _TOPPED and distinct and distinct <= _COUNTABLE and rows > found["missing"]:
        values = common_values(connection, relation, name, top)
    return ColumnProfile(
        name=name,
        type=type_name,
        family=family,
        quantiles=tuple(zip(LEVELS, (float(value) for value in quantiles), strict=False)),
        top=tuple(values),
        more=more,
        **found,
    )


def common_values(connection: duckdb.DuckDBPyConnection, relation: str, name: str, limit: int) -> list[tuple[str, int]]:
    """The commonest values of a column as text with their exact counts, ties by value."""
    query = (
        f"SELECT CAST({quoted(name)} AS VARCHAR) AS v, count(*) AS n FROM {relation} AS t "
        f"WHERE {quoted(name)} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {limit}"
    )
    return [(str(value), int(count)) for value, count in connection.execute(query).fetchall()]
