"""What ambient capture sees of frameworks, which run for real in tracked scripts."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import textwrap
import time
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from bascule.capture import module
from bascule.catalog.schema import logged_models, run_io, runs
from bascule.history import Workspace
from bascule.tracking import mlmodel
from bascule.tracking.ambient import Tracked, track
from bascule.tracking.listing import list_runs
from bascule.tracking.logged import read_logged_model
from bascule.tracking.points import value_of
from bascule.tracking.reading import read_run
from bascule.tracking.tracker import Tracker
from bascule.training import foreign

# Another interpreter, which has the frameworks that this one has not.
OTHER = "BASCULE_FRAMEWORKS_PYTHON"
DATA = """
import numpy as np
rng = np.random.default_rng(0)
X = rng.normal(size=(120, 3))
y = (X[:, 0] + rng.normal(size=120) / 2 > 0).astype(int)
"""


@cache
def _has(python: str, modules: tuple[str, ...]) -> bool:
    code = f"import importlib.util as u; raise SystemExit(not all(u.find_spec(m) for m in {modules!r}))"
    return subprocess.run([python, "-c", code], check=False).returncode == 0


def python_with(*modules: str) -> str:
    """Return an interpreter that has some modules, or skip, saying so."""
    if all(importlib.util.find_spec(one) for one in modules):
        return sys.executable
    other = os.environ.get(OTHER)
    if other and _has(other, modules):
        return other
    return pytest.skip(f"{' and '.join(modules)} not installed here, nor below {OTHER}")


class Script:
    """Runs scripts in a project and looks at their records."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self.workspace = workspace
        self.folder = folder
        self.done: Tracked

    def run(self, text: str, *modules: str) -> Tracked:
        (self.folder / "train.py").write_text(textwrap.dedent(text))
        self.done = track(self.workspace, self.folder, [python_with(*modules), "train.py"], "main")
        return self.done

    @property
    def told(self) -> dict[str, dict[str, Any]]:
        return read_run(self.workspace, self.done.run_id)

    def models(self) -> dict[str, dict[str, Any]]:
        with self.workspace.catalog.read() as conn:
            found = conn.execute(select(logged_models.c.id).order_by(logged_models.c.created_at)).scalars().all()
        every = [read_logged_model(Tracker(self.workspace), one) for one in found]
        return {one["name"]: one for one in every if one["source_run_id"] == self.done.run_id}

    def document(self, model: dict[str, Any], name: str) -> Any:
        place = self.workspace.storage / "artifacts" / model["artifact_uri"].removeprefix("mlflow-artifacts:/") / name
        text = place.read_bytes().decode()
        return json.loads(text) if name.endswith(".json") else text

    def curve(self, key: str) -> list[tuple[int, float]]:
        from bascule.catalog.schema import metric_points, names, subjects

        p = metric_points.c
        query = (
            select(p.step, p.value, p.is_nan)
            .join(names, names.c.number == p.name)
            .join(subjects, subjects.c.number == p.subject)
            .where(names.c.name == key, subjects.c.id == self.done.run_id)
            .order_by(p.step)
        )
        with self.workspace.catalog.read() as conn:
            return [(step, value_of(value, nan)) for step, value, nan in conn.execute(query)]


