"""A server is there before the engines are loaded, and loads them for who needs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from bascule.errors import EnvironmentProblem
from bascule.history import Workspace
from bascule.server import ServerSettings
from bascule.server.ticks import ticks
from bascule.web import create_early_app

STARTED = """
import sys
from pathlib import Path
from bascule.history import Workspace
from bascule.server import ServerSettings
from bascule.server.supervisor import up
from bascule.server.ticks import ticks
from bascule.web import create_early_app
from starlette.testclient import TestClient

ws = Workspace.create(sys.argv[1])
client = TestClient(create_early_app(ws, ServerSettings()), base_url="http://127.0.0.1")
assert client.get("/health").json()["status"] == "ok"
made = client.post("/api/2.0/mlflow/runs/create", json={"experiment_id": "0"}).json()["run"]["info"]["run_id"]
point = {"run_id": made, "key": "a", "value": 1, "timestamp": 1}
assert client.post("/api/2.0/mlflow/runs/log-metric", json=point).json() == {}
for tick in ticks(Path(sys.argv[1])):
    tick.run(ws)
heavy = {"duckdb", "pyarrow", "numpy", "jinja2", "lmdb", "sqlglot"} & sys.modules.keys()
assert not heavy, heavy
assert client.get("/api/bascule/v1/runs").json()["runs"][0]["id"] == made
assert "duckdb" in sys.modules
"""


DEPLOYED = """
import sys
from bascule.history import Workspace
from bascule.web import at_hand

ws, tick = Workspace.create(sys.argv[1]), at_hand()
tick.run(ws)
assert not {"bascule.server.native", "bascule.web.app"} & sys.modules.keys()
ws.history.commit("main", {"deployments/d": {"name": "d"}}, message="Deploy")
tick.run(ws)
assert {"bascule.server.native", "bascule.web.app"} <= sys.modules.keys()
"""


def test_where_something_is_deployed_a_rollback_waits_for_no_loading(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DEPLOYED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_tracking_and_an_idle_scheduler_load_no_engine(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", STARTED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_rest_answers_as_if_it_had_been_there(local_workspace: Workspace) -> None:
    with TestClient(create_early_app(local_workspace, ServerSettings()), base_url="http://127.0.0.1") as client:
        assert "<!doctype html>" in client.get("/runs", headers={"accept": "text/html"}).text.lower()
        assert client.get("/nothing/here").status_code == 404
        assert client.post("/health", json={}).status_code == 405
        assert client.get("/metrics").text.startswith("# HELP")
        assert client.get("/api/openapi.json").json()["paths"]["/health"]
        assert client.get("/runs", headers={"host": "evil.example"}).status_code == 421
    with pytest.raises(EnvironmentProblem, match="no token"):
        create_early_app(local_workspace, ServerSettings(host="0.0.0.0"))


def test_a_job_that_waits_is_run(local_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sqlalchemy import insert

    from bascule.catalog.schema import jobs
    from bascule.server import jobs as running

    asked: list[Workspace] = []
    monkeypatch.setattr(running.JobRunner, "run", lambda self, ws: asked.append(ws))
    (tick,) = (one for one in ticks(tmp_path) if one.name == "jobs")
    tick.run(local_workspace)
    assert not asked
    row = {"id": "job_1", "kind": "retrain", "branch": "main", "status": "waiting", "reason": "r", "created_at": 1}
    with local_workspace.catalog.write() as conn:
        given = {c.name: row.get(c.name, "{}" if c.name.endswith("json") else "x") for c in jobs.c if not c.nullable}
        conn.execute(insert(jobs).values(**given))
    tick.run(local_workspace)
    assert asked == [local_workspace]
