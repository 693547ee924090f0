"""`bascule optimize`: measured, compared, chosen beside the version, served from then on, and taken back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bascule.delivery import deploy
from bascule.errors import EnvironmentProblem
from bascule.history import Workspace
from bascule.registry import external
from bascule.registry.seals import revoke
from bascule.registry.versions import get_version, served
from bascule.serving import DataPlane
from bascule.serving.engines import kernel
from bascule.serving.engines.loading import Staged
from bascule.serving.loading import Loader
from bascule.tracking import vouching
from bascule.tracking.artifacts import Artifacts
from tests.cli.conftest import Said
from tests.project.test_delivering import second
from tests.serving.engines import models

Bascule = Callable[..., Said]
QUICK = ("--seconds", "0.1", "--batch-sizes", "1,16", "--rows", "150", "--no-memory")


def held(folder: Path) -> dict[str, Any]:
    workspace = Workspace.open(folder)
    found = workspace.history.get("main", "models/delays")
    workspace.close()
    return dict(found)


def runtime_of(folder: Path) -> Any:
    workspace = Workspace.open(folder)
    model = DataPlane(workspace, "main").open("main").deployments["delays"].first
    workspace.close()
    return model.runtime


@pytest.mark.slow
def test_a_choice_is_served_and_taken_back(trained: Path, bascule: Bascule) -> None:
    assert bascule("deploy").code == 0
    before = held(trained)
    asked = bascule("predict", "delays", "--example", "--json").json()["output"]
    page = trained / "engines.html"
    (trained / "prices.toml").write_text('hourly = 0.2\ncores = 2\ncurrency = "EUR"\n')
    said = bascule("optimize", "delays", "--choose", "compiled", "--html", str(page), *QUICK)
    assert said.code == 0, said
    assert "is answered by compiled from now on" in said.out
    assert "EUR per million" in said.out
    html = page.read_text()
    assert "<strong>compiled</strong>, from now on" in html
    assert "<script" not in html

    after = held(trained)
    assert after["versions"] == before["versions"]  # the version itself is what it was
    chosen = after["runtimes"]["1"]
    assert [one["engine"]["name"] for one in chosen["recipe"]["stages"]] == ["compiled"]
    workspace = Workspace.open(trained)
    evidence = json.loads(workspace.store.get(chosen["evidence"]))
    assert not any(
        one["parity"] and (one["parity"]["example"] or {}).get("inputs") for one in evidence["found"]["candidates"]
    )
    workspace.close()
    assert isinstance(runtime_of(trained), Staged)
    assert bascule("predict", "delays", "--example", "--json").json()["output"] == asked

    rows = bascule("sql", "select candidate, batch_size, chosen, cost_per_million from optimizations", "--json").json()
    told = {(row["candidate"], row["batch_size"]): row for row in rows}
    assert told["compiled", 1]["chosen"]
    assert told["compiled", 1]["cost_per_million"] > 0
    assert told["onnx-int8", None]["chosen"] is False
    assert "runtime" in bascule("audit", "log", "-n", "3").out
    assert "answered by   compiled" in bascule("model", "show", "delays").out
    assert "## Runtime" in bascule("model", "card", "delays").out
    assert "version 1 answered by compiled" in bascule("diff", "main~1", "main").out
    assert bascule("doctor").code == 0

    assert bascule("optimize", "delays", "--undo").code == 0
    assert "runtimes" not in held(trained)
    assert not isinstance(runtime_of(trained), Staged)
    again = bascule("optimize", "delays", "--undo")
    assert again.code == 2
    assert "nothing to undo" in again.err


@pytest.mark.slow
def test_what_answers_otherwise_cannot_be_chosen(trained: Path, refused: Callable[..., Said], bascule: Bascule) -> None:
    pytest.importorskip("onnx")
    words = ("onnx-float32 cannot answer for delays@1", "--keep")
    refused("optimize", "delays", "--choose", "onnx-float32", "--candidates", "native", *QUICK, code=1, words=words)
    words = ("onnx-int8 cannot answer for delays@1: trees have no matrices",)
    refused("optimize", "delays", "--choose", "onnx-int8", "--candidates", "native", *QUICK, code=1, words=words)
    kept = bascule("optimize", "delays", "--keep", "--candidates", "onnx-float32", *QUICK, "--json").json()
    single = next(one for one in kept["found"]["candidates"] if one["name"] == "onnx-float32")
    assert single["parity"]["example"]["kind"] == "thresholds"
    assert kept["commit"] is None
    assert "runtimes" not in held(trained)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("dellays",), ("dellays", "delays")),
        (("delays@9",), ("9",)),
        (("delays", "--choose", "compield"), ("compield", "compiled")),
        (("delays", "--candidates", "onxx"), ("onxx", "onnx")),
        (("delays", "--batch-sizes", "1,a"), ("'a'",)),
        (("delays", "--batch-sizes", "0"), ("Batch sizes",)),
        (("delays", "--rows", "1000000"), ("1,000,000 rows",)),
        (("delays", "--table", "nope"), ("nope",)),
        (("delays", "--table", "weather"), ("lacks what the model reads",)),
        (("delays", "--prices", "nope.toml"), ("price list",)),
        (("delays", "--keep", "--choose", "compiled"), ("--keep",)),
        (("delays", "--undo", "--keep"), ("--undo",)),
    ],
)
def test_bad_input_changes_nothing(
    trained: Path, refused: Callable[..., Said], arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused("optimize", *arguments, code=2, words=words)


@pytest.mark.slow
def test_where_an_engine_cannot_be_loaded_the_library_answers(
    trained: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert bascule("deploy").code == 0
    quick = ("--candidates", "compiled", *QUICK)
    assert bascule("optimize", "delays", "--choose", "compiled", *quick).code == 0
    kernel.libraries.cache_clear()
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    capfd.readouterr()
    try:
        assert not isinstance(runtime_of(trained), Staged)
    finally:
        kernel.libraries.cache_clear()
    assert "delays@1 is answered by its own library: There is no C compiler here" in capfd.readouterr().err


@pytest.mark.slow
def test_a_version_that_a_client_registered(trained: Path, bascule: Bascule) -> None:
    """Nobody deployed it, and little is known of its data: rows are made up beside its thresholds."""
    pytest.importorskip("skops.io")
    from sklearn.ensemble import RandomForestClassifier

    bundle = models.sklearn(RandomForestClassifier(5, max_depth=3, random_state=0))
    told = {
        "flavors": {"sklearn": {"pickled_model": "model.skops", "serialization_format": "skops"}},
        "saved_input_example_info": {"artifact_path": "input_example.json", "type": "ndarray"},
    }
    workspace = Workspace.open(trained)
    source, artifacts = "mlflow-artifacts:/0/r/artifacts/model", Artifacts(workspace)
    for name, data in (("MLmodel", json.dumps(told).encode()), ("model.skops", bundle.model)):
        artifacts.put(f"0/r/artifacts/model/{name}", BytesIO(data))
    external.create_model(workspace, "main", "clf", author="ana")
    external.create_version(workspace, "main", "clf", {"source": source}, artifact=source, author="ana")
    kept = workspace.history.get("main", "models/clf")
    said = bascule("optimize", "clf", "--keep", "--candidates", "compiled", *QUICK, "--json").json()
    assert said["source"].startswith("made-up rows")
    assert workspace.history.get("main", "models/clf") == kept, "who only looks changes nothing"
    rows = models.ROWS[:3].copy()
    rows[1, 0] = np.nan  # MLflow writes it as NaN
    example = {"inputs": rows.tolist()}
    artifacts.put("0/r/artifacts/model/input_example.json", BytesIO(json.dumps(example).encode()))
    said = bascule("optimize", "clf", "--candidates", "compiled", *QUICK, "--json").json()
    assert said["source"].startswith("rows, 3 of the model's input example and the others made up")
    deploy(workspace, "main", "clf", "clf", 1, by="ana")
    assert [one["engine"]["name"] for one in said["chosen"]["stages"]] == ["compiled"]
    model = DataPlane(workspace, "main").open("main").deployments["clf"].first
    assert isinstance(model.runtime, Staged)
    row = models.ROWS[:1]
    assert model.predict(row).tolist() == bundle.predictor.predict(row).tolist()
    workspace.close()


@pytest.mark.slow
def test_a_new_version_that_lacks_its_predecessors_engine_says_so(
    trained: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bascule("deploy").code == 0
    assert bascule("optimize", "delays", "--choose", "compiled", "--candidates", "compiled", *QUICK).code == 0
    second(trained)
    said = bascule("deploy", "delays", "2")
    assert "the version before was answered by compiled, this one is by its own library" in said.out
    assert "bascule optimize delays@2" in said.out
    assert bascule("rollback", "delays").code == 0
    again = bascule("deploy", "delays", "2", "--strategy", "all_at_once", "--json").json()
    assert again["deployed"]["engine_left"] == "compiled"
    record = bascule("sql", "select evidence_json from rollouts where action = 'start'", "--json").json()
    assert json.loads(record[0]["evidence_json"])["engine_left"] == "compiled"

    monkeypatch.setattr("bascule.project.steps.optimizing.SECONDS", 0.1)
    settings = trained / "bascule.toml"
    settings.write_text(settings.read_text().replace("[model]\n", "[model]\noptimize = true\n"))
    assert bascule("run", "--quiet").code == 0
    assert "2" in held(trained)["runtimes"]
    steps = {one["step"]: one["status"] for one in bascule("run", "--json", "--quiet").json()["steps"]}
    assert steps["optimize"] == "cached"
    assert bascule("optimize", "delays@2", "--undo").code == 0
    assert bascule("run", "--quiet").code == 0
    assert "2" not in held(trained)["runtimes"], "what a person took back is not chosen again"


def registered(folder: Path, name: str, data: bytes, trusted: bool = True) -> None:
    """A version of the model `net` as a client registers it: one file that runs code when it is loaded."""
    with closing(Workspace.open(folder)) as workspace:
        Artifacts(workspace).put(f"0/n/artifacts/model/{name}", BytesIO(data))
        source = "mlflow-artifacts:/0/n/artifacts/model"
        external.create_model(workspace, "main", "net", author="ana")
        facts = vouching.registered(workspace, source)
        external.create_version(
            workspace, "main", "net", {"source": source}, artifact=source, author="ana", facts=facts
        )
        if trusted:
            vouching.trust(workspace, get_version(workspace, "main", "net", 1), "ours")
            deploy(workspace, "main", "net", "net", 1, by="ana")


class Doubles:
    """A plain Python function as somebody's pickle."""

    n_features_in_ = 2

    def predict(self, rows: Any) -> Any:
        return rows[:, 0] * 2


