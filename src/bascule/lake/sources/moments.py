"""Moments that are not written as ISO 8601: which format reads them, and whether the day or the month comes first.

`01/02/2025` is two different days, and no single value says which. The values of the whole column decide it where one
of them has a number over 12; what decides it where none has is said by whoever asks (`scan.read_source`).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb

from bascule.lake.iceberg.types import literal, quoted

DAY_FIRST, MONTH_FIRST = ORDERS = ("day-first", "month-first")
FIRST, SAMPLE = 2_048, 50  # rows that are looked at first, and values of a column

# Of two orders that both read all values, the one that comes first here is assumed.
_DAYS = (
    *(("%m/%d/%Y", MONTH_FIRST), ("%d/%m/%Y", DAY_FIRST), ("%m/%d/%y", MONTH_FIRST), ("%d/%m/%y", DAY_FIRST)),
    *(("%d-%m-%Y", DAY_FIRST), ("%m-%d-%Y", MONTH_FIRST), ("%d-%m-%y", DAY_FIRST), ("%m-%d-%y", MONTH_FIRST)),
    *(("%d.%m.%Y", ""), ("%d.%m.%y", "")),  # between points nobody writes the month first
    *(("%b %d %Y", ""), ("%b %d, %Y", ""), ("%B %d %Y", ""), ("%B %d, %Y", "")),
    *(("%d %b %Y", ""), ("%d-%b-%Y", ""), ("%d %B %Y", ""), ("%Y-%m-%d", ""), ("%Y/%m/%d", "")),
)
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", " %I:%M%p", " %I:%M:%S%p")
_PARTS = {
    **dict.fromkeys(("%d", "%m", "%H", "%I", "%M", "%S"), r"\d{1,2}"),
    **{
        "%Y": r"\d{4}",
        "%y": r"\d{2}",
        "%f": r"\d{1,6}",
        "%p": "[AaPp][Mm]",
        "%b": "[A-Za-z]{3}",
        "%B": "[A-Za-z]{3,9}",
    },
}


@dataclass(frozen=True, slots=True)
class Format:
    """A way to write a moment.

    Attributes:
        text: as strptime reads it.
        order: `day-first` or `month-first` where the other one would look the same; else empty.
    """

    text: str
    order: str = ""

    @property
    def pattern(self) -> str:
        """A regular expression that a text in this format matches as a whole."""
        return re.sub(r"%\w|\.", lambda part: _PARTS.get(part[0], ".*" if part[0] != "." else r"\."), self.text)

    @property
    def type(self) -> str:
        """`DATE`, or `TIMESTAMP` where there is a clock."""
        return "TIMESTAMP" if "%M" in self.text else "DATE"

    @property
    def is_iso(self) -> bool:
        """Whether it is one of the ways that ISO 8601 has."""
        return self.text.startswith("%Y") and "%p" not in self.text

    def reads(self, value: str) -> bool:
        """Tell whether a text is a moment in this format."""
        try:
            dt.datetime.strptime(value, self.text)
        except ValueError:
            return False
        return re.fullmatch(self.pattern, value) is not None

    def sql(self, expression: str) -> str:
        """SQL for the moment that a text is, NULL when it is none in this format."""
        text = literal(self.text)
        matches = f"regexp_full_match({expression}, {literal(self.pattern)})"
        return f"CASE WHEN {matches} THEN try_strptime({expression}, {text})::TIMESTAMP END"


FORMATS = tuple(Format(day + clock, order) for clock in _CLOCKS for day, order in _DAYS)
_PATTERNS = tuple((one, re.compile(one.pattern)) for one in FORMATS)


@dataclass(frozen=True, slots=True)
class Written:
    """How the moments of a column may be written.

    Attributes:
        formats: what looks like it, with the number of values that each reads, in the order of preference.
        filled: how many values there are.
    """

    formats: Mapping[Format, int]
    filled: int

    @property
    def whole(self) -> list[Format]:
        """The formats that read every value; none when the column holds something else too."""
        return [one for one, read in self.formats.items() if read == self.filled]

    def read_as(self, order: str) -> Format:
        """Return the format to read by: one that reads all if there is one in that order, else the nearest."""
        fitting = {one: read for one, read in self.formats.items() if not order or one.order in ("", order)}
        return max(fitting or self.formats, key=lambda one: self.formats[one])  # the first of equals


def find(connection: duckdb.DuckDBPyConnection, relation: str, names: Sequence[str]) -> dict[str, Written]:
    """Return how the text columns of a relation that look like moments may be written.

    Args:
        relation: SQL for FROM that gives the columns as text.
    """
    if not names:
        return {}
    samples = _samples(connection, relation, names)
    asked = [(name, one) for name in names for one in _likely(samples[name])]
    if not asked:
        return {}
    named = list(dict.fromkeys(name for name, _ in asked))
    counts = [f"count({quoted(name)})" for name in named] + [f"count({one.sql(quoted(name))})" for name, one in asked]
    found = [int(n) for n in connection.execute(f"SELECT {', '.join(counts)} FROM {relation}").fetchall()[0]]
    filled = dict(zip(named, found, strict=False))
    read = list(zip(asked, found[len(named) :], strict=True))
    return {
        name: Written({one: count for (column, one), count in read if column == name}, filled[name]) for name in named
    }


def has_offsets(connection: duckdb.DuckDBPyConnection, relation: str, name: str) -> bool:
    """Tell whether any value of a text column ends with a time zone behind its clock."""
    pattern = literal(r":\d\d(\.\d+)?\s*([A-Za-z]|[+-]\d)")
    query = f"SELECT count(*) FROM {relation} WHERE regexp_matches({quoted(name)}, {pattern})"
    return bool(connection.execute(query).fetchall()[0][0])


def _samples(connection: duckdb.DuckDBPyConnection, relation: str, names: Sequence[str]) -> dict[str, list[str]]:
    """Return some values of each column: of its first rows, or wherever they are when those have none."""
    rows = connection.execute(f"SELECT {', '.join(map(quoted, names))} FROM {relation} LIMIT {FIRST}").fetchall()
    found = {name: list(dict.fromkeys(row[place] for row in rows if row[place])) for place, name in enumerate(names)}
    if late := [name for name, values in found.items() if not values]:
        any_values = ", ".join(f"any_value({quoted(name)})" for name in late)
        values = connection.execute(f"SELECT {any_values} FROM {relation}").fetchall()[0]
        found |= {name: [value] if value else [] for name, value in zip(late, values, strict=True)}
    return {name: values[:SAMPLE] for name, values in found.items()}


def _likely(values: Sequence[str]) -> list[Format]:
    return [one for one, pattern in _PATTERNS if any(pattern.fullmatch(value) for value in values)]


@dataclass(frozen=True, slots=True)
class Dates:
    """In which order the columns of a source are read whose moments could be read in two.

    Attributes:
        orders: `day-first` or `month-first`, by column in lower case.
        unsure: the columns in which no value decides it, so that it was assumed.
    """

    orders: Mapping[str, str] = field(default_factory=dict)
    unsure: tuple[str, ...] = ()

    @property
    def open(self) -> set[str]:
        """The unsure columns, in lower case."""
        return {name.casefold() for name in self.unsure}

    @property
    def single(self) -> str:
        """The order of all columns, empty when there is none or there are two."""
        return _only(set(self.orders.values()))

    @property
    def assumed(self) -> tuple[str, ...]:
        """What was assumed, a sentence for each column."""
        examples = {DAY_FIRST: "01/02/2025 is 1 February", MONTH_FIRST: "01/02/2025 is 2 January"}
        said = "no value of column {name!r} shows whether the day or the month comes first; it is read {order}: {shown}"
        found = [(name, self.orders[name.casefold()]) for name in self.unsure]
        return tuple(said.format(name=name, order=order, shown=examples[order]) for name, order in found)


NO_DATES = Dates()


def settle(files: Sequence[Mapping[str, Written]], wanted: str = "", known: Mapping[str, str] | None = None) -> Dates:
    """Decide for each column of the files of a source which order it is read in.

    What is wanted counts, then what is known of the column, then what its values show in any of the files, then what
    all other columns show. Else it is assumed: the month first between slashes, the day between hyphens.

    Args:
        files: for each file, how the moments of its columns may be written.
        wanted: the order of all columns; empty when nobody has said it.
        known: orders by column in lower case, such as those in which a table was read before.
    """
    held = dict(known or {})
    named = {name.casefold(): name for file in files for name in file}
    whole = {key: [orders for file in files if (orders := _orders(file, name))] for key, name in named.items()}
    shown = {key: {orders[0] for orders in every if len(orders) == 1} for key, every in whole.items()}
    everywhere = {order for orders in shown.values() for order in orders}
    settled, unsure = {}, []
    for key in named:
        found = whole[key]
        sure = wanted or held.get(key) or _only(shown[key] or everywhere)
        open_ones = [orders for orders in found if len(orders) > 1]
        if not sure and open_ones:
            unsure.append(named[key])
            settled[key] = open_ones[0][0]
        elif sure and (found or wanted or key in held):
            settled[key] = sure
    return Dates(settled, tuple(unsure))


def _only(orders: set[str]) -> str:
    return next(iter(orders)) if len(orders) == 1 else ""


def _orders(file: Mapping[str, Written], name: str) -> list[str]:
    """Return in which orders every value of a column can be read, the one to be preferred first."""
    found = next((how for column, how in file.items() if column.casefold() == name.casefold()), None)
    return [one.order for one in found.whole if one.order] if found is not None else []
