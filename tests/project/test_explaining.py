"""The chain of an answer by a model that a client registered: what is not known of it is left out, the rest told."""

from __future__ import annotations

from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import pytest

from bascule.cli.asking import _added, _chain
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


def test_what_each_input_added_is_shown_the_largest_first() -> None:
    one = {"base": 0.5, "contributions": {"age": 0.1, "size": -2.0, **{f"x{k}": 0.01 for k in range(6)}}}
    about = {"method": "sampled shap", "scale": "probability", "samples": 128}
    said = {"output": {"value": 1.0, "explanation": {**about, **one}}}
    told = explaining.added(said)
    assert told is not None
    assert (told[0], list(told[1])[:3]) == ("probability, sampled shap in 128 orders", ["base", "size", "age"])
    (line,) = _added(said)
    assert line.startswith("  why         base +0.5, size -2, age +0.1, x0 +0.01, ")
    assert line.endswith(" and 2 more (probability, sampled shap in 128 orders)")
    asked = {"rows": 64, "from": "requests", "of": 30, "version": "a", "held": ["hour"]}
    told = explaining.added({"output": {"explanation": {**about, **one, "background": asked}}})
    assert told is not None
    assert told[0].endswith("128 orders, against the last 30 rows that it was asked (not of hour)")
    told_of_b = {**one, "base": 7.0}
    classes = {"method": "shap", "scale": "log-odds", "classes": {"a": one, "b": told_of_b}}
    told = explaining.added({"output": {"label": "b", "explanation": classes}})
    assert told is not None
    assert (told[0], told[1]["base"]) == ("log-odds of b, shap", 7.0)
    less = {**classes, "classes": {"b": {**told_of_b, "left_out": 2}}}
    told = explaining.added({"output": {"label": "b", "explanation": less}})
    assert told is not None
    assert told[0].endswith("; the log leaves 2 inputs out, so the sum is not the score")
    assert explaining.added({"output": {"error": "it failed"}}) is None
    assert explaining.added({"output": None}) is None
    assert _added({}) == []


@pytest.mark.parametrize(
    ("output", "label", "told"),
    [
        ({"task": "multiclass", "classes": ["3", "4", "5"]}, 1.0, "4"),
        ({"task": "binary", "classes": ["false", "true"]}, 1.0, "true"),
        ({"task": "multiclass", "classes": ["a", "b", "c"]}, 7.0, "7"),
        ({"task": "regression", "classes": []}, 2.5, "2.5"),
        ({"task": "multiclass", "classes": ["a", "b", "c"]}, None, ""),
    ],
)
def test_what_became_true_is_told_by_the_name_of_its_class(output: Any, label: float | None, told: str) -> None:
    truth = {} if label is None else {"label": label}
    assert explaining.outcome(explaining._named(truth, {"signature": {"output": output}})) == told
