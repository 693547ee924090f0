"""Models that MLflow's clients logged, served: the formats that run no code, and what is told of others."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bascule.delivery import deploy, read_deployment
from bascule.errors import BasculeError, CheckFailed, InputError, NotFound
from bascule.history import Workspace
from bascule.project.linking import broken_references
from bascule.project.place import Place
from bascule.project.querying import query
from bascule.project.scoring import load_at
from bascule.project.shipping import deploy_version
from bascule.registry import external
from bascule.registry.versions import served
from bascule.serving.deployment import serve_deployment
from bascule.serving.loading import Loader
from bascule.serving.mlmodel import bundle_of, bundle_of_pickles
from bascule.serving.model import LoadedModel
from bascule.serving.rows import Rows
from bascule.serving.runtime import load_runtime
from bascule.serving.shapley import Explainer
from bascule.tracking.artifacts import Artifacts
from bascule.training import unpack_model
from tests.training.test_trials import damaged

ROWS = np.random.default_rng(0).normal(size=(80, 3))
LABEL = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)
COLUMNS = [{"type": kind, "name": name} for name, kind in (("a", "double"), ("b", "long"), ("c", "float"))]


def mlmodel(flavor: str, inputs: Any = COLUMNS, **told: Any) -> bytes:
    signature = {"inputs": json.dumps(inputs)} if inputs else None
    return json.dumps({"flavors": {"python_function": {}, flavor: told}, "signature": signature}).encode()


def reader(files: Mapping[str, bytes]) -> Callable[[str, int], bytes]:
    def read(path: str, most: int) -> bytes:
        if path not in files:
            raise NotFound("artifact", path)
        return files[path]

    return read


def sklearn_files(task: str = "binary") -> tuple[dict[str, bytes], Any]:
    skops = pytest.importorskip("skops.io")
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    label = {"binary": LABEL, "multiclass": LABEL + (ROWS[:, 2] > 1), "regression": ROWS @ [1.0, 2.0, 3.0]}[task]
    last = LinearRegression() if task == "regression" else LogisticRegression()
    fitted = make_pipeline(StandardScaler(), last).fit(ROWS, label)
    told = mlmodel("sklearn", pickled_model="model.skops", serialization_format="skops", sklearn_version="1.9.1")
    return {"MLmodel": told, "model.skops": skops.dumps(fitted)}, fitted


def categorical_booster(values: list[Any], typed: bool = True) -> tuple[dict[str, bytes], Any, Any]:
    """A LightGBM model of a number and a pandas category, with the rows that it learned from."""
    lightgbm = pytest.importorskip("lightgbm")
    import pandas as pd

    rng = np.random.default_rng(5)
    rows = pd.DataFrame({"x": rng.normal(size=600), "kind": rng.choice(np.array(values, dtype=object), 600)})
    label = rng.random(600) < np.where(rows["kind"] == values[1], 0.9, 0.1)
    rows["kind"] = rows["kind"].astype("category")
    settings = {"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_per_group": 5, "cat_smooth": 1}
    booster = lightgbm.train(settings, lightgbm.Dataset(rows, label.astype(int)), 5)
    kind = "string" if isinstance(values[0], str) else "long"
    inputs = [{"type": "double", "name": "x"}, {"type": kind, "name": "kind"}] if typed else None
    told = mlmodel("lightgbm", inputs, data="model.lgb")
    return {"MLmodel": told, "model.lgb": booster.model_to_string().encode()}, booster, rows


@pytest.mark.parametrize("typed", [True, False])
def test_a_lightgbm_booster_of_pandas_categories(typed: bool) -> None:
    files, booster, rows = categorical_booster(["oslo", "bergen", "Å"], typed)
    bundle = unpack_model(bundle_of(reader(files), {}))
    kind = bundle.signature.inputs[1]
    assert (kind.type, kind.categories) == ("varchar", ("bergen", "oslo", "Å"))
    model = LoadedModel("b", 1, bundle, load_runtime(bundle))
    columns = {"x": rows["x"].tolist(), "kind": rows["kind"].tolist()}
    columns["kind"][:2] = [None, "unseen"]
    rows["kind"] = [None, None, *rows["kind"][2:]]
    expected = booster.predict(rows.astype({"kind": "category"}))
    found = model.score(Rows(600, columns), 0)[0]
    assert found == expected.tolist()
    assert len(set(found[2:])) > 1


def test_xgboosts_categories_of_numbers_are_places_too() -> None:
    xgboost = pytest.importorskip("xgboost")
    import pandas as pd

    def files(values: list[int]) -> dict[str, bytes]:
        rows = pd.DataFrame({"x": ROWS[:, 0], "kind": np.resize(values, len(ROWS))}).astype({"kind": "category"})
        model = xgboost.XGBClassifier(n_estimators=2, max_depth=2, enable_categorical=True).fit(rows, LABEL)
        inputs = [{"type": "double", "name": "x"}, {"type": "long", "name": "kind"}]
        told = mlmodel("xgboost", inputs, data="model.ubj")
        return {"MLmodel": told, "model.ubj": bytes(model.get_booster().save_raw("ubj"))}

    with pytest.raises(InputError, match=r"'kind' was a pandas category of \[2007, 2008\], which XGBoost"):
        bundle_of(reader(files([2007, 2008])), {})
    assert unpack_model(bundle_of(reader(files([0, 1])), {})).signature.names() == ("x", "kind")


def test_numbers_that_were_pandas_categories_are_refused_where_they_are_no_places() -> None:
    files, booster, rows = categorical_booster([2007, 2008, 2009])
    with pytest.raises(InputError, match=r"'kind' was a pandas category of \[2007, 2008, 2009\]"):
        bundle_of(reader(files), {})
    with pytest.raises(InputError, match=r"were pandas categories, \[\[2007, 2008, 2009\]\]"):
        bundle_of_pickles({"model.pkl": pickle.dumps(booster)}, "b", {})
    files, booster, rows = categorical_booster([0, 1, 2])
    assert unpack_model(bundle_of_pickles({"model.pkl": pickle.dumps(booster)}, "b", {})).format == "pickled"
    bundle = unpack_model(bundle_of(reader(files), {}))
    model = LoadedModel("b", 1, bundle, load_runtime(bundle))
    matrix = rows.astype({"kind": int}).to_numpy(dtype=np.float64)
    assert model.score(Rows(600, None, matrix), 0)[0] == booster.predict(rows).tolist()
    cut = files["model.lgb"].replace(b"pandas_categorical:[[0, 1, 2]]", b"pandas_categorical:[[0, 1, 2], [5]]")
    assert cut != files["model.lgb"]
    with pytest.raises(InputError, match="2 columns of pandas categories"):
        bundle_of(reader({**files, "model.lgb": cut}), {})


@pytest.mark.slow
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_scikit_learn_in_a_skops_file(task: str) -> None:
    files, fitted = sklearn_files(task)
    bundle = unpack_model(bundle_of(reader(files), {"source": "here"}))
    assert (bundle.format, bundle.signature.output.task, bundle.meta["libraries"]) == (
        "skops",
        task,
        {"sklearn": "1.9.1"},
    )
    assert [(one.name, one.type) for one in bundle.signature.inputs] == [
        ("a", "double"),
        ("b", "bigint"),
        ("c", "double"),
    ]
    wanted = fitted.predict(ROWS) if task == "regression" else fitted.predict_proba(ROWS)
    wanted = wanted[:, 1] if task == "binary" else wanted
    assert np.array_equal(bundle.predictor.predict(ROWS), wanted)
    assert bundle.signature.output.classes == {"binary": ("0", "1"), "multiclass": ("0", "1", "2")}.get(task, ())
    model = LoadedModel("clf", 1, bundle, load_runtime(bundle))
    for count in (1, 2):  # it takes no gaps: the one that has one is named
        with pytest.raises(InputError, match=f"'c' of row {count - 1} is missing .*takes no missing ones: .*NaN"):
            model.score(Rows(count, {"a": [0.5] * count, "b": [1] * count, "c": [*[0.1] * (count - 1), None]}), 0)


def test_a_lightgbm_booster() -> None:
    lightgbm = pytest.importorskip("lightgbm")
    data = lightgbm.Dataset(ROWS, LABEL, feature_name=["c", "a", "b"])
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}, data, 5)
    files = {"MLmodel": mlmodel("lightgbm", data="model.lgb"), "model.lgb": booster.model_to_string().encode()}
    bundle = unpack_model(bundle_of(reader(files), {}))
    assert (bundle.format, bundle.signature.names()) == ("lightgbm", ("c", "a", "b"))  # as the model reads them
    assert bundle.signature.inputs[2].type == "bigint"
    assert np.array_equal(bundle.predictor.predict(ROWS), booster.predict(ROWS))
    files["model.lgb"] = files["model.lgb"].replace(b"\nleft_child=", b"\nleft_child=9", 1)
    with pytest.raises(InputError, match=r"'model\.lgb' is refused.*its tree 0 leads out of itself"):
        bundle_of(reader(files), {})


@pytest.mark.parametrize("gaps", [False, True])
def test_texts_are_what_the_encoders_of_a_pipeline_know(gaps: bool) -> None:
    skops, pandas = pytest.importorskip("skops.io"), pytest.importorskip("pandas")
    from sklearn.compose import make_column_transformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    rows = pandas.DataFrame({"size": [1.0, 2.0, 3.0, 4.0] * 5, "city": ["Oslo", "Rome", "Bonn", "Oslo"] * 5})
    if gaps:
        rows.loc[3, "city"] = None
    encoder = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough")
    fitted = make_pipeline(encoder, LogisticRegression()).fit(rows.astype({"city": object}), [0, 1, 0, 1] * 5)
    told = [{"type": "double", "name": "size"}, {"type": "string", "name": "city"}]
    held = {"MLmodel": mlmodel("sklearn", told, pickled_model="m.skops"), "m.skops": skops.dumps(fitted)}
    bundle = unpack_model(bundle_of(reader(held), {}))
    # A missing text that is another thing than an unseen one has no code: the pipeline is given the texts.
    assert [one.categories for one in bundle.signature.inputs] == [None, None if gaps else ("Bonn", "Oslo", "Rome")]
    model = LoadedModel("clf", 1, bundle, load_runtime(bundle))
    given = {"size": [2.0, 2.0, 2.5], "city": ["Rome", "Nowhere", None]}
    outputs, _, _ = model.score(Rows(columns=given, count=3), 0)
    itself = pandas.DataFrame(given) if gaps else pandas.DataFrame(given).astype({"city": object})
    assert outputs == fitted.predict_proba(itself)[:, 1].tolist()


def test_a_booster_whose_categories_end_xgboost_is_refused_by_its_file() -> None:
    broken, _ = damaged(categories_segments=[1_000_000_000])
    with pytest.raises(InputError, match=r"'model\.ubj' is refused.*ended the process that tried it \(SIG"):
        bundle_of(reader({"MLmodel": mlmodel("xgboost", data="model.ubj"), "model.ubj": broken}), {})


def onnx_model(classes: bool) -> bytes:
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    weights = helper.make_tensor("w", TensorProto.FLOAT, [3, 2 if classes else 1], [1.0] * (6 if classes else 3))
    nodes = [helper.make_node("MatMul", ["x", "w"], ["m"])]
    outputs = [helper.make_tensor_value_info("m", TensorProto.FLOAT, [None, 1])]
    if classes:
        nodes += [
            helper.make_node("Softmax", ["m"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["m"], ["label"], axis=1, keepdims=0),
        ]
        outputs = [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 3])]
    graph = helper.make_graph(nodes, "g", given, outputs, [weights])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(onnx.ModelProto.SerializeToString(made))


@pytest.mark.parametrize("classes", [True, False])
def test_an_onnx_model(classes: bool) -> None:
    pytest.importorskip("onnxruntime")
    tensor = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]
    files = {"MLmodel": mlmodel("onnx", tensor, data="model.onnx"), "model.onnx": onnx_model(classes)}
    bundle = unpack_model(bundle_of(reader(files), {}))
    assert bundle.signature.names() == ("x0", "x1", "x2")
    assert bundle.signature.output.task == ("binary" if classes else "regression")
    wanted = np.full(80, 0.5) if classes else ROWS.astype(np.float32).sum(axis=1)
    assert np.allclose(bundle.predictor.predict(ROWS), wanted, atol=1e-5)


def with_example(files: dict[str, bytes], example: Any) -> dict[str, bytes]:
    told = {**json.loads(files["MLmodel"]), "saved_input_example_info": {"artifact_path": "input_example.json"}}
    return {**files, "MLmodel": json.dumps(told).encode(), "input_example.json": json.dumps(example).encode()}


@pytest.mark.parametrize("form", ["columns", "matrix"])
def test_an_input_example_is_what_answers_are_explained_against(form: str) -> None:
    pytest.importorskip("onnxruntime")
    tensor = [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}]
    matrix, regression = {"inputs": ROWS[:9].tolist()}, form == "matrix"
    files, names = sklearn_files()[0], ("a", "b", "c")
    example: Any = {"columns": names, "data": [[a, round(b), None] for a, b, _ in ROWS[:9].tolist()]}
    if regression:
        files, example = {"MLmodel": mlmodel("onnx", tensor, data="m.onnx"), "m.onnx": onnx_model(False)}, matrix
    bundle = unpack_model(bundle_of(reader(with_example(files, example)), {}))
    assert bundle.background is not None
    assert bundle.background.shape == (64, 3)
    assert set(bundle.background[:, 0]) <= set(ROWS[:9, 0])
    assert np.isnan(bundle.background[:, 2]).all() != regression
    explainer = Explainer("it", bundle, load_runtime(bundle))
    assert explainer.possible
    if regression:
        told = explainer.tell(ROWS[:2])
        assert (told.method, told.scale) == ("sampled shap", "value")
        assert told.values[:, 0, :3] == pytest.approx(ROWS[:2] - bundle.background.mean(axis=0), abs=1e-5)
    for wrong in ({"columns": ["z"], "data": [[1.0]]}, {"inputs": [[1.0]]}, {"inputs": "no"}):
        assert unpack_model(bundle_of(reader(with_example(files, wrong)), {})).background is None
    absent = {name: data for name, data in with_example(files, example).items() if name != "input_example.json"}
    assert unpack_model(bundle_of(reader(absent), {})).background is None


class Evil:
    """What writes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return (Path.touch, (Path("/tmp/bascule-was-unpickled"),))


