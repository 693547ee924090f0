"""Logged models: a model as a run made it, with its own parameters, metrics and tags, before anyone registers it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from sqlalchemy import ColumnElement, Connection, and_, case, exists, insert, not_, or_, select, update

from bascule.catalog import now
from bascule.catalog.schema import (
    latest_metrics,
    logged_models,
    metric_contexts,
    metric_points,
    names,
    run_params,
    run_tags,
)
from bascule.errors import InputError, NotFound
from bascule.tracking import experiments as kept
from bascule.tracking.keeping import add_params, delete_tag, params_of, set_tags, tags_of
from bascule.tracking.points import value_of
from bascule.tracking.remote import random_name
from bascule.tracking.search.conditions import LISTS, NUMBERS, TEXTS, demand, of_number, of_text
from bascule.tracking.search.grammar import Comparison, parse_filter
from bascule.tracking.search.pages import Page, next_token, offset_of
from bascule.tracking.subjects import new_subject, touch
from bascule.tracking.tracker import Tracker

ENTITIES = {"attributes": "attribute", "metrics": "metric", "params": "param", "tags": "tag"}
m = logged_models.c
ATTRIBUTES: dict[str, tuple[ColumnElement[Any], bool]] = {
    "name": (m.name, True),
    "model_id": (m.id, True),
    "model_type": (m.model_type, True),
    "status": (m.status, True),
    "source_run_id": (m.source_run_id, True),
    "experiment_id": (m.experiment_id, True),
    "creation_timestamp": (m.created_at, False),
    "creation_time": (m.created_at, False),
    "last_updated_timestamp": (m.updated_at, False),
    "last_updated_time": (m.updated_at, False),
}


def create_logged_model(
    tracker: Tracker,
    experiment: int,
    *,
    name: str = "",
    model_type: str = "",
    source_run: str = "",
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    model_id: str | None = None,
) -> str:
    """Make a logged model that waits for its files, and return its id.

    Raises:
        NotFound, InputError: no such experiment, or it is deleted.
    """
    model = model_id or f"m-{uuid4().hex}"
    numbers = tracker.names.numbers({*(params or {}), *(tags or {})})

    def work(conn: Connection) -> None:
        place = kept.demand(conn, experiment, active=True).artifact_location
        number, at = new_subject(conn, model), now()
        row = {
            "id": model,
            "number": number,
            "experiment_id": experiment,
            "name": name or random_name(),
            "status": "PENDING",
            "model_type": model_type or None,
            "source_run_id": source_run or None,
            "artifact_uri": f"{place.rstrip('/')}/models/{model}/artifacts",
            "created_at": at,
            "updated_at": at,
            "lifecycle": kept.ACTIVE,
        }
        conn.execute(insert(logged_models).values(**row))
        add_params(conn, number, params or {}, numbers, strict=True)
        set_tags(conn, number, tags or {}, numbers)

    tracker.write(work)
    return model


def demand_model(conn: Connection, model: str, *, deleted: bool = False) -> Any:
    """Return a logged model's row inside a transaction.

    Raises:
        NotFound: there is none, or it is deleted and `deleted` is not said.
    """
    row = conn.execute(select(logged_models).where(m.id == model)).first()
    if row is None or (row.lifecycle != kept.ACTIVE and not deleted):
        raise NotFound("logged model", model, hint="Search the logged models for what there is.")
    return row


def change_logged_model(
    tracker: Tracker,
    model: str,
    *,
    status: str | None = None,
    params: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    lifecycle: str | None = None,
) -> None:
    """Change how a logged model stands, or add to its parameters and tags.

    Raises:
        NotFound: there is none.
        InputError: a parameter would change.
    """
    numbers = tracker.names.numbers({*(params or {}), *(tags or {})})

    def work(conn: Connection) -> None:
        row = demand_model(conn, model)
        add_params(conn, row.number, params or {}, numbers, strict=True)
        set_tags(conn, row.number, tags or {}, numbers)
        values: dict[str, Any] = {"updated_at": now()}
        if status:
            values["status"] = status
        if lifecycle:
            values |= {"lifecycle": lifecycle, "deleted_at": now() if lifecycle == kept.DELETED else None}
        conn.execute(update(logged_models).where(m.id == model).values(**values))
        touch(conn, row.number)

    tracker.write(work)


def remove_model_tag(tracker: Tracker, model: str, key: str) -> None:
    """Take a tag of a logged model away.

    Raises:
        NotFound: no such model, or it has no such tag.
    """

    def work(conn: Connection) -> None:
        row = demand_model(conn, model)
        if not delete_tag(conn, row.number, key):
            raise NotFound(f"tag of the logged model {model}", key, hint="No tag of that key was set.")

    tracker.write(work)


def read_logged_model(tracker: Tracker, model: str, *, deleted: bool = False) -> dict[str, Any]:
    """Return a logged model as its row's columns with `params`, `tags` and `metrics`.

    Raises:
        NotFound: there is none.
    """
    with tracker.workspace.catalog.read() as conn:
        return _told(conn, demand_model(conn, model, deleted=deleted))


def search_logged_models(
    tracker: Tracker,
    experiments: Sequence[int],
    *,
    filter: str = "",
    order_by: Sequence[Mapping[str, Any]] = (),
    datasets: Sequence[Mapping[str, str]] = (),
    limit: int = 100,
    token: str = "",
) -> Page[dict[str, Any]]:
    """Return a page of logged models, youngest first unless ordered otherwise.

    Args:
        order_by: each with `field_name`, and perhaps `ascending`, `dataset_name` and `dataset_digest`.
        datasets: metrics count only if measured on one of these.

    Raises:
        InputError: for what cannot be read, and for a token of another search.
    """
    question = f"{sorted(experiments)}{filter}{[dict(one) for one in order_by]}"
    offset = offset_of(token, question) if token else 0
    conditions = parse_filter(filter, ENTITIES)
    with tracker.workspace.catalog.read() as conn:
        query = select(logged_models).where(m.lifecycle == kept.ACTIVE, m.experiment_id.in_(list(experiments)))
        for one in conditions:
            query = query.where(_condition(conn, one, datasets))
        if datasets and not any(one.entity == "metric" for one in conditions):
            query = query.where(_measured(None, None, datasets))
        keys = [key for one in order_by for key in _order(one)]
        query = query.order_by(*keys, m.created_at.desc(), m.id).offset(offset).limit(limit + 1)
        found = [_told(conn, row) for row in conn.execute(query).all()]
    more = next_token(offset + limit, question) if len(found) > limit else ""
    return Page(found[:limit], more)


def _condition(conn: Connection, one: Comparison, datasets: Sequence[Mapping[str, str]]) -> ColumnElement[bool]:
    if one.entity == "attribute":
        column, is_text = _attribute(one.key)
        demand(one, TEXTS + LISTS if is_text else NUMBERS, text=is_text)
        return of_text(conn, column, one) if is_text else of_number(column, one, 1000)
    if one.entity == "metric":
        demand(one, NUMBERS, text=False)
        return _measured(one.key, one, datasets)
    table = run_params if one.entity == "param" else run_tags
    demand(one, TEXTS + LISTS, text=True)
    name = select(names.c.number).where(names.c.name == one.key).scalar_subquery()
    return exists().where(table.c.subject == m.number, table.c.name == name, of_text(conn, table.c.value, one))


def _measured(key: str | None, one: Comparison | None, datasets: Sequence[Mapping[str, str]]) -> ColumnElement[bool]:
    table = metric_points if datasets else latest_metrics
    where: list[Any] = [table.c.subject == m.number]
    if key is not None:
        where.append(table.c.name == select(names.c.number).where(names.c.name == key).scalar_subquery())
    if one is not None:
        held = of_number(table.c.value, one)
        where.append(or_(table.c.is_nan, held) if one.operator == "!=" else and_(not_(table.c.is_nan), held))
    if datasets:
        c = metric_contexts.c
        fits = [
            and_(c.dataset_name == d["dataset_name"], c.dataset_digest == d["dataset_digest"])
            if d.get("dataset_digest")
            else c.dataset_name == d["dataset_name"]
            for d in datasets
        ]
        where.append(table.c.context.in_(select(c.number).where(or_(*fits))))
    return exists().where(*where)


def _order(one: Mapping[str, Any]) -> list[Any]:
    field, ascending = str(one.get("field_name", "")), one.get("ascending", True) is not False
    if field.startswith("metrics."):
        table = metric_points if one.get("dataset_name") else latest_metrics
        name = select(names.c.number).where(names.c.name == field.removeprefix("metrics.")).scalar_subquery()
        where = [table.c.subject == m.number, table.c.name == name]
        if one.get("dataset_name"):
            c = metric_contexts.c
            fit = [c.dataset_name == one["dataset_name"]]
            if one.get("dataset_digest"):
                fit.append(c.dataset_digest == one["dataset_digest"])
            where.append(table.c.context.in_(select(c.number).where(*fit)))
        value = case((table.c.is_nan, None), else_=table.c.value)
        query = select(value).where(*where).order_by(table.c.step.desc(), table.c.at.desc()).limit(1)
        column: Any = query.correlate(logged_models).scalar_subquery()
    else:
        column, _ = _attribute(field.removeprefix("attributes."))
    return [column.is_(None), column.asc() if ascending else column.desc()]


def _attribute(key: str) -> tuple[ColumnElement[Any], bool]:
    found = ATTRIBUTES.get(key)
    if found is None:
        raise InputError(f"Invalid attribute key {key!r}.", hint=f"Valid keys are {', '.join(ATTRIBUTES)}.")
    return found


def _told(conn: Connection, row: Any) -> dict[str, Any]:
    p, c = metric_points.c, metric_contexts.c
    query = (
        select(names.c.name, p.value, p.is_nan, p.at, p.step, c.dataset_name, c.dataset_digest, c.other_id)
        .join(names, names.c.number == p.name)
        .outerjoin(metric_contexts, c.number == p.context)
        .where(p.subject == row.number)
        .order_by(names.c.name, p.step, p.at)
    )
    latest: dict[tuple[str, str, str], dict[str, Any]] = {}
    for point in conn.execute(query):
        told = {"key": point.name, "value": value_of(point.value, point.is_nan), "at": point.at, "step": point.step}
        told |= {"dataset_name": point.dataset_name or "", "dataset_digest": point.dataset_digest or ""}
        latest[point.name, told["dataset_name"], told["dataset_digest"]] = told | {"run_id": point.other_id or ""}
    return {
        **row._mapping,
        "params": params_of(conn, row.number),
        "tags": tags_of(conn, row.number),
        "metrics": list(latest.values()),
    }
