"""Endpoints of experiments."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from bascule.catalog.schema import experiments as table
from bascule.errors import InputError
from bascule.protocols.mlflow.exporting import is_exported
from bascule.protocols.mlflow.limits import EXPERIMENT_TAG, checked_key, checked_name, checked_value, tags_of
from bascule.protocols.mlflow.messages import Answer, Ask, Fields, milliseconds, pairs, present
from bascule.tracking import experiments as kept
from bascule.tracking.inputs import dataset_summaries
from bascule.tracking.search.conditions import LISTS, NULLS, NUMBERS, TEXTS, demand, holds
from bascule.tracking.search.grammar import Comparison, Ordering, parse_filter, parse_order
from bascule.tracking.search.pages import next_token, offset_of
from bascule.tracking.search.runs import VIEWS

VIEW_NUMBERS = {1: "ACTIVE_ONLY", 2: "DELETED_ONLY", 3: "ALL"}
ENTITIES = {**dict.fromkeys(("tag", "tags"), "tag"), **dict.fromkeys(("attribute", "attributes", "attr"), "attribute")}
MOST = 50_000
MOST_LOCATION = 2_000


def number_of(told: Fields, name: str = "experiment_id", default: str = "") -> int:
    """Return the number of the experiment that a request names."""
    text = told.text(name, default, required=not default) or default
    return experiment_number(text)


def experiment_number(text: str) -> int:
    """Return the number that an experiment's id is."""
    if not text.isdecimal() or not text.isascii() or len(text) > 18:
        raise InputError(
            f"Invalid experiment ID: {text[:60]!r}. It must be an integer.", hint="Search the experiments."
        )
    return int(text)


def as_json(one: kept.Experiment) -> dict[str, Any]:
    """Return an experiment as the wire has it."""
    return present(
        {
            "experiment_id": str(one.id),
            "name": one.name,
            "artifact_location": one.artifact_location,
            "lifecycle_stage": one.lifecycle,
            "creation_time": milliseconds(one.created_at),
            "last_update_time": milliseconds(one.updated_at),
            "tags": pairs(one.tags),
        }
    )


def create(ask: Ask) -> Answer:
    """Make an experiment."""
    name = checked_name(ask.told.text("name", required=True), "experiment")
    location = ask.told.text("artifact_location")
    if location:
        raise_foreign(location)
    tags = tags_of(ask.told.objects("tags"), EXPERIMENT_TAG)
    made = kept.create_experiment(ask.tracker, name, location=location, tags=tags)
    return Answer({"experiment_id": str(made.id)})


def raise_foreign(location: str) -> None:
    """Refuse a place for artifacts that this server would have to reach for, or that is none.

    Raises:
        InputError: with what is allowed.
    """
    prefix = kept.LOCATION
    # mlflow-artifacts://HOST/… would have clients send their files, and their token, to that host.
    foreign = location.startswith(f"{prefix}/") and not location.startswith(f"{prefix}//")
    if foreign or len(location) > MOST_LOCATION or not location.startswith(prefix):
        raise InputError(
            f"Invalid artifact location: {location[:100]!r}. Artifacts are kept by this server.",
            hint=f"Leave it out, or begin it with {prefix!r}.",
        )
    if is_exported(location.removeprefix(prefix).lstrip("/")):
        raise InputError(f"{location[:100]!r} is where registered models are read.", hint="Leave it out.")


def get(ask: Ask) -> Answer:
    """Return an experiment by its id."""
    return Answer({"experiment": as_json(kept.get_experiment(ask.tracker, number_of(ask.told)))})


def get_by_name(ask: Ask) -> Answer:
    """Return an experiment by its name."""
    name = ask.told.text("experiment_name", required=True)
    return Answer({"experiment": as_json(kept.find_experiment(ask.tracker, name))})


def update(ask: Ask) -> Answer:
    """Rename an experiment."""
    number = number_of(ask.told)
    kept.rename_experiment(ask.tracker, number, checked_name(ask.told.text("new_name", required=True), "experiment"))
    return Answer()


def delete(ask: Ask) -> Answer:
    """Delete an experiment with its runs; it can be restored."""
    kept.set_lifecycle(ask.tracker, number_of(ask.told), kept.DELETED)
    return Answer()


