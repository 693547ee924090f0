"""Searching runs: by what they measured, were told and are, in any order, a page at a time.

A run that lacks what is ordered by comes last, whichever the direction; a metric that is NaN comes before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, case, exists, func, or_, select
from sqlalchemy.sql.elements import UnaryExpression

from bascule.catalog.schema import dataset_uses, datasets, latest_metrics, names, run_params, run_tags, runs
from bascule.errors import InputError
from bascule.tracking.search.candidates import Candidates, beginning, candidates, equal, near, unordered
from bascule.tracking.search.conditions import LISTS, NULLS, NUMBERS, TEXTS, demand, of_number, of_text
from bascule.tracking.search.grammar import Comparison, Ordering, parse_filter, parse_order
from bascule.tracking.search.pages import Page, next_token, offset_of
from bascule.tracking.status import FIELDS
from bascule.tracking.tracker import Tracker

ENTITIES = {
    **dict.fromkeys(("metric", "metrics"), "metric"),
    **dict.fromkeys(("param", "params", "parameter", "parameters"), "param"),
    **dict.fromkeys(("tag", "tags"), "tag"),
    **dict.fromkeys(("attribute", "attributes", "attr", "run"), "attribute"),
    **dict.fromkeys(("dataset", "datasets"), "dataset"),
}
ALIASES = {"created": "start_time", "run name": "run_name", "Run name": "run_name", "Run Name": "run_name"}
STATUS = case(FIELDS, value=runs.c.status, else_="RUNNING")
ATTRIBUTES: dict[str, tuple[ColumnElement[Any], bool]] = {
    "run_id": (runs.c.id, True),
    "run_name": (runs.c.name, True),
    "user_id": (runs.c.user_name, True),
    "status": (STATUS, True),
    "artifact_uri": (func.coalesce(runs.c.artifact_uri, ""), True),
    "start_time": (runs.c.started_at, False),
    "end_time": (runs.c.finished_at, False),
}
DATASET = {"name": datasets.c.name, "digest": datasets.c.digest, "context": dataset_uses.c.context}
#: Where values by name are, and an index on them.
VALUES = {"metric": latest_metrics, "param": run_params, "tag": run_tags}
SORTED = 3000  # candidates that are sorted sooner than found among all that are sorted
SOUGHT = 1000  # and runs that no index tells: so many are looked for first
VIEWS = {"ACTIVE_ONLY": ("active",), "DELETED_ONLY": ("deleted",), "ALL": ("active", "deleted")}


@dataclass(frozen=True)
class _Asked:
    """What is asked for, with the numbers of the names in it; a name that nobody used has none."""

    experiments: Sequence[int] | None
    lifecycles: Sequence[str]
    conditions: list[Comparison]
    order: list[Ordering]
    numbers: dict[str, int]
    also: Sequence[ColumnElement[bool]] = ()


def search_runs(
    tracker: Tracker,
    experiments: Sequence[int] | None,
    *,
    filter: str = "",
    order_by: Sequence[str] = (),
    view: str = "ACTIVE_ONLY",
    limit: int = 1000,
    token: str = "",
    also: Sequence[ColumnElement[bool]] = (),
) -> Page[Any]:
    """Return a page of the rows of runs.

    Args:
        experiments: where to look; None is everywhere.
        filter: see `grammar`; on metrics it asks the latest value.
        order_by: then by start, youngest first, and by id.
        view: ACTIVE_ONLY, DELETED_ONLY or ALL.
        token: what the page before gave.
        also: more conditions on columns of `runs`.

    Raises:
        InputError: for a filter, an order or a token that cannot be read.
    """
    conditions = parse_filter(filter, ENTITIES)
    order = parse_order(order_by, ENTITIES)
    offset = offset_of(token)
    keyed: list[Comparison | Ordering] = [*conditions, *order]
    wanted = {one.key for one in keyed if one.entity in ("metric", "param", "tag")}
    asked = _Asked(experiments, VIEWS[view], conditions, order, tracker.names.known(wanted), also)
    with tracker.workspace.catalog.read() as conn:
        found = _found(conn, asked, offset, limit + 1)
    return Page(found[:limit], next_token(offset + limit) if len(found) > limit else "")


def count_runs(tracker: Tracker, experiments: Sequence[int], *, filter: str = "", view: str = "ACTIVE_ONLY") -> int:
    """Return how many runs a search would find; arguments and errors as `search_runs`."""
    conditions = parse_filter(filter, ENTITIES)
    wanted = {one.key for one in conditions if one.entity in ("metric", "param", "tag")}
    asked = _Asked(experiments, VIEWS[view], conditions, [], tracker.names.known(wanted))
    with tracker.workspace.catalog.read() as conn:
        few = candidates(conn, asked.conditions, asked.numbers, None)
        query = _of(few, select(func.count()).select_from(runs)).where(*_where(conn, asked, few))
        found: int = conn.execute(query).scalar_one()
    return found


def _found(conn: Connection, asked: _Asked, offset: int, limit: int) -> list[Any]:
    few = candidates(conn, asked.conditions, asked.numbers)
    where = _where(conn, asked, few)
    first = asked.order[0] if asked.order else None
    if first is None or first.entity not in VALUES or (few is not None and few.most <= SORTED):
        return _sorted(conn, _of(few, select(runs)).where(*where), asked, offset, limit)
    if len(asked.conditions) > (len(few.conditions) if few is not None else 0):
        sought = _of(few, select(runs.c.number)).where(*where).limit(SOUGHT + 1)
        some = conn.execute(sought).scalars().all()
        if len(some) <= SOUGHT:
            return _sorted(conn, select(runs).where(runs.c.number.in_(some)), asked, offset, limit)
    elif few is None and first.entity != "metric":
        same = _of_first_value(conn, asked, first, where)
        page = [] if same is None else conn.execute(_ordered(same, asked, []).offset(offset).limit(limit)).all()
        if len(page) == limit:
            return list(page)
    # The index on a name's values gives the first ones without a look at the others: values, then NaN, then none.
    found: list[Any] = []
    by_value = _where(conn, asked, few, unordered(conn, runs.c.experiment_id))
    for part in (False, True, None) if first.entity == "metric" else (False, None):
        query = _of_value(conn, asked, first, part, few).where(*(where if part is None else by_value))
        ordered = _ordered(query, asked, [] if part is None else _directed(first))
        rows = conn.execute(ordered.offset(offset).limit(limit - len(found))).all()
        found += rows
        if len(found) == limit:
            break
        if rows:
            offset = 0
        elif offset:
            offset -= conn.execute(select(func.count()).select_from(query.subquery())).scalar_one()
            offset = max(offset, 0)
    return found


def _of_first_value(
    conn: Connection, asked: _Asked, first: Ordering, where: list[ColumnElement[bool]]
) -> Select[Any] | None:
    """Ask for the runs whose value comes first, when so many have it that the youngest of them are soon found."""
    table = VALUES[first.entity]
    mine = table.c.name == asked.numbers.get(first.key, -1)
    value = conn.execute(select(table.c.value).where(mine).order_by(*_directed(first)).limit(1)).scalar()
    if value is None:
        return None
    same = [mine, *equal(table.c.value, value)]
    some = select(table.c.subject).where(*same).limit(SORTED + 1).subquery()
    if conn.execute(select(func.count()).select_from(some)).scalar_one() <= SORTED:
        return None
    return select(runs).where(*where, exists().where(table.c.subject == runs.c.number, *same))


def _sorted(conn: Connection, query: Select[Any], asked: _Asked, offset: int, limit: int) -> list[Any]:
    return list(conn.execute(_ordered(query, asked).offset(offset).limit(limit)).all())


def _of(few: Candidates | None, query: Select[Any]) -> Select[Any]:
    """Ask a query of candidates only, each looked up."""
    if few is None:
        return query
    found = few.subjects.cte("few").prefix_with("MATERIALIZED")
    return query.join(found, found.c.subject == runs.c.number)


def _of_value(
    conn: Connection, asked: _Asked, first: Ordering, nan: bool | None, few: Candidates | None
) -> Select[Any]:
    """Ask for runs by a name's values, or, when `nan` is None, for those that have none."""
    table = VALUES[first.entity]
    number = asked.numbers.get(first.key, -1)
    if nan is None:
        return _of(few, select(runs)).where(~exists().where(table.c.subject == runs.c.number, table.c.name == number))
    query = select(runs).select_from(table.join(runs, runs.c.number == table.c.subject)).where(table.c.name == number)
    if first.entity == "metric":
        query = query.where(latest_metrics.c.is_nan == nan)
    return query if few is None else query.where(unordered(conn, table.c.subject).in_(few.subjects))


