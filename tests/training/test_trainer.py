from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bascule.errors import InputError, MissingExtra, NotFound
from bascule.training import (
    LinearModel,
    Step,
    TrainerSettings,
    TrainingData,
    encode,
    load_trainer,
    pack_model,
    train,
    unpack_model,
)
from bascule.training.background import background_of

Make = Callable[..., TrainingData]

OWN = """
from dataclasses import replace
import msgspec
from neighbour import SHARE
from bascule.training import TrainedModel, fit_linear
from bascule.training.linear import write_linear

def mine(data, settings, progress):
    model = fit_linear(data.matrix(data.train), data.train.label, data.signature)
    params = {"share": SHARE}
    return TrainedModel(format="linear", artifact=write_linear(model), signature=data.signature, params=params)

def nothing(data, settings, progress):
    return {"model": 1}

def broken(data, settings, progress):
    return 1 / 0

def impossible(data, settings, progress):
    # A regression's values passed off as probabilities.
    made = mine(data, settings, progress)
    output = msgspec.structs.replace(data.signature.output, task="regression", classes=())
    artifact = made.artifact.replace(b'"task":"binary"', b'"task":"regression"')
    model = replace(made, artifact=artifact, signature=msgspec.structs.replace(data.signature, output=output))
    return model
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "own_trainer.py").write_text(OWN)
    (tmp_path / "neighbour.py").write_text("SHARE = 0.25\n")
    return tmp_path


@pytest.fixture(autouse=True)
def clean_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("own_trainer", "neighbour"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_trainer_of_the_project_is_run_and_gets_a_baseline(made_data: Make, project: Path) -> None:
    data = made_data("binary")
    model = train(data, "own_trainer:mine", folder=project)
    assert model.params == {"share": 0.25}
    assert model.baseline is not None
    assert model.predict(data.validation.rows).shape == (len(data.validation.label),)


def test_a_model_that_does_not_tell_what_its_inputs_add_keeps_what_they_are_like(
    made_data: Make, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = made_data("binary")
    assert train(data, "own_trainer:mine", folder=project).background is None  # a linear model tells
    monkeypatch.delattr(LinearModel, "contributions")
    model = train(data, "own_trainer:mine", folder=project)
    assert model.background is not None
    matrix = encode(model.signature, data.train.rows)
    assert np.array_equal(model.background, background_of(matrix), equal_nan=True)
    kept = unpack_model(pack_model(model)).background
    assert kept is not None
    assert np.array_equal(kept, model.background, equal_nan=True)
    assert unpack_model(pack_model(replace(model, background=None))).background is None
    damaged = replace(model, background=model.background.ravel()[1:])
    with pytest.raises(InputError, match="background is no rows of its inputs"):
        unpack_model(pack_model(damaged))


def test_an_edited_trainer_takes_effect_at_once(made_data: Make, project: Path) -> None:
    assert train(made_data("binary"), "own_trainer:mine", folder=project).params == {"share": 0.25}
    (project / "own_trainer.py").write_text(OWN.replace('{"share": SHARE}', '{"share": "edited"}'))
    assert train(made_data("binary"), "own_trainer:mine", folder=project).params == {"share": "edited"}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lightgmb", "Did you mean 'lightgbm'?"),
        ("own_trainer:mime", "Did you mean 'mine'?"),
        ("no_such_module:train", "cannot be imported"),
        ("own_trainer:nothing", "gave dict"),
        ("own_trainer:broken", "ZeroDivisionError"),
    ],
)
def test_a_trainer_that_cannot_be_used_is_told(made_data: Make, project: Path, name: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        train(made_data("binary"), name, folder=project)
    assert message in f"{error.value.message} {error.value.hint}"


def test_a_trainer_that_fails_is_named_with_the_line(made_data: Make, project: Path) -> None:
    with pytest.raises(InputError, match=r"own_trainer.py:17: ZeroDivisionError") as error:
        train(made_data("binary"), "own_trainer:broken", folder=project)
    assert isinstance(error.value.__cause__, ZeroDivisionError)


def test_a_module_that_fails_to_import_is_told(project: Path) -> None:
    (project / "own_trainer.py").write_text("def x(:\n")
    with pytest.raises(InputError, match="SyntaxError"):
        load_trainer("own_trainer:x", project)


def test_a_model_whose_task_is_not_the_data_s_is_refused(made_data: Make, project: Path) -> None:
    with pytest.raises(InputError, match="answers a regression and the label asks for binary"):
        train(made_data("binary"), "own_trainer:impossible", folder=project)


@pytest.mark.parametrize("missing", ["lightgbm", "optuna"])
def test_a_missing_library_names_the_install_line(
    made_data: Make, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtra) as error:
        train(made_data("binary"))
    assert error.value.hint == "Install them with: pip install 'bascule[train]'"


def test_the_linear_trainer_is_its_own_baseline(made_data: Make) -> None:
    steps: list[Step] = []
    model = train(made_data("binary"), "linear", progress=steps.append)
    assert model.format == "linear"
    assert [(one.phase, one.done) for one in steps] == [("fit", 0), ("fit", 1)]
    with pytest.raises(InputError, match="no parameter 'depth'"):
        train(made_data("binary"), "linear", TrainerSettings(params={"depth": 3}))


@pytest.mark.slow
def test_the_room_opens_without_the_training_libraries() -> None:
    heavy = "{'lightgbm', 'sklearn', 'optuna', 'scipy', 'pandas'}"
    code = f"import bascule.training, bascule.evaluation, sys; print({heavy} & set(sys.modules) or 'none')"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "none\n"


def test_an_unknown_trainer_is_not_found() -> None:
    with pytest.raises(NotFound):
        load_trainer("nothing")
