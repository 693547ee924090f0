"""The points of a metric: page by page as they came, or thinned for a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from operator import lt
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, String, cast, func, select

from bascule.catalog.schema import metric_points, names, subjects
from bascule.tracking.points import value_of
from bascule.tracking.search.pages import Page, next_token, offset_of
from bascule.tracking.tracker import Tracker

CROWDED = 4  # points a step, in the mean, from which on steps are not what thins


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

    Of a run whose points crowd on few steps, about `most` points come, evenly chosen.

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
    told = _steps(conn, where)
    # Points come in the order of time, and steps mostly too.
    known = told if all(map(lt, told, islice(told, 1, None))) else sorted(set(told))
    query = select(p.value, p.is_nan, p.at, p.step).where(*where)
    if len(known) > most:
        chosen = [known[round(i * (len(known) - 1) / (most - 1))] for i in range(most)] if most > 1 else known[-1:]
        query = query.where(p.step.in_(chosen))
    elif len(told) > most * CROWDED:
        query = every(where, -(-len(told) // most), len(told))
    found = [Measured(run, value_of(value, nan), at, step) for value, nan, at, step in conn.execute(query)]
    return sorted(found, key=lambda one: (one.step, one.at, one.value))


def every(where: Sequence[ColumnElement[bool]], stride: int, length: int) -> Select[Any]:
    """Return a query for (value, is_nan, at, step) of every so-many-th of `length` points, the last among them."""
    p = metric_points.c
    place = func.row_number().over(order_by=(p.at, p.step, p.value, p.is_nan)).label("place")
    placed = select(p.value, p.is_nan, p.at, p.step, place).where(*where).subquery()
    return select(*list(placed.c)[:4]).where(placed.c.place % stride == length % stride)


def _steps(conn: Connection, where: list[ColumnElement[bool]]) -> list[int]:
    """Return the step of each point. They come as one text: a million rows take much longer."""
    told = conn.execute(select(func.aggregate_strings(cast(metric_points.c.step, String), ",")).where(*where)).scalar()
    return msgspec.json.decode(f"[{told or ''}]", type=list[int])


def count_points(conn: Connection) -> int:
    """Return how many points there are."""
    return conn.execute(select(func.count()).select_from(metric_points)).scalar_one()


def _of(run: str, key: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    subject = select(subjects.c.number).where(subjects.c.id == run).scalar_subquery()
    name = select(names.c.number).where(names.c.name == key).scalar_subquery()
    return metric_points.c.subject == subject, metric_points.c.name == name