def _ordered(query: Select[Any], asked: _Asked, first: list[Any] | None = None) -> Select[Any]:
    """Order a query as it is asked; `first` are the terms of the first order, when the query has its values."""
    keys = list(first or ())
    for one in asked.order if first is None else asked.order[1:]:
        if one.entity in VALUES and one.key not in asked.numbers:  # nobody has it
            continue
        query, more = _order_key(query, one, asked)
        keys += more
    named = {(one.entity, ALIASES.get(one.key, one.key)) for one in asked.order}
    if ("attribute", "start_time") not in named:
        keys.append(runs.c.started_at.desc())
    return query.order_by(*keys, runs.c.id)


def _order_key(query: Select[Any], one: Ordering, asked: _Asked) -> tuple[Select[Any], list[Any]]:
    if one.entity == "attribute":
        column, _ = _attribute(one.key)
        return query, [column.is_(None), _to(column, one)]
    if one.entity == "dataset":
        raise InputError(f"Runs cannot be ordered by a dataset's {one.key!r}.", hint="Order by a metric or a tag.")
    table = VALUES[one.entity].alias()
    query = query.outerjoin(table, and_(table.c.subject == runs.c.number, table.c.name == asked.numbers[one.key]))
    if one.entity == "metric":
        rank = case((table.c.value.is_(None), 2), (table.c.is_nan, 1), else_=0)
        return query, [rank, _to(table.c.value, one)]
    return query, [table.c.value.is_(None), _to(table.c.value, one)]


