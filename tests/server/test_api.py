"""The native API: what it answers, and how it says no."""

from __future__ import annotations

import json
import re

import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from bascule import delivery
from bascule.catalog import now
from bascule.lake.records import RecordTable
from bascule.server.api.table import API
from bascule.serving.log import move_segments
from bascule.serving.log.predictions import SCHEMA as PREDICTIONS
from tests.server.conftest import Serve
from tests.server.filled import Filled

BASE = "/api/bascule/v1"


@pytest.mark.slow
def test_branches_and_commits(client: TestClient, filled: Filled) -> None:
    branches = client.get(f"{BASE}/branches").json()
    assert branches[0]["name"] == "main"
    assert {branch["name"] for branch in branches} >= {"windier-features", "batch/2013-06"}
    assert [tag["name"] for tag in client.get(f"{BASE}/tags").json()] == ["v1.0"]
    log = client.get(f"{BASE}/log", params={"ref": "main", "limit": 3}).json()
    assert len(log["commits"]) == 3
    assert log["more"]
    found = client.get(f"{BASE}/commits/{filled.commit[:12]}").json()
    assert found["commit"]["id"] == filled.commit
    (change,) = found["changes"]
    assert (change["path"], change["summary"]) == ("tables/flights", "+400 rows (2,400 in all)")


PARTS = {"name": "delays", "table": "flights", "version": "1", "run": "run_0", "alert": "alert_0"}


def reading_paths() -> list[str]:
    """Return the path of every route of the API that reads."""
    found = [route.path for route in API if route.method == "GET" and route.path.startswith(BASE)]
    return [re.sub(r"{(\w+)(:path)?}", lambda part: PARTS.get(part[1], "main"), path) for path in found]


@pytest.mark.slow
@pytest.mark.parametrize("path", reading_paths())
def test_an_unknown_query_name_is_refused(path: str, client: TestClient) -> None:
    answer = client.get(path, params={"nonsense": "1"})
    assert answer.status_code == 400
    assert answer.json()["error"] == "There is no query parameter 'nonsense' here."


@pytest.mark.slow
@pytest.mark.parametrize("path", reading_paths())
def test_an_unknown_state_is_never_an_empty_answer(path: str, client: TestClient) -> None:
    for name in ("ref", "branch"):
        answer = client.get(path, params={name: "mian"})
        assert answer.status_code in (400, 404), answer.text
        said = answer.json()
        assert said["error"]
        if "There is no branch" in said["error"]:
            assert said["hint"] == "Did you mean 'main'?"


def test_who_probes_may_add_what_they_like(client: TestClient) -> None:
    assert client.get("/health?probe=1").status_code == 200
    assert client.get("/metrics?x=1").status_code == 200


def test_a_difference_is_told_by_kind(client: TestClient) -> None:
    found = client.get(f"{BASE}/diff", params={"before": "main", "after": "windier-features"}).json()
    changes = {change["path"]: change for change in found["changes"]}
    assert any(line.startswith("+") and "minimum: 50" in line for line in changes["contracts/flights"]["text"])
    assert changes["deployments/delays"]["change"] == "removed"
    assert "traffic" in changes["deployments/delays"]["summary"]


def test_objects_at_any_state(client: TestClient) -> None:
    paths = client.get(f"{BASE}/objects", params={"ref": "main", "prefix": "models/"}).json()
    assert list(paths) == ["models/delays"]
    model = client.get(f"{BASE}/objects/models/delays", params={"ref": "main"}).json()
    assert sorted(model["versions"]) == ["1", "2", "3"]
    missing = client.get(f"{BASE}/objects/models/delay")
    assert missing.status_code == 404
    assert "Did you mean 'delays'?" in missing.json()["hint"]


