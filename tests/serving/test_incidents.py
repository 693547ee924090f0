"""What breaks a version: it is isolated, named by every way of asking, kept after the server's end, and bounded."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from bascule.catalog.schema import incidents as table
from bascule.cli.main import run
from bascule.errors import InputError
from bascule.history import Workspace
from bascule.project import overview
from bascule.project.overview import status
from bascule.project.place import Place
from bascule.serving import DataPlane, incidents
from bascule.serving.case import CRASHED, FAILED, HUNG, UNLOADABLE, Case
from bascule.serving.incidents import Incidents
from bascule.serving.loading import Loader
from bascule.serving.workers.child import StepFailed, WorkerGone
from tests.protocols.openinference.conftest import Served, serving, worker
from tests.serving.conftest import bundle_bytes, put_deployment, put_versions
from tests.serving.test_dataplane import eventually

STEPS = b"""
import ctypes, os, signal, socket, subprocess, sys, time

def after(rows, outputs):
    link, kind = int(sys.argv[1]), rows[0]["carrier"]
    if kind == "segv": ctypes.string_at(0)
    if kind == "exit": os._exit(7)
    if kind == "fork":
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], pass_fds=[link])
        os._exit(7)
    if kind == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(300)
    if kind == "leak": kept = bytearray(b"x") * 1_000_000_000
    if kind == "closes":
        os.close(link)
        time.sleep(300)
    if kind == "garbage":
        os.write(link, b"\\xff" * 64)
        time.sleep(300)
    if kind == "part":
        os.write(link, (1 << 32).to_bytes(8, "little") + b"x")
        time.sleep(300)
    if kind == "shape": return [[1.0, 2.0]]
    if kind == "texts": return ["Ann Smith" for _ in rows]
    if kind == "words": raise KeyError("Ann Smith")
    return outputs
