"""Importing: conflicts, interruptions, and sources that are damaged or lie."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.testclient import TestClient

from bascule.errors import BasculeError, EnvironmentProblem, InputError
from bascule.history import Workspace
from bascule.lake import Session
from bascule.protocols.mlflow.importing import Imported, open_source, take
from bascule.protocols.mlflow.importing.records import File, Run
from bascule.protocols.mlflow.otlp import span_of_server
from bascule.registry import list_models
from bascule.server import ServerSettings
from bascule.server.app import create_app
from bascule.tracking import experiments as kept
from bascule.tracking.tracker import Tracker
from tests.protocols.mlflow.conftest import Api
from tests.protocols.mlflow.test_clients import served
from tests.protocols.mlflow.test_traces import document, info, send, span

WIDE = 330694743563019706


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def mlruns(tmp_path: Path) -> Path:
    """A folder as MLflow writes it: one experiment with two runs, and a registered model."""
    root = tmp_path / "mlruns"
    write(root / "0" / "meta.yaml", "experiment_id: '0'\nname: Default\nlifecycle_stage: active\n")
    write(root / f"{WIDE}" / "meta.yaml", f"experiment_id: '{WIDE}'\nname: trees\nlifecycle_stage: active\n")
    for run in ("a" * 32, "b" * 32):
        place = root / f"{WIDE}" / run
        meta = f"run_id: {run}\nrun_name: r\nstatus: 3\nstart_time: 1000\nend_time: 2000\nlifecycle_stage: active\n"
        write(place / "meta.yaml", meta + f"artifact_uri: file:///elsewhere/{run}/artifacts\n")
        write(place / "metrics" / "auc", "1000 0.5 0\n1001 0.6 1\n1001 0.6 1\nnot a point\n")
        write(place / "params" / "deep" / "rate", "0.1")
        write(place / "artifacts" / "model" / "MLmodel", "flavors: {}\n")
    models = root / "models" / "clf"
    write(models / "meta.yaml", "name: clf\ncreation_timestamp: 1000\nlast_updated_timestamp: 1000\n")
    source = f"file:///elsewhere/{'a' * 32}/artifacts/model"
    version = f"version: 3\ncurrent_stage: Staging\nrun_id: {'a' * 32}\nsource: {source}\n"
    write(models / "version-3" / "meta.yaml", version)
    write(models / "aliases" / "champion", "3")
    write(models / "aliases" / "latest", "3")
    return root


def bring(workspace: Workspace, source: Path | str, **more: Any) -> Imported:
    found = open_source(str(source))
    try:
        return take(workspace, found, "main", author="ana", **more)
    finally:
        found.close()


def rows(workspace: Workspace, query: str) -> list[dict[str, Any]]:
    with Session(workspace) as session:
        return session.arrow(query).to_pylist()


def test_a_folder_is_brought_once_on_each_database(workspace: Workspace, mlruns: Path) -> None:
    planned = bring(workspace, mlruns.parent, dry_run=True)
    assert (planned.experiments, planned.runs, planned.files, planned.versions) == (1, 2, 2, 1)
    assert rows(workspace, "select * from runs") == []
    done = bring(workspace, mlruns.parent)
    assert (done.experiments, done.runs, done.points, done.files, done.registered) == (1, 2, 6, 2, 1)
    assert [(one.what, one.count) for one in done.left] == [("lines of metrics that cannot be read", 2)]
    again = bring(workspace, mlruns)
    assert (again.runs, again.files, again.here, again.registered, again.conflicts) == (0, 0, 2, 0, [])
    found = rows(
        workspace,
        "select r.experiment_id, r.status, count(*) n from runs r join metrics m on m.run_id = r.id group by all",
    )
    assert found == [{"experiment_id": WIDE, "status": "done", "n": 4}]
    model = workspace.history.read("main", "models/clf")
    assert model is not None
    assert model["versions"]["3"]["artifact"] == f"mlflow-artifacts:/{WIDE}/{'a' * 32}/artifacts/model"
    assert model["aliases"] == {"champion": 3}
    # A new experiment is counted on from there, and a run that goes on there is followed.
    assert kept.create_experiment(Tracker(workspace), "next").id == WIDE + 1
    meta = mlruns / f"{WIDE}" / ("b" * 32) / "meta.yaml"
    meta.write_text(meta.read_text().replace("status: 3", "status: 4"))
    write(meta.parent / "metrics" / "auc", "1000 0.5 0\n1002 0.7 2\n")
    assert bring(workspace, mlruns).here == 1
    found = rows(
        workspace,
        "select r.status, count(*) n from runs r join metrics m on m.run_id = r.id "
        f"where r.id = '{'b' * 32}' group by all",
    )
    assert found == [{"status": "failed", "n": 3}]


def test_conflicts_are_told_before_anything_is_written(local_workspace: Workspace, mlruns: Path) -> None:
    mine = kept.create_experiment(Tracker(local_workspace), "trees").id
    with pytest.raises(InputError, match=f"'trees' has the number {WIDE} there and {mine} here"):
        bring(local_workspace, mlruns)
    assert rows(local_workspace, "select * from runs") == []
    assert bring(local_workspace, mlruns, dry_run=True).conflicts
    skipped = bring(local_workspace, mlruns, conflicts="skip")
    assert skipped.runs == 0
    assert {one.what for one in skipped.left} >= {"experiments", "files of versions"}
    for _ in range(2):
        merged = bring(local_workspace, mlruns, conflicts="merge")
    assert merged.here == 2
    assert {row["experiment_id"] for row in rows(local_workspace, "select experiment_id from runs")} == {mine}
    # A number that another experiment has: the one that comes gets a new one.
    shutil.move(mlruns / f"{WIDE}", mlruns / f"{mine}")
    text = f"experiment_id: '{mine}'\nname: other\nlifecycle_stage: active\n"
    write(mlruns / f"{mine}" / "meta.yaml", text)
    told = bring(local_workspace, mlruns, conflicts="merge")
    assert len(told.conflicts) == 4  # the number, both runs, and the version whose place is another one now
    assert {one["name"] for one in rows(local_workspace, "select name from experiments")} == {
        "Default",
        "trees",
        "other",
    }


def test_an_interrupted_import_shows_nothing_half_and_goes_on(local_workspace: Workspace, mlruns: Path) -> None:
    source = open_source(str(mlruns))

    class Broken:
        """A source that breaks off when the second run's file is read."""

        def __getattr__(self, name: str) -> Any:
            return getattr(source, name)

        def files(self, owner: Run) -> Iterator[File]:
            if owner.id.startswith("b"):
                raise KeyboardInterrupt
            return source.files(owner)

    with pytest.raises(KeyboardInterrupt):
        take(local_workspace, Broken(), "main", author="ana")  # type: ignore[arg-type]
    assert [row["id"][0] for row in rows(local_workspace, "select id from runs")] == ["a"]
    done = bring(local_workspace, mlruns)
    assert (done.runs, done.here, done.registered) == (1, 1, 1)
    assert len(rows(local_workspace, "select * from metrics")) == 4


