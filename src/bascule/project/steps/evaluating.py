"""Step `evaluate`: the model on rows it has not seen, against the baseline, the current version, and its gates."""

from __future__ import annotations

import msgspec
import pyarrow as pa

from bascule.errors import NotFound
from bascule.evaluation import EvaluationReport, GateSettings, SliceFloor, evaluate
from bascule.history import Commit
from bascule.naming import PRODUCTION
from bascule.project.file import ProjectFile
from bascule.project.receipt import Output
from bascule.project.rereading import rows_for
from bascule.project.step import Context, Outcome, Progress, Terms
from bascule.project.steps import training, training_set
from bascule.registry import ModelVersion, get_version
from bascule.registry.bundles import packed
from bascule.tracking import Run
from bascule.training import ModelBundle, TrainingSet, read_training_set, training_rows, unpack_model

NAME = "evaluate"


def inputs(context: Context) -> Terms:
    """The model, the training set, the gates, and the version that is in production on the branch."""
    current = current_version(context)
    return {
        "input:model": context.receipts[training.NAME].output("model").version,
        "input:training-set": context.receipts[training_set.NAME].output(training_set.NAME).version,
        "input:current": current.artifact if current else "",
        "gates": msgspec.json.encode(context.project.gates, order="deterministic").decode(),
    }


def work(context: Context, run: Run, progress: Progress) -> Outcome:
    """Measure, compare on the same rows, and ask the gates. A refusal is an outcome here; registering acts on it."""
    artifact = context.receipts[training.NAME].output("model").version
    source = read_training_set(context.workspace, context.receipts[training_set.NAME].output(training_set.NAME).version)
    run.reads("model", artifact)
    run.reads(f"training_sets/{source.name}", source.id, source.split.test.rows)
    bundle = unpack_model(packed(context.workspace, artifact))
    rows = training_rows(context.workspace, source, "test")
    progress("evaluating", 0, rows.num_rows)
    report = evaluate(
        bundle,
        rows,
        current=_current_bundle(context),
        current_rows=_current_rows(context, source, rows),
        gates=gate_settings(context.project),
        time=source.columns.prediction_time,
        model=source.spec.name,
        training_set=source.id,
    )
    data = msgspec.json.encode(report)
    output = Output(
        name="evaluation", version=context.workspace.store.put(data), uri="bascule:evaluations", rows=rows.num_rows
    )
    gates = tuple(msgspec.to_builtins(gate) for gate in report.gates)
    return Outcome((output,), gates, report.flat(), summary(report))


def summary(report: EvaluationReport) -> str:
    """Say in one line how good the model is and what the gates say."""
    values = {name: report.metrics[name].value for name in (report.metric, *report.metrics) if name in report.metrics}
    shown = [f"{name} {value:.4f}" for name, value in values.items() if value is not None]
    failed = report.failed()
    verdict = f"refused by {', '.join(g.name for g in failed)}" if failed else f"{len(report.gates)} gates passed"
    return f"{', '.join(shown[:3])} on {report.rows:,} rows; {verdict}"


def gate_settings(project: ProjectFile) -> GateSettings:
    """Return the gates of the project file as evaluation takes them."""
    gates = project.gates
    floor = SliceFloor(**msgspec.structs.asdict(gates.slice_floor)) if gates.slice_floor else None
    return GateSettings(
        metric=gates.metric,
        better_than_baseline=gates.better_than_baseline,
        minimum_skill=gates.minimum_skill,
        better_than_current=gates.better_than_current,
        margin=gates.margin,
        slices=gates.slices,
        slice_floor=floor,
        calibration=gates.calibration,
        signature=gates.signature,
        signature_change=gates.signature_change,
    )


def current_version(context: Context) -> ModelVersion | None:
    """Return the version to beat: what was in production on the branch before this very model was, or None."""
    candidate = context.receipts[training.NAME].output("model").version
    name = model_name(context)
    history = context.workspace.history
    state: Commit | None = context.head
    while state is not None:
        found = production(context, state, name)
        if found is None or found.artifact != candidate:
            return found
        changed = history.log(state, limit=1, path=f"models/{name}")
        state = history.commit_by_id(changed[0].parents[0]) if changed and changed[0].parents else None
    return None


def model_name(context: Context) -> str:
    """Return what the project calls its model."""
    return context.project.model.name if context.project.model else ""


def production(context: Context, state: Commit, name: str) -> ModelVersion | None:
    """Return the version that is in production at a state, or None."""
    try:
        return get_version(context.workspace, state, name, PRODUCTION)
    except NotFound:
        return None


def _current_bundle(context: Context) -> ModelBundle | None:
    current = current_version(context)
    return unpack_model(packed(context.workspace, current.artifact)) if current else None


def _current_rows(context: Context, source: TrainingSet, rows: pa.Table) -> pa.Table | None:
    """The test rows with the inputs of the current version, when it reads features that the new one does not."""
    bundle = _current_bundle(context)
    found = rows if bundle is None else rows_for(context.workspace, source, rows, bundle)
    return None if found is rows else found