def test_tables(client: TestClient) -> None:
    tables = {table["name"]: table for table in client.get(f"{BASE}/tables").json()}
    assert tables["flights"]["rows"] == 2400
    assert tables["flights"]["checks"]["failed"] == 0
    detail = client.get(f"{BASE}/tables/flights").json()
    assert {column["name"] for column in detail["columns"]} >= {"time_hour", "carrier", "distance"}
    assert "kind: DataContract" in detail["contract"]
    assert len(detail["refusals"]) == 1
    rows = client.get(f"{BASE}/tables/flights/rows", params={"limit": 7}).json()
    assert len(rows["rows"]) == 7
    assert rows["more"]
    newest = detail["versions"][0]["commit"]
    states = {"before": newest["parents"][0], "after": newest["id"]}
    diff = client.get(f"{BASE}/tables/flights/diff", params=states).json()
    assert (diff["added"], diff["removed"], diff["changed"]) == (400, 0, 0)
    assert len(diff["sample"]) == 20


def test_runs_page_by_page(client: TestClient, filled: Filled) -> None:
    seen: list[str] = []
    before = None
    while True:
        params = {"limit": 20, **({"before": before} if before else {})}
        found = client.get(f"{BASE}/runs", params=params).json()
        seen += [run["id"] for run in found["runs"]]
        before = found["next"]
        if before is None:
            break
    assert len(seen) == len(set(seen)) == 63
    assert filled.train_run in seen
    failed = client.get(f"{BASE}/runs", params={"status": "failed", "limit": 100}).json()["runs"]
    assert failed
    assert {run["status"] for run in failed} == {"failed"}
    texted = client.get(f"{BASE}/runs", params={"text": "pipeline"}).json()["runs"]
    assert [run["name"] for run in texted] == ["pipeline"]
    assert client.get(f"{BASE}/runs", params={"text": "%"}).json()["runs"] == []


def test_one_run(client: TestClient, filled: Filled) -> None:
    run = client.get(f"{BASE}/runs/{filled.train_run}").json()
    assert run["params"]["num_leaves"] == "63"
    assert run["run"]["metrics"]["test.auc"] == 0.7123
    curves = {series["key"]: series for series in run["series"]}
    assert set(curves) == {"train.log_loss", "validation.log_loss"}
    assert curves["train.log_loss"]["steps"] == list(range(120))
    children = client.get(f"{BASE}/runs/{filled.pipeline_run}").json()["children"]
    assert [child["step"] for child in children] == ["ingest", "train"]


def test_models(client: TestClient) -> None:
    (model,) = client.get(f"{BASE}/models").json()
    assert [version["version"] for version in model["versions"]] == [3, 2, 1]
    by_alias = client.get(f"{BASE}/models/delays/versions/production").json()
    assert by_alias["version"]["version"] == 2
    assert by_alias["report"]["gates"][0]["name"] == "better_than_baseline"
    forced = client.get(f"{BASE}/models/delays/versions/3").json()
    assert not forced["version"]["passed"]
    assert forced["approvals"][0]["decision"] == "forced"
    missing = client.get(f"{BASE}/models/delays/versions/9")
    assert missing.status_code == 404


def test_monitoring(client: TestClient, filled: Filled) -> None:
    (monitor,) = client.get(f"{BASE}/monitors").json()
    assert (monitor["name"], monitor["firing"], monitor["points"]) == ("delays", 1, 660)
    found = client.get(f"{BASE}/monitor-points", params={"measure": "quality", "subject": "auc"}).json()
    assert len(found[0]["points"]) == 60
    times = [point["window_start"] for point in found[0]["points"]]
    assert times == sorted(times)
    later = client.get(f"{BASE}/monitor-points", params={"measure": "quality", "since": times[50]}).json()
    assert {len(measure["points"]) for measure in later} == {10}
    alerts = client.get(f"{BASE}/alerts").json()
    assert [alert["status"] for alert in alerts] == ["firing", "resolved"]
    assert client.get(f"{BASE}/alerts/{filled.alert}").json()["subject"] == "weather__wind_speed"
    assert client.get(f"{BASE}/jobs").json()[0]["status"] == "done"


