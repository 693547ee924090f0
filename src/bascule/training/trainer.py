"""The contract of a trainer, and the way one is found and run.

A trainer is a function `(data: TrainingData, settings: TrainerSettings, progress: Progress) -> TrainedModel`. The ones
in the box are named in `TRAINERS`; further ones come in through the entry point group `bascule.trainers`, or as
`module:function` from the project's folder.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa

from bascule.errors import BasculeError, InputError, NotFound, suggestion
from bascule.functions import load_function
from bascule.training.background import background_of
from bascule.training.formats import load_predictor, signature_for
from bascule.training.linear import LinearModel, fit_linear
from bascule.training.signature import Signature, encode

TRAINERS = {
    "lightgbm": "bascule.training.trainers.lightgbm:train",
    "linear": "bascule.training.trainers.linear:train",
}


@dataclass(frozen=True)
class Part:
    """The rows of one split: features as columns, and the label as float64 [rows] (class codes or values)."""

    rows: pa.Table
    label: np.ndarray


@dataclass(frozen=True)
class TrainingData:
    """What a trainer gets. It never sees the test split.

    Attributes:
        signature: inputs and output, inferred from the training split.
        train: the rows to learn from.
        validation: later rows, to choose parameters and the number of rounds by.
        training_set: the id of the training set.
    """

    signature: Signature
    train: Part
    validation: Part
    training_set: str = ""

    def matrix(self, part: Part) -> np.ndarray:
        """Return the features of a part as float64 [rows, inputs]; see `encode`."""
        return encode(self.signature, part.rows)


class TrainerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How to train.

    Attributes:
        seed: of everything that is drawn.
        trials: how many sets of parameters the search tries; 0 takes the defaults.
        search_rows: the most rows that the search learns from; the final fit learns from all.
        params: parameters that are fixed instead of searched, by the names of the trainer's library.
        refit: fit once more on train and validation together with the chosen rounds, so that the newest rows teach too.
    """

    seed: int = 0
    trials: int = 12
    search_rows: int = 50_000
    params: dict[str, Any] = {}
    refit: bool = True


@dataclass(frozen=True)
class Step:
    """Progress: `done` of `total` in a phase (`search`, `fit`, `baseline`), with the best metric so far."""

    phase: str
    done: int
    total: int
    metrics: dict[str, float] = field(default_factory=dict)


Progress = Callable[[Step], None]


