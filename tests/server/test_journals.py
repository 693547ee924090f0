"""Journals that come over HTTP: kept while the server is down, brought in once when it answers."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
import uvicorn

import bascule
from bascule.errors import EnvironmentProblem
from bascule.history import Workspace
from bascule.server import ServerSettings, create_app
from bascule.server.ports import listen
from bascule.store import digest_of
from bascule.tracking import restore_code
from bascule.tracking.ambient.gathering import Batch
from bascule.tracking.ambient.sending import Piece, ServerTarget
from bascule.tracking.ambient.session import Header
from bascule.tracking.ambient.told import Told
from bascule.tracking.reading import read_run
from tests.server.conftest import Serve

SCRIPT = """
import math, sys, bascule
run = bascule.active_run()
run.log(loss=0.5, nan=math.nan)
run.text("notes/ä.txt", "kept")
with bascule.run("below", experiment="other") as below:
    below.artifact(b"12", "two.bin")
sys.exit(4)
"""
API = "/api/bascule/v1/journals"


@contextmanager
def served(workspace: Workspace) -> Iterator[str]:
    sockets = [listen("127.0.0.1", 0)]
    server = uvicorn.Server(uvicorn.Config(create_app(workspace, ServerSettings()), log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets})
    thread.start()
    yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


@pytest.mark.slow
def test_what_is_tracked_while_the_server_is_down_comes_when_it_is_up(
    local_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "bascule.toml").write_text('[project]\nname = "x"\n')
    (folder / "train.py").write_text(SCRIPT)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("BASCULE_BRANCH", "main")
    monkeypatch.setenv("BASCULE_WORKSPACE", "http://127.0.0.1:9")
    monkeypatch.chdir(folder)
    command = [sys.executable, "-m", "bascule", "track", "--json", sys.executable, "train.py"]
    tracked = subprocess.run(command, capture_output=True, env={**os.environ}, check=False, timeout=60)
    assert tracked.returncode == 4, tracked.stderr
    told = msgspec.json.decode(tracked.stdout)
    assert "does not answer" in told["problem"]
    assert (tmp_path / "state") in Path(told["journal"]).parents
    assert [one.status for one in bascule.sync()] == ["kept"]
    (folder / "train.py").write_text("pass")
    with served(local_workspace) as url:
        monkeypatch.setenv("BASCULE_WORKSPACE", url)
        target = ServerTarget(url)
        assert [one.status for one in bascule.sync([told["journal"]])] == ["done"]
        assert bascule.sync() == []
        header = Header(session="s", run="r", name="n", command=[], folder="", started_at=1)
        with pytest.raises(EnvironmentProblem, match="is no run's id"):
            target.take(header, Batch(told={"../x": Told("../x")}))
    found = read_run(local_workspace, told["run_id"])
    assert (found["run"]["status"], found["run"]["branch"]) == ("failed", "main")
    assert found["metrics"]["loss"] == 0.5
    assert repr(found["metrics"]["nan"]) == "nan"
    assert found["outputs"] == {"artifacts/notes/ä.txt": digest_of(b"kept")}
    kept = [path.relative_to(local_workspace.folder) for path in (local_workspace.folder / "artifacts").rglob("*.*")]
    assert {path.name for path in kept} == {"ä.txt", "two.bin"}
    restore_code(found["run"]["code_snapshot"], local_workspace.store, tmp_path / "restored")
    assert (tmp_path / "restored" / "train.py").read_text() == SCRIPT


def test_a_sender_cannot_name_files_of_the_server(local_workspace: Workspace, serve: Serve, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    client = serve(local_workspace)
    header = Header(session="ses_1", run="run_1", name="n", command=["x"], folder="/", started_at=1)
    told = Told("run_1", blobs={digest_of(b"secret"): str(secret)}, artifacts={"a.txt": str(secret)})
    body = msgspec.msgpack.encode(Piece(header, Batch({"p": 0}, {"p": 9}, {"run_1": told}), None))
    assert client.post(f"{API}/take", content=body).json() == {"taken": {"p": 9}, "finished": False}
    assert client.post(f"{API}/take", content=body).status_code == 409
    assert not local_workspace.store.has(digest_of(b"secret"))
    assert not (local_workspace.folder / "artifacts").exists()
    assert client.put(f"{API}/blobs/{'0' * 64}", content=b"x").status_code == 400
    assert client.put(f"{API}/blobs/{digest_of(b'x')}", content=b"x").json() == {"bytes": 1}
    for bad in (b"", b"\xc1", msgspec.msgpack.encode({"header": 1})):
        assert client.post(f"{API}/begin", content=bad).status_code == 400
    assert client.post(f"{API}/missing", content=msgspec.msgpack.encode(["../x", "1" * 64])).json() == ["1" * 64]
