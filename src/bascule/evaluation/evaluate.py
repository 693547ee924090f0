"""Evaluating a model on the test split: measure, compare, slice, and ask the gates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from bascule.errors import InputError, NotFound
from bascule.evaluation import gates as ask
from bascule.evaluation.bootstrap import (
    FEWEST_DAYS,
    Measure,
    Resampling,
    interval,
    resample,
    resampled_values,
    with_interval,
)
from bascule.evaluation.calibration import Calibration, calibrate
from bascule.evaluation.metrics import Metric, Task, measure, metric_named, metrics_of
from bascule.evaluation.report import Comparison, EvaluationReport, GateResult, Method
from bascule.evaluation.settings import GateSettings, main_metric, refuse_unfit
from bascule.evaluation.slices import Groups, Scored, SliceRow, cut, slice_table, weakest_slices
from bascule.training import LinearModel, ModelBundle, encode

FEW_ROWS = 1_000
TOP_FEATURES = 5
FEWEST_WEAK_ROWS = 30


@dataclass(frozen=True)
class _Case:
    """What one evaluation works on."""

    bundle: ModelBundle
    rows: pa.Table
    scored: Scored
    settings: GateSettings
    resampling: Resampling
    metric: Metric


def evaluate(
    bundle: ModelBundle,
    rows: pa.Table,
    label: str = "label",
    *,
    baseline: LinearModel | None = None,
    current: ModelBundle | None = None,
    current_rows: pa.Table | None = None,
    gates: GateSettings | None = None,
    slices: Sequence[str] | None = None,
    time: str | None = None,
    model: str = "",
    training_set: str = "",
) -> EvaluationReport:
    """Evaluate a model on rows that it has not learned from.

    Args:
        bundle: the candidate.
        rows: the test split: the model's inputs, the label, and the columns to slice by.
        label: the column with the label as float64: class codes or values, as a training set holds it.
        baseline: the linear model to beat; the bundle's own when not given.
        current: the version that is in use, or None when there is none.
        current_rows: the same rows in the same order with the inputs of `current`, when those differ.
        gates: what the model must fulfil.
        slices: columns to slice by; those of `gates` when not given.
        time: the column with the prediction time; then days are resampled for the intervals.
        model: its name, for the report.
        training_set: its id, for the report.

    Raises:
        InputError: there are no rows, an input or a column is missing, or a gate cannot be asked of this task.
    """
    case = _case(bundle, rows, label, time, gates or GateSettings())
    references, absent, in_order = _references(case, baseline, current, current_rows)
    comparisons = {name: _compare(case, name, prediction) for name, prediction in references.items()}
    tables, weakest = _slices(case, list(case.settings.slices if slices is None else slices), label)
    task, curve = case.scored.task, _curve(case)
    answers = _ask(case, comparisons, tables, curve, current, (absent, in_order))
    return EvaluationReport(
        model=model,
        task=task,
        classes=bundle.signature.output.classes,
        rows=rows.num_rows,
        metric=case.metric.name,
        metrics={one.name: _measured(case, one) for one in metrics_of(task)},
        references={name: _plain(case, prediction) for name, prediction in references.items()},
        comparisons=tuple(comparisons.values()),
        slices=tables,
        weakest=weakest,
        calibration=curve,
        importance=bundle.importance(),
        gates=tuple(answers),
        passed=all(one.passed for one in answers),
        caveats=tuple(_caveats(case, time)),
        method=_method(case),
        training_set=training_set,
    )


def _case(bundle: ModelBundle, rows: pa.Table, label: str, time: str | None, settings: GateSettings) -> _Case:
    task: Task = bundle.signature.output.task
    refuse_unfit(settings, task)
    scored = Scored(task, _labels(rows, label), bundle.predict(rows))
    resampling = resample(
        rows.num_rows,
        _times(rows, time),
        resamples=settings.resamples,
        level=settings.level,
        seed=settings.seed,
    )
    return _Case(bundle, rows, scored, settings, resampling, metric_named(main_metric(settings, task), task))


def _curve(case: _Case) -> Calibration | None:
    if case.scored.task == "regression":
        return None
    return calibrate(case.scored.label, case.scored.prediction, level=case.settings.level)


def _method(case: _Case) -> Method:
    return Method(
        resamples=case.settings.resamples,
        unit=case.resampling.unit,
        clusters=case.resampling.draws.shape[1],
        level=case.settings.level,
        seed=case.settings.seed,
    )


def _labels(rows: pa.Table, label: str) -> np.ndarray:
    if label not in rows.column_names:
        raise NotFound("label column", label, rows.column_names)
    if rows.num_rows == 0:
        raise InputError("There are no rows to evaluate on.", hint="Make the test split larger.")
    column = rows.column(label)
    if not pa.types.is_floating(column.type) or column.null_count:
        raise InputError(
            f"The label column {label!r} must be a number without nulls; it is {column.type} with "
            f"{column.null_count:,} nulls.",
            hint="Use the `label` column of a training set, or encode_target().",
        )
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _times(rows: pa.Table, time: str | None) -> np.ndarray | None:
    if time is None:
        return None
    if time not in rows.column_names:
        raise NotFound("time column", time, rows.column_names)
    column = rows.column(time)
    if not pa.types.is_timestamp(column.type) or column.null_count:
        raise InputError(
            f"The time column {time!r} must be a timestamp without nulls; it is {column.type}.",
            hint="Cast it in the population's SQL, and leave rows without a time out.",
        )
    micros = pc.cast(pc.cast(column, pa.timestamp("us", column.type.tz), safe=False), pa.int64())
    return np.asarray(micros.to_numpy(), dtype=np.int64)


def _references(
    case: _Case, baseline: LinearModel | None, current: ModelBundle | None, current_rows: pa.Table | None
) -> tuple[dict[str, np.ndarray], str, bool]:
    """The predictions to compare with; when the current version's are not among them, why, and whether that is fine."""
    found = {"constant": _constant(case)}
    baseline = baseline or case.bundle.baseline
    if baseline is not None and case.bundle.format != "linear":
        found["baseline"] = baseline.predict(encode(case.bundle.signature.by_place(), case.rows))
    if current is None:
        return found, "There is no current version to compare with.", True
    if current.signature.output != case.bundle.signature.output:
        accepted = case.settings.signature_change
        told = "The current version answers another question, so the two cannot be compared."
        return found, f"{told} Accepted: {accepted}" if accepted else told, bool(accepted)
    theirs = case.rows if current_rows is None else current_rows
    if theirs.num_rows != case.rows.num_rows:
        raise InputError(
            f"The current version's rows are {theirs.num_rows:,} and the candidate's {case.rows.num_rows:,}.",
            hint="Give the same rows in the same order.",
        )
    try:
        found["current"] = current.predict(theirs)
    except InputError as error:
        return found, f"The current version cannot read these rows. {error.message} Give current_rows.", False
    return found, "", True


