"""The points of a metric: page by page as they came, or thinned for a picture."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from operator import lt
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Select, String, cast, func, literal, select, tuple_

from bascule.catalog.schema import metric_points, names, subjects
from bascule.tracking.points import value_of
from bascule.tracking.search.pages import Page, foreign_token
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
    with tracker.workspace.catalog.read() as conn:
        page = raw_history(conn, run, key, limit=limit, token=token)
    return Page([Measured(run, value_of(value, nan), at, step) for at, step, value, nan in page.found], page.token)


def raw_history(
    conn: Connection, run: str, key: str, *, limit: int | None = None, token: str = ""
) -> Page[tuple[int, int, float, bool]]:
    """Return a metric's points as (at, step, value, is_nan), as the catalog has them: there may be very many.

    A page begins behind the point that its token names, so points that come meanwhile neither double nor hide others.

    Raises:
        InputError: for a token that is none of ours.
    """
    p = metric_points.c
    place = (p.at, p.step, p.value, p.is_nan)
    query = select(*place).where(*_of(run, key)).order_by(*place)
    if token:
        at, step, value, nan = _after(token)
        query = query.where(tuple_(*place) > tuple_(*map(literal, (at, step, value, nan), [one.type for one in place])))
    if limit is not None:
        query = query.limit(limit + 1)
    found: list[Any] = list(conn.execute(query).cursor.fetchall())  # the driver's own tuples: half the time
    if limit is None or len(found) <= limit:
        return Page(found)
    at, step, value, nan = found[limit - 1] if limit else (-(2**63), 0, 0.0, False)
    return Page(found[:limit], base64.urlsafe_b64encode(f"{at},{step},{value!r},{int(nan)}".encode()).decode())


def _after(token: str) -> tuple[int, int, float, bool]:
    """Return the point that a token names."""
    try:
        at, step, value, nan = base64.b64decode(token, altchars=b"-_", validate=True).decode("ascii").split(",")
        point = int(at), int(step), float(value), bool(int(nan))
        if not all(-(2**63) <= one < 2**63 for one in point[:2]):
            raise ValueError
    except ValueError:  # binascii.Error and UnicodeDecodeError are such
        raise foreign_token(token) from None
    return point


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
    found = [Measured(run, value_of(value, nan), at, step) for value, nan, at, step in conn.execute(query).all()]
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
