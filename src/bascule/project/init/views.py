"""The feature views that a project starts with: SQL text for what the joins and the label's past can say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb

from bascule.durations import DAY
from bascule.project.init.joins import Join
from bascule.project.init.keys import is_hinted
from bascule.project.init.label import Label
from bascule.project.init.spans import at_least, rhythm
from bascule.project.init.sql import quoted, selected, tidy
from bascule.project.init.tables import Column
from bascule.project.init.times import Times

MOST_NAMES = 1_000
MOST_MEANS = 8
FEW_VALUES = 50
CLOCK_PARTS = ("year", "month", "day", "hour", "minute", "weekday")


@dataclass(frozen=True)
class View:
    """One feature view, ready to be written.

    Attributes:
        keys: the columns of the population that name its entity.
        comment: what the section says above it.
        renamed: columns whose name in the view is another, with that name.
    """

    name: str
    keys: tuple[str, ...]
    sql: str
    comment: str
    event_time: str | None = None
    ttl: str | None = None
    windows: tuple[str, ...] = ()
    aggregates: Mapping[str, str] = field(default_factory=dict)
    renamed: tuple[tuple[str, str], ...] = ()

    @property
    def entity(self) -> str:
        """The entity's name: its keys'."""
        return "_".join(tidy(key) for key in self.keys)


def joined_views(
    connection: duckdb.DuckDBPyConnection, joins: Sequence[Join], names: Mapping[str, str]
) -> tuple[list[View], list[str]]:
    """Return a view for each join that has features, and the names of the tables that have none.

    Args:
        names: the population's name for each column of the examples.
    """
    views, silent = [], []
    for join in joins:
        columns = [one for one in join.table.columns if _is_feature(one, join)]
        several = sum(one.table.name == join.table.name for one in joins) > 1
        name = f"{join.table.name}_{'_'.join(tidy(one) for one in join.left)}" if several else join.table.name
        if join.how == "events":
            views.append(_events(connection, join, name, columns, names))
        elif columns:
            views.append(_rows(connection, join, name, columns, names))
        else:
            silent.append(join.table.name)
    return views, silent


def _is_feature(column: Column, join: Join) -> bool:
    if column.name in {right for _, right in join.pairs} or column.is_time or column.is_nested or column.is_prose:
        return False
    if column.distinct < 2 or (join.time is not None and column.name.lower() in CLOCK_PARTS and column.is_whole):
        return False
    if column.is_text:
        # A text that differs in every row of a reference table is the key under another name.
        return column.distinct < column.filled and column.distinct <= MOST_NAMES
    return not (is_hinted(column, join.table) and column.is_whole and column.distinct > FEW_VALUES)


def _keys(join: Join, names: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(quoted(right), names[left]) for left, right in join.pairs]


def _rows(
    connection: duckdb.DuckDBPyConnection,
    join: Join,
    name: str,
    columns: list[Column],
    names: Mapping[str, str],
) -> View:
    """Return a view of rows as they are: a reference table, or the newest row at a moment."""
    keys = _keys(join, names)
    taken = {key for _, key in keys}
    listed = list(keys)
    event_time, ttl = None, None
    what = ", ".join(key for _, key in keys)
    comment = f"What {join.table.name} says about each {what}; it is taken to be true at all times."
    if join.time is not None:
        event_time = tidy(join.time.name)
        listed.append((join.time.known_sql, event_time))
        pace = rhythm(connection, join.table, [right for _, right in join.pairs], join.time)
        ttl = at_least(6 * pace.gap) if pace else None
        comment = f"The newest row of {join.table.name} about each {what}, at or before the moment of the question."
    fields = [(one.name, _fresh(tidy(one.name), taken | {event_time})) for one in columns]
    listed += [(quoted(column), field) for column, field in fields]
    sql = f"-- {comment}\nselect\n{selected(listed)}\nfrom {join.table.sql}\n"
    about = tuple(names[left] for left in join.left)
    return View(name, about, sql, comment, event_time, ttl, renamed=_renamed(fields))


def _events(
    connection: duckdb.DuckDBPyConnection,
    join: Join,
    name: str,
    columns: list[Column],
    names: Mapping[str, str],
) -> View:
    """Return a view that counts a log's rows and averages its numbers over windows before the question."""
    assert join.time is not None
    keys = _keys(join, names)
    event_time = _fresh(tidy(join.time.name), {key for _, key in keys})
    numbers = [one for one in columns if one.is_number][:MOST_MEANS]
    taken = {key for _, key in keys} | {event_time}
    fields = [(one.name, _fresh(tidy(one.name), taken)) for one in numbers]
    means = [(quoted(column), mean) for column, mean in fields]
    what = ", ".join(key for _, key in keys)
    comment = f"The rows of {join.table.name} about each {what}, counted and averaged over windows before the question."
    columns_sql = selected([*keys, (join.time.known_sql, event_time), *means])
    sql = f"-- {comment}\nselect\n{columns_sql}\nfrom {join.table.sql}\n"
    aggregates = {"count": "count(*)"} | {f"mean_{mean}": f"mean({quoted(mean)})" for _, mean in means}
    pace = rhythm(connection, join.table, [right for _, right in join.pairs], join.time)
    windows = _windows(pace.gap if pace else DAY)
    about = tuple(names[left] for left in join.left)
    return View(name, about, sql, comment, event_time, None, windows, aggregates, _renamed(fields))


