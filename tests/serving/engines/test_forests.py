"""Forests of every library answer as the library does: at thresholds, one step beside them, without values."""

from __future__ import annotations

import base64
import functools
import importlib.util
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bascule.cachefolder import cache_folder
from bascule.errors import EnvironmentProblem, InputError
from bascule.serving.engines import kernel
from bascule.serving.engines.compiled import CompiledRuntime
from bascule.serving.engines.exporting import onnx_of
from bascule.serving.engines.forest import Growing, Leaf, Split, Unfit, pack_forest, unpack_forest
from bascule.serving.engines.onnx import OnnxRuntime
from bascule.serving.engines.reading import forest_of, forest_of_catboost
from bascule.serving.engines.treelite import TreeliteRuntime, treelite_of
from bascule.serving.optimizing import Comparing, rows_of
from bascule.serving.runtime import load_runtime
from bascule.training import ModelBundle
from bascule.training.boosters import open_xgboost
from bascule.training.foreign import open_skops
from tests.serving.engines import models
from tests.tracking.test_frameworks import python_with

Made = Callable[[], ModelBundle]


def estimator(
    name: str, task: str = "binary", rows: np.ndarray = models.ROWS, before: bool = False, **told: Any
) -> Made:
    def make() -> ModelBundle:
        module = pytest.importorskip("sklearn.tree" if "DecisionTree" in name else "sklearn.ensemble")
        made = getattr(module, name)(random_state=0, **told)
        if before:
            from sklearn.impute import SimpleImputer
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

            made = make_pipeline(SimpleImputer(), StandardScaler(), MinMaxScaler(), RobustScaler(), made)
        return models.sklearn(made, task, rows)

    return make


MODELS: dict[str, Made] = {
    "lightgbm": models.lightgbm,
    "lightgbm with sets": lambda: models.lightgbm("multiclass", "multiclass", [3], num_class=3),
    "lightgbm one against the rest": lambda: models.lightgbm("multiclassova", "multiclass", num_class=3, sigmoid=2.0),
    "lightgbm of counts": lambda: models.lightgbm("poisson", "regression"),
    "lightgbm averaged": lambda: models.lightgbm(boosting="rf", bagging_fraction=0.5, bagging_freq=1),
    "xgboost": models.xgboost,
    "xgboost with sets": lambda: models.xgboost(sets=True, tree_method="hist", max_cat_to_onehot=4),
    "xgboost of three": lambda: models.xgboost("multi:softprob", "multiclass", num_class=3),
    "xgboost dart": lambda: models.xgboost("reg:squarederror", "regression", booster="dart", rate_drop=0.3),
    "tree": estimator("DecisionTreeClassifier", rows=models.HOLES),
    "forest": estimator("RandomForestClassifier", "multiclass", n_estimators=9),
    "bagging": estimator("BaggingClassifier", "multiclass", n_estimators=5, max_features=0.6),
    "trees of numbers": estimator("ExtraTreesRegressor", "regression", n_estimators=5, max_depth=6),
    "boosting": estimator("GradientBoostingClassifier", n_estimators=9),
    "histograms": estimator("HistGradientBoostingClassifier", "multiclass", models.HOLES, max_iter=5),
    "pipeline": estimator("HistGradientBoostingClassifier", rows=models.HOLES, before=True, max_iter=5),
}


SLOW = ("histograms", "pipeline")


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in MODELS])
def test_the_compiled_forest_answers_as_its_library(name: str) -> None:
    bundle = MODELS[name]()
    forest, native = forest_of(bundle), load_runtime(bundle)
    groups = rows_of(bundle.signature, forest, models.ROWS[:100], native.predict)
    groups = [type(one)(one.name, one.rows[:1_500]) for one in groups]
    comparing = Comparing(native, groups, bundle.signature.names(), 1e-6)
    again = unpack_forest(pack_forest(forest))
    for threads in (1, 2):
        found = comparing.of(CompiledRuntime(again, threads))
        assert found.passed, found
        assert found.rows["thresholds"] > 100
    if not forest.steps:
        pytest.importorskip("onnx")
        ready = Comparing(native, groups[:3], bundle.signature.names(), 1e-6)
        assert ready.of(OnnxRuntime(onnx_of(forest, single=forest.single), bundle.signature)).passed
    if not forest.steps:
        pytest.importorskip("treelite")
        few = [type(one)(one.name, one.rows[:500]) for one in groups]
        ready = Comparing(native, few, bundle.signature.names(), 1e-6)
        found = ready.of(TreeliteRuntime(treelite_of(forest), 4))
        assert found.passed, found