@pytest.mark.slow
def test_what_cannot_be_served_is_told_and_never_run() -> None:
    files, _ = sklearn_files()
    evil, mark = pickle.dumps(Evil()), Path("/tmp/bascule-was-unpickled")
    mark.unlink(missing_ok=True)
    text = {"type": "string", "name": "a"}
    damaged = files["model.skops"][:-30]
    skops = {"pickled_model": "model.skops"}
    for held, words in (
        ({"MLmodel": mlmodel("sklearn", pickled_model="model.pkl"), "model.pkl": evil}, "kept as pickle"),
        ({"MLmodel": mlmodel("lightgbm", data="model.pkl"), "model.pkl": evil}, "kept as pickle"),
        ({"MLmodel": mlmodel("xgboost", data="model.pkl"), "model.pkl": evil}, "no XGBoost model|package xgboost"),
        ({"MLmodel": mlmodel("onnx", data="model.onnx"), "model.onnx": evil}, "ONNX Runtime cannot read"),
        ({"MLmodel": mlmodel("pytorch", model_data="data"), "data": evil}, "flavor pytorch"),
        ({"MLmodel": mlmodel("sklearn", **skops), "model.skops": b"PK" + evil}, "no skops file"),
        ({"MLmodel": mlmodel("sklearn", **skops), "model.skops": damaged}, "no skops file"),
        ({"MLmodel": mlmodel("onnx", [text], data="m"), "m": b""}, "the type 'string'"),
        ({"MLmodel": mlmodel("sklearn", COLUMNS[:2], **skops), "model.skops": files["model.skops"]}, None),
        ({"MLmodel": mlmodel("sklearn", **skops)}, "is missing"),
        ({"MLmodel": mlmodel("sklearn", pickled_model="../../x")}, "names '../../x'"),
        ({"MLmodel": mlmodel("sklearn", pickled_model=["a"])}, "is missing"),
        ({"MLmodel": b"flavors: ["}, "cannot be read"),
        ({"MLmodel": b"flavors: 3"}, "python_function alone"),
        ({"MLmodel": b"3"}, "says nothing"),
        ({}, "no MLmodel"),
    ):
        if words is None:  # the model itself says how many inputs it reads
            assert len(unpack_model(bundle_of(reader(held), {})).signature.inputs) == 3
            continue
        with pytest.raises(BasculeError, match=words):
            bundle_of(reader(held), {})
    assert not mark.exists()