def _constant(case: _Case) -> np.ndarray:
    """The best constant in hindsight: the share of each class, the mean, or for absolute errors the median."""
    label, task = case.scored.label, case.scored.task
    if task == "multiclass":
        shares = np.bincount(label.astype(np.int64), minlength=len(case.bundle.signature.output.classes)) / len(label)
        return np.tile(shares, (len(label), 1))
    return np.full(len(label), np.median(label) if case.metric.name == "mae" else label.mean())


def _compare(case: _Case, reference: str, prediction: np.ndarray) -> Comparison:
    metric, scored = case.metric, case.scored
    sign = 1.0 if metric.higher_is_better else -1.0
    value, other = (measure(metric.name, scored.task, scored.label, one) for one in (scored.prediction, prediction))
    if value is None or other is None:
        raise InputError(
            f"{metric.name} is not defined on these {len(scored.label):,} test rows, so models cannot be compared.",
            hint="The test split has one class only: make it larger, or compare by log_loss.",
        )
    ours, theirs = (
        resampled_values(metric, scored.label, one, case.resampling) for one in (scored.prediction, prediction)
    )
    low, high = interval(sign * (ours - theirs) + 0.0, case.resampling.level)
    return Comparison(
        reference=reference,
        metric=metric.name,
        value=value,
        reference_value=other,
        improvement=sign * (value - other) + 0.0,  # no minus zero
        low=low,
        high=high,
    )