def test_a_source_that_lies_reaches_nothing(local_workspace: Workspace, mlruns: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    write(secret / "key", "s")
    run = mlruns / f"{WIDE}" / ("a" * 32)
    (run / "artifacts" / "link").symlink_to(secret / "key")
    (run / "params" / "stolen").symlink_to(secret / "key")
    shutil.copytree(run, run.parent / "evil", symlinks=True)
    evil = (run.parent / "evil" / "meta.yaml").read_text().replace("a" * 32, "../../x", 1)
    write(run.parent / "evil" / "meta.yaml", evil)
    # Files elsewhere: with this run's own folder gone, its address leads out of what was named.
    shutil.rmtree(run.parent / ("b" * 32) / "artifacts")
    place = run.parent / ("b" * 32) / "meta.yaml"
    write(place, place.read_text().replace("/elsewhere", str(secret.parent)).replace("b" * 32 + "/artifacts", "secret"))
    write(mlruns / "models" / "e" / "meta.yaml", "name: ../../e\n")
    done = bring(local_workspace, mlruns)
    assert {one.what for one in done.left} >= {"runs", "artifacts", "registered models"}
    assert rows(local_workspace, "select key from params where key = 'stolen'") == []
    assert not [one for one in (tmp_path / "project").rglob("*") if one.is_file() and one.read_bytes() == b"s"]


def test_a_version_that_is_bad_is_named_and_the_others_are_taken(local_workspace: Workspace, mlruns: Path) -> None:
    models = mlruns / "models" / "clf"
    good = (models / "version-3" / "meta.yaml").read_text()
    write(models / "version-4" / "meta.yaml", "version: [")
    write(models / "version-5" / "meta.yaml", good.replace("version: 3\n", ""))
    write(models / "version-6" / "meta.yaml", good.replace("version: 3", "version: 6").replace("/model", "/../../x"))
    write(models / "version-7" / "meta.yaml", good.replace("version: 3", f"version: {2**40}"))
    write(models / "version-8" / "meta.yaml", good.replace("version: 3", "version: 8"))
    write(models / "aliases" / "odd", "6")
    done = bring(local_workspace, mlruns)
    assert (done.registered, done.versions) == (1, 2)
    assert list_models(local_workspace, "main")[0].versions == (8, 3)
    left = {name: one.why for one in done.left for name in one.names if "version" in one.what or one.what == "aliases"}
    assert sorted(left) == [f"clf version {2**40}", "clf version 6", "clf version-4", "clf version-5", "clf@odd"]
    assert "cannot be read" in left["clf version-4"]
    assert "version" in left["clf version-5"]
    assert "Invalid path" in left["clf version 6"]


def test_links_that_lead_out_of_the_folder_are_passed_over_with_a_word(
    local_workspace: Workspace, mlruns: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    run = mlruns / f"{WIDE}" / ("a" * 32)
    shutil.copytree(run, outside / "run")
    write(outside / "run" / "meta.yaml", (run / "meta.yaml").read_text().replace("a" * 32, "c" * 32))
    write(outside / "run" / "artifacts" / "key", "secret")
    (run.parent / ("c" * 32)).symlink_to(outside / "run")
    shutil.copytree(mlruns / "0", outside / "experiment")
    write(outside / "experiment" / "meta.yaml", "experiment_id: '7'\nname: other\nlifecycle_stage: active\n")
    (mlruns / "7").symlink_to(outside / "experiment")
    shutil.copytree(mlruns / "models" / "clf", outside / "clf")
    (mlruns / "models" / "other").symlink_to(outside / "clf")
    (mlruns / "models" / "clf" / "version-9").symlink_to(outside / "clf" / "version-3")
    shutil.rmtree(run / "artifacts")
    (run / "artifacts").symlink_to(outside / "run" / "artifacts")
    shutil.rmtree(run / "params")
    (run / "params").symlink_to(outside / "run" / "params")
    inside = run.parent / ("d" * 32)
    shutil.copytree(run.parent / ("b" * 32), mlruns / "kept")
    write(mlruns / "kept" / "meta.yaml", (mlruns / "kept" / "meta.yaml").read_text().replace("b" * 32, "d" * 32))
    inside.symlink_to(mlruns / "kept")  # it stays in the folder
    done = bring(local_workspace, mlruns)
    assert {row["id"] for row in rows(local_workspace, "select id from runs")} == {"a" * 32, "b" * 32, "d" * 32}
    assert rows(local_workspace, f"select * from params where run_id = '{'a' * 32}'") == []
    assert [one.name for one in list_models(local_workspace, "main")] == ["clf"]
    counts = {one.what: one.count for one in done.left}
    assert counts["links that lead out of the folder that was named (name theirs too: --artifacts FOLDER)"] == 4
    assert "artifacts" in counts
    assert not [one for one in (tmp_path / "project").rglob("*") if one.is_file() and one.read_bytes() == b"secret"]


def test_damaged_sources_are_told(local_workspace: Workspace, mlruns: Path, tmp_path: Path) -> None:
    write(tmp_path / "text.db", "no database")
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE runs (a)")
    (tmp_path / "empty").mkdir()
    for text in ("text.db", "other.db", "empty", "nothing"):
        with pytest.raises(InputError):
            bring(local_workspace, tmp_path / text)
    for text in ("postgresql://h/d", "s3://bucket/mlruns", "sqlite:///nowhere.db", "http://", "http://h:port"):
        with pytest.raises(InputError):
            bring(local_workspace, text)
    with pytest.raises(InputError, match="no way to treat conflicts"):
        bring(local_workspace, mlruns, conflicts="maybe")


def test_what_no_catalog_can_hold_is_told_and_the_rest_is_brought(local_workspace: Workspace, mlruns: Path) -> None:
    run = mlruns / f"{WIDE}" / ("a" * 32)
    write(run / "metrics" / "wide", f"1 0.5 {10**20}\n{10**20} 0.5 1\n3 inf -4\n")
    Path(os.fsdecode(os.fsencode(run) + b"/artifacts/\xff.txt")).write_text("x")
    done = bring(local_workspace, mlruns)
    assert [one.count for one in done.left if one.what == "lines of metrics that cannot be read"] == [
        4
    ]  # two are the folder's
    assert "\\udcff.txt" in next(one for one in done.left if one.what == "artifacts").names[0]
    assert [row["step"] for row in rows(local_workspace, "select step from metrics where key = 'wide'")] == [-4]


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{one}: &{one} [{', '.join([f'*{before}'] * 9)}]\n" for before, one in itertools.pairwise("abcdefghi")
)


def test_damaged_parts_of_a_folder_are_named_and_the_rest_is_brought(local_workspace: Workspace, mlruns: Path) -> None:
    """A tracker that was killed, or a full disk, leaves files that are cut; one of them kept thousands of runs away."""
    damaged = {
        "c": "run_id: [",
        "d": "",
        "e": "run_id: e\nstart_time: soon\n",
        "f": f"run_id: f\nend_time: {10**20}\n",
        "g": "run_id: g\nstart_time: .inf\n",
        "h": "run_id: h\nend_time: [1]\n",
        "i": f"{BOMB}run_id: *i\n",  # which as a text would take all memory
        "j": f"{BOMB}start_time: *i\n",
        "k": "[" * 5000,
    }
    for run, text in damaged.items():
        write(mlruns / "0" / run / "meta.yaml", text)
    write(mlruns / "0" / "l" / "meta.yaml", "run_id: l\n")
    write(mlruns / "0" / "l" / "inputs" / "x" / "meta.yaml", "source_type: MODEL\n")
    write(mlruns / "7" / "meta.yaml", "- a list\n")
    write(mlruns / "models" / "cut" / "meta.yaml", "creation_timestamp: 1\n")
    done = bring(local_workspace, mlruns)
    left = {one.what: one for one in done.left if one.why.startswith("they are damaged")}
    assert {name.partition(":")[0] for name in left["runs"].names} == {f"0/{run}" for run in [*damaged, "l"]}
    assert "which is no number of that kind" in left["runs"].names[2]
    assert [one.partition(":")[0] for one in left["experiments"].names] == ["7"]
    assert left["registered models"].names == ["models/cut: its meta.yaml lacks or misstates 'name'"]
    assert done.runs > 1
    write(mlruns / "0" / "c" / "meta.yaml", "run_id: c\n")
    assert bring(local_workspace, mlruns).runs == 1


def test_two_experiments_of_one_name_are_a_conflict(workspace: Workspace, mlruns: Path) -> None:
    for number in (7, 8):
        write(mlruns / str(number) / "meta.yaml", f"name: twin\nexperiment_id: '{number}'\n")
        write(mlruns / str(number) / f"of{number}" / "meta.yaml", f"run_id: of{number}\n")
    with pytest.raises(InputError, match="'twin' has the numbers 7 and 8 there"):
        bring(workspace, mlruns)
    bring(workspace, mlruns, conflicts="merge")
    found = rows(workspace, "select experiment_id from runs where id like 'of%'")
    assert len(found) == 2
    assert len({str(one) for one in found}) == 1


def test_names_that_are_no_text_are_brought_as_far_as_they_go(workspace: Workspace, mlruns: Path) -> None:
    write(mlruns / "7" / "meta.yaml", 'name: "nu\\0l"\n')
    run = mlruns / "7" / "odd"
    write(run / "meta.yaml", 'run_id: odd\nrun_name: "ab\\0"\nuser_id: "\\0"\n')
    for folder, text in (("params", "v\0"), ("tags", "v"), ("metrics", "1 2 3\n")):
        write(run / folder / "plain", text)
        Path(os.fsdecode(os.fsencode(run / folder) + b"/\xff")).write_text(text)
    Path(os.fsdecode(os.fsencode(run) + b"/artifacts")).mkdir()
    (run / "artifacts" / "red\x1b[31m\nx").write_text("x")
    done = bring(workspace, mlruns)
    assert {row["key"] for row in rows(workspace, "select key from params where run_id = 'odd'")} == {
        "plain",
        "\\udcff",
    }
    assert {row["key"] for row in rows(workspace, "select key from metrics where run_id = 'odd'")} == {
        "plain",
        "\\udcff",
    }
    (name,) = next(one for one in done.left if "Invalid path" in one.why).names
    assert name.isprintable()


def test_an_old_database_without_the_newer_tables(local_workspace: Workspace, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as old:
        old.executescript(
            "CREATE TABLE experiments (experiment_id, name, artifact_location, lifecycle_stage);"
            "CREATE TABLE runs (run_uuid, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri, "
            "experiment_id);"
            "CREATE TABLE metrics (key, value, timestamp, run_uuid, step);"
            "CREATE TABLE tags (key, value, run_uuid);"
            "INSERT INTO experiments VALUES (0, 'Default', 'mlruns/0', 'active'), (1, 'old', NULL, 'active');"
            "INSERT INTO runs VALUES ('r1', 'u', 'FINISHED', 1, 2, 'active', 'mlruns/1/r1/artifacts', 1);"
            "INSERT INTO runs VALUES ('r2', 'u', 'FINISHED', 1, 2, 'active', 's3://b/r2/artifacts', 1);"
            "INSERT INTO runs VALUES ('r3', 'u', 'FINISHED', 1, 2, 'active', '/etc', 1);"
            "INSERT INTO metrics VALUES ('m', 1.7976931348623157e308, 5, 'r1', 0);"
        )
    write(tmp_path / "mlruns" / "1" / "r1" / "artifacts" / "a.txt", "x")
    done = bring(local_workspace, f"sqlite:///{tmp_path}/mlflow.db")
    assert (done.experiments, done.runs, done.points, done.files) == (1, 3, 1, 1)
    assert sorted(one.names[0] for one in done.left) == ["run r2", "run r3"]
    assert rows(local_workspace, "select value from metrics") == [{"value": float("inf")}]


@pytest.mark.slow
@pytest.mark.parametrize("answer", [(500, b"{}"), (200, b"<html>"), (404, b"{}"), (302, b"")])
def test_a_server_that_is_none_of_mlflows(
    local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, bytes]
) -> None:
    monkeypatch.setattr("bascule.protocols.mlflow.importing.server.sleep", lambda seconds: None)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(answer[0])
            self.send_header("content-length", str(len(answer[1])))
            self.send_header("location", "http://127.0.0.1:1/")
            self.end_headers()
            self.wfile.write(answer[1])

        def log_message(self, *_: object) -> None:
            pass

    with answering(Handler) as address, pytest.raises(EnvironmentProblem):
        bring(local_workspace, address)
    with pytest.raises(BasculeError, match="does not answer"):
        bring(local_workspace, address)


EXPERIMENT = {"experiments": [{"experiment_id": "7", "name": "lies"}]}
RUN = {"runs": [{"info": {"run_id": "r", "start_time": 1}}]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("lie", "told"),
    [
        (
            {"experiments/search": lambda ask: {"next_page_token": {"a": "b"}.get(ask.get("page_token"), "a")}},
            "a circle",
        ),
        ({"experiments/search": {"experiments": [{"name": "no number"}]}}, "what MLflow does not say.*experiment_id"),
        ({"experiments/search": {"experiments": [7]}}, "what MLflow does not say"),
        ({"experiments/search": EXPERIMENT, "runs/search": {"runs": [{"info": {"start_time": [1]}}]}}, "does not say"),
        ({"registered-models/search": {"registered_models": [{"name": 7}]}}, "what MLflow does not say"),
    ],
)
def test_a_server_that_lies_is_told(local_workspace: Workspace, lie: dict[str, Any], told: str) -> None:
    with lying(lie) as address, pytest.raises(EnvironmentProblem, match=told):
        bring(local_workspace, address)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["", "../up", "d", "e/f"])
