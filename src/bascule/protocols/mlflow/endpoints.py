"""The endpoints: where each one is, who may use it, and what answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bascule.errors import InputError
from bascule.protocols.mlflow import (
    assessments,
    experiments,
    files,
    metrics,
    models,
    registered,
    runs,
    traces,
    versions,
    webhooks,
)
from bascule.protocols.mlflow.messages import Answer, Ask
from bascule.protocols.mlflow.version import VERSION

__all__ = ["ENDPOINTS", "VERSION", "Endpoint", "match"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint.

    Attributes:
        path: below `/api/2.0/mlflow/` or `/api/3.0/mlflow/`, and the same below `/ajax-api/`.
        permission: what one must be allowed to do to use it.
        answer: what answers; it returns the artifact's path where `file` is set.
        file: the answer is a file.
        sends: the answer is a webhook and what to send it, now.
        lands: something leaves the branch, or is what others there take for the one to use: of a protected branch only
            who may land there does it.
    """

    method: str
    path: str
    permission: str
    answer: Callable[[Ask], Answer] | Callable[[Ask], str] | Callable[[Ask], tuple[Any, str]]
    file: bool = False
    sends: bool = False
    lands: bool = False


def server_info(ask: Ask) -> Answer:
    """Tell what this server can do."""
    return Answer(
        {
            "store_type": "SqlStore",
            "multipart_uploads_enabled": True,
            "multipart_downloads_enabled": True,
            "artifacts_presigned_only": False,
            "artifact_serving_enabled": True,
            "presigned_upload_run_id_supported": False,
            "presigned_upload_model_id_supported": False,
            "model_artifact_presigned_downloads_supported": False,
            "workspaces_enabled": False,
            "trace_archival_enabled": False,
            "features_enabled": {},
            "tracking_auth": "",
        }
    )


def not_presigned(ask: Ask) -> Answer:
    """Say that artifacts go through this server."""
    raise InputError("Artifacts are sent through this server here.", hint="Use PUT and GET of mlflow-artifacts.")


def _table() -> list[Endpoint]:
    return [
        Endpoint("GET", "server-info", "public", server_info),
        *_of_experiments(),
        *_of_runs(),
        *_of_models(),
        *_of_traces(),
        *_of_webhooks(),
        *_of_registered(),
        *_of_versions(),
    ]


def _of_experiments() -> list[Endpoint]:
    read, write = "read", "write"
    e = experiments
    return [
        Endpoint("POST", "experiments/create", write, e.create),
        Endpoint("GET", "experiments/get", read, e.get),
        Endpoint("GET", "experiments/get-by-name", read, e.get_by_name),
        Endpoint("GET", "experiments/search", read, e.search),
        Endpoint("POST", "experiments/search", read, e.search),
        Endpoint("POST", "experiments/update", write, e.update),
        Endpoint("POST", "experiments/delete", write, e.delete),
        Endpoint("POST", "experiments/restore", write, e.restore),
        Endpoint("POST", "experiments/set-experiment-tag", write, e.set_tag),
        Endpoint("POST", "experiments/delete-experiment-tag", write, e.delete_tag),
        Endpoint("DELETE", "experiments/delete-experiment-tag", write, e.delete_tag),
        Endpoint("POST", "experiments/search-datasets", read, e.datasets),
    ]


def _of_runs() -> list[Endpoint]:
    read, write = "read", "write"
    r = runs
    return [
        Endpoint("POST", "runs/create", write, r.create),
        Endpoint("GET", "runs/get", read, r.get),
        Endpoint("POST", "runs/update", write, r.update),
        Endpoint("POST", "runs/delete", write, r.delete),
        Endpoint("POST", "runs/restore", write, r.restore),
        Endpoint("POST", "runs/log-metric", write, r.log_metric),
        Endpoint("POST", "runs/log-parameter", write, r.log_param),
        Endpoint("POST", "runs/set-tag", write, r.set_tag),
        Endpoint("POST", "runs/delete-tag", write, r.delete_tag),
        Endpoint("POST", "runs/log-batch", write, r.log_batch),
        Endpoint("POST", "runs/log-model", write, r.log_model),
        Endpoint("POST", "runs/log-inputs", write, r.log_inputs),
        Endpoint("POST", "runs/outputs", write, r.log_outputs),
        Endpoint("POST", "runs/search", read, r.search),
        Endpoint("GET", "metrics/get-history", read, metrics.history),
        Endpoint("GET", "metrics/get-history-bulk", read, metrics.bulk),
        Endpoint("GET", "metrics/get-history-bulk-interval", read, metrics.interval),
        Endpoint("GET", "artifacts/list", read, files.list_of_run),
        Endpoint("POST", "artifacts/presigned-upload-url", read, not_presigned),
        Endpoint("POST", "artifacts/presigned-download-url", read, not_presigned),
    ]


def _of_models() -> list[Endpoint]:
    read, write = "read", "write"
    m = models
    return [
        Endpoint("POST", "logged-models", write, m.create),
        Endpoint("POST", "logged-models/search", read, m.search),
        Endpoint("GET", "logged-models/{model_id}", read, m.get),
        Endpoint("PATCH", "logged-models/{model_id}", write, m.finalize),
        Endpoint("DELETE", "logged-models/{model_id}", write, m.delete),
        Endpoint("POST", "logged-models/{model_id}/params", write, m.log_params),
        Endpoint("PATCH", "logged-models/{model_id}/tags", write, m.set_tags),
        Endpoint("DELETE", "logged-models/{model_id}/tags/{key}", write, m.delete_tag),
        Endpoint("GET", "logged-models/{model_id}/artifacts/directories", read, m.list_files),
        Endpoint("GET", "logged-models/{model_id}/artifacts/files", read, m.place_of_file, file=True),
    ]


