"""Texts that PostgreSQL does not hold, and odd values of every field: a user's error is told as one, never a 5xx."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from bascule.history import Workspace
from bascule.server import ServerSettings
from bascule.server.app import create_app
from bascule.tracking.reading import read_run
from tests.protocols.mlflow.conftest import Api

FIELDS = ("name", "key", "value", "run_id", "filter", "tags", "params", "metrics", "alias", "version", "description")
MORE = (
    "experiment_id",
    "user_id",
    "run_name",
    "start_time",
    "timestamp",
    "step",
    "source",
    "url",
    "events",
    "datasets",
)
ENDPOINTS = (
    *("experiments/create", "experiments/set-experiment-tag", "experiments/search", "runs/create", "runs/update"),
    *("runs/log-metric", "runs/log-parameter", "runs/set-tag", "runs/log-batch", "runs/search", "runs/log-inputs"),
    *("registered-models/create", "registered-models/set-tag", "registered-models/alias", "model-versions/create"),
    *("logged-models", "logged-models/search", "registered-models/rename", "webhooks", "runs/delete-tag"),
)
TEXTS = st.text(max_size=8) | st.sampled_from(["\0", "a\0b", "\ud800", "%00", "a" * 300, "1e400", "\u202e", "';--", ""])
NUMBERS = st.integers() | st.floats() | st.sampled_from([2**63, -(2**63) - 1, 1e308])
VALUES = st.recursive(
    TEXTS | NUMBERS | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS + MORE), inner, max_size=4),
    max_leaves=6,
)


@pytest.fixture
def api(workspace: Workspace) -> Api:
    """The API over each database, as PostgreSQL holds less than SQLite."""
    app = create_app(workspace, ServerSettings())
    return Api(TestClient(app, base_url="http://127.0.0.1:7400", raise_server_exceptions=False))


def test_a_text_with_nul_is_refused_and_named(api: Api) -> None:
    run = api.run()
    batch: dict[str, Any] = {"run_id": run, "params": [{"key": "a", "value": "1"}, {"key": "b", "value": "x\0"}]}
    for path, body, where in (
        ("experiments/create", {"name": "a\0"}, "'name'"),
        ("runs/create", {"experiment_id": "0", "run_name": "a\0"}, "'run_name'"),
        ("runs/set-tag", {"run_id": run, "key": "k", "value": "\0"}, "'value'"),
        ("runs/log-metric", {"run_id": run, "key": "\0", "value": 1, "timestamp": 1}, "'key'"),
        ("runs/log-batch", batch, "'params[1].value'"),
        ("registered-models/create", {"name": "m", "description": "a\0"}, "'description'"),
        ("webhooks", {"name": "w\0", "url": "https://example.org", "events": []}, "'name'"),
    ):
        status, code, said = api.refusal("POST", path, body)
        assert (status, code) == (400, "INVALID_PARAMETER_VALUE"), path
        assert where in said
        assert "NUL" in said
    assert api("GET", "runs/get", run_id=run)["run"]["data"].get("params", []) == []  # nothing of the batch
    for path in ("runs/get?run_id=%00", "experiments/get-by-name?experiment_name=a%00b", "logged-models/m-%00"):
        assert 400 <= api.ask("GET", path).status_code < 500, path
    spans = {"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "0" * 31 + "1", "spanId": "1" * 16}]}]}]}
    spans["resourceSpans"][0]["scopeSpans"][0]["spans"][0] |= {"name": "a\0", "startTimeUnixNano": "1"}
    assert api.ask("POST", "/v1/traces", spans).status_code < 500
    native = api.ask("POST", "/api/bascule/v1/tags", {"name": "a\0", "at": "main\0"})
    assert 400 <= native.status_code < 500


ODD = """
import bascule
with bascule.run("a\\0b", experiment="e\\0", tags={"t": "\\0"}, params={"p\\0": "\\0"}) as run:
    run.params({"k\\0": "v\\0"})
    run.text("note", "a\\0b")
    run.table("rows", [{"a\\0": "\\0"}])
print(run.id)
"""


@pytest.mark.slow
def test_what_a_script_says_with_nul_is_kept_legibly(workspace: Workspace) -> None:
    folder = workspace.folder.parent
    (folder / "script.py").write_text(ODD)
    command = [sys.executable, "-m", "bascule", "track", "--", sys.executable, "script.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "left out" not in done.stderr
    run = read_run(workspace, done.stdout.strip().splitlines()[-1])
    assert (run["params"]["k\\x00"], run["params"]["p\\x00"], run["tags"]["t"]) == ("v\\x00", "\\x00", "\\x00")


@pytest.mark.slow
def test_no_request_is_a_server_error(api: Api) -> None:
    run = api.run()

    @settings(max_examples=120, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(ENDPOINTS), st.dictionaries(st.sampled_from(FIELDS + MORE), VALUES, max_size=6))
    def ask(path: str, body: dict[str, Any]) -> None:
        if "run_id" in body and isinstance(body["run_id"], str):
            body["run_id"] = run
        answer = api.http.request(
            "POST",
            f"/api/2.0/mlflow/{path}",
            content=json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        assert answer.status_code < 500, (path, body, answer.text)

    ask()