def history_view(
    connection: duckdb.DuckDBPyConnection, label: Label, times: Times, entity: str, names: Mapping[str, str]
) -> View | None:
    """Return the past of the label for one entity, as it was known when asked; None without a past."""
    assert times.label is not None
    pace = rhythm(connection, label.table, [entity], times.label)
    if pace is None or pace.gap * 4 > times.span:
        return None
    event_time = _fresh(tidy(times.label.name), {names[entity], "outcome"})
    comment = f"How it turned out for each {names[entity]}: an outcome counts from the moment at which it was known."
    columns = [(quoted(entity), names[entity]), (times.label.time_sql or "", event_time), (label.as_number, "outcome")]
    sql = f"-- {comment}\nselect\n{selected(columns)}\nfrom {label.table.sql}\nwhere ({label.expression}) is not null\n"
    windows = tuple(one for one in _windows(pace.gap))
    aggregates = {"mean": "mean(outcome)", "count": "count(*)"}
    return View(f"{tidy(entity)}_history", (names[entity],), sql, comment, event_time, None, windows, aggregates)


def series_view(
    label: Label, time: Column, longest_gap: float, names: Mapping[str, str], measured: Sequence[str]
) -> View:
    """Return the past of a series: what was measured before the moment that is asked about.

    Args:
        longest_gap: a span that nearly always holds the row before.
        measured: other columns of the table whose past counts.
    """
    entity = label.table.entity_key(time)
    keys = [(quoted(one), names[one]) for one in entity] or [("'all'", "series")]
    event_time = _fresh(tidy(time.name), {key for _, key in keys})
    taken = {key for _, key in keys} | {event_time, "outcome"}
    fields = [(one, _fresh(tidy(one), taken)) for one in measured][:MOST_MEANS]
    numbers = [(quoted(column), mean) for column, mean in fields]
    comment = "What was measured before the moment that is asked about; windows end before it."
    columns = [*keys, (time.time_sql or "", event_time), (label.as_number, "outcome"), *numbers]
    sql = f"-- {comment}\nselect\n{selected(columns)}\nfrom {label.table.sql}\n"
    windows = tuple(dict.fromkeys(at_least(longest_gap * steps) for steps in (1, 7, 28)))
    aggregates = {"mean": "mean(outcome)"} | {f"mean_{one}": f"mean({quoted(one)})" for _, one in numbers}
    about = tuple(key for _, key in keys)
    return View("history", about, sql, comment, event_time, None, windows, aggregates, _renamed(fields))


def _renamed(fields: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple((column, name) for column, name in fields if column != name)


def _windows(gap: float) -> tuple[str, ...]:
    return tuple(dict.fromkeys(at_least(gap * steps) for steps in (3, 15, 60)))


def _fresh(name: str, taken: set[str | None] | set[str]) -> str:
    return name if name.lower() not in {str(one).lower() for one in taken} else f"{name}_value"
