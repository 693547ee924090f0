"""Experiments and runs over the wire."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest

from bascule.history import Workspace
from bascule.lake import Session
from tests.protocols.mlflow.conftest import Api


def test_the_default_experiment_is_there(api: Api) -> None:
    found = api("GET", "experiments/get", experiment_id="0")["experiment"]
    assert (found["name"], found["lifecycle_stage"]) == ("Default", "active")
    assert found["artifact_location"] == "mlflow-artifacts:/0"
    assert api.ask("GET", "/version").text.count(".") == 2
    assert api("GET", "/api/3.0/mlflow/server-info")["store_type"] == "SqlStore"


def test_an_experiments_life(api: Api) -> None:
    number = api("POST", "experiments/create", {"name": "trees", "tags": [{"key": "a", "value": "b"}]})["experiment_id"]
    assert api.refusal("POST", "experiments/create", {"name": "trees"})[:2] == (400, "RESOURCE_ALREADY_EXISTS")
    run = api.run(experiment_id=number)
    api("POST", "experiments/delete", {"experiment_id": number})
    assert api.refusal("POST", "experiments/delete", {"experiment_id": number})[:2] == (404, "RESOURCE_DOES_NOT_EXIST")
    assert api.refusal("POST", "experiments/create", {"name": "trees"})[1] == "RESOURCE_ALREADY_EXISTS"
    assert api("GET", "experiments/get-by-name", experiment_name="trees")["experiment"]["lifecycle_stage"] == "deleted"
    assert api("GET", "runs/get", run_id=run)["run"]["info"]["lifecycle_stage"] == "deleted"
    status, code, message = api.refusal("POST", "runs/create", {"experiment_id": number})
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert "must be in the 'active' state" in message
    api("POST", "experiments/restore", {"experiment_id": number})
    assert api("GET", "runs/get", run_id=run)["run"]["info"]["lifecycle_stage"] == "active"
    api("POST", "experiments/update", {"experiment_id": number, "new_name": "forests"})
    found = api("GET", "experiments/search", max_results=10, filter="tags.a = 'b' AND name LIKE 'for%'")
    assert [one["name"] for one in found["experiments"]] == ["forests"]
    assert api.refusal("GET", "experiments/get", experiment_id="x")[:2] == (400, "INVALID_PARAMETER_VALUE")
    assert api.refusal("GET", "experiments/get", experiment_id="99")[0] == 404


def test_a_run_tells_what_it_was_told(api: Api, local_workspace: Workspace) -> None:
    run = api.run(run_name="first", user_id="ana", tags=[{"key": "stage", "value": "try"}])
    metrics = [{"key": "auc", "value": v, "timestamp": 5, "step": s} for s, v in ((1, 0.7), (2, 0.8))]
    metrics += [{"key": "odd", "value": "NaN", "timestamp": 5}, {"key": "big", "value": "Infinity", "timestamp": "5"}]
    body = {"run_id": run, "metrics": metrics, "params": [{"key": "rate", "value": "0.1"}]}
    for _ in range(2):  # a client that repeats itself changes nothing
        api("POST", "runs/log-batch", body)
    api("POST", "runs/update", {"run_id": run, "status": "FINISHED", "end_time": 9000})
    found = api("GET", "runs/get", run_uuid=run)["run"]
    assert found["info"]["status"] == "FINISHED"
    assert (found["info"]["start_time"], found["info"]["end_time"]) == (1000, 9000)
    assert found["info"]["artifact_uri"] == f"mlflow-artifacts:/0/{run}/artifacts"
    values = {one["key"]: (one["value"], one["step"]) for one in found["data"]["metrics"]}
    assert values == {"auc": (0.8, 2), "odd": ("NaN", 0), "big": (1.7976931348623157e308, 0)}
    tags = {one["key"]: one["value"] for one in found["data"]["tags"]}
    assert tags == {"stage": "try", "mlflow.runName": "first"}
    history = api("GET", "metrics/get-history", run_id=run, metric_key="auc")["metrics"]
    assert [(one["step"], one["value"]) for one in history] == [(1, 0.7), (2, 0.8)]
    with Session(local_workspace) as session:
        rows = session.arrow("select key, value, branch from metrics m join runs r on r.id = m.run_id order by 1, 2")
    assert rows.num_rows == 4
    assert set(rows["branch"].to_pylist()) == {"main"}


def test_names_of_runs_and_their_tag_are_one(api: Api) -> None:
    status, _, _ = api.refusal(
        "POST",
        "runs/create",
        {"experiment_id": "0", "run_name": "a", "tags": [{"key": "mlflow.runName", "value": "b"}]},
    )
    assert status == 400
    run = api.run(tags=[{"key": "mlflow.runName", "value": "b"}])
    assert api("GET", "runs/get", run_id=run)["run"]["info"]["run_name"] == "b"
    api("POST", "runs/set-tag", {"run_id": run, "key": "mlflow.runName", "value": "c"})
    assert api("GET", "runs/get", run_id=run)["run"]["info"]["run_name"] == "c"
    api("POST", "runs/update", {"run_id": run, "run_name": "d"})
    found = api("GET", "runs/get", run_id=run)["run"]
    assert found["info"]["run_name"] == found["data"]["tags"][0]["value"] == "d"
    assert api("GET", "runs/get", run_id=api.run())["run"]["info"]["run_name"].count("-") == 2


def test_a_deleted_run_is_read_and_not_written(api: Api) -> None:
    run = api.run()
    for _ in range(2):
        api("POST", "runs/delete", {"run_id": run})
    point = {"run_id": run, "key": "a", "value": 1, "timestamp": 1}
    for path, body in (
        ("log-metric", point),
        ("set-tag", {"run_id": run, "key": "a", "value": ""}),
        ("update", {"run_id": run, "status": "FAILED"}),
        ("log-inputs", {"run_id": run, "datasets": []}),
    ):
        status, code, message = api.refusal("POST", f"runs/{path}", body)
        assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
        assert message.startswith(f"The run {run} must be in the 'active' state. Current state is deleted.")
    assert api("POST", "runs/search", {"experiment_ids": ["0"]}) == {}
    assert len(api("POST", "runs/search", {"experiment_ids": ["0"], "run_view_type": "DELETED_ONLY"})["runs"]) == 1
    api("POST", "runs/restore", {"run_id": run})
    api("POST", "runs/log-metric", point)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("runs/log-metric", {"key": "a", "timestamp": 1}, "Missing value for required parameter 'value'"),
        ("runs/log-metric", {"key": "a", "value": 1}, "Missing value for required parameter 'timestamp'"),
        ("runs/log-metric", {"key": "", "value": 1, "timestamp": 1}, "Missing value for required parameter 'key'"),
        ("runs/log-metric", {"key": 5, "value": 1, "timestamp": 1}, "Value was of type 'int'"),
        ("runs/log-metric", {"key": "a", "value": "x", "timestamp": 1}, "parameter 'value'"),
        ("runs/log-metric", {"key": "a", "value": 1, "timestamp": -1}, "parameter 'timestamp'"),
        ("runs/log-metric", {"key": "a", "value": 1, "timestamp": 2**63}, "parameter 'timestamp'"),
        ("runs/log-metric", {"key": "../a", "value": 1, "timestamp": 1}, "must not resolve"),
        ("runs/log-metric", {"key": "/a", "value": 1, "timestamp": 1}, "must not resolve"),
        ("runs/log-metric", {"key": "a$", "value": 1, "timestamp": 1}, "may only contain"),
        ("runs/log-metric", {"key": "a" * 251, "value": 1, "timestamp": 1}, "maximum length of 250"),
        ("runs/log-batch", {"params": [{"key": "a", "value": "1"}] * 2}, "Duplicate parameter keys"),
        ("runs/log-batch", {"params": [{"key": f"p{i}", "value": ""} for i in range(101)]}, "at most 100 params"),
        ("runs/log-batch", {"metrics": [{"key": "a", "value": 1}]}, "metrics[0].timestamp"),
        ("runs/log-batch", {"metrics": {"key": "a"}}, "Value was of type 'dict'"),
        ("runs/update", {"status": "WRONG"}, "Valid values are RUNNING"),
        ("runs/set-tag", {"key": "a", "Key": "b", "value": 1}, "Value was of type 'int'"),
        ("runs/log-model", {"model_json": "[1]"}, "'model_json' is no JSON object"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_nothing_of_it_kept(
    api: Api, path: str, body: dict[str, Any], words: str
) -> None:
    run = api.run(run_name="r")
    status, code, message = api.refusal("POST", path, {"run_id": run, **body})
    assert (status, code) == (400, "INVALID_PARAMETER_VALUE")
    assert words in message
    data = api("GET", "runs/get", run_id=run)["run"]["data"]
    assert data == {"tags": [{"key": "mlflow.runName", "value": "r"}]}


def test_requests_are_read_as_protobufs_json(api: Api) -> None:
    run = api.run()
    api("POST", "runs/log-metric", {"runId": run, "key": "a", "value": 1, "timestamp": "7", "step": None, "extra": {}})
    assert api("GET", "metrics/get-history", runId=run, metricKey="a")["metrics"] == [
        {"key": "a", "value": 1.0, "timestamp": 7, "step": 0}
    ]
    status, _, message = api.refusal("POST", "runs/delete", {"run_id": run, "runId": run})
    assert status == 400
    assert "one field" in message
    api("POST", "runs/update", {"run_id": run, "status": 5})
    assert api("GET", "runs/get", run_id=run)["run"]["info"]["status"] == "KILLED"
    sent = api.http.post("/api/2.0/mlflow/runs/delete", content=b"\xff{", headers={"content-type": "application/json"})
    assert (sent.status_code, sent.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    plain = api.http.post("/api/2.0/mlflow/runs/delete", content=json.dumps({"run_id": run}).encode())
    assert plain.status_code == 400
    assert "Content-Type" in plain.json()["message"]


LONG = "x" * 70_000
REFUSED: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", "runs/create", {"experiment_id": "0", "run_name": LONG}),
    ("POST", "runs/create", {"experiment_id": "0", "user_id": LONG}),
    ("POST", "runs/log-metric", {"key": "a", "value": 1, "timestamp": 1, "dataset_name": LONG}),
    ("POST", "runs/log-metric", {"key": "a", "value": 1, "timestamp": 1, "model_id": LONG}),
    ("POST", "runs/set-tag", {"run_id": ["a"], "key": "a", "value": ""}),
    ("POST", "runs/update", {"status": "9" * 5000}),
    ("POST", "runs/search", {"experiment_ids": ["0"], "order_by": [f"metrics.a{n}" for n in range(500)]}),
    ("POST", "logged-models", {"experiment_id": "0", "model_type": LONG}),
    ("POST", "logged-models/search", {"experiment_ids": ["0"], "order_by": [{"field_name": "metrics.a"}] * 500}),
    ("POST", "registered-models/create", {"name": "m", "description": LONG}),
    ("POST", "experiments/create", {"name": "e", "artifact_location": "mlflow-artifacts://evil.example/x"}),
]


def test_what_no_column_holds_is_refused_by_every_database(api: Api) -> None:
    run = api.run()
    for method, path, body in REFUSED:
        found = api.refusal(method, path, {"run_id": run, **body})
        assert found[:2] == (400, "INVALID_PARAMETER_VALUE"), (path, [*body], found)
    assert api("GET", "metrics/get-history", run_id=run, metric_key="a", max_results=2**63 - 1) == {}


def test_values_that_are_too_long_are_cut(api: Api) -> None:
    run = api.run()
    api("POST", "runs/log-parameter", {"run_id": run, "key": "p", "value": "x" * 7000})
    api("POST", "runs/set-tag", {"run_id": run, "key": "t", "value": "y" * 9000})
    data = api("GET", "runs/get", run_id=run)["run"]["data"]
    assert len(data["params"][0]["value"]) == 6000
    assert {tag["key"]: len(tag["value"]) for tag in data["tags"]}["t"] == 8000


def test_a_list_never_shows_what_was_there_before(api: Api) -> None:
    runs = [api.run() for _ in range(3)]
    for value in range(4):
        api("POST", "runs/log-metric", {"run_id": runs[0], "key": "a", "value": value, "timestamp": 1, "step": value})
        found = api("POST", "runs/search", {"experiment_ids": ["0"], "filter": "metrics.a >= 0"})["runs"]
        assert [one["data"]["metrics"][0]["value"] for one in found] == [value]
        assert len(api("POST", "runs/search", {"experiment_ids": ["0"]})["runs"]) == 3


def test_datasets_are_kept_with_their_tags(api: Api) -> None:
    run = api.run()
    dataset = {"name": "flights", "digest": "d1", "source_type": "local", "source": "{}", "schema": "{}"}
    tags = [{"key": "mlflow.data.context", "value": "training"}]
    for again in (tags, [{"key": "mlflow.data.context", "value": "other"}]):
        api("POST", "runs/log-inputs", {"run_id": run, "datasets": [{"tags": again, "dataset": dataset}]})
    (found,) = api("GET", "runs/get", run_id=run)["run"]["inputs"]["dataset_inputs"]
    assert (found["dataset"], found["tags"]) == (dataset, tags)
    assert api("POST", "experiments/search-datasets", {"experiment_ids": ["0"]})["dataset_summaries"] == [
        {"experiment_id": "0", "name": "flights", "digest": "d1", "context": "training"}
    ]
    for text, count in (("dataset.name = 'flights'", 1), ("datasets.context = 'other'", 0)):
        answer = api("POST", "runs/search", {"experiment_ids": ["0"], "filter": text})
        assert len(answer.get("runs", [])) == count
    long = {**dataset, "digest": "x" * 37}
    assert api.refusal("POST", "runs/log-inputs", {"run_id": run, "datasets": [{"dataset": long}]})[0] == 400


@pytest.mark.slow
def test_sixteen_clients_lose_and_double_nothing(api: Api) -> None:
    run = api.run()

    def log(client: int) -> None:
        for step in range(20):
            point = {"key": f"m{client % 4}", "value": client, "timestamp": client, "step": step}
            api(
                "POST",
                "runs/log-batch",
                {"run_id": run, "metrics": [point], "tags": [{"key": f"t{client}", "value": ""}]},
            )

    threads = [threading.Thread(target=log, args=(client,)) for client in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for key in range(4):
        found = api("GET", "metrics/get-history", run_id=run, metric_key=f"m{key}")["metrics"]
        assert len(found) == 4 * 20
        assert len({(one["step"], one["value"]) for one in found}) == 80
    latest = {one["key"]: one for one in api("GET", "runs/get", run_id=run)["run"]["data"]["metrics"]}
    assert {key: (one["step"], one["value"]) for key, one in latest.items()} == {
        f"m{key}": (19, 12.0 + key) for key in range(4)
    }


def test_branches_have_addresses_of_their_own(api: Api, local_workspace: Workspace) -> None:
    local_workspace.history.create_branch("dev")
    dev = Api(api.http, "/branch/dev")
    run = dev.run()
    with Session(local_workspace) as session:
        assert session.arrow(f"select branch from runs where id = '{run}'")["branch"].to_pylist() == ["dev"]