def restore(ask: Ask) -> Answer:
    """Restore a deleted experiment with its runs."""
    kept.set_lifecycle(ask.tracker, number_of(ask.told), kept.ACTIVE)
    return Answer()


def set_tag(ask: Ask) -> Answer:
    """Set a tag of an experiment."""
    key = checked_key(ask.told.text("key", required=True), "key")
    value = checked_value(ask.told.given("value") or "", EXPERIMENT_TAG, "value")
    kept.set_experiment_tag(ask.tracker, number_of(ask.told), key, value)
    return Answer()


def delete_tag(ask: Ask) -> Answer:
    """Take a tag of an experiment away."""
    kept.delete_experiment_tag(ask.tracker, number_of(ask.told), ask.told.text("key", required=True))
    return Answer()


def datasets(ask: Ask) -> Answer:
    """Return the datasets of some experiments."""
    numbers = [experiment_number(text) for text in ask.told.texts("experiment_ids")]
    if not 1 <= len(numbers) <= 20:
        raise InputError("SearchDatasets takes 1 to 20 experiment_ids.", hint=f"There were {len(numbers)}.")
    return Answer(present({"dataset_summaries": dataset_summaries(ask.tracker, numbers)}))


def search(ask: Ask) -> Answer:
    """Return a page of experiments."""
    told = ask.told
    limit = told.integer("max_results", 1000, least=1, most=MOST)
    view = told.choice("view_type", tuple(VIEWS), VIEW_NUMBERS, "ACTIVE_ONLY")
    conditions = parse_filter(told.text("filter"), ENTITIES)
    order = parse_order(told.texts("order_by"), ENTITIES)
    for one in conditions:
        _demand(one)
    offset = offset_of(told.text("page_token"))
    with ask.tracker.workspace.catalog.read() as conn:
        rows = conn.execute(select(table).where(table.c.lifecycle.in_(VIEWS[view]))).all()
        tags = kept.tags_of(conn, [row.id for row in rows])
    found = [kept.Experiment(**row._mapping, tags=tags.get(row.id, {})) for row in rows]
    found = [one for one in found if all(holds(c, _value(one, c.entity, c.key)) for c in conditions)]
    found = ordered(found, order)
    page = found[offset : offset + limit]
    token = next_token(offset + limit) if len(found) > offset + limit else None
    return Answer(present({"experiments": [as_json(one) for one in page], "next_page_token": token}))


def _demand(one: Comparison) -> None:
    if one.entity == "tag":
        demand(one, TEXTS + NULLS, text=True)
    elif one.key in ("creation_time", "last_update_time"):
        demand(one, NUMBERS, text=False)
    elif one.key == "experiment_id":
        demand(one, ("=", "!=", *LISTS), text=True)
    else:
        _value(None, "attribute", one.key)
        demand(one, TEXTS, text=True)


def _value(one: kept.Experiment | None, entity: str, key: str) -> Any:
    if entity == "tag":
        return one.tags.get(key) if one else None
    known = {"name", "experiment_id", "creation_time", "last_update_time"}
    if key not in known:
        raise InputError(
            f"Invalid attribute key {key!r} specified.", hint=f"Valid keys are {', '.join(sorted(known))}."
        )
    if one is None:
        return None
    told = {"name": one.name, "experiment_id": str(one.id)}
    times = {"creation_time": one.created_at // 1000, "last_update_time": one.updated_at // 1000}
    return {**told, **times}[key]


def ordered(found: list[kept.Experiment], order: list[Ordering]) -> list[kept.Experiment]:
    """Return experiments in the order asked for; the youngest first when none is."""
    if not order:
        return sorted(found, key=lambda one: (-one.created_at, one.id))
    found = sorted(found, key=lambda one: -one.id)
    for one in reversed(order):
        values = {each.id: _sort_key(each, one) for each in found}
        there = [each for each in found if values[each.id] is not None]
        there.sort(key=lambda each, values=values: values[each.id], reverse=not one.ascending)  # type: ignore[misc]
        found = there + [each for each in found if values[each.id] is None]
    return found


def _sort_key(each: kept.Experiment, one: Ordering) -> Any:
    value = _value(each, one.entity, one.key)
    return int(value) if one.entity == "attribute" and one.key == "experiment_id" else value
