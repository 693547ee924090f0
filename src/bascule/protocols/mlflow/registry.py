"""Endpoints of registered models and their versions: the `models/` of the branch that the client works on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bascule.errors import InputError
from bascule.protocols.mlflow.limits import REGISTRY_TAG, checked_key, checked_value, tags_of
from bascule.protocols.mlflow.messages import Answer, Ask, Fields, milliseconds, pairs, present
from bascule.registry import external
from bascule.registry.external import STAGES, Object
from bascule.registry.versions import LATEST, PREFIX
from bascule.tracking import logged, remote
from bascule.tracking.artifacts import confined
from bascule.tracking.search.conditions import LISTS, NUMBERS, TEXTS, demand, holds
from bascule.tracking.search.grammar import Comparison, Ordering, parse_filter, parse_order
from bascule.tracking.search.pages import next_token, offset_of

PROMPT = "mlflow.prompt.is_prompt"
ENTITIES = {**dict.fromkeys(("tag", "tags"), "tag"), **dict.fromkeys(("attribute", "attributes", "attr"), "attribute")}
MOST_MODELS, MOST_VERSIONS = 1_000, 200_000
SCHEME = "mlflow-artifacts:"


# Registered models ---------------------------------------------------------------------------------------------------


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
            "latest_versions": [version_json(found, one) for one in _latest(found, STAGES)],
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
    return Answer({"registered_model": model_json(_model(ask))})


def rename_model(ask: Ask) -> Answer:
    """Give a registered model another name."""
    name, new = ask.told.text("name", required=True), ask.told.text("new_name", required=True)
    found = external.rename_model(ask.tracker.workspace, ask.branch, name, new, author=ask.user)
    return Answer({"registered_model": model_json(found)})


def update_model(ask: Ask) -> Answer:
    """Describe a registered model anew."""
    description = ask.told.text("description")

    def change(found: Object) -> Object:
        about = external.touched(found)["about"]
        return {**found, "about": {**about, "description": description}}

    return Answer({"registered_model": model_json(_changed(ask, change, "Describe"))})


def delete_model(ask: Ask) -> Answer:
    """Delete a registered model with its versions."""
    external.delete_model(ask.tracker.workspace, ask.branch, ask.told.text("name", required=True), author=ask.user)
    return Answer()


def set_model_tag(ask: Ask) -> Answer:
    """Set a tag of a registered model."""
    key, value = _tag(ask.told)

    def change(found: Object) -> Object:
        about = external.touched(found)["about"]
        return {**found, "about": {**about, "tags": {**about.get("tags", {}), key: value}}}

    _changed(ask, change, "Tag")
    return Answer()


def delete_model_tag(ask: Ask) -> Answer:
    """Take a tag of a registered model away, if it has it."""
    key = ask.told.text("key", required=True)

    def change(found: Object) -> Object:
        about = found.get("about", {})
        return {**found, "about": {**about, "tags": {k: v for k, v in about.get("tags", {}).items() if k != key}}}

    _changed(ask, change, "Untag")
    return Answer()


def latest_versions(ask: Ask) -> Answer:
    """Return the newest version of each stage."""
    stages = [stage_named(one) for one in ask.told.texts("stages")] or list(STAGES)
    found = _model(ask)
    return Answer(present({"model_versions": [version_json(found, one) for one in _latest(found, stages)]}))


def set_alias(ask: Ask) -> Answer:
    """Point an alias to a version."""
    alias, version = ask.told.text("alias", required=True), ask.told.text("version", required=True)
    _changed(ask, lambda found: external.with_alias(found, alias, version), f"Point {alias} of")
    return Answer()


def delete_alias(ask: Ask) -> Answer:
    """Remove an alias, if it is there."""
    alias = ask.told.text("alias", required=True)
    _changed(ask, lambda found: external.with_alias(found, alias, None), f"Remove {alias} of")
    return Answer()


def get_alias(ask: Ask) -> Answer:
    """Return the version that an alias points to."""
    found, alias = _model(ask), ask.told.text("alias", required=True)
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
        _demand_model(one)
    order = parse_order(told.texts("order_by"), ENTITIES)
    found = [entry for _, entry in ws.history.entries(ask.branch, PREFIX)]
    listed = [model_json(one) for one in found]
    chosen = [one for one in listed if _fits(one, conditions)]
    keys = {"name": "name", "timestamp": "last_updated_timestamp", "last_updated_timestamp": "last_updated_timestamp"}
    return _page(told, "registered_models", _sorted(chosen, order, keys, [("name", True)]), 100, MOST_MODELS)


# Versions ------------------------------------------------------------------------------------------------------------


def create_version(ask: Ask) -> Answer:
    """Register a version of a model."""
    told, ws = ask.told, ask.tracker.workspace
    name, source = told.text("name", required=True), told.text("source", required=True)
    run, model_id = told.text("run_id"), told.text("model_id")
    tags = tags_of(told.objects("tags"), REGISTRY_TAG)
    external.find_model(ws, ask.branch, name)
    place, run = _owned(ask, source, run, model_id, prompt=tags.get(PROMPT) == "true")
    about = {
        "source": source,
        "run_id": run,
        "run_link": told.text("run_link"),
        "description": told.text("description"),
        "tags": tags,
        "model_id": model_id or (source.removeprefix("models:/") if source.startswith("models:/m-") else ""),
    }
    entry = external.create_version(ws, ask.branch, name, about, artifact=place, author=ask.user)
    return Answer({"model_version": version_json(external.find_model(ws, ask.branch, name), entry)})


def _owned(ask: Ask, source: str, run: str, model_id: str, *, prompt: bool) -> tuple[str, str]:
    """Return where a version's files lie and its run, when the request owns the source that it names.

    Raises:
        InputError: the source lies elsewhere: on this machine, on another one, or with another run.
        NotFound: the run or the logged model is not there.
    """
    if prompt:
        if source not in ("", "dummy-source") and not re.fullmatch(r"[\w\-.]+", source):
            raise _foreign(source)
        return source, run
    if source.startswith("models:/"):
        model = logged.read_logged_model(ask.tracker, source.removeprefix("models:/").strip("/"))
        return model["artifact_uri"], run or model["source_run_id"] or ""
    if source.startswith("runs:/"):
        named, _, rest = source.removeprefix("runs:/").partition("/")
        if run and named != run:
            raise _foreign(source)
        return f"{_artifacts_of(ask, named)}/{confined(rest)}".rstrip("/"), named
    if source.startswith(SCHEME):
        path = confined(source.removeprefix(SCHEME).lstrip("/"))
        places = []
        if model_id:
            places.append(str(logged.read_logged_model(ask.tracker, model_id)["artifact_uri"]))
        if run:
            places.append(_artifacts_of(ask, run))
        owned = [confined(one.removeprefix(SCHEME).lstrip("/")) for one in places]
        if any(path == one or path.startswith(f"{one}/") for one in owned):
            return f"{SCHEME}/{path}", run
    raise _foreign(source)


def _artifacts_of(ask: Ask, run: str) -> str:
    with ask.tracker.workspace.catalog.read() as conn:
        return str(remote.demand_run(conn, run).artifact_uri)


def _foreign(source: str) -> InputError:
    return InputError(
        f"Invalid model version source: '{source[:120]}'. It must lie below the artifacts of the run or the logged "
        "model that the request names.",
        hint="Log the model to this server first, and name its run_id or model_id.",
    )


def get_version(ask: Ask) -> Answer:
    """Return a version."""
    found, entry = _version(ask)
    return Answer({"model_version": version_json(found, entry)})


def download_uri(ask: Ask) -> Answer:
    """Return where a version's files lie."""
    _, entry = _version(ask)
    return Answer({"artifact_uri": entry["artifact"]})


