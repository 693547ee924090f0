from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from itertools import groupby
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error
from tests.serving.engines import models

from bascule.errors import InputError, NotFound
from bascule.training import Step, TrainerSettings, TrainingData, encode, pack_model, train
from bascule.training.formats import load_lightgbm

Make = Callable[..., TrainingData]
FEW = TrainerSettings(seed=3, trials=4)

SCRIPT = """
import sys
import numpy as np
import pyarrow as pa
from bascule.training import *

random = np.random.default_rng(0)
x, kind = random.normal(size=(16000, 6)), random.integers(0, 5, 16000)
x[random.random(x.shape) < 0.05] = np.nan
label = (np.nan_to_num(x[:, 0]) + (kind == 2) + random.normal(size=16000) > 0).astype(float)
rows = pa.table({**{f"x{i}": x[:, i] for i in range(6)}, "kind": [f"k{one}" for one in kind]})
signature = infer_signature(rows.slice(0, 12000), Target(task="binary", classes=("false", "true")))
data = TrainingData(signature, Part(rows.slice(0, 12000), label[:12000]), Part(rows.slice(12000), label[12000:]))
model = train(data, settings=TrainerSettings(seed=7, trials=4, search_rows=3000))
packed = pack_model(model, {"name": "f"}, {"training_set": "t"})
"""


@pytest.mark.slow
def test_two_processes_train_the_same_model_byte_by_byte() -> None:
    script = f"{SCRIPT}sys.stdout.buffer.write(packed)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True)
    assert run.stderr == b""
    here: dict[str, Any] = {}
    exec(SCRIPT, here)
    first, second = run.stdout, here["packed"]
    assert len(first) > 10_000
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_every_task_is_learned(made_data: Make, task: str) -> None:
    data = made_data(task, rows=1_500)
    model = train(data, settings=FEW)
    assert model.baseline is not None
    predicted, label = model.predict(data.validation.rows), data.validation.label
    if task == "regression":
        assert mean_squared_error(label, predicted) < 0.5 * label.var()
        return
    shape = (len(label), 3) if task == "multiclass" else (len(label),)
    assert predicted.shape == shape
    prior = np.tile(model.baseline.prior, (len(label), 1))
    assert log_loss(label, predicted) < 0.8 * log_loss(label, prior)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("rows", [10, 30, 200])
def test_few_rows_are_enough_to_give_a_model(made_data: Make, task: str, rows: int) -> None:
    data = made_data(task, rows=rows)
    model = train(data, settings=FEW)
    predicted = model.predict(data.validation.rows)
    assert np.isfinite(predicted).all()
    if rows == 200 and task == "regression":
        assert np.corrcoef(predicted, data.validation.label)[0, 1] > 0.6


def test_the_search_is_reported_and_recorded(made_data: Make) -> None:
    steps: list[Step] = []
    model = train(made_data("binary"), settings=FEW, progress=steps.append)
    assert [phase for phase, _ in groupby(one.phase for one in steps)] == ["search", "fit", "baseline"]
    search = [one for one in steps if one.phase == "search"]
    assert [one.done for one in search] == [0, 1, 2, 3, 4]
    best = [one.metrics["log_loss"] for one in search[1:]]
    assert best == sorted(best, reverse=True)

    assert len(model.trials) == 4
    values = {one.number: one.value for one in model.trials if one.value is not None}
    assert {point.step: point.value for point in model.metrics_history if point.key == "trial.log_loss"} == values
    curve = [point for point in model.metrics_history if point.key == "validation.log_loss"]
    assert [point.step for point in curve] == list(range(1, len(curve) + 1))
    assert model.params["num_iterations"] == min(curve, key=lambda point: point.value).step


@pytest.mark.slow
def test_the_first_trial_is_the_defaults_so_the_search_never_loses_to_them(made_data: Make) -> None:
    model = train(made_data("binary", rows=2_000), settings=FEW)
    assert model.trials[0].params["num_leaves"] == 31
    plain = train(made_data("binary", rows=2_000), settings=TrainerSettings(trials=0))
    assert plain.trials == ()
    assert plain.params["num_leaves"] == 31


def test_fixed_parameters_are_not_searched(made_data: Make) -> None:
    settings = TrainerSettings(trials=3, params={"num_leaves": 7, "learning_rate": 0.2, "num_iterations": 15})
    model = train(made_data("binary"), settings=settings)
    assert all("num_leaves" not in one.params for one in model.trials)
    assert model.params["num_leaves"] == 7
    assert model.params["num_iterations"] <= 15
    assert max(one.rounds for one in model.trials) <= 15
    assert model.params["learning_rate"] == 0.2


@pytest.mark.slow
def test_a_refit_learns_from_the_validation_rows_too(made_data: Make) -> None:
    data = made_data("binary")
    both = train(data, settings=FEW)
    alone = train(data, settings=TrainerSettings(seed=3, trials=4, refit=False))
    assert both.artifact != alone.artifact
    assert both.params == alone.params