@pytest.mark.slow
def test_a_version_that_a_client_registered_is_asked_at_any_state(local_workspace: Workspace) -> None:
    files, fitted = sklearn_files()
    for name, data in files.items():
        Artifacts(local_workspace).put(f"0/r/artifacts/model/{name}", BytesIO(data))
    source = "mlflow-artifacts:/0/r/artifacts/model"
    external.create_model(local_workspace, "main", "clf", author="ana")
    about = {"source": source, "run_id": "", "tags": {}}
    external.create_version(local_workspace, "main", "clf", about, artifact=source, author="ana")
    local_workspace.history.tag("v1")
    before = local_workspace.history.resolve("main").id
    wanted = fitted.predict_proba([[0.5, 1, 0.1]])[:, 1].tolist()
    for ref in ("main", "v1", before):
        assert [
            row["p"] for row in query(local_workspace, "select predict('clf@1', {a: 0.5, b: 1, c: 0.1}) p", ref=ref)
        ] == wanted
        assert (
            load_at(local_workspace, ref, "clf").score(Rows(columns={"a": [0.5], "b": [1], "c": [0.1]}, count=1), 0)[0]
            == wanted
        )
    assert local_workspace.history.resolve("main").id == before  # who asks changes nothing


@pytest.mark.slow
def test_a_version_that_a_client_registered_is_deployed_and_answers(local_workspace: Workspace) -> None:
    files, fitted = sklearn_files()
    source, artifacts = "mlflow-artifacts:/0/r/artifacts/model", Artifacts(local_workspace)
    for name, data in files.items():
        artifacts.put(f"0/r/artifacts/model/{name}", BytesIO(data))
    external.create_model(local_workspace, "main", "clf", author="ana")
    about = {"source": source, "run_id": "", "tags": {}}
    for _ in range(2):
        external.create_version(local_workspace, "main", "clf", about, artifact=source, author="ana")
    assert list(broken_references(local_workspace, local_workspace.history.resolve("main").id)) == []
    deploy(local_workspace, "main", "clf", "clf", 1, by="ana")
    entry = external.find_version(external.find_model(local_workspace, "main", "clf"), "1")
    assert (external.files_of(entry), entry["format"], entry["signature"]) == (
        source,
        "mlflow",
        {},
    )  # it stays what it was
    assert (served(entry)["format"], served(entry)["signature"]["output"]["task"]) == ("skops", "binary")
    assert read_deployment(local_workspace, "main", "clf")["traffic"] == [{"version": 1, "weight": 100}]
    assert list(broken_references(local_workspace, local_workspace.history.resolve("main").id)) == []
    loaded = Loader(local_workspace, lambda _: None).load("clf", 1, served(entry)["artifact"])
    rows = Rows(columns={"a": [0.5, -2.0], "b": [1, 0], "c": [0.1, 3.0]}, count=2)
    outputs, _, _ = loaded.score(rows, 0)
    assert outputs == fitted.predict_proba([[0.5, 1, 0.1], [-2.0, 0, 3.0]])[:, 1].tolist()
    with pytest.raises(InputError, match="'c'"):
        loaded.score(Rows(columns={"a": [0.5], "b": [1]}, count=1), 0)
    # A pickle is refused, and nothing was changed.
    artifacts.put("0/r/artifacts/model/MLmodel", BytesIO(mlmodel("sklearn", pickled_model="model.pkl")))
    artifacts.put("0/r/artifacts/model/model.pkl", BytesIO(pickle.dumps(fitted)))
    before = local_workspace.history.resolve("main").id
    with pytest.raises(CheckFailed, match="clf@2 runs code when it is loaded, and nobody has consented"):
        deploy(local_workspace, "main", "clf", "clf", 2, by="ana")
    assert local_workspace.history.resolve("main").id == before


