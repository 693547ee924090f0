"""LightGBM's core: what training reads of it, and that `lightgbm` itself stays whole."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import threading
from types import ModuleType

import pytest

from bascule.training import lightgbm_core as module
from bascule.training.lightgbm_core import NAME, lightgbm_core

STORY = """
import sys
import numpy as np
from bascule.training.label import Target
from bascule.training.lightgbm_core import lightgbm_core
from bascule.training.linear import fit_linear
from bascule.training.signature import infer_signature
import pyarrow as pa

core = lightgbm_core()
rows = np.random.default_rng(1).random((200, 3))
label = (rows[:, 0] > 0.5).astype(float)
settings = {"objective": "binary", "verbosity": -1, "num_threads": 1, "deterministic": True}

def fitted(library):
    return library.train(settings, library.Dataset(rows, label), 3)

ours = fitted(core)
print(sorted({"sklearn", "pandas", "lightgbm"} & set(sys.modules)))
columns = pa.table({name: rows[:, place] for place, name in enumerate("abc")})
signature = infer_signature(columns, Target(task="binary", classes=("no", "yes")))
fit_linear(rows, label, signature)
print("sklearn" in sys.modules)

import lightgbm, sklearn.base
print(issubclass(lightgbm.LGBMClassifier, sklearn.base.BaseEstimator), lightgbm_core() is lightgbm)
print(fitted(lightgbm).model_to_string() == ours.model_to_string())
print((lightgbm.Booster(model_str=ours.model_to_string()).predict(rows) == ours.predict(rows)).all())
"""


@pytest.mark.slow
def test_a_fit_reads_neither_scikit_learn_nor_pandas_and_others_get_all_of_lightgbm() -> None:
    """A fit and its baseline; then a script of the same process that imports LightGBM itself."""
    pytest.importorskip("lightgbm", reason="LightGBM is not installed")
    done = subprocess.run([sys.executable, "-c", STORY], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["[]", "False", "True True", "True", "True"], done.stderr


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nobody had read LightGBM or scikit-learn in this process."""
    for name in (NAME, "lightgbm", "sklearn"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("unread")
def test_what_is_not_installed_is_an_import_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="No module named 'lightgbm'"):
        lightgbm_core()


@pytest.mark.usefixtures("unread")
def test_a_failed_import_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("narwhals", reason="LightGBM is not installed")
    finders, missing = list(sys.meta_path), "scipy.sparse"
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=missing):
        lightgbm_core()
    assert not [name for name in sys.modules if name.partition(".")[0] == NAME]
    assert sys.meta_path == finders


def test_others_may_import_what_is_left_out_meanwhile() -> None:
    absent = module._Absent()
    with pytest.raises(ModuleNotFoundError, match="sklearn"):
        absent.find_spec("sklearn")
    found: list[object] = []
    other = threading.Thread(target=lambda: found.append(absent.find_spec("sklearn")))
    other.start()
    other.join()
    assert found == [None]
    assert absent.find_spec("scipy") is None


def test_what_was_read_before_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, core = ModuleType("lightgbm"), ModuleType(NAME)
    monkeypatch.setitem(sys.modules, NAME, core)
    monkeypatch.delitem(sys.modules, "lightgbm", raising=False)
    assert lightgbm_core() is core
    monkeypatch.setitem(sys.modules, "lightgbm", whole)
    assert lightgbm_core() is whole
