"""What a rollout and a monitor conclude from the log that the server writes, for every kind of answer."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from bascule.delivery import deploy, read_deployment, rollback
from bascule.delivery.rollout import assess
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.monitoring import Monitor, QualityRules, measure
from bascule.project.querying import logged, query
from bascule.project.watching import judge_rollouts
from bascule.serving import DataPlane
from tests.protocols.openinference.conftest import Served, serving
from tests.serving.conftest import CLASSES, COLUMNS, bundle_bytes, flights, put_versions

PREDICT = "/v2/models/delays/predict"
STEPS = (50, 100)
KINDS = {"distance": "FP64", "hour": "INT64", "night": "BOOL", "carrier": "BYTES"}


@pytest.fixture
def rolling(request: pytest.FixtureRequest, local_workspace: Workspace) -> Iterator[Served]:
    """Version 2 of a model of some task is in a canary."""
    ws = local_workspace
    put_versions(ws, {1: bundle_bytes(request.param, seed=0), 2: bundle_bytes(request.param, seed=1)})
    for version in (1, 2):
        deploy(ws, "main", "delays", "delays", version, steps=STEPS, by="ann")
    with serving(ws) as served:
        yield served


def ask(server: Served, requests: int) -> list[dict[str, object]]:
    """Ask about one flight at a time, and return what was answered."""
    found = []
    for row in flights(requests, seed=3).to_pylist():
        status, _, data = server.request(PREDICT, {"instances": [row], "unit": uuid.uuid4().hex})
        if status == 200:
            found += json.loads(data)["predictions"]
    return found


def break_version(plane: DataPlane, version: int) -> None:
    """Let one version fail on every request, as a model does whose library is broken."""
    state = plane.state("main")
    assert state is not None
    model = state.deployments["delays"].model(version)
    assert model is not None

    def fail(*arguments: object) -> None:
        raise RuntimeError("out of tensors")

    model.score = fail  # type: ignore[assignment, method-assign]


@pytest.mark.slow
@pytest.mark.parametrize("rolling", ["binary"], indirect=True)
def test_a_canary_that_fails_is_rolled_back_by_its_errors(rolling: Served) -> None:
    break_version(rolling.plane, 2)
    answered = ask(rolling, 120)
    assert 30 < len(answered) < 90
    ((name, action, reason),) = judge_rollouts(rolling.workspace, "main")
    assert (name, action) == ("delays", "rollback")
    assert "canary requests failed or answered no number, 0 of" in reason
    deployment = read_deployment(rolling.workspace, "main", "delays")
    assert deployment["traffic"] == [{"version": 1, "weight": 100}]


def test_a_version_that_reads_one_column_more_is_rolled_out_and_back(local_workspace: Workspace) -> None:
    """Who sends the new column is answered by both versions, and by the old one after the rollback."""
    ws = local_workspace
    put_versions(ws, {1: bundle_bytes(fields=COLUMNS[:-1]), 2: bundle_bytes()})
    for version in (1, 2):
        deploy(ws, "main", "delays", "delays", version, steps=STEPS, by="ann")
    new = COLUMNS[-1].name
    with serving(ws) as served:
        assert {one["version"] for one in told(served, 40)} == {"1", "2"}
        rollback(ws, "main", "delays", by="ann")
        served.plane.reload("main")
        assert {one["version"] for one in told(served, 4)} == {"1"}
        misspelt = dict(flights(1, seed=3).to_pylist()[0], **{f"{new}z": 1})
        status, _, data = served.request(PREDICT, {"instances": [misspelt]})
        assert (status, f"{new}z" in json.loads(data)["error"]) == (400, True)
    found = query(ws, "select inputs, shadow is null as alone from predictions")
    assert all(new in json.loads(row["inputs"]) for row in found), "what came is logged"
    assert sum(not row["alone"] for row in found) == 40, "the other version saw each request as it reads it"


def told(server: Served, requests: int) -> list[dict[str, str]]:
    """Ask about flights in both forms, and return which version answered; all are answered."""
    found = []
    for place, row in enumerate(flights(requests, seed=3).to_pylist()):
        body: dict[str, Any] = {"instances": [row], "unit": uuid.uuid4().hex}
        if place % 2:
            tensors = [{"name": name, "shape": [1], "datatype": KINDS[name], "data": [row[name]]} for name in KINDS]
            body = {"inputs": tensors, "id": uuid.uuid4().hex}
        path = "/v2/models/delays/infer" if place % 2 else PREDICT
        status, _, data = server.request(path, body)
        assert status == 200, data
        found.append({"version": json.loads(data)["model_version"]})
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rolling", "loss"),
    [("binary", "brier"), ("multiclass", "error"), ("regression", None)],
    indirect=["rolling"],
)
def test_a_rollout_is_judged_by_a_loss_that_fits_its_task(rolling: Served, loss: str | None) -> None:
    """The truth is what version 1 says, so version 2 is worse by as often as the two differ."""
    ws = rolling.workspace
    deployment = read_deployment(ws, "main", "delays")
    rules = deployment["rollout"]["guardrails"]["quality"]
    assert (rules and rules["loss"]) == loss
    ask(rolling, 150)
    rows = query(ws, "select prediction_id, version, output, shadow from predictions")
    differ = 0
    for row in rows:
        own, other = json.loads(row["output"]), json.loads(row["shadow"])
        first = own if row["version"] == 1 else other
        differ += likeliest(own) != likeliest(other)
        truth = {"prediction_id": row["prediction_id"], "label": likeliest(first)}
        rolling.ask("/v2/models/delays/ground-truth", truth)
    with logged(ws) as connection:
        findings = {finding.rule: finding for finding in assess(connection, "main", deployment).findings}
    assert ("quality" in findings) == (loss is not None)
    if loss is not None:
        found = findings["quality"].detail
        assert (found["labels"], found["paired"]) == (150, True)
        assert found["difference"] > 0
    if loss == "error":
        assert found["difference"] == pytest.approx(differ / 150)


def likeliest(said: dict[str, Any]) -> float:
    """Return the class' place, or the value, of an answer as it is logged."""
    shares = said.get("probability", said.get("value", said.get("score")))
    return float(shares.index(max(shares)) if isinstance(shares, list) else round(shares))


