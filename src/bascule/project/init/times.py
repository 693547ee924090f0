"""Which columns are moments, when a prediction would be asked for, and when its answer becomes known."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import duckdb

from bascule.errors import InputError
from bascule.lake.sources import moments
from bascule.project.init.sql import one_row, quoted
from bascule.project.init.tables import TIMES, Column, Table

_TIME_NAME = re.compile(r"(^|_)(time|timestamp|ts|epoch|datetime|date|at|when)($|_)", re.IGNORECASE)
_LATER_NAME = re.compile(
    r"arriv|land|(^|_)end|clos|deliver|return|updat|resolv|paid|settl|finish|complet|outcome|churned|stop",
    re.IGNORECASE,
)
_BORN = re.compile(r"birth|born|(^|_)dob($|_)", re.IGNORECASE)
_YEAR_NAME = re.compile(r"(fiscal_?)?(year|yr|season)(_?id)?", re.IGNORECASE)
YEARS = (1600, 2200)
FEW_YEARS = 5
_MOMENT_LIKE = (
    r"^\s*(\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}|\d{1,2}[- ][A-Za-z]{3,9}[- ]\d{2,4}|[A-Za-z]{3,9}\.? \d{1,2},? \d{4})"
    r"([ T]\d{1,2}:\d{2}.*)?$"
)
EPOCH_SECONDS = (315_532_800, 4_102_444_800)  # 1980 to 2100
MICROS = 1_000_000
MOSTLY = 0.5  # so many texts that look like moments must be some, before the others are taken for mistakes


@dataclass(frozen=True)
class _Reading:
    """How a text column may be written as moments, and in which order the columns of its table are read."""

    written: moments.Written | None
    dates: moments.Dates


def mark_times(connection: duckdb.DuckDBPyConnection, table: Table, order: str = "") -> Table:
    """Return the table with its time columns marked.

    Times are typed columns, texts that are moments, and whole numbers that are called so and are seconds or
    milliseconds since 1970, or days written as 20130401. A table without any, but with `year`, `month` and `day`, has
    its time in these.

    Args:
        order: whether the day or the month comes first, by the other tables; used where the texts leave it open.

    Raises:
        InputError: nearly all texts of a column are moments and some cannot be read.
    """
    texts = [one.name for one in table.columns if one.type == "VARCHAR" and _may_be_moment(one)]
    written = moments.find(connection, table.sql, texts)
    dates = moments.settle([written], known=table.dates.orders)
    if order and dates.unsure:
        dates = moments.settle([written], known={**table.dates.orders, **dict.fromkeys(dates.open, order)})
    columns = [_marked(connection, table, one, _Reading(written.get(one.name), dates)) for one in table.columns]
    unsure = tuple(name for name in dates.unsure if columns[[one.name for one in columns].index(name)].is_time)
    marked = replace(table, columns=tuple(columns), texts=moments.Dates(dates.orders, unsure))
    return marked if marked.times else _marked_parts(connection, marked)


def mark_years(connection: duckdb.DuckDBPyConnection, table: Table) -> Table:
    """Return the table with its time in whole years (and months, or quarters), when these name its rows.

    A year that only describes a row, such as the one in which a plane was built, is a number.
    """
    if table.times:
        return table
    for name in table.key:
        year = table[name]
        if not (year.is_whole and _YEAR_NAME.fullmatch(name) and year.distinct >= FEW_YEARS):
            continue
        if year.low is None or year.high is None or not YEARS[0] <= year.low <= year.high <= YEARS[1]:
            continue
        part, month, length = _month_of(table)
        moment = f"make_timestamp({quoted(name)}, {month}, 1, 0, 0, 0)"
        try:
            one_row(connection, f"select epoch_us(max({moment})) from {table.sql}")
        except duckdb.Error:  # a thirteenth month
            continue
        over = f"({moment} + interval {length} month)::timestamptz"
        marked = replace(year, time_sql=f"{moment}::timestamptz", over_sql=over, parts=part)
        return replace(table, columns=tuple(marked if one is year else one for one in table.columns))
    return table


def _month_of(table: Table) -> tuple[tuple[str, ...], str, int]:
    """Return the column that divides the year, if one does, the month at which a row begins, and how many it has."""
    for part, text, length in (("month", "{}", 1), ("quarter", "3 * {} - 2", 3)):
        column = table.named(part)
        if column is not None and column.name in table.key and column.is_whole:
            return (column.name,), text.format(quoted(column.name)), length
    return (), "1", 12


def _marked(connection: duckdb.DuckDBPyConnection, table: Table, column: Column, how: _Reading) -> Column:
    name = quoted(column.name)
    if column.type in TIMES:
        return replace(column, time_sql=name if column.type == "TIMESTAMP WITH TIME ZONE" else f"{name}::timestamptz")
    if column.type == "VARCHAR":
        return replace(column, time_sql=_read_text(connection, table, column, how))
    if column.is_whole and _TIME_NAME.search(column.name) and column.low is not None and column.high is not None:
        for unit, function in ((1, f"to_timestamp({name})"), (1_000, f"to_timestamp({name} / 1000)")):
            if EPOCH_SECONDS[0] * unit <= column.low and column.high <= EPOCH_SECONDS[1] * unit:
                return replace(column, time_sql=function)
        return replace(column, time_sql=_read_days(connection, table, column))
    return column


def _read_days(connection: duckdb.DuckDBPyConnection, table: Table, column: Column) -> str | None:
    """Return the expression that reads whole numbers such as 20130401 as days; None when they are something else."""
    assert column.low is not None
    assert column.high is not None
    if not YEARS[0] * 10_000 <= column.low <= column.high <= YEARS[1] * 10_000:
        return None
    text = f"{quoted(column.name)}::varchar"
    read = one_row(connection, f"select count(try_strptime({text}, '%Y%m%d')) from {table.sql}")[0]
    return f"strptime({text}, '%Y%m%d')::timestamptz" if read == column.filled else None


def _marked_parts(connection: duckdb.DuckDBPyConnection, table: Table) -> Table:
    parts = {part: table.named(part) for part in ("year", "month", "day", "hour", "minute")}
    texts = [quoted(one.name) if one is not None and one.is_whole else None for one in parts.values()]
    if None in texts[:3]:
        return table
    moment = f"make_timestamp({', '.join(text or '0' for text in texts)}, 0)::timestamptz"
    try:
        one_row(connection, f"select epoch_us(max({moment})) from {table.sql}")
    except duckdb.Error:  # 31 February, or numbers that are something else
        return table
    year = parts["year"]
    read = tuple(one.name for one in parts.values() if one is not None and one.is_whole and one is not year)
    marked = (replace(one, time_sql=moment, parts=read) if one is year else one for one in table.columns)
    return replace(table, columns=tuple(marked))


def _may_be_moment(column: Column) -> bool:
    return bool(column.filled) and 6 <= column.length <= 40


def _read_text(connection: duckdb.DuckDBPyConnection, table: Table, column: Column, how: _Reading) -> str | None:
    """Return the expression that reads a text column as moments; None when it holds something else."""
    name = quoted(column.name)
    if not _may_be_moment(column):
        return None
    like, read = one_row(
        connection,
        f"select count(*) filter (regexp_matches({name}, '{_MOMENT_LIKE}')), count(try_cast({name} as timestamptz)) "
        f"from {table.sql} where {name} is not null",
    )
    if read == column.filled:
        return f"{name}::timestamptz"
    if max(like, read) < 0.9 * column.filled:
        return None
    chosen = how.written.read_as(how.dates.orders.get(column.name.casefold(), "")) if how.written else None
    most = how.written.formats[chosen] if how.written and chosen else 0
    if chosen is not None and most == column.filled:
        return f"strptime({name}, '{chosen.text}')::timestamptz"
    if max(most, read) < MOSTLY * column.filled:  # a social security number or a version only looks like a day
        return None
    reading = chosen.sql(name) if chosen is not None and most > read else f"try_cast({name} as timestamptz)"
    example = one_row(
        connection, f"select any_value({name}) from {table.sql} where {name} is not null and {reading} is null"
    )[0]
    raise InputError(
        f"The column {column.name!r} of {table.group.pattern} looks like a time, but "
        f"{column.filled - max(most, read):,} of its {column.filled:,} values cannot be read, such as {example!r}.",
        hint="Write times as 2013-07-01 or 2013-07-01T09:30:00Z, and leave unknown ones empty.",
    )


@dataclass(frozen=True)
class Times:
    """The times of the examples.

    Attributes:
        prediction: the moment of the question.
        label: the moment at which the answer is known; None when the data don't tell.
        start, end: the first and the last moment of a question, microseconds since 1970 UTC.
        has_clock: whether the moments have a time of day.
    """

    prediction: Column
    label: Column | None
    start: int
    end: int
    has_clock: bool

    @property
    def span(self) -> int:
        """From the first question to the last, in microseconds."""
        return self.end - self.start


def find_times(connection: duckdb.DuckDBPyConnection, table: Table, label: str, left_out: set[str]) -> Times | None:
    """Return when the examples of a table are asked about and answered; None when it has no usable time.

    The question's time is the earliest of the table's times that is always filled; a later one that is filled
    only together with the label, or is named like an end, is when the answer is known.
    """
    known = f"({label}) is not null"
    usable = [
        one for one in table.times if one.distinct > 1 and not _BORN.search(one.name) and one.name not in left_out
    ]
    always = [one for one in usable if _share(connection, table, f"{quoted(one.name)} is null", known) < 0.001]
    if not always:
        return None
    asked = min(
        (one for one in always), key=lambda one: (bool(_LATER_NAME.search(one.name)), _median(connection, table, one))
    )
    start, end, clocks = one_row(
        connection,
        f"select epoch_us(min({asked.time_sql})), epoch_us(max({asked.time_sql})), "
        f"count(*) filter (date_trunc('day', {asked.time_sql}) <> {asked.time_sql}) from {table.sql} where {known}",
    )
    answered = _label_time(connection, table, known, asked)
    return Times(asked, answered, int(start), int(end), bool(clocks))


def _label_time(connection: duckdb.DuckDBPyConnection, table: Table, known: str, asked: Column) -> Column | None:
    for column in table.times:
        if column.name == asked.name or column.distinct < 2:
            continue
        filled = _share(connection, table, f"{quoted(column.name)} is not null", known)
        later = _share(
            connection,
            table,
            f"{column.time_sql} >= {asked.time_sql}",
            f"{known} and {quoted(column.name)} is not null",
        )
        unknown = _share(connection, table, f"{quoted(column.name)} is null", f"not ({known})")
        if filled > 0.999 and later > 0.999 and (unknown > 0.5 or _LATER_NAME.search(column.name)):
            return column
    return None


def restates(connection: duckdb.DuckDBPyConnection, table: Table, column: Column, time: Column) -> bool:
    """Tell whether a whole-number column only repeats the year, month or day of a time, in whatever time zone."""
    part = column.name.lower()
    if part not in ("year", "month", "day") or not column.is_whole:
        return False
    moment = time.time_sql
    same = " or ".join(
        f"{quoted(column.name)} = {part}({moment} + interval ({hours}) hours)" for hours in (-12, -8, -5, 0, 5, 8, 12)
    )
    return _share(connection, table, f"({same})", "true") > 0.95


def _share(connection: duckdb.DuckDBPyConnection, table: Table, condition: str, among: str) -> float:
    """Return the share of rows for which a condition holds; 0 when there are none to look at."""
    hits, rows = one_row(connection, f"select count(*) filter ({condition}), count(*) from {table.sql} where {among}")
    return hits / rows if rows else 0.0


def _median(connection: duckdb.DuckDBPyConnection, table: Table, column: Column) -> float:
    return float(one_row(connection, f"select median(epoch_us({column.time_sql})) from {table.sql}")[0] or 0)
