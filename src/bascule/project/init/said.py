"""What was assumed, in sentences for the user."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from bascule.project.init.findings import Findings
from bascule.project.init.sql import quoted

MOST_NAMED = 6


def assumptions(found: Findings, silent: Collection[str], histories: bool, split: str) -> tuple[str, ...]:
    """Return everything that was assumed, one sentence each, in the order in which one would check it.

    Args:
        silent: joined tables that have nothing to say.
        histories: whether there are features from past outcomes.
        split: how the rows are divided.
    """
    said = [*_of_tables(found), *_of_dates(found), *_of_label(found), *_of_times(found, histories), *_of_columns(found)]
    return (*said, *_of_joins(found, silent), split)


def _of_tables(found: Findings) -> Iterator[str]:
    for table in found.tables:
        files = f"{len(table.group.files)} files as batches" if len(table.group.files) > 1 else "one file"
        key = f"a row is named by {', '.join(table.key)}" if table.key else "no columns name a row"
        yield f"table {table.name}: {table.rows:,} rows from {files} ({table.group.pattern}); {key}"


def _of_dates(found: Findings) -> Iterator[str]:
    for table in found.tables:
        for assumed in table.assumed:
            yield f"look at {assumed}; if that is wrong, set options = {{encoding = …}} in [source.{table.name}]"
        for assumed in table.dates.assumed:
            yield f"look at {table.name}: {assumed}; if that is wrong, set dates in [source.{table.name}]"
        for assumed in table.texts.assumed:
            yield f"look at {table.name}: {assumed}; if that is wrong, change strptime in features/*.sql"
        sure = [name for name in table.dates.orders if name not in table.dates.open]
        if sure:
            order = table.dates.orders[sure[0]]
            yield f"the dates of {table.name} are read {order} (dates in [source.{table.name}]): {_some(sure)}"


def _of_label(found: Findings) -> Iterator[str]:
    yield f"the examples are the rows of {found.table.name}"
    yield from found.label.said
    if found.label.unknown:
        yield f"{found.label.unknown:,} of its {found.table.rows:,} rows have no label; they teach nothing"


def _of_times(found: Findings, histories: bool) -> Iterator[str]:
    if found.times is None:
        return
    asked = found.times.prediction
    read = "" if asked.time_sql and asked.time_sql.startswith(quoted(asked.name)) else f", read as {asked.time_sql}"
    yield f"a prediction is asked for at {asked.name}{read}; times without a zone are UTC"
    if found.pace is not None:
        yield "the rows follow each other at regular moments: a time series, predicted from its own past"
        entity = found.table.key
        measured = [one.name for one in found.request if one.name not in entity]
        if measured:
            yield f"only the past counts of what is measured together with the label: {_some(measured)}"
    elif found.times.label is not None:
        yield f"the answer is known at {found.times.label.name}"
    elif found.label.task != "multiclass" and not histories:
        yield (
            "no features from past outcomes: the data don't say when an outcome becomes known; "
            "if you can derive the moment, write a view with it as event_time"
        )


def _of_columns(found: Findings) -> Iterator[str]:
    for column, reason in found.left_out.items():
        yield f"left out: {column}, {reason}"
    for one in found.leakage.suspicious:
        yield f"look at {one.column}: {one.reason}; remove it if it is known only afterwards"


def _of_joins(found: Findings, silent: Collection[str]) -> Iterator[str]:
    for one in found.joins:
        if one.table.name not in silent:
            pairs = ", ".join(f"{left} = {right}" for left, right in one.pairs)
            yield f"{one.table.name} joined by {pairs} ({one.share:.0%} of the values found)"
    for name in dict.fromkeys(silent):
        yield f"{name} is a table of the project but gives no features: it says nothing beyond its key"
    for apart in found.apart:
        yield f"{apart.table} is a table of the project but gives no features: {apart.reason}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
