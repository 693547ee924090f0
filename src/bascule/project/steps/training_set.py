"""Step `training-set`: the population joined with its features, as it was known then, as an immutable object."""

from __future__ import annotations

import msgspec
from bascule.features import training_rows
from bascule.project.definitions import feature_set, tables_read
from bascule.project.tables import opened_tables

from bascule.project.receipt import Output
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.tracking import Run
from bascule.training import Split, TrainingSpec, build_training_set

NAME = "training-set"


def inputs(context: Context) -> Terms:
    """The versions of the tables that the SQL names, every definition, and how rows are chosen and divided."""
    project = context.project
    spec = training_spec(context)
    terms = {f"input:tables/{name}": context.digest(f"tables/{name}") or "" for name in tables_read(project)}
    for name, text in definitions(context).items():
        terms[f"definition:{name}"] = text
    for name, value in msgspec.to_builtins(spec).items():
        terms[f"training:{name}"] = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return terms


def work(context: Context, run: Run, progress: Progress) -> Outcome:
    """Join, look for leaks, divide, and keep.

    Raises:
        CheckFailed: a feature knows what it could not have known; it is named with the evidence.
        InputError: the label, the times or the split cannot be used.
    """
    project, head = context.project, context.head
    features = feature_set(project, context)
    spec = training_spec(context)
    for name in tables_read(project):
        version = context.workspace.history.digest(head, f"tables/{name}")
        run.reads(
            f"tables/{name}", version or "", (context.workspace.history.read(head, f"tables/{name}") or {})["rows"]
        )
    with opened_tables(context.workspace, head, tables_read(project)) as connection:
        progress("joining features as they were known then")
        rows = training_rows(connection, features, f"({spec.population})")
        _refuse_leaks(connection, features, rows, spec)
        progress("writing the training set")
        made = build_training_set(
            context.workspace,
            rows,
            spec,
            msgspec.to_builtins(features),
            commit_id=head.id,
            run_id=run.id,
        )
    parts = made.split
    shares = f"{parts.train.rows:,} train, {parts.validation.rows:,} validation, {parts.test.rows:,} test"
    output = Output(
        name=NAME,
        version=made.id,
        uri=f"bascule:training_sets/{made.name}",
        rows=made.rows,
        schema=dict(made.columns.types),
    )
    return Outcome(
        (output,), summary=f"{made.name}: {made.rows:,} rows ({shares}), {len(made.columns.features)} features"
    )


def training_spec(context: Context) -> TrainingSpec:
    """Return the definition of the training set that the project file gives."""
    project = context.project
    training, model = project.training, project.model
    assert training is not None
    assert model is not None
    split = training.split
    return TrainingSpec(
        name=model.name,
        label=training.label,
        population=project.sql("training", "population").strip().rstrip(";"),
        prediction_time=training.prediction_time,
        label_time=training.label_time,
        cut_off=training.cut_off,
        split=Split(validation=split.validation, test=split.test, embargo=split.embargo, group=split.group),
        task=training.task,
        positive=training.positive,
        seed=model.seed,
    )
