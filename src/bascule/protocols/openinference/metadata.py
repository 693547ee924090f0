"""What the protocol tells about the server, its models and their figures."""

from __future__ import annotations

from typing import Any

import bascule
from bascule.protocols.openinference.datatypes import datatype_of
from bascule.protocols.openinference.outputs import output_tensors
from bascule.serving.dataplane import DataPlane
from bascule.serving.deployment import ServedDeployment
from bascule.serving.model import LoadedModel
from bascule.serving.scoring import MOST_ROWS
from bascule.serving.stats import VersionStats

NAME = "bascule"
EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "statistics",
]
_CONFIG_TYPES = {"BOOL": "TYPE_BOOL", "BYTES": "TYPE_STRING"}


def server_metadata() -> dict[str, Any]:
    """Return who answers."""
    return {"name": NAME, "version": bascule.__version__, "extensions": EXTENSIONS}


def model_metadata(deployment: ServedDeployment, model: LoadedModel) -> dict[str, Any]:
    """Return what a model takes and gives. The sizes of dimensions are -1 where any will do."""
    inputs = [{"name": c.name, "datatype": datatype_of(c.type), "shape": [-1]} for c in model.columns]
    return {
        "name": deployment.name,
        "versions": sorted(deployment.registered, key=int),
        "platform": platform(model),
        "inputs": inputs,
        "outputs": output_tensors(model.task, model.classes),
        "properties": {"model": model.name, "version": str(model.version), "engine": model.engine},
    }


def platform(model: LoadedModel) -> str:
    """Return the name of what runs a model."""
    return f"{NAME}_{model.format}"


def model_config(deployment: ServedDeployment, model: LoadedModel) -> dict[str, Any]:
    """Return the configuration as Triton shapes it."""
    metadata = model_metadata(deployment, model)
    return {
        "name": deployment.name,
        "platform": platform(model),
        "backend": NAME,
        "version_policy": {"specific": {"versions": sorted(deployment.models)}},
        "max_batch_size": 0,
        "response_cache": {"enable": deployment.remembered is not None},
        "input": [_config_tensor(tensor) for tensor in metadata["inputs"]],
        "output": [_config_tensor(tensor) for tensor in metadata["outputs"]],
        "parameters": {
            "model": {"string_value": model.name},
            "version": {"string_value": str(model.version)},
            "task": {"string_value": model.task},
            "engine": {"string_value": model.engine},
            "max_rows": {"string_value": str(MOST_ROWS)},
        },
    }


def statistics(plane: DataPlane, deployments: list[ServedDeployment], version: int | None = None) -> dict[str, Any]:
    """Return the figures of deployments' versions, or of one version."""
    found = []
    for deployment in deployments:
        numbers = sorted({*deployment.models, *deployment.extra}) if version is None else [version]
        for number in numbers:
            model = deployment.model(number)
            more = {"engine": model.engine, "incidents": _incidents(model)} if model is not None else {}
            found.append(_statistics(deployment.name, number, plane.stats_of(deployment, number)) | more)
    return {"model_stats": found}


def index(plane: DataPlane, deployments: list[ServedDeployment], ready_only: bool) -> list[dict[str, Any]]:
    """Return every version of every deployment, and whether it is in memory."""
    found = []
    for deployment in deployments:
        coming = plane.coming(deployment)
        for number in sorted({*map(int, deployment.registered), *coming}):
            state, reason = _state(plane, deployment, number, number in coming)
            if state == "READY" or not ready_only:
                found.append({"name": deployment.name, "version": str(number), "state": state, "reason": reason})
    return found


def _state(plane: DataPlane, deployment: ServedDeployment, version: int, coming: bool) -> tuple[str, str]:
    if (deployment.branch, deployment.name) in plane.unloaded:
        return "UNAVAILABLE", "unloaded"
    if deployment.model(version) is not None:
        return "READY", ""
    if coming:
        return "LOADING", ""
    return "UNAVAILABLE", deployment.problem or "loaded when it is first asked for"


def _config_tensor(tensor: dict[str, Any]) -> dict[str, Any]:
    datatype = tensor["datatype"]
    return {
        "name": tensor["name"],
        "data_type": _CONFIG_TYPES.get(datatype, f"TYPE_{datatype}"),
        "dims": tensor["shape"],
    }


def _statistics(name: str, version: int, stats: VersionStats) -> dict[str, Any]:
    executions = stats.executions
    return {
        "name": name,
        "version": str(version),
        "last_inference": stats.last_us // 1_000,
        "inference_count": stats.rows,
        "execution_count": executions - stats.joined - stats.hits,
        "inference_stats": {
            "success": _duration(executions - stats.unkept, stats.succeeded_ns - stats.unkept_ns),
            "fail": _duration(stats.failures + stats.unkept, stats.failed_ns + stats.unkept_ns),
            "queue": _duration(executions, stats.queue_ns),
            "compute_input": _duration(executions, stats.input_ns),
            "compute_infer": _duration(executions, stats.infer_ns),
            "compute_output": _duration(executions, stats.output_ns),
            "cache_hit": _duration(stats.hits, stats.hit_ns),
            "cache_miss": _duration(stats.misses, 0),
        },
        "batch_stats": [
            {
                "batch_size": size,
                "compute_input": _duration(batch.count, batch.input_ns),
                "compute_infer": _duration(batch.count, batch.infer_ns),
                "compute_output": _duration(batch.count, batch.output_ns),
            }
            for size, batch in stats.by_size()
        ],
    }


def _incidents(model: LoadedModel) -> list[dict[str, Any]]:
    """Return what happened to a version since the server began. Times are milliseconds since the epoch."""
    return [
        {"kind": kind, "count": one.count, "first": one.first // 1_000, "last": one.last // 1_000, "reason": one.text}
        for kind, one in model.case.happenings().items()
    ]


def _duration(count: int, ns: int) -> dict[str, int]:
    return {"count": count, "ns": ns}
