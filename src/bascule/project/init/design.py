"""What a project is made of, decided from what the data show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from bascule.durations import DAY, parse_duration
from bascule.errors import InputError
from bascule.project.init.findings import Findings
from bascule.project.init.keys import is_hinted
from bascule.project.init.label import Label
from bascule.project.init.said import assumptions
from bascule.project.init.spans import Rhythm, at_most
from bascule.project.init.sql import one_row, tidy
from bascule.project.init.tables import Table
from bascule.project.init.times import Times
from bascule.project.init.views import View, history_view, joined_views, series_view

MOST_HISTORIES = 3
SHARE, LARGER_SHARE = 0.15, 0.25
MANY_ROWS = 1_000
#: What the population and the training set call columns of their own.
RESERVED = "__"  # what features begin with that are no feature
OWN_NAMES = frozenset({"prediction_time", "label_time", "answered_at", "series", "label", "split"})
#: From so many test rows on, the greatest calibration error that is asked for.
CALIBRATION = ((1_000, 0.05), (200, 0.1))
#: Below this many examples, and for series that grow beyond what was seen, trees seldom beat a linear model.
FEW_ROWS = 10_000


@dataclass(frozen=True)
class Design:
    """A project, before it is written as text.

    Attributes:
        kind: the kind of data.
        tables: all tables, keys known.
        label: what is learned.
        times: when it is asked and answered; None when the data have no time.
        names: the population's name for each column of the label's table.
        request: its columns that are features themselves.
        expressions: features computed from the request.
        views: the feature views.
        trainer: what makes the model.
        split: validation and test: spans of time, or shares of the rows.
        test_rows: about how many rows the test has.
        calibration: how far probabilities may be off on average; None when no bound would be fair.
        one_series: whether all rows are one series, so that the population needs a constant to join it by.
        said: what was assumed.
    """

    kind: str
    tables: tuple[Table, ...]
    label: Label
    times: Times | None
    names: Mapping[str, str]
    request: tuple[str, ...]
    expressions: Mapping[str, str]
    views: tuple[View, ...]
    trainer: str
    split: tuple[str, str] | tuple[float, float]
    test_rows: int
    calibration: float | None
    one_series: bool
    said: tuple[str, ...]


def make_design(connection: duckdb.DuckDBPyConnection, found: Findings) -> Design:
    """Decide what a project is made of.

    Raises:
        InputError: nothing is left that a model could learn from.
    """
    names = _names(found.label)
    views, silent = joined_views(connection, found.joins, names)
    request = tuple(one.name for one in found.request)
    times, past = found.times, []
    if times is not None and found.pace is not None:
        times = Times(times.prediction, times.prediction, times.start, times.end, times.has_clock)
        past = [series_view(found.label, times.prediction, found.pace.long_gap, names, _measured(found))]
        request = tuple(one for one in request if one in found.table.entity_key(times.prediction))
    elif times is not None and times.label is not None and found.label.task != "multiclass":
        past = _histories(connection, found, times, names)
    expressions = _expressions(times, request, found.pace)
    if not (views or past or request):
        raise _nothing_to_learn(found)
    split, test_rows, how = _split(connection, found.label, times)
    known = found.table.rows - found.label.unknown
    calibration, off = _calibration(connection, found.label, times, test_rows)
    return Design(
        kind="time-series" if found.pace else "tabular",
        tables=found.tables,
        label=found.label,
        times=times,
        names=names,
        request=request,
        expressions=expressions,
        views=(*views, *past),
        trainer="linear" if found.pace or known < FEW_ROWS else "lightgbm",
        split=split,
        test_rows=test_rows,
        calibration=calibration,
        one_series=found.pace is not None and times is not None and not found.table.entity_key(times.prediction),
        said=(*assumptions(found, silent, bool(past), how), *_renamed(names, (*views, *past), request), *off),
    )


def _names(label: Label) -> dict[str, str]:
    """Return the population's name for each column: its own, so that a caller sends what the data have.

    Only what the population itself uses is moved out of the way.
    """
    names = {name: name for name in label.columns}
    taken = {name.lower() for name in names} | OWN_NAMES
    for column in label.table.columns:
        if column.name in names:
            continue
        name = tidy(column.name) if column.name.startswith(RESERVED) else column.name
        while name.lower() in taken:
            name += "_"
        names[column.name] = name
        taken.add(name.lower())
    return names


def _renamed(names: Mapping[str, str], views: Sequence[View], request: Sequence[str]) -> Iterator[str]:
    """Say which columns are called otherwise, in a request and in the features."""
    asked = {*request, *(key for view in views for key in view.keys)}
    for column, name in names.items():
        if column != name and (column in asked or name in asked):
            yield f"the column {column!r} is called {name!r} in a request: the project uses its name itself"
    for view in views:
        for column, name in view.renamed:
            yield f"the column {column!r} is called {name!r} in the features of {view.name}"


def _measured(found: Findings) -> list[str]:
    """Return the numbers of a series: what was measured together with the label, and what the label is made from."""
    columns = [found.table[one] for one in found.label.columns] if found.label.expression not in found.table else []
    return [one.name for one in (*columns, *found.request) if one.is_number and one.name not in found.table.key]


def _histories(
    connection: duckdb.DuckDBPyConnection, found: Findings, times: Times, names: Mapping[str, str]
) -> list[View]:
    """Return views of the label's past, for what the examples are joined by and for what they name."""
    table = found.table
    joined = [one.left[0] for one in found.joins if len(one.left) == 1]
    chosen = [
        one
        for one in dict.fromkeys([*joined, *(column.name for column in found.request)])
        if (table[one].is_text or is_hinted(table[one], table)) and 2 <= table[one].distinct <= table.rows / 10
    ]
    views = [history_view(connection, found.label, times, one, names) for one in chosen[:MOST_HISTORIES]]
    return [one for one in views if one is not None]


