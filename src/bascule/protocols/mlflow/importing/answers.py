"""What an MLflow server's REST API answers, as the records of an import."""

from __future__ import annotations

from typing import Any

from bascule.protocols.mlflow.importing.records import Experiment, Model, Run, Version
from bascule.tracking.inputs import Dataset
from bascule.tracking.points import Point

Object = dict[str, Any]


def experiment_of(one: Object) -> Experiment:
    """Return an experiment."""
    return Experiment(
        id=int(one["experiment_id"]),
        name=one.get("name", ""),
        lifecycle=one.get("lifecycle_stage", "active"),
        created_at=microseconds(one.get("creation_time")),
        updated_at=microseconds(one.get("last_update_time")),
        tags=pairs(one.get("tags")),
    )


def run_of(one: Object, experiment: int) -> Run:
    """Return a run; `experiment` is its number."""
    info, data, inputs = one.get("info", {}), one.get("data", {}), one.get("inputs", {})
    ended = info.get("end_time")
    return Run(
        id=str(info.get("run_id") or info.get("run_uuid")),
        experiment=experiment,
        name=info.get("run_name", "") or pairs(data.get("tags")).get("mlflow.runName", ""),
        user=info.get("user_id", ""),
        status=info.get("status", "RUNNING"),
        lifecycle=info.get("lifecycle_stage", "active"),
        started_at=microseconds(info.get("start_time")),
        finished_at=microseconds(ended) if ended else None,
        artifacts=info.get("artifact_uri", ""),
        params=pairs(data.get("params")),
        tags=pairs(data.get("tags")),
        datasets=tuple(_dataset(two) for two in inputs.get("dataset_inputs", ())),
        reads=tuple(two["model_id"] for two in inputs.get("model_inputs", ())),
        makes=tuple((t["model_id"], int(t.get("step", 0))) for t in one.get("outputs", {}).get("model_outputs", ())),
        metrics=tuple(two["key"] for two in data.get("metrics", ())),
    )


def _dataset(one: Object) -> Dataset:
    told = one.get("dataset", {})
    return Dataset(
        name=told.get("name", ""),
        digest=told.get("digest", ""),
        source_type=told.get("source_type", "unknown"),
        source=told.get("source", ""),
        schema=told.get("schema"),
        profile=told.get("profile"),
        tags=pairs(one.get("tags")),
    )


def model_of(one: Object, experiment: int) -> Model:
    """Return a logged model; `experiment` is its number."""
    info, data = one.get("info", {}), one.get("data", {})
    return Model(
        id=str(info["model_id"]),
        experiment=experiment,
        name=info.get("name", ""),
        status=str(info.get("status", "READY")).removeprefix("LOGGED_MODEL_"),
        kind=info.get("model_type", ""),
        run=info.get("source_run_id", ""),
        lifecycle="active",
        created_at=microseconds(info.get("creation_timestamp_ms")),
        updated_at=microseconds(info.get("last_updated_timestamp_ms")),
        artifacts=info.get("artifact_uri", ""),
        params=pairs(data.get("params")),
        tags=pairs(info.get("tags")),
    )


def version_of(one: Object) -> Version:
    """Return a version of a registered model."""
    source = one.get("source", "")
    return Version(
        number=int(one["version"]),
        source=source,
        run=one.get("run_id", ""),
        stage=one.get("current_stage", "None"),
        user=one.get("user_id", ""),
        created_at=microseconds(one.get("creation_timestamp")),
        updated_at=microseconds(one.get("last_updated_timestamp")),
        description=one.get("description", ""),
        run_link=one.get("run_link", ""),
        model=one.get("model_id") or (source.removeprefix("models:/") if source.startswith("models:/m-") else ""),
        tags=pairs(one.get("tags")),
    )


def point_of(one: Object) -> Point:
    """Return a point of a metric."""
    return Point(one["key"], float(one.get("value", 0)), microseconds(one.get("timestamp")), int(one.get("step", 0)))


def pairs(found: Any) -> dict[str, str]:
    """Return tags or parameters, which are lists of pairs, by their keys."""
    return {one["key"]: one.get("value", "") for one in found or ()}


def microseconds(at: Any) -> int:
    """Return a time that is told in milliseconds."""
    return int(at or 0) * 1000