class MetricPoint(msgspec.Struct, frozen=True, kw_only=True):
    """One value of a curve: `validation.log_loss` after a round, `trial.log_loss` of a trial."""

    key: str
    step: int
    value: float


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One set of parameters that the search tried. `value` is None when it was stopped early as hopeless."""

    number: int
    params: dict[str, float | int]
    value: float | None
    rounds: int


@dataclass(frozen=True)
class TrainedModel:
    """What a trainer gives back.

    Attributes:
        format: one of `FORMATS` or a registered one.
        artifact: the model in that format; equal input must give equal bytes.
        signature: what it takes and gives; usually the data's.
        params: the parameters of the final fit.
        metrics_history: curves, for the run's record.
        trials: what the search tried.
        baseline: the linear model on the same rows; `train` adds it.
        libraries: versions that decide the bytes, such as `{"lightgbm": "4.7.0"}`.
        background: float64 [rows, inputs], what its inputs are like; `train` adds it to a model that does not tell
            itself what they add to an answer.
    """

    format: str
    artifact: bytes
    signature: Signature
    params: dict[str, Any] = field(default_factory=dict)
    metrics_history: tuple[MetricPoint, ...] = ()
    trials: tuple[Trial, ...] = ()
    baseline: LinearModel | None = None
    libraries: dict[str, str] = field(default_factory=dict)
    background: np.ndarray | None = None

    def predict(self, rows: pa.Table | pa.RecordBatch) -> np.ndarray:
        """Return predictions as `ModelBundle.predict` does."""
        return load_predictor(self.format, self.artifact, self.signature).predict(encode(self.signature, rows))


class Trainer(Protocol):
    """Learns from train, chooses by validation, and gives a model in a safe format."""

    def __call__(self, data: TrainingData, settings: TrainerSettings, progress: Progress) -> TrainedModel:
        """Train; call `progress` after each step."""
        ...


def silent(step: Step) -> None:
    """Ignore progress."""


def train(
    data: TrainingData,
    trainer: str = "lightgbm",
    settings: TrainerSettings | None = None,
    *,
    progress: Progress = silent,
    folder: Path | None = None,
) -> TrainedModel:
    """Train with a trainer, fit the baseline on the same rows, and see that the model predicts what its task says.

    Args:
        data: the training and validation rows.
        trainer: a name in the box or of a plugin, or `module:function`.
        settings: how to train.
        progress: called after each step.
        folder: the project's folder, where `module` is looked for first.

    Raises:
        InputError: the trainer is unknown, gives something that is no model, or its predictions are impossible.
        MissingExtra: its library is not installed.
    """
    settings = settings or TrainerSettings()
    model = _run(load_trainer(trainer, folder), trainer, data, settings, progress)
    if not isinstance(model, TrainedModel):
        raise InputError(
            f"The trainer {trainer!r} gave {type(model).__name__}.",
            hint="Return bascule.training.TrainedModel(format=…, artifact=…, signature=data.signature).",
        )
    model = replace(model, signature=signature_for(model.format, model.artifact, model.signature))
    _refuse_impossible(model, data, trainer)
    if model.background is None and not _tells(model):
        model = replace(model, background=background_of(encode(model.signature, data.train.rows)))
    if model.baseline is None:
        progress(Step("baseline", 0, 1))
        model = replace(model, baseline=_baseline(data, model, settings))
        progress(Step("baseline", 1, 1))
    return model


def load_trainer(name: str, folder: Path | None = None) -> Trainer:
    """Find a trainer by its name or as `module:function`.

    A module in the project's folder is read anew at each call, so an edited file takes effect in a running process.

    Raises:
        NotFound: there is no trainer of that name, or no function of that name in the module.
        InputError: the module cannot be imported.
    """
    if ":" not in name:
        plugins = {point.name: point for point in entry_points(group="bascule.trainers")}
        if name in plugins:
            found: Trainer = plugins[name].load()
            return found
        if name not in TRAINERS:
            raise NotFound("trainer", name, [*TRAINERS, *plugins], hint=_trainer_hint(name, [*TRAINERS, *plugins]))
        name = TRAINERS[name]
    trainer: Trainer = load_function(name, folder)
    return trainer


def _trainer_hint(name: str, known: list[str]) -> str:
    return f"{suggestion(name, sorted(known), 'trainer')} Or write your own as module:function."


def _run(trainer: Trainer, name: str, data: TrainingData, settings: TrainerSettings, progress: Progress) -> object:
    try:
        return trainer(data, settings, progress)
    except BasculeError:
        raise
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise InputError(
            f"The trainer {name!r} failed at {last.filename}:{last.lineno}: {type(error).__name__}: {error}.",
            hint="Call the function in a Python session with bascule.training.training_data(…) to debug it.",
        ) from error


def _refuse_impossible(model: TrainedModel, data: TrainingData, trainer: str) -> None:
    head = data.validation.rows.slice(0, 1_000)
    output = model.signature.output
    if output != data.signature.output:
        raise InputError(
            f"The model of the trainer {trainer!r} answers a {output.task} and the label asks for "
            f"{data.signature.output.task} with the classes {list(data.signature.output.classes)}.",
            hint="Return TrainedModel(signature=data.signature, …).",
        )
    predicted = model.predict(head)
    shape = (head.num_rows, len(output.classes)) if output.task == "multiclass" else (head.num_rows,)
    wrong = ""
    if predicted.shape != shape:
        wrong = f"predictions of the shape {predicted.shape} instead of {shape}"
    elif not np.isfinite(predicted).all():
        wrong = "predictions that are not finite"
    elif output.task != "regression" and (predicted.min() < 0 or predicted.max() > 1):
        wrong = f"probabilities between {predicted.min():.3g} and {predicted.max():.3g}"
    if wrong:
        raise InputError(
            f"The model of the trainer {trainer!r} gives {wrong} for a {output.task} task.",
            hint="`predict` returns one number a row, or one row of class probabilities.",
        )


def _tells(model: TrainedModel) -> bool:
    """Return whether a model tells itself what each input adds to an answer."""
    predictor = load_predictor(model.format, model.artifact, model.signature)
    return getattr(predictor, "contributions", None) is not None


def _baseline(data: TrainingData, model: TrainedModel, settings: TrainerSettings) -> LinearModel:
    matrix, label = encode(data.signature, data.train.rows), data.train.label
    if settings.refit:
        matrix = np.vstack([matrix, encode(data.signature, data.validation.rows)])
        label = np.concatenate([label, data.validation.label])
    return fit_linear(matrix, label, data.signature, seed=settings.seed)
