"""Pickles, served: only by consent to their bytes, and only in a process of their own."""

from __future__ import annotations

import json
import os
import pickle
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from bascule.delivery import deploy
from bascule.errors import BasculeError, CheckFailed, EnvironmentProblem, InputError
from bascule.history import Workspace
from bascule.registry import external
from bascule.registry.seals import revoke
from bascule.registry.versions import get_version, served
from bascule.server import ServerSettings
from bascule.server.app import create_app
from bascule.serving import DataPlane, Query, score
from bascule.serving.loading import Loader
from bascule.serving.mlmodel import bundle_of_pickles
from bascule.serving.pickled import PickledRuntime, process
from bascule.serving.rows import Rows
from bascule.serving.shapley import Explainer
from bascule.tracking import vouching
from bascule.tracking.artifacts import Artifacts
from bascule.training import unpack_model
from tests.serving.test_mlmodel import LABEL, ROWS, mlmodel

sklearn = pytest.importorskip("sklearn")
cloudpickle = pytest.importorskip("cloudpickle")


class Odd:
    """A model of somebody's own: it writes down which process it is in, and does what its first input says."""

    n_features_in_ = 2

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ = state
        with open(state["mark"], "a") as told:
            told.write(f"{os.getpid()} {'SECRET_TOKEN' in os.environ}\n")

    def predict(self, rows: Any) -> Any:
        what = rows[0][0]
        if what == 1:
            raise ValueError("no such row")
        if what == 2:
            os._exit(7)
        if what == 3:
            time.sleep(60)
        if what == 4:
            return [["a"]] * len(rows)
        return rows[:, 1] * 2


@pytest.fixture
def put(local_workspace: Workspace) -> Iterator[Callable[..., None]]:
    """Registers a version of the model `clf` from files, as a client does."""
    ws, count = local_workspace, 0

    def make(**files: bytes) -> None:
        nonlocal count
        count += 1
        folder = f"0/r{count}/artifacts/model"
        for name, data in files.items():
            Artifacts(ws).put(f"{folder}/{name.replace('__', '.')}", BytesIO(data))
        place = f"mlflow-artifacts:/{folder}"
        if count == 1:
            external.create_model(ws, "main", "clf", author="ana")
        about = {"source": place, "run_id": "", "tags": {}}
        facts = vouching.registered(ws, place)
        external.create_version(ws, "main", "clf", about, artifact=place, author="ana", facts=facts)

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield make
    cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


def consent(ws: Workspace, version: int) -> None:
    vouching.trust(ws, get_version(ws, "main", "clf", version), "made by us")


def rows(*values: tuple[float, float]) -> Rows:
    return Rows(columns={"x0": [one for one, _ in values], "x1": [two for _, two in values]}, count=len(values))


def wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
def test_a_plain_pickle_answers_from_a_process_of_its_own(
    local_workspace: Workspace, put: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws, mark = local_workspace, tmp_path / "loaded"
    monkeypatch.setenv("SECRET_TOKEN", "x")
    put(my__pkl=cloudpickle.dumps(Odd(str(mark))))
    with pytest.raises(CheckFailed, match="nobody has consented to it"):
        deploy(ws, "main", "clf", "clf", 1, by="ana")
    assert not mark.exists()
    consent(ws, 1)
    deploy(ws, "main", "clf", "clf", 1, by="ana")
    plane = DataPlane(ws, reader_of=lambda _: None, poll_s=0.05)
    plane.start()
    try:
        state = plane.state()
        assert state is not None
        deployment = state.deployment("clf")
        runtime = deployment.first.runtime
        assert isinstance(runtime, PickledRuntime)
        assert deployment.first.inline_rows == 0
        assert deployment.first.score(rows((0, 2.5), (0, 1)), 0)[0] == [5.0, 2.0]
        assert score(deployment, Query(rows((1, 0)))).error == "RuntimeError: ValueError: no such row"
        assert "other things than numbers" in str(score(deployment, Query(rows((4, 0)))).error)
        assert "ended with code 7" in str(score(deployment, Query(rows((2, 0)))).error)
        assert deployment.first.score(rows((0, 1)), 0)[0] == [2.0]  # by a new process
        monkeypatch.setattr(process, "ANSWER_S", 0.3)
        assert "did not answer within 0.3 s" in str(score(deployment, Query(rows((3, 0)))).error)
        told = [line.split() for line in mark.read_text().splitlines()]
        assert len({pid for pid, _ in told} - {str(os.getpid())}) == len(told) == 3  # described, served, and again
        assert {secret for _, secret in told} == {"False"}
        # Consent is taken back: nothing answers, and its process is gone. Given again, it answers again.
        revoke(ws, "trust", "models/clf@1", "not ours")
        wait(lambda: not runtime.allowed)
        assert not runtime._held
        assert not plane.is_ready(deployment)
        with pytest.raises(EnvironmentProblem, match="was taken back"):
            score(deployment, Query(rows((0, 1))))
        consent(ws, 1)
        wait(lambda: runtime.allowed)
        assert plane.is_ready(deployment)
    finally:
        plane.stop()


@pytest.mark.slow
def test_a_pickle_is_explained_by_asking_its_process(tmp_path: Path) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    try:
        data = cloudpickle.dumps(Odd(str(tmp_path / "loaded")))
    finally:
        cloudpickle.unregister_pickle_by_value(sys.modules[__name__])
    columns = json.dumps([{"type": "double", "name": name} for name in ("x0", "x1")])
    told = {
        "flavors": {
            "python_function": {},
            "sklearn": {"pickled_model": "my.pkl", "serialization_format": "cloudpickle"},
        },
        "signature": {"inputs": columns},
        "saved_input_example_info": {"artifact_path": "input_example.json"},
    }
    example = json.dumps({"columns": ["x0", "x1"], "data": [[0.0, float(k)] for k in range(9)]}).encode()
    files = {"MLmodel": json.dumps(told).encode(), "my.pkl": data, "input_example.json": example}
    bundle = unpack_model(bundle_of_pickles(files, "clf@1", {}))
    runtime = PickledRuntime(bundle, "models/clf@1")
    try:
        explainer = Explainer("clf", bundle, runtime)
        told_of = explainer.tell(np.array([[0.0, 10.0]]))
        assert (told_of.method, told_of.scale) == ("sampled shap", "value")
        assert told_of.values[0, 0].tolist() == pytest.approx([0.0, 12.0, 8.0])  # twice x1, whose mean is 4
        with pytest.raises(RuntimeError, match="no such row"):
            explainer.tell(np.array([[1.0, 10.0]]))
    finally:
        runtime.allowed = False


@pytest.mark.slow
def test_other_bytes_need_consent_of_their_own(
    local_workspace: Workspace, put: Callable[..., None], tmp_path: Path
) -> None:
    from sklearn.linear_model import LogisticRegression

    ws, fitted = local_workspace, LogisticRegression().fit(ROWS, LABEL)
    told = mlmodel("sklearn", pickled_model="model.pkl", serialization_format="cloudpickle")
    put(MLmodel=told, model__pkl=pickle.dumps(fitted))
    consent(ws, 1)
    Artifacts(ws).put("0/r1/artifacts/model/model.pkl", BytesIO(pickle.dumps(LogisticRegression(C=2).fit(ROWS, LABEL))))
    with pytest.raises(CheckFailed, match="its files have changed since"):
        deploy(ws, "main", "clf", "clf", 1, by="ana")
    Artifacts(ws).put("0/r1/artifacts/model/model.pkl", BytesIO(pickle.dumps(fitted)))
    deploy(ws, "main", "clf", "clf", 1, by="ana")
    entry = external.find_version(external.find_model(ws, "main", "clf"), "1")
    assert (served(entry)["format"], served(entry)["signature"]["output"]["classes"]) == ("pickled", ["0", "1"])
    artifact = served(entry)["artifact"]
    loaded = Loader(ws, lambda _: None).load("clf", 1, artifact)
    given = Rows(columns={"a": [0.5, -2.0], "b": [1, 0], "c": [0.1, 3.0]}, count=2)
    assert loaded.score(given, 0)[0] == fitted.predict_proba([[0.5, 1, 0.1], [-2.0, 0, 3.0]])[:, 1].tolist()
    # The same bundle under the number of a version that nobody consented to, and where consent was taken back.
    with pytest.raises(InputError, match="no consent to these bytes holds"):
        Loader(ws, lambda _: None).load("clf", 2, artifact)
    revoke(ws, "trust", "models/clf@1", "not ours")
    with pytest.raises(InputError, match="no consent to these bytes holds"):
        Loader(ws, lambda _: None).load("clf", 1, artifact)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"m__pkl": pickle.dumps({"model": 1})}, "holds a dict, which has no predict"),
        ({"m__pkl": pickle.dumps(len)[:-3]}, "cannot be loaded by"),
        ({"m__pkl": pickle.dumps(len), "n__pkl": pickle.dumps(len)}, "and 2 pickles"),
        ({"MLmodel": mlmodel("pytorch", model_data="d"), "d.pkl": pickle.dumps(len)}, "BASCULE_WORKER_PYTHON"),
    ],
)
def test_what_is_no_model_is_told_when_it_is_deployed(
    local_workspace: Workspace, put: Callable[..., None], files: dict[str, bytes], words: str
) -> None:
    put(**files)
    consent(local_workspace, 1)
    before = local_workspace.history.resolve("main").id
    with pytest.raises(BasculeError, match=words) as found:
        deploy(local_workspace, "main", "clf", "clf", 1, by="ana")
    assert words in f"{found.value.message} {found.value.hint}"
    assert local_workspace.history.resolve("main").id == before


@pytest.mark.slow
def test_consent_over_http(local_workspace: Workspace, put: Callable[..., None]) -> None:
    put(m__pkl=pickle.dumps(LABEL))
    client = TestClient(create_app(local_workspace, ServerSettings()), base_url="http://127.0.0.1:7400")
    at = "/api/bascule/v1/models/clf/versions/1"
    found = client.get(f"{at}/safety").json()
    assert (found["level"], found["trusted"]) == ("pickle", None)
    assert client.post(f"{at}/trust", json={"reason": " "}).status_code == 400
    made = client.post(f"{at}/trust", json={"reason": "made by us"})
    assert (made.status_code, made.json()["digest"]) == (200, found["digest"])
    assert client.get(f"{at}/safety").json()["trusted"]["reason"] == "made by us"
    assert client.post(f"{at}/distrust", json={"reason": "not ours"}).status_code == 200
    assert client.get(f"{at}/safety").json()["trusted"] is None
    log = client.get("/api/bascule/v1/audit", params={"subject": "models/clf@1"}).json()["entries"]
    assert [one["action"] for one in log] == ["untrust", "trust"]