def test_a_forest_of_several_outputs_has_a_bound_as_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnx")
    forest = forest_of(MODELS["forest"]())
    monkeypatch.setattr("bascule.serving.engines.exporting.MOST_NODES", 2 * len(forest.nodes))
    with pytest.raises(Unfit, match="once for each of 3 outputs, beyond"):
        onnx_of(forest, single=True)


def test_a_damaged_checkpoint_of_treelite_is_refused() -> None:
    pytest.importorskip("treelite")
    forest = Growing(inputs=2, base=[0.0])
    forest.add(Split(1, Leaf((1.0,)), Leaf((2.0,)), 0.1))
    made = treelite_of(forest.grown(single=True))
    assert TreeliteRuntime(made, 2).predict(np.array([[0.0, 0.1], [0.0, 0.10000001]])).tolist() == [2.0, 2.0]
    with pytest.raises(InputError, match="reads 2 inputs; the version has 3"):
        TreeliteRuntime(made, 3)
    for bad in (b"", b"no checkpoint", made[:20]):
        with pytest.raises(InputError, match="cannot read this model"):
            TreeliteRuntime(bad, 2)


def test_a_forest_in_float32_is_found_out_at_thresholds_alone() -> None:
    pytest.importorskip("onnx")
    bundle = models.lightgbm()
    forest, native = forest_of(bundle), load_runtime(bundle)
    comparing = Comparing(
        native, rows_of(bundle.signature, forest, models.ROWS, native.predict), bundle.signature.names(), 1e-6
    )
    found = comparing.of(OnnxRuntime(onnx_of(forest, single=True), bundle.signature))
    assert not found.passed
    assert set(found.differing) == {"thresholds"}
    assert found.example is not None
    assert found.example.kind == "thresholds"
    row = np.array([[float(one) for one in found.example.inputs.values()]])
    assert native.predict(row).tolist() == found.example.original


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: models.lightgbm(zero_as_missing=True), "zero_as_missing"),
        (lambda: models.lightgbm("regression", "regression", reg_sqrt=True), "objective"),
        (lambda: models.lightgbm("regression", "regression", linear_tree=True), "linear_tree"),
        (lambda: models.xgboost("binary:hinge"), "objective"),
        (models.network, "no forest"),
        (estimator("AdaBoostClassifier", n_estimators=2), "has no decision trees"),
    ],
)
def test_what_is_not_compiled_says_why(make: Made, words: str) -> None:
    try:
        bundle = make()
    except Exception as error:  # a library of another release may not train such a model
        pytest.skip(f"cannot be trained here: {error}")
    with pytest.raises(Unfit, match=words):
        forest_of(bundle)