@pytest.mark.slow
def test_a_model_of_any_name_is_deployed_under_one_that_addresses_hold(local_workspace: Workspace) -> None:
    name, place = "My flights (é) model", Place(local_workspace.folder.parent)
    source, artifacts = "mlflow-artifacts:/0/r/artifacts/model", Artifacts(local_workspace)
    for path, data in sklearn_files()[0].items():
        artifacts.put(f"0/r/artifacts/model/{path}", BytesIO(data))
    about = {"source": source, "run_id": "", "tags": {}}
    for model in (name, "My flights (è) model"):
        external.create_model(local_workspace, "main", model, author="ana")
        external.create_version(local_workspace, "main", model, about, artifact=source, author="ana")
    assert list(deploy_version(place, name, "1").deployments) == ["My-flights-model"]
    assert set(deploy_version(place, "flights", "1", model=name).deployments) == {"My-flights-model", "flights"}
    assert not deploy_version(place, name, "1").changed
    with pytest.raises(InputError, match="serves model 'My flights \\(é\\) model'"):
        deploy_version(place, "My flights (è) model", "1")
    head = local_workspace.history.resolve("main")
    found = local_workspace.history.get(head, "deployments/My-flights-model")
    loader = Loader(local_workspace, lambda _: None)
    served_now = serve_deployment(local_workspace, "main", head, found, loader.load, None)
    assert (served_now.problem, list(served_now.models)) == ("", [1])
    assert external.find_model(local_workspace, "main", name)["aliases"] == {"production": 1}
    assert list(broken_references(local_workspace, head.id)) == []
    with pytest.raises(NotFound, match="named 'My flight model'") as refused:
        deploy_version(place, "My flight model", "1")
    assert name in refused.value.hint
    for bad in ("a/b", "a:b", " "):
        with pytest.raises(InputError, match="Invalid name"):
            deploy_version(place, bad, "1")