@pytest.mark.slow
def test_what_runs_code_and_was_never_deployed_is_measured_by_consent(trained: Path, bascule: Bascule) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    registered(trained, "net.pkl", cloudpickle.dumps(Doubles()), trusted=False)
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    refused = bascule("optimize", "net", *QUICK)
    assert (refused.code, "bascule model trust net 1" in refused.err.replace("@", " ")) == (1, True)
    with closing(Workspace.open(trained)) as workspace:
        vouching.trust(workspace, get_version(workspace, "main", "net", 1), "ours")
    said = bascule("optimize", "net", *QUICK)
    assert said.code == 0, said
    assert "net@1 goes on being answered by its own library" in said.out


@pytest.mark.slow
def test_what_runs_code_is_measured_in_its_process_and_only_there(trained: Path, bascule: Bascule) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    registered(trained, "net.pkl", cloudpickle.dumps(Doubles()))
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    said = bascule("optimize", "net", *QUICK)
    assert said.code == 0, said
    assert "torchscript: its process cannot make it: TypeError: only a model of PyTorch becomes torchscript" in said.out
    assert "net@1 goes on being answered by its own library" in said.out
    with closing(Workspace.open(trained)) as workspace:
        revoke(workspace, "trust", "models/net@1", "not ours")
    refused = bascule("optimize", "net", *QUICK)
    assert (refused.code, "no consent to these bytes holds" in refused.err) == (2, True)