@pytest.fixture
def script(tmp_path: Path, local_workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Script:
    folder = tmp_path / "project"
    monkeypatch.chdir(folder)
    return Script(local_workspace, folder)


@pytest.mark.slow
def test_pipelines_searches_and_scores_of_scikit_learn(script: Script) -> None:
    done = script.run(
        f"""{textwrap.indent(DATA, "        ")}
        import pandas
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import accuracy_score, roc_auc_score
        from sklearn.model_selection import GridSearchCV, cross_val_score
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        X = pandas.DataFrame(X, columns=["a", "b", "c"])
        pipe = make_pipeline(StandardScaler(), LogisticRegression(C=0.5)).fit(X, y)
        roc_auc_score(y, pipe.predict_proba(X)[:, 1])
        accuracy_score(y, pipe.predict(X))
        cross_val_score(pipe, X, y, cv=3)
        forest = RandomForestClassifier(n_estimators=3, random_state=0)
        GridSearchCV(forest, {{"max_depth": [1, 2, 3]}}, cv=2, n_jobs=2).fit(X, y)
        """,
        "sklearn",
        "pandas",
    )
    assert done.exit_code == 0

    models = script.models()
    assert list(models) == ["Pipeline", "GridSearchCV"]  # what was fitted inside of them is no model of its own
    pipe, search = models["Pipeline"], models["GridSearchCV"]
    assert pipe["params"]["logisticregression__C"] == "0.5"
    assert pipe["tags"]["bascule.safety"] == "safe"
    assert script.workspace.store.get(pipe["tags"]["bascule.digest"]).startswith(b"PK")
    assert script.document(pipe, "parts.json") == [
        "standardscaler=StandardScaler",
        "logisticregression=LogisticRegression",
    ]
    signature = script.document(pipe, "signature.json")
    assert signature["inputs"] == [["a", "float64"], ["b", "float64"], ["c", "float64"]]
    assert signature["outputs"] == [["target", "int64"]]
    example = script.document(pipe, "input_example.json")
    assert example["columns"] == ["a", "b", "c"]
    assert len(example["data"]) == 5
    described = msgspec.yaml.decode(script.document(pipe, "MLmodel"))
    assert described["flavors"]["sklearn"]["pickled_model"] == "model.skops"
    assert {"type": "double", "name": "a", "required": True} in json.loads(described["signature"]["inputs"])
    importance = script.document(pipe, "importance.json")
    assert max(importance, key=lambda name: abs(importance[name])) == "a"

    with script.workspace.catalog.read() as conn:
        below = conn.execute(select(runs).where(runs.c.parent_id == done.run_id)).all()
    assert sorted(row.name for row in below) == ["GridSearchCV 0", "GridSearchCV 1", "GridSearchCV 2"]
    listed = [row["run"] for row in list_runs(script.workspace, 10)]
    assert listed == [done.run_id]  # candidates come when they are asked for
    assert len(list_runs(script.workspace, 10, kind="candidate")) == 3
    scores = {row.name: read_run(script.workspace, row.id) for row in below}
    assert scores["GridSearchCV 2"]["params"] == {"max_depth": "3"}
    best = max(one["metrics"]["mean_test_score"] for one in scores.values())
    assert script.told["metrics"]["GridSearchCV.best_score"] == best
    assert search["metrics"][0]["key"] == "best_score"

    assert len(script.curve("Pipeline.cv_score")) == 3
    assert set(done.metrics) >= {"roc_auc_score", "accuracy_score", "Pipeline.cv_score_mean"}
    drawn = {
        path.name: json.loads(path.read_text())
        for path in Path(str(script.workspace.storage)).glob(f"artifacts/0/{done.run_id}/artifacts/evaluation/*")
    }
    curves, matrix = drawn["curves-001.json"], drawn["confusion_matrix-002.json"]
    assert curves["roc"]["true_positive_rate"][-1] == 1
    assert sum(curves["calibration"]["rows"]) == 120
    assert sum(map(sum, matrix["matrix"])) == 120


@pytest.mark.slow
def test_threads_of_a_script_and_safe_models_that_it_asks_for(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASCULE_TRACK_MODELS", "skops")
    monkeypatch.setenv("BASCULE_TRACK_EXAMPLES", "off")
    script.run(
        f"""{textwrap.indent(DATA, "        ")}
        from concurrent.futures import ThreadPoolExecutor
        from sklearn.ensemble import VotingRegressor
        from sklearn.linear_model import Ridge
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda alpha: Ridge(alpha=alpha).fit(X, y), [1, 2, 3]))
        VotingRegressor([("a", Ridge()), ("b", Ridge())], n_jobs=2).fit(X, y)
        """,
        "sklearn",
        "skops",
    )
    with script.workspace.catalog.read() as conn:
        names = sorted(conn.execute(select(logged_models.c.name)).scalars())
    assert names == ["Ridge", "Ridge", "Ridge", "VotingRegressor"]
    models = script.models()
    assert script.document(models["VotingRegressor"], "parts.json") == ["a=Ridge", "b=Ridge"]
    assert (models["Ridge"]["tags"]["bascule.format"], models["Ridge"]["tags"]["bascule.safety"]) == ("skops", "safe")
    folder = folder_of(script, models["Ridge"])
    kept = {one.name for one in folder.iterdir()}
    assert kept == {"MLmodel", "model.skops", "signature.json", "importance.json", "params.json"}


@pytest.mark.slow
def test_models_are_safe_by_default_and_the_same_bytes_each_time(script: Script) -> None:
    source = f"""{textwrap.indent(DATA, "        ")}
        import sys
        from sklearn.ensemble import RandomForestRegressor
        before = "torch" in sys.modules
        RandomForestRegressor(5, random_state=1).fit(X, y)
        class Named(RandomForestRegressor): pass
        Named(2).fit(X, y)
        assert ("torch" in sys.modules) == before
        """
    found = []
    for _ in range(2):
        script.run(source, "sklearn", "skops")
        models = script.models()
        found.append(models["RandomForestRegressor"]["tags"]["bascule.digest"])
    assert models["RandomForestRegressor"]["tags"]["bascule.safety"] == "safe"
    assert models["Named"]["tags"]["bascule.safety"].startswith("unsafe")  # a class of the script's is code
    assert found[0] == found[1]
    folder = folder_of(script, models["RandomForestRegressor"])
    assert "skops_trusted_types" in (folder / "MLmodel").read_text()
    foreign.open_skops((folder / "model.skops").read_bytes())
    told = module("bascule_frameworks.skops_files").HARMLESS
    assert told == mlmodel.HARMLESS == foreign.HARMLESS


IMPORTS = """
import json, sys
sys.path.insert(0, {place!r})
import sklearn.ensemble
if {ours}:
    from bascule_frameworks import skops_files
    io = skops_files._imported()
else:
    import skops.io as io
import skops.io._trusted_types as trusted
from skops.io import _utils
from sklearn.utils._testing import skip_if_32bit  # whoever asks for what tests have gets it
lists = {{key: value for key, value in vars(trusted).items() if key.endswith("_NAMES")}}
print(json.dumps([lists, _utils.whichmodule.__module__]))
"""


@pytest.mark.slow
def test_the_import_of_skops_that_is_made_short_comes_to_the_same() -> None:
    place = Path(str(module("bascule_frameworks").__file__)).parents[1]
    found = []
    for ours in (True, False):
        program = IMPORTS.format(place=str(place), ours=ours)
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
        found.append(json.loads(done.stdout))
    assert found[0] == found[1]
    assert len(found[0][0]["SCIPY_UFUNC_TYPE_NAMES"]) > 100
    assert found[0][1] == "skops.io._utils"


@pytest.mark.slow
def test_skops_is_imported_only_for_what_needs_it_and_without_tests(script: Script) -> None:
    script.run(
        f"""{textwrap.indent(DATA, "        ")}
        import sys
        from sklearn.ensemble import GradientBoostingClassifier
        from sklearn.linear_model import Ridge
        Ridge().fit(X, y)
        assert not any(name.startswith("skops") for name in sys.modules), "skops came along"
        GradientBoostingClassifier(n_estimators=2).fit(X, y)
        assert "skops.io" in sys.modules and "pytest" not in sys.modules, "pytest came along"
        """,
        "sklearn",
        "skops",
    )
    assert [name.rpartition("/")[2] for name in script.told["artifacts"] if "/model." in name] == ["model.skops"] * 2


STATES = """
import json, sys
sys.path.insert(0, {place!r})
import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from bascule_frameworks import skops_files, skops_states

x = np.random.RandomState(0).normal(size=(60, 3))
y = (x[:, 0] > 0).astype(int)
texts = np.array([[str(row % 4), float(row)] for row in range(60)], dtype=object)
columns = make_column_transformer((OneHotEncoder(dtype=np.float32), [0]), (StandardScaler(), slice(1, 2)))
state = np.random.RandomState(3)
models = [
    make_pipeline(columns, LogisticRegression(class_weight={{0: 1.5, 1: 1.0}}, tol=np.float64(0.5))).fit(texts, y),
    RandomForestClassifier(3, random_state=state).fit(x, y),
    CalibratedClassifierCV(LogisticRegression(), cv=2).fit(x, y),
    VotingClassifier([("a", MLPClassifier(max_iter=2)), ("b", RandomForestClassifier(2))]).fit(x, y.astype(str)),
]
told = []
for model in models:
    ours = skops_states.write(model, "ours", skops_files.HARMLESS)
    assert "skops" not in sys.modules or told
    same = skops_files._write_by_skops(model, "skops") == ours
    told.append(same and open("ours", "rb").read() == open("skops", "rb").read())
    import skops.io
    assert type(skops.io.load("ours", trusted=ours)) is type(model)
class Weight(np.float64):
    pass
no_dimension = np.array("yes", dtype=object)
for held in (KNeighborsClassifier().fit(x, y), Weight(2), np.bytes_(b"yes"), no_dimension):  # skops opens none of these
    odd = LogisticRegression(tol=held)
    try:
        skops_states.write(odd, "none", skops_files.HARMLESS)
    except skops_states.Unknown:
        told.append("unknown")
for held in ({{1: "a", "1": "b"}}, {{False: 1, True: 2}}):  # skops loses one of these, and says nothing
    try:
        skops_files.write(LogisticRegression(class_weight=held), "none")
    except TypeError as error:
        told.append(str(error))
print(json.dumps(told))
"""


@pytest.mark.slow
def test_models_are_written_as_skops_itself_writes_them(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("skops")
    place = Path(str(module("bascule_frameworks").__file__)).parents[1]
    program = ["-W", "ignore", "-c", STATES.format(place=str(place))]
    done = subprocess.run([sys.executable, *program], capture_output=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    assert told[:-2] == [True] * 4 + ["unknown"] * 4
    assert "of a dict with 2 keys it holds 1" in told[-2]
    assert "False comes back" in told[-1]
    assert not (tmp_path / "none").exists()


def folder_of(script: Script, model: dict[str, Any]) -> Path:
    return script.workspace.storage / "artifacts" / str(model["artifact_uri"]).removeprefix("mlflow-artifacts:/")


@pytest.mark.slow
def test_lightgbm_by_its_own_functions_and_as_an_estimator(script: Script) -> None:
    script.run(
        f"""{textwrap.indent(DATA, "        ")}
        import lightgbm
        data, seen = lightgbm.Dataset(X, y), []
        given = {{"objective": "binary", "verbosity": -1}}
        lightgbm.train(given, data, 4, valid_sets=[data], callbacks=[lambda env: seen.append(env)])
        assert len(seen) == 4
        lightgbm.LGBMClassifier(n_estimators=3, verbosity=-1).fit(X, y)
        """,
        "lightgbm",
    )
    models = script.models()
    assert list(models) == ["lightgbm.train", "LGBMClassifier"]
    assert [step for step, _ in script.curve("training.binary_logloss")] == [0, 1, 2, 3]
    assert all(model["tags"]["bascule.safety"] == "safe" for model in models.values())
    assert script.document(models["LGBMClassifier"], "model.lightgbm.txt").startswith("tree")
    assert script.document(models["lightgbm.train"], "importance.json")["Column_0"] > 0


@pytest.mark.slow
def test_xgboost_by_its_own_functions_and_as_an_estimator(script: Script) -> None:
    import xgboost

    xgboost.train({}, xgboost.DMatrix([[1.0], [2.0]], [0, 1]), 1).save_model("before.json")
    done = script.run(
        f"""{textwrap.indent(DATA, "        ")}
        import xgboost
        data = xgboost.DMatrix(X, y)
        xgboost.Booster(model_file="before.json")
        found = xgboost.train({{"objective": "binary:logistic"}}, data, 4, evals=[(data, "train")], verbose_eval=False)
        found.save_model("after.json")
        xgboost.XGBClassifier(n_estimators=3).fit(X, y, eval_set=[(X, y)], verbose=False)
        """,
        "xgboost",
        "sklearn",
    )
    assert (list(done.inputs), list(done.outputs)) == (["before.json"], ["after.json"])
    models = script.models()
    assert list(models) == ["xgboost.train", "XGBClassifier"]
    assert [len(script.curve(key)) for key in ("train.logloss", "validation_0.logloss")] == [4, 3]
    assert script.document(models["XGBClassifier"], "model.xgboost.json")["learner"]
    assert script.document(models["xgboost.train"], "importance.json")["f0"] > 0


@pytest.mark.slow
def test_catboost(script: Script) -> None:
    script.run(
        f"""{textwrap.indent(DATA, "        ")}
        from catboost import CatBoostClassifier, Pool
        CatBoostClassifier(iterations=4, verbose=0, allow_writing_files=False).fit(Pool(X, y), eval_set=Pool(X, y))
        """,
        "catboost",
    )
    model = script.models()["CatBoostClassifier"]
    assert len(script.curve("validation.Logloss")) == 4
    assert model["tags"]["bascule.format"] == "cbm"
    assert script.told["params"]["CatBoostClassifier.fit_rows"] == "120"


@pytest.mark.slow
def test_statsmodels(script: Script) -> None:
    script.run(
        f"""{textwrap.indent(DATA, "        ")}
        import statsmodels.api as sm
        sm.OLS(X[:, 0], sm.add_constant(X[:, 1:])).fit()
        """,
        "statsmodels",
    )
    model = script.models()["OLS"]
    assert {"OLS.aic", "OLS.rsquared", "OLS.coef.const", "OLS.p.x1"} <= script.told["metrics"].keys()
    assert "R-squared" in script.document(model, "summary.txt")
    assert len(script.document(model, "model.coefficients.json")["pvalues"]) == 3


@pytest.mark.slow
def test_a_training_loop_of_torch(script: Script) -> None:
    done = script.run(
        """
        import torch

        def main():
            data, truth = torch.randn(50, 3), torch.ones(50)
            model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
            optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
            schedule = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.5)
            for _ in range(25):
                optimizer.zero_grad()
                loss = torch.nn.functional.mse_loss(model(data).squeeze(1), truth)
                loss.backward()
                optimizer.step()
                schedule.step()
            torch.save(model.state_dict(), "weights.pt")  # below Python, and read back by Python: no input
            torch.load("weights.pt")

        main()  # the model is gone before the process ends
        """,
        "torch",
    )
    assert done.exit_code == 0
    assert (list(done.outputs), done.inputs) == (["weights.pt"], {})
    losses = script.curve("torch.loss")
    assert [step for step, _ in losses] == list(range(25))
    assert losses[-1][1] < losses[0][1]
    assert [rate for _, rate in script.curve("torch.lr")] == [0.01, 0.005, 0.0025]
    model = script.models()["Sequential"]
    assert model["params"]["optimizer"] == "Adam"
    assert model["params"]["parameters"] == "21"
    assert "Linear(in_features=3" in script.document(model, "summary.txt")


@pytest.mark.slow
def test_lightning(script: Script) -> None:
    script.run(
        """
        import lightning, torch

        class Line(lightning.LightningModule):
            def __init__(self, rate=0.02):
                super().__init__()
                self.save_hyperparameters()
                self.line = torch.nn.Linear(3, 1)

            def training_step(self, batch, _):
                loss = self.line(batch[0]).pow(2).mean()
                self.log("train_loss", loss)
                return loss

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=self.hparams.rate)

        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(40, 3)), batch_size=20)
        lightning.Trainer(max_epochs=3, logger=False, enable_checkpointing=False, enable_progress_bar=False,
                          enable_model_summary=False).fit(Line(), data)
        """,
        "lightning",
    )
    assert [step for step, _ in script.curve("train_loss")] == [0, 1, 2]
    assert list(script.models()) == ["Line"]  # the loop of torch inside is no model of its own
    assert script.told["params"]["lightning.rate"] == "0.02"


@pytest.mark.slow
def test_keras(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    script.run(
        f"""{textwrap.indent(DATA, "        ")}
        import keras
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, activation="sigmoid")])
        model.compile("adam", "binary_crossentropy")
        model.fit(X, y, epochs=3, verbose=0)
        """,
        "keras",
        "torch",
    )
    assert [step for step, _ in script.curve("loss")] == [0, 1, 2]
    model = script.models()["Sequential"]
    assert (model["params"]["optimizer"], model["params"]["epochs"]) == ("Adam", "3")
    assert model["tags"]["bascule.format"] == "keras"


@pytest.mark.slow
def test_what_scripts_pickle_is_as_it_was(script: Script) -> None:
    """Wrapped functions and a script's classes go through pickle and joblib's workers, and where nobody watches."""
    done = script.run(
        f"""{textwrap.indent(DATA, "        ")}
        import pickle, subprocess, sys, os
        import pandas, sklearn.metrics
        import cloudpickle
        from multiprocessing import Pool
        from sklearn.base import BaseEstimator, ClassifierMixin
        from sklearn.metrics import accuracy_score, make_scorer
        from sklearn.model_selection import cross_val_score

        class Mine(ClassifierMixin, BaseEstimator):
            def __init__(self, c=1):
                self.c = c

            def fit(self, X, y):
                self.classes_ = np.unique(y)
                return self

            def predict(self, X):
                return np.zeros(len(X), int)

        if __name__ == "__main__":
            pickle.loads(pickle.dumps([make_scorer(accuracy_score), pandas.read_csv, sklearn.metrics.f1_score]))
            cross_val_score(Mine(), X, y, cv=2, n_jobs=2, scoring=make_scorer(accuracy_score))
            Mine().fit(X, y)
            alone = cloudpickle.dumps(Mine())
            code = "import sys, pickle; m = pickle.loads(sys.stdin.buffer.read()); m.fit([[1]], [1]); print(m.classes_)"
            bare = {{key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "BASCULE_JOURNAL")}}
            out = subprocess.run([sys.executable, "-c", code], input=alone, env=bare, capture_output=True, check=True)
            assert out.stdout.strip() == b"[1]", out
            pandas.DataFrame(X).to_csv("x.csv", index=False)
            with Pool(1) as pool:
                assert len(pool.map(pandas.read_csv, ["x.csv"])[0]) == 120
        """,
        "sklearn",
        "pandas",
    )
    assert done.exit_code == 0
    assert list(script.models()) == ["Mine"]


@pytest.mark.slow
def test_too_many_fits_and_points_are_told_and_the_last_fit_is_kept(script: Script) -> None:
    script.run(
        """
        import bascule_frameworks.telling
        from sklearn.dummy import DummyRegressor
        from sklearn.linear_model import SGDRegressor
        from sklearn.metrics import mean_squared_error
        bascule_frameworks.telling.MOST_POINTS = 30
        for n in range(60):
            last = DummyRegressor(strategy="constant", constant=n).fit([[0.0]], [n])
            mean_squared_error([n], [0.0])
        learning = SGDRegressor()
        for n in range(5):
            learning.partial_fit([[float(n)]], [n])
        """,
        "sklearn",
    )
    with script.workspace.catalog.read() as conn:
        kept = conn.execute(select(logged_models.c.id)).scalars().all()
    told = [read_logged_model(Tracker(script.workspace), one) for one in kept]
    found = sorted(int(one["params"]["constant"]) for one in told if one["name"] == "DummyRegressor")
    assert found == [*range(20), 59]
    assert [one["name"] for one in told].count("SGDRegressor") == 1  # what learns bit by bit is told once, at the end
    tags = script.told["tags"]
    assert tags["bascule.kept.fits of DummyRegressor"] == "20 of 60"
    assert tags["bascule.kept.points of mean_squared_error"] == "30 of 60"
    assert script.curve("mean_squared_error")[-1] == (29, 29.0**2)


BROKEN = """
import sys, types, warnings
import sklearn.base
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
import bascule_frameworks.models as models

def broken(*args, **kwargs):
    raise RuntimeError("the wrapper is broken")

models.note_fit = broken
for _ in range(3):
    model = LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])
print(round(float(model.predict([[3.0]])[0])), r2_score([1, 2], [1, 2]))
"""


@pytest.mark.slow
def test_a_wrapper_that_raises_is_told_once_and_harms_nothing(
    script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    done = script.run(BROKEN, "sklearn")
    out, told = capfd.readouterr()
    assert (done.exit_code, out) == (0, "3 1.0\n")
    assert told.count("bascule:") == 1
    assert "the wrapper is broken" in told
    assert "the wrapper is broken" in script.told["tags"]["warnings"]
    assert done.metrics["r2_score"] == 1  # all else is captured


CHANGED = """
import sys
sys.path.insert(0, "fakes")
import lightgbm, xgboost
print(lightgbm.train("a", rounds=3), lightgbm.train("b", rounds=4), xgboost.__version__)
"""


@pytest.mark.slow
def test_a_framework_that_changed_degrades_with_one_word_each(
    script: Script, capfd: pytest.CaptureFixture[str]
) -> None:
    """`train` has another signature and returns something else; xgboost has lost the function altogether."""
    fakes = script.folder / "fakes"
    for name in ("lightgbm", "xgboost"):
        (fakes / name).mkdir(parents=True)
    (fakes / "lightgbm" / "__init__.py").write_text("from lightgbm.engine import train\n__version__ = '99'\n")
    (fakes / "lightgbm" / "engine.py").write_text("def train(what, *, rounds):\n    return what * rounds\n")
    (fakes / "xgboost" / "__init__.py").write_text("import xgboost.training\n__version__ = '99'\n")
    (fakes / "xgboost" / "training.py").write_text("")
    (script.folder / "train.py").write_text(CHANGED)
    done = track(script.workspace, script.folder, [sys.executable, "train.py"], "main")
    out, told = capfd.readouterr()
    assert (done.exit_code, out) == (0, "aaa bbbb 99\n")
    assert [line.partition(" is not")[0] for line in told.splitlines() if "bascule:" in line] == [
        "bascule: xgboost.training",
        "bascule: lightgbm.engine.train",
    ]


@pytest.mark.slow
def test_what_was_imported_before_it_is_watched_is_captured_the_same(
    local_workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "project"
    (folder / "data.csv").write_text("a,b\n1,0\n2,1\n3,1\n4,0\n")
    (folder / "scores.py").write_text("from sklearn.metrics import f1_score as named_otherwise\n")
    python = python_with("sklearn", "pandas")
    imports = """
        from random import seed
        from numpy.random import seed as seeded
        from pandas import read_csv
        from sklearn.linear_model import LogisticRegression
        from sklearn.metrics import accuracy_score
        from sklearn.model_selection import cross_val_score
        import scores
    """
    work = """
        seed(4), seeded(5)
        data = read_csv("data.csv")
        fitted = LogisticRegression(C=0.5).fit(data[["a"]], data["b"])
        accuracy_score(data["b"], fitted.predict(data[["a"]]))
        scores.named_otherwise(data["b"], fitted.predict(data[["a"]]))
        cross_val_score(fitted, data[["a"]], data["b"], cv=2)
    """
    begin = "import bascule.ambient\n"
    imports = textwrap.dedent(imports)
    told = []
    for order in (begin + imports, imports + begin):
        (folder / "train.py").write_text(order + textwrap.dedent(work))
        subprocess.run([python, "train.py"], cwd=folder, check=True, capture_output=True)
        subprocess.run([sys.executable, "-m", "bascule", "sync", "--follow"], cwd=folder, check=True)
        query = select(runs.c.id).where(runs.c.parent_id.is_(None), runs.c.status == "done")
        for _ in range(200):  # its own sender brings it in, if that was faster
            with local_workspace.catalog.read() as conn:
                ended = conn.execute(query.order_by(runs.c.started_at)).scalars().all()
            if len(ended) > len(told):
                break
            time.sleep(0.1)
        run = ended[-1]
        found = read_run(local_workspace, run)
        with local_workspace.catalog.read() as conn:
            touched = conn.execute(select(run_io.c.path, run_io.c.rows).where(run_io.c.run_id == run)).all()
        names = {one.path: one.rows for one in touched if not one.path.startswith("models/")}
        metrics = {key for key in found["metrics"] if not key.startswith("system/")}
        told.append((found["params"], metrics, names))
    assert told[0] == told[1]
    assert {"accuracy_score", "f1_score"} <= told[0][1]
    assert told[0][2]["data.csv"] == 4
    assert (told[0][0]["random.seed"], told[0][0]["numpy.random.seed"]) == ("4", "5")


@pytest.mark.slow
@pytest.mark.parametrize("labels", ["y", "np.zeros(120)"])
def test_importance_of_a_forest_is_what_it_says_itself(script: Script, labels: str) -> None:
    sources = f"import json\nfrom sklearn.ensemble import RandomForestClassifier\n{DATA}"
    code = f"forest = RandomForestClassifier(7, random_state=0).fit(X, {labels})\n"
    say = "json.dump(forest.feature_importances_.tolist(), open('own.json', 'w'))"
    script.run(sources + code + say, "sklearn")
    kept = script.document(script.models()["RandomForestClassifier"], "importance.json")
    assert kept == dict(zip(("x0", "x1", "x2"), json.loads((script.folder / "own.json").read_text()), strict=True))


@pytest.mark.slow
def test_what_a_fit_raises_is_the_script_s(script: Script) -> None:
    done = script.run(
        """
        from sklearn.linear_model import LinearRegression
        LinearRegression().fit([[1.0]], [1.0, 2.0])
        """,
        "sklearn",
    )
    assert done.exit_code == 1
    assert done.error
    assert done.error.startswith("ValueError")
    with script.workspace.catalog.read() as conn:
        assert (
            conn.execute(select(run_io).where(run_io.c.run_id == done.run_id, run_io.c.direction == "out")).all() == []
        )


@pytest.mark.slow
def test_models_that_threads_fit_at_once_are_all_kept_safe(script: Script) -> None:
    source = """
        import threading
        from sklearn.datasets import load_iris
        from sklearn.tree import DecisionTreeClassifier
        data = load_iris(return_X_y=True)
        begin = threading.Barrier(4)
        def fit(depth):
            begin.wait()
            DecisionTreeClassifier(max_depth=depth).fit(*data)
        threads = [threading.Thread(target=fit, args=(depth,)) for depth in range(1, 5)]
        [one.start() for one in threads]
        [one.join() for one in threads]
    """
    script.run(source, "sklearn", "skops")
    kept = [name for name in script.told["artifacts"] if "/model." in name]
    assert [name.rpartition("/")[2] for name in kept] == ["model.skops"] * 4  # they wait for one import of skops
