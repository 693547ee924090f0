"""What the endpoints of registered models and of their versions share: how they are written, found and changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bascule.errors import InputError, NotFound
from bascule.protocols.mlflow.limits import REGISTRY_TAG, checked_key, checked_value
from bascule.protocols.mlflow.messages import Answer, Ask, Fields, milliseconds, pairs, present
from bascule.registry import external
from bascule.registry.deletions import explained
from bascule.registry.external import STAGES, Object
from bascule.tracking.search.conditions import LISTS, NUMBERS, TEXTS, demand, holds
from bascule.tracking.search.grammar import Comparison, Ordering
from bascule.tracking.search.pages import next_token, offset_of

PROMPT = "mlflow.prompt.is_prompt"
ENTITIES = {**dict.fromkeys(("tag", "tags"), "tag"), **dict.fromkeys(("attribute", "attributes", "attr"), "attribute")}
SCHEME = "mlflow-artifacts:"


def model_json(found: Object) -> dict[str, Any]:
    """Return a registered model as the wire has it."""
    about = found.get("about", {})
    created = about.get("created_at") or min((v["created_at"] for v in found["versions"].values()), default=0)
    updated = about.get("updated_at") or max((v["created_at"] for v in found["versions"].values()), default=created)
    return present(
        {
            "name": found["name"],
            "creation_timestamp": milliseconds(created),
            "last_updated_timestamp": milliseconds(updated),
            "description": about.get("description") or None,
            "latest_versions": [version_json(found, one) for one in latest(found, STAGES)],
            "tags": pairs(about.get("tags", {})),
            "aliases": [{"alias": alias, "version": str(v)} for alias, v in sorted(found["aliases"].items())],
        }
    )


def version_json(found: Object, entry: Object) -> dict[str, Any]:
    """Return a version as the wire has it."""
    about = entry.get("about", {})
    return present(
        {
            "name": found["name"],
            "version": str(entry["version"]),
            "creation_timestamp": milliseconds(entry["created_at"]),
            "last_updated_timestamp": milliseconds(about.get("updated_at") or entry["created_at"]),
            "current_stage": about.get("stage", STAGES[0]),
            "description": about.get("description") or None,
            "source": about.get("source") or f"bascule:{entry['artifact']}",
            "run_id": entry.get("run_id") or "",
            "run_link": about.get("run_link") or None,
            "status": "READY",
            "tags": pairs(about.get("tags", {})),
            "aliases": sorted(alias for alias, target in found["aliases"].items() if target == entry["version"]),
            "user_id": entry.get("created_by"),
            "model_id": about.get("model_id") or None,
        }
    )


def stage_named(text: str) -> str:
    """Return a stage by its name in any case.

    Raises:
        InputError: with the stages.
    """
    for stage in STAGES:
        if stage.lower() == text.lower():
            return stage
    raise InputError(f"Invalid Model Version stage: {text[:60]}.", hint=f"Value must be one of {', '.join(STAGES)}.")


def model_of(ask: Ask) -> Object:
    """Return the object of the registered model that a request names."""
    return external.find_model(ask.tracker.workspace, ask.branch, ask.told.text("name", required=True))


def version_of(ask: Ask) -> tuple[Object, Object]:
    """Return the objects of the model and of the version that a request names."""
    version = ask.told.text("version", required=True)
    try:
        found = model_of(ask)
        return found, external.find_version(found, version)
    except NotFound as error:
        name = ask.told.text("name", required=True)
        raise explained(ask.tracker.workspace, ask.branch, name, version, error) from None


def changed(ask: Ask, change: external.Change, verb: str) -> Object:
    """Change the registered model that a request names; the verb is for the commit."""
    name = ask.told.text("name", required=True)
    ws = ask.tracker.workspace
    return external.change_model(ws, ask.branch, name, change, author=ask.user, message=f"{verb} the model {name}")


def changed_version(ask: Ask, change: Any, verb: str) -> tuple[Object, Object]:
    """Change what is said of the version that a request names."""
    version = ask.told.text("version", required=True)
    found = changed(ask, lambda one: external.with_version(one, version, change), f"{verb} version {version[:9]} of")
    return found, external.find_version(found, version)


def delete(ask: Ask, model: str, version: int | None = None) -> None:
    """Take a version, or with None a model, from the branch, held to what `bascule model delete` is held to.

    Raises:
        InputError: a deployment of any branch uses it; says which, and what ends that.
        CheckFailed: the branch is protected, and a check refused it.
    """
    from bascule.project.deleting import delete_for_client  # nothing else of a tracking server needs that room

    ws = ask.tracker.workspace
    delete_for_client(ws, ask.branch, model, version, folder=ws.folder.parent, who=ask.user)


def refuse_served(ask: Ask, model: str) -> None:
    """Refuse to take a model's name from what serves or tries it on the client's branch: who deploys decides about it.

    Raises:
        InputError: naming each deployment, and what ends that.
    """
    from bascule.delivery.using import refuse_used, uses  # as above

    ws = ask.tracker.workspace
    every = sorted(int(number) for number in external.find_model(ws, ask.branch, model)["versions"])
    found = [use for number in every for use in uses(ws, model, number)]
    refuse_used(model, [use for use in found if use.branch == ask.branch])


def tag_of(told: Fields) -> tuple[str, str]:
    """Return the key and the value of the tag that a request sets."""
    key = checked_key(told.text("key", required=True), "key")
    return key, checked_value(told.given("value") or "", REGISTRY_TAG, "value")


def latest(found: Object, stages: Any) -> list[Object]:
    """Return the newest version of each of some stages."""
    newest: dict[str, Object] = {}
    for number in sorted(found["versions"], key=int):
        entry = found["versions"][number]
        newest[entry.get("about", {}).get("stage", STAGES[0])] = entry
    return [newest[stage] for stage in dict.fromkeys(stages) if stage in newest]


def demand_model(one: Comparison) -> None:
    """Refuse a condition that registered models do not have."""
    if one.entity == "tag":
        demand(one, TEXTS, text=True)
    elif one.key == "name":
        demand(one, TEXTS + LISTS, text=True)
    else:
        raise InputError(f"Invalid attribute name: {one.key[:60]!r}.", hint="Valid keys are name and tags.KEY.")


def demand_version(one: Comparison) -> None:
    """Refuse a condition that versions do not have."""
    if one.entity == "tag":
        demand(one, TEXTS, text=True)
    elif one.key == "version_number":
        demand(one, NUMBERS, text=False)
    elif one.key in ("name", "run_id", "source_path"):
        demand(one, TEXTS + LISTS, text=True)
    else:
        raise InputError(
            f"Invalid attribute name: {one.key[:60]!r}.",
            hint="Valid keys are name, run_id, source_path, version_number and tags.KEY.",
        )


def fits(one: Mapping[str, Any], conditions: list[Comparison]) -> bool:
    """Tell whether a model or a version, as the wire has it, is wanted; prompts are, when they are asked for."""
    tags = {tag["key"]: tag["value"] for tag in one.get("tags", ())}
    prompt, asked = tags.get(PROMPT) == "true", False
    for condition in conditions:
        if condition.entity == "tag" and condition.key == PROMPT:
            wants = (condition.value == "true") == (condition.operator == "=")
            asked = asked or wants
            if prompt != wants:
                return False
            continue
        key = {"source_path": "source"}.get(condition.key, condition.key)
        value = tags.get(condition.key) if condition.entity == "tag" else one.get(key)
        if not holds(condition, value):
            return False
    return asked or not prompt


def ordered(
    found: list[dict[str, Any]], order: list[Ordering], keys: Mapping[str, str], defaults: list[tuple[str, bool]]
) -> list[dict[str, Any]]:
    """Return models or versions in the order asked for, then in the usual one."""
    wanted = []
    for one in order:
        if one.entity != "attribute" or one.key not in keys:
            raise InputError(
                f"Invalid order by key {one.key[:60]!r} specified.", hint=f"Valid keys are {', '.join(keys)}."
            )
        wanted.append((keys[one.key], one.ascending))
    for key, ascending in reversed([*wanted, *defaults]):
        found.sort(key=lambda one, key=key: one[key], reverse=not ascending)  # type: ignore[misc]
    return found


def page(told: Fields, name: str, found: list[dict[str, Any]], default: int, most: int) -> Answer:
    """Answer with the page that a request asks for."""
    limit = told.integer("max_results", default, least=1, most=most)
    offset = offset_of(told.text("page_token"))
    token = next_token(offset + limit) if len(found) > offset + limit else None
    return Answer(present({name: found[offset : offset + limit], "next_page_token": token}))
