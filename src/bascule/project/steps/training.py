"""Step `train`: a training set in, a model out, in a safe format."""

from __future__ import annotations

import msgspec

from bascule.project.cache import file_version
from bascule.project.receipt import Output
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.project.steps import training_set
from bascule.tracking import Run
from bascule.training import (
    Step,
    TrainerSettings,
    pack_model,
    read_training_set,
    train,
    training_data,
)

NAME = "train"


def inputs(context: Context) -> Terms:
    """The training set, the trainer with the text of its module, and its settings."""
    model = context.project.model
    assert model is not None
    terms = {
        "input:training-set": context.receipts[training_set.NAME].output(training_set.NAME).version,
        "model:trainer": model.trainer,
        "model:search": msgspec.json.encode(model.search).decode(),
        "model:seed": str(model.seed),
    }
    if ":" in model.trainer:
        terms["code:trainer"] = file_version(context.project.folder, model.trainer.partition(":")[0])
    return terms


def work(context: Context, run: Run, progress: Progress) -> Outcome:
    """Search, fit, and keep the model with its baseline and its features' definition as one file."""
    model = context.project.model
    assert model is not None
    made = context.receipts[training_set.NAME].output(training_set.NAME)
    source = read_training_set(context.workspace, made.version)
    run.reads(f"training_sets/{source.name}", source.id, source.rows)
    settings = TrainerSettings(seed=model.seed, trials=model.search.trials)

    def tell(step: Step) -> None:
        best = ", ".join(f"{name} {value:.4f}" for name, value in step.metrics.items())
        progress(f"{step.phase} {best}".strip(), step.done, step.total)

    data = training_data(context.workspace, source)
    trained = train(data, model.trainer, settings, progress=tell, folder=context.project.folder)
    run.params({"trainer": model.trainer, "seed": model.seed, "trials": model.search.trials, **trained.params})
    run.metrics([(point.key, point.value, point.step) for point in trained.metrics_history])
    packed = pack_model(trained, source.feature_set, {"training_set": source.id, "name": model.name})
    artifact = context.workspace.store.put(packed)
    output = Output(name="model", version=artifact, uri=f"bascule:blobs/{artifact}", bytes=len(packed))
    searched = f"{len(trained.trials)} settings tried, " if trained.trials else ""
    return Outcome((output,), summary=f"{trained.format}, {searched}{len(packed) / 1e6:.1f} MB, {artifact[:10]}")
