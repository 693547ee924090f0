"""What MLflow's own client wrote into a store, and what it reads from one; run in an environment of its own."""

from __future__ import annotations

import hashlib
import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelOutput, Metric, Param, RunTag, ViewType

import mlflow
from mlflow import MlflowClient


def write(client: MlflowClient) -> None:
    experiment = client.create_experiment("flights", tags={"team": "ops", "ünï": "ç"})
    run = client.create_run(experiment, run_name="first", start_time=5_000).info.run_id
    points = [Metric("loss", 1 / (step + 1), 6_000 + step, step) for step in range(30)]
    points += [Metric("nan", math.nan, 1, 0), Metric("inf", math.inf, 1, 0), Metric("a/b", -1e-300, 2, -3)]
    client.log_batch(run, points, [Param("deep/rate", "0.1"), Param("long", "x" * 5_000)], [RunTag("t", "a\nb")])
    used = Dataset("xs", "d1", "code", '{"a": 1}', '{"b": 2}', None)
    client.log_inputs(run, [DatasetInput(used, [InputTag("mlflow.data.context", "training")])])
    client.log_text(run, "hello ü", "notes/ä b#.txt".replace("#", ""))
    client.log_text(run, "", "empty.txt")
    model = client.create_logged_model(experiment, "net", source_run_id=run, params={"p": "q"}, tags={"k": "v"})
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "MLmodel").write_text("flavors: {}\n")
        (Path(folder) / "data").mkdir()
        (Path(folder) / "data" / "w.bin").write_bytes(bytes(range(256)) * 40)
        client.log_model_artifacts(model.model_id, folder)
    client.finalize_logged_model(model.model_id, "READY")
    client.log_outputs(run, [LoggedModelOutput(model.model_id, 3)])
    client.log_metric(run, "auc", 0.9, 7_000, 1, model_id=model.model_id, dataset_name="xs", dataset_digest="d1")
    child = client.create_run(experiment, tags={"mlflow.parentRunId": run}).info.run_id
    client.set_terminated(child, "KILLED", 9_000)
    client.set_terminated(run, "FINISHED", 8_000)
    client.delete_run(client.create_run("0", run_name="gone").info.run_id)
    other = client.create_experiment("old")
    client.create_run(other)
    client.delete_experiment(other)
    client.create_registered_model("clf it's", tags={"team": "ops"}, description="says")
    first = client.create_model_version("clf it's", f"models:/{model.model_id}", run, model_id=model.model_id)
    client.create_model_version("clf it's", client.get_run(run).info.artifact_uri + "/notes", run, tags={"n": "o"})
    client.create_model_version("clf it's", f"models:/{model.model_id}", run, description="third")
    client.delete_model_version("clf it's", "2")
    client.set_registered_model_alias("clf it's", "champion", first.version)
    client.transition_model_version_stage("clf it's", "3", "Staging")
    client.create_registered_model("bare")


def read(client: MlflowClient) -> dict[str, Any]:
    experiments = client.search_experiments(view_type=ViewType.ALL)
    ids = [one.experiment_id for one in experiments]
    runs = client.search_runs(ids, run_view_type=ViewType.ALL, order_by=["attributes.run_id ASC"])
    return {
        "experiments": {one.experiment_id: [one.name, one.lifecycle_stage, one.tags] for one in experiments},
        "runs": {one.info.run_id: of_run(client, one) for one in runs},
        "models": {one.model_id: of_model(one) for one in client.search_logged_models(ids)},
        "registered": {one.name: of_registered(client, one) for one in client.search_registered_models()},
    }


def of_run(client: MlflowClient, run: Any) -> Any:
    info, data = run.info, run.data
    keys = ("experiment_id", "run_name", "user_id", "status", "start_time", "end_time", "lifecycle_stage")
    histories = {
        key: sorted((m.step, m.timestamp, str(m.value)) for m in client.get_metric_history(info.run_id, key))
        for key in data.metrics
    }
    return {
        "info": {key: getattr(info, key) for key in keys},
        "metrics": {key: finite(value) for key, value in data.metrics.items()},
        "histories": {key: [(s, t, finite(float(v))) for s, t, v in found] for key, found in histories.items()},
        "params": data.params,
        "tags": data.tags,
        "datasets": [(d.dataset.to_dictionary(), [dict(t) for t in d.tags]) for d in run.inputs.dataset_inputs],
        "outputs": [(one.model_id, one.step) for one in run.outputs.model_outputs] if run.outputs else [],
        "files": files(mlflow.artifacts.download_artifacts(run_id=info.run_id))
        if client.list_artifacts(info.run_id)
        else {},
    }


def of_model(model: Any) -> Any:
    keys = ("experiment_id", "name", "creation_timestamp", "source_run_id", "tags", "params")
    metrics = model.metrics or []
    return {
        **{key: getattr(model, key) for key in keys},
        "status": str(model.status),
        "metrics": sorted((m.key, m.step, m.timestamp, finite(m.value), m.dataset_name, m.run_id) for m in metrics),
        "files": files(mlflow.artifacts.download_artifacts(f"models:/{model.model_id}")),
    }


def of_registered(client: MlflowClient, model: Any) -> Any:
    sign = '"' if "'" in model.name else "'"
    versions = client.search_model_versions(f"name = {sign}{model.name}{sign}")
    keys = ("run_id", "current_stage", "description", "tags", "creation_timestamp", "status")
    return {
        "description": model.description or None,
        "tags": model.tags,
        "aliases": {alias: str(version) for alias, version in model.aliases.items()},
        "times": [model.creation_timestamp, model.last_updated_timestamp],
        "versions": {
            str(v.version): {key: getattr(v, key) or None for key in keys}
            | {"files": files(mlflow.artifacts.download_artifacts(f"models:/{model.name}/{v.version}"))}
            for v in versions
        },
    }


def files(folder: str) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }


def finite(value: float) -> Any:
    """What a store makes of NaN and of infinity, in one word."""
    return "nan" if math.isnan(value) else "inf" if abs(value) > 1.7e308 else value


if __name__ == "__main__":
    told: list[Any] = []
    for address in sys.argv[2:]:
        mlflow.set_tracking_uri(address)
        told.append(write(MlflowClient()) if sys.argv[1] == "write" else read(MlflowClient()))
    print(json.dumps(told))