def _measured(case: _Case, metric: Metric) -> Measure:
    scored = case.scored
    value = measure(metric.name, scored.task, scored.label, scored.prediction)
    return with_interval(metric, scored.label, scored.prediction, value, case.resampling)


def _plain(case: _Case, prediction: np.ndarray) -> dict[str, float | None]:
    task, label = case.scored.task, case.scored.label
    return {one.name: measure(one.name, task, label, prediction) for one in metrics_of(task)}


def _slices(
    case: _Case, columns: Sequence[str], label: str
) -> tuple[dict[str, tuple[SliceRow, ...]], tuple[SliceRow, ...]]:
    wanted = [case.metric.name, "auc" if case.scored.task != "regression" else "mae"]
    if case.settings.slice_floor is not None:
        wanted.append(case.settings.slice_floor.metric)
    metrics = [metric_named(name, case.scored.task) for name in dict.fromkeys(wanted)]
    declared = {column: cut(case.rows, column) for column in columns}
    tables = {name: tuple(slice_table(case.scored, one, metrics, case.resampling)) for name, one in declared.items()}
    important = [one for one in case.bundle.importance() if one not in declared and one != label][:TOP_FEATURES]
    every: list[Groups] = [*declared.values(), *(cut(case.rows, one) for one in important)]
    floor = case.settings.slice_floor
    fewest = floor.rows if floor else max(FEWEST_WEAK_ROWS, case.rows.num_rows // 100)
    return tables, tuple(weakest_slices(case.scored, every, list(declared.values()), metrics, fewest))


def _ask(
    case: _Case,
    comparisons: dict[str, Comparison],
    tables: dict[str, tuple[SliceRow, ...]],
    calibration: Calibration | None,
    current: ModelBundle | None,
    without_current: tuple[str, bool],
) -> list[GateResult]:
    settings, answers = case.settings, []
    if settings.better_than_baseline:
        if "baseline" not in comparisons and case.bundle.format != "linear":
            raise InputError("There is no baseline to compare with.", hint="Give one: fit_linear(), or train().")
        answers.append(ask.better_than_baseline(comparisons.get("baseline"), settings))
        answers.append(ask.better_than_constant(comparisons["constant"], settings))
    if settings.better_than_current:
        answers.append(ask.better_than_current(comparisons.get("current"), settings, *without_current))
    if settings.slice_floor is not None:
        answers.append(ask.slice_floor(tables, settings.slice_floor))
    if settings.calibration is not None and calibration is not None:
        answers.append(ask.calibration_limit(calibration, settings.calibration))
    if settings.signature:
        answers.append(ask.signature_compatible(case.bundle, current, settings.signature_change))
    return answers


def _caveats(case: _Case, time: str | None) -> list[str]:
    label, found = case.scored.label, []
    if len(label) < FEW_ROWS:
        found.append(f"The test split has {len(label):,} rows only; the intervals are wide and approximate.")
    if time is not None and case.resampling.unit != "days":
        found.append(
            f"The test split spans fewer than {FEWEST_DAYS} days, so rows were resampled instead of days; "
            "the intervals are too narrow if rows of one day are alike."
        )
    if case.scored.task != "regression":
        seen = len(np.unique(label))
        if seen < len(case.bundle.signature.output.classes):
            found.append(f"The test split holds {seen} of {len(case.bundle.signature.output.classes)} classes.")
    return found
