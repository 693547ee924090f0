"""Pipelines over columns of numbers and texts answer by ONNX as scikit-learn does: thresholds, missing, unseen."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from bascule.serving.engines.converting import onnx_of_estimator
from bascule.serving.engines.forest import Unfit
from bascule.serving.engines.onnx import OnnxRuntime
from bascule.serving.engines.pipelines import onnx_of_columns
from bascule.serving.optimizing import Comparing, rows_of
from bascule.serving.runtime import load_runtime
from bascule.training import Field, ModelBundle, Output, Signature

pd = pytest.importorskip("pandas")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")
pytest.importorskip("skops")  # `skops.io` names all that it trusts when it is read: seconds for each collecting process
compose = pytest.importorskip("sklearn.compose")
from sklearn import ensemble, linear_model  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler  # noqa: E402

RNG = np.random.default_rng(5)
TEXTS = {"city": ("Bergen", "Bonn", "Oslo", "Paris"), "kind": ("a", "b", "c")}
ROWS = pd.DataFrame(
    {
        "age": np.where(RNG.random(300) < 0.1, np.nan, RNG.normal(40, 10, 300)),
        "income": RNG.lognormal(3, 1, 300),
        "rooms": RNG.integers(0, 4, 300).astype(float),
        **{name: np.array(held, dtype=object)[RNG.integers(0, len(held), 300)] for name, held in TEXTS.items()},
    }
)
GAPS = ROWS.assign(city=ROWS["city"].where(RNG.random(300) < 0.9, np.nan))
BINARY = ((ROWS["income"] > 20) ^ (ROWS["city"] == "Oslo")).astype(int)
THREE = BINARY + (ROWS["rooms"] > 2)
CLASSES: dict[str, tuple[str, ...]] = {"binary": ("0", "1"), "multiclass": ("0", "1", "2"), "regression": ()}
ONE_HOT = {"handle_unknown": "ignore"}
ORDINAL = {"handle_unknown": "use_encoded_value", "unknown_value": -1}


def pipeline(texts: Any, final: Any, numbers: Any = None) -> Any:
    numbers = numbers or make_pipeline(SimpleImputer(), StandardScaler())
    parts = [
        ("numbers", numbers, ["age", "income"]),
        ("codes", OneHotEncoder(**ONE_HOT), ["rooms"]),
        ("texts", texts, ["city", "kind"]),
    ]
    return make_pipeline(compose.ColumnTransformer(parts), final)


def encoded(rows: Any) -> np.ndarray:
    columns = []
    for name in rows:
        held = {text: float(code) for code, text in enumerate(TEXTS.get(name, ()))}
        columns.append([held.get(one, np.nan) for one in rows[name]] if held else rows[name].to_numpy())
    return np.stack([np.asarray(one, dtype=np.float64) for one in columns], axis=1)


def bundle(fitted: Any, task: str) -> ModelBundle:
    fields = tuple(
        Field(name=name, type="varchar", categories=TEXTS[name]) if name in TEXTS else Field(name=name, type="double")
        for name in ROWS
    )
    signature = Signature(inputs=fields, output=Output(task=task, classes=CLASSES[task]))  # type: ignore[arg-type]
    return ModelBundle("skops", import_module("skops.io").dumps(fitted), signature)


PIPELINES = {
    "one hot, forest": lambda: (
        pipeline(OneHotEncoder(**ONE_HOT), ensemble.RandomForestClassifier(5, max_depth=4, random_state=0)),
        ROWS,
        "binary",
    ),
    "one hot, forest of three classes": lambda: (
        pipeline(OneHotEncoder(**ONE_HOT), ensemble.RandomForestClassifier(150, max_depth=4, random_state=0)),
        ROWS,
        "multiclass",
    ),
    "one hot of gaps, logistic": lambda: (
        pipeline(OneHotEncoder(**ONE_HOT), linear_model.LogisticRegression()),
        GAPS,
        "binary",
    ),
    "one hot without the first, three classes": lambda: (
        pipeline(OneHotEncoder(drop="first", **ONE_HOT), linear_model.LogisticRegression()),
        ROWS,
        "multiclass",
    ),
    "ordinal of gaps, boosting": lambda: (
        pipeline(
            OrdinalEncoder(encoded_missing_value=-2, **ORDINAL),
            ensemble.GradientBoostingClassifier(n_estimators=5, random_state=0),
        ),
        GAPS,
        "binary",
    ),
    "ordinal, histograms": lambda: (
        pipeline(
            OrdinalEncoder(**ORDINAL),
            ensemble.HistGradientBoostingRegressor(max_iter=5),
            make_pipeline(SimpleImputer(strategy="median"), MinMaxScaler()),
        ),
        ROWS,
        "regression",
    ),
    "filled, one hot, ridge": lambda: (
        pipeline(
            make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(**ONE_HOT)), linear_model.Ridge()
        ),
        GAPS,
        "regression",
    ),
}


EVERYDAY = "one hot, forest"


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != EVERYDAY)) for name in PIPELINES]
)
def test_onnx_answers_as_the_pipeline(name: str) -> None:
    made, rows, task = PIPELINES[name]()
    label = {"binary": BINARY, "multiclass": THREE, "regression": ROWS["income"]}[task]
    fitted = made.fit(rows, label)
    model, matrix = bundle(fitted, task), encoded(rows)
    native = load_runtime(model)
    wanted = fitted.predict(rows) if task == "regression" else fitted.predict_proba(rows)
    assert np.array_equal(native.predict(matrix), wanted[:, 1] if task == "binary" else wanted)
    groups = rows_of(model.signature, None, matrix, native.predict)
    assert {"thresholds", "missing", "infinities", "categories"} <= {one.name for one in groups}
    comparing = Comparing(native, groups, model.signature.names(), 1e-6)
    exact = comparing.of(OnnxRuntime(onnx_of_estimator(model, single=False), model.signature))
    assert (exact.passed, exact.problem, exact.differing) == (True, "", {})
    told = onnx_of_estimator(model, single=False)
    session = onnxruntime.InferenceSession(told, providers=["CPUExecutionProvider"])
    (given,), output = session.get_inputs(), session.get_outputs()[-1]
    assert session.run([output.name], {given.name: matrix})[0].shape[1] == output.shape[1]  # it has the form it names
    assert exact.rows["categories"] >= 7  # each text, and those that the pipeline takes of none


@pytest.mark.slow
def test_onnx_that_differs_is_refused_by_a_row_that_shows_it() -> None:
    made, rows, task = PIPELINES["one hot, forest"]()
    model, matrix = bundle(made.fit(rows, BINARY), task), encoded(rows)
    native = load_runtime(model)
    groups = rows_of(model.signature, None, matrix, native.predict)
    comparing = Comparing(native, groups, model.signature.names(), 1e-6)
    found = comparing.of(OnnxRuntime(onnx_of_estimator(model, single=True), model.signature))
    assert not found.passed
    assert found.example is not None
    assert list(found.example.inputs) == list(ROWS)
    assert found.example.original != found.example.candidate


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (OneHotEncoder(max_categories=2, handle_unknown="infrequent_if_exist"), "infrequent categories"),
        (make_pipeline(OneHotEncoder(**ONE_HOT, sparse_output=False), SimpleImputer(add_indicator=True)), "compiled"),
    ],
)
def test_what_is_not_told_says_why(texts: Any, words: str) -> None:
    fitted = pipeline(texts, linear_model.LogisticRegression()).fit(ROWS, BINARY)
    with pytest.raises(Unfit, match=words):
        onnx_of_columns(fitted, bundle(fitted, "binary").signature)