def _directed(one: Ordering) -> list[Any]:
    """Return the terms of an order by values as their index has them."""
    value = VALUES[one.entity].c.value
    return [_to(value, one)] if one.entity == "metric" else [_to(near(value), one), _to(value, one)]


def _to(column: ColumnElement[Any], one: Ordering) -> UnaryExpression[Any]:
    return column.asc() if one.ascending else column.desc()


def _attribute(key: str) -> tuple[ColumnElement[Any], bool]:
    found = ATTRIBUTES.get(ALIASES.get(key, key))
    if found is None:
        raise InputError(f"Invalid attribute key {key!r} specified.", hint=f"Valid keys are {', '.join(ATTRIBUTES)}.")
    return found


def _where(
    conn: Connection,
    asked: _Asked,
    few: Candidates | None,
    experiment: ColumnElement[Any] = runs.c.experiment_id,
) -> list[ColumnElement[bool]]:
    where: list[ColumnElement[bool]] = [runs.c.lifecycle.in_(list(asked.lifecycles)), *asked.also]
    if asked.experiments is not None:
        where.insert(0, experiment.in_(list(asked.experiments)))
    known = few.conditions if few is not None else frozenset()
    others = [one for place, one in enumerate(asked.conditions) if place not in known]
    return where + [_condition(conn, one, asked.numbers) for one in others]


def _condition(conn: Connection, one: Comparison, numbers: dict[str, int]) -> ColumnElement[bool]:
    if one.entity == "attribute":
        return _of_attribute(conn, one)
    if one.entity == "dataset":
        return _of_dataset(conn, one)
    number = numbers.get(one.key, -1)
    if one.entity == "metric":
        demand(one, NUMBERS, text=False)
        latest = latest_metrics.alias().c
        held = of_number(latest.value, one)
        told = or_(latest.is_nan, held) if one.operator == "!=" else and_(~latest.is_nan, held)
        return exists().where(latest.subject == runs.c.number, latest.name == number, told)
    table = (run_params if one.entity == "param" else run_tags).alias()
    demand(one, TEXTS + NULLS, text=True)
    mine = [table.c.subject == runs.c.number, table.c.name == number]
    if one.operator in NULLS:
        there = exists().where(*mine)
        return there if one.operator == "IS NOT NULL" else ~there
    if one.operator == "LIKE" and (near := beginning(conn, table.c.value, str(one.value))):
        few = select(table.c.subject).where(table.c.name == number, *near, of_text(conn, table.c.value, one))
        return runs.c.number.in_(few)
    if one.operator == "=":
        return exists().where(*mine, *equal(table.c.value, str(one.value)))
    return exists().where(*mine, of_text(conn, table.c.value, one))


def _of_attribute(conn: Connection, one: Comparison) -> ColumnElement[bool]:
    column, is_text = _attribute(one.key)
    if is_text:
        demand(one, TEXTS + LISTS if one.key == "run_id" else TEXTS, text=True)
        return of_text(conn, column, one)
    demand(one, NUMBERS, text=False)
    return of_number(column, one, 1000)


def _of_dataset(conn: Connection, one: Comparison) -> ColumnElement[bool]:
    column = DATASET.get(one.key)
    if column is None:
        raise InputError(f"Invalid dataset key {one.key!r}.", hint=f"Valid keys are {', '.join(DATASET)}.")
    demand(one, TEXTS + LISTS, text=True)
    uses = select(dataset_uses.c.subject).join(datasets, datasets.c.id == dataset_uses.c.dataset)
    return runs.c.number.in_(uses.where(of_text(conn, column, one)))


def known_names(conn: Connection, numbers: Sequence[int]) -> dict[int, str]:
    """Return the names of numbers."""
    query = select(names.c.number, names.c.name).where(names.c.number.in_(list(numbers)))
    return {row.number: row.name for row in conn.execute(query)}
