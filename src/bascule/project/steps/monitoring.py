"""Step `monitor`: what production is compared with, and what starts a retraining, for the registered version."""

from __future__ import annotations

from typing import Any

import duckdb
import msgspec
import pyarrow as pa

from bascule.errors import InputError
from bascule.monitoring import (
    DriftRules,
    Monitor,
    QualityRules,
    Reference,
    Trigger,
    TriggerRule,
    build_profile,
    encode_profile,
    read_monitor,
    read_trigger,
)
from bascule.project.receipt import Output, Receipt
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.project.steps import training, training_set
from bascule.registry.bundles import packed
from bascule.tracking import Run
from bascule.training import ModelBundle, TrainingSet, read_training_set, training_rows, unpack_model

NAME = "monitor"
# How many periods make one round of the rhythm that most data have: a day of hours, a week of days.
RHYTHM = {"hour": 24, "day": 7}
QUALITY = {"binary": "auc", "multiclass": "accuracy", "regression": "mae"}


def inputs(context: Context) -> Terms:
    """The model, its training set, and what the project file says of monitoring."""
    project = context.project
    return {
        "input:model": context.receipts[training.NAME].output("model").version,
        "input:training-set": context.receipts[training_set.NAME].output(training_set.NAME).version,
        "monitoring": msgspec.json.encode(project.monitoring).decode(),
        "retrain": msgspec.json.encode(project.retrain).decode(),
        "deployment": project.deployment.name if project.deployment else "",
    }


def work(context: Context, run: Run, progress: Progress) -> Outcome:
    """Profile the training rows and the scores on the test split, and commit the monitor with its trigger."""
    artifact = context.receipts[training.NAME].output("model").version
    source = read_training_set(context.workspace, context.receipts[training_set.NAME].output(training_set.NAME).version)
    bundle = unpack_model(packed(context.workspace, artifact))
    run.reads(f"training_sets/{source.name}", source.id)
    progress("profiling", 0, source.rows)
    profile = _profile(context, source, bundle)
    objects = _objects(context, source, bundle, context.workspace.store.put(profile))
    commit = context.workspace.history.commit(
        context.branch, objects, message=f"Watch {', '.join(objects)}", author=context.author, meta={"run": run.id}
    )
    outputs = tuple(
        Output(name=path, version=context.digest(path) or "", uri=f"bascule:{path}") for path in sorted(objects)
    )
    features = len(bundle.signature.names())
    return Outcome(
        outputs, summary=f"{features} features and the score of {source.rows:,} rows profiled", commit=commit.id
    )


def settled(context: Context, receipt: Receipt) -> bool:
    """Tell whether the branch holds the objects that the receipt names."""
    return all(context.digest(output.name) == output.version for output in receipt.outputs)


def _profile(context: Context, source: TrainingSet, bundle: ModelBundle) -> bytes:
    rows = training_rows(context.workspace, source)
    test = training_rows(context.workspace, source, "test")
    scores = bundle.predict(test)
    with duckdb.connect() as connection:
        connection.register("training", rows)
        if scores.ndim == 1:
            connection.register("scores", pa.table({"score": scores}))
        return encode_profile(
            build_profile(
                connection,
                "training",
                list(bundle.signature.names()),
                scores="scores" if scores.ndim == 1 else None,
                importance=bundle.importance(),
                training_set=source.id,
            )
        )


def _objects(
    context: Context, source: TrainingSet, bundle: ModelBundle, profile: str
) -> dict[str, dict[str, Any] | None]:
    project = context.project
    watching, deployment = project.monitoring, project.deployment
    if watching is None or deployment is None:
        raise InputError("There is nothing to watch.", hint="Write [deployment] and [monitoring] into bascule.toml.")
    task = bundle.signature.output.task
    monitor = Monitor(
        name=deployment.name,
        deployment=deployment.name,
        reference=Reference(training_set=source.id, profile=profile),
        by=watching.by,
        drift=DriftRules(
            minimum_rows=watching.drift.minimum_rows,
            effect=watching.drift.effect,
            over=watching.drift.over or RHYTHM.get(watching.by, 1),
            persistence=watching.drift.persistence,
        ),
        quality=QualityRules(
            metric=watching.quality.metric or QUALITY[task],
            task=task,
            minimum_coverage=watching.quality.minimum_coverage,
        ),
    )
    read_monitor(monitor.as_object())
    objects: dict[str, dict[str, Any] | None] = {f"monitors/{monitor.name}": monitor.as_object()}
    retrain = project.retrain
    if retrain is not None and (retrain.when or retrain.schedule):
        trigger = Trigger(
            name=f"retrain-{monitor.name}",
            monitor=monitor.name,
            rule=TriggerRule(when=retrain.when, schedule=retrain.schedule, cooldown=retrain.cooldown),
        )
        read_trigger(trigger.as_object(), list(bundle.signature.names()))
        objects[f"triggers/{trigger.name}"] = trigger.as_object()
    return objects