"""
ROW = {"distance": 500.0, "hour": 3, "night": True, "carrier": "AA"}
BREAKS = [
    ("segv", 500, CRASHED, "its worker was ended by SIGSEGV"),
    ("exit", 500, CRASHED, "its worker ended with code 7"),
    ("fork", 500, CRASHED, "its worker ended with code 7"),
    ("hang", 504, HUNG, "its worker did not answer in 3 s and was ended"),
    ("leak", 500, "grew", "its worker took more than 600,000,000 bytes of memory and was ended"),
    ("closes", 500, CRASHED, "its worker closed its end and was ended"),
    ("garbage", 500, CRASHED, "its worker answered what is no message and was ended"),
    ("part", 504, HUNG, "its worker did not take the rows, or did not finish its answer, and was ended"),
    ("shape", 500, FAILED, "the step 'steps:after' answered the shape [1, 2]; asked is the shape [1]"),
    ("texts", 500, FAILED, "the step 'steps:after' answered what are no numbers"),
    ("words", 500, FAILED, "the step 'steps:after' failed: KeyError"),
]


def put_steps(ws: Workspace, name: str, code: bytes, service: dict[str, Any]) -> None:
    """Deploy a model of its own with a step after it."""
    put_versions(ws, {1: bundle_bytes(seed=0)}, model=name)
    put_deployment(ws, {1: 100}, name=name, model=name)
    model, deployment = ws.history.get("main", f"models/{name}"), ws.history.get("main", f"deployments/{name}")
    held = ws.store.put(msgspec.msgpack.encode({"steps.py": code}))
    entry = {**model["versions"]["1"], "graph": {"after": "steps:after", "code": held}}
    changed = {
        f"models/{name}": {**model, "versions": {"1": entry}},
        f"deployments/{name}": {**deployment, "service": service},
    }
    ws.history.commit("main", changed, message="Steps")


def rows_of(ws: Workspace) -> list[Any]:
    with ws.catalog.read() as conn:
        return list(conn.execute(select(table).order_by(table.c.model, table.c.kind)))


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    with closing(Workspace.create(tmp_path)) as made:
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with closing(Workspace.create(tmp_path_factory.mktemp("broken"))) as ws:
        put_steps(ws, "steps", STEPS, {"workers": 1, "timeout": 3.0, "memory": 300_000_000})
        with serving(ws) as made:
            yield made


@pytest.mark.slow
@pytest.mark.parametrize(("how", "code", "kind", "said"), BREAKS)
def test_whatever_a_model_does_is_isolated_named_and_counted(
    server: Served, how: str, code: int, kind: str, said: str
) -> None:
    lane = server.plane.state().deployments["steps"].models[1].lane  # type: ignore[union-attr]
    assert lane is not None

    def counted() -> dict[str, Any]:
        (found,) = server.ask("/v2/models/steps/stats")["model_stats"]
        return {one["kind"]: one for one in found["incidents"]}

    def predict(carrier: str) -> tuple[int, bytes]:
        found = server.request("/v2/models/steps/predict", {"instances": [{**ROW, "carrier": carrier}]})
        return found[0], found[2]

    before, restarts, began = counted(), lane.restarts, time.monotonic()
    assert predict(how)[0] == code
    assert time.monotonic() - began < 5  # nothing waits for what is gone
    assert lane.restarts == restarts + (kind != FAILED)
    eventually(lambda: predict("AA")[0] == 200)
    found = counted()[kind]
    assert (found["count"], found["reason"]) == (before.get(kind, {"count": 0})["count"] + 1, said)
    assert f'kind="{kind}"}} {found["count"]}' in server.request("/metrics")[2].decode()
    kept = lambda: [(row.times, row.text) for row in rows_of(server.workspace) if row.kind == kind]  # noqa: E731
    eventually(lambda: kept() == [(found["count"], said)])
    told = status(Place(server.workspace.folder.parent)).as_dict()
    assert (kind, said) in [(one["kind"], one["text"]) for one in told["incidents"]["steps"]]


@pytest.mark.slow
def test_status_names_what_broke_after_its_server_was_killed_and_says_what_to_do(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    put_steps(workspace, "delays", STEPS, {"workers": 1, "timeout": 3.0})
    put_steps(workspace, "broken", b"raise ImportError('no libfoo')", {"workers": 1})
    with worker(workspace.folder) as made:
        served = Served(workspace, None, made.port, 0)  # type: ignore[arg-type]
        served.request("/v2/models/delays/predict", {"instances": [{**ROW, "carrier": "segv"}]})
        eventually(lambda: len(rows_of(workspace)) == 2)
        made.stop(signal.SIGKILL)
    monkeypatch.chdir(workspace.folder.parent)
    assert run(["status"]) == 0
    text = capsys.readouterr().out
    assert "version 1 crashed once, last " in text
    assert "its worker was ended by SIGSEGV; restarted" in text
    assert 'and score is null" (the requests)' in text
    assert "version 1 was not loaded " in text
    assert "ImportError: no libfoo; out of service, and tried again" in text
    assert "Next: bascule doctor (what is missing)" in text
    assert run(["deployment", "show", "delays"]) == 0
    assert "version 1 crashed once" in capsys.readouterr().out
    assert run(["sql", "select kind, times from incidents where model = 'delays'", "--json"]) == 0
    assert '"crashed"' in capsys.readouterr().out


def test_a_loop_of_crashes_is_one_row_that_grows_and_what_is_mended_says_so(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(incidents, "PAUSE_S", 0.01)
    monkeypatch.setattr(incidents, "AGAIN_S", 0.01)
    here = Incidents(workspace)
    case = here.case("delays", 1, "a" * 64)
    assert here.case("delays", 1, "a" * 64) is case
    for _ in range(500):
        case.note(CRASHED, "its worker was ended by SIGSEGV")
    case.note(UNLOADABLE, "x" * 10_000)
    here.close()
    crashed, unloadable = rows_of(workspace)
    assert (crashed.times, crashed.kind, unloadable.times, len(unloadable.text)) == (500, CRASHED, 1, 300)
    assert crashed.first_at <= crashed.last_at

    later = Incidents(workspace)  # another process, which the catalog is away from for a while
    case = later.case("delays", 1, "a" * 64)
    refused = {"left": 3}
    write = type(workspace.catalog).write

    def full(self: Any) -> Any:
        if refused["left"]:
            refused["left"] -= 1
            raise OSError(28, "No space left on device")
        return write(self)

    monkeypatch.setattr(type(workspace.catalog), "write", full)
    case.note(CRASHED, "its worker ended with code 3")
    case.over(UNLOADABLE)
    eventually(lambda: rows_of(workspace)[0].times == 501)
    later.close()
    crashed, unloadable = rows_of(workspace)
    assert (crashed.text, crashed.over_at) == ("its worker ended with code 3", None)
    assert unloadable.over_at is not None
    assert capfd.readouterr().err.count("incidents cannot be written") == 1
    assert case.happenings().keys() == {CRASHED}  # what this process has seen


def test_what_cannot_be_loaded_is_noted_until_it_is(workspace: Workspace) -> None:
    ledger = Incidents(workspace)
    put_versions(workspace, {1: bundle_bytes(seed=0)})
    artifact = str(workspace.history.get("main", "models/delays")["versions"]["1"]["artifact"])
    wrong = workspace.store.put(b"no bundle")
    loader = Loader(workspace, lambda _: lambda _: None, ledger)
    with pytest.raises(InputError):
        loader.load("delays", 1, wrong)
    loader.load("delays", 1, artifact)
    ledger.close()
    (row,) = rows_of(workspace)
    assert (row.kind, row.artifact, row.over_at) == (UNLOADABLE, wrong, None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "said"),
    [
        (b"import time\ntime.sleep(300)", "its worker did not answer in 2 s and was ended"),
        (b"import os\nos._exit(9)", "its worker ended with code 9"),
        (b"raise ImportError('no libfoo')", "ImportError: no libfoo"),
    ],
)
def test_a_version_that_hangs_or_ends_while_it_is_loaded_is_named(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, code: bytes, said: str
) -> None:
    monkeypatch.setattr("bascule.serving.workers.child.LOAD_S", 2.0)
    put_steps(workspace, "delays", code, {"workers": 1})
    plane = DataPlane(workspace)
    assert "cannot be loaded" in plane.open("main").deployments["delays"].problem
    plane.stop()
    (found,) = status(Place(workspace.folder.parent)).incidents["delays"]
    assert (found.kind, found.open, found.done) == (UNLOADABLE, True, "out of service, and tried again")
    assert said in found.text


def test_the_words_of_a_failure_are_not_kept_for_they_may_quote_rows() -> None:
    case = Case()
    for error, told in (
        (ValueError("Ann Smith"), "ValueError"),
        (StepFailed("the step 'a:b' failed: KeyError: 'Ann Smith'"), "the step 'a:b' failed: KeyError"),
        (
            RuntimeError("it answered the shape [2]; asked is [1]"),
            "RuntimeError: it answered the shape [2]; asked is [1]",
        ),
        (StepFailed("the step 'a:b' answered ['Ann']; asked is 1"), "the step 'a:b' answered what are no numbers"),
        (StepFailed("Ann Smith is no number"), "it failed"),
    ):
        case.failed(error)
        assert case.happenings()[FAILED].text == told
    case.failed(WorkerGone("its worker ended with code 3"))  # noted by who lost it
    assert case.happenings()[FAILED].count == 5


def test_a_worker_that_somebody_kills_costs_no_careful_time(server: Served) -> None:
    lane = server.plane.state().deployments["steps"].models[1].lane  # type: ignore[union-attr]
    assert lane is not None
    lane._patience._careful_until = 0.0
    (pid,) = lane.pids
    os.kill(pid, signal.SIGKILL)
    assert server.request("/v2/models/steps/predict", {"instances": [ROW]})[0] == 200  # by another one
    assert not lane._patience.careful


@pytest.mark.parametrize(
    ("trail", "said"),
    [
        ([], None),
        ([{"traffic": []}], "rollback deployments/delays (out of service: there is no version before)"),
        ([{"traffic": [{"version": 1, "weight": 100}]}], "rollback deployments/delays (the version before)"),
    ],
)
def test_status_says_where_a_rollback_of_what_broke_leads(
    workspace: Workspace, trail: list[dict[str, Any]], said: str | None
) -> None:
    deployment = {"name": "delays", "rollout": None, "trail": trail}
    broke = incidents.Incident("delays", 1, CRASHED, 1, "SIGSEGV", 0, 0, None, "restarted")
    found = overview._mend(Place(workspace.folder.parent), deployment, [broke])
    assert ("rollback" in found) is (said is not None)
    assert (said or "") in found
