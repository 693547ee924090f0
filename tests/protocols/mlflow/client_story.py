"""A story told by MLflow's own client; run in an environment of its own, it prints what it saw as JSON."""

from __future__ import annotations

import json
import math
import sys
import tempfile
from pathlib import Path
from typing import Any

from mlflow.exceptions import RestException

import mlflow
from mlflow import MlflowClient


def main(address: str) -> dict[str, Any]:
    mlflow.set_tracking_uri(address)
    client = MlflowClient()
    experiment = mlflow.set_experiment("story").experiment_id
    with mlflow.start_run(run_name="first") as run:
        mlflow.log_params({"rate": 0.1, "deep": True})
        for step in range(3):
            mlflow.log_metric("loss", 1 / (step + 1), step=step)
        mlflow.log_metrics({"nan": math.nan, "auc": 0.9})
        mlflow.set_tag("stage", "try")
        mlflow.log_text("hello", "notes/a.txt")
        with mlflow.start_run(nested=True, run_name="child"):
            mlflow.log_metric("auc", 0.8)
    key = run.info.run_id
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "model").mkdir()
        (Path(folder) / "model" / "MLmodel").write_text("flavors: {}\n")
        (Path(folder) / "model" / "big.bin").write_bytes(bytes(range(256)) * 60_000)
        client.log_artifacts(key, folder)
        big = Path(mlflow.artifacts.download_artifacts(run_id=key, artifact_path="model/big.bin", dst_path=folder))
        same = big.read_bytes() == bytes(range(256)) * 60_000
    read = client.get_run(key)
    version = None
    client.create_registered_model("story", tags={"team": "ops"})
    version = client.create_model_version("story", f"{run.info.artifact_uri}/model", key)
    client.set_registered_model_alias("story", "champion", version.version)
    client.delete_run(key)
    try:
        client.log_metric(key, "auc", 1.0)
        refused = ""
    except RestException as error:
        refused = error.error_code
    client.restore_run(key)
    found = client.search_runs([experiment], "metrics.auc > 0.5", order_by=["metrics.auc DESC"])
    return {
        "metrics": {k: str(v) for k, v in read.data.metrics.items()},
        "params": read.data.params,
        "status": read.info.status,
        "history": [(one.step, one.value) for one in client.get_metric_history(key, "loss")],
        "artifacts": [one.path for one in client.list_artifacts(key)],
        "text": Path(mlflow.artifacts.download_artifacts(run_id=key, artifact_path="notes/a.txt")).read_text(),
        "found": [one.info.run_name for one in found],
        "version": client.get_model_version_by_alias("story", "champion").version,
        "uri": client.get_model_version_download_uri("story", version.version).rpartition("/")[2],
        "refused": refused,
        "same": same,
        "parts": mlflow.__version__.startswith("3"),  # what it sends in parts without being told to
    }


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1])))
