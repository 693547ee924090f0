"""What is written can be read without Bascule, is what the state holds, and appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bascule.errors import AlreadyExists, EnvironmentProblem, InputError, NotFound
from bascule.history import Workspace
from bascule.lake import Lake
from bascule.lake.filesets import FileSet
from bascule.protocols.plain import export
from bascule.seeing import Masked, seeing_as
from bascule.tracking.artifacts import Artifacts
from bascule.training import encode
from tests.cli.conftest import bascule
from tests.serving.conftest import bundle, bundle_bytes, flights, put_versions

__all__ = ["bascule"]

CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: orders
version: 1.0.0
status: active
schema:
  - name: orders
    properties:
      - {name: id, primaryKey: true}
      - {name: email, classification: pii}
"""
ORDERS = pa.table(
    {
        "id": pa.array([1, 2, 3], pa.int64()),
        "email": ["ann@example.org", None, "cyd@example.org"],
        "paid": pa.array([Decimal("1.10"), Decimal("99999999999999999.99"), None], pa.decimal128(19, 2)),
        "at": pa.array([datetime(2026, 1, 1, 12, tzinfo=UTC), None, datetime(1969, 12, 31, tzinfo=UTC)]),
        "day": [date(2026, 1, 1), date(1, 1, 1), None],
        "tags": [["a", None], [], None],
        "score": [float("nan"), float("-inf"), 0.1],
        "raw": [b"\x00\xff", b"", None],
    }
)


@pytest.fixture
def project(local_workspace: Workspace, tmp_path: Path) -> Workspace:
    made = local_workspace
    lake = Lake(made)
    lake.append("orders", ORDERS)
    lake.append("orders", ORDERS.slice(0, 1).set_column(0, "id", [[4]]))
    lake.delete("orders", "id = 4")
    photos = tmp_path / "photos"
    (photos / "cats").mkdir(parents=True)
    (photos / "cats" / "a.png").write_bytes(b"\x89PNG" + bytes(100))
    (photos / "run.sh").write_text("echo ä\n")
    (photos / "run.sh").chmod(0o755)
    (photos / "link").symlink_to("run.sh")
    FileSet(made, "photos").add(photos)
    value = {"kind": "contract", "table": "orders", "text": CONTRACT, "file": "contracts/orders.yaml"}
    made.history.commit("main", {"contracts/orders": value, "notes/a": {"kind": "note", "text": 1}}, message="Agree")
    put_versions(made, {1: bundle_bytes(), 2: bundle_bytes(seed=1)})
    Artifacts(made).keep("1/run_x/artifacts/plot.svg", photos / "run.sh")
    return made


def test_what_is_written_is_what_there_is(project: Workspace, tmp_path: Path) -> None:
    before = sorted(one for one in project.folder.rglob("*") if one.is_file())
    done = export(project, tmp_path / "out", everything=True)
    out = tmp_path / "out"
    assert sorted(one for one in project.folder.rglob("*") if one.is_file()) == before  # it only reads
    table = pq.read_table(out / "tables" / "orders.parquet")
    assert table.schema.types == ORDERS.schema.types or table.cast(ORDERS.schema).schema == ORDERS.schema
    assert str(table.cast(ORDERS.schema).to_pylist()) == str(ORDERS.to_pylist())  # nan is not itself
    photos = out / "files" / "photos"
    assert (photos / "cats" / "a.png").read_bytes() == b"\x89PNG" + bytes(100)
    assert os.access(photos / "run.sh", os.X_OK)
    assert os.readlink(photos / "link") == "run.sh"
    assert (out / "contracts" / "orders.yaml").read_text() == CONTRACT
    assert json.loads((out / "notes" / "a.json").read_text()) == {"kind": "note", "text": 1}
    assert (out / "artifacts" / "1" / "run_x" / "artifacts" / "plot.svg").read_text() == "echo ä\n"
    commits = pq.read_table(out / "records" / "commits.parquet")
    assert len(commits) == len(list(project.history.log("main", 10**6)))
    told = json.loads((out / "manifest.json").read_text())
    assert told == json.loads(json.dumps(done.as_dict()))
    assert {item["path"] for item in told["items"]} >= set(project.history.digests("main", ""))
    assert "`tables/orders.parquet`: 3 rows" in (out / "README.md").read_text()
    sums = dict(line.split("  ")[::-1] for line in (out / "SHA256SUMS").read_text().splitlines())
    plain = [one for one in out.rglob("*") if one.is_file() and not one.is_symlink() and one.name != "SHA256SUMS"]
    assert sums == {str(one.relative_to(out)): hashlib.sha256(one.read_bytes()).hexdigest() for one in plain}


