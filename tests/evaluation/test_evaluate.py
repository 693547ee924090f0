from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
import yaml
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine

from bascule.errors import InputError, NotFound
from bascule.evaluation import (
    EvaluationReport,
    GateResult,
    GateSettings,
    SliceFloor,
    evaluate,
    log_loss,
    model_card,
    read_report,
)
from bascule.evaluation.card import front_matter
from bascule.history import Workspace
from bascule.training import (
    Split,
    TrainerSettings,
    TrainingSpec,
    build_training_set,
    pack_model,
    train,
    training_data,
    training_rows,
    unpack_model,
)

Make = Callable[..., Any]
STRICT = GateSettings(
    slices=("site", "kind"),
    slice_floor=SliceFloor(metric="auc", minimum=0.6, rows=100),
    calibration=0.08,
)


def gate(report: EvaluationReport, name: str) -> GateResult:
    return next(one for one in report.gates if one.name == name)


@pytest.mark.slow
def test_a_good_model_passes_every_gate(make_case: Make) -> None:
    case = make_case("binary")
    report = evaluate(case.bundle, case.test, gates=STRICT, time="asked", model="m", training_set="t")
    assert report.passed, report.failed()
    assert [one.name for one in report.gates] == [
        "better_than_baseline",
        "better_than_constant",
        "better_than_current",
        "slice_floor",
        "calibration",
        "signature",
    ]
    label, said = case.test["label"].to_numpy(), case.bundle.predict(case.test)
    assert report.metrics["log_loss"].value == pytest.approx(log_loss(label, said))
    assert report.flat()["test.log_loss"] == report.metrics["log_loss"].value
    assert report.flat()["baseline.log_loss"] > report.flat()["test.log_loss"]
    assert report.references["constant"]["auc"] == 0.5
    assert report.method.unit == "days"
    assert next(iter(report.importance)) == "x"
    assert set(report.slices) == {"site", "kind"}
    assert sum(one.rows for one in report.slices["site"]) == report.rows == 1_200
    assert gate(report, "better_than_current").reason == "There is no current version to compare with."
    assert read_report(report.as_json()) == report
    assert evaluate(case.bundle, case.test, gates=STRICT, time="asked", model="m", training_set="t") == report


@pytest.mark.slow
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_a_model_trained_on_shuffled_labels_is_refused(make_case: Make, task: str) -> None:
    shuffled, good = make_case(task, shuffled=True), make_case(task)
    report = evaluate(shuffled.bundle, shuffled.test, time="asked", current=good.bundle)
    assert not report.passed
    assert not gate(report, "better_than_constant").passed
    assert not gate(report, "better_than_current").passed
    assert "has not learned" in gate(report, "better_than_constant").reason
    assert evaluate(good.bundle, good.test, time="asked", current=shuffled.bundle).passed


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks_are_evaluated_alike(make_case: Make, task: str) -> None:
    case = make_case(task)
    report = evaluate(case.bundle, case.test, gates=GateSettings(slices=("site",)), time="asked")
    assert report.passed, report.failed()
    main = "rmse" if task == "regression" else "log_loss"
    assert report.metric == main
    assert report.calibration is None or task == "multiclass"
    for measured in report.metrics.values():
        assert measured.value is not None
        assert measured.low is not None
    assert report.slices["site"][0].metrics[main] is not None
    assert read_report(report.as_json()) == report


@pytest.mark.slow
def test_a_model_no_better_than_a_straight_line_is_refused(make_case: Make) -> None:
    case, noise, line = make_case("binary"), make_case("binary", shuffled=True), make_case("binary", "linear")
    against_own = evaluate(case.bundle, case.test, gates=GateSettings(metric="auc"), time="asked")
    assert gate(against_own, "better_than_baseline").passed
    found = gate(evaluate(noise.bundle, noise.test, baseline=line.bundle.baseline), "better_than_baseline")
    assert not found.passed
    assert 'Use trainer = "linear"' in found.reason

    itself = evaluate(line.bundle, line.test, time="asked")
    assert gate(itself, "better_than_baseline").passed
    assert "itself the linear baseline" in gate(itself, "better_than_baseline").reason
    with pytest.raises(InputError, match="no baseline"):
        evaluate(replace(case.bundle, baseline=None), case.test)


@pytest.mark.slow
def test_the_current_version_may_be_missed_by_the_margin_only(make_case: Make) -> None:
    good, line = make_case("binary"), make_case("binary", "linear")
    same = evaluate(good.bundle, good.test, current=good.bundle)
    assert gate(same, "better_than_current").passed
    assert next(one for one in same.comparisons if one.reference == "current").improvement == 0
    worse = evaluate(line.bundle, line.test, current=good.bundle)
    assert not gate(worse, "better_than_current").passed
    generous = evaluate(line.bundle, line.test, current=good.bundle, gates=GateSettings(margin=5.0))
    assert gate(generous, "better_than_current").passed
    none = evaluate(good.bundle, good.test, current=good.bundle, gates=GateSettings(margin=0.0))
    assert not gate(none, "better_than_current").passed


