"""CatBoost's models of text categories, from a fit to the answers: own ones and those that MLflow's clients logged."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from bascule.errors import InputError
from bascule.history import Workspace
from bascule.serving.engines.forest import Unfit
from bascule.serving.engines.reading import forest_of
from bascule.serving.mlmodel import bundle_of
from bascule.serving.model import LoadedModel
from bascule.serving.optimizing import rows_of
from bascule.serving.optimizing.candidates import candidates
from bascule.serving.runtime import load_runtime
from bascule.training import ModelBundle, encode, unpack_model
from tests.protocols.openinference.conftest import Served, serving
from tests.serving.conftest import put_deployment, put_versions
from tests.serving.test_mlmodel import mlmodel, reader

catboost = pytest.importorskip("catboost")
pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
CITY = RNG.choice(["Oslo", "Zürich", "nan", ""], 400)
ROWS = pd.DataFrame({"x": RNG.normal(size=400), "city": CITY, "desk": RNG.integers(0, 9, 400)})
SCORE = (CITY == "Oslo") * 2 + ROWS.x + (ROWS.desk == 3)
LABEL = {"binary": SCORE > 1, "multiclass": np.digitize(SCORE, [0.0, 1.0]), "regression": SCORE}
ASKED = pd.DataFrame({"x": [0.1, -1.0, 0.4, 2.0], "city": ["Oslo", "Zürich", None, "unseen"], "desk": [3, 1, 2, 77]})
FILLED = ASKED.fillna({"city": "nan"})
COLUMNS = [{"type": kind, "name": name} for name, kind in (("x", "double"), ("city", "string"), ("desk", "long"))]


def fitted(task: str = "binary") -> Any:
    kind = catboost.CatBoostRegressor if task == "regression" else catboost.CatBoostClassifier
    made = kind(iterations=15, depth=4, verbose=0, allow_writing_files=False, thread_count=1)
    return made.fit(ROWS, LABEL[task], cat_features=["city", "desk"])


def file_of(model: Any, folder: Path) -> bytes:
    model.save_model(str(folder / "model.cbm"))
    return (folder / "model.cbm").read_bytes()


def logged(model: Any, folder: Path, inputs: Any = COLUMNS) -> ModelBundle:
    told = mlmodel("catboost", inputs, data="model.cb", model_type=type(model).__name__)
    return unpack_model(bundle_of(reader({"MLmodel": told, "model.cb": file_of(model, folder)}), {}))


def wanted(model: Any, task: str = "binary") -> np.ndarray:
    if task == "regression":
        return np.asarray(model.predict(FILLED))
    found = np.asarray(model.predict_proba(FILLED))
    return found[:, 1] if task == "binary" else found


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_model_that_a_client_logged_answers_as_its_library(task: str, tmp_path: Path) -> None:
    model = fitted(task)
    bundle = logged(model, tmp_path)
    assert [(one.name, one.type, bool(one.hashed)) for one in bundle.signature.inputs] == [
        ("x", "double", False),
        ("city", "varchar", True),
        ("desk", "bigint", False),
    ]
    table = pa.Table.from_pandas(ASKED)
    np.testing.assert_array_equal(bundle.predict(table), wanted(model, task))
    runtime = load_runtime(bundle)
    parts = runtime.contributions(encode(bundle.signature, table))  # type: ignore[attr-defined]
    raw = np.asarray(model.predict(FILLED, prediction_type="RawFormulaVal")).reshape(len(FILLED), -1)
    np.testing.assert_allclose(parts.sum(axis=2), raw, atol=1e-9)
    assert np.abs(parts[:, :, 1]).max() > 0.01  # what the text adds


def test_a_model_without_a_signature_says_itself_what_it_reads(tmp_path: Path) -> None:
    bundle = logged(fitted(), tmp_path, inputs=None)
    assert [one.type for one in bundle.signature.inputs] == ["double", "varchar", "varchar"]


def test_what_cannot_be_is_refused_by_the_inputs_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'desk' as a category, and its signature says that it is a number"):
        logged(fitted(), tmp_path, [*COLUMNS[:2], {"type": "double", "name": "desk"}])
    plain = catboost.CatBoostClassifier(iterations=2, verbose=0, allow_writing_files=False)
    plain.fit(ROWS[["x", "desk"]], LABEL["binary"])
    with pytest.raises(InputError, match="'desk' is a text, and the model does not read it as a category"):
        logged(plain, tmp_path, [COLUMNS[0], {"type": "string", "name": "desk"}])
    words = catboost.CatBoostClassifier(iterations=2, verbose=0, allow_writing_files=False)
    words.fit(ROWS[["x", "city"]].assign(city=ROWS.city + " is a town"), LABEL["binary"], text_features=["city"])
    with pytest.raises(InputError, match="reads the words of texts"):
        logged(words, tmp_path, COLUMNS[:2])
    data = bytearray(file_of(fitted(), tmp_path))
    data[len(data) // 2 :] = bytes(len(data) - len(data) // 2)
    told = mlmodel("catboost", COLUMNS, data="model.cb", model_type="CatBoostClassifier")
    with pytest.raises(InputError, match=r"The model's file 'model.cb' is refused"):
        bundle_of(reader({"MLmodel": told, "model.cb": bytes(data)}), {})


def test_why_there_is_no_onnx_is_told_as_why_its_trees_are_not_read(tmp_path: Path) -> None:
    bundle = logged(fitted(), tmp_path)
    with pytest.raises(Unfit) as why:
        forest_of(bundle)
    found = {one.name: one for one in candidates(bundle, why.value)}
    for name in ("onnx", "onnx-float32", "compiled"):
        assert getattr(found[name], "reason", "") == str(why.value)


def test_a_whole_number_that_floats_do_not_tell_apart_is_no_category(tmp_path: Path) -> None:
    """Were 2^53 + 1 taken for 2^53, the model would answer about another category, and nobody would know."""
    bundle = logged(fitted(), tmp_path)
    for desk in (2**53 - 1, 1 - 2**53):
        assert bundle.predict(pa.table({"x": [0.1], "city": ["Oslo"], "desk": [desk]})).shape == (1,)
    for desk in (2**53 + 1, -(2**53)):
        with pytest.raises(InputError, match=r"The column 'desk' of row 1 is a category of 2\^53 or more"):
            bundle.predict(pa.table({"x": [0.1] * 2, "city": ["Oslo"] * 2, "desk": [3, desk]}))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, np.ndarray]]:
    folder = tmp_path_factory.mktemp("catboost")
    ws, model = Workspace.create(folder / "ws"), fitted()
    told = mlmodel("catboost", COLUMNS, data="model.cb", model_type="CatBoostClassifier")
    put_versions(ws, {1: bundle_of(reader({"MLmodel": told, "model.cb": file_of(model, folder)}), {})}, model="cats")
    put_deployment(ws, {1: 100}, name="cats", model="cats")
    with serving(ws) as found:
        yield found, wanted(model)
    ws.close()


def test_every_way_of_asking_is_answered_alike(server: tuple[Served, np.ndarray]) -> None:
    asked, said = server
    told = asked.ask("/v2/models/cats")
    assert [(one["name"], one["datatype"]) for one in told["inputs"]] == [
        ("x", "FP64"),
        ("city", "BYTES"),
        ("desk", "INT64"),
    ]
    rows = json.loads(ASKED.to_json(orient="records"))
    found = asked.ask("/v2/models/cats/predict", {"instances": rows})["predictions"]
    assert [one["probability"] for one in found] == said.tolist()
    for row, probability in zip(rows, said.tolist(), strict=True):  # one alone goes another way
        (one,) = asked.ask("/v2/models/cats/predict", {"instances": [row]})["predictions"]
        assert one["probability"] == probability
    table, sink = (
        pa.table({"x": ASKED.x, "desk": ASKED.desk, "city": pa.array(ASKED.city).dictionary_encode()}),
        io.BytesIO(),
    )
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    code, _, body = asked.request(
        "/v2/models/cats/predict", sink.getvalue(), content_type="application/vnd.apache.arrow.stream"
    )
    assert code == 200
    assert pa.ipc.open_stream(body).read_all()["probability"].to_pylist() == said.tolist()
    (one,) = asked.ask("/v2/models/cats/predict?explain=shap", {"instances": rows[:1]})["predictions"]
    told = one["explanation"]
    assert told["base"] + sum(told["contributions"].values()) == pytest.approx(np.log(said[0] / (1 - said[0])))
    wrong = asked.error("/v2/models/cats/predict", {"instances": [{**rows[0], "city": 5}]})
    assert wrong == "The column 'city' needs a text; row 0 has 5."


@pytest.mark.parametrize("way", ["http", "http-json", "grpc"])
def test_tensors_of_tritons_client(server: tuple[Served, np.ndarray], way: str) -> None:
    client = pytest.importorskip(f"tritonclient.{way.partition('-')[0]}")
    asked, said = server
    port = asked.grpc_port if way == "grpc" else asked.port
    inputs = []
    for name, kind in (("x", "FP64"), ("city", "BYTES"), ("desk", "INT64")):
        values = FILLED[name].to_numpy(dtype=object if kind == "BYTES" else None).reshape(-1, 1)
        inputs.append(client.InferInput(name, list(values.shape), kind))
        inputs[-1].set_data_from_numpy(values, **({"binary_data": False} if way == "http-json" else {}))
    with client.InferenceServerClient(f"127.0.0.1:{port}") as made:
        np.testing.assert_array_equal(made.infer("cats", inputs).as_numpy("probability").ravel(), said)


def test_engines_are_compared_on_texts_that_the_model_knows_and_on_others(tmp_path: Path) -> None:
    bundle = logged(fitted(), tmp_path)
    with pytest.raises(Unfit, match="own statistics of categories"):
        forest_of(bundle)
    real = encode(bundle.signature, pa.Table.from_pandas(ROWS))
    groups = {one.name: one.rows for one in rows_of(bundle.signature, None, real, load_runtime(bundle).predict)}
    assert np.isnan(groups["categories"][:, 1]).any()
    within = groups["extreme numbers"][:, 1]
    assert set(within) <= set(real[:, 1])  # numbers are tried in inputs that are numbers
    for rows in groups.values():
        assert np.isfinite(load_runtime(bundle).predict(rows)).all()


def test_it_explains_itself(tmp_path: Path) -> None:
    bundle = logged(fitted(), tmp_path)
    assert LoadedModel("cats", 1, bundle, load_runtime(bundle)).explainer.possible