@pytest.mark.slow
def test_catboost_answers_as_its_library(tmp_path: Path) -> None:
    python = python_with("catboost")
    script = Path(__file__).with_name("catboost_models.py")
    done = subprocess.run([python, str(script), str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = json.loads((tmp_path / "models.json").read_text())
    assert len(made) == 12
    for one in made:
        rows = np.array([[float(value) for value in row] for row in one["rows"]])
        forest = forest_of_catboost(one["model"], 4)
        assert np.abs(CompiledRuntime(forest).predict(rows) - np.array(one["answers"])).max() < 1e-9
        if importlib.util.find_spec("treelite"):
            walked = TreeliteRuntime(treelite_of(forest), 4).predict(rows)
            assert np.abs(walked - np.array(one["answers"])).max() < 1e-6
        assert base64.b64decode(one["file"]).startswith(b"CBM1")


@pytest.mark.parametrize(
    ("array", "field", "value"),
    [
        ("nodes", "child", 10_000),
        ("nodes", "child", -1),
        ("nodes", "feature", 4),
        ("nodes", "set", 7),
        ("roots", None, 10_000),
        ("targets", None, 1),
        ("depths", None, -1),
    ],
)
def test_a_forest_that_leads_astray_is_refused(array: str, field: str | None, value: int) -> None:
    forest = forest_of(models.lightgbm())
    held = getattr(forest, array).copy()
    (held if field is None else held[field])[0] = value
    object.__setattr__(forest, array, held)
    with pytest.raises(InputError, match="make no sense"):
        unpack_forest(pack_forest(forest))


@pytest.mark.parametrize("data", [b"", b"\x80", msgspec.msgpack.encode({"magic": "bascule-forest"})])
def test_other_bytes_are_no_forest(data: bytes) -> None:
    with pytest.raises(InputError, match="cannot be used"):
        unpack_forest(data)


def test_a_tree_in_a_skops_file_that_leads_astray_is_refused() -> None:
    skops = pytest.importorskip("skops.io")
    from sklearn.tree import DecisionTreeClassifier

    fitted = DecisionTreeClassifier(max_depth=2, random_state=0).fit(models.ROWS, models.BINARY)
    assert open_skops(skops.dumps(fitted)).predict(models.ROWS[:1]) is not None
    fitted.tree_.children_left[0] = 1_000_000
    with pytest.raises(InputError, match="leads out of itself"):
        open_skops(skops.dumps([{"deep": fitted}]))


@pytest.mark.parametrize(
    ("held", "told"),
    [
        ({1: "a", "1": "b"}, "of a dict with 2 keys it holds 1"),
        ({False: 1.0, True: 2.0}, "False comes back .* as True"),
    ],
)
def test_a_skops_file_that_lost_a_part_of_its_model_is_refused(held: dict[Any, Any], told: str) -> None:
    skops = pytest.importorskip("skops.io")
    assert skops.loads(skops.dumps(held)) != held
    with pytest.raises(InputError, match=f"lost a part of the model: .*{told}"):
        open_skops(skops.dumps([{"deep": held}]))
    kept = {True: "a", "2": {1.5: "c", "False": 2}}
    assert open_skops(skops.dumps(kept)) == kept


@pytest.mark.slow
def test_categories_of_scikit_learn_are_read_and_what_runs_commands_is_not() -> None:
    """Its categories are checked by a partial of a known function; one of any other function is refused unread."""
    skops = pytest.importorskip("skops.io")
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.preprocessing import FunctionTransformer

    made = HistGradientBoostingClassifier(max_iter=2, categorical_features=[3]).fit(models.HOLES, models.BINARY)
    told = open_skops(skops.dumps(made)).predict_proba(models.HOLES)
    assert told.tolist() == made.predict_proba(models.HOLES).tolist()
    for function in (os.system, np.load):
        with pytest.raises(InputError, match="not known as harmless"):
            open_skops(skops.dumps(FunctionTransformer(functools.partial(function, "x"))))


@pytest.mark.parametrize(
    ("array", "value"),
    [
        ("left_children", 900_000_000),
        ("left_children", 0),
        ("right_children", -77),
        ("split_indices", 900_000),
        ("tree_info", 500_000),
    ],
)
def test_a_tree_of_xgboost_that_leads_astray_is_refused(array: str, value: int) -> None:
    """XGBoost reads it, and ends the process when it is asked for the first row."""
    made = models.xgboost(sets=True)
    told = json.loads(bytes(open_xgboost(made.model).save_raw("json")))
    held = told["learner"]["gradient_booster"]["model"]
    (held if array == "tree_info" else held["trees"][0])[array][0] = value
    with pytest.raises(InputError, match="leads out of itself"):
        load_runtime(ModelBundle("xgboost", json.dumps(told).encode(), made.signature))


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(EnvironmentProblem, match="no C compiler"):
        kernel.libraries.__wrapped__()
    monkeypatch.setenv("CC", "false")
    with pytest.raises(EnvironmentProblem, match="fails"):
        kernel.libraries.__wrapped__()
    assert not list(tmp_path.rglob("*.so"))


def test_a_kernel_that_others_could_write_is_not_loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = tmp_path / "bascule" / "kernels"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder("kernels") != folder
    folder.chmod(0o700)
    assert cache_folder("kernels") == folder
    assert os.listdir(folder) == []