@pytest.mark.slow
def test_a_slice_below_the_floor_is_named(make_case: Make) -> None:
    case = make_case("binary")
    floor = SliceFloor(metric="auc", minimum=0.99, rows=100)
    report = evaluate(case.bundle, case.test, gates=GateSettings(slices=("site",), slice_floor=floor))
    found = gate(report, "slice_floor")
    assert not found.passed
    assert "3 of 3 slices do not reach it: site = s" in found.reason
    none = SliceFloor(metric="log_loss", maximum=0.01, rows=5_000)
    unjudged = gate(
        evaluate(case.bundle, case.test, gates=GateSettings(slices=("site",), slice_floor=none)), "slice_floor"
    )
    assert unjudged.passed
    assert "none was judged" in unjudged.reason
    low = SliceFloor(metric="log_loss", maximum=0.01, rows=100)
    assert not gate(
        evaluate(case.bundle, case.test, gates=GateSettings(slices=("site",), slice_floor=low)), "slice_floor"
    ).passed


@pytest.mark.slow
def test_a_calibration_limit_says_where_it_is_off(make_case: Make) -> None:
    case = make_case("binary")
    found = gate(evaluate(case.bundle, case.test, gates=GateSettings(calibration=0.0001)), "calibration")
    assert not found.passed
    assert "happened (" in found.reason


@pytest.mark.slow
def test_a_changed_signature_needs_a_reason(make_case: Make) -> None:
    case = make_case("binary")
    fields = case.bundle.signature.inputs
    renamed = msgspec.structs.replace(
        case.bundle.signature, inputs=(msgspec.structs.replace(fields[0], name="x_old"), *fields[1:])
    )
    before = replace(case.bundle, signature=renamed)
    rows = case.test.append_column("x_old", case.test["x"])
    found = gate(evaluate(case.bundle, rows, current=before), "signature")
    assert not found.passed
    assert "'x' is new; 'x_old' is gone" in found.reason
    allowed = evaluate(case.bundle, rows, current=before, gates=GateSettings(signature_change="callers moved"))
    assert gate(allowed, "signature").passed
    assert "callers moved" in gate(allowed, "signature").reason
    assert gate(allowed, "better_than_current").passed

    callers = {"feature_set": {"columns": {"origin": "varchar"}}}
    looked_up = evaluate(replace(case.bundle, **callers), rows, current=replace(before, **callers))
    assert gate(looked_up, "signature").passed


@pytest.mark.slow
def test_a_current_version_that_cannot_read_the_rows_is_told(make_case: Make) -> None:
    case = make_case("binary")
    fields = case.bundle.signature.inputs
    renamed = msgspec.structs.replace(
        case.bundle.signature, inputs=(msgspec.structs.replace(fields[0], name="x_old"), *fields[1:])
    )
    before = replace(case.bundle, signature=renamed)
    found = gate(evaluate(case.bundle, case.test, current=before), "better_than_current")
    assert not found.passed
    assert "Give current_rows" in found.reason
    old_rows = case.test.rename_columns(["x_old", *case.test.column_names[1:]])
    given = evaluate(case.bundle, case.test, current=before, current_rows=old_rows)
    assert gate(given, "better_than_current").passed
    with pytest.raises(InputError, match="1,199 and the candidate's 1,200"):
        evaluate(case.bundle, case.test, current=before, current_rows=old_rows.slice(1))


@pytest.mark.slow
def test_another_question_cannot_be_compared(make_case: Make) -> None:
    case, other = make_case("binary"), make_case("multiclass")
    report = evaluate(case.bundle, case.test, current=other.bundle)
    assert "another question" in gate(report, "better_than_current").reason
    assert not gate(report, "signature").passed
    accepted = evaluate(case.bundle, case.test, current=other.bundle, gates=GateSettings(signature_change="new label"))
    assert accepted.passed


@pytest.mark.parametrize(
    ("gates", "message"),
    [
        (GateSettings(metric="auk"), "Did you mean 'auc'?"),
        (GateSettings(metric="rmse"), "no metric for a binary model"),
        (GateSettings(slice_floor=SliceFloor(metric="auc", minimum=0.5)), "without slices"),
        (GateSettings(slices=("site",), slice_floor=SliceFloor(metric="auc", maximum=0.5)), "needs minimum"),
        (GateSettings(slices=("site",), slice_floor=SliceFloor(metric="log_loss", minimum=0.5)), "needs maximum"),
        (GateSettings(slices=("sight",)), "Did you mean 'site'?"),
        (GateSettings(level=1.5), "between 0.5 and 1"),
        (GateSettings(resamples=10), "at least 100"),
        (GateSettings(margin=-1), "cannot be negative"),
    ],
)
def test_gates_that_cannot_be_asked_are_refused(make_case: Make, gates: GateSettings, message: str) -> None:
    case = make_case("binary")
    with pytest.raises(InputError) as error:
        evaluate(case.bundle, case.test, gates=gates)
    assert message in f"{error.value.message} {error.value.hint}"


