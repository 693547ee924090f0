"""What a project is made of, decided from what the data show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb

from bascule.errors import InputError
from bascule.project.init.joins import find_joins
from bascule.project.init.keys import is_hinted
from bascule.project.init.label import Label
from bascule.project.init.leakage import Leakage, find_leakage
from bascule.project.init.spans import DAY, Rhythm, at_most, beat, rhythm
from bascule.project.init.sql import one_row, quoted, tidy
from bascule.project.init.tables import Column, Table
from bascule.project.init.times import Times, find_times, restates
from bascule.project.init.views import View, history_view, joined_views, numeric_outcome, series_view

MOST_NAMES = 1_000
MOST_HISTORIES = 3
ENOUGH_TO_JUDGE = 500
SHARE = 0.15


@dataclass(frozen=True)
class Design:
    """A project, before it is written as text.

    Attributes:
        kind: the kind of data.
        tables: all tables, keys known.
        label: what is learned.
        times: when it is asked and answered; None when the data have no time.
        names: the population's name for each column of the label's table.
        keys: the columns of the label's table that name an example.
        request: its columns that are features themselves.
        expressions: features computed from the request.
        views: the feature views.
        split: validation and test.
        series: whether the population needs the constant column `series`.
        said: what was assumed.
    """

    kind: str
    tables: tuple[Table, ...]
    label: Label
    times: Times | None
    names: Mapping[str, str]
    keys: tuple[str, ...]
    request: tuple[str, ...]
    expressions: Mapping[str, str]
    views: tuple[View, ...]
    split: tuple[str | float, str | float]
    test_rows: int
    series: bool = False
    said: tuple[str, ...] = field(default=())


def make_design(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], label: Label) -> Design:
    """Decide what a project is made of.

    Raises:
        InputError: nothing is left that a model could learn from.
    """
    table = label.table
    leakage = find_leakage(connection, label)
    times = find_times(connection, table, label.expression, leakage.names | set(label.columns))
    pace = _series_pace(connection, label, times)
    if times is not None and pace is not None:
        times = Times(times.prediction, times.prediction, times.start, times.end, times.has_clock)
    names = _names(label)
    left_out = _left_out(connection, label, leakage, times)
    usable = {one.name for one in table.columns} - leakage.names - set(label.columns)
    joins, apart = find_joins(connection, table, [one for one in tables if one.name != table.name], usable)
    views, silent = joined_views(connection, joins, names)
    request = _request(table, left_out)
    said = [*_said_of_tables(connection, tables), *_said_of_label(label), *_said_of_times(times, pace)]
    if times is not None and pace is not None:
        entity = [one for one in table.key if one != times.prediction.name]
        measured = [table[one] for one in request if one not in entity]
        views.append(series_view(label, times.prediction, entity, pace.long_gap, names, measured))
        request = tuple(one for one in request if one in entity)
        said.append(_said_of_measured(measured))
    else:
        views += _histories(connection, label, times, request, [one.left for one in joins], names, said)
    expressions = _expressions(times, request)
    if not (views or request or expressions):
        raise _nothing_to_learn(label, left_out)
    split, test_rows, how = _split(connection, label, times)
    said += [f"left out: {column}, {reason}" for column, reason in left_out.items()]
    said += [
        f"look at {one.column}: {one.reason}; remove it if it is known only afterwards" for one in leakage.suspicious
    ]
    said += [
        f"{one.table.name} joined by {', '.join(f'{a} = {b}' for a, b in one.pairs)} ({one.share:.0%} of the values found)"
        for one in joins
        if one.table.name not in silent
    ]
    said += [
        f"{name} is a table of the project but gives no features: it has nothing beyond its key"
        for name in dict.fromkeys(silent)
    ]
    said += [f"{one.table} is a table of the project but gives no features: {one.reason}" for one in apart]
    said.append(how)
    return Design(
        "time-series" if pace else "tabular",
        tuple(tables),
        label,
        times,
        names,
        table.key,
        request,
        expressions,
        tuple(views),
        split,
        test_rows,
        series=bool(pace) and len(table.key) == 1,
        said=tuple(one for one in said if one),
    )


def _series_pace(connection: duckdb.DuckDBPyConnection, label: Label, times: Times | None) -> Rhythm | None:
    """Return the rhythm of a time series: rows named by a time and few entities, at regular moments."""
    table = label.table
    if times is None or times.label is not None or times.prediction.name not in table.key or len(table.key) > 3:
        return None
    if not numeric_outcome(label) or any(not one.is_number for one in map(table.__getitem__, label.columns)):
        return None
    entity = [one for one in table.key if one != times.prediction.name]
    if any(table[one].distinct > table.rows / 10 for one in entity):
        return None
    pace, all_moments = rhythm(connection, table, entity, times.prediction), beat(connection, table, times.prediction)
    if pace is None or all_moments is None or pace.gap > 1.5 * all_moments.gap:
        return None  # each entity comes back now and then, but not at every moment
    # Months and quarters differ by a tenth in length; weekends make gaps in daily data.
    return pace if pace.regular > 0.7 else None


def _names(label: Label) -> dict[str, str]:
    """Return the population's name for each column: tidy, different, and as it is where the label reads it."""
    names = {name: name for name in label.columns}
    taken = {name.lower() for name in names}
    for column in label.table.columns:
        if column.name in names:
            continue
        name = tidy(column.name)
        while name.lower() in taken:
            name += "_"
        names[column.name] = name
        taken.add(name.lower())
    return names


