"""The points of a metric: page by page as they came, or thinned for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select

from bascule.catalog.schema import metric_points, names, subjects
from bascule.tracking.points import value_of
from bascule.tracking.search.pages import Page, next_token, offset_of
from bascule.tracking.tracker import Tracker


@dataclass(frozen=True, slots=True)
class Measured:
    """One point of a run's metric; `at` in microseconds since 1970 UTC."""

    run: str
    value: float
    at: int
    step: int


def history(tracker: Tracker, run: str, key: str, *, limit: int | None = None, token: str = "") -> Page[Measured]:
    """Return a metric's points in the order of time, step and value.

    Raises:
        InputError: for a token that is none of ours.
    """
    p, offset = metric_points.c, offset_of(token)
    with tracker.workspace.catalog.read() as conn:
        query = select(p.value, p.is_nan, p.at, p.step).where(*_of(run, key)).order_by(p.at, p.step, p.value, p.is_nan)
        if limit is not None:
            query = query.offset(offset).limit(limit + 1)
        found = [Measured(run, value_of(value, nan), at, step) for value, nan, at, step in conn.execute(query)]
    if limit is None or len(found) <= limit:
        return Page(found)
    return Page(found[:limit], next_token(offset + limit))


def thinned(
    tracker: Tracker, runs: Sequence[str], key: str, most: int, steps: tuple[int, int] | None = None
) -> list[Measured]:
    """Return the points of at most `most` steps of each run, evenly chosen, the first and the last among them.

    Args:
        steps: only from the first to the second, both included.
    """
    found: list[Measured] = []
    with tracker.workspace.catalog.read() as conn:
        for run in runs:
            found += _thinned(conn, run, key, most, steps)
    return found


def _thinned(conn: Connection, run: str, key: str, most: int, steps: tuple[int, int] | None) -> list[Measured]:
    p = metric_points.c
    where: list[ColumnElement[bool]] = list(_of(run, key))
    if steps is not None:
        where.append(p.step.between(*steps))
    known = sorted(set(conn.execute(select(p.step).where(*where)).scalars()))
    if len(known) > most:
        last = len(known) - 1
        where.append(p.step.in_([known[round(i * last / (most - 1))] for i in range(most)] if most > 1 else known[-1:]))
    query = select(p.value, p.is_nan, p.at, p.step).where(*where).order_by(p.step, p.at, p.value)
    return [Measured(run, value_of(value, nan), at, step) for value, nan, at, step in conn.execute(query)]


def count_points(conn: Connection) -> int:
    """Return how many points there are."""
    return conn.execute(select(func.count()).select_from(metric_points)).scalar_one()


def _of(run: str, key: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    subject = select(subjects.c.number).where(subjects.c.id == run).scalar_subquery()
    name = select(names.c.number).where(names.c.name == key).scalar_subquery()
    return metric_points.c.subject == subject, metric_points.c.name == name
