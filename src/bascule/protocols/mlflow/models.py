"""Endpoints of logged models: what `log_model` of version 3 and all autologging go through."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bascule.errors import InputError, NotFound
from bascule.protocols.mlflow.experiments import experiment_number, number_of
from bascule.protocols.mlflow.limits import BATCH_PARAMS, NAME, PARAM, RUN_TAG, checked_key, checked_value, tags_of
from bascule.protocols.mlflow.messages import Answer, Ask, Fields, double, milliseconds, pairs, present
from bascule.tracking import logged
from bascule.tracking.artifacts import confined
from bascule.tracking.experiments import DELETED
from bascule.tracking.search.grammar import MOST_ORDERS

PREFIX = "LOGGED_MODEL_"
STATUSES = {1: "PENDING", 2: "READY", 3: "UPLOAD_FAILED"}
NAMES = tuple(f"{PREFIX}{one}" for one in STATUSES.values())
SIGNS = re.compile(r"[/:.%\"']")
MOST = 1000
MOST_DATASETS = 50


def as_json(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return a logged model as the wire has it."""
    metrics = [
        present(
            {
                "key": one["key"],
                "value": double(one["value"]),
                "timestamp": one["at"] // 1000,
                "step": one["step"],
                "dataset_name": one["dataset_name"] or None,
                "dataset_digest": one["dataset_digest"] or None,
                "model_id": model["id"],
                "run_id": one["run_id"] or None,
            }
        )
        for one in model["metrics"]
    ]
    info = {
        "model_id": model["id"],
        "experiment_id": str(model["experiment_id"]),
        "name": model["name"],
        "creation_timestamp_ms": milliseconds(model["created_at"]),
        "last_updated_timestamp_ms": milliseconds(model["updated_at"]),
        "artifact_uri": model["artifact_uri"],
        "status": f"{PREFIX}{model['status']}",
        "model_type": model["model_type"],
        "source_run_id": model["source_run_id"],
        "tags": pairs(model["tags"]),
    }
    return {"info": present(info), "data": present({"params": pairs(model["params"]), "metrics": metrics})}


def answer(ask: Ask, model: str, *, deleted: bool = False) -> Answer:
    """Answer with a logged model."""
    return Answer({"model": as_json(logged.read_logged_model(ask.tracker, model, deleted=deleted))})


def create(ask: Ask) -> Answer:
    """Make a logged model."""
    told = ask.told
    name = told.text("name")
    if SIGNS.search(name):
        raise InputError(
            f"Invalid model name ({name[:80]}) provided. Model name must be a non-empty string and cannot contain "
            "the following characters: ('/', ':', '.', '%', '\"', \"'\").",
            hint="Take another name.",
        )
    model = logged.create_logged_model(
        ask.tracker,
        number_of(told),
        name=checked_value(name, 500, "name"),
        model_type=told.text("model_type", most=NAME),
        source_run=told.text("source_run_id", most=256),
        params=_params(told),
        tags=tags_of(told.objects("tags"), RUN_TAG, cut=True),
    )
    return answer(ask, model)


def get(ask: Ask) -> Answer:
    """Return a logged model."""
    return answer(ask, ask.path["model_id"], deleted=ask.told.flag("allow_deleted"))


def finalize(ask: Ask) -> Answer:
    """Say that a logged model's files are there, or that they could not be sent."""
    status = ask.told.choice("status", (*NAMES, *STATUSES.values()), {n: f"{PREFIX}{s}" for n, s in STATUSES.items()})
    if not status:
        raise InputError("Missing value for required parameter 'status'.", hint=f"Valid values are {', '.join(NAMES)}.")
    model = ask.path["model_id"]
    logged.change_logged_model(ask.tracker, model, status=status.removeprefix(PREFIX))
    return answer(ask, model)


def delete(ask: Ask) -> Answer:
    """Delete a logged model; it stays readable for those who ask for deleted ones."""
    logged.change_logged_model(ask.tracker, ask.path["model_id"], lifecycle=DELETED)
    return Answer()


def log_params(ask: Ask) -> Answer:
    """Keep parameters of a logged model."""
    logged.change_logged_model(ask.tracker, ask.path["model_id"], params=_params(ask.told))
    return Answer()


def set_tags(ask: Ask) -> Answer:
    """Set tags of a logged model."""
    model = ask.path["model_id"]
    logged.change_logged_model(ask.tracker, model, tags=tags_of(ask.told.objects("tags"), RUN_TAG, cut=True))
    return answer(ask, model)


def delete_tag(ask: Ask) -> Answer:
    """Take a tag of a logged model away."""
    logged.remove_model_tag(ask.tracker, ask.path["model_id"], ask.path["key"])
    return Answer()


def search(ask: Ask) -> Answer:
    """Return a page of logged models."""
    told = ask.told
    order = [
        {
            "field_name": one.text("field_name", required=True),
            "ascending": one.get("ascending") is not False,
            "dataset_name": one.text("dataset_name"),
            "dataset_digest": one.text("dataset_digest"),
        }
        for one in told.objects("order_by")
    ]
    sets = [
        {"dataset_name": one.text("dataset_name", required=True), "dataset_digest": one.text("dataset_digest")}
        for one in told.objects("datasets")
    ]
    for what, given, most in (("order_by", order, MOST_ORDERS), ("datasets", sets, MOST_DATASETS)):
        if len(given) > most:
            raise InputError(f"`{what}` has more than {most} entries.", hint="Send fewer.")
    page = logged.search_logged_models(
        ask.tracker,
        [experiment_number(text) for text in told.texts("experiment_ids")],
        filter=told.text("filter"),
        order_by=order,
        datasets=sets,
        limit=told.integer("max_results", 100, least=1, most=MOST),
        token=told.text("page_token"),
    )
    return Answer(present({"models": [as_json(one) for one in page.found], "next_page_token": page.token or None}))


def list_files(ask: Ask) -> Answer:
    """List a folder of a logged model's files."""
    model = logged.read_logged_model(ask.tracker, ask.path["model_id"])
    root = confined(str(model["artifact_uri"]).removeprefix("mlflow-artifacts:").lstrip("/"))
    folder = confined(ask.told.text("artifact_directory_path"))
    files = [
        present({"path": f"{folder}/{one.path}".lstrip("/"), "is_dir": one.is_dir, "file_size": one.size})
        for one in ask.artifacts.list(f"{root}/{folder}")
    ]
    return Answer(present({"root_uri": model["artifact_uri"], "files": files}))


def place_of_file(ask: Ask) -> str:
    """Return where a file of a logged model lies."""
    model = logged.read_logged_model(ask.tracker, ask.path["model_id"])
    root = confined(str(model["artifact_uri"]).removeprefix("mlflow-artifacts:").lstrip("/"))
    path = confined(ask.told.text("artifact_file_path", required=True))
    if not path:
        raise NotFound("artifact", path, hint="Name a file.")
    return f"{root}/{path}"


def _params(told: Fields) -> dict[str, str]:
    given = told.objects("params")
    if len(given) > BATCH_PARAMS * 10:
        raise InputError(
            f"At most {BATCH_PARAMS * 10} params can be sent at once; got {len(given)}.", hint="Split them."
        )
    found = {}
    for place, one in enumerate(given):
        key = checked_key(one.text("key", required=True), f"params[{place}].key")
        found[key] = (one.given("value") or "")[:PARAM]
    return found
