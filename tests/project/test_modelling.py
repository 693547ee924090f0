"""Versions of models: shown, compared, approved, scanned, trusted, signed and verified."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from bascule.delivery.traffic import planned
from bascule.history import Workspace
from bascule.naming import model_path
from bascule.registry import external, list_models
from bascule.tracking import remote, vouching
from bascule.tracking.artifacts import Artifacts
from bascule.tracking.tracker import Tracker
from tests.project.conftest import Bascule
from tests.registry.test_pickles import Evil

ML_MODEL = """
artifact_path: model
flavors: {python_function: {loader_module: mlflow.sklearn}, sklearn: {pickled_model: model.pkl}}
metadata: {license: Apache-2.0}
saved_input_example_info: {artifact_path: input_example.json}
signature:
  inputs: '[{"type": "long", "name": "age", "required": true}, {"type": "long", "name": "seen", "required": false},
    {"type": "array", "items": {"type": "double"}, "name": "past"}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 3]}}]'
"""


@pytest.fixture
def ws(parcels: Path) -> Iterator[Workspace]:
    with closing(Workspace.open(parcels)) as found:
        yield found


def put(ws: Workspace, path: str, data: bytes) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield data

    asyncio.run(Artifacts(ws).write(path, chunks()))


@pytest.fixture
def outside(ws: Workspace) -> Callable[..., str]:
    """Register a version as a client of MLflow does; returns the folder of its files."""

    def make(name: str = "my model", **files: bytes) -> str:
        tracker = Tracker(ws)
        run = remote.create_run(tracker, 0, user="bo", name="fit", started_at=1, tags={})
        remote.log_batch(tracker, run, remote.Batch(params={"depth": "3"}))
        folder = f"0/{run}/artifacts/model"
        given = {"MLmodel": ML_MODEL.encode(), "input_example.json": b'{"age": 4}', "requirements.txt": b"numpy==2.0\n"}
        for path, data in {**given, **files}.items():
            put(ws, f"{folder}/{path.replace('__', '.')}", data)
        if ws.history.digest("main", model_path(name)) is None:
            external.create_model(ws, "main", name, author="bo")
        place = f"mlflow-artifacts:/{folder}"
        facts = vouching.registered(ws, place)
        about = {"source": place, "run_id": run, "description": "What comes <b>late</b>."}
        external.create_version(ws, "main", name, about, artifact=place, author="bo", facts=facts)
        return folder

    return make


@pytest.mark.slow
def test_a_version_from_outside_is_shown_with_its_schema_and_has_a_card(
    outside: Callable[..., str], bascule: Bascule, parcels: Path
) -> None:
    outside(model__pkl=pickle.dumps({"a": 1}))
    told = bascule("model", "show", "my model", "--json").json()
    assert told["licence"] == "Apache-2.0"
    assert told["example"] == '{"age": 4}'
    assert told["environment"]["files"] == {"requirements.txt": "numpy==2.0\n"}
    assert told["schema"]["inputs"] == [
        {"name": "age", "type": "int64", "nullable": False},
        {"name": "seen", "type": "int64", "nullable": True},
        {"name": "past", "type": "list<double>", "nullable": False},
    ]
    assert told["schema"]["outputs"][0]["type"] == "fixed_shape_tensor[float64, [3]]"
    assert "age is int64 and may not be missing" in told["notes"][0]
    assert len(told["notes"]) == 1
    assert told["safety"]["level"] == "pickle"
    assert told["bytes"] > 100
    assert len(told["digest"]) == 64
    assert "int64" in bascule("model", "show", "my model").out
    card = bascule("model", "card", "my model").out
    for word in ("# my model version 1", "Apache-2.0", "`age`", "## Lineage", "## Safety", "## Limits", "`depth`"):
        assert word in card
    assert bascule("model", "card", "my model", "--format", "html", "-o", "card.html").code == 0
    page = (parcels / "card.html").read_text()
    assert "<h1>my model version 1</h1>" in page
    assert "<b>late" not in page
    assert "late" in page
    assert "http" not in page.replace("http-equiv", "")  # nothing is fetched


@pytest.mark.slow
def test_what_the_model_file_says_is_only_text(outside: Callable[..., str], bascule: Bascule, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    outside("a", MLmodel=f"!!python/object/apply:os.system ['touch {mark}']".encode())
    outside("b", MLmodel=b"a: &a [x,x,x]\n" + b"b: [*a,*a]\n" * 2000)
    outside(
        "c", MLmodel=b"signature: {inputs: '[[[', outputs: 7}\nsaved_input_example_info: {artifact_path: ../../../x}"
    )
    outside("d", MLmodel=b"\x00\xff" * 1000)
    for name in "abcd":
        told = bascule("model", "show", name, "--json").json()
        assert told["schema"]["inputs"] == []
        assert told["example"] == ""
    assert not mark.exists()


@pytest.mark.slow
def test_a_pickle_is_scanned_and_deployed_only_with_consent_to_its_bytes(
    outside: Callable[..., str], ws: Workspace, bascule: Bascule, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    folder = outside("evil", model__pkl=pickle.dumps(Evil(os.system, f"touch {mark}")))
    found = bascule("model", "scan", "evil", "--json")
    assert found.code == 1
    assert found.json()["level"] == "dangerous"
    assert found.json()["pickles"][0]["dangerous"] == ["posix.system"]
    said = bascule("deploy", "evil", "1", "--model", "evil")
    assert said.code == 1
    assert "posix.system" in said.err
    assert "model trust evil@1" in said.err
    assert bascule("model", "trust", "evil", "--reason", " ").code == 2
    assert bascule("model", "trust", "evil", "--reason", "made by us").code == 0
    version = vouching_version(ws, "evil")
    assert vouching.demand_consent(ws, version).trusted.reason == "made by us"  # type: ignore[union-attr]
    put(ws, f"{folder}/model.pkl", pickle.dumps(Evil(os.system, "true")))
    said = bascule("deploy", "evil", "1", "--model", "evil")
    assert said.code == 1
    assert "changed since somebody consented" in said.err
    assert bascule("model", "trust", "evil", "--reason", "again").code == 0
    held = {**planned("late", "evil", "canary", {}), "traffic": [{"version": 1, "weight": 100}]}
    ws.history.commit("main", {"deployments/late": held}, message="Deploy")
    taken = bascule("model", "distrust", "evil", "--reason", "not ours")
    where = "It stays in service in deployments/late on main; end that with: bascule rollback late"
    assert (taken.code, where in taken.out) == (0, True)
    assert where in bascule("model", "verify", "evil").out
    assert bascule("model", "distrust", "evil", "--reason", "not ours").code == 2
    assert vouching.safety(ws, version).trusted is None
    log = bascule("audit", "log", "--json").json()
    assert {"trust", "untrust"} <= {entry["action"] for entry in log}
    assert not mark.exists()


@pytest.mark.slow
def test_what_the_model_file_has_run_is_told_too(outside: Callable[..., str], bascule: Bascule) -> None:
    outside("plain", model__skops=b"PK\x05\x06" + bytes(18))
    assert bascule("model", "scan", "plain", "--json").json()["level"] == "safe"
    outside(
        "net", MLmodel=b"flavors: {python_function: {data: data}, keras: {data: data}}", data=b"PK\x05\x06" + bytes(18)
    )
    assert bascule("model", "scan", "net", "--json").json()["level"] == "pickle"  # layers of Keras may hold code
    trusting = "flavors: {lightgbm: {data: model.lgb, model_class: %s, skops_trusted_types: [lightgbm.basic.Booster]}}"
    for model_class, level in (("lightgbm.basic.Booster", "safe"), ("lightgbm.sklearn.LGBMClassifier", "pickle")):
        outside(level, MLmodel=(trusting % model_class).encode(), model__lgb=b"tree\nversion=v4\n")
        assert bascule("model", "scan", level, "--json").json()["level"] == level  # MLflow writes it beside all of them
    told = b"flavors: {python_function: {loader_module: my_loader, code: src}, s: {skops_trusted_types: [os.system]}}"
    outside("loader", MLmodel=told, **{"code/evil__py": b"import os"})
    found = bascule("model", "scan", "loader", "--json").json()
    assert found["level"] == "pickle"
    assert len(found["code"]) == 5
    assert bascule("deploy", "loader", "1", "--model", "loader").code == 1
    assert "my" in bascule("model", "card", "loader").out


def vouching_version(ws: Workspace, name: str) -> Any:
    from bascule.project.modelling import find_version

    return find_version(ws, "main", name)


@pytest.mark.slow
def test_a_signed_version_holds_until_a_byte_of_it_or_of_what_is_said_of_it_changes(
    outside: Callable[..., str], ws: Workspace, bascule: Bascule
) -> None:
    pytest.importorskip("cryptography")
    from sqlalchemy import text

    folder = outside("m", weights=b"abc")
    said = bascule("model", "verify", "m")
    assert (said.code, "not signed" in said.out) == (1, True)
    assert bascule("model", "sign", "m").code == 0
    done = bascule("model", "verify", "m", "--json")
    assert done.code == 0
    assert done.json()["holds"] is True
    assert done.json()["files"] == 4
    assert (ws.folder / "keys" / "signing.pem").stat().st_mode & 0o077 == 0

    put(ws, f"{folder}/weights", b"abd")
    problems = bascule("model", "verify", "m", "--json").json()["problems"]
    assert any("registered" in one for one in problems)
    assert any("signed" in one for one in problems)
    assert bascule("model", "sign", "m").code == 1  # what was changed is not signed
    put(ws, f"{folder}/weights", b"abc")
    assert bascule("model", "verify", "m").code == 0

    external.rename_model(ws, "main", "m", "n", author="bo")  # what was signed says which model it is
    (problem,) = bascule("model", "verify", "n", "--json").json()["problems"]
    assert problem == "it is not signed by this name; the signature of the same files as m@1 does not count for another"
    external.rename_model(ws, "main", "n", "m", author="bo")
    assert bascule("model", "verify", "m").code == 0

    Artifacts(ws).delete(f"{folder}/weights")
    assert bascule("model", "verify", "m").code == 1
    put(ws, f"{folder}/weights", b"abc")
    with ws.catalog.write() as conn:  # another key, without its entry
        conn.execute(text("UPDATE model_seals SET signature = 'AAAA' WHERE kind = 'sign'"))
    problems = bascule("model", "verify", "m", "--json").json()["problems"]
    assert len(problems) == 2


@pytest.mark.slow
def test_a_version_that_is_made_ready_to_be_served_keeps_its_signature_and_its_files(
    outside: Callable[..., str], ws: Workspace, bascule: Bascule
) -> None:
    pytest.importorskip("cryptography")
    folder = outside("m", weights=b"abc")
    before = bascule("model", "show", "m", "--json").json()
    assert bascule("model", "sign", "m").code == 0
    bundle = ws.store.put(b"made of the files")
    model = ws.history.get("main", "models/m")
    entry = model["versions"]["1"]
    made = {**entry, "artifact": bundle, "format": "skops", "signature": {"inputs": []}, "files": entry["artifact"]}
    ws.history.commit("main", {"models/m": {**model, "versions": {"1": made}}}, message="Make it ready")
    assert bascule("model", "verify", "m").code == 0
    after = bascule("model", "show", "m", "--json").json()
    assert all(after[name] == before[name] for name in ("digest", "files", "schema", "licence"))
    ws.store.delete(bundle)
    assert bascule("model", "verify", "m", "--json").json()["problems"] == [
        "the bundle that is served is missing or was changed"
    ]
    ws.store.put(b"made of the files")
    put(ws, f"{folder}/weights", b"abd")
    assert "not those that were registered" in bascule("deploy", "m", "1", "--model", "m").err


def ask_for_approval(folder: Path) -> None:
    file = folder / "bascule.toml"
    text = file.read_text()
    told = "[gates]\napprovals = 1\n"
    file.write_text(text.replace("[gates]\n", told) if "[gates]\n" in text else f"{text}\n{told}")


@pytest.mark.slow
def test_approvals_are_asked_for_by_the_gates(trained: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch) -> None:
    ask_for_approval(trained)
    assert "is not approved: it has 0 of 1 approvals" in bascule("deploy").err
    monkeypatch.setenv("BASCULE_USER", "ana@example.org")  # who registered it
    assert "does not count" in bascule("model", "approve", "delays", "--reason", "mine").out
    assert bascule("deploy").code == 1
    monkeypatch.setenv("BASCULE_USER", "bo@example.org")
    assert "does not count" not in bascule("model", "approve", "delays@1", "--reason", "looked at the slices").out
    monkeypatch.setenv("BASCULE_USER", "cy@example.org")
    assert bascule("model", "reject", "delays", "--reason", "leaks").code == 0
    told = bascule("deploy").err
    assert "cy@example.org rejected it: leaks" in told
    assert "cy@example.org changes that with: bascule model approve delays 1" in told
    assert bascule("model", "approve", "delays", "--reason", "it does not").code == 0
    assert bascule("deploy").code == 0
    answer = bascule("predict", "delays", "--example", "--json").json()
    people = bascule("explain", answer["prediction_id"], "--json").json()["people"]["names"]
    assert "bo@example.org approved it: looked at the slices" in people
    decided = bascule("model", "show", "delays", "--json").json()
    assert decided["standing"] == {"approved": ["bo@example.org", "cy@example.org"], "rejected": {}}
    assert "looked at the slices" in bascule("model", "card", "delays").out
    assert {e["action"] for e in bascule("audit", "log", "--json").json()} >= {"approve", "reject"}
    told = bascule("model", "reject", "delays", "--reason", "leaks after all").out
    assert "stays in service in deployments/delays on main; end that with: bascule rollback delays" in told


def test_a_merge_into_a_protected_branch_asks_for_approvals(
    trained: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bascule("branch", "--protect", "main").code == 0
    assert bascule("branch", "dev").code == 0
    ask_for_approval(trained)
    with closing(Workspace.open(trained)) as ws:
        from bascule.registry import get_version, register

        one = get_version(ws, "main", "delays")
        register(
            ws,
            "dev",
            "delays",
            artifact=one.artifact,
            format=one.format,
            signature=one.signature,
            training_set=one.training_set,
            evaluation={"passed": True, "gates": []},
            alias="production",
        )
    said = bascule("merge", "dev", "main")
    assert said.code == 1
    assert "delays@2 is not approved" in said.err
    monkeypatch.setenv("BASCULE_USER", "bo@example.org")
    assert bascule("model", "approve", "delays", "2", "--reason", "fine", "--branch", "dev").code == 0
    done = bascule("merge", "dev", "main")
    assert done.code == 0, done


@pytest.mark.slow
def test_two_versions_are_compared(outside: Callable[..., str], bascule: Bascule) -> None:
    outside("m")
    outside("m", model__pkl=pickle.dumps(1), MLmodel=b"flavors: {onnx: {}}")
    done = bascule("model", "compare", "m", "1", "2", "--json").json()
    assert done["about"]["safety"] == ["safe", "pickle"]
    assert done["about"]["flavors"] == [["python_function", "sklearn"], ["onnx"]]
    assert done["size"][0] != done["size"][1]
    assert bascule("model", "compare", "m", "1", "9").code == 2
    assert "safety" in bascule("model", "compare", "m", "1").out
    assert json.loads(bascule("model", "compare", "m", "1", "m@1", "--json").out)["about"] == {}


@pytest.mark.slow
def test_a_model_with_an_at_in_its_name_is_named_with_its_version(
    ws: Workspace, outside: Callable[..., str], bascule: Bascule
) -> None:
    for name in ("team", "team@1", "team@clf", "team@clf"):
        outside(name)
    shown = [("team@1", None), ("team@1@", None), ("team@clf@", None), ("team@clf@1", None), ("team@clf@", "1")]
    said = [bascule("model", "show", name, *([which] if which else []), "--json").json() for name, which in shown]
    assert [(one["model"], one["version"]) for one in said] == [
        ("team", 1),  # what a client calls its model takes nobody's version
        ("team@1", 1),
        ("team@clf", 2),
        ("team@clf", 1),
        ("team@clf", 1),
    ]
    assert "it is written team@clf@" in bascule("model", "show", "team@clf").err
    assert "is written team@clf@" in bascule("model", "show", "team@clf", "1").err
    assert bascule("model", "compare", "team@clf@", "1", "2").code == 0
    assert bascule("model", "alias", "team@clf", "best", "1").code == 0
    assert bascule("model", "show", "team@clf@best", "--json").json()["version"] == 1
    assert bascule("model", "alias", "team@clf", "best", "--remove").code == 0
    assert "team@clf@2" in bascule("model", "delete", "team@clf@2", "--reason", "bad").out
    assert bascule("model", "delete", "team@clf@", "--reason", "bad").code == 0
    assert {one.name for one in list_models(ws, "main")} >= {"team", "team@1"}
    assert bascule("model", "restore", "team@clf@2").code == 0
    assert vouching_version(ws, "team@clf@").version == 2


@pytest.mark.slow
def test_bad_input_is_told(outside: Callable[..., str], bascule: Bascule) -> None:
    outside("m")
    for words in (
        ["show", "n"],
        ["show", "m", "7"],
        ["show", "m@7"],
        ["show", "a/b"],
        ["approve", "m", "--reason", ""],
    ):
        said = bascule("model", *words)
        assert said.code == 2, words
        assert "Traceback" not in said.err
    assert bascule("model", "approve", "m", "--reason", "x" * 3000).code == 2
    assert bascule("model", "trust", "m", "--reason", "x").code == 2  # it holds data only
