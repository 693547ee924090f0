"""Bascule's own models as folders for MLflow's clients: what is in them, and that nobody writes there."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml

from bascule.history import Workspace
from bascule.protocols.mlflow.exporting import FOLDER, files_of_bundle
from bascule.registry import register
from bascule.training import Field, LinearModel, Output, Signature, pack_model, unpack_model
from bascule.training.linear import Term, write_linear
from bascule.training.trainer import TrainedModel
from tests.protocols.mlflow.conftest import Api

FILES = "/api/2.0/mlflow-artifacts/artifacts"
INPUTS = (
    Field(name="late", type="bigint"),
    Field(name="carrier", type="varchar", categories=("AA", "UA")),
    Field(name="far", type="double"),
)
ROWS = pa.table({"late": [3, None, 7], "carrier": ["UA", "new", None], "far": [0.5, 2.5, None]})


def packed_model(task: Any = "binary", classes: tuple[str, ...] = ("no", "yes")) -> bytes:
    outputs = len(classes) if task == "multiclass" else 1
    weights = tuple((0.3 * (place + 1),) * outputs for place in range(3))
    terms = (
        Term(name="late", weights=weights[:1], median=2.0, mean=1.0, scale=3.0),
        Term(name="carrier", weights=weights[1:], codes=(0, 1)),
        Term(name="far", weights=weights[:1], median=-1.0),
    )
    linear = LinearModel(task=task, intercept=tuple(0.1 * n for n in range(outputs)), terms=terms, prior=(0.5,))
    signature = Signature(inputs=INPUTS, output=Output(task=task, classes=classes))
    return pack_model(TrainedModel(format="linear", artifact=write_linear(linear), signature=signature))


def put(workspace: Workspace, packed: bytes) -> str:
    digest = workspace.store.put(packed)
    bundle = unpack_model(packed)
    told = {"artifact": digest, "format": bundle.format, "signature": bundle.signature.as_dict()}
    report = {"passed": True, "gates": []}
    register(workspace, "main", "delays", training_set="t", evaluation=report, alias="production", **told)  # type: ignore[arg-type]
    return digest


@pytest.fixture
def loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Loads a bundle by the loader that goes out with it, from files on the disk."""

    def load(packed: bytes) -> Any:
        for name, data in files_of_bundle(unpack_model(packed), "0" * 64).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(data)
        monkeypatch.syspath_prepend(tmp_path / "code")
        sys.modules.pop("bascule_pyfunc", None)
        return import_module("bascule_pyfunc")._load_pyfunc(str(tmp_path / "data"))

    yield load
    sys.modules.pop("bascule_pyfunc", None)


def test_the_loader_says_what_the_model_says(loader: Any) -> None:
    pd = pytest.importorskip("pandas")
    lightgbm = pytest.importorskip("lightgbm")
    data = lightgbm.Dataset(np.random.default_rng(1).normal(size=(60, 3)), np.arange(60) % 2)
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}, data, 3)
    signature = Signature(inputs=INPUTS, output=Output(task="binary", classes=("no", "yes")))
    trees = TrainedModel(format="lightgbm", artifact=booster.model_to_string().encode(), signature=signature)
    for packed in (
        packed_model(),
        packed_model("regression", ()),
        packed_model("multiclass", ("a", "b", "c")),
        pack_model(trees),
    ):
        model, bundle = loader(packed), unpack_model(packed)
        wanted = bundle.predict(ROWS)
        for rows in (ROWS.to_pandas(), ROWS.to_pydict(), [list(one.values()) for one in ROWS.to_pylist()]):
            found = model.predict(rows)
            assert np.array_equal(np.asarray(found), wanted)
        if bundle.signature.output.task == "multiclass":
            assert list(found.columns) == ["a", "b", "c"]
    for rows, words in (
        (pd.DataFrame({"late": [1]}), "no column 'carrier', 'far'"),
        ([[1, "UA"]], "3 inputs a row"),
        ({"late": ["x"], "carrier": ["UA"], "far": [1]}, "'late' must hold bigint"),
        ({"late": [1], "carrier": [5], "far": [1]}, "'carrier' must hold varchar"),
    ):
        with pytest.raises(ValueError, match=words):
            model.predict(rows)


def test_a_models_folder_is_read_and_not_written(api: Api, local_workspace: Workspace) -> None:
    digest = put(local_workspace, packed_model())
    asked = {"name": "delays", "version": "1"}
    uri = api("GET", "model-versions/get-download-uri", **asked)["artifact_uri"]
    assert uri == f"mlflow-artifacts:/{FOLDER}/{digest}"
    listed = api("GET", FILES, path=f"{FOLDER}/{digest}")["files"]
    assert [one["path"] for one in listed] == ["MLmodel", "code", "data", "python_env.yaml", "requirements.txt"]
    assert api("GET", FILES, path=f"{FOLDER}/{digest}/code")["files"][0]["path"] == "bascule_pyfunc.py"
    found = api.http.get(f"{FILES}/{FOLDER}/{digest}/MLmodel")
    about = yaml.safe_load(io.BytesIO(found.content))
    assert about["flavors"]["bascule"]["digest"] == digest
    assert found.headers["content-type"].startswith("text/plain")
    assert found.headers["content-disposition"] == 'attachment; filename="MLmodel"'
    plain = api.http.get("/model-versions/get-artifact", params={**asked, "path": "MLmodel"})
    assert plain.content == found.content
    for path in (
        f"{FOLDER}/{digest}/code/bascule_pyfunc.py",
        f"{FOLDER}/x",
        f"0/..%2f{FOLDER}/x",
        f"%62ascule-models/{digest}/x",
    ):
        for method in ("PUT", "DELETE"):
            assert api.http.request(method, f"{FILES}/{path}", content=b"evil").status_code in (400, 403), path
    other = local_workspace.store.put(b"a secret that is no model")
    for path in (
        f"{FOLDER}/{other}/MLmodel",
        f"{FOLDER}/{'0' * 64}/MLmodel",
        f"{FOLDER}/x/MLmodel",
        f"{FOLDER}/{digest}/no",
    ):
        assert api.http.get(f"{FILES}/{path}").status_code == 404
        assert api("GET", FILES, path=path) == {}
    assert api.http.get(f"{FILES}/{FOLDER}/{digest}/code").status_code == 400
    named = {"name": "e", "artifact_location": f"mlflow-artifacts:/{FOLDER}/{digest}"}
    assert api.refusal("POST", "experiments/create", named)[0] == 400
