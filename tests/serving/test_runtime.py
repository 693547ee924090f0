"""Every runtime answers what the library that trained the model answers, bit by bit."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.errors import InputError
from bascule.serving.runtime import Runtime, load_runtime
from bascule.training import Field, LinearModel, ModelBundle, Output, Signature, fit_linear
from tests.serving.conftest import bundle_bytes

lightgbm = pytest.importorskip("lightgbm")

INPUTS = 6


def signature(task: str) -> Signature:
    classes = {"binary": ("0", "1"), "multiclass": ("a", "b", "c"), "regression": ()}[task]
    fields = tuple(Field(name=f"x{i}", type="double") for i in range(INPUTS))
    return Signature(inputs=fields, output=Output(task=task, classes=classes))  # type: ignore[arg-type]


def trained(task: str) -> tuple[lightgbm.Booster, Runtime]:
    random = np.random.default_rng(3)
    matrix = random.normal(size=(3_000, INPUTS)).round(1)
    matrix[random.random(matrix.shape) < 0.1] = np.nan
    matrix[:, 2] = random.integers(0, 12, 3_000)
    score = np.nan_to_num(matrix[:, 0]) + np.nan_to_num(matrix[:, 1]) * (matrix[:, 2] > 5)
    label = {"binary": score > 0, "multiclass": np.digitize(score, [-0.5, 0.5]), "regression": score}[task]
    params = {"objective": task, "verbose": -1, "num_threads": 2, "num_leaves": 15}
    if task == "multiclass":
        params["num_class"] = 3
    booster = lightgbm.train(params, lightgbm.Dataset(matrix, label, categorical_feature=[2]), 30)
    bundle = ModelBundle(format="lightgbm", model=booster.model_to_string().encode(), signature=signature(task))
    return booster, load_runtime(bundle)


@cache  # trained where it is asked for, and not in each process that collects the tests
def binary() -> tuple[lightgbm.Booster, Runtime]:
    return trained("binary")


@pytest.fixture(scope="module", params=["binary", "multiclass", "regression"])
def pair(request: pytest.FixtureRequest) -> tuple[lightgbm.Booster, Runtime]:
    return trained(request.param)


def thresholds(booster: lightgbm.Booster) -> np.ndarray:
    """Rows that lie exactly on, just below and just above each split."""
    frame = booster.trees_to_dataframe()
    splits = frame[frame.decision_type == "<="]
    rows = []
    for name, threshold in zip(splits.split_feature, splits.threshold, strict=True):
        for value in (float(threshold), np.nextafter(float(threshold), -9e9), np.nextafter(float(threshold), 9e9)):
            row = np.zeros(INPUTS)
            row[int(name.removeprefix("Column_"))] = value
            rows.append(row)
    return np.array(rows)


def special_rows() -> np.ndarray:
    random = np.random.default_rng(5)
    values = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, -1e-35, 1e300, -1e300, 3.0, 11.0, 12.0, 2.5, -1.0])
    return random.choice(values, size=(2_000, INPUTS))


@pytest.mark.slow
def test_rows_on_thresholds_and_special_values_agree(pair: tuple[lightgbm.Booster, Runtime]) -> None:
    booster, runtime = pair
    rows = np.vstack([thresholds(booster), special_rows()])
    expected = booster.predict(rows)
    assert np.array_equal(runtime.predict(rows), expected)
    one_by_one = np.array([runtime.predict_one(row.tolist()) for row in rows])
    assert np.array_equal(one_by_one.reshape(expected.shape), expected)


@pytest.mark.slow
@given(row=st.lists(st.floats(width=64), min_size=INPUTS, max_size=INPUTS))
@settings(deadline=None)
def test_any_floats_agree(row: list[float]) -> None:
    booster, runtime = binary()
    assert runtime.predict_one(row)[0] == booster.predict(np.array([row]))[0]


def test_rows_in_any_memory_order_agree(pair: tuple[lightgbm.Booster, Runtime]) -> None:
    booster, runtime = pair
    rows = special_rows()
    assert np.array_equal(runtime.predict(np.asfortranarray(rows)), booster.predict(rows))
    assert np.array_equal(runtime.predict(rows[::3]), booster.predict(rows[::3]))
    assert len(runtime.predict(rows[:0])) == 0


def test_threads_do_not_disturb_each_other(pair: tuple[lightgbm.Booster, Runtime]) -> None:
    booster, runtime = pair
    rows = special_rows()[:400]
    expected = booster.predict(rows).reshape(len(rows), -1)
    wrong: list[int] = []

    def check() -> None:
        for at, row in enumerate(rows):
            if list(runtime.predict_one(row.tolist())) != expected[at].tolist():
                wrong.append(at)

    threads = [threading.Thread(target=check) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_linear_model_is_served_by_its_predictor() -> None:
    random = np.random.default_rng(1)
    matrix = random.normal(size=(500, INPUTS))
    model: LinearModel = fit_linear(matrix, (matrix[:, 0] > 0).astype(float), signature("binary"))
    runtime = load_runtime(
        ModelBundle(format="linear", model=msgspec.json.encode(model), signature=signature("binary"))
    )
    assert [runtime.predict_one(row.tolist())[0] for row in matrix[:5]] == model.predict(matrix)[:5].tolist()


def test_damaged_bytes_are_refused() -> None:
    text = binary()[0].model_to_string()
    for broken in (b"", b"\xff\xfe", b"tree\n", text[: len(text) // 2].encode()):
        with pytest.raises(InputError):
            load_runtime(ModelBundle(format="lightgbm", model=broken, signature=signature("binary")))


def test_a_matrix_of_the_wrong_width_is_refused() -> None:
    with pytest.raises(InputError, match="6 inputs"):
        binary()[1].predict(np.zeros((2, INPUTS + 1)))


@pytest.mark.slow
def test_lightgbm_itself_is_not_imported(tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text(binary()[0].model_to_string())
    program = (
        "import sys\n"
        "from bascule.serving.runtimes.lightgbm import LightGbmRuntime\n"
        f"runtime = LightGbmRuntime(open({str(tmp_path / 'model.txt')!r}).read(), {INPUTS})\n"
        f"print(runtime.predict_one([0.5] * {INPUTS})[0], 'lightgbm' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    expected = binary()[0].predict(np.full((1, INPUTS), 0.5))[0]
    assert done.stdout.split() == [repr(float(expected)), "False"]


CALM = """
import sys
from ctypes import CDLL, c_char_p
from pathlib import Path
from bascule.serving.runtime import load_runtime
from bascule.training import unpack_model
load_runtime(unpack_model(Path(sys.argv[1]).read_bytes()))
assert "lightgbm" not in sys.modules  # the library alone is loaded
told = CDLL(None).getenv
told.restype = c_char_p
print(told(b"OMP_WAIT_POLICY").decode())
"""


@pytest.mark.parametrize("own", [None, "active"])
def test_threads_of_a_served_model_sleep_unless_the_user_says_else(tmp_path: Path, own: str | None) -> None:
    (tmp_path / "bundle").write_bytes(bundle_bytes())
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment |= {} if own is None else {"OMP_WAIT_POLICY": own}
    program = [sys.executable, "-c", CALM, str(tmp_path / "bundle")]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [own or "passive"]