def place_of_version(ask: Ask) -> str:
    """Return where a file of a version lies."""
    _, entry = _version(ask)
    root = str(entry["artifact"])
    if not root.startswith(SCHEME):
        raise InputError("This version's files are in Bascule's own store.", hint="Fetch it with: bascule model")
    return f"{confined(root.removeprefix(SCHEME).lstrip('/'))}/{confined(ask.told.text('path', required=True))}"


def update_version(ask: Ask) -> Answer:
    """Describe a version anew."""
    description = ask.told.text("description")
    found, entry = _changed_version(ask, lambda about: {"description": description}, "Describe")
    return Answer({"model_version": version_json(found, entry)})


def delete_version(ask: Ask) -> Answer:
    """Take a version out of a model."""
    version = ask.told.text("version", required=True)
    _changed(ask, lambda found: external.without_version(found, version), f"Delete version {version[:9]} of")
    return Answer()


def set_version_tag(ask: Ask) -> Answer:
    """Set a tag of a version."""
    key, value = _tag(ask.told)
    _changed_version(ask, lambda about: {"tags": {**about.get("tags", {}), key: value}}, "Tag")
    return Answer()


def delete_version_tag(ask: Ask) -> Answer:
    """Take a tag of a version away, if it has it."""
    key = ask.told.text("key", required=True)
    _changed_version(ask, lambda about: {"tags": {k: v for k, v in about.get("tags", {}).items() if k != key}}, "Untag")
    return Answer()