def test_a_server_whose_folders_go_in_circles_is_left(local_workspace: Workspace, path: str) -> None:
    def listed(asked: dict[str, Any]) -> dict[str, Any]:
        return {"files": [{"path": path if asked.get("path") else "d", "is_dir": True}]}

    with lying({"experiments/search": EXPERIMENT, "runs/search": RUN, "artifacts/list": listed}) as address:
        done = bring(local_workspace, address)
    assert done.runs == 1
    assert "lists where they cannot be" in next(one.why for one in done.left if one.what == "artifacts")


HALF = b"half of a file"


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [500, 429, HALF], ids=["500", "429", "cut"])
def test_a_file_that_a_server_fails_at_is_asked_for_again_and_at_last_brought_by_a_repeat(
    local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch, wrong: int | bytes
) -> None:
    monkeypatch.setattr("bascule.protocols.mlflow.importing.files.sleep", lambda seconds: None)
    listed = {"files": [{"path": "a.bin", "file_size": 28}]}
    answers: list[int | bytes] = [wrong, HALF + HALF]
    there = {
        "experiments/search": EXPERIMENT,
        "runs/search": RUN,
        "artifacts/list": listed,
        "get-artifact": lambda asked: answers.pop(0),
    }
    with lying(there) as address:
        done = bring(local_workspace, address)
    assert (done.files, done.bytes, done.left) == (1, 28, [])
    other = {"runs": [{"info": {"run_id": "other", "start_time": 1}}]}
    answers[:] = [wrong] * 3
    with lying(there | {"runs/search": other}) as address:
        done = bring(local_workspace, address)
        assert (done.runs, done.files, [one.count for one in done.left]) == (1, 0, [1])
        assert tags(local_workspace, "other")["bascule.import.left"] == "artifacts"
        answers[:] = [HALF + HALF]
        done = bring(local_workspace, address)
        assert (done.runs, done.files, done.left) == (0, 1, [])
        assert "bascule.import.left" not in tags(local_workspace, "other")
        assert bring(local_workspace, address).here == 1


