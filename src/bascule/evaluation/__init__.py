"""How good a model is, where it is weak, and whether it may be registered.

The room owns metrics and their intervals, slices, calibration, the gates, the evaluation report and the model card.
It reads models and rows and writes nothing. Monitoring measures by the same metrics; serving, delivery and the project
room may call it too.
"""

from bascule.evaluation.bootstrap import Measure
from bascule.evaluation.calibration import Calibration, CalibrationBin, calibrate, wilson
from bascule.evaluation.card import model_card
from bascule.evaluation.evaluate import evaluate
from bascule.evaluation.metrics import (
    METRICS,
    accuracy,
    auc,
    brier,
    ece,
    log_loss,
    mae,
    measure,
    metric_named,
    metrics_of,
    r2,
    rmse,
)
from bascule.evaluation.report import Comparison, EvaluationReport, GateResult, Method, read_report
from bascule.evaluation.settings import GateSettings, SliceFloor
from bascule.evaluation.slices import SliceRow

__all__ = [
    "METRICS",
    "Calibration",
    "CalibrationBin",
    "Comparison",
    "EvaluationReport",
    "GateResult",
    "GateSettings",
    "Measure",
    "Method",
    "SliceFloor",
    "SliceRow",
    "accuracy",
    "auc",
    "brier",
    "calibrate",
    "ece",
    "evaluate",
    "log_loss",
    "mae",
    "measure",
    "metric_named",
    "metrics_of",
    "model_card",
    "r2",
    "read_report",
    "rmse",
    "wilson",
]
