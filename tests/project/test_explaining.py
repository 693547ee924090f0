"""The chain of an answer by a model that a client registered: what is not known of it is left out, the rest told."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest

from bascule.cli.asking import _chain
from bascule.delivery import deploy
from bascule.history import Workspace
from bascule.project import explaining
from bascule.registry import external
from bascule.tracking.artifacts import Artifacts
from tests.serving.test_mlmodel import sklearn_files


@pytest.mark.slow
def test_an_answer_of_a_model_that_a_client_registered_is_explained(
    local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "mlflow-artifacts:/0/r/artifacts/model"
    for name, data in sklearn_files()[0].items():
        Artifacts(local_workspace).put(f"0/r/artifacts/model/{name}", BytesIO(data))
    external.create_model(local_workspace, "main", "clf", author="ana")
    about = {"source": source, "run_id": "", "tags": {}}
    external.create_version(local_workspace, "main", "clf", about, artifact=source, author="ana")
    deploy(local_workspace, "main", "clf", "clf", 1, by="ana")
    now = datetime(2026, 1, 1, tzinfo=UTC)
    answer: dict[str, Any] = {
        "prediction_id": "pred_1", "commit_id": local_workspace.history.resolve("main").id, "branch": "main",
        "deployment": "clf", "revision": 1, "model": "clf", "version": 1, "arm": "stable", "score": None,
        "at": now, "event_time": now,
    }  # fmt: skip
    monkeypatch.setattr(explaining, "_prediction", lambda *_: answer)
    monkeypatch.setattr(explaining, "query", lambda *_: [])
    chain = explaining.explain_prediction(local_workspace, "pred_1")
    assert (chain["training_set"], chain["tables"], chain["contracts"]) == ({}, {}, {})
    assert "ana registered the version" in chain["people"]["names"]
    told = _chain(chain)
    assert "score none" in told
    assert "training set  not known: a client registered the model" in told
