"""Step `training-set`: the population joined with its features, as it was known then, as an immutable object."""

from __future__ import annotations

import duckdb
import msgspec

from bascule.errors import CheckFailed, InputError
from bascule.features import FeatureSet, find_leaks, training_rows
from bascule.project.definitions import feature_set, tables_read
from bascule.project.receipt import Output
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.project.tables import opened_tables
from bascule.tracking import Run
from bascule.training import Split, TrainingSpec, build_training_set, check_label

NAME = "training-set"


def inputs(context: Context) -> Terms:
    """The versions of the tables that the SQL names, every definition, and how rows are chosen and divided."""
    project, training = context.project, context.project.training
    spec = training_spec(context)
    terms = {f"input:tables/{name}": context.digest(f"tables/{name}") or "" for name in tables_read(project)}
    chosen = training.features if training else ()
    for name in chosen:
        terms[f"definition:features/{name}"] = context.digest(f"features/{name}") or ""
    for entity in project.entity:
        terms[f"definition:entities/{entity}"] = context.digest(f"entities/{entity}") or ""
    settings = {**msgspec.to_builtins(spec), "features": chosen, "request": training.request if training else ()}
    for name, value in settings.items():
        terms[f"training:{name}"] = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return terms


def work(context: Context, run: Run, progress: Progress) -> Outcome:
    """Join, look for leaks, divide, and keep.

    Raises:
        CheckFailed: a feature knows what it could not have known; it is named with the evidence.
        InputError: the label, the times or the split cannot be used.
    """
    project, head = context.project, context.head
    spec = training_spec(context)
    for name in tables_read(project):
        found = context.workspace.history.get(head, f"tables/{name}")
        run.reads(f"tables/{name}", context.workspace.history.digest(head, f"tables/{name}") or "", found["rows"])
    with opened_tables(context.workspace, head, tables_read(project)) as connection:
        features = feature_set(project, connection)
        progress("joining features as they were known then")
        rows = training_rows(connection, features, f"({spec.population})").to_arrow_table()
        check_label(rows.schema, spec.label)
        connection.register("joined_rows", rows)
        progress("looking for leaks", 0, rows.num_rows)
        refuse_leaks(connection, features, "joined_rows", spec)
        progress("writing the training set")
        made = build_training_set(
            context.workspace, rows, spec, msgspec.to_builtins(features), commit_id=head.id, run_id=run.id
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


def refuse_leaks(connection: duckdb.DuckDBPyConnection, features: FeatureSet, rows: str, spec: TrainingSpec) -> None:
    """Stop when a feature knows what could not be known at the prediction time.

    Raises:
        CheckFailed: names the view, the feature and the evidence.
    """
    try:
        leaks = find_leaks(connection, features, rows, spec.label)
    except duckdb.Error as error:  # a value that the expression cannot take
        raise InputError(
            f"The label {spec.label!r} cannot be evaluated: {str(error).splitlines()[0]}",
            hint='Try it in the population: bascule sql "select … from (the population)"',
        ) from None
    if leaks:
        lines = "\n".join(f"  {leak.view}.{leak.feature}: {leak.reason} ({leak.evidence})" for leak in leaks)
        raise CheckFailed(
            f"The training set is not built: {len(leaks)} feature{'s know' if len(leaks) > 1 else ' knows'} the answer."
            f"\n{lines}",
            details=[msgspec.to_builtins(leak) for leak in leaks],
            hint="Give the view the time at which its rows became known (event_time or known_time), or leave it out.",
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
        seed=0 if training.prediction_time else model.seed,  # a split by time draws nothing
    )