def _left_out(
    connection: duckdb.DuckDBPyConnection, label: Label, leakage: Leakage, times: Times | None
) -> dict[str, str]:
    """Return the columns of the examples that are no features, with the reason; those of label and times not said."""
    reasons = {one.column: one.reason for one in leakage.left_out}
    for column in label.table.columns:
        reason = "" if column.name in label.columns or column.name in reasons else _unfit(label.table, column)
        if not reason and times is not None and restates(connection, label.table, column, times.prediction):
            reason = (
                "it repeats the time of the question, and a model cannot learn from a month what the next one brings"
            )
        if reason:
            reasons[column.name] = reason
    return reasons


def _unfit(table: Table, column: Column) -> str:
    if not column.filled:
        return "it is empty"
    if column.is_constant:
        return "it has one value"
    if column.is_nested:
        return f"it is nested ({column.type.split('(')[0].lower()})"
    if column.is_prose:
        return "it is free text, which has no default features yet"
    is_name = column.is_text and (column.distinct > MOST_NAMES or column.distinct > max(50, column.filled / 2))
    is_number_of = column.is_whole and is_hinted(column, table) and column.distinct > 50
    if is_name or is_number_of or table.key == (column.name,):
        return f"it names things ({column.distinct:,} different values)"
    return ""


def _request(table: Table, left_out: Mapping[str, str]) -> tuple[str, ...]:
    label_free = [one for one in table.columns if one.name not in left_out and not one.is_time]
    return tuple(one.name for one in label_free if one.is_text or one.is_number or one.type == "BOOLEAN")


def _histories(
    connection: duckdb.DuckDBPyConnection,
    label: Label,
    times: Times | None,
    request: Sequence[str],
    joined: Sequence[tuple[str, ...]],
    names: Mapping[str, str],
    said: list[str],
) -> list[View]:
    """Return views of the label's past by entity, when it can be known when an outcome was known."""
    if times is None or not numeric_outcome(label):
        return []
    if times.label is None:
        said.append(
            "no features from past outcomes: the data don't say when an outcome becomes known; "
            "write such a view with its moment as event_time if you can derive it"
        )
        return []
    table = label.table
    candidates = dict.fromkeys([*(one[0] for one in joined if len(one) == 1), *request])
    chosen = [
        one
        for one in candidates
        if (table[one].is_text or is_hinted(table[one], table)) and 2 <= table[one].distinct <= table.rows / 10
    ][:MOST_HISTORIES]
    views = [history_view(connection, label, times, one, names) for one in chosen]
    return [one for one in views if one is not None]


