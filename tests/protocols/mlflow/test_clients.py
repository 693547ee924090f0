"""MLflow's own clients, unmodified, in environments of their own: the newest and one from before version 3."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from bascule.history import Workspace
from bascule.lake import Session
from bascule.server import ServerSettings
from bascule.server.app import create_app
from bascule.server.ports import listen

pytestmark = pytest.mark.slow
STORY = Path(__file__).with_name("client_story.py")


@pytest.fixture(scope="session", params=["3.17.2", "2.22.4"])
def python(request: pytest.FixtureRequest, pytestconfig: pytest.Config) -> Path:
    """The Python of an environment with a release of the client."""
    assert pytestconfig.cache is not None
    release = str(request.param)
    folder = pytestconfig.cache.mkdir("mlflow-client") / release
    found, done = folder / "bin" / "python", folder / "done"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]
        made = subprocess.run(
            [*pip, f"mlflow-skinny=={release}"], capture_output=True, text=True, timeout=250, check=False
        )
        if made.returncode:
            pytest.skip(f"MLflow's client {release} cannot be installed: {made.stderr[-300:]}")
        done.touch()
    return found


@pytest.fixture
def address(local_workspace: Workspace) -> Iterator[str]:
    """The address of a server that answers on a socket."""
    sockets = [listen("127.0.0.1", 0)]
    app = create_app(local_workspace, ServerSettings())
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets})
    thread.start()
    yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


@pytest.mark.parametrize("branch", ["", "dev"])
def test_a_client_tells_its_story(python: Path, address: str, branch: str, local_workspace: Workspace) -> None:
    if branch:
        local_workspace.history.create_branch(branch)
    url = f"{address}/branch/{branch}" if branch else address
    environment = {**os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "PYTHONWARNINGS": "ignore"}
    environment.pop("PYTHONPATH", None)
    done = subprocess.run(
        [python, STORY, url], capture_output=True, text=True, timeout=200, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout.strip().splitlines()[-1])
    assert told == {
        "metrics": {"loss": str(1 / 3), "nan": "nan", "auc": "0.9"},
        "params": {"rate": "0.1", "deep": "True"},
        "status": "FINISHED",
        "history": [[0, 1.0], [1, 0.5], [2, 1 / 3]],
        "artifacts": ["model", "notes"],
        "text": "hello",
        "found": ["first", "child"],
        "version": "1",
        "uri": "model",
        "refused": "INVALID_PARAMETER_VALUE",
    }
    with Session(local_workspace, branch or "main") as session:
        assert set(session.arrow("select branch from runs")["branch"].to_pylist()) == {branch or "main"}
    assert local_workspace.history.digest(branch or "main", "models/story") is not None
    assert not branch or local_workspace.history.digest("main", "models/story") is None