def tags(workspace: Workspace, run: str) -> dict[str, str]:
    query = f"select key, value from tags where run_id = '{run}'"
    return {one["key"]: one["value"] for one in rows(workspace, query)}


@pytest.mark.slow
def test_files_that_a_server_fails_to_list_are_left_and_the_rest_is_brought(
    local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of runs whose bucket is gone."""
    monkeypatch.setattr("bascule.protocols.mlflow.importing.files.sleep", lambda seconds: None)
    with lying({"experiments/search": EXPERIMENT, "runs/search": RUN, "artifacts/list": 500}) as address:
        done = bring(local_workspace, address)
    assert (done.runs, [one.what for one in done.left]) == (1, ["artifacts"])


def test_dead_files_are_waited_for_once_a_run_and_no_more_when_that_brings_nothing(
    local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    monkeypatch.setattr("bascule.protocols.mlflow.importing.files.sleep", waited.append)
    files = [{"path": f"{number}.bin", "file_size": 4} for number in range(20)]
    runs = [{"info": {"run_id": f"r{number}", "start_time": 1}} for number in range(8)]
    there = {
        "experiments/search": EXPERIMENT,
        "runs/search": {"runs": runs},
        "artifacts/list": {"files": files},
        "get-artifact": lambda asked: b"good" if asked["path"] == "7.bin" else 500,
    }
    with lying(there) as address:
        done = bring(local_workspace, address)
    assert (done.runs, done.files, sum(one.count for one in done.left)) == (8, 8, 8 * 19)
    assert waited == [0.2, 0.8] * 5 + [0.0] * 3


@contextmanager
def lying(said: dict[str, Any]) -> Iterator[str]:
    """Serve answers of an MLflow server by the end of their paths; whatever else is asked has an empty one."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self._tell(json.loads(self.rfile.read(int(self.headers["content-length"]))))

        def do_GET(self) -> None:
            self._tell({key: values[-1] for key, values in parse_qs(urlsplit(self.path).query).items()})

        def _tell(self, asked: dict[str, Any]) -> None:
            found = next((one for end, one in said.items() if urlsplit(self.path).path.endswith(end)), {})
            answer = found(asked) if callable(found) else found
            data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(answer if isinstance(answer, int) else 200)
            if answer == HALF:  # nothing else is sent on this connection
                self.close_connection = True
            self.send_header("content-length", str(len(data) * (2 if answer == HALF else 1)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    with answering(Handler) as address:
        yield address


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_wide_numbers_of_experiments_are_read_over_the_wire(api: Api, local_workspace: Workspace, mlruns: Path) -> None:
    bring(local_workspace, mlruns)
    found = api("POST", "runs/search", {"experiment_ids": [str(WIDE)], "filter": "metrics.auc > 0.5"})["runs"]
    assert [one["info"]["run_id"][0] for one in found] == ["a", "b"]
    assert api("GET", "registered-models/get", name="clf")["registered_model"]["aliases"] == [
        {"alias": "champion", "version": "3"}
    ]


@pytest.mark.slow
def test_traces_of_a_server_are_brought_whole_and_once(
    serve: Callable[..., Api], local_workspace: Workspace, tmp_path: Path
) -> None:
    there = serve()
    assert send(there, document(span(parentSpanId=""), span(spanId="1" * 16, parentSpanId=span()["spanId"]))).is_success
    trace = f"tr-{span()['traceId']}"
    there("POST", "/api/3.0/mlflow/traces", info(trace))
    said = {"assessment_name": "good", "source": {"source_type": "HUMAN", "source_id": "ana"}, "feedback": {"value": 1}}
    there("POST", f"/api/3.0/mlflow/traces/{trace}/assessments", {"assessment": said})
    gone = there("POST", "experiments/create", {"name": "gone"})["experiment_id"]
    place = {"mlflow_experiment": {"experiment_id": gone}}
    there("POST", "/api/3.0/mlflow/traces", info("tr-bare", trace_location=place))
    there("POST", "experiments/delete", {"experiment_id": gone})
    into = Workspace.create(tmp_path / "into")
    with closing(into), served(local_workspace) as address:
        assert bring(into, address, dry_run=True).traces == 2
        done = bring(into, address)
        assert (done.traces, done.left) == (2, [])
        again = bring(into, address)
        assert (again.traces, again.here) == (0, 2)
        here = Api(TestClient(create_app(into, ServerSettings()), base_url="http://127.0.0.1:7400"))
        asked = f"/api/3.0/mlflow/traces/get?trace_id={trace}"
        old, new = there("GET", asked)["trace"], here("GET", asked)["trace"]
        for one in (old, new):  # when it was said here
            one["trace_info"].pop("assessments")[0].pop("last_update_time", None)
        assert new == old
        assert len(new["spans"]) == 2


def told_by_mlflow() -> dict[str, Any]:
    """A span as MLflow's client writes it into a file, and its server into a database."""
    return {
        "trace_id": base64.b64encode(bytes.fromhex(span()["traceId"])).decode(),
        "span_id": base64.b64encode(bytes.fromhex(span()["spanId"])).decode(),
        "parent_span_id": None,
        "name": "ask",
        "start_time_unix_nano": 5,
        "end_time_unix_nano": 9,
        "attributes": {"mlflow.spanType": '"LLM"', "n": "3", "odd": "not json"},
        "events": [{"name": "e", "time_unix_nano": 6, "attributes": {"a": "[1]"}}],
        "status": {"code": "STATUS_CODE_OK", "message": ""},
    }


def test_traces_of_a_folder_and_of_a_database_are_brought_whole(
    local_workspace: Workspace, mlruns: Path, tmp_path: Path
) -> None:
    trace = f"tr-{span()['traceId']}"
    place = mlruns / f"{WIDE}" / "traces" / trace
    write(place / "trace_info.yaml", f"trace_id: {trace}\nstate: OK\nrequest_time: '2026-03-01T00:00:00.5Z'\n"
          "execution_duration_ms: 1500\nrequest_preview: hello\n")  # fmt: skip
    write(place / "tags" / "kind", "ask")
    write(place / "request_metadata" / "mlflow.user", "ana")
    write(place / "assessments" / "a-1.yaml", f"assessment_id: a-1\nassessment_name: good\ntrace_id: {trace}\n"
          "feedback:\n  value: true\nsource:\n  source_type: HUMAN\n  source_id: ana\n")  # fmt: skip
    write(place / "artifacts" / "traces.json", json.dumps({"spans": [told_by_mlflow()]}))
    secret = tmp_path / "secret.json"
    write(secret, json.dumps({"spans": [told_by_mlflow()]}))
    for name, text in (("tr-torn", "{"), ("tr-link", "")):
        write(place.parent / name / "trace_info.yaml", f"trace_id: {name}\nstate: OK\n")
        write(place.parent / name / "artifacts" / "traces.json", text)
    (place.parent / "tr-link" / "artifacts" / "traces.json").unlink()
    (place.parent / "tr-link" / "artifacts" / "traces.json").symlink_to(secret)
    done = bring(local_workspace, mlruns)
    assert done.traces == 3
    assert [one.what for one in done.left if one.what == "traces"] == ["traces"]  # whose spans are torn

    with sqlite3.connect(tmp_path / "mlflow.db") as db:
        db.executescript(
            "CREATE TABLE experiments (experiment_id, name, artifact_location, lifecycle_stage);"
            "CREATE TABLE runs (run_uuid, user_id, status, start_time, end_time, lifecycle_stage, artifact_uri, "
            "experiment_id);"
            "CREATE TABLE metrics (key, value, timestamp, run_uuid, step);"
            "CREATE TABLE trace_info (request_id, experiment_id, timestamp_ms, execution_time_ms, status);"
            "CREATE TABLE trace_tags (key, value, request_id);"
            "CREATE TABLE assessments (assessment_id, trace_id, name, assessment_type, value, created_timestamp);"
            "CREATE TABLE spans (trace_id, content);"
            "INSERT INTO experiments VALUES (0, 'Default', 'mlruns/0', 'active'), (1, 'old', NULL, 'active');"
            "INSERT INTO trace_info VALUES ('tr-s3', 1, 1000, NULL, 'ERROR'), ('tr-odd', 1, 'x', 1e300, 'OK');"
            "INSERT INTO trace_tags VALUES ('mlflow.artifactLocation', 's3://b/x', 'tr-s3');"
            "INSERT INTO assessments VALUES ('a-2', 'tr-db', 'wanted', 'expectation', '{\"a\": 1}', 5);"
        )
        other = told_by_mlflow() | {"trace_id": base64.b64encode(b"0123456789abcdef").decode()}
        mine = f"tr-{b'0123456789abcdef'.hex()}"
        db.execute("INSERT INTO trace_info VALUES (?, 1, 1000, 1500, 'OK')", (mine,))
        db.execute("INSERT INTO spans VALUES (?, ?)", (mine, json.dumps(other)))
        db.execute("UPDATE assessments SET trace_id = ?", (mine,))
    done = bring(local_workspace, f"sqlite:///{tmp_path}/mlflow.db")
    assert sorted(one.names[0] for one in done.left if one.what == "traces") == ["tr-odd", "tr-s3"]
    query = "select t.id, t.state, t.duration_us, s.name, s.type from traces t join spans s on s.trace_id = t.id"
    whole = {"state": "OK", "duration_us": 1_500_000, "name": "ask", "type": "LLM"}
    assert rows(local_workspace, f"{query} order by t.id") == sorted(
        ({"id": one, **whole} for one in (trace, mine)), key=lambda row: str(row["id"])
    )
    said = rows(local_workspace, "select trace_id, kind, name, value_json from trace_assessments order by name")
    assert [(one["trace_id"], one["kind"], one["value_json"]) for one in said] == [
        (trace, "feedback", "true"), (mine, "expectation", '{"a":1}')
    ]  # fmt: skip


def test_a_span_in_mlflows_own_file_is_read() -> None:
    found = span_of_server(told_by_mlflow())
    assert (found.trace, found.id, found.parent) == (span()["traceId"], span()["spanId"], "")
    assert (found.type, found.status, found.started_ns, found.ended_ns) == ("LLM", "OK", 5, 9)
    assert found.attributes["n"] == 3
    assert found.attributes["odd"] == "not json"
    assert found.events[0]["attributes"] == {"a": [1]}
