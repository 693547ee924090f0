"""What an evaluation found: one record that is read by people, by the registry and by the page."""

from __future__ import annotations

from typing import Any

import msgspec

from bascule.errors import InputError
from bascule.evaluation.bootstrap import Measure
from bascule.evaluation.calibration import Calibration
from bascule.evaluation.metrics import Task
from bascule.evaluation.slices import SliceRow


class GateResult(msgspec.Struct, frozen=True, kw_only=True):
    """One gate's answer: what was found, what was wanted, and a sentence that a person can act on."""

    name: str
    passed: bool
    observed: float | None
    required: str
    reason: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The candidate against a reference on the same rows.

    Attributes:
        reference: `baseline`, `constant` or `current`.
        metric: what was compared.
        value: the candidate's.
        reference_value: the reference's.
        improvement: how much better the candidate is, in the metric's unit; positive is better, whatever the metric.
        low: of the paired bootstrap interval of the improvement.
        high: of the same.
    """

    reference: str
    metric: str
    value: float
    reference_value: float
    improvement: float
    low: float | None
    high: float | None


class Method(msgspec.Struct, frozen=True, kw_only=True):
    """How the intervals were made: see `bascule.evaluation.bootstrap`."""

    resamples: int
    unit: str
    clusters: int
    level: float
    seed: int


class EvaluationReport(msgspec.Struct, frozen=True, kw_only=True):
    """What an evaluation found on the test split.

    Attributes:
        model: its name.
        task: binary, multiclass or regression.
        classes: of a classification.
        rows: of the test split.
        metric: the one that gates compare by.
        metrics: the candidate's, with intervals.
        references: metrics of `baseline`, `constant` and `current`, by reference and metric, without intervals.
        comparisons: paired, on the same rows.
        slices: by declared column, most rows first.
        weakest: the slices with the greatest excess of loss, worst first.
        calibration: None for a regression.
        importance: share of each input, greatest first.
        gates: all that were asked for.
        passed: whether all of them passed.
        caveats: what a reader must know before relying on the numbers.
        method: of the intervals.
        training_set: id, or empty.
    """

    model: str
    task: Task
    classes: tuple[str, ...]
    rows: int
    metric: str
    metrics: dict[str, Measure]
    references: dict[str, dict[str, float | None]]
    comparisons: tuple[Comparison, ...]
    slices: dict[str, tuple[SliceRow, ...]]
    weakest: tuple[SliceRow, ...]
    calibration: Calibration | None
    importance: dict[str, float]
    gates: tuple[GateResult, ...]
    passed: bool
    caveats: tuple[str, ...]
    method: Method
    training_set: str = ""

    def flat(self) -> dict[str, float]:
        """Return the metrics as `test.auc`, `baseline.auc`, … for a run's record and the registry."""
        found = {f"test.{name}": one.value for name, one in self.metrics.items()}
        for reference, values in self.references.items():
            found |= {f"{reference}.{name}": value for name, value in values.items()}
        return {name: value for name, value in found.items() if value is not None}

    def failed(self) -> list[GateResult]:
        """Return the gates that did not pass."""
        return [gate for gate in self.gates if not gate.passed]

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON-able values."""
        return dict(msgspec.to_builtins(self))

    def as_json(self) -> str:
        """Return the report as JSON text, as the `evaluations` record holds it."""
        return msgspec.json.encode(self).decode()


def read_report(text: str | bytes) -> EvaluationReport:
    """Return the report that `as_json` wrote.

    Raises:
        InputError: the text is not a report.
    """
    try:
        return msgspec.json.decode(text, type=EvaluationReport)
    except msgspec.MsgspecError as error:
        raise InputError(f"This is not an evaluation report: {error}.") from None