def _expressions(times: Times | None, request: Sequence[str]) -> dict[str, str]:
    if times is None:
        return {}
    taken = {one.lower() for one in request}
    found = {}
    if times.has_clock and "hour" not in taken:
        found["hour"] = "hour(prediction_time)"
    if times.span >= 14 * DAY and "weekday" not in taken:
        found["weekday"] = "isodow(prediction_time)"
    if times.span >= 730 * DAY and "month" not in taken:
        found["month"] = "month(prediction_time)"
    return found


def _split(
    connection: duckdb.DuckDBPyConnection, label: Label, times: Times | None
) -> tuple[tuple[str | float, str | float], int, str]:
    """Return validation and test, how many rows the test has, and how that is said."""
    known = f"({label.expression}) is not null"
    rows = label.table.rows - label.unknown
    if times is None:
        said = f"there is no time in {label.table.name}: rows are divided at random (by hash), {SHARE:.0%} for validation and as many for the test"
        return (SHARE, SHARE), round(rows * SHARE), said
    size = at_most(times.span * SHARE)
    if size is not None:
        moment = f"{times.prediction.time_sql} >= make_timestamptz({times.end}::bigint) - interval '{_interval(size)}'"
        tested, values = one_row(
            connection,
            f"select count(*), count(distinct {label.expression}) from {label.table.sql} where {known} and {moment}",
        )
        if values > 1 and 0.03 * rows <= tested <= 0.4 * rows:
            said = f"the last {size} are the test, the {size} before them the validation"
            return (size, size), int(tested), said
    said = f"the newest {SHARE:.0%} of the rows are the test, the {SHARE:.0%} before them the validation"
    return (SHARE, SHARE), round(rows * SHARE), said


def _interval(size: str) -> str:
    return f"{size[:-1]} {'minutes' if size[-1] == 'm' else 'hours' if size[-1] == 'h' else 'days'}"


def _said_of_tables(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table]) -> list[str]:
    said = []
    for table in tables:
        files = f"{len(table.group.files)} files as batches" if len(table.group.files) > 1 else "one file"
        key = f"a row is named by {', '.join(table.key)}" if table.key else "no columns name a row"
        said.append(f"table {table.name}: {table.rows:,} rows from {files} ({table.group.pattern}); {key}")
    return said


def _said_of_label(label: Label) -> list[str]:
    said = [f"the examples are the rows of {label.table.name}", *label.said]
    if label.unknown:
        said.append(f"{label.unknown:,} of its {label.table.rows:,} rows have no label; they teach nothing")
    return said


def _said_of_times(times: Times | None, pace: Rhythm | None) -> list[str]:
    if times is None:
        return []
    said = [f"a prediction is asked for at {times.prediction.name}; times without a zone are UTC"]
    if pace is not None:
        said.append("the rows follow each other at regular moments: a time series, predicted from its own past")
    elif times.label is not None:
        said.append(f"the answer is known at {times.label.name}")
    return said


def _said_of_measured(measured: Sequence[Column]) -> str:
    if not measured:
        return ""
    names = ", ".join(one.name for one in measured)
    return f"{names}: measured at the same moment as the label, so only their past is used; add them to request if they are known before"


def _nothing_to_learn(label: Label, left_out: Mapping[str, str]) -> InputError:
    prose = [one.name for one in label.table.columns if one.is_prose]
    if prose:
        return InputError(
            f"{label.table.name} has only free text ({', '.join(prose)}) to learn {label.expression} from.",
            hint="Texts have no default features yet. Add columns with numbers or categories.",
        )
    reasons = "; ".join(f"{quoted(column)}: {reason}" for column, reason in left_out.items())
    return InputError(
        f"Nothing is left in {label.table.name} to learn {label.expression} from. {reasons}".strip(),
        hint="Add columns that are known when the question is asked.",
    )
