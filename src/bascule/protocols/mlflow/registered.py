"""Endpoints of registered models: the `models/` of the branch that the client works on."""

from __future__ import annotations

from bascule.errors import InputError
from bascule.protocols.mlflow.limits import REGISTRY_TAG, tags_of
from bascule.protocols.mlflow.messages import Answer, Ask, present
from bascule.protocols.mlflow.registry import (
    ENTITIES,
    changed,
    delete,
    demand_model,
    fits,
    latest,
    model_json,
    model_of,
    ordered,
    page,
    refuse_served,
    stage_named,
    tag_of,
    version_json,
)
from bascule.registry import external
from bascule.registry.external import STAGES, Object
from bascule.registry.versions import LATEST, PREFIX
from bascule.tracking.search.grammar import parse_filter, parse_order

MOST = 1_000


def create_model(ask: Ask) -> Answer:
    """Make a registered model."""
    told = ask.told
    tags = tags_of(told.objects("tags"), REGISTRY_TAG)
    made = external.create_model(
        ask.tracker.workspace,
        ask.branch,
        told.text("name", required=True),
        author=ask.user,
        description=told.text("description"),
        tags=tags,
    )
    return Answer({"registered_model": model_json(made)})


def get_model(ask: Ask) -> Answer:
    """Return a registered model."""
    return Answer({"registered_model": model_json(model_of(ask))})


def rename_model(ask: Ask) -> Answer:
    """Give a registered model another name."""
    name, new = ask.told.text("name", required=True), ask.told.text("new_name", required=True)
    if new != name:
        refuse_served(ask, name)
    found = external.rename_model(ask.tracker.workspace, ask.branch, name, new, author=ask.user)
    return Answer({"registered_model": model_json(found)})


def update_model(ask: Ask) -> Answer:
    """Describe a registered model anew."""
    description = ask.told.text("description")

    def change(found: Object) -> Object:
        about = external.touched(found)["about"]
        return {**found, "about": {**about, "description": description}}

    return Answer({"registered_model": model_json(changed(ask, change, "Describe"))})


def delete_model(ask: Ask) -> Answer:
    """Delete a registered model with its versions."""
    name = ask.told.text("name", required=True)
    external.find_model(ask.tracker.workspace, ask.branch, name)
    delete(ask, name)
    return Answer()


def set_model_tag(ask: Ask) -> Answer:
    """Set a tag of a registered model."""
    key, value = tag_of(ask.told)

    def change(found: Object) -> Object:
        about = external.touched(found)["about"]
        return {**found, "about": {**about, "tags": {**about.get("tags", {}), key: value}}}

    changed(ask, change, "Tag")
    return Answer()


def delete_model_tag(ask: Ask) -> Answer:
    """Take a tag of a registered model away, if it has it."""
    key = ask.told.text("key", required=True)

    def change(found: Object) -> Object:
        about = found.get("about", {})
        return {**found, "about": {**about, "tags": {k: v for k, v in about.get("tags", {}).items() if k != key}}}

    changed(ask, change, "Untag")
    return Answer()


def latest_versions(ask: Ask) -> Answer:
    """Return the newest version of each stage."""
    stages = [stage_named(one) for one in ask.told.texts("stages")] or list(STAGES)
    found = model_of(ask)
    return Answer(present({"model_versions": [version_json(found, one) for one in latest(found, stages)]}))


def set_alias(ask: Ask) -> Answer:
    """Point an alias to a version."""
    alias, version = ask.told.text("alias", required=True), ask.told.text("version", required=True)
    changed(ask, lambda found: external.with_alias(found, alias, version), f"Point {alias} of")
    return Answer()


def delete_alias(ask: Ask) -> Answer:
    """Remove an alias, if it is there."""
    alias = ask.told.text("alias", required=True)
    changed(ask, lambda found: external.with_alias(found, alias, None), f"Remove {alias} of")
    return Answer()


def get_alias(ask: Ask) -> Answer:
    """Return the version that an alias points to."""
    found, alias = model_of(ask), ask.told.text("alias", required=True)
    if alias.lower() == LATEST and found["versions"]:
        number = max(int(one) for one in found["versions"])
    else:
        number = found["aliases"].get(alias)
    if number is None:
        raise InputError(f"Registered model alias {alias[:80]} not found.", hint="Set it first.")
    return Answer({"model_version": version_json(found, found["versions"][str(number)])})


def search_models(ask: Ask) -> Answer:
    """Return a page of registered models."""
    told, ws = ask.told, ask.tracker.workspace
    conditions = parse_filter(told.text("filter"), ENTITIES)
    for one in conditions:
        demand_model(one)
    order = parse_order(told.texts("order_by"), ENTITIES)
    found = [entry for _, entry in ws.history.entries(ask.branch, PREFIX)]
    listed = [model_json(one) for one in found]
    chosen = [one for one in listed if fits(one, conditions)]
    keys = {"name": "name", "timestamp": "last_updated_timestamp", "last_updated_timestamp": "last_updated_timestamp"}
    return page(told, "registered_models", ordered(chosen, order, keys, [("name", True)]), 100, MOST)