def test_what_failed_of_a_version_and_why_is_told(copy: Filled, serve: Serve) -> None:
    whys = ["its worker did not answer in 0.7 s", "its worker was ended by SIGSEGV"]
    row = {"branch": "main", "commit_id": copy.commit, "deployment": "delays", "revision": 5, "model": "delays"}
    row |= {"version": 2, "arm": "stable", "latency_us": 900, "inputs": "{}", "features": "{}"}
    rows = [
        {
            **row,
            "prediction_id": f"pred_{why}",
            "at": now() + n,
            "event_time": now(),
            "output": json.dumps({"error": why}),
        }
        for n, why in enumerate(whys)
    ]
    RecordTable(copy.ws, "predictions", PREDICTIONS).append(pa.Table.from_pylist(rows, schema=PREDICTIONS))
    client = serve(copy.ws)
    traffic = client.get(f"{BASE}/deployments/delays/traffic").json()
    failed = {one["version"]: (one["failed"], one["why"]) for one in traffic["totals"] if one["failed"]}
    assert failed == {2: (2, whys[1])}
    assert "Version 2 failed last: its worker was ended by SIGSEGV" in client.get("/deployments/delays").text


@pytest.mark.slow
def test_deployments_and_their_traffic(client: TestClient) -> None:
    found = client.get(f"{BASE}/deployments/delays").json()
    assert found["traffic"] == [{"version": 2, "weight": 50}, {"version": 3, "weight": 50}]
    assert found["back_to"] == [{"version": 2, "weight": 100}]
    traffic = client.get(f"{BASE}/deployments/delays/traffic").json()
    assert sum(one["requests"] for one in traffic["totals"]) == 1200
    assert sum(one["requests"] for one in traffic["buckets"]) == 1200
    assert {one["version"] for one in traffic["totals"]} == {1, 2, 3}
    assert {one["failed"] for one in traffic["totals"]} == {0}
    short = client.get(f"{BASE}/deployments/delays/traffic", params={"window": "5m"}).json()
    assert 0 < sum(one["requests"] for one in short["totals"]) < 1200
    state = client.get(f"{BASE}/deployments/delays/rollout").json()
    assert {finding["rule"] for finding in state["findings"]} == {"split", "errors", "latency", "quality"}
    changes = client.get(f"{BASE}/deployments/delays/changes").json()
    assert [change["action"] for change in changes] == ["advance", "start", "promote", "start", "deploy"]


@pytest.mark.slow
def test_rolling_back_and_forth(copy: Filled, serve: Serve) -> None:
    client = serve(copy.ws)
    before = client.get(f"{BASE}/deployments/delays").json()
    answer = client.post(f"{BASE}/deployments/delays/rollback", json={"reason": "too slow", "expect": before["digest"]})
    assert answer.status_code == 200
    found = answer.json()
    assert found["deployment"]["traffic"] == [{"version": 2, "weight": 100}]
    assert found["commit"]["message"].startswith("Roll back delays")
    again = client.post(f"{BASE}/deployments/delays/rollback", json={"expect": before["digest"]})
    assert again.status_code == 409
    assert again.json()["paths"] == ["deployments/delays"]
    entry = client.get(f"{BASE}/audit", params={"subject": "deployments/delays", "limit": 1}).json()["entries"][0]
    assert (entry["action"], entry["detail"]["reason"]) == ("rollback", "too slow")
    assert client.get(f"{BASE}/audit/state").json()["ok"]
    deployed = client.post(
        f"{BASE}/deployments/delays/deploy", json={"model": "delays", "version": "1", "strategy": "all_at_once"}
    )
    assert deployed.json()["deployment"]["traffic"] == [{"version": 1, "weight": 100}]
    shared = client.post(f"{BASE}/deployments/delays/traffic", json={"weights": {"1": 30, "2": 70}})
    assert shared.json()["deployment"]["traffic"] == [{"version": 1, "weight": 30}, {"version": 2, "weight": 70}]
    bad = client.post(f"{BASE}/deployments/delays/traffic", json={"weights": {"1": 30, "2": 50}})
    assert bad.status_code == 400