def test_models_answer_without_bascule(project: Workspace, tmp_path: Path) -> None:
    export(project, tmp_path / "out", ["models"])
    folder = tmp_path / "out" / "models" / "delays"
    assert not (tmp_path / "out" / "tables").exists()
    for number, seed in ((1, 0), (2, 1)):
        original = bundle(seed=seed)
        rows = encode(original.signature, flights(50, 7))
        place = folder / str(number)
        booster = lightgbm.Booster(model_file=place / "data" / "model.txt")
        assert np.array_equal(booster.predict(rows), original.predict(flights(50, 7)))
        session = onnxruntime.InferenceSession(place / "model.onnx", providers=["CPUExecutionProvider"])
        (answer,) = session.run(None, {session.get_inputs()[0].name: rows})
        assert np.allclose(np.ravel(answer)[-50:], original.predict(flights(50, 7)), rtol=0, atol=1e-12)
        assert json.loads((place / "version.json").read_text())["version"] == number
    assert (folder / "1" / "MLmodel").is_file()


def test_a_role_reads_masks_or_is_refused(project: Workspace, tmp_path: Path) -> None:
    with seeing_as("reader"):
        with pytest.raises(Masked, match=r"'reader' reads some columns masked, and in models/delays"):
            export(project, tmp_path / "out", ["tables", "models"])
        with pytest.raises(Masked, match="nothing can be masked"):
            export(project, tmp_path / "out", everything=True)
        assert not (tmp_path / "out").exists()
        export(project, tmp_path / "out", ["tables/orders"])
    table = pq.read_table(tmp_path / "out" / "tables" / "orders.parquet")
    assert "ann@example.org" not in str(table["email"].to_pylist())
    assert b"ann@example.org" not in (tmp_path / "out" / "tables" / "orders.parquet").read_bytes()


def test_nothing_is_left_of_what_cannot_be(project: Workspace, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    cases: list[tuple[Path, list[str], dict[str, Any], type[Exception], str]] = [
        (tmp_path / "full", ["tables"], {}, AlreadyExists, "exists already"),
        (tmp_path / "full" / "mine.txt", ["tables"], {}, AlreadyExists, "exists already"),
        (project.folder / "out", ["tables"], {}, InputError, "inside the workspace"),
        (tmp_path / "out", [], {}, InputError, "not said"),
        (tmp_path / "out", ["tables"], {"everything": True}, InputError, "Say one of the two"),
        (tmp_path / "out", ["tables/order"], {}, NotFound, "tables/orders"),
        (tmp_path / "out", ["tables"], {"ref": "mian"}, NotFound, "main"),
        (tmp_path / "full" / "mine.txt" / "out", ["tables"], {}, EnvironmentProblem, "Cannot write"),
    ]
    for folder, paths, named, kind, text in cases:
        with pytest.raises(kind) as caught:
            export(project, folder, paths, **named)
        assert text in f"{caught.value.message} {caught.value.hint}"  # type: ignore[attr-defined]
    for file in (project.folder / "lake").rglob("*.parquet"):
        file.unlink()
    with pytest.raises(EnvironmentProblem):
        export(project, tmp_path / "out", everything=True)
    assert not (project.folder / "out").exists()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["full", "photos", "project"]
    assert [one.name for one in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_an_empty_folder_and_an_older_state(project: Workspace, tmp_path: Path) -> None:
    project.history.tag("before", "main")
    Lake(project).delete("orders", "id > 1")
    (tmp_path / "out").mkdir()
    done = export(project, tmp_path / "out", ["tables/orders"], ref="before")
    assert (done.items[0].rows, done.ref) == (3, "before")
    assert len(pq.read_table(tmp_path / "out" / "tables" / "orders.parquet")) == 3


def test_the_command(project: Workspace, tmp_path: Path, bascule: Callable[..., Any]) -> None:
    said = bascule("export", str(tmp_path / "out"), "--project", str(tmp_path / "project"))
    assert (said.code, "say --all" in said.err) == (2, True)
    said = bascule("export", str(tmp_path / "out"), "tables", "--project", str(tmp_path / "project"))
    assert said.code == 0, said.err
    assert "tables/orders.parquet" in said.out
    assert "README.md there says how each is read" in said.out
