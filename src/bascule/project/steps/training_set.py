"""Step `training-set`: the population joined with its features, as it was known then, as an immutable object."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import duckdb
import msgspec
import pyarrow as pa

from bascule.counting import counted
from bascule.errors import CheckFailed
from bascule.features import FeatureSet, Leak, LeakReport, leak_report
from bascule.project.definitions import definition_terms, feature_set, tables_read
from bascule.project.engines import engine_rows, joining_engine
from bascule.project.receipt import Output
from bascule.project.sections import Training
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.project.tables import opened_tables, require_tables
from bascule.tracking import Run
from bascule.training import Split, TrainingSet, TrainingSpec, build_training_set, check_label
from bascule.training import training_rows as training_rows_of
from bascule.training.overlaps import DUPLICATES, ENTITIES, Overlap, find_overlaps

NAME = "training-set"


def inputs(context: Context) -> Terms:
    """The versions of the tables that the SQL names, every definition, and how rows are chosen and divided."""
    project, training = context.project, context.project.training
    assert training is not None
    spec = training_spec(context)
    terms = {f"input:tables/{name}": context.content(f"tables/{name}") for name in tables_read(project)}
    terms |= definition_terms(context)
    chosen: dict[str, object] = {
        name: getattr(training, name) for name in ("features", "request", "outcomes", "trusted")
    }
    chosen |= {name: getattr(training.split, name) for name in ("entities_apart", "duplicates")}
    if project.joins.engine != "duckdb":  # it adds doubles in another order
        chosen["engine"] = project.joins.engine
    for name, value in {**msgspec.to_builtins(spec), **chosen}.items():
        terms[f"training:{name}"] = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return terms


def work(context: Context, run: Run, progress: Progress) -> Outcome:
    """Join, look for leaks, divide, and keep.

    Raises:
        CheckFailed: a feature knows what it could not have known; it is named with the evidence.
        InputError: the label, the times or the split cannot be used.
    """
    project, head, settings = context.project, context.head, context.project.training
    assert settings is not None
    spec = training_spec(context)
    tables = tables_read(project)
    require_tables(project, context.workspace, head, tables)
    for name in tables:
        found = context.workspace.history.get(head, f"tables/{name}")
        run.reads(f"tables/{name}", context.workspace.history.digest(head, f"tables/{name}") or "", found["rows"])
    with opened_tables(context.workspace, head, tables) as connection:
        features = feature_set(project, connection)
        progress("joining features as they were known then")
        with engine_rows(
            context.workspace, head, connection, features, spec.population, joining_engine(project)
        ) as relation:
            rows = relation.to_arrow_table()
        check_label(rows.schema, spec.label)
        connection.register("joined_rows", rows)
        progress("looking for leaks", 0, rows.num_rows)
        leaks = refuse_leaks(connection, features, "joined_rows", spec, settings)
        progress("writing the training set")
        made = build_training_set(
            context.workspace, rows, spec, msgspec.to_builtins(features), commit_id=head.id, run_id=run.id
        )
        overlaps = refuse_overlaps(connection, made, training_rows_of(context.workspace, made), features, settings)
    parts = made.split
    shares = f"{parts.train.rows:,} train, {parts.validation.rows:,} validation, {parts.test.rows:,} test"
    output = Output(
        name=NAME,
        version=made.id,
        uri=f"bascule:training_sets/{made.name}",
        rows=made.rows,
        schema=dict(made.columns.types),
    )
    told = [f"Look at {leak.name}: {leak.message}." for leak in leaks.leaks] + list(leaks.unexamined)
    told += [f"{one.message}." for one in overlaps]
    summary = f"{made.name}: {made.rows:,} rows ({shares}), {len(made.columns.features)} features"
    checks = tuple(msgspec.to_builtins(found) for found in (*leaks.leaks, *overlaps))
    return Outcome((output,), checks, summary=". ".join(part.rstrip(".") for part in (summary, *told)))


def refuse_leaks(
    connection: duckdb.DuckDBPyConnection, features: FeatureSet, rows: str, spec: TrainingSpec, settings: Training
) -> LeakReport:
    """Stop when a feature knows what could not be known at the prediction time.

    Proofs stop. So does what looks like the outcome, or predicts it nearly perfectly by itself, unless it is trusted or
    the project knows no times: then a good measurement looks the same.

    Args:
        rows: a relation with the features joined.

    Returns:
        What is suspicious and does not stop, and what could not be examined (in a project that knows no times, that
        goes without saying).

    Raises:
        CheckFailed: names each view, feature and the evidence.
    """
    report = leak_report(
        connection,
        features,
        spec.population,
        spec.label,
        spec.prediction_time,
        spec.label_time,
        outcomes=settings.outcomes,
        training=rows,
    )
    strict = spec.prediction_time is not None
    refused = [
        leak
        for leak in report.leaks
        if leak.certain or (strict and leak.reason != "jump" and leak.name not in settings.trusted)
    ]
    if refused:
        _refuse(refused)
    suspected = tuple(leak for leak in report.leaks if leak.name not in settings.trusted)
    return LeakReport(suspected, report.unexamined if strict else ())


def refuse_overlaps(
    connection: duckdb.DuckDBPyConnection,
    made: TrainingSet,
    rows: pa.Table,
    features: FeatureSet,
    settings: Training,
) -> list[Overlap]:
    """Return what the splits share that should be told; stop where the project refuses it.

    Entities are expected in several splits by time, and are told only where rows are divided otherwise.

    Raises:
        CheckFailed: entities or examples are in several splits, and the project says that they may not.
    """
    split = settings.split
    keys = dict.fromkeys(key for entity in features.entities for key in entity.keys if key in rows.column_names)
    connection.register("made_rows", rows)
    found = find_overlaps(
        connection, "made_rows", "split", keys=list(keys), features=made.columns.features, label="label"
    )
    refused = [
        one
        for one in found
        if (one.reason == ENTITIES and split.entities_apart)
        or (one.reason == DUPLICATES and split.duplicates is not None and one.share > split.duplicates)
    ]
    if refused:
        told = "\n".join(f"  {one.message}" for one in refused)
        raise CheckFailed(
            f"The training set is not used: its splits share what [training.split] keeps apart.\n{told}",
            details=[msgspec.to_builtins(one) for one in refused],
            hint=f"Divide by [training.split] group, remove what is there twice, or look at {made.name}: "
            f"bascule training-set check {made.name}",
        )
    timed = settings.prediction_time is not None
    return [one for one in found if one.reason == DUPLICATES or not timed]


def _refuse(leaks: Sequence[Leak]) -> NoReturn:
    names = sorted({leak.name for leak in leaks})
    told = "\n".join(f"  {leak.name}: {leak.message}" for leak in leaks)
    hint = "Give the view the time at which its rows became known (event_time or known_time), or leave it out."
    if not any(leak.certain for leak in leaks):
        hint += f" If that is honest: [training] trusted = {msgspec.json.encode(names).decode()}."
    know = f"{counted(len(names), 'feature')} know{'s' * (len(names) == 1)} the answer"
    raise CheckFailed(
        f"The training set is not built: {know}.\n{told}",
        details=[msgspec.to_builtins(leak) for leak in leaks],
        hint=hint,
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