def _expressions(times: Times | None, request: tuple[str, ...], pace: Rhythm | None) -> dict[str, str]:
    if times is None:
        return {}
    taken = {one.lower() for one in request}
    daily = pace is None or pace.gap < 7 * DAY
    wanted = {
        "hour": ("hour(prediction_time)", times.has_clock),
        "weekday": ("isodow(prediction_time)", daily and times.span >= 14 * DAY),
        "month": ("month(prediction_time)", times.span >= 730 * DAY),
    }
    return {name: text for name, (text, useful) in wanted.items() if useful and name not in taken}


def _split(
    connection: duckdb.DuckDBPyConnection, label: Label, times: Times | None
) -> tuple[tuple[str, str] | tuple[float, float], int, str]:
    """Return validation and test, about how many rows the test has, and how that is said."""
    rows = label.table.rows - label.unknown
    # With few rows a gate can tell little from the test, and a small validation does for a simple model.
    shares = (SHARE, SHARE if rows >= MANY_ROWS else LARGER_SHARE)
    test = round(rows * shares[1])
    if times is None:
        how = f"{shares[0]:.0%} for validation and {shares[1]:.0%} for the test"
        how = f"there is no time in {label.table.name}, so rows are divided at random, by their hash: {how}"
        return shares, test, how
    size = at_most(times.span * SHARE)
    if size is not None:
        validated, tested = _in_spans(connection, label, times, parse_duration(size))
        least = (0.03 if rows >= MANY_ROWS else 0.1) * rows
        parts = (validated, tested)
        if all(part.values > 1 and least <= part.rows <= 0.4 * rows for part in parts):
            return (size, size), tested.rows, f"the last {size} are the test, the {size} before them the validation"
    how = f"the newest {shares[1]:.0%} of the rows are the test, the {shares[0]:.0%} before them the validation"
    return shares, test, how


@dataclass(frozen=True)
class _Part:
    """How many examples a part of the rows has, and how many different labels."""

    rows: int
    values: int


def _in_spans(connection: duckdb.DuckDBPyConnection, label: Label, times: Times, size: int) -> tuple[_Part, _Part]:
    """Return the validation and the test that two spans of `size` microseconds at the end would have."""
    moment = f"epoch_us({times.prediction.time_sql})"
    parts = []
    for end in (times.end - size, times.end):
        counted = one_row(
            connection,
            f"select count(*), count(distinct {label.expression}) from {label.table.sql} "
            f"where ({label.expression}) is not null and {moment} > {end - size} and {moment} <= {end}",
        )
        parts.append(_Part(*map(int, counted)))
    return parts[0], parts[1]


def _calibration(
    connection: duckdb.DuckDBPyConnection, label: Label, times: Times | None, test_rows: int
) -> tuple[float | None, tuple[str, ...]]:
    """Return a bound for the calibration error of a binary model, and why there is none.

    Few rows are off by chance alone. And where the share of positives moves from the past to the test, as with the
    seasons, every model that knows the past only is off by about as much.
    """
    if label.task != "binary":
        return None, ()
    bound = next((bound for rows, bound in CALIBRATION if test_rows >= rows), None)
    if bound is None:
        return None, ("calibration is no gate: the test has too few rows to measure it",)
    if times is None:
        return bound, ()
    newest = f"(select {label.as_number} as y from {label.table.sql} where ({label.expression}) is not null "
    newest += f"order by {times.prediction.time_sql} desc limit {{}})"
    before, after = (
        float(one_row(connection, f"select avg(y) from {newest.format(rows)}")[0])
        for rows in (label.table.rows, test_rows)
    )
    if abs(after - before) <= bound / 2:
        return bound, ()
    shift = f"{before:.0%} of all rows are positive, and {after:.0%} of the newest {test_rows:,}"
    return None, (f"calibration is no gate: {shift}; a model of the past is off by about that",)


def _nothing_to_learn(found: Findings) -> InputError:
    table, label = found.table, found.label
    prose = [one.name for one in table.columns if one.is_prose and one.name not in label.columns]
    if prose:
        return InputError(
            f"{table.name} has only free text ({', '.join(prose)}) to learn {label.expression} from.",
            hint="Texts have no default features yet. Add columns with numbers or categories.",
        )
    reasons = "; ".join(f"{column}: {reason}" for column, reason in found.left_out.items())
    return InputError(
        f"Nothing is left in {table.name} to learn {label.expression} from. {reasons}".strip(),
        hint="Add columns that are known when the question is asked.",
    )