def _of_webhooks() -> list[Endpoint]:
    read, write = "read", "write"
    return [
        Endpoint("POST", "webhooks", write, webhooks.create),
        Endpoint("GET", "webhooks", read, webhooks.search),
        Endpoint("GET", "webhooks/{webhook_id}", read, webhooks.get),
        Endpoint("PATCH", "webhooks/{webhook_id}", write, webhooks.update),
        Endpoint("DELETE", "webhooks/{webhook_id}", write, webhooks.delete),
        Endpoint("POST", "webhooks/{webhook_id}/test", write, webhooks.example, sends=True),
    ]


def _of_registered() -> list[Endpoint]:
    read, write = "read", "write"
    g = registered
    return [
        Endpoint("POST", "registered-models/create", write, g.create_model),
        Endpoint("GET", "registered-models/get", read, g.get_model),
        Endpoint("POST", "registered-models/rename", write, g.rename_model, lands=True),
        Endpoint("PATCH", "registered-models/update", write, g.update_model),
        Endpoint("DELETE", "registered-models/delete", write, g.delete_model, lands=True),
        Endpoint("GET", "registered-models/search", read, g.search_models),
        Endpoint("GET", "registered-models/get-latest-versions", read, g.latest_versions),
        Endpoint("POST", "registered-models/get-latest-versions", read, g.latest_versions),
        Endpoint("POST", "registered-models/set-tag", write, g.set_model_tag),
        Endpoint("DELETE", "registered-models/delete-tag", write, g.delete_model_tag),
        Endpoint("POST", "registered-models/alias", write, g.set_alias, lands=True),
        Endpoint("DELETE", "registered-models/alias", write, g.delete_alias, lands=True),
        Endpoint("GET", "registered-models/alias", read, g.get_alias),
    ]


def _of_versions() -> list[Endpoint]:
    read, write = "read", "write"
    v = versions
    return [
        Endpoint("POST", "model-versions/create", write, v.create_version),
        Endpoint("GET", "model-versions/get", read, v.get_version),
        Endpoint("PATCH", "model-versions/update", write, v.update_version),
        Endpoint("DELETE", "model-versions/delete", write, v.delete_version, lands=True),
        Endpoint("GET", "model-versions/search", read, v.search_versions),
        Endpoint("GET", "model-versions/get-download-uri", read, v.download_uri),
        Endpoint("POST", "model-versions/transition-stage", write, v.transition, lands=True),
        Endpoint("POST", "model-versions/set-tag", write, v.set_version_tag),
        Endpoint("DELETE", "model-versions/delete-tag", write, v.delete_version_tag),
    ]


def _of_traces() -> list[Endpoint]:
    read, write, t, a = "read", "write", traces, assessments
    one, said = "traces/{trace_id}", "traces/{trace_id}/assessments/{assessment_id}"
    return [
        Endpoint("POST", "traces", write, t.start),
        Endpoint("GET", "traces", read, t.search_2),
        Endpoint("POST", "traces/search", read, t.search),
        Endpoint("GET", "traces/get", read, t.get),
        Endpoint("GET", "traces/batchGet", read, t.batch),
        Endpoint("POST", "traces/batchGetInfos", read, t.batch_infos),
        Endpoint("POST", "traces/delete-traces", write, t.delete),
        Endpoint("POST", "traces/link-to-run", write, t.link),
        Endpoint("POST", "traces/link-prompts", write, t.link_prompts),
        Endpoint("GET", one, read, t.info),
        Endpoint("PATCH", one, write, t.end),
        Endpoint("GET", f"{one}/info", read, t.info_2),
        Endpoint("PATCH", f"{one}/tags", write, t.set_tag),
        Endpoint("DELETE", f"{one}/tags", write, t.delete_tag),
        Endpoint("POST", f"{one}/assessments", write, a.create),
        Endpoint("GET", said, read, a.get),
        Endpoint("PATCH", said, write, a.update),
        Endpoint("DELETE", said, write, a.delete),
    ]


ENDPOINTS = _table()
_FIXED = {(one.method, one.path): one for one in ENDPOINTS if "{" not in one.path}
_OPEN = [one for one in ENDPOINTS if "{" in one.path]
_PATHS = {one.path for one in ENDPOINTS}


def match(method: str, path: str) -> tuple[Endpoint, dict[str, str]] | None:
    """Find what answers at a path below the API's own, and the parameters in it; None when nothing does.

    HEAD finds what answers GET.
    """
    method = "GET" if method == "HEAD" else method
    found = _FIXED.get((method, path))
    if found is not None:
        return found, {}
    parts = path.split("/")
    for one in _OPEN:
        names = one.path.split("/")
        if one.method != method or len(names) != len(parts):
            continue
        if all(name.startswith("{") or name == part for name, part in zip(names, parts, strict=True)):
            values = {name[1:-1]: part for name, part in zip(names, parts, strict=True) if name.startswith("{")}
            if path not in _PATHS and all(values.values()):
                return one, values
    return None