TORCH = os.environ.get("BASCULE_TORCH_PYTHON", sys.executable)
NETWORK = """
import sys, torch
torch.manual_seed(0)
made = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2)).eval()
torch.save(made, sys.argv[1])
print(made(torch.tensor([[1.0, 2, 3, 4]])).tolist())
"""


@pytest.mark.slow
def test_a_module_of_pytorch_is_answered_by_its_torchscript(
    trained: Path, bascule: Bascule, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = trained / "net.pth"
    told = subprocess.run([TORCH, "-c", NETWORK, str(file)], capture_output=True, text=True, check=False)
    if "No module named 'torch'" in told.stderr:
        pytest.skip("PyTorch is not installed; BASCULE_TORCH_PYTHON names a Python that has it")
    monkeypatch.setenv("BASCULE_WORKER_PYTHON", TORCH)
    registered(trained, file.name, file.read_bytes())
    wanted = [*QUICK, "--candidates", "torchscript", "--choose", "torchscript", "--json"]
    found = bascule("optimize", "net", *wanted).json()
    candidate = next(one for one in found["found"]["candidates"] if one["name"] == "torchscript")
    assert candidate["parity"]["passed"]
    assert candidate["parity"]["rows"]["missing"] > 100
    with closing(Workspace.open(trained)) as workspace:
        loader = Loader(workspace, lambda _: None)
        entry = workspace.history.get("main", "models/net")
        arguments = ("net", 1, served(entry["versions"]["1"])["artifact"], entry["runtimes"]["1"])
        model = loader.load(*arguments)
        (scripted,) = [one for one in model.runtime.consents if one._held]  # type: ignore[attr-defined]
        assert (model.engine, list(scripted._packed.files)) == ("torchscript", ["torchscript.pt"])
        row = np.array([[1.0, 2, 3, 4]])
        np.testing.assert_allclose(model.predict(row), json.loads(told.stdout), rtol=1e-6)
        # The consent covers what was made of the model too, and is taken back for all of it.
        revoke(workspace, "trust", "models/net@1", "not ours")
        loader.ask_consents()
        assert not scripted._held
        with pytest.raises(EnvironmentProblem, match="was taken back"):
            model.predict(row)
        vouching.trust(workspace, get_version(workspace, "main", "net", 1), "ours after all")
        loader.ask_consents()
        np.testing.assert_allclose(model.predict(row), json.loads(told.stdout), rtol=1e-6)
        assert not scripted._held, "the model itself answers: nobody consented to its TorchScript again"