def transition(ask: Ask) -> Answer:
    """Move a version to another stage."""
    told = ask.told
    version, stage = told.text("version", required=True), stage_named(told.text("stage", required=True))
    archives = told.flag("archive_existing_versions")
    if archives and stage not in ("Staging", "Production"):
        raise InputError(
            "Model version transition cannot archive existing model versions because "
            f"'{stage}' is not an Active stage.",
            hint="Valid stages are Staging, Production.",
        )

    def change(found: Object) -> Object:
        if archives:
            for number, entry in found["versions"].items():
                if entry.get("about", {}).get("stage") == stage and number != str(int(version)):
                    found = external.with_version(found, number, lambda _: {"stage": "Archived"})
        return external.touched(external.with_version(found, version, lambda _: {"stage": stage}))

    found = _changed(ask, change, f"Move to {stage} a version of")
    return Answer({"model_version": version_json(found, external.find_version(found, version))})


def search_versions(ask: Ask) -> Answer:
    """Return a page of versions."""
    told, ws = ask.told, ask.tracker.workspace
    conditions = parse_filter(told.text("filter"), ENTITIES)
    for one in conditions:
        _demand_version(one)
    order = parse_order(told.texts("order_by"), ENTITIES)
    found = [
        version_json(model, entry)
        for _, model in ws.history.entries(ask.branch, PREFIX)
        for entry in model["versions"].values()
    ]
    for told_of in found:
        told_of["version_number"] = int(told_of["version"])
    chosen = [one for one in found if _fits(one, conditions)]
    keys = {
        "name": "name",
        "version_number": "version_number",
        "creation_timestamp": "creation_timestamp",
        "last_updated_timestamp": "last_updated_timestamp",
    }
    defaults = [("last_updated_timestamp", False), ("name", True), ("version_number", False)]
    ordered = _sorted(chosen, order, keys, defaults)
    for told_of in ordered:
        del told_of["version_number"]
    return _page(told, "model_versions", ordered, 200_000, MOST_VERSIONS)


# Inside --------------------------------------------------------------------------------------------------------------


def stage_named(text: str) -> str:
    """Return a stage by its name in any case.

    Raises:
        InputError: with the stages.
    """
    for stage in STAGES:
        if stage.lower() == text.lower():
            return stage
    raise InputError(f"Invalid Model Version stage: {text[:60]}.", hint=f"Value must be one of {', '.join(STAGES)}.")


def _model(ask: Ask) -> Object:
    return external.find_model(ask.tracker.workspace, ask.branch, ask.told.text("name", required=True))


def _version(ask: Ask) -> tuple[Object, Object]:
    found = _model(ask)
    return found, external.find_version(found, ask.told.text("version", required=True))


def _changed(ask: Ask, change: external.Change, verb: str) -> Object:
    name = ask.told.text("name", required=True)
    ws = ask.tracker.workspace
    return external.change_model(ws, ask.branch, name, change, author=ask.user, message=f"{verb} the model {name}")


def _changed_version(ask: Ask, change: Any, verb: str) -> tuple[Object, Object]:
    version = ask.told.text("version", required=True)
    found = _changed(ask, lambda one: external.with_version(one, version, change), f"{verb} version {version[:9]} of")
    return found, external.find_version(found, version)


def _tag(told: Fields) -> tuple[str, str]:
    key = checked_key(told.text("key", required=True), "key")
    return key, checked_value(told.given("value") or "", REGISTRY_TAG, "value")


def _latest(found: Object, stages: Any) -> list[Object]:
    newest: dict[str, Object] = {}
    for number in sorted(found["versions"], key=int):
        entry = found["versions"][number]
        newest[entry.get("about", {}).get("stage", STAGES[0])] = entry
    return [newest[stage] for stage in dict.fromkeys(stages) if stage in newest]


def _demand_model(one: Comparison) -> None:
    if one.entity == "tag":
        demand(one, TEXTS, text=True)
    elif one.key == "name":
        demand(one, TEXTS + LISTS, text=True)
    else:
        raise InputError(f"Invalid attribute name: {one.key[:60]!r}.", hint="Valid keys are name and tags.KEY.")


def _demand_version(one: Comparison) -> None:
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


def _fits(one: Mapping[str, Any], conditions: list[Comparison]) -> bool:
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


def _sorted(
    found: list[dict[str, Any]], order: list[Ordering], keys: Mapping[str, str], defaults: list[tuple[str, bool]]
) -> list[dict[str, Any]]:
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


def _page(told: Fields, name: str, found: list[dict[str, Any]], default: int, most: int) -> Answer:
    limit = told.integer("max_results", default, least=1, most=most)
    offset = offset_of(told.text("page_token"))
    token = next_token(offset + limit) if len(found) > offset + limit else None
    return Answer(present({name: found[offset : offset + limit], "next_page_token": token}))