def test_deploying_goes_by_the_rules_that_the_deployment_has_and_leaves_them(copy: Filled, serve: Serve) -> None:
    client, path = serve(copy.ws), f"{BASE}/deployments/delays"
    client.post(f"{path}/rollback", json={})
    limits = {"tail": {"quantile": 0.9}}
    delivery.deploy(copy.ws, "main", "delays", "delays", 3, steps=[2, 50, 100], guardrails=limits, shadow=False)
    client.post(f"{path}/rollback", json={})
    rules = delivery.read_deployment(copy.ws, "main", "delays")["rules"]

    assert client.post(f"{path}/deploy", json={"model": "delays", "version": 3}).status_code == 200
    made = delivery.read_deployment(copy.ws, "main", "delays")
    assert (made["rollout"]["steps"], made["rollout"]["shadow"], made["rules"]) == ([2, 50, 100], False, rules)
    assert made["rollout"]["guardrails"]["tail"]["quantile"] == 0.9
    client.post(f"{path}/rollback", json={})

    body = {"model": "delays", "version": 1, "strategy": "blue_green", "plan": {"keep": "2h"}, "guardrails": {}}
    assert client.post(f"{path}/deploy", json=body).status_code == 200
    made = delivery.read_deployment(copy.ws, "main", "delays")
    assert (made["rollout"]["strategy"], made["rollout"]["guardrails"]["tail"]) == ("blue_green", None)
    assert (made["strategy"], made["rules"]) == ("canary", rules)


def test_naming_a_state_for_good(copy: Filled, serve: Serve) -> None:
    client = serve(copy.ws)
    head = copy.ws.history.resolve("main").id
    assert client.post(f"{BASE}/tags", json={"name": "v9"}).json() == {"name": "v9", "commit": head}
    assert "v9" in {tag["name"] for tag in client.get(f"{BASE}/tags").json()}
    for body, status, said in (
        ({"name": "v9"}, 409, "exists already"),
        ({"name": "HEAD"}, 400, "cannot name a branch or a tag"),
        ({"name": "v10", "at": "nowhere"}, 404, "nowhere"),
        ({"name": "v10", "ref": "main"}, 400, "ref"),
    ):
        answer = client.post(f"{BASE}/tags", json=body)
        assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text
    entry = client.get(f"{BASE}/audit", params={"subject": "refs/v9"}).json()["entries"][0]
    assert entry["actor"] == client.get(f"{BASE}/audit").json()["entries"][0]["actor"]


def test_promoting_a_canary(copy: Filled, serve: Serve) -> None:
    client = serve(copy.ws)
    answer = client.post(f"{BASE}/deployments/delays/advance", json={})
    assert answer.json()["deployment"]["traffic"] == [{"version": 3, "weight": 100}]
    none = client.post(f"{BASE}/deployments/delays/promote", json={})
    assert none.status_code == 400
    assert "no rollout" in none.json()["error"]


