"""MLflow's own clients, unmodified, in environments of their own: the newest and one from before version 3."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import uvicorn

from bascule.history import Workspace
from bascule.lake import Session
from bascule.protocols.mlflow.importing import open_source, take
from bascule.registry import register
from bascule.server import ServerSettings
from bascule.server.app import create_app
from bascule.server.ports import listen
from bascule.training import unpack_model
from tests.environments import python_with, variables
from tests.protocols.mlflow.test_exporting import packed_model

pytestmark = pytest.mark.slow
STORY = Path(__file__).with_name("client_story.py")


NEWEST = "3.18.0"
RELEASES = (NEWEST, "3.17.2", "2.22.4")


@pytest.fixture(scope="session")
def newest(pytestconfig: pytest.Config) -> Path:
    """The Python of an environment with the newest client."""
    return client(pytestconfig, NEWEST)


# The whole of 3.18 is on PyPI, its parts are not: it runs on those of the release before. And what the newest client
# needs besides to keep a database of its own, and to load models.
PARTS = {NEWEST: "3.17.2"}
MORE = {NEWEST: ["alembic", "pandas", "sqlalchemy"]}


def client(pytestconfig: pytest.Config, release: str) -> Path:
    """Return the Python of an environment with a release of the client."""
    only = ("--only-binary", ":all:")
    installs = [(*only, f"mlflow-skinny=={PARTS.get(release, release)}", *MORE.get(release, ()))]
    if release in PARTS:
        installs.append((*only, "--no-deps", f"mlflow=={release}"))
    return python_with(pytestconfig, f"mlflow-{release}", *installs)


def tell(python: Path, story: Path, *arguments: str, cwd: Path | None = None, **more: str) -> Any:
    """Run a story in an environment, and return what it told."""
    environment = variables(MLFLOW_HTTP_REQUEST_MAX_RETRIES="1", PYTHONWARNINGS="ignore", **more)
    command = [python, story, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, env=environment, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.fixture
def address(local_workspace: Workspace) -> Iterator[str]:
    """The address of a server that answers on a socket."""
    with served(local_workspace) as found:
        yield found


@contextmanager
def served(workspace: Workspace) -> Iterator[str]:
    """Serve a workspace while the block lasts; gives the address."""
    sockets = [listen("127.0.0.1", 0)]
    app = create_app(workspace, ServerSettings())
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": sockets})
    thread.start()
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.mark.parametrize(("release", "branch"), [*((one, "") for one in RELEASES), (NEWEST, "dev")])
def test_a_client_tells_its_story(
    pytestconfig: pytest.Config, release: str, address: str, branch: str, local_workspace: Workspace
) -> None:
    python = client(pytestconfig, release)
    if branch:
        local_workspace.history.create_branch(branch)
    url = f"{address}/branch/{branch}" if branch else address
    names = ("UPLOAD_MINIMUM_FILE", "UPLOAD_CHUNK", "DOWNLOAD_MINIMUM_FILE", "DOWNLOAD_CHUNK")
    told = tell(python, STORY, url, **{f"MLFLOW_MULTIPART_{name}_SIZE": "6000000" for name in names})
    sent = {one.name for one in (local_workspace.folder / "artifacts.tmp" / "parts").glob("*/done")}
    assert len(sent) == (1 if told.pop("parts") else 0)
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
        "same": True,
    }
    with Session(local_workspace, branch or "main") as session:
        assert set(session.arrow("select branch from runs")["branch"].to_pylist()) == {branch or "main"}
    assert local_workspace.history.digest(branch or "main", "models/story") is not None
    assert not branch or local_workspace.history.digest("main", "models/story") is None


def test_a_program_is_traced_and_read_back(newest: Path, address: str, local_workspace: Workspace) -> None:
    local_workspace.history.create_branch("dev")
    told = tell(newest, STORY.with_name("trace_story.py"), f"{address}/branch/dev")
    by = told.pop("by")
    why, alone = "{'question': 'why'}", "{'question': 'alone'}"
    assert told == {
        "said": "WHY",
        "state": "OK",
        "preview": ['{"question": "why"}', '"WHY"'],
        "spans": [
            ["answer", "UNKNOWN", {"question": "why"}, "WHY"],
            ["look_up", "TOOL", {"word": "why"}, {"word": "why", "found": [1, 2.5, None, True], "ünï": "ç"}],
        ],
        "depth": 2,
        "client": "c-1",
        "release": "7",
        "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
        "place": "TRACKING_STORE",
        "tags": {"stage": None, "kept": "yes"},
        "assessments": [["good", "4.5"], ["right", "{'a': 1}"]],
        "rationale": "short",
        "error": ["exception"],
        "linked": 2,
        "page": [alone, why],
        "deleted": 1,
        "left": [alone, why],
    }
    mine = {text for text, found in by.items() if found == [why]}
    assert mine == {"text ILIKE '%WHY%'", "tag.kept RLIKE '^y.s$'", "feedback.good > 4", "feedback.good IS NOT NULL"}
    assert by["name LIKE 'ans%' AND tag.kept IS NULL"] == [alone]
    assert by["execution_time_ms >= 0 AND timestamp_ms > 0"] == [alone, why, "{}"]
    rest = by.keys() - mine - {"name LIKE 'ans%' AND tag.kept IS NULL", "execution_time_ms >= 0 AND timestamp_ms > 0"}
    assert {text: by[text] for text in rest} == {text: [alone, why] for text in rest}
    with Session(local_workspace) as session:
        assert session.arrow("select distinct branch from traces")["branch"].to_pylist() == ["dev"]


def test_what_is_imported_is_read_back_equal(newest: Path, tmp_path: Path) -> None:
    database, folder = f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "files" / "mlruns"
    story, told = STORY.with_name("import_story.py"), {"MLFLOW_ALLOW_FILE_STORE": "true"}
    tell(newest, story, "write", database, folder.as_uri(), cwd=tmp_path, **told)
    with ExitStack() as stack:
        addresses, places = [], (database, str(folder))
        for place in (*places, ""):  # the last from the server of the first
            workspace = Workspace.create(tmp_path / f"to-{len(addresses)}")
            stack.callback(workspace.close)
            source = stack.enter_context(closing(open_source(place or addresses[0])))
            done = take(workspace, source, "main", author="ana")
            assert (done.experiments, done.runs, done.models, done.registered, done.versions) == (2, 4, 1, 2, 2)
            assert (done.points, done.conflicts, done.left, done.files >= 4) == (35, [], [], True)
            addresses.append(stack.enter_context(served(workspace)))
        of_database, of_folder, *found = tell(newest, story, "read", database, folder.as_uri(), *addresses, **told)
    for run in of_folder["runs"].values():  # the client reads the step of such a point as 0 from a folder
        run["histories"] |= {"auc": [[1, 7000, 0.9]]} if "auc" in run["histories"] else {}
    assert found == [of_database, of_folder, of_database]


def test_a_model_of_ours_is_loaded_without_us(newest: Path, address: str, local_workspace: Workspace) -> None:
    packed = packed_model()
    digest = local_workspace.store.put(packed)
    bundle = unpack_model(packed)
    register(
        local_workspace,
        "main",
        "delays",
        artifact=digest,
        format=bundle.format,
        signature=bundle.signature.as_dict(),
        training_set="t",
        evaluation={"passed": True, "gates": []},
        alias="production",
    )
    rows = {"late": [3, None, 7], "carrier": ["UA", "new", None], "far": [0.5, 2.5, None], "spare": [1, 2, 3]}
    told = tell(newest, STORY.with_name("load_story.py"), address, "delays", json.dumps(rows))
    wanted = bundle.predict(pa.table(rows)).tolist()
    assert told == {
        "predicted": wanted,
        "of_integers": wanted[:1],
        "inputs": {"late": "Any", "carrier": "DataType.string", "far": "DataType.double"},
        "refused": True,
        "imports": ["bascule_pyfunc"],
        "source": f"bascule:{digest}",
    }
