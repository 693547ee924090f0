"""Endpoints of the versions of registered models."""

from __future__ import annotations

import re
from contextlib import suppress

from sqlalchemy import select

from bascule.catalog.schema import runs
from bascule.errors import AlreadyExists, InputError
from bascule.protocols.mlflow.exporting import address_of
from bascule.protocols.mlflow.limits import REGISTRY_TAG, tags_of
from bascule.protocols.mlflow.messages import Answer, Ask
from bascule.protocols.mlflow.registry import (
    ENTITIES,
    PROMPT,
    SCHEME,
    changed,
    changed_version,
    delete,
    demand_version,
    fits,
    ordered,
    page,
    stage_named,
    tag_of,
    version_json,
    version_of,
)
from bascule.registry import external
from bascule.registry.external import Object, files_of
from bascule.registry.versions import PREFIX
from bascule.tracking import keeping, logged, remote, vouching
from bascule.tracking.artifacts import confined
from bascule.tracking.search.grammar import parse_filter, parse_order

MOST = 200_000
MOST_SOURCE = 2_000
BRANCH_TAG = "bascule.branch"


def create_version(ask: Ask) -> Answer:
    """Register a version of a model."""
    told, ws = ask.told, ask.tracker.workspace
    name, source = told.text("name", required=True), told.text("source", required=True, most=MOST_SOURCE)
    run, model_id = told.text("run_id"), told.text("model_id")
    tags = tags_of(told.objects("tags"), REGISTRY_TAG)
    external.find_model(ws, ask.branch, name)
    place, run = _owned(ask, source, run, model_id, prompt=tags.get(PROMPT) == "true")
    about = {
        "source": source,
        "run_id": run,
        "run_link": told.text("run_link", most=MOST_SOURCE),
        "description": told.text("description"),
        "tags": tags,
        "model_id": model_id or (source.removeprefix("models:/") if re.fullmatch(r"models:/m-[^/]+", source) else ""),
    }
    facts = vouching.registered(ws, place)
    branch = _branch_of(ask, run, name)
    entry = external.create_version(ws, branch, name, about, artifact=place, author=ask.user, facts=facts)
    return Answer({"model_version": version_json(external.find_model(ws, branch, name), entry)})


def _branch_of(ask: Ask, run: str, name: str) -> str:
    """Return the branch that a version is for, the address' or that of its run's tag; the model is there then."""
    ws = ask.tracker.workspace
    if ask.named or not run:
        return ask.branch
    with ws.catalog.read() as conn:
        number = conn.execute(select(runs.c.number).where(runs.c.id == run)).scalar()
        branch = (number and keeping.tags_of(conn, number).get(BRANCH_TAG)) or ask.branch
    with suppress(AlreadyExists):
        external.create_model(ws, branch, name, author=ask.user)
    return branch


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
        named = source.removeprefix("models:/").strip("/")
        if "/" in named:
            return _copied(ask, source, named, run, model_id)
        if model_id and model_id != named:
            raise _foreign(source)
        model = logged.read_logged_model(ask.tracker, named)
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


def _copied(ask: Ask, source: str, named: str, run: str, model_id: str) -> tuple[str, str]:
    """Return where the files of the version that a client copies lie, and its run."""
    name, _, number = named.rpartition("/")
    entry = external.find_version(external.find_model(ask.tracker.workspace, ask.branch, name), number)
    place, its_run = files_of(entry), entry.get("run_id") or ""
    if not place.startswith(SCHEME):
        raise InputError(
            f"{name}@{number} was not registered by a client: its files are a bundle of Bascule's.",
            hint="Use it by its own name, or log the model to this server and register that.",
        )
    if (run and run != its_run) or (model_id and model_id != entry.get("about", {}).get("model_id")):
        raise _foreign(source)
    return place, its_run


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
    found, entry = version_of(ask)
    return Answer({"model_version": version_json(found, entry)})


def download_uri(ask: Ask) -> Answer:
    """Return where a version's files lie."""
    _, entry = version_of(ask)
    return Answer({"artifact_uri": address_of(files_of(entry))})


def place_of_version(ask: Ask) -> str:
    """Return where a file of a version lies."""
    _, entry = version_of(ask)
    root = address_of(files_of(entry))
    if not root.startswith(SCHEME):
        raise InputError("This version's files are not here.", hint="Register a version of a model that is.")
    return f"{confined(root.removeprefix(SCHEME).lstrip('/'))}/{confined(ask.told.text('path', required=True))}"


def update_version(ask: Ask) -> Answer:
    """Describe a version anew."""
    description = ask.told.text("description")
    found, entry = changed_version(ask, lambda about: {"description": description}, "Describe")
    return Answer({"model_version": version_json(found, entry)})


def delete_version(ask: Ask) -> Answer:
    """Take a version out of a model."""
    found, entry = version_of(ask)
    delete(ask, found["name"], entry["version"])
    return Answer()


def set_version_tag(ask: Ask) -> Answer:
    """Set a tag of a version."""
    key, value = tag_of(ask.told)
    changed_version(ask, lambda about: {"tags": {**about.get("tags", {}), key: value}}, "Tag")
    return Answer()


def delete_version_tag(ask: Ask) -> Answer:
    """Take a tag of a version away, if it has it."""
    key = ask.told.text("key", required=True)
    changed_version(ask, lambda about: {"tags": {k: v for k, v in about.get("tags", {}).items() if k != key}}, "Untag")
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
        chosen = str(external.find_version(found, version)["version"])
        if archives:
            for number, entry in found["versions"].items():
                if entry.get("about", {}).get("stage") == stage and number != chosen:
                    found = external.with_version(found, number, lambda _: {"stage": "Archived"})
        return external.touched(external.with_version(found, version, lambda _: {"stage": stage}))

    found = changed(ask, change, f"Move to {stage} a version of")
    return Answer({"model_version": version_json(found, external.find_version(found, version))})


def search_versions(ask: Ask) -> Answer:
    """Return a page of versions."""
    told, ws = ask.told, ask.tracker.workspace
    conditions = parse_filter(told.text("filter"), ENTITIES)
    for one in conditions:
        demand_version(one)
    order = parse_order(told.texts("order_by"), ENTITIES)
    found = [
        version_json(model, entry)
        for _, model in ws.history.entries(ask.branch, PREFIX)
        for entry in model["versions"].values()
    ]
    for told_of in found:
        told_of["version_number"] = int(told_of["version"])
    chosen = [one for one in found if fits(one, conditions)]
    keys = {
        "name": "name",
        "version_number": "version_number",
        "creation_timestamp": "creation_timestamp",
        "last_updated_timestamp": "last_updated_timestamp",
    }
    defaults = [("last_updated_timestamp", False), ("name", True), ("version_number", False)]
    sorted_ = ordered(chosen, order, keys, defaults)
    for told_of in sorted_:
        del told_of["version_number"]
    return page(told, "model_versions", sorted_, 200_000, MOST)