@pytest.mark.slow
def test_predictions_and_their_chain(client: TestClient, filled: Filled) -> None:
    found = client.get(f"{BASE}/predictions", params={"limit": 30}).json()
    assert len(found) == 30
    assert [one["at"] for one in found] == sorted((one["at"] for one in found), reverse=True)
    older = client.get(f"{BASE}/predictions", params={"limit": 5, "before": found[-1]["at"]}).json()
    assert older[0]["at"] < found[-1]["at"]
    chain = client.get(f"{BASE}/predictions/{filled.prediction}").json()
    assert set(chain) >= {"prediction", "deployment", "version", "run", "training_set", "tables", "people"}
    assert chain["tables"]["tables/flights"]["rows"] == 2400
    missing = client.get(f"{BASE}/predictions/pred_nothing")
    assert missing.status_code == 404
    assert "pred_0000" in missing.json()["hint"]


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/log?ref=mian", 404, "Did you mean 'main'?"),
        ("/log?limit=0", 400, "limit"),
        ("/log?limit=many", 400, "limit"),
        ("/log?rfe=main", 400, "Did you mean 'ref'?"),
        ("/runs/run_nothing", 404, "run_nothing"),
        ("/tables/flight", 404, "Did you mean 'flights'?"),
        ("/deployments/delay", 404, "Did you mean 'delays'?"),
        ("/deployments/delay/traffic", 404, "Did you mean 'delays'?"),
        ("/deployments/delays/traffic?window=2d", 400, "window"),
        ("/monitors?branch=nothing", 404, "nothing"),
        ("/alerts/alert_x", 404, "alert_x"),
        ("/diff", 400, "after"),
        ("/nothing", 404, "/api/openapi.json"),
    ],
)
def test_what_is_wrong_is_said(client: TestClient, path: str, status: int, said: str) -> None:
    answer = client.get(BASE + path)
    assert answer.status_code == status
    document = answer.json()
    assert {"error", "kind", "hint"} <= set(document)
    assert said in document["error"] + document["hint"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b'{"name": 5}', "application/json", 400),
        (b'{"nome": "a"}', "application/json", 400),
        (b"{", "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"name=a", "application/x-www-form-urlencoded", 415),
        (b'{"name": "a"}', "text/plain", 415),
        (b'{"name": "bad name"}', "application/json", 400),
        (b'{"name": "main"}', "application/json", 409),
    ],
)
def test_bad_bodies_are_refused(client: TestClient, body: bytes, kind: str, status: int) -> None:
    answer = client.post(f"{BASE}/branches", content=body, headers={"content-type": kind})
    assert answer.status_code == status
    assert answer.json()["error"]


def test_unknown_methods_are_said(client: TestClient) -> None:
    answer = client.delete(f"{BASE}/branches")
    assert answer.status_code == 405
    assert "DELETE" in answer.json()["error"]


def test_health_and_metrics(client: TestClient) -> None:
    assert client.get("/health").json()["status"] == "ok"
    client.get(f"{BASE}/runs/run_x")
    text = client.get("/metrics").text
    assert 'bascule_alerts{status="firing"} 1' in text
    assert 'bascule_model_versions{model="delays"} 3' in text
    labels = 'method="GET",route="/api/bascule/v1/runs/{run}",status="404"'
    assert f"bascule_http_request_duration_seconds_count{{{labels}}} 1" in text
    assert f'bascule_http_request_duration_seconds_bucket{{{labels},le="+Inf"}} 1' in text
    assert "run_x" not in text


@pytest.mark.slow
def test_ground_truth_is_taken_once(copy: Filled, serve: Serve) -> None:
    client = serve(copy.ws)
    (last,) = client.get(f"{BASE}/predictions", params={"limit": 1}).json()
    row = {"prediction_id": last["prediction_id"], "label": 1, "label_time": 1_400_000_000_000_000}
    count = "SELECT count(*) FROM ground_truth WHERE label_time = make_timestamptz(1400000000000000)"
    for _ in range(2):
        assert client.post(f"{BASE}/ground-truth", json={"rows": [row]}).json() == {"rows": 1}
        move_segments(copy.ws)
    assert client.post(f"{BASE}/sql", json={"sql": count}).json()["rows"] == [[1]]
    assert client.get(f"{BASE}/predictions/{last['prediction_id']}").json()["truth"]["label"] == 1
    (listed,) = client.get(f"{BASE}/predictions", params={"limit": 1}).json()
    assert (last["outcome"], listed["label"], listed["outcome"]) == ("false", 1.0, "true")


@pytest.mark.parametrize(
    "row",
    [
        {"prediction_id": "nothing", "label": 1},
        {"prediction_id": "pred_00000000000000000000000001", "label": "late"},
        {"prediction_id": "pred_00000000000000000000000001"},
        {"prediction_id": "pred_00000000000000000000000001", "label": 1, "lable_time": 3},
    ],
)
def test_wrong_ground_truth_changes_nothing(copy: Filled, serve: Serve, row: dict[str, object]) -> None:
    good = {"prediction_id": "pred_00000000000000000000000002", "label": 1}
    answer = serve(copy.ws).post(f"{BASE}/ground-truth", json={"rows": [good, row]})
    assert answer.status_code == 400
    assert move_segments(copy.ws).segments == 0