@pytest.mark.parametrize(
    ("params", "kind", "message"),
    [
        ({"num_leavs": 3}, NotFound, "Did you mean 'num_leaves'?"),
        ({"objective": "regression"}, InputError, "does not fit a binary label"),
        ({"num_leaves": 1}, InputError, "LightGBM refuses"),
        ({"max_depth": "deep"}, InputError, "LightGBM refuses"),
    ],
)
def test_parameters_that_cannot_be_are_refused(
    made_data: Make, params: dict[str, object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as error:
        train(made_data("binary"), settings=TrainerSettings(trials=1, params=params))
    assert message in f"{error.value.message} {error.value.hint}"  # type: ignore[attr-defined]


@pytest.mark.slow
def test_other_objectives_of_the_task_are_allowed(made_data: Make) -> None:
    data = made_data("regression")
    model = train(data, settings=TrainerSettings(trials=2, params={"objective": "quantile", "alpha": 0.9}))
    above = (data.validation.label < model.predict(data.validation.rows)).mean()
    assert above > 0.75


def test_the_packed_model_predicts_what_lightgbm_predicts(made_data: Make) -> None:
    import lightgbm

    from bascule.training import unpack_model

    data = made_data("binary")
    model = train(data, settings=FEW)
    bundle = unpack_model(pack_model(model))
    theirs = lightgbm.Booster(model_str=model.artifact.decode()).predict(encode(data.signature, data.validation.rows))
    assert (bundle.predict(data.validation.rows) == theirs).all()
    shares = bundle.importance()
    assert next(iter(shares)) == "x"
    assert sum(shares.values()) == pytest.approx(1)


def damaged(key: str, place: int, value: object) -> Callable[[str], str]:
    """Return what writes another value into the first line of a key."""

    def change(text: str) -> str:
        held = re.search(rf"\n{key}=([^\n]*)", text)
        assert held is not None
        values = held[1].split()
        values[place] = str(value)
        return text[: held.start(1)] + " ".join(values) + text[held.end(1) :]

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (damaged("left_child", 0, 900_000), "tree 0 leads out"),
        (damaged("right_child", 1, -900_000), "tree 0 leads out"),
        (damaged("left_child", 1, 0), "tree 0 leads out"),  # a circle
        (damaged("left_child", 0, "1_0"), "tree 0 leads out"),
        (damaged("split_feature", 0, 40_000_000), "tree 0 leads out"),
        (damaged("cat_boundaries", -1, 90_000_000), "leads out"),
        (damaged("num_leaves", 0, 1_000_000), "tree 0 leads out"),
        (damaged("num_leaves", 0, -5), "tree 0 leads out"),
        (damaged("num_tree_per_iteration", 0, 1000), "other trees a round"),
        (lambda text: text.replace("\nTree=0", "\n\nnum_class=9\n\nTree=0"), "says 'num_class' twice"),
        (lambda text: text.replace("\nright_child", "\n\nright_child", 1), "tree 0 leads out"),
        (lambda text: text.replace("\nnum_leaves", "\nleft_child=0 0\nnum_leaves", 1), "tree 0 leads out"),
    ],
)
def test_trees_that_lead_astray_never_reach_lightgbm(change: Callable[[str], str], words: str) -> None:
    """LightGBM would read other memory, go round for ever, or end the process."""
    made = models.lightgbm(categorical=[3])
    with pytest.raises(InputError, match=words):
        load_lightgbm(change(made.model.decode()).encode(), made.signature)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: re.sub(r"\nleaf_coeff=[^\n]*", "", text, count=1),
        lambda text: re.sub(r"\nleaf_coeff=[^\n]*", "\nleaf_coeff=0.5", text, count=1),
        lambda text: text.replace("\nleaf_const=", "\nleaf_const=0.5 ", 1),
    ],
)
def test_linear_leaves_without_their_numbers_never_reach_lightgbm(change: Callable[[str], str]) -> None:
    made = models.lightgbm("regression", "regression", linear_tree=True)
    with pytest.raises(InputError, match="leads out"):
        load_lightgbm(change(made.model.decode()).encode(), made.signature)


def test_an_error_in_a_tree_is_raised_and_ends_no_process() -> None:
    """By `tree_sizes` LightGBM reads trees in threads, where an error is the end of the process."""
    made = models.lightgbm("regression", "regression", linear_tree=True)
    text = damaged("tree_sizes", 0, 7)(made.model.decode())
    rows = models.ROWS[:5]
    wanted = load_lightgbm(made.model, made.signature).predict(rows).tolist()
    assert load_lightgbm(text.encode(), made.signature).predict(rows).tolist() == wanted
    without = text.replace("\nleaf_weight=", "\nleaf_weight=0.5 ", 1)
    with pytest.raises(InputError, match="cannot read"):
        load_lightgbm(without.encode(), made.signature)