@pytest.mark.parametrize("rolling", ["multiclass"], indirect=True)
def test_the_quality_of_several_classes_is_measured(rolling: Served) -> None:
    ws = rolling.workspace
    ask(rolling, 200)
    right = 0
    rows = query(ws, "select prediction_id, output from predictions where arm = 'stable' order by prediction_id")
    for number, row in enumerate(rows):
        said = json.loads(row["output"])["label"]
        label = said if number % 4 else next(one for one in CLASSES["multiclass"] if one != said)
        right += label == said
        rolling.ask("/v2/models/delays/ground-truth", {"prediction_id": row["prediction_id"], "label": label})
    rules = QualityRules(metric="accuracy", task="multiclass", minimum_rows=20)
    monitor = Monitor(name="delays", deployment="delays", by="month", quality=rules)
    with logged(ws) as connection:
        points = measure(ws, connection, "main", monitor).points
    found = {point.subject: point.value for point in points if point.measure == "quality"}
    assert {"accuracy", "log_loss", "ece"} <= set(found)
    assert found["accuracy"] == pytest.approx(right / len(rows))


@pytest.mark.parametrize("rolling", ["multiclass"], indirect=True)
def test_a_loss_that_a_task_does_not_have_is_refused(rolling: Served) -> None:
    rollback(rolling.workspace, "main", "delays", by="ann")
    with pytest.raises(InputError, match="'brier', which a multiclass model's answers do not have") as told:
        deploy(rolling.workspace, "main", "delays", "delays", 2, guardrails={"quality": {"loss": "brier"}})
    assert "error" in told.value.hint