def test_a_calibration_limit_has_no_meaning_for_a_regression(make_case: Make) -> None:
    case = make_case("regression")
    with pytest.raises(InputError, match="no probabilities"):
        evaluate(case.bundle, case.test, gates=GateSettings(calibration=0.05))


def test_rows_that_cannot_be_evaluated_are_refused(make_case: Make) -> None:
    case = make_case("binary")
    with pytest.raises(NotFound, match="label column"):
        evaluate(case.bundle, case.test, "lable")
    with pytest.raises(InputError, match="no rows"):
        evaluate(case.bundle, case.test.slice(0, 0))
    with pytest.raises(InputError, match="number without nulls"):
        evaluate(case.bundle, case.test, "kind")
    with pytest.raises(InputError, match="must be a timestamp"):
        evaluate(case.bundle, case.test, time="x")
    with pytest.raises(NotFound, match="time column"):
        evaluate(case.bundle, case.test, time="when")
    one_class = case.test.filter(pa.compute.equal(case.test["label"], 1.0))
    with pytest.raises(InputError, match="auc is not defined"):
        evaluate(case.bundle, one_class, gates=GateSettings(metric="auc"))
    assert evaluate(case.bundle, one_class).metrics["auc"].value is None
    assert "1 of 2 classes" in " ".join(evaluate(case.bundle, one_class).caveats)


@pytest.mark.slow
def test_a_card_tells_the_whole_story(make_case: Make, local_workspace: Workspace) -> None:
    case = make_case("binary")
    spec = TrainingSpec(name="m", label="label > 0.5", prediction_time="asked", features=("x", "kind", "z"))
    made = build_training_set(local_workspace, case.test, spec, commit_id="c" * 64)
    report = evaluate(case.bundle, case.test, gates=STRICT, time="asked", model="m", training_set=made.id)
    card = model_card(report, case.bundle, made, version=3, author="ada", created_at=1_357_000_000_000_000)
    _, front, body = card.split("---\n", 2)
    told = yaml.safe_load(front)
    assert told["model"] == "m"
    assert told["version"] == 3
    assert told["passed"] is True
    assert told["metrics"] == report.flat()
    assert told["created_at"] == "2013-01-01T00:26:40Z"
    headings = [line for line in body.splitlines() if line.startswith("#")]
    assert headings[:6] == ["# m version 3", "## Details", "## Gates", "## Data", "## Metrics", "## Calibration"]
    assert headings[-2:] == ["## Inputs", "## Caveats"]
    assert {"### Weakest slices", "### By site", "### By kind"} <= set(headings)
    assert made.name in body
    assert "| test | " in body
    assert "All gates passed." in body
    forced = model_card(
        evaluate(case.bundle, case.test, gates=GateSettings(calibration=1e-9)), case.bundle, forced="a test"
    )
    assert "1 of 5 gates refused it. It was registered all the same: a test" in forced
    assert all(line.count("|") > 2 for line in body.splitlines() if line.startswith("|"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "task"), [(load_breast_cancer, "binary"), (load_wine, "multiclass"), (load_diabetes, "regression")]
)
def test_small_real_data_goes_all_the_way(local_workspace: Workspace, load: Callable[..., Any], task: str) -> None:
    bunch = load()
    names = [str(one).replace(" ", "_").replace("/", "_") for one in bunch.feature_names]
    rows = pa.table({**dict(zip(names, bunch.data.T, strict=True)), "outcome": bunch.target})
    spec = TrainingSpec(name="small", label="outcome", split=Split(validation=0.2, test=0.3))
    made = build_training_set(local_workspace, rows, spec, commit_id="c" * 64)
    assert made.columns.target.task == task
    bundle = unpack_model(pack_model(train(training_data(local_workspace, made), settings=TrainerSettings(trials=3))))
    report = evaluate(bundle, training_rows(local_workspace, made, "test"), gates=GateSettings(resamples=400))
    assert gate(report, "better_than_constant").passed
    assert "rows only" in report.caveats[0]
    assert np.isfinite(list(report.flat().values())).all()


def test_front_matter_is_read_back_whatever_is_in_it() -> None:
    metrics = {"inf": float("inf"), "low": float("-inf"), "small": 1e-05, "great": 1.5e300, "none": None, "1": 2}
    told = {"model": 'a: "b"\u0085c\u2028d # é', "metrics": metrics, "tags": ["yes", "no", "1e5", "", True], "n": 0.5}
    text = front_matter({**told, "odd": float("nan")})
    found = yaml.safe_load(text.strip().strip("-"))
    assert math.isnan(found.pop("odd"))
    assert found == told
